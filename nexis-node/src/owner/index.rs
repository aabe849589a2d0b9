//! The global index: merged, never replaced by less, written as one object.

use bytes::Bytes;
use futures_util::StreamExt;
use nexis_core::hash::Digest;
use nexis_core::overlap::OverlapIndex;
use nexis_core::package::ClipRecord;

use super::OwnerError;
use crate::store::ObjectStore;

/// How often the index is merged again where somebody else wrote it meanwhile.
const TRIES: u32 = 3;

/// What became of the index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexChange {
    /// Starts that were not in it.
    pub added: usize,
}

/// Adds rows to the index under a key, and reads it back. Nothing is written where all of them are in it. What the
/// index holds and this program cannot read is kept in a copy beside it.
///
/// # Errors
/// [`OwnerError::Index`] where the index that is there cannot be read; [`OwnerError::Contended`] where it does not
/// keep what was added; the store's.
pub async fn merge<'a>(
    store: &dyn ObjectStore,
    key: &str,
    rows: impl IntoIterator<Item = &'a ClipRecord>,
) -> Result<IndexChange, OwnerError> {
    let mut wanted = OverlapIndex::default();
    wanted.add_rows(rows);
    // With the three decimals that the document has, so that what is compared is what is read.
    let wanted = OverlapIndex::parse(wanted.to_json().as_bytes()).index;
    let mut added = 0;
    for _ in 0..TRIES {
        let (mut index, there) = read(store, key).await?;
        let missing = missing(&wanted, &index);
        if missing.is_empty() {
            return Ok(IndexChange { added });
        }
        added = missing.len();
        if let Some(bytes) = there.filter(|there| there.skipped > 0).map(|there| there.bytes) {
            let digest: String = Digest::of(&bytes).to_string().chars().take(16).collect();
            store.put(&format!("{key}.before-{digest}"), bytes, "application/json").await?;
        }
        for (source, start) in missing {
            index.insert(source, start);
        }
        store.put(key, index.to_json().into(), "application/json").await?;
    }
    // The last try is looked at too.
    let (index, _) = read(store, key).await?;
    if missing(&wanted, &index).is_empty() {
        return Ok(IndexChange { added });
    }
    Err(OwnerError::Contended { store: store.name().to_owned(), key: key.to_owned() })
}

fn missing(wanted: &OverlapIndex, index: &OverlapIndex) -> Vec<(String, f64)> {
    let starts = wanted.iter().flat_map(|(source, starts)| starts.iter().map(move |start| (source, *start)));
    starts
        .filter(|(source, start)| !index.get(source).contains(start))
        .map(|(source, start)| (source.to_owned(), start))
        .collect()
}

/// The document as it is.
struct There {
    bytes: Bytes,
    skipped: usize,
}

async fn read(store: &dyn ObjectStore, key: &str) -> Result<(OverlapIndex, Option<There>), OwnerError> {
    let unreadable =
        |why: String| OwnerError::Index { store: store.name().to_owned(), key: key.to_owned(), why };
    let Some(mut body) = store.get(key, None).await? else { return Ok((OverlapIndex::default(), None)) };
    let mut bytes = Vec::new();
    while let Some(part) = body.bytes.next().await {
        bytes.extend_from_slice(&part?);
        if bytes.len() > OverlapIndex::MAX_BYTES {
            return Err(unreadable(format!("it is larger than {} bytes", OverlapIndex::MAX_BYTES)));
        }
    }
    if bytes.len() as u64 != body.meta.len {
        return Err(unreadable(format!("{} of its {} bytes came", bytes.len(), body.meta.len)));
    }
    let parsed = OverlapIndex::parse(&bytes);
    match parsed.problem {
        Some(why) => Err(unreadable(why)),
        None => Ok((parsed.index, Some(There { bytes: bytes.into(), skipped: parsed.skipped }))),
    }
}
