//! One live translation: the customer's socket and the provider's, paired, and who is live.
pub mod roster;
