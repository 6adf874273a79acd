//! The cellar: PostgreSQL or SQLite behind one door. Diesel lives here only.
pub mod accounting;
pub mod announcements;
pub mod audit;
pub mod backend;
pub mod budgets;
pub mod connection;
pub mod disk;
pub mod continuity;
pub mod idempotency;
pub mod instances;
pub mod keys;
pub mod licenses;
pub mod migrate;
pub mod page;
pub mod schema;
pub mod tickets;
pub mod usage_report;
