//! What was embedded and measured, kept by the digest of everything that it depends on.
//!
//! Entries are never changed, so there is nothing to invalidate: another model, precision, decoder or text has another
//! key. What a run has found is written every few hundred pairs in one transaction, so that a run that was killed goes
//! on where it was.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use ndarray::Array2;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::hash::Digest;
use crate::score::FrameEmbeddings;
use crate::score::features::{AlignmentFeatures, Feature};

const PICTURES: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("pictures-1");
const MEASURES: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("measures-1");
const COSTS: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("costs-1");

/// Bytes of the file that are kept in memory.
const CACHE_BYTES: usize = 32 << 20;
/// The file's name.
const FILE: &str = "embeddings.redb";

/// How long the work took, without what was there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Clips that were decoded and embedded.
    pub clips: u64,
    /// Seconds of decoding and resizing, which all models of a run share.
    pub decode_seconds: f64,
    /// Seconds of the picture tower.
    pub encode_seconds: f64,
    /// Captions that were read and set against a clip.
    pub pairs: u64,
    /// Seconds of the text tower and the measures.
    pub text_seconds: f64,
}

impl Cost {
    /// The sum of two.
    pub fn plus(self, other: Self) -> Self {
        Self {
            clips: self.clips + other.clips,
            decode_seconds: self.decode_seconds + other.decode_seconds,
            encode_seconds: self.encode_seconds + other.encode_seconds,
            pairs: self.pairs + other.pairs,
            text_seconds: self.text_seconds + other.text_seconds,
        }
    }

    /// Seconds for one clip with one caption; `None` where nothing was measured.
    pub fn seconds_per_clip(&self) -> Option<f64> {
        (self.clips > 0 && self.pairs > 0).then(|| {
            (self.decode_seconds + self.encode_seconds) / self.clips as f64
                + self.text_seconds / self.pairs as f64
        })
    }
}

/// Entries that are to be written together.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) pictures: Vec<(Digest, FrameEmbeddings)>,
    pub(super) measures: Vec<(Digest, AlignmentFeatures)>,
    pub(super) costs: Vec<(Digest, Cost)>,
}

/// A folder of embeddings.
pub struct EmbeddingStore {
    database: Database,
    path: PathBuf,
}

impl std::fmt::Debug for EmbeddingStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EmbeddingStore({})", self.path.display())
    }
}

impl EmbeddingStore {
    /// Opens the store of a folder, which is made where it is not there.
    ///
    /// # Errors
    /// Where the folder cannot be written, another process has it open, or its file is damaged.
    pub fn open(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let path = folder.join(FILE);
        // The library asserts on what only damage or a stranger could have written.
        let opened =
            catch_unwind(AssertUnwindSafe(|| Database::builder().set_cache_size(CACHE_BYTES).create(&path)));
        match opened {
            Ok(Ok(database)) => {
                let store = Self { database, path };
                // Tables that nobody has written to cannot be read.
                store.write(&Batch::default())?;
                Ok(store)
            }
            Ok(Err(redb::DatabaseError::DatabaseAlreadyOpen)) => Err(Error::usage(
                path.display().to_string(),
                "another process is using it; wait for it, or name another folder",
            )),
            Ok(Err(error)) => Err(corrupt(&path, error)),
            Err(_) => Err(corrupt(&path, "its file is damaged")),
        }
    }

    fn guarded<T>(&self, work: impl FnOnce() -> std::result::Result<T, redb::Error>) -> Result<T> {
        catch_unwind(AssertUnwindSafe(work))
            .unwrap_or_else(|_| Err(redb::Error::Corrupted("its file is damaged".into())))
            .map_err(|error| corrupt(&self.path, error))
    }

    pub(super) fn write(&self, batch: &Batch) -> Result<()> {
        self.guarded(|| {
            let transaction = self.database.begin_write()?;
            {
                let mut pictures = transaction.open_table(PICTURES)?;
                for (key, embeddings) in &batch.pictures {
                    pictures.insert(key.as_bytes(), picture_bytes(embeddings).as_slice())?;
                }
                let mut measures = transaction.open_table(MEASURES)?;
                for (key, features) in &batch.measures {
                    let bytes: Vec<u8> = features.as_vector().iter().flat_map(|x| x.to_le_bytes()).collect();
                    measures.insert(key.as_bytes(), bytes.as_slice())?;
                }
                let mut costs = transaction.open_table(COSTS)?;
                for (key, cost) in &batch.costs {
                    let before: Cost = costs
                        .get(key.as_bytes())?
                        .and_then(|bytes| serde_json::from_slice(bytes.value()).ok())
                        .unwrap_or_default();
                    let bytes = serde_json::to_vec(&before.plus(*cost))
                        .map_err(|e| redb::Error::Io(std::io::Error::other(e)))?;
                    costs.insert(key.as_bytes(), bytes.as_slice())?;
                }
            }
            transaction.commit()?;
            Ok(())
        })
    }

    /// Entries in the order of the keys. An entry that is not what it should be is not there.
    fn read<T>(
        &self,
        table: TableDefinition<'_, [u8; 32], &[u8]>,
        keys: &[Digest],
        parse: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<Option<T>>> {
        self.guarded(|| {
            let transaction = self.database.begin_read()?;
            let table = transaction.open_table(table)?;
            keys.iter()
                .map(|key| Ok(table.get(key.as_bytes())?.and_then(|bytes| parse(bytes.value()))))
                .collect()
        })
    }

    pub(super) fn pictures(&self, keys: &[Digest]) -> Result<Vec<Option<FrameEmbeddings>>> {
        self.read(PICTURES, keys, picture_of)
    }

    pub(super) fn measures(&self, keys: &[Digest]) -> Result<Vec<Option<AlignmentFeatures>>> {
        self.read(MEASURES, keys, |bytes| {
            let mut values = [0.0; Feature::ALL.len()];
            if bytes.len() != values.len() * 8 {
                return None;
            }
            for (value, bytes) in values.iter_mut().zip(bytes.chunks_exact(8)) {
                *value = f64::from_le_bytes(*bytes.first_chunk::<8>()?);
            }
            Some(AlignmentFeatures::from_values(values))
        })
    }

    pub(super) fn cost(&self, key: &Digest) -> Result<Cost> {
        let found = self.read(COSTS, &[*key], |bytes| serde_json::from_slice(bytes).ok())?;
        Ok(found.into_iter().next().flatten().unwrap_or_default())
    }
}

fn corrupt(path: &Path, error: impl std::fmt::Display) -> Error {
    let why = format!("{error}; where it is damaged, delete it, and it is made anew");
    Error::Corrupt { what: path.display().to_string(), why }
}

/// Frames, tiles and width, then the rows.
fn picture_bytes(embeddings: &FrameEmbeddings) -> Vec<u8> {
    let sizes = [embeddings.frames(), embeddings.tiles(), embeddings.width()];
    let sizes = sizes.iter().flat_map(|n| (*n as u64).to_le_bytes());
    sizes.chain(embeddings.data().iter().flat_map(|x| x.to_le_bytes())).collect()
}

fn picture_of(bytes: &[u8]) -> Option<FrameEmbeddings> {
    let (sizes, rows) = bytes.split_at_checked(24)?;
    let mut sizes =
        sizes.chunks_exact(8).map(|n| usize::try_from(u64::from_le_bytes(*n.first_chunk::<8>()?)).ok());
    let (frames, tiles, width) = (sizes.next()??, sizes.next()??, sizes.next()??);
    let values: Vec<f32> =
        rows.chunks_exact(4).filter_map(|x| Some(f32::from_le_bytes(*x.first_chunk::<4>()?))).collect();
    let data = Array2::from_shape_vec((frames.checked_mul(tiles)?, width), values).ok()?;
    FrameEmbeddings::new(frames, tiles, data).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn what_was_written_is_read_also_by_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (Digest::of("a"), Digest::of("b"));
        let embeddings = FrameEmbeddings::new(2, 1, array![[0.25_f32, -1.5], [1e-30, 3.0]]).unwrap();
        let features = AlignmentFeatures::from_fn(|feature| feature as usize as f64 / 7.0);
        let cost = Cost { clips: 3, decode_seconds: 0.5, encode_seconds: 1.0, pairs: 6, text_seconds: 3.0 };
        {
            let store = EmbeddingStore::open(folder.path()).unwrap();
            let batch = Batch {
                pictures: vec![(a, embeddings.clone())],
                measures: vec![(a, features.clone())],
                costs: vec![(a, cost), (a, cost)],
            };
            store.write(&batch).unwrap();
            let error = EmbeddingStore::open(folder.path()).unwrap_err().to_string();
            assert!(error.contains("another process is using it"), "{error}");
        }
        let store = EmbeddingStore::open(folder.path()).unwrap();
        assert_eq!(store.pictures(&[b, a]).unwrap(), [None, Some(embeddings)]);
        assert_eq!(store.measures(&[a, b]).unwrap(), [Some(features), None]);
        assert_eq!(store.cost(&a).unwrap(), cost.plus(cost));
        assert_eq!(store.cost(&a).unwrap().seconds_per_clip(), Some(1.0));
        assert_eq!(store.cost(&b).unwrap().seconds_per_clip(), None);
    }

    #[test]
    fn a_damaged_file_is_an_error_that_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        drop(EmbeddingStore::open(folder.path()).unwrap());
        std::fs::write(folder.path().join(FILE), "no database").unwrap();
        let error = EmbeddingStore::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("delete it"), "{error}");
    }
}
