//! What can be made to go wrong on a simulated chain.

use std::collections::VecDeque;

use nexis_core::hash::Digest;

/// A fault of one submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmitFault {
    /// Nobody answers; nothing was sent.
    FailBefore,
    /// The pool refuses it, with a code of the pallet or without.
    Refuse {
        /// `InvalidTransaction::Custom`.
        code: Option<u8>,
        /// The node's words.
        why: String,
    },
    /// It is lost on the way, and the caller only sees time pass.
    TimeOutBefore,
    /// It takes effect, and the caller only sees time pass.
    TimeOutAfter,
}

/// Faults that come by chance, the same ones for the same seed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chaos {
    /// The seed.
    pub seed: u64,
    /// Of 1000 reads, so many fail.
    pub reads_permille: u16,
    /// Of 1000 submissions, so many fail, in each of the ways of [`SubmitFault`] in turn.
    pub submits_permille: u16,
}

/// The faults that are switched on.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Faults of the next submissions, in order.
    pub submits: VecDeque<SubmitFault>,
    /// So many of the next reads fail.
    pub reads: u32,
    /// No new head is seen, though blocks go on.
    pub stalled: bool,
    /// Only heads whose number this divides are seen; 0 and 1 show all.
    pub skip: u64,
    /// Commits are dropped when they should be revealed.
    pub drop_reveals: bool,
    /// Faults by chance.
    pub chaos: Option<Chaos>,
    drawn: u64,
    /// The head when it stalled.
    pub(super) stalled_at: Option<u64>,
}

impl Faults {
    /// Whether the next read fails.
    pub(super) fn fails_read(&mut self) -> bool {
        if self.reads > 0 {
            self.reads -= 1;
            return true;
        }
        let permille = self.chaos.as_ref().map_or(0, |chaos| chaos.reads_permille);
        self.draw(permille, "read").is_some()
    }

    /// What becomes of the next submission.
    pub(super) fn of_submit(&mut self) -> Option<SubmitFault> {
        if let Some(fault) = self.submits.pop_front() {
            return Some(fault);
        }
        let permille = self.chaos.as_ref().map_or(0, |chaos| chaos.submits_permille);
        let drawn = self.draw(permille, "submit")?;
        Some(match drawn % 4 {
            0 => SubmitFault::FailBefore,
            1 => SubmitFault::Refuse { code: None, why: "Transaction is outdated".into() },
            2 => SubmitFault::TimeOutBefore,
            _ => SubmitFault::TimeOutAfter,
        })
    }

    fn draw(&mut self, permille: u16, what: &str) -> Option<u64> {
        let seed = self.chaos.as_ref()?.seed;
        self.drawn += 1;
        let value = Digest::of(format!("chaos:{seed}:{what}:{}", self.drawn)).seed_int();
        (value % 1000 < u64::from(permille)).then_some(value / 1000)
    }
}
