//! Procedural material: clips, scenes and packages for tests, demonstrations and training data.

pub mod clip;
