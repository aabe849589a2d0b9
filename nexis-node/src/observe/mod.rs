//! What an operator sees of a running node: log lines, metrics, and whether it lives and is ready.
//!
//! Nothing here decides anything. Metrics and health are handed down as cheap clones, so that each part counts what
//! it does where it does it; nobody else needs to know that somebody is looking.

mod health;
mod logging;
mod metrics;
mod server;
mod serving;

pub use health::{Condition, Health, Readiness};
#[cfg(test)]
pub(crate) use logging::tests::logged;
pub use logging::{
    LogError, LogFormat, LogOptions, check_filter, init, interval_span, miner_span, subscriber,
};
pub use metrics::{Metrics, Phase, code_label};
pub use server::{ServeError, Server, router};
