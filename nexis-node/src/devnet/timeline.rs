//! When what happens, in blocks.

use nexis_core::protocol::IntervalId;

/// Blocks between two submissions of weights.
pub(super) const WEIGHTS_BLOCKS: u64 = 300;
/// Blocks before the first interval, for registrations and commitments.
const PREPARATION: u64 = 200;

/// The blocks of a devnet. The last interval is the last one that the last submission of weights pays for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timeline {
    first: u64,
    intervals: u64,
}

impl Timeline {
    pub(super) fn new(intervals: u64) -> Self {
        // A submission at block 300 k pays up to interval 300 k - 200: that one is to be the last.
        let span = IntervalId::BLOCKS * intervals.saturating_sub(1);
        let slot = (span + 800).div_ceil(WEIGHTS_BLOCKS) * WEIGHTS_BLOCKS;
        Self { first: slot - 200 - span, intervals }
    }

    /// The block that the chain begins with.
    pub(super) fn start(&self) -> u64 {
        self.first - PREPARATION
    }

    /// The interval at a place.
    pub(super) fn interval(&self, at: u64) -> IntervalId {
        IntervalId::new(self.first + at * IntervalId::BLOCKS)
    }

    /// The intervals, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = (u64, IntervalId)> + use<> {
        let timeline = *self;
        (0..self.intervals).map(move |at| (at, timeline.interval(at)))
    }

    /// The first block at which an interval may be judged.
    pub(super) fn judged_at(&self, interval: IntervalId) -> u64 {
        interval.get() + IntervalId::BLOCKS + IntervalId::RESERVE_BLOCKS
    }

    /// The block of the last submission of weights.
    pub(super) fn last_slot(&self) -> u64 {
        self.interval(self.intervals.saturating_sub(1)).get() + 200
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_submission_pays_up_to_the_last_interval() {
        for intervals in 1..30 {
            let timeline = Timeline::new(intervals);
            let last = timeline.interval(intervals - 1);
            assert_eq!(timeline.last_slot() % WEIGHTS_BLOCKS, 0);
            assert_eq!(IntervalId::latest_eligible(timeline.last_slot()), Some(last));
            assert_eq!(IntervalId::latest_eligible(timeline.judged_at(last)), Some(last));
            assert_ne!(IntervalId::latest_eligible(timeline.judged_at(last) - 1), Some(last));
        }
    }
}
