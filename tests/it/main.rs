//! The integration tests: one binary, one module for each concern.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that meets the unexpected should panic"
)]
#![expect(clippy::needless_pass_by_value, reason = "tests hand in closures as they are")]

mod absence;
mod accounts;
mod admin;
mod admin_door;
mod audit;
mod backup;
mod book;
mod budget;
mod budget_windows;
mod calls;
mod calls_crowd;
mod calls_edge;
mod chaos;
mod continuity;
mod continuity_model;
mod cushion;
mod disk;
mod endings;
mod failover;
mod injection;
mod instances;
mod keys;
mod limits_crowd;
mod openapi;
mod operator_commands;
mod plans;
mod process;
mod program;
mod purses;
mod quota_proxy;
mod rates;
mod reconcile;
mod refusals;
mod relay;
mod replacement;
mod replay;
mod resume;
mod revocation;
mod rotation;
mod schemathesis;
mod sdks;
mod seats;
mod session;
mod shape;
mod store;
mod support;
mod takeover;
mod transcripts;
mod translate;
mod usage;
