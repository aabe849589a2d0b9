//! The server as its clients see it: over a socket, with the demonstration model.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod asking;
mod chat;
mod guard;
mod native;
mod packages;
mod peers;
mod program;
#[path = "../second/mod.rs"]
mod second;
mod together;
mod world;
