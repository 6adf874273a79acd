//! The integration tests: one binary, one module for each concern.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that meets the unexpected should panic"
)]

mod admin;
mod book;
mod budget;
mod relay;
mod sdks;
mod shape;
mod support;
mod transcripts;
