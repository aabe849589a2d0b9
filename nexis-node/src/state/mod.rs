//! What a validator remembers, in one file (redb).
//!
//! Every method is one transaction, durable when it returns. What is decided is decided with its scores and the step
//! to the next interval in one of them, so that a process killed at any moment has done a thing or has not.

mod error;
mod records;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
pub use error::{Result, StateError};
use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_core::report::{Report, SubmissionReport, Verdict};
use nexis_core::weights::IntervalScore;
pub use records::{Decision, Identity, IntervalRecord, IntervalStatus, WeightRecord, WeightState};
use redb::{
    Builder, ConcurrencyMode, Database, DatabaseError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase,
    ReadableTable, TableDefinition, TableError, WriteTransaction,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Version of the tables' shape.
const SCHEMA: u64 = 1;
/// Bytes of the file that are kept in memory.
const CACHE_BYTES: usize = 32 << 20;

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const INTERVALS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("intervals");
const DECISIONS: TableDefinition<'_, (u64, &str), &[u8]> = TableDefinition::new("decisions");
const SCORES: TableDefinition<'_, (u64, &str), &[u8]> = TableDefinition::new("scores");
const WEIGHTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("weights");

const SCHEMA_KEY: &str = "schema";
const IDENTITY_KEY: &str = "identity";
const START_KEY: &str = "start";
const NEXT_KEY: &str = "next";

/// Where a validator began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Start {
    /// The first interval that it judges.
    pub interval: IntervalId,
    /// The head at its start; weights are due from the slot after this one.
    pub block: u64,
}

enum Handle {
    Writer(Database),
    Reader(ReadOnlyDatabase),
}

/// A validator's memory.
pub struct State {
    handle: Handle,
    path: PathBuf,
}

impl State {
    /// Opens or makes a state.
    ///
    /// # Errors
    /// [`StateError`], which says what to do.
    pub fn open(path: impl Into<PathBuf>, identity: &Identity) -> Result<Self> {
        let path = path.into();
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| StateError::Failed {
                path: path.clone(),
                why: format!("making its folder: {e}"),
            })?;
        }
        let database = guarded(&path, || builder().set_check_integrity_on_open(true).create(&path))?;
        let state = Self { handle: Handle::Writer(database), path };
        state.adopt(identity)?;
        Ok(state)
    }

    /// Opens a state to look at it, also while a validator runs on it.
    ///
    /// # Errors
    /// [`StateError::Absent`] where there is none.
    pub fn look(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        if !path.exists() {
            return Err(StateError::Absent { path });
        }
        let handle = match catch_unwind(AssertUnwindSafe(|| builder().open_read_only(&path))) {
            Ok(Ok(database)) => Handle::Reader(database),
            // Left by a killed process: somebody has to repair it, and nobody else has it open.
            Ok(Err(DatabaseError::RepairAborted)) => {
                Handle::Writer(guarded(&path, || builder().open(&path))?)
            }
            Ok(Err(e)) => return Err(opening(&path, e)),
            Err(_) => return Err(StateError::Corrupt { path, why: "the database gave up on it".into() }),
        };
        let state = Self { handle, path };
        match state.meta::<u64>(SCHEMA_KEY)? {
            Some(SCHEMA) => Ok(state),
            Some(found) if found > SCHEMA => Err(StateError::Newer { path: state.path, found }),
            _ => Err(StateError::Corrupt { path: state.path, why: "it has no schema".into() }),
        }
    }

    /// Writes schema and identity into a new file, and compares them in an old one.
    fn adopt(&self, identity: &Identity) -> Result<()> {
        match self.meta::<u64>(SCHEMA_KEY)? {
            None => {
                return self.write(|tx| {
                    for table in [INTERVALS, WEIGHTS] {
                        tx.open_table(table)?;
                    }
                    for table in [DECISIONS, SCORES] {
                        tx.open_table(table)?;
                    }
                    put_meta(tx, SCHEMA_KEY, &SCHEMA)?;
                    put_meta(tx, IDENTITY_KEY, identity)
                });
            }
            Some(SCHEMA) => {}
            Some(found) if found > SCHEMA => {
                return Err(StateError::Newer { path: self.path.clone(), found });
            }
            Some(found) => return Err(self.corrupt(format!("schema {found}"))),
        }
        let found: Identity = self.identity()?;
        if found != *identity {
            let describe = |identity: &Identity| {
                let hotkey = identity.hotkey.as_ref().map_or("no hotkey", Hotkey::as_str);
                format!("{hotkey} on subnet {} of {}", identity.netuid, identity.network)
            };
            return Err(StateError::Another {
                path: self.path.clone(),
                found: describe(&found),
                wanted: describe(identity),
            });
        }
        Ok(())
    }

    /// Whose state it is.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn identity(&self) -> Result<Identity> {
        self.meta(IDENTITY_KEY)?.ok_or_else(|| self.corrupt("it has no identity"))
    }

    /// Where the validator began; `None` before it did.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn start(&self) -> Result<Option<Start>> {
        self.meta(START_KEY)
    }

    /// The interval to judge next; `None` before the start.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn next(&self) -> Result<Option<IntervalId>> {
        self.meta(NEXT_KEY)
    }

    /// Begins: nothing happens where that has been done.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn begin(&self, start: Start) -> Result<()> {
        if self.start()?.is_some() {
            return Ok(());
        }
        self.write(|tx| {
            put_meta(tx, START_KEY, &start)?;
            put_meta(tx, NEXT_KEY, &start.interval)
        })
    }

    /// One interval.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn interval(&self, id: IntervalId) -> Result<Option<IntervalRecord>> {
        self.get(INTERVALS, id.get())
    }

    /// All intervals that are known, oldest first.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn intervals(&self) -> Result<Vec<(IntervalId, IntervalRecord)>> {
        let tx = self.read()?;
        let Some(table) = self.table(tx.open_table(INTERVALS))? else { return Ok(Vec::new()) };
        let rows = table.iter().map_err(|e| self.failed(e))?;
        rows.map(|row| {
            let (key, value) = row.map_err(|e| self.failed(e))?;
            Ok((IntervalId::new(key.value()), self.parse("an interval", value.value())?))
        })
        .collect()
    }

    /// Notes that an interval is begun. Gives back what was noted before, so that a restart goes on at the same time
    /// and block.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn begin_interval(&self, id: IntervalId, record: IntervalRecord) -> Result<IntervalRecord> {
        if let Some(known) = self.interval(id)? {
            return Ok(known);
        }
        self.write(|tx| put(tx, INTERVALS, id.get(), &record))?;
        Ok(record)
    }

    /// Replaces what is noted of an interval that is not done.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn amend_interval(&self, id: IntervalId, record: &IntervalRecord) -> Result<()> {
        self.write(|tx| put(tx, INTERVALS, id.get(), record))
    }

    /// Settles an interval: decisions, scores, and the step to the next one. Submissions that could not be
    /// checked have a decision and no score.
    ///
    /// # Errors
    /// Where the file cannot be written; then none of it is.
    pub fn finish_interval(&self, id: IntervalId, record: &IntervalRecord, report: &Report) -> Result<()> {
        self.write(|tx| {
            let mut record = record.clone();
            record.status = IntervalStatus::Done;
            let count = |verdict| report.submissions.iter().filter(|s| s.verdict == verdict).count();
            record.accepted = count(Verdict::Accept);
            record.rejected = count(Verdict::Reject);
            record.inconclusive = count(Verdict::Inconclusive);
            put(tx, INTERVALS, id.get(), &record)?;
            for submission in &report.submissions {
                let key = (id.get(), submission.miner_hotkey.as_str());
                put(tx, DECISIONS, key, submission)?;
                if let Some(score) = score_of(submission) {
                    put(tx, SCORES, key, &score)?;
                }
            }
            step(tx, id)
        })
    }

    /// Goes past an interval that is settled already, or that is too old.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn pass_interval(&self, id: IntervalId, skipped: Option<&IntervalRecord>) -> Result<()> {
        self.write(|tx| {
            if let Some(record) = skipped {
                put(tx, INTERVALS, id.get(), record)?;
            }
            step(tx, id)
        })
    }

    /// The decisions of an interval, by hotkey.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn decisions(&self, id: IntervalId) -> Result<Vec<Decision>> {
        self.range(DECISIONS, id, id)
    }

    /// The decisions of an interval in full, as `nexis verify --json` prints them.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn reports(&self, id: IntervalId) -> Result<Vec<serde_json::Value>> {
        self.range(DECISIONS, id, id)
    }

    /// Scores of the intervals after `after` and up to `upto`, by interval and hotkey.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn scores(&self, after: Option<IntervalId>, upto: IntervalId) -> Result<Vec<IntervalScore>> {
        let first = after.map_or(0, |after| after.get().saturating_add(1));
        self.range(SCORES, IntervalId::new(first), upto)
    }

    /// Who was accepted in an interval and who was not.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn accepted_in(&self, id: IntervalId) -> Result<BTreeMap<Hotkey, bool>> {
        let scores: Vec<IntervalScore> = self.range(SCORES, id, id)?;
        Ok(scores.into_iter().map(|score| (score.miner_hotkey, score.accepted)).collect())
    }

    /// Notes a submission of weights, or how far it is.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn put_weights(&self, record: &WeightRecord) -> Result<()> {
        self.write(|tx| put(tx, WEIGHTS, record.slot, record))
    }

    /// All submissions of weights, oldest first.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn weights(&self) -> Result<Vec<WeightRecord>> {
        let tx = self.read()?;
        let Some(table) = self.table(tx.open_table(WEIGHTS))? else { return Ok(Vec::new()) };
        let rows = table.iter().map_err(|e| self.failed(e))?;
        rows.map(|row| {
            let (_, value) = row.map_err(|e| self.failed(e))?;
            self.parse("weights", value.value())
        })
        .collect()
    }

    /// Forgets intervals before `first` and their decisions. Scores that no submission has paid stay.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn forget_before(&self, first: IntervalId) -> Result<()> {
        let paid = self.weights()?.iter().filter(|w| w.counts()).map(|w| w.upto.get()).max();
        let end = (first.get(), "");
        self.write(|tx| {
            tx.open_table(INTERVALS)?.retain_in(..first.get(), |_, _| false)?;
            tx.open_table(DECISIONS)?.retain_in(..end, |_, _| false)?;
            tx.open_table(SCORES)?.retain_in(..end, |(id, _), _| paid.is_none_or(|paid| id > paid))?;
            Ok(())
        })
    }
}

/// Bytes, transactions and errors.
impl State {
    fn read(&self) -> Result<ReadTransaction> {
        match &self.handle {
            Handle::Writer(database) => database.begin_read(),
            Handle::Reader(database) => database.begin_read(),
        }
        .map_err(|e| self.failed(e))
    }

    fn write(
        &self,
        work: impl FnOnce(&WriteTransaction) -> std::result::Result<(), redb::Error>,
    ) -> Result<()> {
        let Handle::Writer(database) = &self.handle else {
            return Err(self.failed("it was opened to look at"));
        };
        let tx = database.begin_write().map_err(|e| self.failed(e))?;
        work(&tx).map_err(|e| self.failed(e))?;
        tx.commit().map_err(|e| self.failed(e))
    }

    fn meta<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let tx = self.read()?;
        let Some(table) = self.table(tx.open_table(META))? else { return Ok(None) };
        let value = table.get(key).map_err(|e| self.failed(e))?;
        value.map(|value| self.parse(key, value.value())).transpose()
    }

    fn get<T: DeserializeOwned>(
        &self,
        table: TableDefinition<'_, u64, &[u8]>,
        key: u64,
    ) -> Result<Option<T>> {
        let tx = self.read()?;
        let Some(open) = self.table(tx.open_table(table))? else { return Ok(None) };
        let value = open.get(key).map_err(|e| self.failed(e))?;
        value.map(|value| self.parse("a record", value.value())).transpose()
    }

    fn range<T: DeserializeOwned>(
        &self,
        table: TableDefinition<'_, (u64, &str), &[u8]>,
        first: IntervalId,
        last: IntervalId,
    ) -> Result<Vec<T>> {
        let tx = self.read()?;
        let Some(open) = self.table(tx.open_table(table))? else { return Ok(Vec::new()) };
        let end = last.get().saturating_add(1);
        let rows = open.range((first.get(), "")..(end, "")).map_err(|e| self.failed(e))?;
        rows.map(|row| {
            let (_, value) = row.map_err(|e| self.failed(e))?;
            self.parse("a record", value.value())
        })
        .collect()
    }

    /// A table that nobody has written to yet is as good as an empty one.
    fn table<T>(&self, opened: std::result::Result<T, TableError>) -> Result<Option<T>> {
        match opened {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(e @ (TableError::TableTypeMismatch { .. } | TableError::TypeDefinitionChanged { .. })) => {
                Err(self.corrupt(e.to_string()))
            }
            Err(e) => Err(self.failed(e)),
        }
    }

    fn parse<T: DeserializeOwned>(&self, what: &str, bytes: &[u8]) -> Result<T> {
        serde_json::from_slice(bytes).map_err(|e| self.corrupt(format!("{what}: {e}")))
    }

    fn corrupt(&self, why: impl Into<String>) -> StateError {
        StateError::Corrupt { path: self.path.clone(), why: why.into() }
    }

    fn failed(&self, why: impl ToString) -> StateError {
        StateError::Failed { path: self.path.clone(), why: why.to_string() }
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_concurrency_mode(ConcurrencyMode::SingleWriter);
    builder
}

/// A damaged file may make the library give up; that is a message to the operator, not the end of the process.
fn guarded(
    path: &Path,
    open: impl FnOnce() -> std::result::Result<Database, DatabaseError>,
) -> Result<Database> {
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(opened) => opened.map_err(|e| opening(path, e)),
        Err(_) => {
            Err(StateError::Corrupt { path: path.to_path_buf(), why: "the database gave up on it".into() })
        }
    }
}

fn opening(path: &Path, error: DatabaseError) -> StateError {
    let path = path.to_path_buf();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            StateError::InUse { path }
        }
        DatabaseError::Storage(redb::StorageError::Io(e)) if e.kind() != std::io::ErrorKind::InvalidData => {
            StateError::Failed { path, why: e.to_string() }
        }
        other => StateError::Corrupt { path, why: other.to_string() },
    }
}

fn put_meta<T: Serialize>(
    tx: &WriteTransaction,
    key: &str,
    value: &T,
) -> std::result::Result<(), redb::Error> {
    tx.open_table(META)?.insert(key, json(value)?.as_slice())?;
    Ok(())
}

fn put<'k, K: redb::Key + 'static, T: Serialize>(
    tx: &WriteTransaction,
    table: TableDefinition<'_, K, &'static [u8]>,
    key: K::SelfType<'k>,
    value: &T,
) -> std::result::Result<(), redb::Error> {
    tx.open_table(table)?.insert(key, json(value)?.as_slice())?;
    Ok(())
}

fn json<T: Serialize>(value: &T) -> std::result::Result<Vec<u8>, redb::Error> {
    serde_json::to_vec(value).map_err(|e| redb::Error::Io(std::io::Error::other(e)))
}

/// The next interval is the one after `id`, unless we are past that.
fn step(tx: &WriteTransaction, id: IntervalId) -> std::result::Result<(), redb::Error> {
    let mut table = tx.open_table(META)?;
    let next: Option<IntervalId> = match table.get(NEXT_KEY)? {
        Some(value) => {
            serde_json::from_slice(value.value()).map_err(|e| redb::Error::Io(std::io::Error::other(e)))?
        }
        None => None,
    };
    if next == Some(id) {
        let following = IntervalId::new(id.get().saturating_add(IntervalId::BLOCKS));
        table.insert(NEXT_KEY, json(&following)?.as_slice())?;
    }
    Ok(())
}

/// What a submission adds to its miner's score: nothing at all where we could not check it.
fn score_of(submission: &SubmissionReport) -> Option<IntervalScore> {
    (submission.verdict != Verdict::Inconclusive).then(|| IntervalScore {
        miner_hotkey: submission.miner_hotkey.clone(),
        accepted: submission.accepted,
        passed_sample_count: u32::try_from(submission.passed_sample_count).unwrap_or(u32::MAX),
    })
}

/// A record of an interval that is begun now, at this block.
pub fn begun(now: DateTime<Utc>, block: &crate::chain::BlockRef) -> IntervalRecord {
    IntervalRecord {
        status: IntervalStatus::Begun,
        begun_at: now,
        block: block.number,
        block_hash: nexis_core::hash::Digest::from_bytes(block.hash),
        done_at: None,
        index_sha256: None,
        accepted: 0,
        rejected: 0,
        inconclusive: 0,
    }
}
