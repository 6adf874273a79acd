//! The customer's client: streams speech to a gateway and collects captions, audio and usage.
pub mod audio_file;
pub mod captions;
pub mod connection;
pub mod dialect;
pub mod event;
pub mod failure;
pub mod http;
pub mod input;
pub mod resample;
pub mod server;
pub mod session;
pub mod subtitles;
pub mod translate;
mod wrap;
