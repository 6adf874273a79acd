//! Budgets kept exactly: who may use how much, what was used, written once.
pub mod account;
pub mod admission;
pub mod allot;
pub mod ask;
pub mod balances;
pub mod batch;
pub mod book;
pub mod healing;
pub mod heartbeat;
pub mod instance;
pub mod keeper;
pub mod lease;
pub mod ledger;
pub mod resumption;
pub mod takeover;
pub mod tally;
pub mod window;
