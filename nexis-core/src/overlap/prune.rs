//! Phase 8: rows that repeat what is already known, or what another miner brought first, are dropped.
//!
//! Nothing here fails a submission; rows are dropped and counted.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::index::OverlapIndex;
use super::source::{overlap_index_keys, source_identity_key};
use crate::package::ClipRecord;
use crate::protocol::Hotkey;
use crate::python;

/// One miner's rows as they enter pruning.
#[derive(Clone, Debug)]
pub struct PruneInput<'a> {
    /// Whose they are.
    pub hotkey: &'a Hotkey,
    /// The store's last-modified time of the manifest, or the manifest's own `created_at`.
    pub made_at: DateTime<Utc>,
    /// The rows, in file order.
    pub rows: &'a [ClipRecord],
}

/// What is left of one miner's rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Indices of the rows kept, ascending.
    pub kept: Vec<usize>,
    /// Rows dropped because the global index has them.
    pub global: usize,
    /// Rows dropped because another miner was first.
    pub cross_miner: usize,
}

/// Drops rows known to the global index, then rows that another miner brought first. One result per
/// input, in the same order.
pub fn prune(inputs: &[PruneInput<'_>], index: &OverlapIndex, min_distance_seconds: f64) -> Vec<Pruned> {
    let mut results: Vec<Pruned> = inputs
        .iter()
        .map(|input| {
            let kept = prune_global(input.rows, index, min_distance_seconds);
            Pruned { global: input.rows.len() - kept.len(), kept, cross_miner: 0 }
        })
        .collect();
    let kept: Vec<Vec<usize>> = results.iter().map(|result| result.kept.clone()).collect();
    for (result, kept) in results.iter_mut().zip(prune_across_miners(inputs, &kept, min_distance_seconds)) {
        result.cross_miner = result.kept.len() - kept.len();
        result.kept = kept;
    }
    results
}

/// Indices of the rows that start at least `min_distance_seconds` from every entry of the index under any
/// of their keys.
pub fn prune_global(rows: &[ClipRecord], index: &OverlapIndex, min_distance_seconds: f64) -> Vec<usize> {
    let known = |row: &ClipRecord| {
        !index.is_empty()
            && overlap_index_keys(&row.source_video_url, &row.source_video_id)
                .iter()
                .any(|key| any_near(index.get(key), row.clip_start_sec, min_distance_seconds))
    };
    rows.iter().enumerate().filter(|(_, row)| !known(row)).map(|(i, _)| i).collect()
}

/// Whether a sorted list has a start nearer than the distance: only the two neighbours can be.
fn any_near(starts: &[f64], start: f64, distance: f64) -> bool {
    let at = starts.partition_point(|x| *x < start);
    let neighbours = [at.checked_sub(1).and_then(|k| starts.get(k)), starts.get(at)];
    neighbours.into_iter().flatten().any(|x| python::gap(*x, start).abs() < distance)
}

/// A row with the positions of its miner and of itself.
type Candidate<'a> = (usize, usize, &'a ClipRecord);

/// Indices of the rows that are left of each miner after overlaps between miners are settled: rows of
/// one source in order of (time, hotkey, start, clip id); a row nearer than the distance to a kept row
/// of another miner goes.
pub fn prune_across_miners(
    inputs: &[PruneInput<'_>],
    candidates: &[Vec<usize>],
    min_distance_seconds: f64,
) -> Vec<Vec<usize>> {
    let mut by_source: BTreeMap<String, Vec<Candidate<'_>>> = BTreeMap::new();
    for (miner, (input, candidates)) in inputs.iter().zip(candidates).enumerate() {
        for &row in candidates {
            if let Some(record) = input.rows.get(row) {
                let source = source_identity_key(&record.source_video_url);
                by_source.entry(source).or_default().push((miner, row, record));
            }
        }
    }
    let mut kept: Vec<Vec<usize>> = inputs.iter().map(|_| Vec::new()).collect();
    for rows in by_source.values_mut() {
        rows.sort_by(|(ma, _, a), (mb, _, b)| {
            let who = |miner: &usize| inputs.get(*miner).map(|input| (input.made_at, input.hotkey));
            who(ma)
                .cmp(&who(mb))
                .then(python::order(a.clip_start_sec, b.clip_start_sec))
                .then_with(|| a.clip_id.cmp(&b.clip_id))
        });
        let mut taken = Taken::new(min_distance_seconds);
        for (miner, row, record) in rows {
            let who = inputs.get(*miner).map(|input| input.hotkey.as_str()).unwrap_or_default();
            if taken.take(who, record.clip_start_sec)
                && let Some(kept) = kept.get_mut(*miner)
            {
                kept.push(*row);
            }
        }
    }
    for kept in &mut kept {
        kept.sort_unstable();
    }
    kept
}

/// The starts kept so far of one source. Starts are grouped into bins less than half the distance wide, so that all
/// starts of a bin belong to one miner and only a bin's outermost two can decide; a miner
/// who repeats one start a hundred thousand times costs no more than one who does not.
struct Taken<'a> {
    distance: f64,
    bins: BTreeMap<i64, Bin<'a>>,
}

struct Bin<'a> {
    miner: &'a str,
    first: f64,
    last: f64,
}

impl<'a> Taken<'a> {
    fn new(distance: f64) -> Self {
        Self { distance, bins: BTreeMap::new() }
    }

    /// Bins of 0.4 of the distance: within one, two starts are always in conflict, whatever the rounding.
    /// Beyond the range of the cast (starts of more than 10^19 seconds) the ends share one bin.
    #[allow(clippy::cast_possible_truncation)]
    fn bin(&self, start: f64) -> i64 {
        (start / (self.distance * 0.4)).floor() as i64
    }

    /// Keeps a start unless it is near to another miner's.
    fn take(&mut self, miner: &'a str, start: f64) -> bool {
        let bin = self.bin(start);
        let near = self.bins.range(bin.saturating_sub(3)..=bin.saturating_add(3)).any(|(_, other)| {
            let conflict = |x: f64| python::gap(x, start).abs() < self.distance;
            other.miner != miner && (conflict(other.first) || conflict(other.last))
        });
        if near {
            return false;
        }
        let entry = self.bins.entry(bin).or_insert(Bin { miner, first: start, last: start });
        entry.first = entry.first.min(start);
        entry.last = entry.last.max(start);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_decide_as_all_pairs_do() {
        // The same rule the long way, over starts around multiples of the distance.
        let mut state = 1_u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        let mut dropped = 0;
        for _ in 0..200 {
            let mut taken = Taken::new(4.5);
            let mut kept: Vec<(&str, f64)> = Vec::new();
            for _ in 0..40 {
                let miner = ["a", "b", "c"][usize::try_from(next() % 3).unwrap()];
                let start = (next() % 10) as f64 * 4.5
                    + [0.0, 1e-9, 0.01, 2.25, 4.49][usize::try_from(next() % 5).unwrap()];
                let free = kept.iter().all(|(m, x)| *m == miner || (x - start).abs() >= 4.5);
                assert_eq!(taken.take(miner, start), free, "{miner} {start}");
                if free { kept.push((miner, start)) } else { dropped += 1 }
            }
        }
        assert!(dropped > 100);
    }
}
