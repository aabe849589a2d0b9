//! `nexis calibrate`: the card of a model, from rendered scenes or from pairs, with the figures behind it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use clap::Args;
use nexis_core::Error;
use nexis_core::check::{CategoryRule, middle_three};
use nexis_core::media::{FfmpegDecoder, Frame, FrameRequest, MediaDecoder, MediaLimits};
use nexis_core::model::card::{CalibrationCard, CardModel, ModelCard};
use nexis_core::model::registry::{ModelLocation, resolve};
use nexis_core::model::{ImageText, LoadOptions, Precision};
use nexis_core::protocol::Category;
use nexis_core::score::align::Aligner;
use nexis_core::score::category::{CategoryScorer, FrameCategory, score_of};
use nexis_core::score::evaluate::{CalibrationPlan, calibrate, evaluate};
use nexis_core::score::swaps::SwapBudget;
use nexis_core::score::text::TextEncoder;
use nexis_core::score::trials::{SwappedCaption, TrialClip, TrialPlan, View};
use nexis_core::synth::{
    Attribute, CLIP_SECONDS, ClipOptions, GENERIC_CAPTIONS, Scene, TemplateSet, encode_clip,
};
use nexis_core::verifier::{FRAMES_PER_CLIP, embed_frames, frame_scores};
use nexis_gpu::EngineOptions;
use rayon::prelude::*;

use super::calibrate_pairs::{Called, PairsCalibration, prompts};
use super::{OutputArguments, interrupt_flag};
use crate::EXIT_ACCEPTED;
use crate::roots::models_roots;
use crate::view::Progress;

/// Pictures in one call of the model.
const BATCH: usize = 32;
/// Captions of other scenes that every caption is compared with.
const DISTRACTORS: u64 = 64;
/// First seed of the scenes behind the distractors.
const DISTRACTOR_SEED: u64 = 9_000_000;
/// Attempts to find a caption variant that states an attribute.
const SWAP_ATTEMPTS: u64 = 14;

/// Fit a model's card, on pairs that people have judged or on rendered scenes, and write it
///
/// `nexis calibrate PAIRS --model ID` fits on pairs of clips and captions. `nexis calibrate ID`, without --model, fits on
/// scenes that are drawn, and measures on others.
#[derive(Args)]
pub(crate) struct Calibrate {
    /// With --model the file of pairs; else the model: an id of `nexis models list`, or a folder of a CLIP, a
    /// SigLIP or a MobileCLIP
    #[arg(value_name = "PAIRS_OR_MODEL")]
    what: String,
    /// The model to fit on pairs: an id of `nexis models list`, or a folder
    #[arg(long, value_name = "ID_OR_DIR")]
    model: Option<String>,
    /// Folder that holds registry.toml and the models; also NEXIS_MODELS; searched for where not given
    #[arg(long, value_name = "DIR")]
    models_dir: Option<PathBuf>,
    /// Prompts per label: a JSON object of seven lists; prompts.json in the model's folder where not given
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Where the card goes; where it is looked for, where not given: in the model's folder, or for a fetched model in
    /// the user's own
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The model's id in the registry; the folder's name where not given
    #[arg(long)]
    id: Option<String>,
    /// Scenes of each category to fit on
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(2..=100_000))]
    fit: u64,
    /// Scenes of each category to measure on
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(2..=100_000))]
    measure: u64,
    /// First seed of the scenes to fit on
    #[arg(long, default_value_t = 2_000_000)]
    fit_seed: u64,
    /// First seed of the scenes to measure on
    #[arg(long, default_value_t = 3_000_000)]
    measure_seed: u64,
    /// Today's date, for the card; by the machine's clock where not given
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    date: Option<String>,
    /// Threads to use; all cores where not given
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    on_pairs: PairsCalibration,
}

fn date(text: &str) -> Result<String, String> {
    let parsed = chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d");
    parsed.map(|date| date.to_string()).map_err(|_| "a day is expected, as in 2026-04-10".to_owned())
}

impl Calibrate {
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        if let Some(model) = &self.model {
            return self.on_pairs.run(&Called {
                pairs: Path::new(&self.what),
                engine: EngineOptions {
                    model: model.clone(),
                    models_roots: models_roots(self.models_dir.as_deref()),
                    device: "auto".into(),
                    precision: Precision::default(),
                    batch: BATCH,
                    max_wall: MediaLimits::default().max_wall,
                    ensemble: None,
                    judge: None,
                },
                prompts: self.prompts.as_deref(),
                out: self.out.clone(),
                id: self.id.clone(),
                date: self.date.clone(),
                threads: self.threads.unwrap_or(0),
                output: self.output,
            });
        }
        if Path::new(&self.what).is_file() {
            bail!(Error::usage(
                &self.what,
                "it is a file; name the model to fit on these pairs with --model"
            ));
        }
        if let Some(option) = self.on_pairs.given() {
            bail!(Error::usage(option, "it is about pairs; name the model to fit on them with --model"));
        }
        let interrupted = interrupt_flag()?;
        let progress = self.output.progress();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads.unwrap_or(0)).build()?;
        let location = resolve(&self.what, &models_roots(self.models_dir.as_deref()))?;
        let card = pool.install(|| self.card(&location, &progress, &interrupted))?;
        let path = self.out.clone().unwrap_or(location.card);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        fs::write(&path, card.to_toml()?).with_context(|| format!("writing {}", path.display()))?;
        let mut out = io::stdout().lock();
        if self.output.json {
            serde_json::to_writer_pretty(&mut out, &card)?;
            writeln!(out)?;
        } else {
            writeln!(out, "{:<52} {:>18} {:>9} {:>9}", "measure", "value", "floor", "goal")?;
            for figure in &card.calibration.figures {
                let (measure, value) = (&figure.measure, &figure.value);
                writeln!(out, "{measure:<52} {value:>18} {:>9} {:>9}", figure.floor, figure.goal)?;
            }
            writeln!(
                out,
                "threshold {:.4}, borderline {:.4}",
                card.alignment.threshold, card.alignment.borderline
            )?;
            writeln!(out, "{}", path.display())?;
        }
        Ok(EXIT_ACCEPTED)
    }

    fn card(
        &self,
        location: &ModelLocation,
        progress: &Progress,
        interrupted: &AtomicBool,
    ) -> anyhow::Result<ModelCard> {
        let id = self.id.clone().unwrap_or_else(|| location.id.clone());
        let options = LoadOptions { id: Some(id), ..LoadOptions::default() };
        let model = nexis_core::model::load(location.kind, &location.directory, &options)?;
        location.check(&model.identity().digests)?;
        let draft = self.draft(model.as_ref(), &location.directory)?;
        let texts = Arc::new(TextEncoder::new(Arc::clone(&model)));
        let (_, for_trials) = split_generic();
        let trials = TrialPlan { generic: for_trials, ..TrialPlan::default() };

        progress.stage("scenes to fit on", self.fit * 7);
        let plan = CalibrationPlan {
            trials: TrialPlan { views: vec![View::Clean, View::Compressed], ..trials.clone() },
            ..CalibrationPlan::default()
        };
        let seeds = self.fit_seed..self.fit_seed + self.fit * 7;
        let fitted_on =
            clips(model.as_ref(), seeds, TemplateSet::Train, &plan.trials.views, progress, interrupted)?;
        progress.stage("fitting", 0);
        let mut card = calibrate(&texts, &draft, &fitted_on, &plan)?;
        set_borderline(&texts, &mut card, &fitted_on)?;

        progress.stage("scenes to measure on", self.measure * 7);
        let seeds = self.measure_seed..self.measure_seed + self.measure * 7;
        let measured_on =
            clips(model.as_ref(), seeds, TemplateSet::HeldOut, &View::ALL, progress, interrupted)?;
        progress.stage("measuring", 0);
        let shared = Arc::new(card.clone());
        let aligner = Aligner::with_texts(Arc::clone(&texts), Arc::clone(&shared))?;
        let scorer = CategoryScorer::new(&texts, shared)?;
        let table = evaluate(&aligner, &scorer, &measured_on, &trials, &passes_as_nature)?;
        card.calibration.figures = table.figures();
        progress.finish();
        Ok(card)
    }

    /// Everything of the card that is not fitted.
    fn draft(&self, model: &dyn ImageText, folder: &Path) -> anyhow::Result<ModelCard> {
        let path = self.prompts.clone().unwrap_or_else(|| folder.join("prompts.json"));
        let prompts = prompts(&path)?;
        let identity = model.identity();
        let captions = (DISTRACTOR_SEED..DISTRACTOR_SEED + DISTRACTORS)
            .map(|seed| scene_of(seed).caption(TemplateSet::Train, seed))
            .collect();
        let about = CardModel {
            id: identity.id.clone(),
            demonstration: true,
            notice:
                "A demonstration and a test bed, trained on rendered scenes: not a judge of real footage."
                    .into(),
            digests: identity.digests.clone(),
        };
        let (generic, _) = split_generic();
        let mut draft = ModelCard::draft(about, generic, captions, SwapBudget::default(), prompts)?;
        let (fit, measure) = (self.fit * 7, self.measure * 7);
        draft.calibration = CalibrationCard {
            command: format!(
                "nexis calibrate {} --fit {} --measure {} --fit-seed {} --measure-seed {}",
                self.what, self.fit, self.measure, self.fit_seed, self.measure_seed
            ),
            date: self.date.clone().unwrap_or_else(|| chrono::Utc::now().format("%Y-%m-%d").to_string()),
            data: format!(
                "Rendered scenes, the seven categories in equal shares, six 1280x720 frames each through H.264 and \
                 the decoder. Fitted on {fit} scenes (seeds from {}) with training templates; measured on {measure} \
                 others (seeds from {}) with templates never trained on.",
                self.fit_seed, self.measure_seed
            ),
            ..draft.calibration
        };
        Ok(draft)
    }
}

/// Generic captions of the card, and others to try it with.
fn split_generic() -> (Vec<String>, Vec<String>) {
    let half = GENERIC_CAPTIONS.len() / 2;
    let all: Vec<String> = GENERIC_CAPTIONS.iter().map(ToString::to_string).collect();
    (all.iter().take(half).cloned().collect(), all.into_iter().skip(half).collect())
}

/// Seven neighbouring seeds give the seven categories.
fn scene_of(seed: u64) -> Scene {
    let index = usize::try_from(seed % 7).unwrap_or_default();
    let category = Category::ALL.get(index).copied().unwrap_or(Category::Nature);
    Scene::with_category(seed, category)
}

fn clips(
    model: &dyn ImageText,
    seeds: std::ops::Range<u64>,
    set: TemplateSet,
    wanted: &[View],
    progress: &Progress,
    interrupted: &AtomicBool,
) -> anyhow::Result<Vec<TrialClip>> {
    let folder = tempfile::tempdir()?;
    seeds
        .into_par_iter()
        .map(|seed| {
            if interrupted.load(Ordering::SeqCst) {
                bail!(Error::Interrupted);
            }
            let scene = scene_of(seed);
            let file = |name: &str| folder.path().join(format!("{seed}-{name}.mp4"));
            let clean = through_the_codec(&scene, None, &file("clean"))?;
            let views = wanted
                .iter()
                .map(|&view| {
                    let frames = match view {
                        View::Clean => clean.clone(),
                        View::Compressed => through_the_codec(&scene, Some(38), &file("compressed"))?,
                        View::Blurred => treated(&clean, blurred)?,
                        View::Grey => treated(&clean, grey)?,
                        View::CaptionBar => treated(&clean, with_caption_bar)?,
                    };
                    Ok((view, embed_frames(model, &frames, BATCH)?))
                })
                .collect::<anyhow::Result<BTreeMap<_, _>>>()?;
            progress.advance(1);
            Ok(TrialClip {
                category: scene.category,
                caption: scene.caption(set, seed),
                swapped: swaps(&scene, set, seed),
                views,
            })
        })
        .collect()
}

/// The frames of a scene after encoding and decoding: one second of the file for each frame.
fn through_the_codec(scene: &Scene, crf: Option<u8>, path: &Path) -> anyhow::Result<Vec<Frame>> {
    let (width, height) = (1280, 720);
    let step = CLIP_SECONDS / FRAMES_PER_CLIP as f64;
    let mut frames = (0..FRAMES_PER_CLIP).map(|k| scene.render(width, height, (k as f64 + 0.5) * step).data);
    let default = ClipOptions::default();
    let options = ClipOptions { fps: 1, crf: crf.unwrap_or(default.crf), ..default };
    encode_clip(path, width, height, &mut frames, &options)?;
    let seconds = (0..FRAMES_PER_CLIP).map(|k| k as f64 + 0.5).collect();
    let decoded =
        FfmpegDecoder::default().decode(path, &FrameRequest::At { seconds }, &MediaLimits::default())?;
    fs::remove_file(path).map_err(|e| Error::io(path, e))?;
    Ok(decoded.frames)
}

fn treated(frames: &[Frame], treat: fn(&Frame) -> anyhow::Result<Vec<u8>>) -> anyhow::Result<Vec<Frame>> {
    frames.iter().map(|frame| Ok(Frame { rgb: treat(frame)?.into(), ..frame.clone() })).collect()
}

/// Detail below four pixels is lost.
fn blurred(frame: &Frame) -> anyhow::Result<Vec<u8>> {
    let small = frame.resized(frame.width / 4, frame.height / 4)?;
    Ok(small.resized(frame.width, frame.height)?.rgb.to_vec())
}

fn grey(frame: &Frame) -> anyhow::Result<Vec<u8>> {
    let luma = |rgb: &[u8]| match rgb {
        [r, g, b] => (u32::from(*r) * 299 + u32::from(*g) * 587 + u32::from(*b) * 114) / 1000,
        _ => 0,
    };
    Ok(frame.rgb.chunks_exact(3).flat_map(|rgb| [luma(rgb) as u8; 3]).collect())
}

/// A dark bar over the lower quarter with rows of light blocks where letters would be.
fn with_caption_bar(frame: &Frame) -> anyhow::Result<Vec<u8>> {
    let (width, height) = (frame.width as usize, frame.height as usize);
    let top = height - height / 4;
    let cell = (height / 40).max(4);
    let mut rgb = frame.rgb.to_vec();
    for (y, row) in rgb.chunks_exact_mut(width * 3).enumerate().skip(top) {
        for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
            let (line, column) = ((y - top) / cell, x / cell);
            let in_text =
                line % 2 == 1 && (column * 7 + line * 3) % 6 != 0 && column > 8 && column + 8 < width / cell;
            let stroke = x % cell < cell * 3 / 5;
            pixel.fill(if in_text && stroke { 235 } else { 18 });
        }
    }
    Ok(rgb)
}

fn swaps(scene: &Scene, set: TemplateSet, seed: u64) -> Vec<SwappedCaption> {
    Attribute::ALL
        .iter()
        .filter_map(|&attribute| {
            (0..SWAP_ATTEMPTS)
                .find_map(|attempt| scene.swapped_caption(set, seed, attribute, attempt))
                .map(|text| SwappedCaption { attribute: attribute.word().to_owned(), text })
        })
        .collect()
}

/// The protocol's rule on the middle three frames.
fn passes_as_nature(frames: &[FrameCategory]) -> bool {
    let scores: Vec<_> = middle_three(frames.len())
        .into_iter()
        .flatten()
        .filter_map(|i| frames.get(i))
        .map(frame_scores)
        .collect();
    CategoryRule::default().decide(&scores).is_some_and(|decision| decision.accept)
}

/// How far scores move when embeddings are rounded to half precision, a stand-in for another device: the
/// forward pass itself was measured on one kind of device alone.
fn set_borderline(texts: &Arc<TextEncoder>, card: &mut ModelCard, clips: &[TrialClip]) -> anyhow::Result<()> {
    let shared = Arc::new(card.clone());
    let aligner = Aligner::with_texts(Arc::clone(texts), Arc::clone(&shared))?;
    let scorer = CategoryScorer::new(texts, shared)?;
    let moved = clips
        .par_iter()
        .filter_map(|clip| clip.views.get(&View::Clean).map(|view| (clip, view)))
        .map(|(clip, view)| -> anyhow::Result<(f64, f64)> {
            let rounded = view.rounded_to_half();
            let reading = aligner.measurer().read(&clip.caption)?;
            let p = |view| aligner.align_read(&reading, view).map(|a| a.probability);
            let nature = |view| -> nexis_core::Result<f64> {
                let frames = scorer.frames(view)?;
                Ok(frames.iter().map(|f| score_of(&f.scores, Category::Nature)).sum::<f64>()
                    / frames.len() as f64)
            };
            Ok(((p(view)? - p(&rounded)?).abs(), (nature(view)? - nature(&rounded)?).abs()))
        })
        .try_reduce(|| (0.0, 0.0), |a, b| Ok((a.0.max(b.0), a.1.max(b.1))))?;
    card.alignment.borderline = moved.0;
    card.alignment.borderline_basis = format!(
        "largest change of P(match) over {} clips when frame embeddings are rounded to half precision; no second \
         device was measured",
        clips.len()
    );
    card.category.borderline = moved.1;
    card.category.gate.borderline = moved.1;
    Ok(())
}
