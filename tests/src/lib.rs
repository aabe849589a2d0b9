//! Shared pieces of the workspace tests.

pub mod image_text;
pub mod random_clip;
