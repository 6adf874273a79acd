//! Budgets kept exactly: who may use how much, what was used, written once.
pub mod allot;
pub mod ask;
pub mod book;
pub mod healing;
pub mod keeper;
pub mod lease;
pub mod ledger;
pub mod tally;
pub mod window;
