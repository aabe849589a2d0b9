//! Puts the parts together that judge: decoder, model, card.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nexis_core::Result;
use nexis_core::media::{FfmpegDecoder, MediaDecoder, MediaLimits};
use nexis_core::model::card::ModelCard;
use nexis_core::model::registry::resolve;
use nexis_core::model::{ClipModel, ImageText, LoadOptions};
use nexis_core::verifier::RowJudge;
use nexis_gpu::DeviceChoice;

/// What to load and where to run it.
#[derive(Clone, Debug)]
pub(crate) struct EngineOptions {
    /// Registry id or model folder.
    pub(crate) model: String,
    /// Folder of the registry, where given.
    pub(crate) models_dir: Option<PathBuf>,
    /// `auto`, `cpu` or `cuda:N`.
    pub(crate) device: String,
    /// Pictures in one call of the model.
    pub(crate) batch: usize,
    /// Longest wall time for one clip.
    pub(crate) max_wall: Duration,
}

impl EngineOptions {
    /// The limits on clips.
    pub(crate) fn limits(&self) -> MediaLimits {
        MediaLimits { max_wall: self.max_wall, ..MediaLimits::default() }
    }

    /// The decoder.
    pub(crate) fn decoder(&self) -> Arc<dyn MediaDecoder> {
        Arc::new(FfmpegDecoder::default())
    }

    /// Loads the model alone, without a card.
    ///
    /// # Errors
    /// Where the device or the model cannot be used, with what to do about it.
    pub(crate) fn load_model(&self) -> Result<(Arc<dyn ImageText>, PathBuf)> {
        let choice: DeviceChoice = self.device.parse()?;
        nexis_gpu::resolve(choice)?;
        let location = resolve(&self.model, &models_roots(self.models_dir.as_deref()))?;
        let options = LoadOptions { id: Some(location.id.clone()), ..LoadOptions::default() };
        let model = ClipModel::load(&location.directory, &options)?;
        Ok((Arc::new(model), location.directory))
    }

    /// Everything that judges a row.
    ///
    /// # Errors
    /// As [`load_model`](Self::load_model), and where the card is missing or made for other weights.
    pub(crate) fn judge(&self) -> Result<RowJudge> {
        let (model, directory) = self.load_model()?;
        let card = ModelCard::load(&directory.join("card.toml"))?;
        RowJudge::new(self.decoder(), model, Arc::new(card), self.limits(), self.batch)
    }
}

/// Where models are looked for: the folder given, or else `models` here and in the folders above the
/// program.
pub(crate) fn models_roots(given: Option<&Path>) -> Vec<PathBuf> {
    if let Some(given) = given {
        return vec![given.to_path_buf()];
    }
    let program = std::env::current_exe().unwrap_or_default();
    let above = program.ancestors().skip(1).take(4).map(|folder| folder.join("models"));
    let mut roots: Vec<PathBuf> = Vec::new();
    for root in std::iter::once(PathBuf::from("models")).chain(above) {
        let known = |r: &PathBuf| same_folder(r, &root);
        if root.is_dir() && !roots.iter().any(known) {
            roots.push(root);
        }
    }
    roots
}

fn same_folder(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
