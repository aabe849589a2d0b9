//! Whether the node lives (its loop goes round) and is ready (it has what it needs to judge and to pay).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// Something that must hold for the node to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// A finalised head has come lately.
    Chain,
    /// The judging model is loaded, and is the one that is pinned.
    Model,
    /// The state database is open and takes writes.
    State,
    /// The hotkey is loaded and registered.
    Hotkey,
    /// Weights are set in time, and what was committed was revealed.
    Weights,
}

/// What `/readyz` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whether all holds.
    pub ready: bool,
    /// What does not hold, and why.
    pub missing: BTreeMap<Condition, String>,
}

/// Shared by the loops, which tell, and the server, which asks.
#[derive(Clone, Debug)]
pub struct Health {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Longest time between two signs of life.
    max_silence: Duration,
    last_beat: Mutex<Instant>,
    missing: Mutex<BTreeMap<Condition, String>>,
}

impl Health {
    /// Alive as of now; ready once each of `needed` has been reported as holding. `max_silence` is how long the loop
    /// may take from one [`beat`](Self::beat) to the next.
    pub fn new(max_silence: Duration, needed: impl IntoIterator<Item = Condition>) -> Self {
        let missing = needed.into_iter().map(|condition| (condition, "not there yet".to_owned())).collect();
        Self {
            inner: Arc::new(Inner {
                max_silence,
                last_beat: Mutex::new(Instant::now()),
                missing: Mutex::new(missing),
            }),
        }
    }

    /// A sign of life from the loop.
    pub fn beat(&self) {
        *lock(&self.inner.last_beat) = Instant::now();
    }

    /// The condition holds.
    pub fn holds(&self, condition: Condition) {
        lock(&self.inner.missing).remove(&condition);
    }

    /// The condition does not hold. `why` is shown to whoever asks, so it has no secret in it.
    pub fn fails(&self, condition: Condition, why: impl Into<String>) {
        lock(&self.inner.missing).insert(condition, why.into());
    }

    /// Whether the loop goes round; otherwise since how many seconds it has been silent.
    ///
    /// # Errors
    /// The seconds of silence, where they are more than are allowed.
    pub fn alive(&self) -> Result<(), u64> {
        self.alive_at(Instant::now())
    }

    fn alive_at(&self, now: Instant) -> Result<(), u64> {
        let silence = now.saturating_duration_since(*lock(&self.inner.last_beat));
        if silence <= self.inner.max_silence { Ok(()) } else { Err(silence.as_secs()) }
    }

    /// Whether the node can do its work.
    pub fn readiness(&self) -> Readiness {
        let missing = lock(&self.inner.missing).clone();
        Readiness { ready: missing.is_empty(), missing }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_ready_once_everything_needed_holds() {
        let health = Health::new(Duration::from_secs(1), [Condition::Chain, Condition::Model]);
        assert!(!health.readiness().ready);
        health.holds(Condition::Chain);
        health.holds(Condition::Model);
        assert!(health.readiness().ready);
        health.fails(Condition::Weights, "not revealed");
        assert_eq!(health.readiness().missing[&Condition::Weights], "not revealed");
    }

    #[test]
    fn is_dead_when_silent_for_too_long() {
        let health = Health::new(Duration::from_secs(60), []);
        let now = Instant::now();
        assert_eq!(health.alive_at(now), Ok(()));
        assert!(health.alive_at(now + Duration::from_secs(90)).is_err());
        health.beat();
        assert_eq!(health.alive(), Ok(()));
    }
}
