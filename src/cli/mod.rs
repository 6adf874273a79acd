//! One file per command.
pub mod doctor;
pub mod migrate;
pub mod simulate;
