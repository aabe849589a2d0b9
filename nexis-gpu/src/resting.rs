//! A device's decoder that rests where it leaves every clip to the processor.
//!
//! The processor decodes what a device leaves ([`hardware`](nexis_core::media::hardware)), so that a decoder which is broken, or which
//! has nothing but streams that are not for it, fails no clip: it only takes time for each of them, and nobody hears of it but
//! whoever reads evidence. So it is counted here. A device that left several clips in a row, of which the processor decoded
//! each, is passed over for a number of clips, then has one, and is passed over for more if it leaves that one too. What it may
//! have said is kept for an operator. Clips are counted and no time is measured; the pixels are the same bytes either way.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nexis_core::media::{
    ClipProbe, DecodedClip, FfmpegDecoder, FrameRequest, MediaDecoder, MediaFailure, MediaLimits,
};

/// Clips in a row that a device may leave before it rests.
pub const PATIENCE: u32 = 8;

/// Clips for which it then rests; twice as many each time that it leaves the first behind a rest.
pub const REST: usize = 16;

/// Most doublings of these.
const MOST_DOUBLINGS: u32 = 6;

/// A device's decoder, and the processor's while that rests.
pub struct Resting {
    device: Arc<dyn MediaDecoder>,
    processor: Arc<dyn MediaDecoder>,
    state: Mutex<State>,
}

/// How the device is doing.
#[derive(Debug, Default)]
struct State {
    /// Clips that it left since it last decoded one, or since its last rest.
    left: u32,
    /// Rests since it last decoded one.
    rests: u32,
    /// Clips for which it still rests.
    rest: usize,
    /// Whether a clip shows at the moment how it is after a rest.
    tried: bool,
    /// Rests so far. A clip that was begun before the last one says nothing any more: what is under way together fails together.
    round: u64,
    /// Why it left the last.
    why: String,
}

/// A clip that the device has; it has ended when this is dropped, also where that is by a panic.
struct Turn<'a> {
    resting: &'a Resting,
    round: u64,
    outcome: Outcome,
}

/// What a clip says about the device.
enum Outcome {
    Decoded,
    Left(String),
    /// Nothing: the processor did not decode it either, or the device never had it.
    Nothing,
}

impl Resting {
    /// In front of FFmpeg's decoder on the processor.
    pub fn new(device: Arc<dyn MediaDecoder>) -> Self {
        Self::beside(device, Arc::new(FfmpegDecoder::default()))
    }

    /// In front of another, which gives the same frames.
    pub fn beside(device: Arc<dyn MediaDecoder>, processor: Arc<dyn MediaDecoder>) -> Self {
        Self { device, processor, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn of the device's; `None` where it rests, or where another clip shows whether it still has to.
    fn turn(&self) -> Option<Turn<'_>> {
        let mut state = self.lock();
        if state.rest > 0 {
            state.rest -= 1;
            return None;
        }
        if state.rests > 0 && std::mem::replace(&mut state.tried, true) {
            return None;
        }
        Some(Turn { resting: self, round: state.round, outcome: Outcome::Nothing })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.resting.lock();
        if state.round != self.round {
            return;
        }
        state.tried = false;
        match std::mem::replace(&mut self.outcome, Outcome::Nothing) {
            Outcome::Decoded => *state = State { round: state.round, ..State::default() },
            Outcome::Left(why) => {
                state.why = why;
                state.left = state.left.saturating_add(1);
                if state.rests > 0 || state.left >= PATIENCE {
                    state.rest = REST << state.rests.min(MOST_DOUBLINGS);
                    state.rests = state.rests.saturating_add(1);
                    state.left = 0;
                    state.round += 1;
                }
            }
            Outcome::Nothing => {}
        }
    }
}

impl MediaDecoder for Resting {
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
        let Some(mut turn) = self.turn() else { return self.processor.decode(clip, request, limits) };
        let decoded = self.device.decode(clip, request, limits)?;
        turn.outcome = match &decoded.left {
            Some(why) => Outcome::Left(why.clone()),
            None if decoded.decoder == self.device.name() => Outcome::Decoded,
            None => Outcome::Nothing,
        };
        Ok(decoded)
    }

    fn trouble(&self) -> Option<String> {
        let state = self.lock();
        (state.rests > 0).then(|| {
            format!(
                "{} left clips to {} that were whole, and rests for {} more; of the last it said: {}",
                self.device.name(),
                self.processor.name(),
                state.rest,
                state.why
            )
        })
    }
}
