//! What must come of a run, calculated apart from the code that is being run: decisions from the cast, weights from
//! decisions, in whole numbers.

use std::collections::BTreeMap;

use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_core::report::Verdict;

use super::cast::{Cast, Expected};
use super::{IntervalOutcome, ShownDecision};
use crate::state::WeightRecord;

/// What is not as the cast demands.
pub(super) fn surprises(cast: &Cast, intervals: &[IntervalOutcome]) -> Vec<String> {
    let mut surprises = Vec::new();
    for (at, interval) in (0_u64..).zip(intervals) {
        for miner in &cast.miners {
            let hotkey = miner.pair.hotkey();
            let found = interval.decisions.iter().find(|decision| decision.hotkey == *hotkey);
            let what = match found {
                None => Some("no decision".to_owned()),
                Some(decision) => objection(decision, &cast.expected(miner, at)),
            };
            if let Some(what) = what {
                let role = miner.role.describe();
                surprises.push(format!("interval {}: {hotkey} ({role}): {what}", interval.id));
            }
        }
    }
    surprises
}

/// What is not published as the decisions demand: a bundle for each accepted submission with rows left, a clip for
/// each of its rows that was judged.
pub(super) fn published(intervals: &[IntervalOutcome], bundles: usize, clips: usize) -> Vec<String> {
    let accepted = || {
        let decisions = intervals.iter().flat_map(|interval| &interval.decisions);
        decisions.filter(|d| d.verdict == Verdict::Accept && d.record_count > d.pruned_rows)
    };
    let wanted_bundles = accepted().count();
    let wanted_clips: usize = accepted().map(|decision| decision.sampled_rows).sum();
    let mut surprises = Vec::new();
    if bundles != wanted_bundles {
        surprises.push(format!("{wanted_bundles} bundles were to be published, {bundles} are there"));
    }
    if clips != wanted_clips {
        surprises.push(format!("{wanted_clips} clips were to be copied, {clips} are there"));
    }
    surprises
}

fn objection(found: &ShownDecision, expected: &Expected) -> Option<String> {
    let codes = || found.failures.iter().filter_map(|failure| failure.split(':').next());
    match expected.code {
        Some(code) if found.verdict != Verdict::Reject || !codes().any(|found| found == code) => {
            Some(format!("{code} was expected, {:?} {:?} came", found.verdict, found.failures))
        }
        None if found.verdict != Verdict::Accept => {
            Some(format!("it was to be accepted, {:?} {:?} came", found.verdict, found.failures))
        }
        None if expected.all_pruned != (found.pruned_rows == found.record_count) => {
            Some(format!("{} of {} rows were dropped", found.pruned_rows, found.record_count))
        }
        _ => None,
    }
}

/// Intervals that are paid twice or never: each submission that counts goes on where the one before it ended.
pub(super) fn paid_once(records: &[WeightRecord]) -> Option<String> {
    let mut upto = None;
    for record in records.iter().filter(|record| record.counts()) {
        if record.after != upto {
            return Some(format!(
                "weights of slot {} pay after {:?}, not {upto:?}",
                record.slot, record.after
            ));
        }
        upto = Some(record.upto);
    }
    None
}

/// The weights that a submission must have put on the chain, by uid: the cubes of the rows that passed, summed over the
/// intervals that it pays for; nothing for a miner who failed in the last of them; the largest is 65535, the others are
/// rounded, halves to the even number, and what is 0 is not sent.
pub(super) fn weights(
    uids: &BTreeMap<Hotkey, u16>,
    intervals: &[IntervalOutcome],
    record: Option<&WeightRecord>,
) -> BTreeMap<u16, u16> {
    let paid: Vec<IntervalId> = intervals
        .iter()
        .map(|interval| interval.id)
        .filter(|id| record.is_some_and(|r| r.after.is_none_or(|after| *id > after) && *id <= r.upto))
        .collect();
    let mut sums: BTreeMap<&Hotkey, u64> = BTreeMap::new();
    for decision in decisions(intervals, &paid) {
        let passed = decision.passed_sample_count as u64;
        *sums.entry(&decision.hotkey).or_default() += passed * passed * passed;
    }
    let last: Vec<IntervalId> = paid.last().copied().into_iter().collect();
    for decision in decisions(intervals, &last) {
        // A check that we could not make is no failure of the miner's, and no merit either.
        if decision.verdict == Verdict::Reject {
            sums.insert(&decision.hotkey, 0);
        }
    }
    let by_uid = sums.iter().filter_map(|(hotkey, sum)| Some((*uids.get(*hotkey)?, *sum)));
    let by_uid: BTreeMap<u16, u64> = by_uid.filter(|(_, sum)| *sum > 0).collect();
    let Some(most) = by_uid.values().max().copied() else {
        return BTreeMap::from([(0, u16::MAX)]);
    };
    let scale = |sum: u64| {
        let (whole, rest) = (sum * u64::from(u16::MAX) / most, sum * u64::from(u16::MAX) % most);
        whole + u64::from(2 * rest > most || 2 * rest == most && whole % 2 == 1)
    };
    by_uid
        .into_iter()
        .filter_map(|(uid, sum)| Some((uid, u16::try_from(scale(sum)).ok().filter(|w| *w > 0)?)))
        .collect()
}

fn decisions<'a>(
    intervals: &'a [IntervalOutcome],
    of: &'a [IntervalId],
) -> impl Iterator<Item = &'a ShownDecision> {
    intervals.iter().filter(|interval| of.contains(&interval.id)).flat_map(|interval| &interval.decisions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(hotkey: &str, verdict: Verdict, passed: usize) -> ShownDecision {
        ShownDecision {
            hotkey: Hotkey::new(hotkey),
            verdict,
            failures: Vec::new(),
            record_count: 3,
            pruned_rows: 0,
            sampled_rows: 3,
            passed_sample_count: passed,
        }
    }

    fn record(slot: u64, after: Option<u64>, upto: u64) -> WeightRecord {
        serde_json::from_value(serde_json::json!({
            "slot": slot, "prepared_at": slot, "after": after, "upto": upto, "weights": [], "tries": 1,
            "tried_at": null, "outcome": { "state": "confirmed", "block": slot },
        }))
        .unwrap()
    }

    #[test]
    fn weights_by_hand() {
        let interval = |id, decisions| IntervalOutcome { id: IntervalId::new(id), decisions };
        let intervals = [
            interval(600, vec![decided("c", Verdict::Accept, 3)]),
            interval(700, vec![decided("a", Verdict::Accept, 3), decided("b", Verdict::Accept, 3)]),
            interval(
                800,
                vec![
                    decided("a", Verdict::Accept, 2),
                    decided("b", Verdict::Reject, 0),
                    decided("c", Verdict::Accept, 1),
                    decided("d", Verdict::Inconclusive, 0),
                ],
            ),
        ];
        let uids = ["a", "b", "c", "d"].iter().zip(1..).map(|(h, uid)| (Hotkey::new(h), uid)).collect();
        // a: 27 + 8 = 35; b failed last; c: 1, which is 65535 / 35 = 1872.4; what c earned before was paid before.
        let expected = BTreeMap::from([(1, 65535), (3, 1872)]);
        assert_eq!(weights(&uids, &intervals, Some(&record(1000, Some(600), 800))), expected);
        // Where nobody earned anything, the first place gets it all.
        assert_eq!(weights(&uids, &[], Some(&record(1000, None, 800))), BTreeMap::from([(0, 65535)]));
    }

    #[test]
    fn what_is_paid_twice_or_never_is_seen() {
        assert_eq!(paid_once(&[record(900, None, 700), record(1200, Some(700), 1000)]), None);
        assert!(paid_once(&[record(900, None, 700), record(1200, Some(600), 1000)]).is_some());
        assert!(paid_once(&[record(900, None, 700), record(1200, Some(800), 1000)]).is_some());
    }
}
