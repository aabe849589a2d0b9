//! Puts the parts together that judge: decoder, model, card. Every front door does it here, so that the program and
//! the Python package judge with the same parts.

use std::sync::Arc;
use std::time::Duration;

use nexis_core::media::{FfmpegDecoder, MediaDecoder, MediaLimits};
use nexis_core::model::card::ModelCard;
use nexis_core::model::judge::{self, Judge, JudgeOptions};
use nexis_core::model::registry::{ModelKind, ModelLocation, ModelPlaces, ModelRole, resolve};
use nexis_core::model::{DualEncoder, ImageText, LoadOptions, Precision};
use nexis_core::verifier::RowJudge;
use nexis_core::{Error, Result};

use crate::compute::Format;
use crate::cuda;
use crate::encode::EncodeOptions;
use crate::watched::Watched;
use crate::{CudaIndices, DeviceChoice, DeviceKind, Several};

/// What to load and where to run it.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Registry id or model folder.
    pub model: String,
    /// Where models are looked for.
    pub models_roots: ModelPlaces,
    /// `auto`, `cpu`, `cuda:N`, several of these between commas, or `cuda:all`.
    pub device: String,
    /// Precision of the forward pass.
    pub precision: Precision,
    /// Pictures in one call of the model.
    pub batch: usize,
    /// Longest wall time for one clip; on a GPU up to twice that, where the processor decodes anew what the GPU could not.
    pub max_wall: Duration,
    /// The encoder that decides together with the model, if any: registry id or model folder. It runs where the model
    /// does, in the same precision.
    pub ensemble: Option<String>,
    /// The judge behind the encoder, if any.
    pub judge: Option<JudgeChoice>,
}

/// A judge, and how often it may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgeChoice {
    /// Registry id or model folder.
    pub id: String,
    /// Questions of one interval at most.
    pub budget: u32,
}

/// What decodes; see [`EngineOptions::choose_decoder`].
pub struct ChosenDecoder {
    /// The decoder.
    pub decoder: Arc<dyn MediaDecoder>,
    /// Why a GPU's own is not used, where the model runs on one.
    pub why_not_the_gpu: Option<Error>,
}

/// The decoders of devices, as one.
fn decoder_on(indices: &CudaIndices) -> Result<Arc<dyn MediaDecoder>> {
    let one = |index| -> Result<Arc<dyn MediaDecoder>> { Ok(Arc::new(Watched::new(cuda::decoder(index)?))) };
    let each = indices.iter().map(one).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(Several::of_decoders(each)?))
}

impl EngineOptions {
    /// The limits on clips.
    pub fn limits(&self) -> MediaLimits {
        MediaLimits { max_wall: self.max_wall, ..MediaLimits::default() }
    }

    /// The decoder: a GPU's own where the model runs on one and FFmpeg was built with it, else FFmpeg on the processor.
    /// Frames have the same bytes, and evidence names the one that gave them. A GPU may accept a damaged clip that the
    /// processor refuses: who must agree with others chooses a precision that runs on the processor.
    pub fn decoder(&self) -> Arc<dyn MediaDecoder> {
        self.choose_decoder().decoder
    }

    /// The same, with the reason why it is the processor's where the model runs on a GPU, for whoever tells an operator.
    pub fn choose_decoder(&self) -> ChosenDecoder {
        let device = self.device.parse().and_then(|choice| crate::resolve(&choice, self.precision));
        let why_not_the_gpu = match device.map(|device| device.kind) {
            Ok(DeviceKind::Cuda(indices)) => match decoder_on(&indices) {
                Ok(decoder) => return ChosenDecoder { decoder, why_not_the_gpu: None },
                Err(why) => Some(why),
            },
            // A device that cannot be had is refused where the model is loaded.
            Ok(DeviceKind::Cpu) | Err(_) => None,
        };
        ChosenDecoder { decoder: Arc::new(FfmpegDecoder::default()), why_not_the_gpu }
    }

    /// Loads the model alone, without a card, and says where it was.
    ///
    /// # Errors
    /// Where the device or the model cannot be used, or a file is not the one on record, with what to do about it.
    pub fn load_model(&self) -> Result<(Arc<dyn ImageText>, ModelLocation)> {
        self.load_encoder(&self.model)
    }

    fn load_encoder(&self, model: &str) -> Result<(Arc<dyn ImageText>, ModelLocation)> {
        let choice: DeviceChoice = self.device.parse()?;
        let device = crate::resolve(&choice, self.precision)?;
        let location = resolve(model, &self.models_roots)?;
        if location.kind.role() == ModelRole::Judge {
            let why = "it answers questions and embeds nothing; `nexis models list` shows the encoders";
            return Err(Error::usage(format!("model {}", location.id), why));
        }
        let (id, precision) = (Some(location.id.clone()), self.precision);
        let model = match device.kind {
            DeviceKind::Cpu => {
                let options = LoadOptions { id, precision, ..LoadOptions::default() };
                nexis_core::model::load(location.kind, &location.directory, &options)?
            }
            DeviceKind::Cuda(_) if location.kind == ModelKind::Mobileclip => {
                let why = "its convolutions have no pass there; choose device cpu, and precision exact";
                return Err(Error::usage(format!("a MobileCLIP on {}", self.device), why));
            }
            DeviceKind::Cuda(indices) => {
                let format = if precision == Precision::F16 { Format::F16 } else { Format::Bf16 };
                let (pictures, max_pixels) = (self.batch, self.limits().max_pixels);
                let options = EncodeOptions { format, pictures, max_pixels, ..EncodeOptions::default() };
                Arc::new(DualEncoder::load_on(&location.directory, id, |plan| {
                    let load = |index| cuda::load_towers(index, plan, options).map(|(towers, _)| towers);
                    let each = indices.iter().map(load).collect::<Result<Vec<_>>>()?;
                    Ok(Box::new(Several::of_towers(each, &plan.sizes())?))
                })?)
            }
        };
        location.check(&model.identity().digests)?;
        Ok((model, location))
    }

    /// Loads a judge alone, onto the processor.
    ///
    /// # Errors
    /// As [`load_model`](Self::load_model), and where another device is named: none is fallen back from.
    pub fn load_judge(&self, id: &str) -> Result<Arc<dyn Judge>> {
        if let choice @ (DeviceChoice::Cuda(_) | DeviceChoice::AllCuda) = self.device.parse()? {
            return Err(Error::Missing {
                what: format!("a judge on {choice}"),
                remedy: "judges run on the processor: choose cpu or auto, or leave the judge out".to_owned(),
            });
        }
        let location = resolve(id, &self.models_roots)?;
        let options = JudgeOptions { id: Some(location.id.clone()), ..JudgeOptions::default() };
        let judge = judge::load(location.kind, &location.directory, &options)?;
        location.check(&judge.identity().model.digests)?;
        Ok(judge)
    }

    /// Everything that judges a row.
    ///
    /// # Errors
    /// As [`load_model`](Self::load_model), and where a card is missing or made for other weights, or both encoders have
    /// the same weights.
    pub fn judge(&self) -> Result<RowJudge> {
        self.judge_through(|model| model)
    }

    /// The same, with something between the judge and the loaded model, such as what gathers the calls of several
    /// threads; of two encoders, each with its own, the first's made first.
    ///
    /// # Errors
    /// As [`judge`](Self::judge).
    pub fn judge_through(
        &self,
        mut between: impl FnMut(Arc<dyn ImageText>) -> Arc<dyn ImageText>,
    ) -> Result<RowJudge> {
        let (model, location) = self.load_model()?;
        let card = ModelCard::load(&location.card)?;
        let judge = RowJudge::new(self.decoder(), between(model), Arc::new(card), self.limits(), self.batch)?;
        let judge = match &self.ensemble {
            Some(id) => {
                let (second, location) = self.load_encoder(id)?;
                judge.with_ensemble(between(second), Arc::new(ModelCard::load(&location.card)?))?
            }
            None => judge,
        };
        Ok(match &self.judge {
            Some(JudgeChoice { id, budget }) => judge.with_judge(self.load_judge(id)?, *budget),
            None => judge,
        })
    }
}
