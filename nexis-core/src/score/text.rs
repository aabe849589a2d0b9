//! Text embeddings, kept for the length of a run.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use super::units::caption_units;
use crate::error::{Error, Result};
use crate::hash::Digest;
use crate::model::ImageText;

/// Texts given to the model at once.
const BATCH: usize = 64;

/// Embeds texts, remembering the latest. What it returns does not depend on what it remembers,
/// because a model's rows do not depend on their neighbours.
pub struct TextEncoder {
    model: Arc<dyn ImageText>,
    kept: Mutex<Kept>,
    capacity: usize,
}

#[derive(Default)]
struct Kept {
    rows: HashMap<Digest, Arc<[f32]>>,
    order: VecDeque<Digest>,
}

impl std::fmt::Debug for TextEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TextEncoder({}, {} kept at most)", self.model.identity().id, self.capacity)
    }
}

impl TextEncoder {
    /// Embeddings kept unless told otherwise: 16 MiB of rows of 512.
    pub const CAPACITY: usize = 8192;

    /// An encoder that keeps [`CAPACITY`](Self::CAPACITY) embeddings.
    pub fn new(model: Arc<dyn ImageText>) -> Self {
        Self::with_capacity(model, Self::CAPACITY)
    }

    /// An encoder that keeps at most `capacity` embeddings, the latest.
    pub fn with_capacity(model: Arc<dyn ImageText>, capacity: usize) -> Self {
        Self { model, kept: Mutex::default(), capacity }
    }

    /// The model.
    pub fn model(&self) -> &Arc<dyn ImageText> {
        &self.model
    }

    /// Whether the model can read a text at once.
    ///
    /// # Errors
    /// Where the tokenizer fails.
    pub fn fits(&self, text: &str) -> Result<bool> {
        Ok(self.model.tokenize(text)?.len() <= self.model.context_length())
    }

    /// The embeddings of texts, in their order; each of unit length.
    ///
    /// # Errors
    /// Where a text does not fit or the model fails, or gives what is no embedding.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<Arc<[f32]>>> {
        let digests: Vec<Digest> = texts.iter().map(Digest::of).collect();
        let mut known: HashMap<Digest, Arc<[f32]>> = HashMap::new();
        {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            for digest in &digests {
                if let Some(row) = kept.rows.get(digest) {
                    known.insert(*digest, Arc::clone(row));
                }
            }
        }
        let mut wanted: Vec<(Digest, &str)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for (digest, text) in digests.iter().zip(texts) {
            if !known.contains_key(digest) && seen.insert(*digest) {
                wanted.push((*digest, text));
            }
        }
        for batch in wanted.chunks(BATCH) {
            let texts: Vec<&str> = batch.iter().map(|(_, text)| *text).collect();
            let rows = self.model.encode_text(&texts)?;
            if rows.nrows() != texts.len() || rows.iter().any(|x| !x.is_finite()) {
                return Err(Error::Internal(format!(
                    "{} texts were embedded as {:?}, or not finitely",
                    texts.len(),
                    rows.dim()
                )));
            }
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            for ((digest, _), row) in batch.iter().zip(rows.rows()) {
                let row: Arc<[f32]> = row.iter().copied().collect();
                known.insert(*digest, Arc::clone(&row));
                if self.capacity > 0 && kept.rows.insert(*digest, row).is_none() {
                    kept.order.push_back(*digest);
                }
                if kept.order.len() > self.capacity
                    && let Some(oldest) = kept.order.pop_front()
                {
                    kept.rows.remove(&oldest);
                }
            }
        }
        digests
            .iter()
            .map(|digest| {
                known.get(digest).cloned().ok_or_else(|| Error::Internal("a text lost its embedding".into()))
            })
            .collect()
    }

    /// Embeddings of texts of any length, one each: of a text that the model cannot read at once, the centre of its
    /// [units](caption_units), as of a caption. None is cut.
    ///
    /// # Errors
    /// Where the model fails, or gives what is no embedding.
    pub fn embed_all(&self, texts: &[String]) -> Result<Vec<Arc<[f32]>>> {
        let fits = texts.iter().map(|text| self.fits(text)).collect::<Result<Vec<_>>>()?;
        let short: Vec<&str> =
            texts.iter().zip(&fits).filter(|(_, fits)| **fits).map(|(text, _)| text.as_str()).collect();
        let mut rows = self.embed(&short)?.into_iter();
        let lost = || Error::Internal("a text lost its embedding".into());
        let row = |(text, fits): (&String, bool)| {
            if fits { rows.next().ok_or_else(lost) } else { self.embed_units(text) }
        };
        texts.iter().zip(fits).map(row).collect()
    }

    fn embed_units(&self, text: &str) -> Result<Arc<[f32]>> {
        let failure = RefCell::new(None);
        let fits = |text: &str| {
            self.fits(text).unwrap_or_else(|error| {
                failure.borrow_mut().get_or_insert(error);
                false
            })
        };
        let units = caption_units(text, &fits);
        if let Some(error) = failure.into_inner() {
            return Err(error);
        }
        let units: Vec<&str> = units.iter().map(|unit| unit.text.as_str()).collect();
        Ok(centre(&self.embed(&units)?).into())
    }
}

/// The cosine of two unit-length embeddings, summed in order.
pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// The unit-length mean of embeddings; zero where they cancel out or there are none.
pub(crate) fn centre(rows: &[Arc<[f32]>]) -> Vec<f32> {
    let mut sums: Vec<f64> = Vec::new();
    for row in rows {
        if sums.is_empty() {
            sums = vec![0.0; row.len()];
        }
        for (sum, x) in sums.iter_mut().zip(row.iter()) {
            *sum += f64::from(*x);
        }
    }
    let length = sums.iter().map(|x| x * x).sum::<f64>().sqrt();
    let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
    sums.iter().map(|x| (x * scale) as f32).collect()
}
