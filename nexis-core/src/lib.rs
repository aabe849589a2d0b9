//! Local verification of captioned video packages.

pub mod check;
pub mod error;
pub mod hash;
pub mod media;
pub mod model;
pub mod package;
pub mod protocol;
pub mod report;

pub use error::{Error, Result};
