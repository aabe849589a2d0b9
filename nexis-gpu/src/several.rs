//! One device, or several of one kind in its place: a call goes to whichever has the fewest under way.
//!
//! Nothing that comes out says which device it was, for it makes no difference: devices are of one kind
//! ([`resolve`](crate::resolve)), and both towers are tried on each of them when they are loaded. Where a device fails, its calls
//! fail; none is tried again elsewhere, so that a fault shows. A device that fails at once would have the fewest calls under
//! way and draw nearly all of them: so it is passed over for a while, then asked once, and passed over for longer if it fails
//! again.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nexis_core::media::{
    ClipProbe, DecodedClip, Frame, FrameRequest, MediaDecoder, MediaFailure, MediaLimits,
};
use nexis_core::model::Crop;
use nexis_core::model::towers::{ClipSizes, Towers};
use nexis_core::{Error, Result};

/// Calls for which a part is passed over once it failed; twice as many each time that it fails anew.
const REST: usize = 16;

/// Most doublings of these.
const MOST_DOUBLINGS: u32 = 6;

/// Parts of one kind, at least one, each on a device of its own.
pub struct Several<T> {
    each: Vec<T>,
    /// One of each part.
    states: Mutex<Vec<State>>,
}

/// How a part is doing.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Calls under way.
    calls: usize,
    /// Failures of ours since the last call that succeeded.
    failures: u32,
    /// Calls for which it is still passed over.
    rest: usize,
}

impl State {
    /// Sets the rest that follows from the failures.
    fn tire(&mut self) {
        if let Some(doublings) = self.failures.checked_sub(1) {
            self.rest = REST << doublings.min(MOST_DOUBLINGS);
        }
    }
}

/// A call under way: over when dropped, also where it panics.
struct Call<'a> {
    states: &'a Mutex<Vec<State>>,
    place: usize,
    /// The part's failures when it began.
    failures: u32,
    /// Whether it succeeded or failed by our fault, once that is known; a clip's fault says nothing about the part.
    worked: Option<bool>,
}

fn lock(states: &Mutex<Vec<State>>) -> MutexGuard<'_, Vec<State>> {
    states.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if let Some(state) = lock(self.states).get_mut(self.place) {
            state.calls = state.calls.saturating_sub(1);
            match self.worked {
                Some(true) => (state.failures, state.rest) = (0, 0),
                // Calls that were under way together fail together: that counts once.
                Some(false) if state.failures == self.failures => {
                    state.failures = state.failures.saturating_add(1);
                    state.tire();
                }
                Some(false) | None => {}
            }
        }
    }
}

/// Whether a failure may be the device's.
fn is_ours(failure: &MediaFailure) -> bool {
    matches!(failure, MediaFailure::Ours(_))
}

impl<T> Several<T> {
    fn new(each: Vec<T>) -> Result<Self> {
        if each.is_empty() {
            return Err(Error::Internal("no device among several".to_owned()));
        }
        let states = Mutex::new(vec![State::default(); each.len()]);
        Ok(Self { each, states })
    }

    /// Does `work` on the part with the fewest calls under way, the first of these; on one that failed only when it has
    /// rested, or all have failed.
    fn share<R, E: From<Error>>(
        &self,
        work: impl FnOnce(&T) -> Result<R, E>,
        is_ours: impl FnOnce(&E) -> bool,
    ) -> Result<R, E> {
        let mut states = lock(&self.states);
        let ranked = states.iter().zip(&self.each).enumerate();
        let Some((place, (_, part))) = ranked.min_by_key(|(_, (state, _))| (state.rest, state.calls)) else {
            return Err(Error::Internal("no device among several".to_owned()).into());
        };
        let mut failures = 0;
        for (at, state) in states.iter_mut().enumerate() {
            if at == place {
                state.calls += 1;
                failures = state.failures;
                // While this call shows whether the part is whole again, no other follows.
                state.tire();
            } else {
                state.rest = state.rest.saturating_sub(1);
            }
        }
        drop(states);
        let mut call = Call { states: &self.states, place, failures, worked: None };
        let result = work(part);
        call.worked = match &result {
            Ok(_) => Some(true),
            Err(error) if is_ours(error) => Some(false),
            Err(_) => None,
        };
        result
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
        self.share(|towers| towers.embed_pictures(crops), |_| true)
    }

    fn embed_tiles(&self, frames: &[Frame]) -> Result<Vec<Vec<f32>>, MediaFailure> {
        self.share(|towers| towers.embed_tiles(frames), is_ours)
    }

    fn embed_texts(&self, sequences: &[Vec<u32>]) -> Result<Vec<Vec<f32>>> {
        self.share(|towers| towers.embed_texts(sequences), |_| true)
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
        self.share(|decoder| decoder.probe(clip, limits), is_ours)
    }

    fn decode(
        &self,
        clip: &Path,
        request: &FrameRequest,
        limits: &MediaLimits,
    ) -> Result<DecodedClip, MediaFailure> {
        self.share(|decoder| decoder.decode(clip, request, limits), is_ours)
    }

    fn trouble(&self) -> Option<String> {
        let each: Vec<String> = self.each.iter().filter_map(|decoder| decoder.trouble()).collect();
        (!each.is_empty()).then(|| each.join("; "))
    }
}
