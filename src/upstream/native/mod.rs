//! Between the OpenAI protocol, which callers speak, and DashScope's native one: pure translation.
pub mod fault;
pub mod json;
pub mod messages;
pub mod models;
pub mod parts;
pub mod request;
