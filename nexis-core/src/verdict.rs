//! The decision, as a pure function: findings in, verdict out.

use crate::check::{Policy, Violation};
use crate::report::Verdict;
use crate::weights::interval_score;

/// What the phases found in one submission.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// Violations in the order of the phases, this project's own among them.
    pub violations: Vec<Violation>,
    /// Reasons of ours why something could not be checked.
    pub unchecked: Vec<String>,
    /// How many rows were sampled.
    pub sampled_rows: usize,
}

/// The decision on one submission.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Accept exactly when nothing failed and everything could be checked.
    pub verdict: Verdict,
    /// What counts against the submission.
    pub failures: Vec<Violation>,
    /// What would under the strict policy.
    pub warnings: Vec<Violation>,
    /// Sampled rows of an accepted submission, else 0.
    pub passed_sample_count: usize,
    /// The interval's score.
    pub score: f64,
}

/// Decides a submission (protocol page, 4): accepted exactly when the list of failures is empty.
///
/// A failure stands even where something else could not be checked: our trouble with one row does
/// not excuse what is wrong with another. Without a failure, anything unchecked makes the decision
/// inconclusive, never a rejection.
pub fn decide(policy: Policy, findings: Findings) -> Decision {
    let (warnings, failures): (Vec<_>, Vec<_>) =
        findings.violations.into_iter().partition(|v| policy == Policy::Network && v.kind.strict_only());
    let verdict = if !failures.is_empty() {
        Verdict::Reject
    } else if !findings.unchecked.is_empty() {
        Verdict::Inconclusive
    } else {
        Verdict::Accept
    };
    let passed_sample_count = if verdict == Verdict::Accept { findings.sampled_rows } else { 0 };
    Decision {
        verdict,
        failures,
        warnings,
        passed_sample_count,
        score: interval_score(
            verdict == Verdict::Accept,
            u32::try_from(passed_sample_count).unwrap_or(u32::MAX),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::ViolationKind;

    fn mismatch() -> Violation {
        Violation::new(ViolationKind::CaptionSemanticMismatch { clip: "c".into() })
    }

    fn own() -> Violation {
        Violation::new(ViolationKind::DuplicateClipId { clip: "c".into() })
    }

    fn findings(violations: Vec<Violation>, unchecked: &[&str]) -> Findings {
        Findings {
            violations,
            unchecked: unchecked.iter().map(ToString::to_string).collect(),
            sampled_rows: 3,
        }
    }

    #[test]
    fn accepts_only_what_was_checked_and_has_no_failure() {
        let decision = decide(Policy::Network, findings(vec![], &[]));
        assert_eq!(decision.verdict, Verdict::Accept);
        assert_eq!((decision.passed_sample_count, decision.score), (3, 27.0));
    }

    #[test]
    fn our_trouble_never_rejects_and_never_excuses() {
        let ours = decide(Policy::Network, findings(vec![], &["no model"]));
        assert_eq!((ours.verdict, ours.score), (Verdict::Inconclusive, 0.0));
        let both = decide(Policy::Network, findings(vec![mismatch()], &["no model"]));
        assert_eq!((both.verdict, both.score), (Verdict::Reject, 0.0));
    }

    #[test]
    fn own_checks_warn_or_fail_by_policy() {
        let network = decide(Policy::Network, findings(vec![own()], &[]));
        assert_eq!(network.verdict, Verdict::Accept);
        assert_eq!(network.warnings, vec![own()]);
        let strict = decide(Policy::Strict, findings(vec![own()], &[]));
        assert_eq!(strict.verdict, Verdict::Reject);
        assert_eq!(strict.failures, vec![own()]);
    }
}
