//! The only composer: packages in, a report out.
//!
//! Order of work (protocol page, 4): phases 1 to 3 for every miner, phase 8 across all of them, then
//! row sampling from what is left, and phases 4 to 7 on it. [`Verifier::plan`] goes as far as it can without a
//! clip, so that whoever fetches packages from afar knows which clips to fetch; [`Verifier::judge`] does the
//! rest. Rows of all miners are judged in parallel; results are put together by position, so that neither the number of threads nor the
//! order of arrival shows in them.

mod cascade;
mod classify;
mod encoder;
mod ensemble;
mod frames;
mod plan;
mod replay;
mod row;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rayon::prelude::*;

use cascade::{Doubtful, Turn, allot};
pub use cascade::{JUDGE_BUDGET, YES};
pub use classify::Classification;
pub use ensemble::Embedded;
pub use frames::{FrameFiles, FrameSetScores, MAX_FRAMES};
use plan::InHand;
pub use plan::{Planned, PlannedSubmission};
pub use replay::replay;
pub use row::{
    ClipInspection, ClipScores, FRAMES_PER_CLIP, PREPROCESSING_VERSION, RowJudge, RowOutcome, embed_frames,
    frame_reports, frame_scores,
};

use crate::check::{Policy, Violation, ViolationKind};
use crate::error::{Error, Result};
use crate::evidence::Evidence;
use crate::media::Frame;
use crate::overlap::OverlapIndex;
use crate::package::{AssetSource, DirectorySource, ExpectedMiner, Found, PackageRules};
use crate::protocol::{Hotkey, IntervalId};
use crate::report::{Report, RowReport, SubmissionReport, Verdict};
use crate::verdict::{Findings, decide};
use crate::weights::{IntervalScore, normalized_weights};

/// What a run is asked to do; everything here is the operator's to set.
#[derive(Clone, Debug, Default)]
pub struct VerifierOptions {
    /// Which checks fail a submission.
    pub policy: Policy,
    /// Judge every row instead of the protocol's sample.
    pub all_rows: bool,
    /// Whose sample is drawn; `None` draws the one without a validator.
    pub validator_hotkey: Option<Hotkey>,
    /// Clips that accepted rows of earlier intervals occupy.
    pub overlap_index: OverlapIndex,
    /// Specs, category and limits of packages.
    pub package_rules: PackageRules,
}

/// One miner's package, to be judged.
#[derive(Clone)]
pub struct Submission {
    /// The miner that the manifest must name.
    pub miner: ExpectedMiner,
    /// The interval asked for.
    pub interval: IntervalId,
    /// The miner's name in the report where the manifest gives none that holds: its hotkey or its bucket.
    pub label: String,
    /// The files.
    pub source: Arc<dyn AssetSource>,
}

impl From<Found> for Submission {
    /// A package on disk, its files below the bucket's folder.
    fn from(found: Found) -> Self {
        Self {
            label: found.label(),
            miner: found.miner,
            interval: found.interval,
            source: Arc::new(DirectorySource::new(found.bucket)),
        }
    }
}

/// Sees a run as it goes: progress, pictures for a report, evidence to keep.
pub trait Observer: Sync {
    /// Rows will be judged.
    fn rows_sampled(&self, _rows: usize) {}

    /// A row has been judged; called from several threads, in no particular order.
    fn row_judged(&self, _miner: &Hotkey, _interval: IntervalId, _row: &RowReport, _frames: &[Frame]) {}

    /// A record of evidence is ready to be kept.
    ///
    /// # Errors
    /// Where it could not be kept, which ends the run.
    fn evidence(&self, _evidence: &Evidence) -> Result<()> {
        Ok(())
    }

    /// Whether to stop.
    fn interrupted(&self) -> bool {
        false
    }
}

/// An observer that sees nothing.
pub struct Unobserved;

impl Observer for Unobserved {}

/// A row on its way.
enum Judged {
    Done(Box<RowOutcome>),
    /// These questions of it are in doubt, and whether there are calls of the judge for them is not known yet.
    Waiting(Turn),
}

/// Judges submissions.
pub struct Verifier {
    judge: RowJudge,
    options: VerifierOptions,
}

impl Verifier {
    /// A verifier from its parts.
    pub fn new(judge: RowJudge, options: VerifierOptions) -> Self {
        Self { judge, options }
    }

    /// Judges submissions, `now` being the time of the check: [`plan`](Self::plan), then
    /// [`judge`](Self::judge).
    ///
    /// # Errors
    /// Only where the run as a whole cannot go on: it was interrupted, or evidence could not be kept.
    /// Whatever concerns one submission is in its report.
    pub fn verify(
        &self,
        submissions: &[Submission],
        now: DateTime<Utc>,
        observer: &dyn Observer,
    ) -> Result<Report> {
        self.judge(&self.plan(submissions, now), now, observer)
    }

    /// Phases 5 to 7 on the sampled rows, and the decisions. The plan stays whole, for what is done with accepted
    /// submissions afterwards.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn judge(&self, planned: &Planned, now: DateTime<Utc>, observer: &dyn Observer) -> Result<Report> {
        let in_hand = &planned.submissions;
        let jobs: Vec<(usize, usize)> = in_hand
            .iter()
            .enumerate()
            .flat_map(|(i, s)| s.sampled.iter().map(move |&row| (i, row)))
            .collect();
        observer.rows_sampled(jobs.len());
        let judged = |(i, row): (usize, usize), turn: Option<Turn>| {
            if observer.interrupted() {
                return Err(Error::Interrupted);
            }
            let submission =
                in_hand.get(i).ok_or_else(|| Error::Internal("a row without its submission".into()))?;
            self.judge_row(submission, row, turn, observer)
        };
        let first = self.first_turns(in_hand);
        let rows = jobs.par_iter().map(|&job| judged(job, first.get(job.0).copied().flatten()));
        let mut rows: Vec<Judged> = rows.collect::<Result<_>>()?;
        // Who gets a call of the judge is known only when all that is in doubt is known.
        let waiting = jobs.iter().zip(&mut rows).filter_map(|(&job, row)| match row {
            Judged::Waiting(questions) => {
                let (questions, submission) = (*questions, in_hand.get(job.0)?);
                let (interval, miner) = (submission.interval, &submission.miner);
                let doubtful = Doubtful { interval, miner, submission: job.0, row: job.1, questions };
                Some((doubtful, (job, row)))
            }
            Judged::Done(_) => None,
        });
        let (doubtful, waiting): (Vec<_>, Vec<_>) = waiting.unzip();
        let turns = allot(&doubtful, self.judge.budget().unwrap_or(0));
        waiting.into_par_iter().zip(turns).try_for_each(|((job, row), turn)| {
            *row = judged(job, Some(turn))?;
            Ok::<_, Error>(())
        })?;

        let mut by_submission: Vec<Vec<RowOutcome>> = in_hand.iter().map(|_| Vec::new()).collect();
        for ((i, _), row) in jobs.into_iter().zip(rows) {
            let Judged::Done(outcome) = row else {
                return Err(Error::Internal("a row that still waits for its turn".into()));
            };
            if let Some(rows) = by_submission.get_mut(i) {
                rows.push(*outcome);
            }
        }
        let submissions: Vec<_> = in_hand
            .iter()
            .zip(by_submission)
            .map(|(submission, rows)| self.conclude(submission, rows, now))
            .collect();
        let scores: Vec<_> = submissions
            .iter()
            .map(|s| IntervalScore {
                miner_hotkey: s.miner_hotkey.clone(),
                accepted: s.accepted,
                passed_sample_count: u32::try_from(s.passed_sample_count).unwrap_or(u32::MAX),
            })
            .collect();
        Ok(Report {
            environment: self.judge.environment().clone(),
            policy: self.options.policy,
            weights: normalized_weights(&scores, &BTreeMap::new()).into_iter().collect(),
            submissions,
        })
    }

    /// The turn of each submission's rows before it is known what is in doubt: where the interval's calls of the judge
    /// are enough for every question, everybody has a turn at once. None: it depends on the others.
    fn first_turns(&self, in_hand: &[InHand]) -> Vec<Option<Turn>> {
        let Some(budget) = self.judge.budget() else {
            return vec![Some(Turn::NEITHER); in_hand.len()];
        };
        let mut rows: BTreeMap<IntervalId, usize> = BTreeMap::new();
        for submission in in_hand {
            *rows.entry(submission.interval).or_default() += submission.sampled.len();
        }
        let enough = |s: &InHand| rows.get(&s.interval).is_none_or(|rows| rows * 2 <= budget as usize);
        in_hand.iter().map(|submission| enough(submission).then_some(Turn::BOTH)).collect()
    }

    /// Judges a row in its turn. Without one, a row that leaves nothing to the judge is done all the same; any other is
    /// put off, and shown to nobody. It is decoded again in its turn, rather than that the pictures of all that waits
    /// are kept.
    fn judge_row(
        &self,
        submission: &InHand,
        row: usize,
        turn: Option<Turn>,
        observer: &dyn Observer,
    ) -> Result<Judged> {
        let package = submission
            .package
            .as_ref()
            .ok_or_else(|| Error::Internal("a sampled row without its package".into()))?;
        let sampling = self.sampling_evidence(submission);
        let judged =
            guarded(|| self.judge.judge_in_turn(package, row, &sampling, turn.unwrap_or(Turn::NEITHER)));
        match judged {
            Ok((mut outcome, frames)) => {
                let report = &outcome.report;
                let questions = Turn::waiting(report.alignment.as_ref(), report.category.as_ref());
                if turn.is_none() && questions != Turn::NEITHER {
                    return Ok(Judged::Waiting(questions));
                }
                if let Some(evidence) = &outcome.evidence {
                    outcome.report.evidence = Some(evidence.digest()?);
                    observer.evidence(evidence)?;
                }
                observer.row_judged(&submission.miner, submission.interval, &outcome.report, &frames);
                Ok(Judged::Done(Box::new(outcome)))
            }
            Err(unforeseen) => {
                let outcome = RowOutcome::unforeseen(package, row, unforeseen);
                observer.row_judged(&submission.miner, submission.interval, &outcome.report, &[]);
                Ok(Judged::Done(Box::new(outcome)))
            }
        }
    }

    fn conclude(&self, submission: &InHand, rows: Vec<RowOutcome>, now: DateTime<Utc>) -> SubmissionReport {
        let mut violations = submission.violations.clone();
        let mut unchecked = submission.unchecked.clone();
        // Codes come in the order of the phases, and within a phase in the order of the rows.
        for phase in [5, 6, 7] {
            violations.extend(
                rows.iter().flat_map(|r| &r.violations).filter(|(p, _)| *p == phase).map(|(_, v)| v.clone()),
            );
        }
        for row in &rows {
            if let Some(why) = &row.report.inconclusive {
                unchecked.push(format!("{}: {why}", row.report.clip_id));
            }
        }
        let record_count = submission.package.as_ref().map_or(0, |p| p.rows.len());
        let decision = decide(
            self.options.policy,
            Findings { violations, unchecked: unchecked.clone(), sampled_rows: submission.sampled.len() },
        );
        SubmissionReport {
            miner_hotkey: submission.miner.clone(),
            interval_id: submission.interval,
            verdict: decision.verdict,
            accepted: decision.verdict == Verdict::Accept,
            failures: decision.failures.iter().map(Violation::code).collect(),
            reasons: decision.failures,
            warnings: decision.warnings,
            inconclusive: unchecked,
            record_count,
            pruned_rows: record_count - submission.kept.len().min(record_count),
            sampled_rows: submission.sampled.len(),
            sampled_clip_ids: rows.iter().map(|r| r.report.clip_id.clone()).collect(),
            passed_sample_count: decision.passed_sample_count,
            score: decision.score,
            checked_at: now,
            notes: submission.notes.clone(),
            rows: rows.into_iter().map(|r| r.report).collect(),
        }
    }
}

/// Runs one submission's work so that nothing unforeseen in it reaches another's: a panic becomes
/// `validation_exception` for that miner alone (protocol page, 4).
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Violation> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let what = panic
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "unknown panic".to_owned());
        Violation::explained(ViolationKind::ValidationException, what)
    })
}
