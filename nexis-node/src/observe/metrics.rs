//! Metrics in the OpenMetrics text format.
//!
//! Labels are bounded: a phase, a verdict, a failure code without the clip that it names. A hotkey is never a label;
//! log lines and evidence have it.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nexis_core::protocol::IntervalId;
use nexis_core::report::Verdict;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::serving::Serving;

/// A part of the work on an interval whose time is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Reading the metagraph and the commitments.
    Discover,
    /// Fetching one miner's submission.
    Fetch,
    /// Judging all submissions of an interval.
    Verify,
    /// Writing decisions and evidence.
    Record,
    /// All of an interval.
    Interval,
    /// Submitting weights, until they are final.
    Weights,
    /// Publishing what was accepted.
    Sync,
}

impl Phase {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Discover => "discover",
            Self::Fetch => "fetch",
            Self::Verify => "verify",
            Self::Record => "record",
            Self::Interval => "interval",
            Self::Weights => "weights",
            Self::Sync => "sync",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabel {
    verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// The node's metrics. A clone counts into the same numbers.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    phases: Family<PhaseLabel, Histogram, fn() -> Histogram>,
    decisions: Family<VerdictLabel, Counter>,
    failures: Family<CodeLabel, Counter>,
    downloaded: Counter,
    uploaded: Counter,
    cache_lookups: Family<OutcomeLabel, Counter>,
    cache_bytes: Gauge,
    head_block: Gauge,
    head_age: Gauge<f64, AtomicU64>,
    last_interval: Gauge,
    intervals_behind: Gauge,
    intervals: Counter,
    weights_block: Gauge,
    weights_age_blocks: Gauge,
    weight_submissions: Family<OutcomeLabel, Counter>,
    unrevealed: Counter,
    serving: Serving,
    head_seen: Mutex<Option<Instant>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("nexis");
        let phases = Family::new_with_constructor(phase_histogram as fn() -> Histogram);
        let decisions = Family::default();
        let failures = Family::default();
        let (downloaded, uploaded, intervals, unrevealed) = Default::default();
        let cache_lookups = Family::default();
        let weight_submissions = Family::default();
        let head_age = Gauge::default();
        let gauges: [Gauge; 6] = Default::default();
        let [cache_bytes, head_block, last_interval, intervals_behind, weights_block, weights_age_blocks] =
            gauges;
        let r = &mut registry;
        r.register_with_unit("phase", "Time taken by a phase of the work", Unit::Seconds, phases.clone());
        r.register("decisions", "Submissions decided, by verdict", decisions.clone());
        r.register("failures", "Failures found in submissions, by code", failures.clone());
        add(r, "downloaded_bytes", "Bytes fetched from object stores", &downloaded);
        add(r, "uploaded_bytes", "Bytes written to object stores", &uploaded);
        r.register("cache_lookups", "Assets looked up in the cache", cache_lookups.clone());
        r.register("cache_bytes", "Bytes that the cache holds", cache_bytes.clone());
        r.register("chain_head_block", "Last finalised block seen", head_block.clone());
        r.register("chain_head_age_seconds", "Time since a finalised block was seen", head_age.clone());
        r.register("last_interval", "Last interval that was decided", last_interval.clone());
        r.register("intervals_behind", "Closed intervals not decided yet", intervals_behind.clone());
        add(r, "intervals", "Intervals decided", &intervals);
        r.register("weights_block", "Block of the last weights on chain", weights_block.clone());
        r.register(
            "weights_age_blocks",
            "Blocks since the last weights on chain",
            weights_age_blocks.clone(),
        );
        r.register("weight_submissions", "Weight submissions, by outcome", weight_submissions.clone());
        add(r, "unrevealed_commits", "Committed weights whose reveal did not come in time", &unrevealed);
        let serving = Serving::new(&mut registry);
        Self {
            inner: Arc::new(Inner {
                registry,
                serving,
                phases,
                decisions,
                failures,
                downloaded,
                uploaded,
                cache_lookups,
                cache_bytes,
                head_block,
                head_age,
                last_interval,
                intervals_behind,
                intervals,
                weights_block,
                weights_age_blocks,
                weight_submissions,
                unrevealed,
                head_seen: Mutex::new(None),
            }),
        }
    }

    pub(super) fn serving(&self) -> &Serving {
        &self.inner.serving
    }

    /// A phase took so long.
    pub fn phase(&self, phase: Phase, took: Duration) {
        self.inner.phases.get_or_create(&PhaseLabel { phase: phase.as_str() }).observe(took.as_secs_f64());
    }

    /// A submission was decided, with these failure codes.
    pub fn decision<S: AsRef<str>>(&self, verdict: Verdict, failures: &[S]) {
        let verdict = verdict_name(verdict);
        self.inner.decisions.get_or_create(&VerdictLabel { verdict }).inc();
        for code in failures {
            let code = code_label(code.as_ref()).to_owned();
            self.inner.failures.get_or_create(&CodeLabel { code }).inc();
        }
    }

    /// Bytes came from an object store.
    pub fn downloaded(&self, bytes: u64) {
        self.inner.downloaded.inc_by(bytes);
    }

    /// Bytes were written to an object store.
    pub fn uploaded(&self, bytes: u64) {
        self.inner.uploaded.inc_by(bytes);
    }

    /// An asset was looked up in the cache.
    pub fn cache_lookup(&self, hit: bool) {
        let outcome = if hit { "hit" } else { "miss" };
        self.inner.cache_lookups.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// The cache holds so many bytes.
    pub fn cache_holds(&self, bytes: u64) {
        self.inner.cache_bytes.set(whole(bytes));
    }

    /// A finalised block was seen, now.
    pub fn chain_head(&self, block: u64) {
        self.inner.head_block.set(whole(block));
        *self.inner.head_seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// An interval was decided, and so many closed ones are left.
    pub fn interval_decided(&self, interval: IntervalId, behind: u64) {
        self.inner.intervals.inc();
        self.inner.last_interval.set(whole(interval.get()));
        self.inner.intervals_behind.set(whole(behind));
    }

    /// The chain has weights of ours from this block.
    pub fn weights_on_chain(&self, block: u64) {
        self.inner.weights_block.set(whole(block));
    }

    /// Weights were submitted; whether they were taken.
    pub fn weight_submission(&self, taken: bool) {
        let outcome = if taken { "taken" } else { "failed" };
        self.inner.weight_submissions.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Committed weights were not revealed in time.
    pub fn commit_unrevealed(&self) {
        self.inner.unrevealed.inc();
    }

    /// All of it in the OpenMetrics text format.
    ///
    /// # Errors
    /// Where the encoder fails, which is a defect.
    pub fn to_text(&self) -> Result<String, fmt::Error> {
        let inner = &self.inner;
        let seen = *inner.head_seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = seen {
            inner.head_age.set(seen.elapsed().as_secs_f64());
        }
        // Without weights or without a head there is no age; the alarm is on the head's age then.
        let (head, weights) = (inner.head_block.get(), inner.weights_block.get());
        if weights > 0 && head >= weights {
            inner.weights_age_blocks.set(head - weights);
        }
        let mut text = String::new();
        encode(&mut text, &inner.registry)?;
        Ok(text)
    }
}

/// A verdict as a label.
pub(super) const fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "accept",
        Verdict::Reject => "reject",
        Verdict::Inconclusive => "inconclusive",
    }
}

fn add(registry: &mut Registry, name: &str, help: &str, counter: &Counter) {
    registry.register(name, help, counter.clone());
}

/// From 5 ms to about 20 minutes.
fn phase_histogram() -> Histogram {
    Histogram::new([
        0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0,
    ])
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A failure code without what it is about: `short_caption` of `short_caption:9f2c...`. What stands before the
/// colon is ours, what stands after it can be a stranger's and would make labels without end.
pub fn code_label(code: &str) -> &str {
    code.split(':').next().unwrap_or(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_code_and_not_by_clip() {
        let metrics = Metrics::new();
        metrics.decision(Verdict::Reject, &["short_caption:a", "short_caption:b", "unknown_spec:x"]);
        metrics.decision::<&str>(Verdict::Accept, &[]);
        let text = metrics.to_text().unwrap();
        assert!(text.contains("nexis_failures_total{code=\"short_caption\"} 2"), "{text}");
        assert!(text.contains("nexis_failures_total{code=\"unknown_spec\"} 1"), "{text}");
        assert!(text.contains("nexis_decisions_total{verdict=\"accept\"} 1"), "{text}");
        assert!(text.contains("nexis_decisions_total{verdict=\"reject\"} 1"), "{text}");
    }

    #[test]
    fn the_age_of_weights_follows_the_head() {
        let metrics = Metrics::new();
        metrics.weights_on_chain(1000);
        metrics.chain_head(1310);
        let text = metrics.to_text().unwrap();
        assert!(text.contains("nexis_weights_age_blocks 310"), "{text}");
        assert!(text.contains("nexis_chain_head_block 1310"), "{text}");
    }

    #[test]
    fn phases_have_their_seconds() {
        let metrics = Metrics::new();
        metrics.phase(Phase::Verify, Duration::from_millis(1500));
        let text = metrics.to_text().unwrap();
        assert!(text.contains("nexis_phase_seconds_sum{phase=\"verify\"} 1.5"), "{text}");
        assert!(text.contains("nexis_phase_seconds_bucket{le=\"1.0\",phase=\"verify\"} 0"), "{text}");
    }
}
