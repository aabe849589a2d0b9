//! A device's decoder that is watched: what it leaves to the processor is counted.
//!
//! The processor decodes what a device leaves ([`hardware`](nexis_core::media::hardware)), so that a decoder which is broken
//! fails no clip: it takes time for each of them, and nobody hears of it but whoever reads evidence. So clips are counted here
//! that it left one after another and that the processor decoded, and what it said of the last is kept for an operator.
//! It has the next clip all the same. Were it passed over for a while, what became of a clip would depend on the clips before
//! it, which are other miners': a device may conceal damage for which the processor refuses a clip, and evidence names the
//! decoder.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nexis_core::media::{ClipProbe, DecodedClip, FrameRequest, MediaDecoder, MediaFailure, MediaLimits};

/// Clips in a row that a device may leave before it is worth a word.
const PATIENCE: u32 = 8;

/// A device's decoder and how it is doing.
pub struct Watched {
    device: Arc<dyn MediaDecoder>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Clips that it left since it last decoded one.
    left: u32,
    /// What it said of the last.
    why: String,
}

impl Watched {
    /// Watches a decoder that nothing was asked of yet.
    pub fn new(device: Arc<dyn MediaDecoder>) -> Self {
        Self { device, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MediaDecoder for Watched {
    fn name(&self) -> String {
        self.device.name()
    }

    fn probe(&self, clip: &Path, limits: &MediaLimits) -> Result<ClipProbe, MediaFailure> {
        self.device.probe(clip, limits)
    }

    fn decode(
        &self,
        clip: &Path,
        request: &FrameRequest,
        limits: &MediaLimits,
    ) -> Result<DecodedClip, MediaFailure> {
        // A clip that the processor refuses too says nothing about the device, nor does one that the device never had.
        let decoded = self.device.decode(clip, request, limits)?;
        if let Some(why) = &decoded.left {
            let mut state = self.lock();
            state.left = state.left.saturating_add(1);
            state.why.clone_from(why);
        } else if decoded.decoder == self.device.name() {
            *self.lock() = State::default();
        }
        Ok(decoded)
    }

    fn trouble(&self) -> Option<String> {
        let state = self.lock();
        (state.left >= PATIENCE).then(|| {
            format!(
                "{} left the last {} clips to the processor, which decoded them; of the last it said: {}",
                self.device.name(),
                state.left,
                state.why
            )
        })
    }
}
