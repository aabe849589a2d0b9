//! The latest verdicts, and the evidence behind them, in bounded memory.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use chrono::{DateTime, Utc};
use nexis_core::hash::Digest;
use nexis_core::report::{Decider, Verdict};
use nexis_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::figure::Figure;
use super::record::Kind;

/// A verdict, as the list has it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct RecentVerdict {
    /// Counts up from 1 at the server's start.
    pub(super) sequence: u64,
    /// The name of its evidence.
    pub(super) id: Digest,
    pub(super) created_at: DateTime<Utc>,
    pub(super) kind: Kind,
    pub(super) verdict: Verdict,
    pub(super) why: Vec<String>,
    pub(super) failures: Vec<String>,
    pub(super) caption: Option<String>,
    pub(super) hotkey: Option<String>,
    pub(super) interval_id: Option<u64>,
    /// What decided whether the caption fits, and what that had to reach.
    pub(super) probability: Option<f64>,
    pub(super) threshold: Option<f64>,
    pub(super) decided_by: Option<Decider>,
    /// The same of nature in the frames.
    pub(super) nature_score: Option<f64>,
    pub(super) nature_decided_by: Option<Decider>,
    pub(super) frames: usize,
}

/// Longest caption, reason or code in the list, in characters; the evidence has the whole.
const MAX_SHOWN: usize = 2000;
/// Most reasons and codes of one entry.
const MAX_REASONS: usize = 32;

impl RecentVerdict {
    /// With the figures that decided.
    #[must_use]
    pub(super) fn decided(self, caption: Option<Figure>, nature: Option<Figure>) -> Self {
        Self {
            probability: caption.map(|figure| figure.value),
            threshold: caption.map(|figure| figure.least),
            decided_by: caption.and_then(|figure| figure.decided_by),
            nature_score: nature.map(|figure| figure.value),
            nature_decided_by: nature.and_then(|figure| figure.decided_by),
            ..self
        }
    }

    /// Whether a text is in what people look for, in any case.
    fn mentions(&self, text: &str) -> bool {
        let fields = self.caption.iter().chain(&self.hotkey).chain(&self.failures);
        fields.map(|field| field.to_lowercase()).any(|field| field.contains(text))
    }

    /// With bounded texts.
    fn cut(mut self) -> Self {
        let shorten = |text: &mut String| {
            if let Some((end, _)) = text.char_indices().nth(MAX_SHOWN) {
                text.truncate(end);
                text.push('\u{2026}');
            }
        };
        self.why.truncate(MAX_REASONS);
        self.failures.truncate(MAX_REASONS);
        self.why.iter_mut().chain(&mut self.failures).for_each(shorten);
        self.caption.iter_mut().chain(&mut self.hotkey).for_each(shorten);
        self
    }
}

/// What to list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Filter {
    pub(super) kind: Option<Kind>,
    pub(super) verdict: Option<Verdict>,
    pub(super) text: Option<String>,
    pub(super) limit: Option<usize>,
    pub(super) before: Option<u64>,
}

/// A page of the list.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Page {
    pub(super) verdicts: Vec<RecentVerdict>,
    pub(super) more: bool,
}

/// What is kept.
pub(super) struct Verdicts {
    inner: Mutex<Inner>,
    most: usize,
    most_bytes: usize,
    /// Where evidence is written as well.
    folder: Option<PathBuf>,
}

#[derive(Default)]
struct Inner {
    list: VecDeque<Arc<RecentVerdict>>,
    last: u64,
    records: HashMap<Digest, Bytes>,
    /// The records' names, the oldest first.
    order: VecDeque<Digest>,
    bytes: usize,
}

impl Verdicts {
    /// Keeps so many verdicts, and so many bytes of evidence; evidence goes to `folder` too, where there is one.
    ///
    /// # Errors
    /// Where the folder cannot be made.
    pub(super) fn new(most: usize, most_bytes: usize, folder: Option<&Path>) -> Result<Self> {
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        }
        Ok(Self { inner: Mutex::default(), most, most_bytes, folder: folder.map(Path::to_path_buf) })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a record under its name.
    ///
    /// # Errors
    /// Where it cannot be written into the folder.
    pub(super) fn keep(&self, id: Digest, text: String) -> Result<()> {
        if let Some(folder) = &self.folder {
            write(folder, &id, &text)?;
        }
        let inner = &mut *self.lock();
        let size = text.len();
        if size <= self.most_bytes && !inner.records.contains_key(&id) {
            inner.records.insert(id, text.into());
            inner.order.push_back(id);
            inner.bytes += size;
        }
        while inner.bytes > self.most_bytes || inner.order.len() > self.most {
            let Some(oldest) = inner.order.pop_front() else { break };
            inner.bytes -= inner.records.remove(&oldest).map_or(0, |record| record.len());
        }
        Ok(())
    }

    /// Lists a verdict; its sequence is given here.
    pub(super) fn add(&self, verdict: RecentVerdict) {
        let inner = &mut *self.lock();
        inner.last += 1;
        inner.list.push_back(Arc::new(RecentVerdict { sequence: inner.last, ..verdict.cut() }));
        while inner.list.len() > self.most {
            inner.list.pop_front();
        }
    }

    /// A record by its name, from memory or the folder.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub(super) fn record(&self, id: &Digest) -> Result<Option<Bytes>> {
        if let Some(record) = self.lock().records.get(id) {
            return Ok(Some(record.clone()));
        }
        let Some(folder) = &self.folder else { return Ok(None) };
        let path = folder.join(format!("{id}.json"));
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(path, error)),
        }
    }

    /// The latest that fit a filter, newest first.
    pub(super) fn list(&self, filter: &Filter) -> Page {
        let all: Vec<Arc<RecentVerdict>> = self.lock().list.iter().rev().cloned().collect();
        let text = filter.text.as_ref().map(|text| text.to_lowercase());
        let mut fitting = all.into_iter().filter(|entry| {
            filter.before.is_none_or(|before| entry.sequence < before)
                && filter.kind.is_none_or(|kind| entry.kind == kind)
                && filter.verdict.is_none_or(|verdict| entry.verdict == verdict)
                && text.as_ref().is_none_or(|text| entry.mentions(text))
        });
        let taken = fitting.by_ref().take(filter.limit.unwrap_or(50));
        let verdicts = taken.map(|entry| RecentVerdict::clone(&entry)).collect();
        Page { verdicts, more: fitting.next().is_some() }
    }
}

/// Writes a record, never half of it.
fn write(folder: &Path, id: &Digest, text: &str) -> Result<()> {
    let path = folder.join(format!("{id}.json"));
    if path.exists() {
        return Ok(());
    }
    let io = |e: std::io::Error| Error::io(&path, e);
    let mut partial = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
    std::io::Write::write_all(&mut partial, text.as_bytes()).map_err(io)?;
    partial.persist(&path).map_err(|e| io(e.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(kind: Kind, verdict: Verdict, caption: &str) -> RecentVerdict {
        RecentVerdict {
            sequence: 0,
            id: Digest::of(caption),
            created_at: DateTime::UNIX_EPOCH,
            kind,
            verdict,
            why: Vec::new(),
            failures: Vec::new(),
            caption: Some(caption.to_owned()),
            hotkey: None,
            interval_id: None,
            probability: None,
            threshold: None,
            decided_by: None,
            nature_score: None,
            nature_decided_by: None,
            frames: 6,
        }
    }

    fn sequences(page: &Page) -> Vec<u64> {
        page.verdicts.iter().map(|v| v.sequence).collect()
    }

    #[test]
    fn the_latest_are_listed_by_filter_and_page() {
        let kept = Verdicts::new(4, 1 << 20, None).unwrap();
        for (kind, decided, caption) in [
            (Kind::Score, Verdict::Accept, "gone"),
            (Kind::Score, Verdict::Accept, "A Lake at dawn"),
            (Kind::Match, Verdict::Reject, "a lake at dusk"),
            (Kind::Score, Verdict::Reject, "a forest"),
            (Kind::Classify, Verdict::Accept, "none"),
        ] {
            kept.add(verdict(kind, decided, caption));
        }
        assert_eq!(sequences(&kept.list(&Filter::default())), [5, 4, 3, 2]);
        let lakes = Filter { text: Some("LAKE".into()), ..Filter::default() };
        assert_eq!(sequences(&kept.list(&lakes)), [3, 2]);
        let scores = Filter { kind: Some(Kind::Score), ..Filter::default() };
        assert_eq!(sequences(&kept.list(&scores)), [4, 2]);
        let rejected = Filter { verdict: Some(Verdict::Reject), limit: Some(1), ..Filter::default() };
        let page = kept.list(&rejected);
        assert_eq!((sequences(&page), page.more), (vec![4], true));
        let page = kept.list(&Filter { before: Some(4), ..rejected });
        assert_eq!((sequences(&page), page.more), (vec![3], false));
    }

    #[test]
    fn evidence_is_kept_within_bounds_and_in_a_folder_for_good() {
        let folder = tempfile::tempdir().unwrap();
        for folder in [None, Some(folder.path().join("evidence"))] {
            let kept = Verdicts::new(100, 100, folder.as_deref()).unwrap();
            let records: Vec<String> = (0..5).map(|i| format!("{i}").repeat(40)).collect();
            for record in &records {
                kept.keep(Digest::of(record), record.clone()).unwrap();
                kept.keep(Digest::of(record), record.clone()).unwrap();
            }
            assert!(kept.lock().bytes <= 100);
            assert_eq!(kept.record(&Digest::of(&records[4])).unwrap().unwrap(), records[4]);
            let oldest = kept.record(&Digest::of(&records[0])).unwrap();
            assert_eq!(oldest.is_some(), folder.is_some());
            assert_eq!(kept.record(&Digest::of("never")).unwrap(), None);
        }
    }

    #[test]
    fn texts_in_the_list_are_bounded() {
        let kept = Verdicts::new(4, 100, None).unwrap();
        kept.add(verdict(Kind::Match, Verdict::Reject, &"\u{e4}".repeat(50_000)));
        let listed = kept.list(&Filter::default());
        assert_eq!(listed.verdicts[0].caption.as_ref().unwrap().chars().count(), MAX_SHOWN + 1);
    }
}
