//! A model's pictures: bytes in, the network's input values out.

use ndarray::Array3;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::media::resize::Resample;

/// How a model's own processor makes a picture square.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// Its shorter side is resized, and the square in the middle cut out.
    #[default]
    Centre,
    /// Both sides are resized, whatever becomes of its proportions.
    Squeeze,
}

/// How a model wants its pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreprocessSpec {
    /// Edge of the square picture, in pixels.
    pub size: u32,
    /// How pictures are resized.
    #[serde(default)]
    pub resample: Resample,
    /// How its own processor makes pictures square. Scores are of [tiles](crate::media::tiles::tiles) instead.
    #[serde(default)]
    pub fit: Fit,
    /// Mean per channel, in 0..1.
    pub mean: [f32; 3],
    /// Standard deviation per channel, in 0..1.
    pub std: [f32; 3],
    /// Factor from byte to 0..1, usually 1/255.
    pub rescale: f64,
}

/// A square RGB picture of the model's size: `size * size * 3` bytes, rows top to bottom.
#[derive(Clone, Debug, PartialEq)]
pub struct Crop {
    /// Edge in pixels.
    pub size: u32,
    /// The bytes.
    pub rgb: Vec<u8>,
}

impl PreprocessSpec {
    /// That a crop has this model's size and as many bytes as it says.
    ///
    /// # Errors
    /// [`Error::Usage`] where it does not.
    pub fn check(&self, crop: &Crop) -> Result<()> {
        let bytes = u64::from(self.size) * u64::from(self.size) * 3;
        if crop.size != self.size || crop.rgb.len() as u64 != bytes {
            let why = format!(
                "edge {} with {} bytes, but the model reads edge {} with {bytes}",
                crop.size,
                crop.rgb.len(),
                self.size
            );
            return Err(Error::usage("crop", why));
        }
        Ok(())
    }

    /// The network's input `[3, size, size]`: `(byte * rescale - mean) / std`.
    ///
    /// The arithmetic is that of transformers' Pillow processor, to the bit: the product in f64, rounded
    /// to f32; difference and quotient in f32.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn pixel_values(&self, crop: &Crop) -> Result<Array3<f32>> {
        self.check(crop)?;
        let edge = self.size as usize;
        let mut values = Vec::with_capacity(crop.rgb.len());
        for (channel, levels) in self.levels().iter().enumerate() {
            let level = |byte: &u8| levels.get(usize::from(*byte)).copied().unwrap_or_default();
            values.extend(crop.rgb.iter().skip(channel).step_by(3).map(level));
        }
        Array3::from_shape_vec((3, edge, edge), values).map_err(|e| Error::Internal(e.to_string()))
    }

    /// The input value of each byte, for each channel.
    pub(super) fn levels(&self) -> [[f32; 256]; 3] {
        let of_channel = |(mean, std): (f32, f32)| {
            std::array::from_fn(|byte| ((byte as f64 * self.rescale) as f32 - mean) / std)
        };
        let [r, g, b] = self.mean;
        let [r_std, g_std, b_std] = self.std;
        [(r, r_std), (g, g_std), (b, b_std)].map(of_channel)
    }
}
