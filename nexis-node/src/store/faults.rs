//! Faults that the devnet's S3 server makes on purpose.
//!
//! What happens to a request depends on a seed, on what is asked for, and on how often that was asked for before;
//! never on the order in which different requests arrive. So a run can be repeated.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nexis_core::hash::Digest;

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Status 503, `SlowDown`.
    SlowDown,
    /// Status 500, `InternalError`.
    Internal,
    /// The connection is closed without an answer.
    Dropped,
    /// The answer's body breaks off after its first bytes.
    Cut,
    /// The answer comes late.
    Late,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::SlowDown, Self::Internal, Self::Dropped, Self::Cut, Self::Late];
}

/// Which faults, and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultPlan {
    /// Of the draws.
    pub seed: u64,
    /// Probability of each fault, 0 to 1; together at most 1.
    pub rates: HashMap<Fault, f64>,
    /// Most faults that one object meets in a row; the next request for it is answered. Below the tries of a client,
    /// so that every client succeeds in the end.
    pub most_in_a_row: u32,
    /// How late a late answer is.
    pub late: Duration,
}

impl FaultPlan {
    /// Every fault with the same probability, adding up to `rate`, at most two in a row.
    pub fn even(seed: u64, rate: f64) -> Self {
        let each = rate / Fault::ALL.len() as f64;
        Self {
            seed,
            rates: Fault::ALL.into_iter().map(|fault| (fault, each)).collect(),
            most_in_a_row: 2,
            late: Duration::from_millis(300),
        }
    }

    fn draw(&self, asked: &str, times: u64) -> Option<Fault> {
        let draw = Digest::of(format!("{}:{times}:{asked}", self.seed)).seed_int();
        // 53 bits are what a double holds exactly.
        let mut left = (draw >> 11) as f64 / (1_u64 << 53) as f64;
        for fault in Fault::ALL {
            let rate = self.rates.get(&fault).copied().unwrap_or_default();
            if left < rate {
                return Some(fault);
            }
            left -= rate;
        }
        None
    }
}

/// A plan at work.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    plan: Option<FaultPlan>,
    asked: HashMap<String, Asked>,
}

/// How often something was asked for, and how many faults it met since the last answer.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    times: u64,
    in_a_row: u32,
}

impl Faults {
    /// Replaces the plan; counting starts anew.
    pub(super) fn set(&self, plan: Option<FaultPlan>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State { plan, asked: HashMap::new() };
    }

    /// What is to happen to this request, and how late a late answer is.
    pub(super) fn next(&self, asked: &str) -> Option<(Fault, Duration)> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let State { plan: Some(plan), asked: all } = &mut *state else { return None };
        let asked_before = all.entry(asked.to_owned()).or_default();
        let times = asked_before.times;
        asked_before.times += 1;
        let fault = plan.draw(asked, times).filter(|_| asked_before.in_a_row < plan.most_in_a_row);
        asked_before.in_a_row = if fault.is_some() { asked_before.in_a_row + 1 } else { 0 };
        fault.map(|fault| (fault, plan.late))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u64, rate: f64, n: usize) -> Vec<Option<Fault>> {
        let faults = Faults::default();
        faults.set(Some(FaultPlan::even(seed, rate)));
        (0..n).map(|i| faults.next(&format!("GET /b/{}", i % 7)).map(|(fault, _)| fault)).collect()
    }

    #[test]
    fn a_seed_repeats_itself_and_another_differs() {
        assert_eq!(drawn(1, 0.5, 200), drawn(1, 0.5, 200));
        assert_ne!(drawn(1, 0.5, 200), drawn(2, 0.5, 200));
    }

    #[test]
    fn other_requests_do_not_shift_the_draws() {
        let (alone, mixed) = (Faults::default(), Faults::default());
        for faults in [&alone, &mixed] {
            faults.set(Some(FaultPlan::even(9, 0.6)));
        }
        let first: Vec<_> = (0..50).map(|_| alone.next("GET /a")).collect();
        let second: Vec<_> = (0..50)
            .map(|_| {
                mixed.next("GET /other");
                mixed.next("GET /a")
            })
            .collect();
        assert_eq!(first, second);
    }

    #[test]
    fn all_kinds_come_and_never_more_in_a_row_than_allowed() {
        let faults = Faults::default();
        faults.set(Some(FaultPlan::even(3, 1.0)));
        let all: Vec<_> = (0..300).map(|_| faults.next("GET /a").map(|(fault, _)| fault)).collect();
        assert!(Fault::ALL.iter().all(|fault| all.contains(&Some(*fault))));
        assert!(all.windows(3).all(|three| three.contains(&None)));
        assert_eq!(drawn(3, 0.0, 50), vec![None; 50]);
    }
}
