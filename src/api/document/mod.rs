//! `/openapi.json`: every route, from the code's own types and its table of errors.
pub mod accounts;
pub mod calls;
pub mod codes;
pub mod keys;
pub mod licenses;
pub mod operation;
pub mod plans;
pub mod records;
pub mod service;
pub mod shapes;
pub mod sockets;
pub mod upkeep;
pub mod whole;
