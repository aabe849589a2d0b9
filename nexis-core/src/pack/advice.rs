//! From what a check found in a package to what each of its rows needs.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::check::hard::duplicate_clip_ids;
use crate::check::{Violation, ViolationKind, caption_hygiene, has_injection_keyword};
use crate::package::ClipRecord;
use crate::spec::DatasetSpec;

/// Something that a check found, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The stable code, with the clips that it names.
    pub code: String,
    /// What was found, in words; may be empty where the code says it all.
    pub detail: String,
    /// What to do about it.
    pub remedy: String,
    /// Whether it rejects the package under the policy of the check; else it is a warning.
    pub rejects: bool,
}

impl Problem {
    fn new(violation: &Violation, rejects: bool) -> Self {
        Self {
            code: violation.code(),
            detail: violation.detail.clone(),
            remedy: violation.remedy().to_owned(),
            rejects,
        }
    }
}

/// Problems by whom they concern.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// Those of the package as a whole.
    pub package: Vec<Problem>,
    /// Those of each row, in the order of the rows.
    pub rows: Vec<Vec<Problem>>,
}

impl Advice {
    /// Sorts a check's failures and warnings by row. What names two rows stands at both; what names no row of the
    /// package stands at the package.
    pub fn new(rows: &[ClipRecord], failures: &[Violation], warnings: &[Violation]) -> Self {
        let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (place, row) in rows.iter().enumerate() {
            places.entry(&row.clip_id).or_default().push(place);
        }
        let mut advice = Self { package: Vec::new(), rows: vec![Vec::new(); rows.len()] };
        let found = failures.iter().map(|v| (v, true)).chain(warnings.iter().map(|v| (v, false)));
        for (violation, rejects) in found {
            let problem = Problem::new(violation, rejects);
            let mut concerned: Vec<usize> = violation
                .kind
                .clips()
                .iter()
                .filter_map(|clip| places.get(clip))
                .flatten()
                .copied()
                .collect();
            concerned.sort_unstable();
            concerned.dedup();
            if concerned.is_empty() {
                advice.package.push(problem.clone());
            }
            for place in concerned {
                if let Some(row) = advice.rows.get_mut(place) {
                    row.push(problem.clone());
                }
            }
        }
        advice
    }

    /// What the rows alone show, without a clip or a model: phase 4, and captions that talk to a judge.
    pub fn of_rows(rows: &[ClipRecord], spec: &dyn DatasetSpec) -> Self {
        let mut failures = spec.hard_checks(rows);
        let mut warnings = Vec::new();
        for row in rows {
            let clip = || row.clip_id.clone();
            if has_injection_keyword(&row.caption) {
                let kind = ViolationKind::CaptionSemanticInjectionKeyword { clip: clip() };
                failures.push(Violation::new(kind));
            }
            for what in caption_hygiene(&row.caption) {
                let kind = ViolationKind::CaptionHygiene { clip: clip(), what: what.to_owned() };
                warnings.push(Violation::new(kind));
            }
        }
        warnings.extend(duplicate_clip_ids(rows));
        Self::new(rows, &failures, &warnings)
    }

    /// Whether nothing in it rejects.
    pub fn accepts(&self) -> bool {
        !self.package.iter().chain(self.rows.iter().flatten()).any(|problem| problem.rejects)
    }
}
