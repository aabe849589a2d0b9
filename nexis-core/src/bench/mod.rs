//! The researcher's bench: what a model's scores are worth on pairs that people have judged, and a card from them.
//!
//! [`measure_pairs`] takes pairs through models (with an [`EmbeddingStore`], so that nothing is worked out twice),
//! [`align`] says what the scores are worth, and [`fit`](mod@fit) makes a card of them.

pub mod align;
pub mod fit;
pub mod measure;
pub mod media;
pub mod report;
pub mod store;

pub use align::{AlignOptions, ScoreBy, align};
pub use measure::{BenchModel, Broken, Keep, MeasuredPair, Measurement, TextSide, Watch, measure_pairs};
pub use media::Opener;
pub use report::{BenchReport, BenchScores};
pub use store::{Cost, EmbeddingStore};
