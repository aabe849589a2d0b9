//! Local verification of captioned video packages.

pub mod check;
pub mod commitment;
pub mod error;
pub mod hash;
pub mod media;
pub mod model;
pub mod mt19937;
pub mod overlap;
pub mod package;
pub mod protocol;
pub mod report;

pub use error::{Error, Result};
