//! The named steps of a validator, so that tests can end the process at each of them.

use std::fmt;

/// A step that has just been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // each is its name
pub enum Step {
    IntervalBegun,
    MinersDiscovered,
    IndexRead,
    DatasetsFetched,
    Planned,
    AssetsFetched,
    Judged,
    BundlesWritten,
    IntervalCommitted,
    WeightsPrepared,
    WeightsSent,
    WeightsRecorded,
}

impl Step {
    /// All of them, in the order in which an interval and its weights go through them.
    pub const ALL: [Self; 12] = [
        Self::IntervalBegun,
        Self::MinersDiscovered,
        Self::IndexRead,
        Self::DatasetsFetched,
        Self::Planned,
        Self::AssetsFetched,
        Self::Judged,
        Self::BundlesWritten,
        Self::IntervalCommitted,
        Self::WeightsPrepared,
        Self::WeightsSent,
        Self::WeightsRecorded,
    ];
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Is told each step when it has been done.
pub trait StepHook: Send + Sync {
    /// The step is done; what is durable of it is durable.
    fn reached(&self, step: Step);
}

/// A hook that does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHook;

impl StepHook for NoHook {
    fn reached(&self, _step: Step) {}
}
