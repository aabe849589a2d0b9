//! Phase 5: the files of one sampled row.

use std::path::Path;

use nexis_core::Error;
use nexis_core::check::check_assets;
use nexis_core::hash::Digest;
use nexis_core::media::{ClipProbe, DecodedClip, FrameRequest, MediaDecoder, MediaFailure, MediaLimits};
use nexis_core::package::{ClipRecord, DirectorySource};
use nexis_core::protocol::IntervalId;
use nexis_core::spec::VideoSpec;
use serde_json::json;

/// A container format of one line: `width x height`; anything else is no clip, `ours` is our trouble.
struct OneLine;

impl MediaDecoder for OneLine {
    fn name(&self) -> String {
        "one line".to_owned()
    }

    fn probe(&self, clip: &Path, _limits: &MediaLimits) -> Result<ClipProbe, MediaFailure> {
        let text = std::fs::read_to_string(clip).map_err(|_| MediaFailure::Clip("no text".to_owned()))?;
        if text == "ours" {
            return Err(Error::Decoder("out of memory".to_owned()).into());
        }
        let size = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
        let (width, height) = size.ok_or_else(|| MediaFailure::Clip("no size".to_owned()))?;
        Ok(ClipProbe {
            width,
            height,
            codec: "line".to_owned(),
            pixel_format: "none".to_owned(),
            fps: 30.0,
            duration_seconds: 5.0,
            frame_count: None,
            rotation: 0,
            has_audio: false,
        })
    }

    fn decode(&self, _: &Path, _: &FrameRequest, _: &MediaLimits) -> Result<DecodedClip, MediaFailure> {
        Err(MediaFailure::Clip("there are no pictures".to_owned()))
    }
}

struct Case {
    folder: tempfile::TempDir,
    row: ClipRecord,
}

impl Case {
    fn new(clip: &str, frame: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let interval = folder.path().join("100");
        for (name, content) in [("clips/c.mp4", clip), ("frames/c.jpg", frame)] {
            let path = interval.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let row = serde_json::from_value(json!({
            "clip_id": "c", "clip_uri": "clips/c.mp4", "clip_sha256": Digest::of(clip).to_string(),
            "first_frame_uri": "100/frames/c.jpg", "first_frame_sha256": Digest::of(frame).to_string(),
            "source_video_id": "v", "split_group_id": "v:1", "split": "train", "clip_start_sec": 0.0,
            "duration_sec": 5.0, "width": 1, "height": 1, "fps": 30.0, "num_frames": 150, "has_audio": true,
            "caption": "x", "source_video_url": "u", "source_proof": {},
        }));
        Self { folder, row: row.unwrap() }
    }

    fn check(&self, limits: &MediaLimits) -> Result<Vec<String>, Error> {
        let source = DirectorySource::new(self.folder.path());
        let spec = VideoSpec::default();
        let check = check_assets(&self.row, IntervalId::new(100), &spec, &source, &OneLine, limits)?;
        Ok(check.violations.iter().map(|v| v.code()).collect())
    }

    fn codes(&self) -> Vec<String> {
        self.check(&MediaLimits::default()).unwrap()
    }

    fn with(mut self, change: impl Fn(&mut ClipRecord)) -> Self {
        change(&mut self.row);
        self
    }

    fn without(self, name: &str) -> Self {
        std::fs::remove_file(self.folder.path().join("100").join(name)).unwrap();
        self
    }
}

#[test]
fn an_honest_row_passes_whatever_its_own_word_on_the_size() {
    let case = Case::new("1280x720", "jpeg");
    assert_eq!(case.codes(), Vec::<String>::new());
    let source = DirectorySource::new(case.folder.path());
    let check = check_assets(
        &case.row,
        IntervalId::new(100),
        &VideoSpec::default(),
        &source,
        &OneLine,
        &MediaLimits::default(),
    )
    .unwrap();
    assert_eq!(check.clip_digest, Some(Digest::of("1280x720")));
    assert_eq!(check.probe.unwrap().width, 1280);
    assert_eq!(check.clip.unwrap().len, 8);
    assert!(check.first_frame.unwrap().path.ends_with("100/frames/c.jpg"));
}

#[test]
fn each_fault_has_its_code() {
    let new = || Case::new("1280x720", "jpeg");
    for (case, codes) in [
        (new().with(|r| r.clip_uri = "../c.mp4".into()), vec!["invalid_asset_uri:../c.mp4"]),
        (new().with(|r| r.first_frame_uri = "/c.jpg".into()), vec!["invalid_asset_uri:/c.jpg"]),
        (new().without("clips/c.mp4"), vec!["missing_clip_asset:c"]),
        (new().without("frames/c.jpg"), vec!["missing_first_frame_asset:c"]),
        (new().with(|r| r.clip_sha256 = "Z".repeat(64)), vec!["clip_sha256_mismatch:c"]),
        (new().with(|r| r.first_frame_sha256 = "0".repeat(64)), vec!["first_frame_sha256_mismatch:c"]),
        // The network compares texts: capitals are another text.
        (new().with(|r| r.clip_sha256 = r.clip_sha256.to_uppercase()), vec!["clip_sha256_mismatch:c"]),
        (Case::new("1920x1080", "jpeg"), vec!["invalid_resolution:c:1920x1080"]),
        (Case::new("720x1280", "jpeg"), vec!["invalid_resolution:c:720x1280"]),
        (Case::new("text", "jpeg"), vec!["undecodable_clip:c"]),
        (
            Case::new("640x360", "jpeg")
                .with(|r| r.clip_sha256 = "0".repeat(64))
                .with(|r| r.first_frame_sha256 = "0".repeat(64)),
            vec!["clip_sha256_mismatch:c", "invalid_resolution:c:640x360", "first_frame_sha256_mismatch:c"],
        ),
        (
            new().without("clips/c.mp4").without("frames/c.jpg"),
            vec!["missing_clip_asset:c", "missing_first_frame_asset:c"],
        ),
    ] {
        assert_eq!(case.codes(), codes);
    }
}

#[test]
fn a_file_beyond_the_limit_is_not_read() {
    let limits = MediaLimits { max_bytes: 7, ..MediaLimits::default() };
    assert_eq!(Case::new("1280x720", "jpeg").check(&limits).unwrap(), ["undecodable_clip:c"]);
}

#[test]
fn our_trouble_is_no_violation() {
    let result = Case::new("ours", "jpeg").check(&MediaLimits::default());
    assert!(matches!(result, Err(Error::Decoder(_))), "{result:?}");
}
