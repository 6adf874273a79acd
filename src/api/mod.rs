//! The front door: every route, who may come in, and one file per group of endpoints.
pub mod refusal;
