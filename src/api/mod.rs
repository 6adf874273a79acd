//! The front door: every route, who may come in, and one file per group of endpoints.
pub mod admin;
pub mod answer;
pub mod entrance;
pub mod guard;
pub mod health;
pub mod jwks;
pub mod license;
pub mod pages;
pub mod realtime;
pub mod refusal;
pub mod routes;
pub mod shown;
pub mod tickets;
