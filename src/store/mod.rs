//! The cellar: PostgreSQL or SQLite behind one door. Diesel lives here only.
pub mod accounting;
pub mod backend;
pub mod connection;
pub mod migrate;
pub mod schema;
