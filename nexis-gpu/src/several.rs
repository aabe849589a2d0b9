//! One device, or several of one kind in its place: a call goes to whichever has the fewest under way.
//!
//! Nothing that comes out says which device it was, for it makes no difference: devices are of one kind
//! ([`resolve`](crate::resolve)), and both towers are tried on each of them when they are loaded. Where a device fails, its calls
//! fail; none is tried again elsewhere, so that a fault shows.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nexis_core::media::{
    ClipProbe, DecodedClip, Frame, FrameRequest, MediaDecoder, MediaFailure, MediaLimits,
};
use nexis_core::model::Crop;
use nexis_core::model::towers::{ClipSizes, Towers};
use nexis_core::{Error, Result};

/// Parts of one kind, at least one, each on a device of its own.
pub struct Several<T> {
    each: Vec<T>,
    /// Calls under way, of each.
    calls: Mutex<Vec<usize>>,
}

/// A call under way: over when dropped, also where it panics.
struct Call<'a> {
    calls: &'a Mutex<Vec<usize>>,
    place: usize,
}

fn lock(calls: &Mutex<Vec<usize>>) -> MutexGuard<'_, Vec<usize>> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if let Some(calls) = lock(self.calls).get_mut(self.place) {
            *calls = calls.saturating_sub(1);
        }
    }
}

impl<T> Several<T> {
    fn new(each: Vec<T>) -> Result<Self> {
        if each.is_empty() {
            return Err(Error::Internal("no device among several".to_owned()));
        }
        let calls = Mutex::new(vec![0; each.len()]);
        Ok(Self { each, calls })
    }

    /// Does `work` on the part with the fewest calls under way, the first of these.
    fn share<R>(&self, work: impl FnOnce(&T) -> R) -> Result<R> {
        let mut calls = lock(&self.calls);
        let least = calls.iter_mut().zip(&self.each).enumerate().min_by_key(|(_, (calls, _))| **calls);
        let Some((place, (count, part))) = least else {
            return Err(Error::Internal("no device among several".to_owned()));
        };
        *count += 1;
        drop(calls);
        let _call = Call { calls: &self.calls, place };
        Ok(work(part))
    }
}

impl Several<Box<dyn Towers>> {
    /// The towers of one model on each of several devices, once all are seen to give the same bits for a picture and a text.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where one gives others, or fails; [`Error::Internal`] where there are none.
    pub fn of_towers(each: Vec<Box<dyn Towers>>, sizes: &ClipSizes) -> Result<Self> {
        let bytes = sizes.image.saturating_mul(sizes.image).saturating_mul(3);
        let size = u32::try_from(sizes.image).map_err(|e| Error::Internal(e.to_string()))?;
        let crop = Crop { size, rgb: (0..bytes).map(|at| (at * 31 + at / 97) as u8).collect() };
        let known = sizes.vocabulary.clamp(1, 256);
        let text: Vec<u32> = (0..sizes.context).map(|place| (place * 7 % known) as u32).collect();
        let mut first = None;
        for towers in each.iter().filter(|_| each.len() > 1) {
            let rows = [
                towers.embed_pictures(std::slice::from_ref(&crop))?,
                towers.embed_texts(std::slice::from_ref(&text))?,
            ];
            let bits: Vec<u32> = rows.iter().flatten().flatten().map(|x| x.to_bits()).collect();
            let (device, expected) = first.get_or_insert_with(|| (towers.device(), bits.clone()));
            if *expected != bits {
                return Err(Error::Unavailable {
                    what: format!("devices {device} and {} together", towers.device()),
                    why: "they give other embeddings of the same picture and text; use one of them, or as many \
                          processes as devices"
                        .to_owned(),
                });
            }
        }
        Self::new(each)
    }
}

impl Towers for Several<Box<dyn Towers>> {
    fn device(&self) -> String {
        self.each.iter().map(|towers| towers.device()).collect::<Vec<_>>().join(" and ")
    }

    fn precision(&self) -> &'static str {
        self.each.first().map_or("", |towers| towers.precision())
    }

    fn embed_pictures(&self, crops: &[Crop]) -> Result<Vec<Vec<f32>>> {
        self.share(|towers| towers.embed_pictures(crops))?
    }

    fn embed_tiles(&self, frames: &[Frame]) -> Result<Vec<Vec<f32>>, MediaFailure> {
        self.share(|towers| towers.embed_tiles(frames))?
    }

    fn embed_texts(&self, sequences: &[Vec<u32>]) -> Result<Vec<Vec<f32>>> {
        self.share(|towers| towers.embed_texts(sequences))?
    }
}

impl Several<Arc<dyn MediaDecoder>> {
    /// Decoders of one kind.
    ///
    /// # Errors
    /// [`Error::Internal`] where there are none.
    pub fn of_decoders(each: Vec<Arc<dyn MediaDecoder>>) -> Result<Self> {
        Self::new(each)
    }
}

impl MediaDecoder for Several<Arc<dyn MediaDecoder>> {
    fn name(&self) -> String {
        self.each.first().map_or_else(String::new, |decoder| decoder.name())
    }

    fn probe(&self, clip: &Path, limits: &MediaLimits) -> Result<ClipProbe, MediaFailure> {
        self.share(|decoder| decoder.probe(clip, limits))?
    }

    fn decode(
        &self,
        clip: &Path,
        request: &FrameRequest,
        limits: &MediaLimits,
    ) -> Result<DecodedClip, MediaFailure> {
        self.share(|decoder| decoder.decode(clip, request, limits))?
    }
}
