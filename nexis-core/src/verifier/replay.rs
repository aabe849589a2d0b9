//! Recomputes a record of evidence from its package.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::RowJudge;
use super::cascade::Turn;
use crate::error::{Error, Result};
use crate::evidence::{Evidence, SamplingEvidence};
use crate::package::{AssetSource, ExpectedIdentity, ExpectedMiner, Opened, Package, PackageRules};
use crate::sample::SamplePlan;

/// Judges the recorded row again, under the recorded limits, and draws the recorded sample again.
/// Compare with [`Evidence::differences`].
///
/// Whether a call of the judge was left follows from rows that are not in this package, so it is taken as recorded, with
/// the budget. A record that was made without a judge, or by one encoder, is recomputed so.
///
/// # Errors
/// [`Error::Missing`] where the record was made with a judge or with two encoders and there is none; [`Error::Corrupt`] where the package cannot be opened or has no such row; otherwise as judging.
pub fn replay(
    judge: &RowJudge,
    source: Arc<dyn AssetSource>,
    recorded: &Evidence,
    now: DateTime<Utc>,
) -> Result<Evidence> {
    let corrupt = |why: String| Error::Corrupt { what: "the package".into(), why };
    let expected = ExpectedIdentity {
        miner: ExpectedMiner::Hotkey(recorded.package.miner_hotkey.clone()),
        interval: recorded.package.interval_id,
    };
    let package = match Package::open(source, &expected, &PackageRules::default(), now)? {
        Opened::Package(package) => package,
        Opened::Rejected { violation, .. } => return Err(corrupt(violation.to_string())),
    };
    let kept = recorded.sampling.kept_rows.clone().unwrap_or_else(|| (0..package.rows.len()).collect());
    let make = if recorded.sampling.all_rows { SamplePlan::all } else { SamplePlan::new };
    let plan = make(
        recorded.package.interval_id,
        &package.manifest.miner_hotkey,
        recorded.sampling.validator_hotkey.as_ref(),
        kept.len(),
    );
    let sampling = SamplingEvidence {
        interval_seed: plan.interval_seed,
        validator_hotkey: recorded.sampling.validator_hotkey.clone(),
        all_rows: recorded.sampling.all_rows,
        // What other miners handed in is not in this package, so the pruning is taken as recorded.
        kept_rows: recorded.sampling.kept_rows.clone(),
        sampled_rows: plan.indices.iter().filter_map(|&p| kept.get(p).copied()).collect(),
    };
    let judge = judge.with_limits(recorded.limits.clone());
    let judge = match &recorded.environment.ensemble {
        None => judge.without_ensemble(),
        Some(_) if !judge.has_ensemble() => {
            return Err(Error::Missing {
                what: "the second encoder that the record was made with".to_owned(),
                remedy: "name it, as `--ensemble ID`".to_owned(),
            });
        }
        Some(_) => judge,
    };
    let judge = match &recorded.environment.judge {
        None => judge.without_judge(),
        Some(_) if judge.budget().is_none() => {
            return Err(Error::Missing {
                what: "the judge that the record was made with".to_owned(),
                remedy: "name it, as `--judge ID`".to_owned(),
            });
        }
        Some(used) => judge.with_budget(used.budget),
    };
    let turn = Turn::recorded(recorded);
    let (outcome, _) = judge.judge_in_turn(&package, recorded.row.index, &sampling, turn);
    outcome.evidence.ok_or_else(|| {
        let why = outcome
            .report
            .inconclusive
            .or_else(|| outcome.violations.first().map(|(_, v)| v.to_string()))
            .unwrap_or_else(|| "no reason given".into());
        corrupt(format!("row {} cannot be judged here: {why}", recorded.row.index))
    })
}
