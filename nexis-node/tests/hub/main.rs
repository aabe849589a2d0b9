//! Models from a server that behaves like the hub: fetching, resuming, refusing, and what the command says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod command;
mod fetch;
mod hostile;
mod official;
mod removal;
mod secure;
mod server;
mod world;
