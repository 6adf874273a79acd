//! Words on our wires: what the relay must understand of the protocols that pass through it.
pub mod accounts;
pub mod admin;
pub mod audio;
pub mod audit;
pub mod backups;
pub mod continuity;
pub mod leg;
pub mod machines;
pub mod members;
pub mod plans;
pub mod realtime;
pub mod reports;
pub mod sse;
pub mod task;
