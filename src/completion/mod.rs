//! One HTTP call to a model: admitted, sent to an account that can take it, relayed, metered, settled.
pub mod api;
pub mod attempt;
pub mod bill;
pub mod call;
pub mod estimate;
pub mod failure;
pub mod head;
pub mod meter;
pub mod outgoing;
pub mod pump;
pub mod reading;
pub mod relay;
pub mod reply;
pub mod served;
pub mod usage;
