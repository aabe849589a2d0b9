//! Manifests, datasets and folders that were made to hurt. Each must end in the miner's own failure.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use nexis_core::check::hard::duplicate_clip_ids;
use nexis_core::hash::Digest;
use nexis_core::package::{
    AssetSource, DirectorySource, ExpectedIdentity, ExpectedMiner, Manifest, Opened, Package, PackageRules,
    RowLimits, asset_key, read_rows, rows_from_bytes,
};
use nexis_core::protocol::IntervalId;
use nexis_core::spec::{DatasetSpec, VideoSpec};
use proptest::prelude::*;

const INTERVAL: IntervalId = IntervalId::new(7_756_900);

fn now() -> DateTime<Utc> {
    "2026-04-11T00:00:00Z".parse().unwrap()
}

fn fixture_path(name: &str) -> PathBuf {
    nexis_tests::fixture(format!("package/{name}.parquet"))
}

fn fixture(name: &str) -> Vec<u8> {
    let path = fixture_path(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn rows_failure(bytes: impl Into<Vec<u8>>) -> String {
    let bytes: Vec<u8> = bytes.into();
    rows_from_bytes(bytes.into(), &VideoSpec::default().row_rules(), &RowLimits::default()).unwrap_err()
}

fn manifest_text(dataset: &[u8]) -> String {
    format!(
        r#"{{"netuid": 70, "miner_hotkey": "5A", "interval_id": 7756900, "record_count": 5,
            "category": "nature_landscape_scenery", "dataset_sha256": "{}"}}"#,
        Digest::of(dataset)
    )
}

fn open(folder: &Path) -> Opened {
    let expected = ExpectedIdentity { miner: ExpectedMiner::Anyone, interval: INTERVAL };
    Package::open(Arc::new(DirectorySource::new(folder)), &expected, &PackageRules::default(), now()).unwrap()
}

/// Opens a package of these two files.
fn code_of(manifest: &[u8], dataset: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let interval = folder.path().join("7756900");
    std::fs::create_dir(&interval).unwrap();
    std::fs::write(interval.join("manifest.json"), manifest).unwrap();
    std::fs::write(interval.join("dataset.parquet"), dataset).unwrap();
    code(open(folder.path()))
}

fn code(opened: Opened) -> String {
    match opened {
        Opened::Package(package) => format!("accepted with {} rows", package.rows.len()),
        Opened::Rejected { violation, .. } => violation.code(),
    }
}

#[test]
fn the_harness_accepts_an_honest_package() {
    let dataset = fixture("plain");
    assert_eq!(code_of(manifest_text(&dataset).as_bytes(), &dataset), "accepted with 5 rows");
}

#[test]
fn manifests_that_are_none() {
    let dataset = fixture("plain");
    let deep = format!("{{\"x\": {}1{}}}", "[".repeat(200_000), "]".repeat(200_000));
    let truncated = &manifest_text(&dataset)[..80];
    for manifest in ["", "[]", "[{}]", "null", "1", "\"x\"", "{", "{}", "\u{feff}", &deep, truncated, "PAR1"]
    {
        let start: String = manifest.chars().take(20).collect();
        assert_eq!(code_of(manifest.as_bytes(), &dataset), "manifest_schema_invalid", "{start:?}");
    }
    assert_eq!(code_of(b"\xff\xfe{\0}\0", &dataset), "manifest_schema_invalid");
    assert_eq!(code_of(&[0; 4096], &dataset), "manifest_schema_invalid");
    // No UTF-8, where nobody reads it.
    let latin = [b"{\"x\": \"\xe4\", ".as_slice(), &manifest_text(&dataset).as_bytes()[1..]].concat();
    assert_eq!(code_of(&latin, &dataset), "manifest_schema_invalid");
}

#[test]
fn of_a_repeated_key_the_last_counts() {
    let dataset = fixture("plain");
    let manifest = manifest_text(&dataset).replacen('{', r#"{"netuid": "x", "record_count": 9, "#, 1);
    assert_eq!(code_of(manifest.as_bytes(), &dataset), "accepted with 5 rows");
}

#[test]
fn a_manifest_of_100_megabytes_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let interval = folder.path().join("7756900");
    std::fs::create_dir(&interval).unwrap();
    std::fs::write(interval.join("dataset.parquet"), fixture("plain")).unwrap();
    let mut file = File::create(interval.join("manifest.json")).unwrap();
    file.write_all(manifest_text(&fixture("plain")).as_bytes()).unwrap();
    file.seek(SeekFrom::Start(100 << 20)).unwrap();
    file.write_all(b" ").unwrap();
    let Opened::Rejected { violation, .. } = open(folder.path()) else { panic!("accepted") };
    assert_eq!(violation.code(), "manifest_schema_invalid");
    assert!(violation.detail.contains("larger than"), "{}", violation.detail);
    assert!(Manifest::parse(&vec![b' '; 2 << 20], now()).is_err());
}

#[test]
fn a_dataset_larger_than_the_limit_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let interval = folder.path().join("7756900");
    std::fs::create_dir(&interval).unwrap();
    std::fs::write(interval.join("manifest.json"), manifest_text(b"")).unwrap();
    File::create(interval.join("dataset.parquet")).unwrap().set_len(300 << 30).unwrap();
    assert_eq!(code(open(folder.path())), "dataset_schema_invalid");
}

#[test]
fn datasets_that_are_none() {
    let plain = fixture("plain");
    let magic_only = b"PAR1\xff\xff\xff\xffPAR1".to_vec();
    let huge_footer = b"PAR1\0\0\0\0\xff\xff\xff\x7fPAR1".to_vec();
    for (name, dataset) in [
        ("empty", Vec::new()),
        ("text", b"clip_id,clip_uri\nc1,clips/c1.mp4\n".to_vec()),
        ("half", plain[..plain.len() / 2].to_vec()),
        ("one byte short", plain[..plain.len() - 1].to_vec()),
        ("no head", plain[1..].to_vec()),
        ("zeroes", vec![0; 65536]),
        ("magic", b"PAR1".to_vec()),
        ("magic twice", b"PAR1PAR1".to_vec()),
        ("magic only", magic_only),
        ("huge footer", huge_footer),
        ("manifest", manifest_text(b"").into_bytes()),
    ] {
        assert_eq!(code_of(manifest_text(&dataset).as_bytes(), &dataset), "dataset_schema_invalid", "{name}");
    }
}

#[test]
fn row_counts_that_lie() {
    for (name, reason) in [
        ("hostile_billion_rows", "1000000000 rows, more than 100000"),
        ("hostile_negative_rows", "negative"),
        // The Parquet library finds it, in words of its own.
        ("hostile_more_rows_than_there", ""),
        ("hostile_fewer_rows", "more values than rows"),
    ] {
        let why = rows_failure(fixture(name));
        assert!(why.contains(reason), "{name}: {why}");
    }
}

#[test]
fn bombs_are_not_unpacked() {
    for (name, reason) in [
        ("hostile_dictionary_bomb", "bytes of text"),
        ("hostile_decompression_bomb", "grow beyond the limit"),
        ("hostile_gzip", "does not have the size that it declares"),
    ] {
        let bytes = fixture(name);
        assert!(bytes.len() < 64 << 10, "{name} is no bomb with {} bytes", bytes.len());
        let why = rows_failure(bytes);
        assert!(why.contains(reason), "{name}: {why}");
    }
}

#[test]
fn a_list_bomb_in_a_proof_is_left_out() {
    let bytes = fixture("hostile_list_bomb");
    let rows =
        rows_from_bytes(bytes.into(), &VideoSpec::default().row_rules(), &RowLimits::default()).unwrap();
    assert_eq!(rows.len(), 5);
    assert!(rows.iter().all(|row| row.source_proof.is_empty()));
}

#[test]
fn a_list_bomb_for_a_proof_is_no_proof() {
    let bytes = fixture("hostile_list_column");
    let why = rows_from_bytes(bytes.into(), &VideoSpec::default().row_rules(), &RowLimits::default());
    assert_eq!(why.unwrap_err(), "source_proof: a list");
}

/// A footer whose schema is so many groups, each in the last; a recursive reader would overflow its stack.
fn tower(depth: u32) -> Vec<u8> {
    let varint = |mut n: u32| {
        let mut out = Vec::new();
        while n > 0x7f {
            out.push((n & 0x7f) as u8 | 0x80);
            n >>= 7;
        }
        out.push(n as u8);
        out
    };
    let group = b"\x35\x00\x18\x01g\x15\x02\x00";
    let mut footer = b"\x15\x02\x19\xfc".to_vec();
    footer.extend(varint(depth + 2));
    footer.extend(b"\x48\x01r\x15\x02\x00");
    footer.extend(group.repeat(depth as usize));
    footer.extend(b"\x15\x02\x25\x00\x18\x01x\x00");
    footer.extend(b"\x16\x00\x19\x0c\x00");
    let mut file = b"PAR1".to_vec();
    file.extend(&footer);
    file.extend(u32::try_from(footer.len()).unwrap().to_le_bytes());
    file.extend(b"PAR1");
    file
}

#[test]
fn a_schema_is_no_tower() {
    // A low one passes the guard and fails for its missing columns... of which an empty file shows none.
    let rules = VideoSpec::default().row_rules();
    assert_eq!(rows_from_bytes(tower(3).into(), &rules, &RowLimits::default()), Ok(Vec::new()));
    for depth in [100, 1000, 100_000] {
        let why = rows_failure(tower(depth));
        assert!(why.contains("too deep"), "{depth}: {why}");
    }
}

#[cfg(unix)]
#[test]
fn links_are_not_followed() {
    use std::os::unix::fs::symlink;
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let interval = folder.path().join("7756900");
    std::fs::create_dir_all(interval.join("clips")).unwrap();
    std::fs::write(interval.join("clips/real.mp4"), "x").unwrap();
    symlink(outside.path().join("secret"), interval.join("clips/link.mp4")).unwrap();
    symlink(interval.join("clips/real.mp4"), interval.join("clips/inner.mp4")).unwrap();
    symlink(outside.path(), interval.join("out")).unwrap();
    symlink(interval.join("clips"), interval.join("frames")).unwrap();
    symlink("/dev/zero", interval.join("clips/zero.mp4")).unwrap();
    let source = DirectorySource::new(folder.path());
    assert!(source.get("7756900/clips/real.mp4").unwrap().is_some());
    for key in ["clips/link.mp4", "clips/inner.mp4", "out/secret", "frames/real.mp4", "clips/zero.mp4"] {
        assert_eq!(source.get(&format!("7756900/{key}")).unwrap(), None, "{key}");
    }
    symlink(fixture_path("plain"), interval.join("dataset.parquet")).unwrap();
    std::fs::write(interval.join("manifest.json"), manifest_text(&fixture("plain"))).unwrap();
    assert_eq!(code(open(folder.path())), "missing_submission_files");
}

#[test]
fn one_name_in_two_normal_forms_is_refused_in_one() {
    let composed = asset_key(INTERVAL, "clips/caf\u{e9}.mp4");
    assert_eq!(composed.as_deref(), Ok("7756900/clips/caf\u{e9}.mp4"));
    assert_eq!(
        asset_key(INTERVAL, "clips/cafe\u{301}.mp4").unwrap_err().code(),
        "invalid_asset_uri:clips/cafe\u{301}.mp4"
    );
}

#[test]
fn duplicate_clip_ids_are_named_once() {
    let mut rows =
        read_rows(&fixture_path("plain"), &VideoSpec::default().row_rules(), &RowLimits::default()).unwrap();
    assert_eq!(duplicate_clip_ids(&rows), Vec::new());
    for (row, id) in rows.iter_mut().zip(["a", "b", "a", "a", "b"]) {
        row.clip_id = id.to_owned();
    }
    let codes: Vec<String> = duplicate_clip_ids(&rows).iter().map(|v| v.code()).collect();
    assert_eq!(codes, ["duplicate_clip_id:a", "duplicate_clip_id:b"]);
}

proptest! {
    #[test]
    fn bytes_changed_anywhere_never_panic(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), name in prop::sample::select(vec!["plain", "proof_nested", "codec_gzip", "page_v2", "delta"])) {
        let mut bytes = fixture(name);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = rows_from_bytes(bytes.into(), &VideoSpec::default().row_rules(), &RowLimits::default());
    }

    #[test]
    fn footers_changed_anywhere_never_panic(changes in proptest::collection::vec((0_usize..3000, any::<u8>()), 1..4)) {
        let mut bytes = fixture("plain");
        for (back, value) in changes {
            let at = bytes.len() - 9 - back.min(bytes.len() - 9);
            bytes[at] = value;
        }
        let _ = rows_from_bytes(bytes.into(), &VideoSpec::default().row_rules(), &RowLimits::default());
    }

    #[test]
    fn texts_are_no_manifests(text in "\\PC{0,200}") {
        prop_assert!(Manifest::parse(text.as_bytes(), now()).is_err());
    }
}
