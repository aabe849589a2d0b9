//! Procedural scenes and captions that are known to hold, and the clips and packages made of them.
//!
//! A scene follows from one integer, so that a test or a training set can be named by a range of seeds
//! instead of being stored.

mod attack;
pub mod caption;
pub mod dataset;
mod objects;
mod package;
mod pairs;
mod raster;
mod render;
pub mod rng;
mod scene;
pub mod vocabulary;

pub use crate::media::encode::{ClipOptions, H264Encoder, encode_clip, write_jpeg};
pub use crate::score::generic::GENERIC_CAPTIONS;
pub use attack::Attack;
pub use caption::TemplateSet;
pub use dataset::{DatasetPlan, dataset_scene, export_dataset};
pub use package::{ClipStyle, PackagePlan, RowPlan, render_clip, source_video_id};
pub use pairs::{PairsPlan, export_pairs};
pub use render::{CLIP_SECONDS, RgbFrame};
pub use scene::{Scene, Secondary};
pub use vocabulary::{Attribute, Camera, Colour, Footing, Kind, Light, Setting, Weather};
