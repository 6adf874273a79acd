//! The back door: how the provider is reached.
pub mod codec;
pub mod dashscope;
pub mod limiter;
pub mod native;
