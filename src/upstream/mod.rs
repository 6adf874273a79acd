//! The back door: how the provider is reached, and by which account.
pub mod account;
pub mod breaker;
pub mod choice;
pub mod codec;
pub mod cooling;
pub mod dashscope;
pub mod failures;
pub mod health;
pub mod http;
pub mod limiter;
pub mod models;
pub mod native;
pub mod outcome;
pub mod pool;
pub mod probe;
pub mod tcp;
pub mod window;
