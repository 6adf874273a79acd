//! The provider's HTTP side: chat in four dialects, embeddings, models and tasks, with faults on demand.
pub mod answer;
pub mod body;
pub mod call;
#[cfg(test)]
mod caller;
pub mod calls;
pub mod chat;
pub mod chat_words;
pub mod desk;
pub mod embeddings;
pub mod faults;
pub mod messages;
pub mod messages_words;
pub mod models;
pub mod native;
pub mod native_words;
pub mod prompt;
pub mod refusal;
pub mod responses;
pub mod responses_words;
pub mod routes;
pub mod sse;
pub mod tasks;
pub mod telling;
