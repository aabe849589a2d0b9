//! Shared pieces of the workspace tests.

pub mod emulated;
pub mod image_text;
pub mod judge;
pub mod nvdec_pool;
pub mod on_devices;
pub mod opinion;
pub mod packages;
pub mod parity;
pub mod random_clip;
pub mod reference;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nexis_core::media::{FfmpegDecoder, MediaDecoder, MediaLimits};
use nexis_core::model::card::{DoubtBand, ModelCard};
use nexis_core::model::{DualEncoder, LoadOptions};
use nexis_core::verifier::RowJudge;

/// The repository's root; where the tests were taken to another machine, what `NEXIS_TESTS_ROOT` names.
pub fn root() -> PathBuf {
    if let Some(root) = std::env::var_os("NEXIS_TESTS_ROOT") {
        return root.into();
    }
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(1).unwrap_or(Path::new(".")).to_path_buf()
}

/// A file below `tests/fixtures`.
pub fn fixture(path: impl AsRef<Path>) -> PathBuf {
    root().join("tests/fixtures").join(path)
}

/// A copy of a folder's files, to be damaged.
///
/// # Panics
/// Where it cannot be copied.
pub fn copied(folder: impl AsRef<Path>) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
    }
    to
}

/// The demonstration model's folder.
pub fn demo_model() -> PathBuf {
    root().join("models/demo")
}

/// A judge with the demonstration model and a decoder of the caller's.
///
/// # Panics
/// Where the demonstration model cannot be loaded: the tests cannot go on without it.
#[allow(clippy::expect_used)]
pub fn judge_with(decoder: Arc<dyn MediaDecoder>, batch: usize) -> RowJudge {
    let directory = demo_model();
    let model =
        DualEncoder::load(&directory, &LoadOptions::default()).expect("the demonstration model loads");
    let card = ModelCard::load(&directory.join("card.toml")).expect("the demonstration card reads");
    RowJudge::new(decoder, Arc::new(model), Arc::new(card), MediaLimits::default(), batch)
        .expect("the card is for the model")
}

/// The same whose card leaves more to a judge: every caption, and categories this far from a limit.
///
/// # Panics
/// As [`judge_with`].
#[allow(clippy::expect_used)]
pub fn doubtful_judge(category: f64) -> RowJudge {
    let directory = demo_model();
    let model =
        DualEncoder::load(&directory, &LoadOptions::default()).expect("the demonstration model loads");
    let mut card = ModelCard::load(&directory.join("card.toml")).expect("the demonstration card reads");
    card.alignment.doubt = Some(DoubtBand { from: 0.0, below: 1.0 });
    card.category.doubt = Some(category);
    let decoder = Arc::new(FfmpegDecoder::default());
    RowJudge::new(decoder, Arc::new(model), Arc::new(card), MediaLimits::default(), 16)
        .expect("the card is for the model")
}

/// A judge with the demonstration model and FFmpeg.
pub fn judge(batch: usize) -> RowJudge {
    judge_with(Arc::new(FfmpegDecoder::default()), batch)
}
