//! LiveTranslate Central: the architecture page.
//!
//! One gateway that an operator runs and customers see as one address: it relays realtime voice translation
//! to DashScope, issues licenses and API keys, and keeps quotas so exactly that they can be billed.
//!
//! # Floors
//! Every room imports only from floors below its own; `tests/it/shape.rs` keeps it so.
//!
//! | floor | rooms |
//! | --- | --- |
//! | 8 | `main.rs`, [`cli`]: one file per command |
//! | 7 | [`app`]: opens the store, starts the actors, binds, drains: the only file that knows everyone |
//! | 6 | [`api`]: the front door. Every route in `routes`, who may come in in `guard`, one file per endpoint group |
//! | 5 | [`gateway`]: what handlers may use |
//! | 4 | [`session`]: one live translation: the paired actors `client` and `link`, the pure `relay` and `meter`, who is live in `roster` |
//! | 3 | [`quota`]: the `keeper` actor and its handle, the pure `book` and `window` |
//! | 2 | [`upstream`]: the back door; [`store`]: the cellar, where diesel lives; [`signer`]: signs and verifies licenses' tokens; [`logs`]: starts the log |
//! | 1 | [`wire`]: words on our wires; [`config`], [`ids`], [`clock`], [`error`], [`metrics`]: leaves; [`license`]: what a license and a key are |
//! | beside | [`simulator`], the stand-in upstream, and [`client`], the customer's client: both know only floor 1 |
pub mod api;
pub mod app;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod error;
pub mod gateway;
pub mod ids;
pub mod license;
pub mod logs;
pub mod metrics;
pub mod quota;
pub mod session;
pub mod signer;
pub mod simulator;
pub mod store;
pub mod upstream;
pub mod wire;
