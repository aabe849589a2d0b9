//! From accepted submissions to weights on chain (protocol page, 5).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::protocol::Hotkey;

/// One miner's result in one interval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntervalScore {
    /// Whose.
    pub miner_hotkey: Hotkey,
    /// Whether the submission was accepted.
    pub accepted: bool,
    /// Sampled rows of it that passed.
    pub passed_sample_count: u32,
}

impl IntervalScore {
    /// The score: the cube of the rows that passed, 0 where the submission was not accepted.
    pub fn score(&self) -> f64 {
        interval_score(self.accepted, self.passed_sample_count)
    }
}

/// The score of an interval: `passed_sample_count ** 3` if accepted, else 0.
pub fn interval_score(accepted: bool, passed_sample_count: u32) -> f64 {
    if accepted { f64::from(passed_sample_count).powi(3) } else { 0.0 }
}

/// Weights that sum to 1, in order of first appearance: sums of scores, 0 for a miner who failed in the
/// last interval (one who was not seen there keeps its own), all 0 where nothing scored.
pub fn normalized_weights(
    scores: &[IntervalScore],
    accepted_in_last_interval: &BTreeMap<Hotkey, bool>,
) -> Vec<(Hotkey, f64)> {
    let mut weights: Vec<(Hotkey, f64)> = Vec::new();
    let mut places: BTreeMap<&Hotkey, usize> = BTreeMap::new();
    for score in scores {
        let place = *places.entry(&score.miner_hotkey).or_insert(weights.len());
        match weights.get_mut(place) {
            Some((_, sum)) => *sum += score.score(),
            None => weights.push((score.miner_hotkey.clone(), score.score())),
        }
    }
    for (hotkey, weight) in &mut weights {
        if accepted_in_last_interval.get(hotkey) == Some(&false) {
            *weight = 0.0;
        }
    }
    let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
    for (_, weight) in &mut weights {
        *weight = if total > 0.0 { *weight / total } else { 0.0 };
    }
    weights
}

/// A weight for every UID of the metagraph.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DenseWeights {
    /// The metagraph's UIDs, in its order.
    pub uids: Vec<u16>,
    /// One weight each, 0 or more; they sum to 1 unless there is no UID.
    pub weights: Vec<f64>,
    /// Hotkeys with a weight that the metagraph does not know; not sent.
    pub unknown_hotkeys: Vec<Hotkey>,
}

/// Spreads weights over the metagraph: negative and undefined ones become 0, the rest is renormalised;
/// where nothing is positive, UID 0 (else the first UID) gets everything.
pub fn dense_weights(weights: &[(Hotkey, f64)], metagraph: &[(Hotkey, u16)]) -> DenseWeights {
    let by_hotkey: BTreeMap<&Hotkey, f64> =
        weights.iter().map(|(hotkey, weight)| (hotkey, *weight)).collect();
    let known: std::collections::BTreeSet<&Hotkey> = metagraph.iter().map(|(hotkey, _)| hotkey).collect();
    let uids: Vec<u16> = metagraph.iter().map(|(_, uid)| *uid).collect();
    let mut dense: Vec<f64> = metagraph
        .iter()
        // `max` of NaN and 0 is 0.
        .map(|(hotkey, _)| by_hotkey.get(hotkey).copied().unwrap_or(0.0).max(0.0))
        .collect();
    let total: f64 = dense.iter().sum();
    if total > 0.0 {
        for weight in &mut dense {
            *weight /= total;
        }
    } else {
        dense.fill(0.0);
        let heir = uids.iter().position(|uid| *uid == 0).unwrap_or(0);
        if let Some(weight) = dense.get_mut(heir) {
            *weight = 1.0;
        }
    }
    let unknown_hotkeys =
        weights.iter().map(|(hotkey, _)| hotkey).filter(|hotkey| !known.contains(hotkey)).cloned().collect();
    DenseWeights { uids, weights: dense, unknown_hotkeys }
}
