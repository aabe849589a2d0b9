//! What a validator would find: the package of an interval in the bucket, and the credentials on chain.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use nexis_core::commitment::Credentials;
use nexis_core::hash::Digest;
use nexis_core::package::{Manifest, RowLimits, asset_key, dataset_key, manifest_key, rows_from_bytes};
use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_core::spec::{DatasetSpec, VideoSpec};
use serde::Serialize;

use super::MinerError;
use super::upload::read_small;
use crate::chain::{Chain, Commitment};
use crate::store::ObjectStore;

/// Missing files that are named one by one.
const NAMED: usize = 20;

/// What is in the bucket for an interval.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BucketStatus {
    /// Objects below the interval.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the manifest was last written: the order among miners with overlapping clips follows from it.
    pub submitted_at: Option<DateTime<Utc>>,
    /// Rows, where manifest and dataset hold.
    pub rows: Option<usize>,
    /// What a validator would object to before it looks at a clip; empty where nothing.
    pub problems: Vec<String>,
}

impl BucketStatus {
    /// Whether a whole package is there.
    pub fn is_whole(&self) -> bool {
        self.rows.is_some() && self.problems.is_empty()
    }
}

/// Looks at the package of an interval in a bucket: lists it, reads manifest and dataset, and compares what the rows
/// name with what there is. Clips are not read.
///
/// # Errors
/// The store's.
pub async fn bucket_status(
    store: &dyn ObjectStore,
    interval: IntervalId,
    hotkey: &Hotkey,
) -> Result<BucketStatus, MinerError> {
    let mut status = BucketStatus::default();
    let mut lengths: BTreeMap<String, u64> = BTreeMap::new();
    let prefix = format!("{interval}/");
    let mut listed = store.list(&prefix);
    while let Some(object) = listed.next().await {
        let object = object?;
        status.objects += 1;
        status.bytes = status.bytes.saturating_add(object.len);
        if object.key == manifest_key(interval) {
            status.submitted_at = object.last_modified;
        }
        lengths.insert(object.key, object.len);
    }
    let Some(manifest) = read_small(store, &manifest_key(interval)).await? else {
        status.problems.push("there is no manifest.json: nothing is submitted".into());
        return Ok(status);
    };
    let manifest = match Manifest::parse(&manifest, Utc::now()) {
        Ok(manifest) => manifest,
        Err(error) => {
            status.problems.push(format!("manifest.json: {error}"));
            return Ok(status);
        }
    };
    if manifest.miner_hotkey != *hotkey || manifest.interval_id != interval {
        let (miner, of) = (&manifest.miner_hotkey, manifest.interval_id);
        status.problems.push(format!("manifest.json names miner {miner}, interval {of}"));
    }
    let limits = RowLimits::default();
    let key = dataset_key(interval);
    let Some(dataset) = read_dataset(store, &key, limits.max_file_bytes).await? else {
        status.problems.push(format!("there is no {key} of at most {} bytes", limits.max_file_bytes));
        return Ok(status);
    };
    if !Digest::of(&dataset).to_string().eq_ignore_ascii_case(&manifest.dataset_sha256) {
        status.problems.push(format!("{key} has another digest than manifest.json says"));
        return Ok(status);
    }
    let rows = match rows_from_bytes(dataset, &VideoSpec::default().row_rules(), &limits) {
        Ok(rows) => rows,
        Err(why) => {
            status.problems.push(format!("{key}: {why}"));
            return Ok(status);
        }
    };
    if rows.len() as u64 != manifest.record_count {
        let claimed = manifest.record_count;
        status.problems.push(format!("manifest.json says {claimed} rows, {} are there", rows.len()));
    }
    status.rows = Some(rows.len());
    let mut missing = 0;
    for uri in rows.iter().flat_map(|row| [&row.clip_uri, &row.first_frame_uri]) {
        let problem = match asset_key(interval, uri) {
            Ok(key) if lengths.contains_key(&key) => continue,
            Ok(key) => format!("{key} is missing"),
            Err(violation) => violation.code(),
        };
        missing += 1;
        if missing <= NAMED {
            status.problems.push(problem);
        }
    }
    if missing > NAMED {
        status.problems.push(format!("and {} more", missing - NAMED));
    }
    Ok(status)
}

/// A dataset, or `None` where there is none within the limit.
async fn read_dataset(
    store: &dyn ObjectStore,
    key: &str,
    max_bytes: u64,
) -> Result<Option<bytes::Bytes>, MinerError> {
    let Some(mut body) = store.get(key, None).await? else { return Ok(None) };
    let mut bytes = Vec::new();
    while let Some(part) = body.bytes.next().await {
        bytes.extend_from_slice(&part?);
        if bytes.len() as u64 > max_bytes {
            return Ok(None);
        }
    }
    Ok(Some(bytes.into()))
}

/// How the chain's commitment compares with the configured credentials. No part of either is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Committed {
    /// It is the same.
    Same,
    /// It is well formed and not the same: validators read with other keys than those configured.
    Different,
    /// It is no credentials at all.
    Malformed,
    /// There is none: validators cannot read the bucket.
    Nothing,
}

/// What the chain says of a miner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChainStatus {
    /// Finalised block at which it was read.
    pub block: u64,
    /// The miner's place in the subnet, where it is registered.
    pub uid: Option<u16>,
    /// Block of its commitment, where there is one.
    pub committed_at: Option<u64>,
    /// The commitment against the configured credentials, where some are configured.
    pub commitment: Committed,
}

/// Reads a miner's registration and commitment at the last finalised block. Without configured credentials, any
/// commitment that is well formed counts as the same.
///
/// # Errors
/// The chain's.
pub async fn chain_status(
    chain: &dyn Chain,
    netuid: u16,
    hotkey: &Hotkey,
    configured: Option<&Credentials>,
) -> Result<ChainStatus, MinerError> {
    let head = chain.finalized_head().await?;
    let metagraph = chain.metagraph(netuid, &head).await?;
    let commitments = chain.commitments(netuid, &head).await?;
    let found = commitments.get(hotkey);
    let commitment = match found.map(Commitment::credentials) {
        None => Committed::Nothing,
        Some(None) => Committed::Malformed,
        Some(Some(on_chain)) if configured.is_none_or(|configured| *configured == on_chain) => {
            Committed::Same
        }
        Some(Some(_)) => Committed::Different,
    };
    Ok(ChainStatus {
        block: head.number,
        uid: metagraph.neurons.iter().find(|neuron| neuron.hotkey == *hotkey).map(|neuron| neuron.uid),
        committed_at: found.map(|commitment| commitment.block),
        commitment,
    })
}
