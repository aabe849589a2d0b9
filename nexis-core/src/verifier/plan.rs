//! From submissions to what there is to judge: phases 1 to 3, pruning, sampling.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rayon::prelude::*;

use super::{Submission, Verifier, guarded};
use crate::check::Violation;
use crate::check::assets::{WantedAsset, wanted_assets};
use crate::check::hard::duplicate_clip_ids;
use crate::evidence::SamplingEvidence;
use crate::overlap::{PruneInput, prune};
use crate::package::{ClipRecord, ExpectedIdentity, ExpectedMiner, Manifest, Opened, Package};
use crate::protocol::{Hotkey, IntervalId};
use crate::sample::SamplePlan;

/// Submissions up to the point where clips are needed: what is left to read and to judge is known, and none of
/// it has been read.
pub struct Planned {
    pub(super) submissions: Vec<InHand>,
    max_clip_bytes: u64,
}

/// A submission between the phases.
pub(super) struct InHand {
    pub(super) miner: Hotkey,
    pub(super) interval: IntervalId,
    pub(super) package: Option<Package>,
    /// Positions in the dataset of the rows that are left.
    pub(super) kept: Vec<usize>,
    /// Positions in the dataset of the rows to judge.
    pub(super) sampled: Vec<usize>,
    pub(super) violations: Vec<Violation>,
    pub(super) unchecked: Vec<String>,
    pub(super) notes: BTreeMap<String, String>,
}

/// One submission of a plan.
#[derive(Clone, Copy)]
pub struct PlannedSubmission<'a> {
    in_hand: &'a InHand,
    max_clip_bytes: u64,
}

impl Planned {
    /// The submissions, ordered by interval and hotkey; the report has them in the same order.
    pub fn submissions(&self) -> impl Iterator<Item = PlannedSubmission<'_>> {
        let max_clip_bytes = self.max_clip_bytes;
        self.submissions.iter().map(move |in_hand| PlannedSubmission { in_hand, max_clip_bytes })
    }

    /// Per submission, the files that judging will read beyond manifest and dataset. A source that fetches can
    /// fetch these and no others.
    pub fn assets(&self) -> Vec<(&Hotkey, IntervalId, Vec<WantedAsset>)> {
        self.submissions().map(|s| (&s.in_hand.miner, s.in_hand.interval, s.assets())).collect()
    }

    /// How many rows will be judged.
    pub fn sampled_rows(&self) -> usize {
        self.submissions.iter().map(|s| s.sampled.len()).sum()
    }
}

impl<'a> PlannedSubmission<'a> {
    /// The miner, as its manifest writes it, or the submission's label where no manifest could be read.
    pub fn miner(&self) -> &'a Hotkey {
        &self.in_hand.miner
    }

    /// The interval.
    pub fn interval(&self) -> IntervalId {
        self.in_hand.interval
    }

    /// The manifest, where phases 1 to 3 passed.
    pub fn manifest(&self) -> Option<&'a Manifest> {
        self.in_hand.package.as_ref().map(|package| &package.manifest)
    }

    /// The rows left after pruning, in the order of the file: what is published of an accepted submission.
    pub fn kept_rows(&self) -> impl Iterator<Item = &'a ClipRecord> {
        let rows = self.in_hand.package.as_ref().map(|package| package.rows.as_slice()).unwrap_or_default();
        self.in_hand.kept.iter().filter_map(|&row| rows.get(row))
    }

    /// The rows that will be judged, in the order of the file.
    pub fn sampled_rows(&self) -> impl Iterator<Item = &'a ClipRecord> {
        let rows = self.in_hand.package.as_ref().map(|package| package.rows.as_slice()).unwrap_or_default();
        self.in_hand.sampled.iter().filter_map(|&row| rows.get(row))
    }

    /// The files that judging will read, ordered by key and each named once.
    pub fn assets(&self) -> Vec<WantedAsset> {
        wanted_assets(self.sampled_rows(), self.in_hand.interval, self.max_clip_bytes)
    }
}

impl Verifier {
    /// Phases 1 to 3 of every submission, phase 8 across all of them, the sample, and phase 4 on every row that is
    /// left. Reads manifests and datasets and nothing else. `now` stands in for a missing `created_at`.
    pub fn plan(&self, submissions: &[Submission], now: DateTime<Utc>) -> Planned {
        let mut in_hand: Vec<InHand> = submissions.par_iter().map(|s| self.open(s, now)).collect();
        in_hand.sort_by(|a, b| (a.interval, &a.miner).cmp(&(b.interval, &b.miner)));
        self.prune(&mut in_hand);
        for submission in &mut in_hand {
            self.sample(submission);
        }
        Planned { submissions: in_hand, max_clip_bytes: self.judge.limits().max_bytes }
    }

    /// Phases 1 to 3.
    fn open(&self, submission: &Submission, now: DateTime<Utc>) -> InHand {
        let mut in_hand = InHand {
            miner: Hotkey::new(&submission.label),
            interval: submission.interval,
            package: None,
            kept: Vec::new(),
            sampled: Vec::new(),
            violations: Vec::new(),
            unchecked: Vec::new(),
            notes: BTreeMap::new(),
        };
        let expected = ExpectedIdentity { miner: submission.miner.clone(), interval: submission.interval };
        let opened = guarded(|| {
            Package::open(Arc::clone(&submission.source), &expected, &self.options.package_rules, now)
        });
        match opened {
            Ok(Ok(Opened::Package(package))) => {
                in_hand.miner = package.manifest.miner_hotkey.clone();
                in_hand.kept = (0..package.rows.len()).collect();
                if submission.miner == ExpectedMiner::Anyone {
                    let note = "taken from the manifest: no bucket's name to compare it with";
                    in_hand.notes.insert("identity".into(), note.into());
                }
                in_hand.package = Some(*package);
            }
            Ok(Ok(Opened::Rejected { violation, .. })) => in_hand.violations.push(violation),
            Ok(Err(ours)) => in_hand.unchecked.push(ours.to_string()),
            Err(unforeseen) => in_hand.violations.push(unforeseen),
        }
        in_hand
    }

    /// Phase 8, interval by interval.
    fn prune(&self, in_hand: &mut [InHand]) {
        for group in in_hand.chunk_by_mut(|a, b| a.interval == b.interval) {
            let packages = || group.iter().filter_map(|s| s.package.as_ref().map(|p| (&s.miner, p)));
            let Some(distance) =
                packages().map(|(_, p)| p.spec.min_start_distance_seconds()).reduce(f64::max)
            else {
                continue;
            };
            let inputs: Vec<_> = packages()
                .map(|(hotkey, package)| PruneInput {
                    hotkey,
                    made_at: package.made_at(),
                    rows: &package.rows,
                })
                .collect();
            let pruned = prune(&inputs, &self.options.overlap_index, distance);
            let with_package = group.iter_mut().filter(|s| s.package.is_some());
            for (submission, pruned) in with_package.zip(pruned) {
                submission.kept = pruned.kept;
                if pruned.global > 0 {
                    submission.notes.insert("pruned_global".into(), pruned.global.to_string());
                }
                if pruned.cross_miner > 0 {
                    submission.notes.insert("pruned_cross_miner".into(), pruned.cross_miner.to_string());
                }
            }
        }
    }

    /// Row sampling, and phase 4 on every row that is left.
    fn sample(&self, submission: &mut InHand) {
        let Some(package) = &submission.package else { return };
        let make = if self.options.all_rows { SamplePlan::all } else { SamplePlan::new };
        let validator = self.options.validator_hotkey.as_ref();
        let plan = make(submission.interval, &submission.miner, validator, submission.kept.len());
        submission.sampled = plan.indices.iter().filter_map(|&p| submission.kept.get(p).copied()).collect();
        let left = package.with_rows(&submission.kept);
        submission.violations.extend(left.spec.hard_checks(&left.rows));
        submission.violations.extend(duplicate_clip_ids(&left.rows));
    }

    pub(super) fn sampling_evidence(&self, submission: &InHand) -> SamplingEvidence {
        let total = submission.package.as_ref().map_or(0, |p| p.rows.len());
        SamplingEvidence {
            interval_seed: submission.interval.seed(),
            validator_hotkey: self.options.validator_hotkey.clone(),
            all_rows: self.options.all_rows,
            kept_rows: (submission.kept.len() != total).then(|| submission.kept.clone()),
            sampled_rows: submission.sampled.clone(),
        }
    }
}
