//! One live translation: the customer's socket and the provider's, paired, and who is live.
pub mod client;
pub mod dialogue;
pub mod flow;
pub mod frames;
pub mod legs;
pub mod link;
pub mod messages;
pub mod meter;
pub mod relay;
pub mod roster;
pub mod rounds;
pub mod rules;
pub mod socket;
pub mod step;
pub mod watch;
