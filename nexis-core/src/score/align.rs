//! A caption against the frames of a clip.
//!
//! The text side ([`CaptionReading`]) and the measures ([`Measurer`]) are apart from the logistic model that a
//! card adds ([`Aligner`]), because calibration needs the first two before there is a card.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::features::{AlignmentFeatures, Feature};
use super::swaps::{Attribute, SwapBudget, swaps};
use super::text::{TextEncoder, centre, cosine};
use super::threshold::judge;
use super::units::{Unit, caption_units};
use super::{FrameEmbeddings, FrameSimilarity, deviation, greatest, least, mean, sigmoid};
use crate::error::Result;
use crate::model::ImageText;
use crate::model::card::{AlignmentCard, ModelCard};

/// A longer caption (bytes) is not read at all and matches nothing. 16,384 bytes are some 2,500 words, which no five
/// seconds deserve; all of them are encoded, so this also bounds what a caption can cost a validator.
pub const CAPTION_LIMIT: usize = 16_384;

/// What the text side of a caption gives, whatever the clip.
#[derive(Clone, Debug)]
pub struct CaptionReading {
    /// Its units, the whole first where the encoder can read it.
    units: Vec<(Unit, Arc<[f32]>)>,
    whole: bool,
    swaps: Vec<ReadSwap>,
    tokens_per_word: f64,
    generic_likeness: f64,
    bank_likeness: f64,
    refused: Option<String>,
}

#[derive(Clone, Debug)]
struct ReadSwap {
    attribute: Attribute,
    text: String,
    /// The unit that was swapped, by index.
    unit: usize,
    row: Arc<[f32]>,
}

impl CaptionReading {
    /// The units, the whole first where the encoder can read it at once.
    pub fn units(&self) -> impl Iterator<Item = &Unit> {
        self.units.iter().map(|(unit, _)| unit)
    }

    /// One unit-length embedding for the caption: the whole's, or the centre of its units'.
    pub fn embedding(&self) -> Vec<f32> {
        match self.units.first() {
            Some((_, row)) if self.whole => row.to_vec(),
            _ => centre(&self.units.iter().map(|(_, row)| Arc::clone(row)).collect::<Vec<_>>()),
        }
    }

    /// Why the caption cannot be read at all, which is its author's fault.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// The units without the whole, unless it is the only one.
    fn parts(&self) -> &[(Unit, Arc<[f32]>)] {
        match self.units.split_first() {
            Some((_, parts)) if self.whole && !parts.is_empty() => parts,
            _ => &self.units,
        }
    }
}

/// One unit's similarity with a clip.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UnitScore {
    /// The unit.
    pub text: String,
    /// Mean over the frames.
    pub similarity: f64,
    /// Per frame, mean over tiles.
    pub frames: Vec<f64>,
}

/// One swap's similarity with a clip.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SwapScore {
    /// What was changed.
    pub attribute: Attribute,
    /// The text with the change: the caption, or the unit that holds it.
    pub text: String,
    /// How much better the unchanged text fits; below 0 the change fits better.
    pub margin: f64,
}

/// The measures of a caption against a clip.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Unit by unit.
    pub units: Vec<UnitScore>,
    /// Swap by swap.
    pub swaps: Vec<SwapScore>,
    /// The features.
    pub features: AlignmentFeatures,
}

/// Takes the measures. Texts that every clip is compared with are embedded once.
#[derive(Debug)]
pub struct Measurer {
    texts: Arc<TextEncoder>,
    generic: Vec<Arc<[f32]>>,
    bank: Vec<Arc<[f32]>>,
    budget: SwapBudget,
    logit_scale: f64,
    /// Tokens that the model puts around every text.
    framing: usize,
}

impl Measurer {
    /// A measurer with these generic and distractor captions.
    ///
    /// # Errors
    /// Where the model fails.
    pub fn new(
        texts: Arc<TextEncoder>,
        generic: &[String],
        distractors: &[String],
        budget: SwapBudget,
    ) -> Result<Self> {
        let generic = texts.embed_all(generic)?;
        let bank = texts.embed_all(distractors)?;
        let logit_scale = f64::from(texts.model().logit_scale());
        let framing = texts.model().tokenize("")?.len();
        Ok(Self { texts, generic, bank, budget, logit_scale, framing })
    }

    /// The encoder in use.
    pub fn texts(&self) -> &Arc<TextEncoder> {
        &self.texts
    }

    /// How many tokens the model's tokenizer makes of a text, those that it puts around every text not counted.
    ///
    /// # Errors
    /// Where the tokenizer fails, or the text is too long for it.
    pub fn count_tokens(&self, text: &str) -> Result<usize> {
        Ok(self.texts.model().tokenize(text)?.len().saturating_sub(self.framing))
    }

    /// Reads a caption: units, swaps and their embeddings.
    ///
    /// # Errors
    /// Where the model fails; never for what the caption says.
    pub fn read(&self, caption: &str) -> Result<CaptionReading> {
        if caption.len() > CAPTION_LIMIT {
            let why = format!("the caption has {} bytes; at most {CAPTION_LIMIT} are read", caption.len());
            return Ok(CaptionReading::unread(why));
        }
        let failure = RefCell::new(None);
        let fits = |text: &str| {
            self.texts.fits(text).unwrap_or_else(|error| {
                failure.borrow_mut().get_or_insert(error);
                false
            })
        };
        let units = caption_units(caption, &fits);
        let Some((first, last)) = units.first().zip(units.last()) else {
            return Ok(CaptionReading::unread("the caption has no words".into()));
        };
        let whole = first.end >= last.end && units.len() > 1 || units.len() == 1;
        let mut swapped = Vec::new();
        for swap in swaps(caption, self.budget) {
            let holder = units.iter().enumerate().find_map(|(index, unit)| {
                let text = swap.apply_within(caption, unit.start, unit.end)?;
                fits(&text).then_some((index, text))
            });
            if let Some((unit, text)) = holder {
                swapped.push((swap.attribute, unit, text));
            }
        }
        let mut tokens = 0_usize;
        let mut words = 0_usize;
        for unit in if whole { units.get(..1).unwrap_or_default() } else { &units } {
            tokens += self.count_tokens(&unit.text)?;
            words += unit.text.split_whitespace().count();
        }
        if let Some(error) = failure.into_inner() {
            return Err(error);
        }
        let wanted: Vec<&str> = units
            .iter()
            .map(|unit| unit.text.as_str())
            .chain(swapped.iter().map(|(.., text)| text.as_str()))
            .collect();
        let rows = self.texts.embed(&wanted)?;
        let (unit_rows, swap_rows) = rows.split_at_checked(units.len()).unwrap_or((&rows, &[]));
        let mut reading = CaptionReading {
            units: units.into_iter().zip(unit_rows.iter().cloned()).collect(),
            whole,
            swaps: swapped
                .into_iter()
                .zip(swap_rows.iter().cloned())
                .map(|((attribute, unit, text), row)| ReadSwap { attribute, text, unit, row })
                .collect(),
            tokens_per_word: tokens as f64 / words.max(1) as f64,
            generic_likeness: 0.0,
            bank_likeness: 0.0,
            refused: None,
        };
        let embedding = reading.embedding();
        let likeness =
            |rows: &[Arc<[f32]>]| -> Vec<f64> { rows.iter().map(|row| cosine(&embedding, row)).collect() };
        let generic = likeness(&self.generic);
        reading.generic_likeness = or_zero(&generic, greatest(&generic));
        reading.bank_likeness = mean(&likeness(&self.bank));
        Ok(reading)
    }

    /// Measures a caption against a clip.
    ///
    /// # Errors
    /// Where embeddings do not belong together.
    pub fn measure(&self, reading: &CaptionReading, clip: &FrameEmbeddings) -> Result<Measured> {
        let similarity = |row: &[f32]| Ok::<_, crate::error::Error>(overall(&clip.similarities(row)?));
        let all = |rows: &[Arc<[f32]>]| rows.iter().map(|row| similarity(row)).collect::<Result<Vec<f64>>>();
        let bank = all(&self.bank)?;
        let generic = all(&self.generic)?;

        let per_unit: Vec<Vec<FrameSimilarity>> =
            reading.units.iter().map(|(_, row)| clip.similarities(row)).collect::<Result<_>>()?;
        let skipped = per_unit.len().saturating_sub(reading.parts().len());
        let parts = per_unit.get(skipped..).unwrap_or_default();
        let part_scores: Vec<f64> = parts.iter().map(|frames| overall(frames)).collect();
        // Frame by frame the whole, or the mean of the units where there is no whole.
        let whole: Vec<FrameSimilarity> = match per_unit.first() {
            Some(frames) if reading.whole => frames.clone(),
            _ => (0..clip.frames())
                .map(|frame| {
                    let here: Vec<FrameSimilarity> =
                        per_unit.iter().filter_map(|frames| frames.get(frame).copied()).collect();
                    FrameSimilarity {
                        mean: mean(&here.iter().map(|s| s.mean).collect::<Vec<_>>()),
                        max: mean(&here.iter().map(|s| s.max).collect::<Vec<_>>()),
                    }
                })
                .collect(),
        };
        let frame_means: Vec<f64> = whole.iter().map(|s| s.mean).collect();
        let frame_maxima: Vec<f64> = whole.iter().map(|s| s.max).collect();
        let caption = overall(&whole);

        let mut margins: BTreeMap<Attribute, Vec<f64>> = BTreeMap::new();
        let mut swaps = Vec::with_capacity(reading.swaps.len());
        for swap in &reading.swaps {
            let original = per_unit.get(swap.unit).map_or(caption, |frames| overall(frames));
            let margin = original - similarity(&swap.row)?;
            margins.entry(swap.attribute).or_default().push(margin);
            swaps.push(SwapScore { attribute: swap.attribute, text: swap.text.clone(), margin });
        }
        let every_margin: Vec<f64> = swaps.iter().map(|swap| swap.margin).collect();
        let worst = |attribute| margins.get(&attribute).map_or(0.0, |margins| least(margins));
        let empty = reading.units.is_empty();
        let features = AlignmentFeatures::from_fn(|feature| {
            if empty {
                return 0.0;
            }
            match feature {
                Feature::Whole => caption,
                Feature::WholeBestTile => mean(&frame_maxima),
                Feature::WholeBestFrame => greatest(&frame_means),
                Feature::WholeWorstFrame => least(&frame_means),
                Feature::FrameSpread => deviation(&frame_means),
                Feature::UnitsMean => mean(&part_scores),
                Feature::UnitsMin => least(&part_scores),
                Feature::UnitsMinMargin => least(&part_scores) - mean(&bank),
                Feature::BankMarginMean => caption - mean(&bank),
                Feature::BankMarginMax => or_zero(&bank, caption - greatest(&bank)),
                Feature::BankStanding => (caption - mean(&bank)) / deviation(&bank).max(1e-6),
                Feature::BankLogShare => self.log_share(bank.iter().map(|b| caption - b)),
                Feature::BankLikeness => reading.bank_likeness,
                Feature::Specificity => or_zero(&generic, caption - greatest(&generic)),
                Feature::GenericLikeness => reading.generic_likeness,
                Feature::SwapMarginMin => or_zero(&every_margin, least(&every_margin)),
                Feature::SwapMarginMean => mean(&every_margin),
                Feature::SwapLogShare => self.log_share(every_margin.iter().copied()),
                Feature::SwapColour => worst(Attribute::Colour),
                Feature::SwapNumber => worst(Attribute::Number),
                Feature::SwapObject => worst(Attribute::Object),
                Feature::SwapWeather => worst(Attribute::Weather),
                Feature::SwapLight => worst(Attribute::Light),
                Feature::SwapNegation => worst(Attribute::Negation),
                Feature::SwapSetting => worst(Attribute::Setting),
                Feature::UnitCount => part_scores.len() as f64,
                Feature::TokensPerWord => reading.tokens_per_word,
            }
        });
        let units = reading
            .units
            .iter()
            .zip(&per_unit)
            .map(|((unit, _), frames)| UnitScore {
                text: unit.text.clone(),
                similarity: overall(frames),
                frames: frames.iter().map(|s| s.mean).collect(),
            })
            .collect();
        Ok(Measured { units, swaps, features })
    }

    /// `-ln(1 + sum(exp(-scale * margin)))`: 0 where every margin is wide, steeply down where one is negative.
    ///
    /// A margin is a difference of similarities, out of which a model's `logit_bias` cancels.
    fn log_share(&self, margins: impl Iterator<Item = f64>) -> f64 {
        // The largest exponent is taken out, so that nothing overflows.
        let exponents: Vec<f64> = margins.map(|margin| -self.logit_scale * margin).collect();
        let top = greatest(&exponents).max(0.0);
        -(top + ((-top).exp() + exponents.iter().map(|e| (e - top).exp()).sum::<f64>()).ln())
    }
}

impl CaptionReading {
    fn unread(why: String) -> Self {
        Self {
            units: Vec::new(),
            whole: false,
            swaps: Vec::new(),
            tokens_per_word: 0.0,
            generic_likeness: 0.0,
            bank_likeness: 0.0,
            refused: Some(why),
        }
    }
}

/// `S`: the mean over frames of the mean over tiles.
fn overall(frames: &[FrameSimilarity]) -> f64 {
    mean(&frames.iter().map(|s| s.mean).collect::<Vec<_>>())
}

fn or_zero(values: &[f64], result: f64) -> f64 {
    if values.is_empty() { 0.0 } else { result }
}

/// What a caption comes to against a clip.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alignment {
    /// P(match), 0 to 1.
    pub probability: f64,
    /// P(match) from which a caption matches.
    pub threshold: f64,
    /// Whether it matches.
    pub matched: bool,
    /// Whether another device might have decided otherwise.
    pub borderline: bool,
    /// Why the caption could not be read at all, which its author answers for; such a caption matches nothing.
    pub refused: Option<String>,
    /// The measures behind the probability.
    #[serde(flatten)]
    pub measured: Measured,
}

/// Judges captions by a model card.
#[derive(Debug)]
pub struct Aligner {
    measurer: Measurer,
    card: Arc<ModelCard>,
}

impl Aligner {
    /// An aligner with its own text encoder.
    ///
    /// # Errors
    /// Where the card makes no sense or is for other weights, or the model fails.
    pub fn new(model: Arc<dyn ImageText>, card: Arc<ModelCard>) -> Result<Self> {
        Self::with_texts(Arc::new(TextEncoder::new(model)), card)
    }

    /// An aligner that shares a text encoder, with a [`CategoryScorer`](super::category::CategoryScorer) say.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_texts(texts: Arc<TextEncoder>, card: Arc<ModelCard>) -> Result<Self> {
        card.validate()?;
        card.check_weights(texts.model().identity())?;
        let alignment = &card.alignment;
        let measurer = Measurer::new(texts, &alignment.generic, &alignment.distractors, alignment.swaps)?;
        Ok(Self { measurer, card })
    }

    /// The part before the logistic model.
    pub fn measurer(&self) -> &Measurer {
        &self.measurer
    }

    /// The card.
    pub fn card(&self) -> &Arc<ModelCard> {
        &self.card
    }

    /// Judges a caption against a clip.
    ///
    /// # Errors
    /// Where the model fails, never for what the caption says.
    pub fn align(&self, caption: &str, clip: &FrameEmbeddings) -> Result<Alignment> {
        self.align_read(&self.measurer.read(caption)?, clip)
    }

    /// Judges a caption that has been read.
    ///
    /// # Errors
    /// Where embeddings do not belong together.
    pub fn align_read(&self, reading: &CaptionReading, clip: &FrameEmbeddings) -> Result<Alignment> {
        let measured = self.measurer.measure(reading, clip)?;
        let card = &self.card.alignment;
        let threshold = card.threshold;
        if let Some(why) = reading.refused() {
            let refused = Some(why.to_owned());
            return Ok(Alignment {
                probability: 0.0,
                threshold,
                matched: false,
                borderline: false,
                refused,
                measured,
            });
        }
        let probability = probability(card, &measured.features);
        let judged = judge(probability, threshold, card.borderline);
        Ok(Alignment {
            probability,
            threshold,
            matched: judged.matched,
            borderline: judged.borderline,
            refused: None,
            measured,
        })
    }
}

/// The logistic model's sum before the logistic function.
pub fn logit(card: &AlignmentCard, features: &AlignmentFeatures) -> f64 {
    card.features.iter().fold(card.intercept, |sum, term| {
        sum + term.coefficient * (features.get(term.name) - term.mean) / term.scale
    })
}

/// P(match).
pub fn probability(card: &AlignmentCard, features: &AlignmentFeatures) -> f64 {
    sigmoid(logit(card, features))
}
