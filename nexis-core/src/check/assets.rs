//! Phase 5: the files of one sampled row are there, are the ones described, and have the right size.

use std::collections::BTreeMap;
use std::fs::File;

use super::{Violation, ViolationKind};
use crate::error::{Error, Result};
use crate::hash::Digest;
use crate::media::{ClipProbe, MediaDecoder, MediaFailure, MediaLimits};
use crate::package::layout::asset_key;
use crate::package::{Asset, AssetSource, ClipRecord};
use crate::protocol::IntervalId;
use crate::spec::DatasetSpec;

/// Largest first-frame picture, in bytes. A real one has about 150 KB.
pub const MAX_FIRST_FRAME_BYTES: u64 = 16 << 20;

/// What was found out about one row's files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AssetCheck {
    /// What is wrong, in the protocol's order.
    pub violations: Vec<Violation>,
    /// The clip, where it is there.
    pub clip: Option<Asset>,
    /// SHA-256 of the clip, where it was read.
    pub clip_digest: Option<Digest>,
    /// The first-frame picture, where it is there.
    pub first_frame: Option<Asset>,
    /// What the clip's stream is, where it could be probed.
    pub probe: Option<ClipProbe>,
}

/// A file that judging a row will read, and how much of it is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedAsset {
    /// Its key.
    pub key: String,
    /// Largest size that is read, in bytes: of a larger file only the length is looked at.
    pub max_bytes: u64,
}

/// The files that [`check_assets`] will look up for rows: their clips and first frames, where the URIs are safe.
/// Ordered by key, each once; a file in two roles may be as large as the larger of them.
pub fn wanted_assets<'a>(
    rows: impl IntoIterator<Item = &'a ClipRecord>,
    interval: IntervalId,
    max_clip_bytes: u64,
) -> Vec<WantedAsset> {
    let mut wanted: BTreeMap<String, u64> = BTreeMap::new();
    for row in rows {
        for (uri, max_bytes) in
            [(&row.clip_uri, max_clip_bytes), (&row.first_frame_uri, MAX_FIRST_FRAME_BYTES)]
        {
            if let Ok(key) = asset_key(interval, uri) {
                let most = wanted.entry(key).or_default();
                *most = max_bytes.max(*most);
            }
        }
    }
    wanted.into_iter().map(|(key, max_bytes)| WantedAsset { key, max_bytes }).collect()
}

/// Checks one row: clip URI, presence, digest, real size by probing the stream; then the first frame's
/// URI, presence, digest. All that is wrong is collected.
///
/// # Errors
/// Where a file could not be read or the decoder itself failed: ours, the row is not judged.
pub fn check_assets(
    row: &ClipRecord,
    interval: IntervalId,
    spec: &dyn DatasetSpec,
    source: &dyn AssetSource,
    decoder: &dyn MediaDecoder,
    limits: &MediaLimits,
) -> Result<AssetCheck> {
    let mut check = AssetCheck::default();
    check_clip(row, interval, spec, source, decoder, limits, &mut check)?;
    check_first_frame(row, interval, source, &mut check)?;
    Ok(check)
}

fn check_clip(
    row: &ClipRecord,
    interval: IntervalId,
    spec: &dyn DatasetSpec,
    source: &dyn AssetSource,
    decoder: &dyn MediaDecoder,
    limits: &MediaLimits,
    check: &mut AssetCheck,
) -> Result<()> {
    let clip = || row.clip_id.clone();
    let missing = ViolationKind::MissingClipAsset { clip: clip() };
    let asset = match asset_of(&row.clip_uri, interval, source, missing)? {
        Ok(asset) => asset,
        Err(violation) => {
            check.violations.push(violation);
            return Ok(());
        }
    };
    if asset.len > limits.max_bytes {
        let why = format!("{} bytes, more than {}", asset.len, limits.max_bytes);
        check.violations.push(Violation::explained(ViolationKind::UndecodableClip { clip: clip() }, why));
        check.clip = Some(asset);
        return Ok(());
    }
    let digest = digest_of(&asset)?;
    let mismatch = ViolationKind::ClipSha256Mismatch { clip: clip() };
    check.violations.extend(differs(&digest, &row.clip_sha256, mismatch));
    check.clip_digest = Some(digest);
    match decoder.probe(&asset.path, limits) {
        Ok(probe) => {
            let (width, height) = (probe.width, probe.height);
            if (width, height) != spec.frame_size() {
                let kind = ViolationKind::InvalidResolution { clip: clip(), width, height };
                check.violations.push(Violation::new(kind));
            }
            check.probe = Some(probe);
        }
        Err(MediaFailure::Clip(why)) => {
            check.violations.push(Violation::explained(ViolationKind::UndecodableClip { clip: clip() }, why));
        }
        Err(MediaFailure::Ours(error)) => return Err(error),
    }
    check.clip = Some(asset);
    Ok(())
}

fn check_first_frame(
    row: &ClipRecord,
    interval: IntervalId,
    source: &dyn AssetSource,
    check: &mut AssetCheck,
) -> Result<()> {
    let clip = || row.clip_id.clone();
    let missing = ViolationKind::MissingFirstFrameAsset { clip: clip() };
    let asset = match asset_of(&row.first_frame_uri, interval, source, missing)? {
        Ok(asset) => asset,
        Err(violation) => {
            check.violations.push(violation);
            return Ok(());
        }
    };
    if asset.len > MAX_FIRST_FRAME_BYTES {
        let why = format!("the first frame has {} bytes, more than {MAX_FIRST_FRAME_BYTES}", asset.len);
        check.violations.push(Violation::explained(ViolationKind::UndecodableClip { clip: clip() }, why));
        return Ok(());
    }
    let mismatch = ViolationKind::FirstFrameSha256Mismatch { clip: clip() };
    check.violations.extend(differs(&digest_of(&asset)?, &row.first_frame_sha256, mismatch));
    check.first_frame = Some(asset);
    Ok(())
}

/// The file that a row's URI names, or what is wrong: the URI, or that there is no such file.
fn asset_of(
    uri: &str,
    interval: IntervalId,
    source: &dyn AssetSource,
    missing: ViolationKind,
) -> Result<std::result::Result<Asset, Violation>> {
    match asset_key(interval, uri) {
        Ok(key) => Ok(source.get(&key)?.ok_or_else(|| Violation::new(missing))),
        Err(violation) => Ok(Err(violation)),
    }
}

/// That a file is another than the one whose digest its row states. The network compares texts.
fn differs(digest: &Digest, stated: &str, kind: ViolationKind) -> Option<Violation> {
    (digest.to_string() != stated).then(|| Violation::explained(kind, format!("it is {digest}")))
}

fn digest_of(asset: &Asset) -> Result<Digest> {
    let file = File::open(&asset.path).map_err(|e| Error::io(&asset.path, e))?;
    Digest::of_reader(file).map_err(|e| Error::io(&asset.path, e))
}
