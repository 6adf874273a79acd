//! What the tests share: a whole gateway with its stores, and the people who use it.
pub(crate) mod app;
pub(crate) mod caller;
pub(crate) mod customer;
pub(crate) mod fake_gateway;
pub(crate) mod ledger;
pub(crate) mod operator;
pub(crate) mod postgres;
pub(crate) mod provider;
pub(crate) mod proxy;
pub(crate) mod redis;
pub(crate) mod schema;
pub(crate) mod scissors;
pub(crate) mod stub;
pub(crate) mod tap;
pub(crate) mod usage;
