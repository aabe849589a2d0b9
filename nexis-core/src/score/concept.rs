//! A toy [`ImageText`] for tests: every word is a fixed random direction, and pictures are lists of words.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use ndarray::Array2;

use super::FrameEmbeddings;
use crate::error::{Error, Result};
use crate::hash::Digest;
use crate::media::resize::Resample;
use crate::model::{Crop, Fit, ImageText, ModelIdentity, PreprocessSpec};

const WIDTH: usize = 96;

pub(crate) struct ConceptSpace {
    identity: ModelIdentity,
    preprocess: PreprocessSpec,
    context: usize,
    pub(crate) encoded: AtomicUsize,
}

impl ConceptSpace {
    pub(crate) fn new(context: usize) -> Self {
        Self {
            identity: ModelIdentity {
                id: "concepts".into(),
                architecture: "toy".into(),
                digests: BTreeMap::from([("model.safetensors".into(), Digest::of("weights"))]),
                precision: "f32".into(),
                device: "cpu".into(),
            },
            preprocess: PreprocessSpec {
                size: 1,
                resample: Resample::Bicubic,
                fit: Fit::Centre,
                mean: [0.0; 3],
                std: [1.0; 3],
                rescale: 1.0,
            },
            context,
            encoded: AtomicUsize::new(0),
        }
    }
}

const EMPTY_WORDS: [&str; 22] = [
    "a", "an", "the", "in", "on", "of", "is", "are", "and", "while", "under", "by", "at", "with", "there",
    "this", "shows", "video", "clip", "one", "some", "here",
];

/// Unit vectors that follow from a word; a plural is near its singular.
fn concept(word: &str) -> Vec<f32> {
    let direction = |text: &str| -> Vec<f32> {
        (0..WIDTH / 32)
            .flat_map(|block| Digest::of(format!("{text}:{block}")).as_bytes().to_vec())
            .map(|byte| f32::from(byte) - 127.5)
            .collect()
    };
    let stem = word.strip_suffix("es").or_else(|| word.strip_suffix('s')).unwrap_or(word);
    let mut row = direction(stem);
    for (x, y) in row.iter_mut().zip(direction(word)) {
        *x += 0.3 * y;
    }
    row
}

fn embed(text: &str) -> Vec<f32> {
    let mut row = vec![0.01_f32; WIDTH];
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let word = word.to_lowercase();
        if !EMPTY_WORDS.contains(&word.as_str()) {
            for (x, y) in row.iter_mut().zip(concept(&word)) {
                *x += y;
            }
        }
    }
    let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
    row.iter().map(|x| x / length).collect()
}

/// Frames that show these words, `tiles` alike.
pub(crate) fn film(frames: &[&str], tiles: usize) -> FrameEmbeddings {
    let rows: Vec<f32> = frames.iter().flat_map(|words| (0..tiles).flat_map(move |_| embed(words))).collect();
    let data = Array2::from_shape_vec((frames.len() * tiles, WIDTH), rows).unwrap();
    FrameEmbeddings::new(frames.len(), tiles, data).unwrap()
}

impl ImageText for ConceptSpace {
    fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    fn preprocess(&self) -> &PreprocessSpec {
        &self.preprocess
    }

    fn context_length(&self) -> usize {
        self.context
    }

    fn logit_scale(&self) -> f32 {
        20.0
    }

    /// One token per word, one per character of a word of more than twelve bytes.
    fn tokenize(&self, text: &str) -> Result<Vec<u32>> {
        let tokens =
            text.split_whitespace().map(|w| if w.len() > 12 { w.chars().count() } else { 1 }).sum::<usize>();
        Ok(vec![7; tokens + 2])
    }

    fn encode_image(&self, _: &[Crop]) -> Result<Array2<f32>> {
        Err(Error::Internal("the toy model sees no pictures".into()))
    }

    fn encode_text(&self, texts: &[&str]) -> Result<Array2<f32>> {
        self.encoded.fetch_add(texts.len(), Ordering::Relaxed);
        for text in texts {
            if self.tokenize(text)?.len() > self.context {
                return Err(Error::usage("a text", format!("{text:?} exceeds the context")));
            }
        }
        let rows: Vec<f32> = texts.iter().flat_map(|text| embed(text)).collect();
        Ok(Array2::from_shape_vec((texts.len(), WIDTH), rows).unwrap())
    }
}
