//! The front door: every route, who may come in, and one file per group of endpoints.
pub mod answer;
pub mod guard;
pub mod health;
pub mod pages;
pub mod realtime;
pub mod refusal;
pub mod routes;
