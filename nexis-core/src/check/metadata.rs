//! Strict policy: what a row says of its stream against the stream.

use super::{Violation, ViolationKind};
use crate::media::ClipProbe;
use crate::package::ClipRecord;

/// Frame rates nearer than this share of each other are the same: 30 is written for 29.97.
const FPS_TOLERANCE: f64 = 0.01;
/// Durations nearer than this are the same: a container may round to its last frame.
const DURATION_TOLERANCE_SECONDS: f64 = 0.1;
/// Frame counts nearer than this are the same: cutting gives or takes one.
const FRAME_TOLERANCE: u64 = 1;

/// The fields of a row that differ from its stream, each as a violation of the strict policy.
pub fn row_metadata(row: &ClipRecord, probe: &ClipProbe) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut differ = |field: &str, says: String, is: String| {
        let kind = ViolationKind::RowMetadataMismatch { clip: row.clip_id.clone(), field: field.to_owned() };
        found.push(Violation::explained(kind, format!("the row says {says}, the stream {is}")));
    };
    if row.width != i64::from(probe.width) {
        differ("width", row.width.to_string(), probe.width.to_string());
    }
    if row.height != i64::from(probe.height) {
        differ("height", row.height.to_string(), probe.height.to_string());
    }
    if !near(row.fps, probe.fps, FPS_TOLERANCE * probe.fps) {
        differ("fps", row.fps.to_string(), format!("{:.3}", probe.fps));
    }
    if let Some(count) = probe.frame_count
        && !u64::try_from(row.num_frames).is_ok_and(|says| says.abs_diff(count) <= FRAME_TOLERANCE)
    {
        differ("num_frames", row.num_frames.to_string(), count.to_string());
    }
    if !near(row.duration_sec, probe.duration_seconds, DURATION_TOLERANCE_SECONDS) {
        differ("duration_sec", row.duration_sec.to_string(), format!("{:.3}", probe.duration_seconds));
    }
    if row.has_audio != probe.has_audio {
        differ("has_audio", row.has_audio.to_string(), probe.has_audio.to_string());
    }
    found
}

/// Whether two values are near; one that is no number is near to none.
fn near(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe() -> ClipProbe {
        ClipProbe {
            width: 1280,
            height: 720,
            codec: "h264".into(),
            pixel_format: "yuv420p".into(),
            fps: 30_000.0 / 1001.0,
            duration_seconds: 5.005,
            frame_count: Some(150),
            rotation: 0,
            has_audio: false,
        }
    }

    fn row() -> ClipRecord {
        ClipRecord {
            clip_id: "c".into(),
            clip_uri: "clips/c.mp4".into(),
            clip_sha256: "0".repeat(64),
            first_frame_uri: "frames/c.jpg".into(),
            first_frame_sha256: "0".repeat(64),
            source_video_id: "s".into(),
            split_group_id: "s:1".into(),
            split: "train".into(),
            clip_start_sec: 0.0,
            duration_sec: 5.0,
            width: 1280,
            height: 720,
            fps: 30.0,
            num_frames: 150,
            has_audio: false,
            caption: "a hill".into(),
            source_video_url: "https://youtu.be/s".into(),
            source_proof: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn rounding_is_forgiven_and_lies_are_named() {
        assert_eq!(row_metadata(&row(), &probe()), []);
        let lies =
            ClipRecord { fps: 60.0, num_frames: 300, has_audio: true, duration_sec: f64::NAN, ..row() };
        let codes: Vec<_> = row_metadata(&lies, &probe()).iter().map(Violation::code).collect();
        assert_eq!(
            codes,
            ["fps", "num_frames", "duration_sec", "has_audio"]
                .map(|f| format!("row_metadata_mismatch:c:{f}"))
        );
    }
}
