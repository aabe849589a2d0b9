//! Copies the clips that were judged from the miners' buckets to the dataset bucket, each held against the digest
//! that was judged.

use futures_util::{StreamExt, stream};
use nexis_core::Error;
use nexis_core::package::{ClipRecord, asset_key, clip_id};
use nexis_core::protocol::IntervalId;
use serde_json::json;

use super::{Accepted, OwnerError, OwnerOptions, Synced};
use crate::observe::Metrics;
use crate::store::download::{DownloadLimits, download};
use crate::store::{ObjectStore, StoreErrorKind};

/// What became of one clip.
enum Copied {
    There,
    Now,
    Lost(String),
}

/// Copies what is missing.
pub(super) async fn copy(
    dataset: &dyn ObjectStore,
    interval: IntervalId,
    accepted: &[Accepted],
    options: &OwnerOptions,
    metrics: &Metrics,
    synced: &mut Synced,
) -> Result<(), OwnerError> {
    let verified = accepted
        .iter()
        .flat_map(|s| s.verified.iter().filter_map(move |i| s.rows.get(*i)).map(move |row| (s, row)));
    let mut copying = stream::iter(verified)
        .map(|(submission, row)| async move {
            // The row's own id is the miner's word; this one is made of hexadecimal digits.
            let id = clip_id(&row.source_video_id, row.clip_start_sec, row.duration_sec);
            let copied = copy_one(dataset, interval, submission, row, &id, options, metrics).await?;
            Ok::<_, OwnerError>((id, copied))
        })
        .buffered(options.concurrency.max(1));
    while let Some(copied) = copying.next().await {
        match copied? {
            (_, Copied::There) => {}
            (_, Copied::Now) => synced.clips += 1,
            (id, Copied::Lost(why)) => synced.lost.push((id, why)),
        }
    }
    Ok(())
}

async fn copy_one(
    dataset: &dyn ObjectStore,
    interval: IntervalId,
    submission: &Accepted,
    row: &ClipRecord,
    id: &str,
    options: &OwnerOptions,
    metrics: &Metrics,
) -> Result<Copied, OwnerError> {
    let prefix = format!("{}/{id}", options.folder);
    let mark = format!("{prefix}/metadata.json");
    if dataset.head(&mark).await?.is_some() {
        return Ok(Copied::There);
    }
    std::fs::create_dir_all(&options.work).map_err(|e| Error::io(&options.work, e))?;
    let folder = tempfile::tempdir_in(&options.work).map_err(|e| Error::io(&options.work, e))?;
    let files = [
        (&row.clip_uri, &row.clip_sha256, "clip.mp4", "video/mp4", options.max_clip_bytes),
        (
            &row.first_frame_uri,
            &row.first_frame_sha256,
            "first_image.jpg",
            "image/jpeg",
            options.max_picture_bytes,
        ),
    ];
    let mut fetched = Vec::with_capacity(files.len());
    for (uri, digest, name, content_type, max_bytes) in files {
        let key = match asset_key(interval, uri) {
            Ok(key) => key,
            Err(violation) => return Ok(Copied::Lost(violation.code())),
        };
        let path = folder.path().join(name);
        let limits = DownloadLimits::new(max_bytes, options.deadline);
        let file = match download(submission.source.as_ref(), &key, &path, &limits).await {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(Copied::Lost(format!("{key} is not there any more"))),
            Err(error) if error.kind.is_the_owners() || error.kind == StoreErrorKind::TooLarge => {
                return Ok(Copied::Lost(error.to_string()));
            }
            Err(error) => return Err(error.into()),
        };
        metrics.downloaded(file.len);
        if !file.sha256.to_string().eq_ignore_ascii_case(digest) {
            return Ok(Copied::Lost(format!("{key} is not the file that was judged")));
        }
        fetched.push((file, name, content_type));
    }
    // Only once both are here: half of a clip helps nobody.
    for (file, name, content_type) in &fetched {
        dataset.put_file(&format!("{prefix}/{name}"), &file.path, content_type).await?;
        metrics.uploaded(file.len);
    }
    let metadata = json!({
        "id": id,
        "interval_id": interval,
        "miner_hotkey": submission.manifest.miner_hotkey,
        "category": submission.manifest.category,
        "spec_id": submission.manifest.spec_id,
        "protocol_version": submission.manifest.protocol_version,
        "schema_version": submission.manifest.schema_version,
        "row": row,
    });
    let text = serde_json::to_vec_pretty(&metadata)
        .map_err(|e| Error::Internal(format!("metadata of a clip: {e}")))?;
    metrics.uploaded(text.len() as u64);
    dataset.put(&mark, text.into(), "application/json").await?;
    Ok(Copied::Now)
}
