//! Phase 4: what the rows alone show (protocol page, 4).

use std::collections::{BTreeMap, BTreeSet};

use super::{Violation, ViolationKind};
use crate::overlap::source::{is_allowed_source, overlap_group};
use crate::package::ClipRecord;
use crate::package::rows::is_blank;
use crate::python;
use crate::spec::VideoSpec;

/// All hard checks over all rows: sources, overlaps, captions, starts, in this order.
pub fn check_rows(rows: &[ClipRecord], spec: &VideoSpec) -> Vec<Violation> {
    let mut found = Vec::new();
    for row in rows.iter().filter(|row| !is_allowed_source(&row.source_video_url)) {
        found.push(Violation::new(ViolationKind::NonYoutubeSource { clip: row.clip_id.clone() }));
    }
    overlaps(rows, spec.min_start_distance_seconds, &mut found);
    found.extend(rows.iter().filter_map(|row| caption(row, spec.min_caption_words)));
    for row in rows.iter().filter(|row| row.clip_start_sec > spec.max_start_seconds) {
        found.push(Violation::new(ViolationKind::ClipStartGt5000 { clip: row.clip_id.clone() }));
    }
    found
}

/// Neighbours in time of one source that are too near, sources in order of first appearance.
fn overlaps(rows: &[ClipRecord], distance: f64, found: &mut Vec<Violation>) {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut groups: Vec<(&str, Vec<&ClipRecord>)> = Vec::new();
    for row in rows {
        let source = overlap_group(row);
        let place = *places.entry(source).or_insert(groups.len());
        match groups.get_mut(place) {
            Some((_, group)) => group.push(row),
            None => groups.push((source, vec![row])),
        }
    }
    for (source, mut group) in groups {
        group.sort_by(|a, b| python::order(a.clip_start_sec, b.clip_start_sec));
        for (a, b) in group.iter().zip(group.iter().skip(1)) {
            if python::gap(a.clip_start_sec, b.clip_start_sec) < distance {
                found.push(Violation::new(ViolationKind::OverlapLt5s {
                    source: source.to_owned(),
                    clip_a: a.clip_id.clone(),
                    clip_b: b.clip_id.clone(),
                }));
            }
        }
    }
}

/// The first thing wrong with a caption, if anything is.
fn caption(row: &ClipRecord, min_words: usize) -> Option<Violation> {
    let clip = row.clip_id.clone();
    if is_blank(&row.caption) {
        return Some(Violation::new(ViolationKind::EmptyCaption { clip }));
    }
    let words = python::words(&row.caption).count();
    if words < min_words {
        let why = format!("{words} words, {min_words} are expected");
        return Some(Violation::explained(ViolationKind::ShortCaption { clip }, why));
    }
    let lower = row.caption.to_lowercase();
    let url_like = lower.contains("http://") || lower.contains("https://");
    url_like.then(|| Violation::new(ViolationKind::UrlLikeCaption { clip }))
}

/// Strict policy: clip ids that more than one row has, each named once.
pub fn duplicate_clip_ids(rows: &[ClipRecord]) -> Vec<Violation> {
    let mut seen = BTreeSet::new();
    let mut named = BTreeSet::new();
    rows.iter()
        .map(|row| row.clip_id.as_str())
        .filter(|clip| !seen.insert(*clip) && named.insert(*clip))
        .map(|clip| Violation::new(ViolationKind::DuplicateClipId { clip: clip.to_owned() }))
        .collect()
}
