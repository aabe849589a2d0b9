//! Pairs through models: every feature of each, in the order of the file.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ndarray::{Array2, Axis, concatenate};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::media::Opener;
use super::store::{Batch, Cost, EmbeddingStore};
use crate::error::{Error, Result};
use crate::evidence::canonical_digest;
use crate::hash::Digest;
use crate::media::MediaFailure;
use crate::media::resize::Resample;
use crate::media::tiles::tiles;
use crate::model::card::ModelCard;
use crate::model::registry::ModelLocation;
use crate::model::{Crop, ImageText};
use crate::pairs::{Pair, PairsRead, Shown};
use crate::score::FrameEmbeddings;
use crate::score::align::{CAPTION_LIMIT, Measurer};
use crate::score::features::{AlignmentFeatures, FEATURES_VERSION, Feature};
use crate::score::swaps::SwapBudget;
use crate::score::text::TextEncoder;
use crate::verifier::{FRAMES_PER_CLIP, PREPROCESSING_VERSION};

/// Pairs that are worked on at once, and written in one transaction.
const CHUNK: usize = 256;
/// Frames that are decoded and cut before they are embedded, but for one clip that has more: what bounds the tiles in
/// memory.
const FRAMES: usize = 16 * FRAMES_PER_CLIP;
/// Most broken pairs that are listed; all are counted.
const LISTED: usize = 1000;

/// The captions that every caption of a model is held against.
#[derive(Clone, Debug, PartialEq)]
pub struct TextSide {
    /// Captions that would fit almost any clip.
    pub generic: Vec<String>,
    /// Captions of other clips.
    pub distractors: Vec<String>,
    /// How many swaps are made of each caption.
    pub swaps: SwapBudget,
}

impl TextSide {
    /// Those of a card.
    pub fn of(card: &ModelCard) -> Self {
        let alignment = &card.alignment;
        Self {
            generic: alignment.generic.clone(),
            distractors: alignment.distractors.clone(),
            swaps: alignment.swaps,
        }
    }

    /// None, for a model without a card: what depends on them is 0.
    pub fn none() -> Self {
        Self {
            generic: Vec::new(),
            distractors: Vec::new(),
            swaps: SwapBudget { per_attribute: 0, total: 0 },
        }
    }
}

/// A model that measures.
#[derive(Debug)]
pub struct BenchModel {
    /// The name under which it was asked for.
    pub name: String,
    /// Its card, where it has one that belongs to its weights.
    pub card: Option<Arc<ModelCard>>,
    measurer: Measurer,
    pictures: Digest,
    measures: Digest,
}

impl BenchModel {
    /// The model and the card that a name means: `ID`, or `ID@CARD` for another card than the model's own. A folder may
    /// have an `@` in its name: one that is there is meant before anything else.
    pub fn named(name: &str) -> (&str, Option<&Path>) {
        let split = || name.match_indices('@').filter_map(|(at, _)| name.split_at_checked(at));
        let folder = split().find(|(id, _)| Path::new(id).is_dir());
        match folder.or_else(|| split().next()) {
            Some((id, card)) if !Path::new(name).is_dir() => (id, card.strip_prefix('@').map(Path::new)),
            _ => (name, None),
        }
    }

    /// The card that was named, or the model's own, where it has one.
    ///
    /// # Errors
    /// Where the card that was named is not there, or either cannot be read.
    pub fn card_of(named: Option<&Path>, location: &ModelLocation) -> Result<Option<Arc<ModelCard>>> {
        let path = named.or_else(|| location.card.is_file().then_some(location.card.as_path()));
        Ok(path.map(ModelCard::load).transpose()?.map(Arc::new))
    }

    /// A model with its card, or without.
    ///
    /// # Errors
    /// Where the card makes no sense or is for other weights, or the model fails.
    pub fn new(
        name: impl Into<String>,
        model: Arc<dyn ImageText>,
        card: Option<Arc<ModelCard>>,
        decoder: &str,
    ) -> Result<Self> {
        let side = match &card {
            Some(card) => {
                card.validate()?;
                card.check_weights(model.identity())?;
                TextSide::of(card)
            }
            None => TextSide::none(),
        };
        Self::measuring(name, model, card, &side, decoder)
    }

    /// A model that holds captions against these, as a card that is yet to be made will.
    ///
    /// # Errors
    /// Where the model fails.
    pub fn measuring(
        name: impl Into<String>,
        model: Arc<dyn ImageText>,
        card: Option<Arc<ModelCard>>,
        side: &TextSide,
        decoder: &str,
    ) -> Result<Self> {
        let identity = model.identity();
        let pictures = canonical_digest(&json!({
            "what": "embeddings of six frames of a clip, or of pictures as they are, tile by tile",
            "preprocessing": PREPROCESSING_VERSION,
            "frames": FRAMES_PER_CLIP,
            "size": model.preprocess().size,
            "decoder": decoder,
            "architecture": identity.architecture,
            "digests": identity.digests,
            "precision": identity.precision,
            "device": identity.device,
        }))?;
        let measures = canonical_digest(&json!({
            "what": "features of a caption against a clip",
            "version": FEATURES_VERSION,
            "features": Feature::ALL.map(Feature::name).as_slice(),
            "pictures": pictures,
            "generic": side.generic,
            "distractors": side.distractors,
            "swaps": side.swaps,
        }))?;
        let texts = Arc::new(TextEncoder::new(model));
        let measurer = Measurer::new(texts, &side.generic, &side.distractors, side.swaps)?;
        Ok(Self { name: name.into(), card, measurer, pictures, measures })
    }

    /// The model.
    pub fn model(&self) -> &Arc<dyn ImageText> {
        self.measurer.texts().model()
    }

    /// What measures.
    pub fn measurer(&self) -> &Measurer {
        &self.measurer
    }

    fn picture_key(&self, shown: &Digest) -> Digest {
        joined(&[&self.pictures, shown])
    }

    fn measure_key(&self, shown: &Digest, caption: &Digest) -> Digest {
        joined(&[&self.measures, shown, caption])
    }
}

fn joined(digests: &[&Digest]) -> Digest {
    Digest::of(digests.iter().flat_map(|digest| *digest.as_bytes()).collect::<Vec<u8>>())
}

/// Sees a measurement as it goes.
pub trait Watch: Sync {
    /// So many pairs more are done.
    fn advanced(&self, pairs: u64);

    /// Whether it should stop.
    fn interrupted(&self) -> bool;
}

/// A pair that could not be measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// Where it stands in its file.
    pub row: u64,
    /// Why, in words.
    pub why: String,
}

/// A pair with its measures.
#[derive(Clone, Debug)]
pub struct MeasuredPair<'a> {
    /// Its place among all pairs of the file, from 0.
    pub index: u64,
    /// The pair.
    pub pair: &'a Pair,
    /// The digest of what it shows.
    pub shown: Digest,
    /// Per model.
    pub features: Vec<AlignmentFeatures>,
    /// Per model, where they were asked for.
    pub embeddings: Vec<&'a FrameEmbeddings>,
}

/// What is handed out of each pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The features alone; embeddings are not even read where the features are known.
    Features,
    /// The embeddings as well.
    Embeddings,
}

/// What came of a measurement beside the measures.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// Pairs that were measured.
    pub measured: u64,
    /// Pairs that could not be.
    pub broken: u64,
    /// The first of those.
    pub listed: Vec<Broken>,
    /// SHA-256 over the pairs that were measured: what they show by its bytes, caption, ratings, group, subset and
    /// category. It does not depend on paths or on the format of the file.
    pub content: Digest,
    /// What was read of the file.
    pub read: PairsRead,
    /// Per model, the cost of what was worked out, now and in earlier runs with the same store. Pictures that several
    /// models of the run see alike are embedded once, and count for each of them.
    pub costs: Vec<Cost>,
    /// Per model, how many of the pairs were found in the store.
    pub found: Vec<u64>,
}

/// Measures every pair with every model, and gives them in their order.
///
/// A clip is decoded once for all models. Each embedding depends on its picture alone and each feature on its pair
/// alone, so neither the chunks nor the store change a bit.
///
/// # Errors
/// What is wrong with the file of pairs, or with us; whatever `each` gives. A pair whose clip is broken is listed.
pub fn measure_pairs(
    models: &[BenchModel],
    opener: &Opener<'_>,
    store: Option<&EmbeddingStore>,
    batch: usize,
    keep: Keep,
    watch: &dyn Watch,
    each: &mut dyn FnMut(MeasuredPair<'_>) -> Result<()>,
) -> Result<Measurement> {
    let eyes = models
        .iter()
        .enumerate()
        .map(|(m, model)| models.iter().position(|other| other.pictures == model.pictures).unwrap_or(m))
        .collect();
    let mut run = Run {
        models,
        eyes,
        opener,
        store,
        batch,
        keep,
        measured: 0,
        broken: 0,
        listed: Vec::new(),
        costs: vec![Cost::default(); models.len()],
        found: vec![0; models.len()],
        content: Sha256::new(),
        next: 0,
    };
    let mut chunk: Vec<Pair> = Vec::with_capacity(CHUNK);
    let read = opener.source.each(&mut |pair| {
        chunk.push(pair);
        if chunk.len() == CHUNK {
            run.chunk(&chunk, watch, each)?;
            chunk.clear();
        }
        Ok(())
    })?;
    run.chunk(&chunk, watch, each)?;
    let Run { measured, broken, listed, mut costs, found, content, .. } = run;
    if let Some(store) = store {
        for (model, cost) in models.iter().zip(&mut costs) {
            *cost = store.cost(&model.pictures)?.plus(store.cost(&model.measures)?);
        }
    }
    let content = Digest::from_bytes(content.finalize().into());
    Ok(Measurement { measured, broken, listed, content, read, costs, found })
}

struct Run<'a> {
    models: &'a [BenchModel],
    /// Per model, the first of the run that embeds pictures as it does: itself, or one with another card.
    eyes: Vec<usize>,
    opener: &'a Opener<'a>,
    store: Option<&'a EmbeddingStore>,
    batch: usize,
    keep: Keep,
    measured: u64,
    broken: u64,
    listed: Vec<Broken>,
    costs: Vec<Cost>,
    found: Vec<u64>,
    content: Sha256,
    next: u64,
}

/// What one clip gave: per size of a model's pictures its tiles, and how many frames there are.
struct Cut {
    frames: usize,
    crops: HashMap<(u32, Resample), Vec<Crop>>,
}

type Embedded = HashMap<Digest, FrameEmbeddings>;

impl Run<'_> {
    fn chunk(
        &mut self,
        pairs: &[Pair],
        watch: &dyn Watch,
        each: &mut dyn FnMut(MeasuredPair<'_>) -> Result<()>,
    ) -> Result<()> {
        if watch.interrupted() {
            return Err(Error::Interrupted);
        }
        // What each pair shows, hashed once where several pairs show the same file.
        let distinct: BTreeSet<&Shown> = pairs.iter().map(|pair| &pair.shown).collect();
        let distinct: Vec<&Shown> = distinct.into_iter().collect();
        let digests: HashMap<&Shown, Result<Digest, String>> =
            distinct.par_iter().map(|shown| (*shown, self.opener.digest(shown))).collect();
        let mut of_pairs: Vec<Result<Digest, String>> = pairs
            .iter()
            .map(|pair| digests.get(&pair.shown).cloned().unwrap_or_else(|| Err("it was not read".into())))
            .collect();
        let captions: Vec<Digest> = pairs.iter().map(|pair| Digest::of(&pair.caption)).collect();

        let mut known = self.known(&of_pairs, &captions)?;
        let mut batch = Batch::default();
        let (embedded, broken) = self.embed(pairs, &of_pairs, &known, &mut batch, watch)?;
        for digest in &mut of_pairs {
            if let Ok(shown) = digest
                && let Some(why) = broken.get(shown)
            {
                *digest = Err(why.clone());
            }
        }
        for (m, model) in self.models.iter().enumerate() {
            let of_model = self.eyes.get(m).and_then(|eyes| embedded.get(*eyes));
            let started = Instant::now();
            let wanted: Vec<usize> = (0..pairs.len())
                .filter(|i| of_pairs.get(*i).is_some_and(Result::is_ok))
                .filter(|i| known.get(m).and_then(|k| k.get(*i)).is_some_and(Option::is_none))
                .collect();
            let measured: Vec<(usize, Result<AlignmentFeatures, String>)> = wanted
                .par_iter()
                .filter_map(|i| {
                    let (pair, Ok(shown)) = (pairs.get(*i)?, of_pairs.get(*i)?) else { return None };
                    let embeddings = of_model?.get(shown)?;
                    Some(measure_one(model, pair, embeddings).map(|features| (*i, features)))
                })
                .collect::<Result<_>>()?;
            let cost = Cost {
                pairs: measured.len() as u64,
                text_seconds: started.elapsed().as_secs_f64(),
                ..Cost::default()
            };
            if !wanted.is_empty() {
                self.spend(&[m], model.measures, cost, &mut batch);
            }
            for (i, features) in measured {
                match (features, of_pairs.get_mut(i)) {
                    (Ok(features), Some(Ok(shown))) => {
                        if let Some(caption) = captions.get(i) {
                            batch.measures.push((model.measure_key(shown, caption), features.clone()));
                        }
                        if let Some(slot) = known.get_mut(m).and_then(|k| k.get_mut(i)) {
                            *slot = Some(features);
                        }
                    }
                    (Err(why), Some(slot)) => *slot = Err(why),
                    _ => {}
                }
            }
        }
        if let Some(store) = self.store {
            store.write(&batch)?;
        }
        for (i, pair) in pairs.iter().enumerate() {
            let index = self.next;
            self.next += 1;
            let features: Option<Vec<AlignmentFeatures>> =
                known.iter().map(|of_model| of_model.get(i).cloned().flatten()).collect();
            match (of_pairs.get(i), features) {
                (Some(Ok(shown)), Some(features)) => {
                    self.measured += 1;
                    let said =
                        (&shown, &pair.caption, &pair.ratings, &pair.group, &pair.subset, &pair.category);
                    self.content.update(canonical_digest(&said)?.as_bytes());
                    let embeddings = match self.keep {
                        Keep::Features => Vec::new(),
                        Keep::Embeddings => {
                            let of_models = self.eyes.iter().filter_map(|eyes| embedded.get(*eyes));
                            of_models.filter_map(|of_model| of_model.get(shown)).collect()
                        }
                    };
                    each(MeasuredPair { index, pair, shown: *shown, features, embeddings })?;
                }
                (digest, _) => {
                    self.broken += 1;
                    if self.listed.len() < LISTED {
                        let why = match digest {
                            Some(Err(why)) => why.clone(),
                            _ => "it was not measured".to_owned(),
                        };
                        self.listed.push(Broken { row: pair.row, why });
                    }
                }
            }
        }
        watch.advanced(pairs.len() as u64);
        Ok(())
    }

    /// Measures that are in the store, per model and pair.
    fn known(
        &mut self,
        shown: &[Result<Digest, String>],
        captions: &[Digest],
    ) -> Result<Vec<Vec<Option<AlignmentFeatures>>>> {
        let Some(store) = self.store else { return Ok(vec![vec![None; shown.len()]; self.models.len()]) };
        let mut known = Vec::with_capacity(self.models.len());
        for (m, model) in self.models.iter().enumerate() {
            // A pair that is broken has no key of its own; nothing is stored under this one.
            let keys: Vec<Digest> = shown
                .iter()
                .zip(captions)
                .map(|(shown, caption)| match shown {
                    Ok(shown) => model.measure_key(shown, caption),
                    Err(_) => Digest::of([]),
                })
                .collect();
            let found = store.measures(&keys)?;
            if let Some(count) = self.found.get_mut(m) {
                *count += found.iter().flatten().count() as u64;
            }
            known.push(found);
        }
        Ok(known)
    }

    /// Pictures cost the same whatever captions are held against, so both parts have a key of their own.
    fn spend(&mut self, models: &[usize], key: Digest, cost: Cost, batch: &mut Batch) {
        for m in models {
            if let Some(sum) = self.costs.get_mut(*m) {
                *sum = sum.plus(cost);
            }
        }
        batch.costs.push((key, cost));
    }

    /// Which models see pictures as the mth does, where that is the first of them; none otherwise.
    fn sharing(&self, m: usize) -> Vec<usize> {
        self.eyes.iter().enumerate().filter(|(_, eyes)| **eyes == m).map(|(k, _)| k).collect()
    }

    /// Per model the embeddings that its missing measures need, and why a clip has none. Models that see pictures alike
    /// have theirs in the place of the first of them.
    fn embed(
        &mut self,
        pairs: &[Pair],
        digests: &[Result<Digest, String>],
        known: &[Vec<Option<AlignmentFeatures>>],
        batch: &mut Batch,
        watch: &dyn Watch,
    ) -> Result<(Vec<Embedded>, HashMap<Digest, String>)> {
        let mut embedded: Vec<Embedded> = vec![HashMap::new(); self.models.len()];
        // For each clip in the order of the file, the models that lack it.
        let mut lacking: Vec<(Digest, &Shown, Vec<usize>)> = Vec::new();
        let mut place: HashMap<Digest, usize> = HashMap::new();
        for (m, model) in self.models.iter().enumerate() {
            let sharing = self.sharing(m);
            let mut wanted: Vec<(Digest, &Shown)> = Vec::new();
            let mut seen = BTreeSet::new();
            for (i, pair) in pairs.iter().enumerate() {
                let lacks = |k: &usize| known.get(*k).and_then(|k| k.get(i)).is_some_and(Option::is_none);
                let missing = match self.keep {
                    Keep::Embeddings => !sharing.is_empty(),
                    Keep::Features => sharing.iter().any(lacks),
                };
                if let (true, Some(Ok(digest))) = (missing, digests.get(i))
                    && seen.insert(*digest)
                {
                    wanted.push((*digest, &pair.shown));
                }
            }
            let keys: Vec<Digest> = wanted.iter().map(|(digest, _)| model.picture_key(digest)).collect();
            let found = match self.store {
                Some(store) => store.pictures(&keys)?,
                None => vec![None; keys.len()],
            };
            for ((digest, shown), found) in wanted.into_iter().zip(found) {
                if let (Some(found), Some(of_model)) = (found, embedded.get_mut(m)) {
                    of_model.insert(digest, found);
                    continue;
                }
                let at = *place.entry(digest).or_insert(lacking.len());
                match lacking.get_mut(at) {
                    Some((.., models)) => models.push(m),
                    None => lacking.push((digest, shown, vec![m])),
                }
            }
        }
        let mut broken = HashMap::new();
        let mut rest = lacking.as_slice();
        while !rest.is_empty() {
            let (part, later) = rest.split_at(first_part(rest.iter().map(|(_, shown, _)| frames_of(shown))));
            rest = later;
            if watch.interrupted() {
                return Err(Error::Interrupted);
            }
            let started = Instant::now();
            let cuts = part
                .par_iter()
                .map(|(_, shown, models)| match self.cut(shown, models) {
                    Ok(cut) => Ok(Ok(cut)),
                    Err(MediaFailure::Clip(why)) => Ok(Err(why)),
                    Err(MediaFailure::Ours(error)) => Err(error),
                })
                .collect::<Result<Vec<Result<Cut, String>>>>()?;
            let seconds = started.elapsed().as_secs_f64();
            for ((digest, ..), cut) in part.iter().zip(&cuts) {
                if let Err(why) = cut {
                    broken.insert(*digest, why.clone());
                }
            }
            for (m, model) in self.models.iter().enumerate() {
                let tiling = tiling(model);
                let of_model: Vec<(&Digest, usize, &[Crop])> = part
                    .iter()
                    .zip(&cuts)
                    .filter(|((.., models), _)| models.contains(&m))
                    .filter_map(|((digest, ..), cut)| {
                        let cut = cut.as_ref().ok()?;
                        Some((digest, cut.frames, cut.crops.get(&tiling)?.as_slice()))
                    })
                    .collect();
                if of_model.is_empty() {
                    continue;
                }
                let started = Instant::now();
                let crops: Vec<&Crop> = of_model.iter().flat_map(|(.., crops)| *crops).collect();
                let rows = crops
                    .chunks(self.batch.max(1))
                    .map(|part| {
                        let part: Vec<Crop> = part.iter().copied().cloned().collect();
                        model.model().encode_image(&part)
                    })
                    .collect::<Result<Vec<_>>>()?;
                let cost = Cost {
                    clips: of_model.len() as u64,
                    // Of what all clips of the part took, the share of those that this model needed.
                    decode_seconds: seconds * of_model.len() as f64 / part.len() as f64,
                    encode_seconds: started.elapsed().as_secs_f64(),
                    ..Cost::default()
                };
                self.spend(&self.sharing(m), model.pictures, cost, batch);
                let rows = stacked(&rows)?;
                let mut at = 0;
                for (digest, frames, crops) in of_model {
                    let mine = rows.slice_axis(Axis(0), (at..at + crops.len()).into()).to_owned();
                    at += crops.len();
                    let embeddings =
                        FrameEmbeddings::new(frames, crops.len().checked_div(frames).unwrap_or(0), mine)?;
                    if self.store.is_some() {
                        batch.pictures.push((model.picture_key(digest), embeddings.clone()));
                    }
                    if let Some(of_model) = embedded.get_mut(m) {
                        of_model.insert(*digest, embeddings);
                    }
                }
            }
        }
        Ok((embedded, broken))
    }

    /// Decodes a clip and cuts its tiles in the sizes that these models read, frame by frame: of a frame no more than
    /// its tiles is kept.
    fn cut(&self, shown: &Shown, models: &[usize]) -> Result<Cut, MediaFailure> {
        let models = models.iter().filter_map(|m| self.models.get(*m));
        let mut crops: HashMap<(u32, Resample), Vec<Crop>> =
            models.map(|model| (tiling(model), Vec::new())).collect();
        let mut frames = 0;
        self.opener.each_frame(shown, &mut |frame| {
            frames += 1;
            for ((size, resample), crops) in &mut crops {
                crops.extend(tiles(&frame, *size, *resample)?);
            }
            Ok(())
        })?;
        Ok(Cut { frames, crops })
    }
}

fn frames_of(shown: &Shown) -> usize {
    match shown {
        Shown::Clip(_) => FRAMES_PER_CLIP,
        Shown::Frames(keys) => keys.len(),
    }
}

/// How many clips with so many frames are worked on together: one at least.
fn first_part(frames: impl Iterator<Item = usize>) -> usize {
    let mut sum = 0;
    let within = frames.take_while(|n| {
        sum += n;
        sum <= FRAMES
    });
    within.count().max(1)
}

/// How a model wants its tiles.
fn tiling(model: &BenchModel) -> (u32, Resample) {
    let spec = model.model().preprocess();
    (spec.size, spec.resample)
}

fn stacked(rows: &[Array2<f32>]) -> Result<Array2<f32>> {
    let views: Vec<_> = rows.iter().map(|rows| rows.view()).collect();
    concatenate(Axis(0), &views).map_err(|e| Error::Internal(format!("embeddings of different widths: {e}")))
}

/// The features of one pair; in words, why its caption has none.
fn measure_one(
    model: &BenchModel,
    pair: &Pair,
    embeddings: &FrameEmbeddings,
) -> Result<Result<AlignmentFeatures, String>> {
    debug_assert!(pair.caption.len() <= CAPTION_LIMIT);
    let reading = model.measurer.read(&pair.caption)?;
    if let Some(why) = reading.refused() {
        return Ok(Err(why.to_owned()));
    }
    Ok(Ok(model.measurer.measure(&reading, embeddings)?.features))
}
