//! A validator over the simulated chain and folders of packages: what it decides, what it pays, and that killing it
//! changes neither.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod buckets;
mod command;
mod follow;
mod hostile;
mod kill;
mod memory;
mod side_by_side;
mod world;
