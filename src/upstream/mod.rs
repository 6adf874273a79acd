//! The back door: how the provider is reached.
pub mod dashscope;
pub mod limiter;
