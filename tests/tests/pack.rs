//! Clips and captions on disk become packages that hold, or errors that say what to do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use chrono::{DateTime, Utc};
use nexis_core::Error;
use nexis_core::check::{check_assets, row_metadata};
use nexis_core::media::encode::{ClipOptions, H264Encoder, encode_clip};
use nexis_core::media::jpeg::{SAME_PICTURE, StillLimits, decode_still, first_frame_similarity};
use nexis_core::media::{FfmpegDecoder, Frame, FrameRequest, MediaDecoder, MediaLimits};
use nexis_core::pack::{
    Advice, Fit, ItemProblem, Obstacle, PackFailure, PackItem, PackObserver, PackOptions, Packed, Treatment,
    Unobserved, pack,
};
use nexis_core::package::{DirectorySource, ExpectedIdentity, ExpectedMiner, Opened, Package, PackageRules};
use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_core::spec::{DatasetSpec, VideoSpec};
use sha2::{Digest, Sha256};

const MINER: &str = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY";
const INTERVAL: IntervalId = IntervalId::new(7_756_900);
const CAPTION: &str = "A green valley lies under a pale blue sky while a bright sun moves slowly from the left to the \
                       right above the low dark hills.";
const FPS: u32 = 10;

fn now() -> DateTime<Utc> {
    "2026-04-10T12:00:00Z".parse().unwrap()
}

fn options() -> PackOptions {
    PackOptions::new(Hotkey::new(MINER), INTERVAL, now())
}

/// Grey that grows lighter by the second, with a bright square that crosses the picture.
fn picture(width: u32, height: u32, second: f64) -> Vec<u8> {
    let level = (40.0 + 20.0 * second) as u8;
    let edge = height / 4;
    let left = ((width - edge) as f64 * (second / 10.0)) as u32;
    let square = |x: u32, y: u32| (left..left + edge).contains(&x) && (edge..2 * edge).contains(&y);
    (0..height)
        .flat_map(|y| (0..width).map(move |x| (x, y)))
        .flat_map(|(x, y)| if square(x, y) { [250, 230, 90] } else { [level, level, level] })
        .collect()
}

fn film(path: &Path, width: u32, height: u32, seconds: f64) {
    let count = (seconds * f64::from(FPS)).round() as u32;
    let mut frames = (0..count).map(|k| picture(width, height, f64::from(k) / f64::from(FPS)));
    let options = ClipOptions { fps: FPS, crf: 18, ..ClipOptions::default() };
    assert_eq!(encode_clip(path, width, height, &mut frames, &options).unwrap(), u64::from(count));
}

/// A clip that fits, one of another shape that is longer, and one that is too short; made once.
fn films() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            film(&folder.path().join("fits.mp4"), 1280, 720, 5.0);
            film(&folder.path().join("square-ish.mp4"), 640, 480, 8.0);
            film(&folder.path().join("short.mp4"), 320, 180, 3.0);
            std::fs::write(folder.path().join("text.mp4"), "this is a letter and no video\n".repeat(50))
                .unwrap();
            folder
        })
        .path()
}

fn item(name: &str, id: &str, start: f64) -> PackItem {
    PackItem {
        clip: films().join(name),
        caption: CAPTION.to_owned(),
        source_video_url: format!("https://www.youtube.com/watch?v={id}&t=9"),
        source_video_id: None,
        clip_start_sec: start,
        file_start_sec: 0.0,
        split: None,
        source_proof: BTreeMap::new(),
    }
}

fn made(items: &[PackItem], out: &Path, options: &PackOptions) -> Packed {
    pack(items, out, options, &FfmpegDecoder::default(), &Unobserved).unwrap()
}

fn refused(items: &[PackItem], out: &Path, options: &PackOptions) -> Vec<ItemProblem> {
    match pack(items, out, options, &FfmpegDecoder::default(), &Unobserved) {
        Err(PackFailure::Items(problems)) => problems,
        other => panic!("{other:?}"),
    }
}

/// Nothing of a package that was not finished, whatever its name.
fn is_bare(out: &Path) -> bool {
    std::fs::read_dir(out).map_or(true, |mut entries| entries.next().is_none())
}

fn frame(clip: &Path, second: f64) -> Frame {
    let request = FrameRequest::At { seconds: vec![second] };
    let decoded = FfmpegDecoder::default().decode(clip, &request, &MediaLimits::default()).unwrap();
    decoded.frames[0].clone()
}

/// All that a validator does without a model.
fn assert_holds(packed: &Packed, out: &Path) {
    let source = Arc::new(DirectorySource::new(out));
    let expected = ExpectedIdentity { miner: ExpectedMiner::Hotkey(Hotkey::new(MINER)), interval: INTERVAL };
    let opened = Package::open(source.clone(), &expected, &PackageRules::default(), now()).unwrap();
    let Opened::Package(package) = opened else { panic!("{opened:?}") };
    assert_eq!(package.rows, packed.records());
    assert_eq!(package.manifest, packed.manifest);
    assert_eq!(package.spec.hard_checks(&package.rows), []);
    for row in &package.rows {
        let checked = check_assets(
            row,
            INTERVAL,
            package.spec.as_ref(),
            source.as_ref(),
            &FfmpegDecoder::default(),
            &MediaLimits::default(),
        )
        .unwrap();
        assert_eq!(checked.violations, []);
        let probe = checked.probe.unwrap();
        assert_eq!((probe.width, probe.height), (1280, 720));
        assert_eq!(row_metadata(row, &probe), []);
        let clip = checked.clip.unwrap().path;
        let still = std::fs::read(checked.first_frame.unwrap().path).unwrap();
        let still = decode_still(&still, &StillLimits::default()).unwrap();
        assert!(first_frame_similarity(&frame(&clip, 0.0), &still).unwrap() > SAME_PICTURE);
    }
}

#[test]
fn what_fits_is_copied_and_holds() {
    let out = tempfile::tempdir().unwrap();
    let items = [item("fits.mp4", "AAAAAAAAAAA", 12.0), item("fits.mp4", "BBBBBBBBBBB", 0.5)];
    let packed = made(&items, out.path(), &options());
    assert_holds(&packed, out.path());
    assert_eq!(packed.folder, out.path().join("7756900"));
    let original = std::fs::read(films().join("fits.mp4")).unwrap();
    for (row, (id, start)) in packed.rows.iter().zip([("AAAAAAAAAAA", "12.000"), ("BBBBBBBBBBB", "0.500")]) {
        assert_eq!(row.treatment, Treatment::Copied);
        assert_eq!(std::fs::read(packed.folder.join(&row.record.clip_uri)).unwrap(), original);
        assert_eq!(row.record.source_video_id, id);
        let digest = Sha256::digest(format!("{id}:{start}:5.000"));
        assert_eq!(row.record.clip_id, hex(&digest)[..24]);
        assert_eq!(row.record.clip_sha256, hex(&Sha256::digest(&original)));
    }
    // Nothing else is left beside it.
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 1);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn what_does_not_fit_is_cut_and_scaled() {
    let items = [PackItem { file_start_sec: 2.0, ..item("square-ish.mp4", "CCCCCCCCCCC", 2.0) }];
    for fit in [Fit::Letterbox, Fit::Crop] {
        for encoder in [H264Encoder::Auto, H264Encoder::OpenH264] {
            let out = tempfile::tempdir().unwrap();
            let mut options = PackOptions { fit, ..options() };
            options.encoding.encoder = encoder;
            let packed = made(&items, out.path(), &options);
            assert_holds(&packed, out.path());
            let row = &packed.rows[0];
            assert_eq!(row.treatment, Treatment::Encoded);
            assert_eq!(row.reasons.len(), 3, "{:?}", row.reasons);
            let clip = packed.folder.join(&row.record.clip_uri);
            let probe = FfmpegDecoder::default().probe(&clip, &MediaLimits::default()).unwrap();
            assert_eq!((probe.width, probe.height, probe.frame_count), (1280, 720, Some(50)));
            assert_eq!((probe.duration_seconds, probe.fps), (5.0, 10.0));

            // Instant t of the clip is instant t + 2 of the file: the grey says which second it is.
            for second in [0.0, 2.5, 4.9] {
                let shown = frame(&clip, second);
                let level = f64::from(shown.rgb[(700 * 1280 + 640) * 3]);
                let expected = 40.0 + 20.0 * (second + 2.0);
                assert!((level - expected).abs() < 8.0, "{fit:?} {encoder:?} {second}: {level} {expected}");
                // 4:3 in 16:9 leaves 160 columns on either side.
                for (column, bar) in [(80, true), (150, true), (170, false), (1100, false), (1200, true)] {
                    let level = shown.rgb[(700 * 1280 + column) * 3];
                    assert_eq!(level < 20, bar && fit == Fit::Letterbox, "{fit:?} column {column}: {level}");
                }
            }
        }
    }
}

#[test]
fn threads_change_nothing() {
    let items = [
        PackItem { file_start_sec: 1.0, ..item("square-ish.mp4", "CCCCCCCCCCC", 1.0) },
        item("fits.mp4", "AAAAAAAAAAA", 12.0),
        PackItem { file_start_sec: 2.0, ..item("square-ish.mp4", "CCCCCCCCCCC", 100.0) },
    ];
    let options = PackOptions { fit: Fit::Crop, ..options() };
    let files = |threads| {
        let out = tempfile::tempdir().unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let packed = pool.install(|| made(&items, out.path(), &options));
        let mut files = vec![std::fs::read(packed.folder.join("manifest.json")).unwrap()];
        files.extend(
            packed.rows.iter().map(|r| std::fs::read(packed.folder.join(&r.record.clip_uri)).unwrap()),
        );
        files
    };
    assert_eq!(files(1), files(3));
}

#[test]
fn everything_that_cannot_be_packed_is_named_at_once() {
    let out = tempfile::tempdir().unwrap();
    let items = [
        item("text.mp4", "AAAAAAAAAAA", 0.0),
        item("fits.mp4", "BBBBBBBBBBB", 0.0),
        item("square-ish.mp4", "CCCCCCCCCCC", 0.0),
        item("nowhere.mp4", "DDDDDDDDDDD", 0.0),
        PackItem { caption: " \n".to_owned(), ..item("fits.mp4", "EEEEEEEEEEE", 0.0) },
        PackItem { clip_start_sec: -1.0, ..item("fits.mp4", "FFFFFFFFFFF", 0.0) },
        PackItem { file_start_sec: f64::NAN, ..item("fits.mp4", "GGGGGGGGGGG", 0.0) },
        PackItem { clip: films().to_path_buf(), ..item("", "HHHHHHHHHHH", 0.0) },
    ];
    let problems = refused(&items, out.path(), &options());
    let found: Vec<_> = problems.iter().map(|p| (p.item, p.obstacle)).collect();
    let expected = [
        (0, Obstacle::Undecodable),
        (2, Obstacle::DoesNotFit),
        (3, Obstacle::NotFound),
        (4, Obstacle::InvalidRow),
        (5, Obstacle::InvalidRow),
        (6, Obstacle::InvalidRow),
        (7, Obstacle::Undecodable),
    ];
    assert_eq!(found, expected);
    let text = PackFailure::Items(problems).to_string();
    for part in [
        "text.mp4): it cannot be decoded as video: neither MP4",
        "it is 640x480, not 1280x720",
        "letterbox",
        "caption",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(is_bare(out.path()));

    // Cutting helps where there is enough; what is short is short.
    let options = PackOptions { fit: Fit::Letterbox, ..options() };
    let late = PackItem { file_start_sec: 6.0, ..item("square-ish.mp4", "CCCCCCCCCCC", 6.0) };
    let problems = refused(&[late, item("short.mp4", "AAAAAAAAAAA", 0.0)], out.path(), &options);
    assert!(problems[0].why.starts_with("2.000 s are left from 6 s on"), "{}", problems[0].why);
    assert!(problems[1].why.starts_with("3.000 s are left from 0 s on"), "{}", problems[1].why);
    assert!(is_bare(out.path()));
}

#[test]
fn two_rows_of_one_id_are_refused() {
    let out = tempfile::tempdir().unwrap();
    let twin = PackItem {
        source_video_url: "https://youtu.be/AAAAAAAAAAA".to_owned(),
        ..item("fits.mp4", "AAAAAAAAAAA", 3.0004)
    };
    let problems = refused(&[item("fits.mp4", "AAAAAAAAAAA", 3.0), twin], out.path(), &options());
    assert_eq!((problems.len(), problems[0].item, problems[0].obstacle), (1, 1, Obstacle::Duplicate));
    assert!(problems[0].why.contains("item 0"), "{}", problems[0].why);
}

#[test]
fn rows_that_would_fail_are_packed_and_named_with_remedies() {
    let out = tempfile::tempdir().unwrap();
    let items = [
        item("fits.mp4", "AAAAAAAAAAA", 0.0),
        item("fits.mp4", "AAAAAAAAAAA", 4.0),
        PackItem { caption: "A green valley.".to_owned(), ..item("fits.mp4", "BBBBBBBBBBB", 0.0) },
        PackItem { caption: format!("{CAPTION} It is true."), ..item("fits.mp4", "CCCCCCCCCCC", 0.0) },
        PackItem {
            source_video_url: "https://video.example/watch/1".to_owned(),
            ..item("fits.mp4", "", 5001.0)
        },
        item("fits.mp4", "DDDDDDDDDDD", 20.0),
    ];
    let packed = made(&items, out.path(), &options());
    let ids: Vec<_> = packed.rows.iter().map(|row| row.record.clip_id.clone()).collect();
    let advice = Advice::of_rows(&packed.records(), &VideoSpec::default());
    let codes: Vec<Vec<&str>> =
        advice.rows.iter().map(|found| found.iter().map(|p| p.code.as_str()).collect()).collect();
    let overlap = format!("overlap_lt_5s:AAAAAAAAAAA:{}:{}", ids[0], ids[1]);
    assert_eq!(codes[0], [&overlap]);
    assert_eq!(codes[1], [&overlap]);
    assert_eq!(codes[2], [format!("short_caption:{}", ids[2])]);
    assert_eq!(codes[3], [format!("caption_semantic_injection_keyword:{}", ids[3])]);
    assert_eq!(
        codes[4],
        [format!("non_youtube_source:{}", ids[4]), format!("clip_start_gt_5000:{}", ids[4])]
    );
    assert!(codes[5].is_empty() && advice.package.is_empty() && !advice.accepts());
    let short = &advice.rows[2][0];
    assert_eq!(short.detail, "3 words, 20 are expected");
    assert!(short.remedy.contains("20 words") && short.rejects);
    // What the advice says of the rows is what a validator finds in them.
    let expected: Vec<_> =
        VideoSpec::default().hard_checks(&packed.records()).iter().map(|v| v.code()).collect();
    assert!(expected.iter().all(|code| codes.iter().flatten().any(|found| found == code)));
}

#[test]
fn a_package_is_replaced_only_where_that_is_asked_for() {
    let out = tempfile::tempdir().unwrap();
    let items = [item("fits.mp4", "AAAAAAAAAAA", 0.0)];
    made(&items, out.path(), &options());
    let usage = |options: &PackOptions, items: &[PackItem], out: &Path| {
        let failure = pack(items, out, options, &FfmpegDecoder::default(), &Unobserved).unwrap_err();
        assert!(matches!(failure, PackFailure::Other(Error::Usage { .. })), "{failure:?}");
        failure.to_string()
    };
    assert!(usage(&options(), &items, out.path()).contains("already there"));
    let again = PackOptions { overwrite: true, ..options() };
    let other = [item("fits.mp4", "BBBBBBBBBBB", 0.0)];
    assert_holds(&made(&other, out.path(), &again), out.path());
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 1);

    // Whatever else is called like an interval is nobody's to delete.
    let homes = tempfile::tempdir().unwrap();
    let precious = homes.path().join("7756900/letters.txt");
    std::fs::create_dir_all(precious.parent().unwrap()).unwrap();
    std::fs::write(&precious, "dear").unwrap();
    assert!(usage(&again, &items, homes.path()).contains("no package"));
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "dear");

    let empty = tempfile::tempdir().unwrap();
    let off = PackOptions { interval: IntervalId::new(7_756_950), ..options() };
    assert!(usage(&off, &items, empty.path()).contains("7756900"));
    usage(&PackOptions { hotkey: Hotkey::new("  "), ..options() }, &items, empty.path());
    usage(&options(), &[], empty.path());
    assert!(is_bare(empty.path()));
}

#[test]
fn an_interrupted_run_leaves_nothing() {
    /// Stops after so many questions.
    struct Impatient(AtomicUsize);

    impl PackObserver for Impatient {
        fn interrupted(&self) -> bool {
            self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_err()
        }
    }

    let items = [item("square-ish.mp4", "CCCCCCCCCCC", 0.0), item("fits.mp4", "AAAAAAAAAAA", 0.0)];
    let options = PackOptions { fit: Fit::Letterbox, ..options() };
    // Before anything, while a clip is encoded, and before the package takes its place (2 plans, 2 rows, 51 frames).
    for patience in [0, 20, 55] {
        let out = tempfile::tempdir().unwrap();
        let observer = Impatient(AtomicUsize::new(patience));
        let failure = pack(&items, out.path(), &options, &FfmpegDecoder::default(), &observer).unwrap_err();
        assert!(matches!(failure, PackFailure::Other(Error::Interrupted)), "{patience}: {failure:?}");
        assert!(is_bare(out.path()), "{patience}");
    }
}

#[test]
fn items_read_from_json_as_they_are_documented() {
    let text = r#"{"clip": "a.mp4", "caption": "b", "source_video_url": "c", "clip_start_sec": 1}"#;
    let item: PackItem = serde_json::from_str(text).unwrap();
    assert_eq!((item.clip, item.clip_start_sec, item.file_start_sec), (PathBuf::from("a.mp4"), 1.0, 0.0));
    assert!(serde_json::from_str::<PackItem>(&text.replace("caption", "captoin")).is_err());
}
