//! Packages and datasets as pyarrow writes them (`tests/fixtures/package/make_fixtures.py`).

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use nexis_core::hash::Digest;
use nexis_core::package::{
    AssetSource, ClipRecord, DirectorySource, ExpectedIdentity, ExpectedMiner, Opened, Package, PackageRules,
    RowLimits, RowRules, RowsFailure, read_rows, rows_from_bytes, rows_to_bytes, write_rows,
};
use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_core::spec::{DatasetSpec, SpecRegistry, VideoSpec};
use serde_json::{Value, json};

const HOTKEY: &str = "5YjBQN2gFHFger1DeShFK8ZnYeE4EWBFjGyBSBdckDE1fHpz";
const INTERVAL: IntervalId = IntervalId::new(7_756_900);

fn fixture(name: &str) -> PathBuf {
    nexis_tests::fixture(format!("package/{name}.parquet"))
}

fn rules() -> RowRules {
    VideoSpec::default().row_rules()
}

fn rows(name: &str) -> Vec<ClipRecord> {
    read_rows(&fixture(name), &rules(), &RowLimits::default()).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn failure(name: &str) -> String {
    match read_rows(&fixture(name), &rules(), &RowLimits::default()) {
        Err(RowsFailure::Invalid(why)) => why,
        other => panic!("{name}: {other:?}"),
    }
}

/// The rows that the generator wrote, its proof apart.
fn expected(i: usize) -> Value {
    json!({
        "clip_id": format!("c{i}"), "clip_uri": format!("clips/c{i}.mp4"), "clip_sha256": format!("{i:064x}"),
        "first_frame_uri": format!("frames/c{i}.jpg"), "first_frame_sha256": format!("{:064x}", i + 100),
        "source_video_id": format!("video{}", i % 2), "split_group_id": format!("video{}:1", i % 2),
        "split": "train", "clip_start_sec": 5.5 * i as f64, "duration_sec": 5.0, "width": 1280, "height": 720,
        "fps": 30.0, "num_frames": 150, "has_audio": i.is_multiple_of(2),
        "caption": format!("A calm lake, number {i}, with trees — déjà vu."),
        "source_video_url": format!("https://www.youtube.com/watch?v=video{}", i % 2),
        "source_proof": {"extractor": "yt-dlp", "views": 7 * i, "live": null},
    })
}

fn assert_rows(name: &str, proof: impl Fn(usize) -> Value) {
    let rows = rows(name);
    assert_eq!(rows.len(), 5, "{name}");
    for (i, row) in rows.iter().enumerate() {
        let mut expected = expected(i);
        expected["source_proof"] = proof(i);
        assert_eq!(serde_json::to_value(row).unwrap(), expected, "{name}, row {i}");
    }
}

#[test]
fn every_encoding_reads_the_same() {
    for name in [
        "plain",
        "codec_none",
        "codec_gzip",
        "codec_brotli",
        "codec_zstd",
        "codec_lz4",
        "page_v2",
        "no_dictionary",
        "delta",
        "row_groups",
        "large_utf8",
        "narrow_numbers",
        "dictionary_type",
        "binary_texts",
        "float_integers",
        "text_numbers",
        "text_booleans",
        "integer_booleans",
        "decimal_start",
        "extra_columns",
    ] {
        assert_rows(name, |i| expected(i)["source_proof"].clone());
    }
}

#[test]
fn proofs_come_in_many_shapes() {
    assert_rows("no_proof_column", |_| json!({}));
    // A time and a NaN have no form of their own in JSON.
    assert_rows(
        "proof_nested",
        |i| json!({"extractor": "yt-dlp", "formats": [{"id": "22", "size": i}], "at": [], "deep": {"a": {"b": [1.5, []]}}}),
    );
}

#[test]
fn an_infinite_number_is_the_largest() {
    let fps: Vec<f64> = rows("infinite_fps").iter().map(|row| row.fps).collect();
    assert_eq!(fps, [30.0, f64::MAX, 30.0, 30.0, 30.0]);
}

#[test]
fn an_empty_dataset_has_no_rows() {
    assert_eq!(rows("empty"), Vec::new());
}

#[test]
fn what_does_not_hold_is_named() {
    for (name, named) in [
        ("missing_caption", "row 0: caption"),
        ("null_caption", "row 1: caption"),
        ("null_fps", "row 1: fps"),
        ("null_proof", "row 1: source_proof"),
        ("all_null_split", "row 0: split"),
        ("text_proof", "row 0: source_proof"),
        ("list_proof", "row 0: source_proof"),
        ("proof_map", "row 0: source_proof"),
        ("integer_keys_proof", "row 0: source_proof"),
        ("timestamp_start", "row 0: clip_start_sec"),
        ("nan_start", "row 1: clip_start_sec"),
        ("broken_utf8", "row 1: caption"),
        ("integer_captions", "row 0: caption"),
        ("two_captions", "two columns named caption"),
    ] {
        let why = failure(name);
        assert!(why.starts_with(named), "{name}: {why}");
    }
}

#[test]
fn limits_are_kept() {
    let read = |limits: RowLimits| match read_rows(&fixture("plain"), &rules(), &limits) {
        Ok(rows) => Ok(rows.len()),
        Err(RowsFailure::Invalid(why)) => Err(why),
        Err(other) => panic!("{other}"),
    };
    let all = RowLimits::default();
    assert_eq!(read(RowLimits { max_rows: 5, ..all }), Ok(5));
    assert!(read(RowLimits { max_rows: 4, ..all }).unwrap_err().contains("5 rows, more than 4"));
    assert!(read(RowLimits { max_file_bytes: 100, ..all }).unwrap_err().contains("larger than 100"));
    assert!(
        read(RowLimits { max_uncompressed_bytes: 500, ..all }).unwrap_err().contains("grow beyond the limit")
    );
    assert!(read(RowLimits { max_text_bytes: 500, ..all }).unwrap_err().contains("bytes of text"));
}

#[test]
fn a_file_that_is_not_there_is_our_trouble() {
    let result = read_rows(&fixture("no such file"), &rules(), &RowLimits::default());
    assert!(matches!(result, Err(RowsFailure::Ours(_))), "{result:?}");
}

#[test]
fn rows_survive_writing() {
    let read_back = |rows: &[ClipRecord]| {
        rows_from_bytes(rows_to_bytes(rows).unwrap().into(), &rules(), &RowLimits::default()).unwrap()
    };
    let mut written = rows("plain");
    // Numbers of a proof are written as text; a field of another row reads back as null.
    for (i, row) in written.iter_mut().enumerate() {
        row.source_proof =
            [("extractor".to_owned(), json!("yt-dlp")), ("views".to_owned(), json!(i.to_string()))].into();
    }
    assert_eq!(read_back(&written), written);
    for row in &mut written {
        row.source_proof.clear();
    }
    assert_eq!(read_back(&written), written);
    assert_eq!(read_back(&[]), Vec::new());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dataset.parquet");
    write_rows(&path, &written).unwrap();
    assert_eq!(read_rows(&path, &rules(), &RowLimits::default()).unwrap(), written);
}

/// An interval folder with the rows of a fixture.
struct Bucket {
    folder: tempfile::TempDir,
    manifest: Value,
}

impl Bucket {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dataset = std::fs::read(fixture("plain")).unwrap();
        let manifest = json!({
            "protocol_version": "1.0.0", "schema_version": "1.0.0", "spec_id": "video_v1", "dataset_type": "video_v1",
            "category": "nature_landscape_scenery", "netuid": 70, "miner_hotkey": HOTKEY,
            "interval_id": INTERVAL.get(), "created_at": "2026-04-10T12:00:00+02:00", "record_count": 5,
            "dataset_sha256": Digest::of(&dataset).to_string(),
        });
        std::fs::create_dir(folder.path().join("7756900")).unwrap();
        std::fs::write(folder.path().join("7756900/dataset.parquet"), dataset).unwrap();
        Self { folder, manifest }
    }

    fn with(mut self, field: &str, value: Value) -> Self {
        self.manifest[field] = value;
        self
    }

    fn open_with(&self, miner: ExpectedMiner, rules: &PackageRules) -> Opened {
        let text = serde_json::to_string_pretty(&self.manifest).unwrap();
        std::fs::write(self.folder.path().join("7756900/manifest.json"), text).unwrap();
        let source = Arc::new(DirectorySource::new(self.folder.path()));
        let expected = ExpectedIdentity { miner, interval: INTERVAL };
        let now: DateTime<Utc> = "2026-04-11T00:00:00Z".parse().unwrap();
        Package::open(source, &expected, rules, now).unwrap()
    }

    fn code(&self) -> String {
        code(self.open_with(ExpectedMiner::Hotkey(Hotkey::new(HOTKEY)), &PackageRules::default()))
    }
}

fn code(opened: Opened) -> String {
    match opened {
        Opened::Package(_) => "accepted".to_owned(),
        Opened::Rejected { violation, .. } => violation.code(),
    }
}

#[test]
fn an_honest_package_opens() {
    let bucket = Bucket::new();
    let Opened::Package(package) =
        bucket.open_with(ExpectedMiner::Hotkey(Hotkey::new(HOTKEY)), &PackageRules::default())
    else {
        panic!("rejected")
    };
    assert_eq!(package.rows.len(), 5);
    assert_eq!(package.dataset_digest.to_string(), package.manifest.dataset_sha256);
    let manifest = std::fs::read(bucket.folder.path().join("7756900/manifest.json")).unwrap();
    assert_eq!(package.manifest_digest, Digest::of(&manifest));
    assert_eq!(package.manifest_last_modified, None);
    assert_eq!(package.made_at(), "2026-04-10T10:00:00Z".parse::<DateTime<Utc>>().unwrap());
    let written: Value = serde_json::from_str(&package.manifest.to_json()).unwrap();
    assert_eq!(written, bucket.manifest);
    let left: Vec<String> = package.with_rows(&[3, 1]).rows.iter().map(|r| r.clip_id.clone()).collect();
    assert_eq!(left, ["c3", "c1"]);
}

#[test]
fn the_bucket_name_identifies_the_miner() {
    let rules = PackageRules::default();
    let open = |miner| code(Bucket::new().open_with(miner, &rules));
    assert_eq!(open(ExpectedMiner::Anyone), "accepted");
    assert_eq!(open(ExpectedMiner::from_folder_name(&HOTKEY.to_lowercase())), "accepted");
    assert_eq!(open(ExpectedMiner::Hotkey(Hotkey::new(HOTKEY.to_lowercase()))), "manifest_identity_mismatch");
    assert_eq!(open(ExpectedMiner::Bucket("5other".to_owned())), "manifest_identity_mismatch");
}

#[test]
fn phases_one_to_three_have_their_codes() {
    for (field, value, expected) in [
        ("netuid", json!(-1), "manifest_schema_invalid"),
        ("miner_hotkey", json!("5Other"), "manifest_identity_mismatch"),
        ("interval_id", json!(7_757_000), "manifest_identity_mismatch"),
        ("spec_id", json!("image_v9"), "unknown_spec:image_v9"),
        ("spec_id", json!(null), "unknown_spec:None"),
        (
            "protocol_version",
            json!("2.0.0"),
            "incompatible_spec_version:video_v1:protocol=2.0.0:schema=1.0.0",
        ),
        ("schema_version", json!("1.1.0"), "incompatible_spec_version:video_v1:protocol=1.0.0:schema=1.1.0"),
        ("category", json!(" "), "missing_category_metadata"),
        ("category", json!("city"), "unsupported_category:city"),
        ("dataset_sha256", json!("0".repeat(64)), "dataset_sha256_mismatch"),
        ("record_count", json!(6), "manifest_record_count_mismatch"),
        ("record_count", json!("5.0"), "accepted"),
    ] {
        assert_eq!(Bucket::new().with(field, value.clone()).code(), expected, "{field} = {value}");
    }
}

#[test]
fn the_earlier_phase_speaks_first() {
    let bucket = Bucket::new()
        .with("category", json!(null))
        .with("spec_id", json!("x"))
        .with("record_count", json!(9));
    assert_eq!(bucket.code(), "unknown_spec:x");
    let bucket = Bucket::new().with("category", json!(null)).with("record_count", json!(9));
    assert_eq!(bucket.code(), "missing_category_metadata");
    let bucket = Bucket::new().with("dataset_sha256", json!("0".repeat(64))).with("record_count", json!(9));
    assert_eq!(bucket.code(), "dataset_sha256_mismatch");
}

#[test]
fn a_missing_file_is_a_missing_submission() {
    let bucket = Bucket::new();
    std::fs::remove_file(bucket.folder.path().join("7756900/dataset.parquet")).unwrap();
    assert_eq!(bucket.code(), "missing_submission_files");
}

#[test]
fn other_specs_and_categories_are_settings() {
    let mut registry = SpecRegistry::default();
    registry.insert(Arc::new(VideoSpec {
        protocol_version: "2.0.0".into(),
        width: 1920,
        height: 1080,
        ..VideoSpec::default()
    }));
    let rules = PackageRules { registry, category: Some("city".into()), ..PackageRules::default() };
    let bucket = Bucket::new().with("protocol_version", json!("2.0.0")).with("category", json!("city"));
    let Opened::Package(package) = bucket.open_with(ExpectedMiner::Anyone, &rules) else {
        panic!("rejected")
    };
    assert_eq!(package.spec.frame_size(), (1920, 1080));
    let rules = PackageRules { enabled_specs: Some(BTreeSet::new()), ..PackageRules::default() };
    assert_eq!(code(Bucket::new().open_with(ExpectedMiner::Anyone, &rules)), "spec_not_enabled:video_v1");
}

#[test]
fn a_directory_gives_regular_files_only() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("1/clips")).unwrap();
    std::fs::write(folder.path().join("1/clips/a.mp4"), "abc").unwrap();
    let source = DirectorySource::new(folder.path());
    let asset = source.get("1/clips/a.mp4").unwrap().unwrap();
    assert_eq!((asset.len, std::fs::read(asset.path).unwrap()), (3, b"abc".to_vec()));
    for key in [
        "1/clips",
        "1/clips/b.mp4",
        "1/clips/A.mp4",
        "1/clips/a.mp4/x",
        "",
        "/",
        "1/../1/clips/a.mp4",
        "a\0b",
    ] {
        assert_eq!(source.get(key).unwrap(), None, "{key:?}");
    }
    assert_eq!(source.get(&format!("1/{}", "a".repeat(5000))).unwrap(), None);
}
