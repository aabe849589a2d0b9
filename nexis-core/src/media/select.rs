//! Which frames of a clip are meant by a request: exact, in the stream's own time units.
//!
//! Time zero is the first displayed frame. An instant means the last frame whose time is not after it, or the
//! first frame where there is none. Times are whole ticks of the stream's time base, and the instants are
//! brought to ticks by exact integer arithmetic, so that every decoder picks the same frames.

use std::collections::BTreeSet;

use super::{FrameRequest, MediaFailure};
use crate::error::Error;

/// Most frames in one request.
const MAX_REQUEST: usize = 4096;

/// Seconds per tick of a stream, as a fraction of positive integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeBase {
    /// Numerator.
    pub num: i32,
    /// Denominator.
    pub den: i32,
}

impl TimeBase {
    /// Ticks as seconds, rounded once.
    pub fn seconds(self, ticks: i64) -> f64 {
        (i128::from(ticks) * i128::from(self.num)) as f64 / f64::from(self.den)
    }
}

/// The last tick of each instant of a request, counted from the first frame; a frame of that tick or before
/// is not after the instant.
///
/// # Errors
/// [`MediaFailure::Ours`] where the request makes no sense (no instants, too many, not ascending, not finite).
pub fn ticks(request: &FrameRequest, duration: i64, base: TimeBase) -> Result<Vec<i64>, MediaFailure> {
    let usage = |why: &str| MediaFailure::Ours(Error::usage("frame request", why));
    match request {
        FrameRequest::Spread { count, .. } => {
            if *count == 0 || *count > MAX_REQUEST {
                return Err(usage("from 1 to 4096 frames can be asked for"));
            }
            let n = *count as i128;
            Ok((0..n)
                .map(|k| {
                    // (k + 0.5) * duration / n, rounded down to a tick.
                    let tick = ((2 * k + 1) * i128::from(duration)).div_euclid(2 * n);
                    i64::try_from(tick).unwrap_or(i64::MAX)
                })
                .collect())
        }
        FrameRequest::At { seconds } => {
            if seconds.is_empty() || seconds.len() > MAX_REQUEST {
                return Err(usage("from 1 to 4096 instants can be asked for"));
            }
            if !seconds.iter().all(|s| s.is_finite()) || !seconds.is_sorted() {
                return Err(usage("finite, ascending instants are expected"));
            }
            Ok(seconds
                .iter()
                .map(|&instant| {
                    // A frame's own `pts_seconds` must lead back to that frame: compare as seconds, where the
                    // rounding is the same, and not as a rounded-down quotient.
                    let near = (instant * f64::from(base.den) / f64::from(base.num)).round() as i64;
                    if base.seconds(near) <= instant { near } else { near.saturating_sub(1) }
                })
                .collect())
        }
    }
}

/// Times of a packet, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Presentation time.
    pub pts: Option<i64>,
    /// What the container says of its duration, 0 where nothing.
    pub duration: i64,
    /// Decoded but not displayed.
    pub hidden: bool,
}

/// Duration of a stream from its packets: from the first displayed frame to the last one, and as much again as a frame
/// lasts on average (to the nearest tick). What containers say of a single frame's duration is not used, since they
/// leave it out or count it in decoding order, except where there is just one frame. `None` where a
/// time is missing.
pub fn duration(stamps: &[Stamp]) -> Option<i64> {
    let (mut first, mut last, mut gaps) = (i64::MAX, i64::MIN, -1_i64);
    let mut only = 0;
    for stamp in stamps.iter().filter(|stamp| !stamp.hidden) {
        let pts = stamp.pts?;
        first = first.min(pts);
        last = last.max(pts);
        gaps += 1;
        only = stamp.duration.max(0);
    }
    match gaps {
        ..0 => None,
        0 => Some(only),
        _ => {
            let span = last.checked_sub(first)?;
            span.checked_add((span.checked_add(gaps / 2)?) / gaps)
        }
    }
}

/// How deep a stream reorders: the largest number of packets that come before a packet in the file and after it
/// on the screen. Bounded by `limit`, beyond which the answer does not matter.
pub fn reorder_depth(stamps: &[Stamp], limit: usize) -> usize {
    let mut deepest = 0;
    // The latest times so far, ascending: no more than `limit` can matter.
    let mut latest: Vec<i64> = Vec::with_capacity(limit + 1);
    for pts in stamps.iter().filter_map(|stamp| stamp.pts) {
        let at = latest.partition_point(|&other| other <= pts);
        deepest = deepest.max(latest.len() - at);
        latest.insert(at, pts);
        if latest.len() > limit {
            latest.remove(0);
        }
    }
    deepest
}

/// Which frames have to be decoded for a request, known before anything is decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    wanted: BTreeSet<i64>,
    first: i64,
    last: i64,
}

impl Plan {
    /// `None` where the times do not allow one: a missing or doubled time, or no displayed frame.
    pub fn new(stamps: &[Stamp], ticks: &[i64]) -> Option<Self> {
        let mut times = Vec::with_capacity(stamps.len());
        for stamp in stamps.iter() {
            let pts = stamp.pts?;
            if !stamp.hidden {
                times.push(pts);
            }
        }
        times.sort_unstable();
        let &first = times.first()?;
        if times.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) {
            return None;
        }
        let mut wanted = BTreeSet::from([first]);
        for tick in ticks {
            let instant = first.saturating_add(*tick);
            let after = times.partition_point(|&pts| pts <= instant);
            wanted.insert(after.checked_sub(1).and_then(|i| times.get(i)).copied().unwrap_or(first));
        }
        let last = wanted.last().copied().unwrap_or(first);
        Some(Self { wanted, first, last })
    }

    /// Whether the frame of this time is one of those asked for.
    pub fn wants(&self, pts: Option<i64>) -> bool {
        pts.is_none_or(|pts| self.wanted.contains(&pts))
    }

    /// The times of the frames asked for.
    pub fn times(&self) -> impl Iterator<Item = i64> {
        self.wanted.iter().copied()
    }

    /// Time of the first displayed frame.
    pub const fn first(&self) -> i64 {
        self.first
    }

    /// Time of the last frame asked for.
    pub const fn last(&self) -> i64 {
        self.last
    }

    /// How many different frames are wanted, the first one always among them.
    pub fn len(&self) -> usize {
        self.wanted.len()
    }

    /// Never: the first frame is always wanted.
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }
}

/// Picks frames as they come out of a decoder, in presentation order.
///
/// `T` is what the decoder holds; a frame is let go as soon as it cannot be the answer any more.
#[derive(Debug)]
pub struct Chooser<T> {
    ticks: Vec<i64>,
    chosen: Vec<(i64, std::rc::Rc<T>)>,
    /// Instants whose frames were taken out.
    taken: usize,
    held: Option<(i64, std::rc::Rc<T>)>,
    start: Option<i64>,
}

impl<T> Chooser<T> {
    /// For these instants, ascending, in ticks from the first frame.
    pub fn new(ticks: Vec<i64>) -> Self {
        Self {
            chosen: Vec::with_capacity(ticks.len().min(MAX_REQUEST)),
            ticks,
            taken: 0,
            held: None,
            start: None,
        }
    }

    /// Takes the next frame; `true` once every instant has its frame.
    ///
    /// # Errors
    /// [`MediaFailure::Clip`] where its time is before that of the frame before.
    pub fn offer(&mut self, pts: i64, frame: T) -> Result<bool, MediaFailure> {
        let start = *self.start.get_or_insert(pts);
        let time = pts.saturating_sub(start);
        if self.held.as_ref().is_some_and(|(before, _)| *before > time) || time < 0 {
            return Err(MediaFailure::Clip("frames are not in order of time".to_owned()));
        }
        let frame = std::rc::Rc::new(frame);
        let held = self.held.take().unwrap_or_else(|| (time, std::rc::Rc::clone(&frame)));
        while self.ticks.get(self.answered()).is_some_and(|&tick| tick < time) {
            self.chosen.push((held.0, std::rc::Rc::clone(&held.1)));
        }
        self.held = Some((time, frame));
        Ok(self.answered() == self.ticks.len())
    }

    fn answered(&self) -> usize {
        self.taken + self.chosen.len()
    }

    /// Takes out the frames that are certain so far, in order of the instants; the rest come later.
    pub fn take_ready(&mut self) -> Vec<(i64, std::rc::Rc<T>)> {
        self.taken += self.chosen.len();
        std::mem::take(&mut self.chosen)
    }

    /// The frames that were not taken out, in order of the instants, each with its time from the first frame; instants after the last
    /// frame get that one. `None` where no frame came.
    pub fn finish(mut self) -> Option<Vec<(i64, std::rc::Rc<T>)>> {
        while self.answered() < self.ticks.len() {
            let (time, frame) = self.held.as_ref()?;
            self.chosen.push((*time, std::rc::Rc::clone(frame)));
        }
        Some(self.chosen)
    }
}
