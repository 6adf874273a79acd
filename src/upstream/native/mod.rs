//! Between the OpenAI protocol, which callers speak, and DashScope's native one: pure translation.
pub mod about;
pub mod answer;
pub mod calls;
pub mod embeddings;
pub mod failure;
pub mod fault;
pub mod growth;
pub mod json;
pub mod messages;
pub mod models;
pub mod output;
pub mod parts;
pub mod request;
pub mod stream;
pub mod usage;

#[cfg(test)]
mod tests;
