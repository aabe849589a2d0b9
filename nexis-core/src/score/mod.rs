//! From embeddings to numbers: how well a caption fits a clip, and what its frames mainly show.
//!
//! Everything here is a pure function of embeddings, a caption and a [`ModelCard`](crate::model::card::ModelCard).
//! Sums run in a fixed order in `f64`, so a score is the same bits whatever the batch or thread count.

use ndarray::{Array2, ArrayView2, Axis, concatenate};

use crate::error::{Error, Result};

pub mod align;
pub mod bootstrap;
pub mod calibrate;
pub mod category;
pub mod curves;
pub mod evaluate;
pub mod features;
pub mod generic;
pub mod metrics;
pub mod rank;
pub mod reliability;
pub mod softmax;
pub mod swaps;
pub mod text;
pub mod threshold;
pub mod trials;
pub mod units;

mod linear;
mod vocabulary;

#[cfg(test)]
mod concept;
#[cfg(test)]
mod scenario;

/// The embeddings of a clip's frames: row `frame * tiles + tile`, each of unit length.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameEmbeddings {
    frames: usize,
    tiles: usize,
    data: Array2<f32>,
}

/// One text against one frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrameSimilarity {
    /// Mean cosine over the frame's tiles: how much of the picture shows it.
    pub mean: f64,
    /// Greatest cosine over the frame's tiles: whether any part of the picture shows it.
    pub max: f64,
}

impl FrameEmbeddings {
    /// Embeddings `[frames * tiles, D]`, frame by frame.
    ///
    /// # Errors
    /// Where there is no row, the rows are not `frames * tiles`, or a value is not finite: a model or a
    /// caller at fault, never a clip.
    pub fn new(frames: usize, tiles: usize, data: Array2<f32>) -> Result<Self> {
        let rows = frames.checked_mul(tiles).unwrap_or(0);
        if rows == 0 || rows != data.nrows() || data.ncols() == 0 {
            return Err(Error::Internal(format!(
                "{frames} frames of {tiles} tiles cannot have embeddings of shape {:?}",
                data.dim()
            )));
        }
        if data.iter().any(|x| !x.is_finite()) {
            return Err(Error::Internal("a frame's embedding is not finite".into()));
        }
        Ok(Self { frames, tiles, data })
    }

    /// Frames of one size after one another.
    ///
    /// # Errors
    /// Where there are none, or they do not belong together.
    pub fn join<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Result<Self> {
        let parts: Vec<&Self> = parts.into_iter().collect();
        let tiles = parts.first().map_or(0, |part| part.tiles);
        if parts.iter().any(|part| part.tiles != tiles) {
            return Err(Error::Internal("frames of different numbers of tiles cannot be joined".into()));
        }
        let views: Vec<_> = parts.iter().map(|part| part.data.view()).collect();
        let data = concatenate(Axis(0), &views)
            .map_err(|e| Error::Internal(format!("embeddings of different widths: {e}")))?;
        Self::new(parts.iter().map(|part| part.frames).sum(), tiles, data)
    }

    /// Each frame by itself, in order.
    pub fn split(&self) -> Vec<Self> {
        let rows = |data: ArrayView2<'_, f32>| Self { frames: 1, tiles: self.tiles, data: data.to_owned() };
        self.data.axis_chunks_iter(Axis(0), self.tiles).map(rows).collect()
    }

    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Number of tiles per frame.
    pub fn tiles(&self) -> usize {
        self.tiles
    }

    /// Width of an embedding.
    pub fn width(&self) -> usize {
        self.data.ncols()
    }

    /// The rows, `[frames * tiles, D]`.
    pub fn data(&self) -> &Array2<f32> {
        &self.data
    }

    /// Every value with eleven significant bits: what another device's half precision might make of them.
    #[must_use]
    pub fn rounded_to_half(&self) -> Self {
        let half = |value: f32| f32::from_bits((value.to_bits() + 0x1000) & !0x1fff);
        Self { data: self.data.mapv(half), ..*self }
    }

    /// The similarity of one text with every frame, in frame order.
    ///
    /// # Errors
    /// Where the text's embedding has another width.
    pub fn similarities(&self, text: &[f32]) -> Result<Vec<FrameSimilarity>> {
        if text.len() != self.width() {
            return Err(Error::Internal(format!(
                "a text embedding of width {} meets frames of width {}",
                text.len(),
                self.width()
            )));
        }
        let cosines: Vec<f64> = self
            .data
            .rows()
            .into_iter()
            .map(|row| row.iter().zip(text).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum())
            .collect();
        Ok(cosines
            .chunks_exact(self.tiles)
            .map(|tiles| FrameSimilarity { mean: mean(tiles), max: greatest(tiles) })
            .collect())
    }
}

/// Mean in the given order; 0 of nothing.
pub(crate) fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// Greatest value; negative infinity of nothing.
pub(crate) fn greatest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// Smallest value; positive infinity of nothing.
pub(crate) fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

/// Standard deviation with the number of values as divisor; 0 of nothing.
pub(crate) fn deviation(values: &[f64]) -> f64 {
    let centre = mean(values);
    let squares: Vec<f64> = values.iter().map(|v| (v - centre) * (v - centre)).collect();
    mean(&squares).sqrt()
}

/// The logistic function, without overflow.
pub(crate) fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn pools_tiles_frame_by_frame() {
        let data = array![[1.0_f32, 0.0], [0.0, 1.0], [0.6, 0.8], [1.0, 0.0]];
        let frames = FrameEmbeddings::new(2, 2, data).unwrap();
        let got = frames.similarities(&[1.0, 0.0]).unwrap();
        assert_eq!(got[0], FrameSimilarity { mean: 0.5, max: 1.0 });
        assert!((got[1].mean - 0.8).abs() < 1e-7 && got[1].max == 1.0);
    }

    #[test]
    fn frames_come_apart_and_together() {
        let data = array![[1.0_f32, 0.0], [0.0, 1.0], [0.6, 0.8], [1.0, 0.0]];
        let frames = FrameEmbeddings::new(2, 2, data).unwrap();
        let parts = frames.split();
        assert_eq!((parts.len(), parts[1].data()), (2, &array![[0.6_f32, 0.8], [1.0, 0.0]]));
        assert_eq!(FrameEmbeddings::join(&parts).unwrap(), frames);
        assert!(FrameEmbeddings::join([]).is_err());
        let other = FrameEmbeddings::new(1, 1, array![[1.0_f32, 0.0]]).unwrap();
        assert!(FrameEmbeddings::join([&frames, &other]).is_err());
    }

    #[test]
    fn refuses_shapes_and_values_that_make_no_sense() {
        assert!(FrameEmbeddings::new(2, 3, Array2::zeros((5, 4))).is_err());
        assert!(FrameEmbeddings::new(0, 3, Array2::zeros((0, 4))).is_err());
        assert!(FrameEmbeddings::new(usize::MAX, 2, Array2::zeros((1, 4))).is_err());
        assert!(FrameEmbeddings::new(1, 1, array![[f32::NAN]]).is_err());
        let frames = FrameEmbeddings::new(1, 1, array![[1.0_f32, 0.0]]).unwrap();
        assert!(frames.similarities(&[1.0]).is_err());
    }

    #[test]
    fn the_logistic_function_does_not_overflow() {
        assert_eq!(sigmoid(0.0), 0.5);
        assert_eq!(sigmoid(-1e6), 0.0);
        assert_eq!(sigmoid(1e6), 1.0);
    }
}
