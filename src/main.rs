//! The `livetranslate` program.
fn main() {}
