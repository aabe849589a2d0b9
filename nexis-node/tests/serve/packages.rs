//! Packages, by path and as archives.

use nexis_core::check::Policy;
use nexis_core::package::discover;
use nexis_core::verifier::{Submission, Unobserved, Verifier, VerifierOptions};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::world::{ALICE, INTERVAL, Running, form, judge, made};

/// A report without what varies by run.
fn timeless(mut report: Value) -> Value {
    for submission in report["submissions"].as_array_mut().unwrap() {
        submission.as_object_mut().unwrap().remove("checked_at").unwrap();
        for row in submission["rows"].as_array_mut().unwrap() {
            row.as_object_mut().unwrap().remove("timings_ms").unwrap();
        }
    }
    report
}

/// What `nexis verify` gives of the same folder.
fn expected(all_rows: bool, policy: Policy) -> Value {
    let found = discover(made().root.path(), None, None).unwrap();
    let submissions: Vec<Submission> = found.into_iter().map(Submission::from).collect();
    let options = VerifierOptions { all_rows, policy, ..VerifierOptions::default() };
    let now = "2026-04-10T13:00:00Z".parse().unwrap();
    let report = Verifier::new(judge().clone(), options).verify(&submissions, now, &Unobserved).unwrap();
    timeless(serde_json::to_value(report).unwrap())
}

fn tar_of_bucket() -> Vec<u8> {
    let bucket = made().root.path().join(ALICE.to_lowercase());
    let mut builder = Builder::new(Vec::new());
    builder.append_dir_all(ALICE.to_lowercase(), bucket).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn a_bucket_is_verified_by_path_and_as_an_archive() {
    let evidence = tempfile::tempdir().unwrap();
    let server = Running::start(|options| {
        options.roots = vec![made().root.path().to_path_buf()];
        options.evidence = Some(evidence.path().to_path_buf());
    });
    let by_path = server.post("/v1/verify", &json!({ "path": "." })).ok().json();
    assert_eq!(timeless(by_path.clone()), expected(false, Policy::Network));
    assert_eq!(by_path["submissions"][0]["verdict"], "accept");
    let strict = server
        .post("/v1/verify", &json!({ "path": ALICE.to_lowercase(), "all_rows": true, "policy": "strict", "interval": INTERVAL }))
        .ok()
        .json();
    assert_eq!(timeless(strict), expected(true, Policy::Strict));

    let (kind, body) = form(&[("all_rows", "false")], "archive", &tar_of_bucket());
    let archived = server.send("POST", "/v1/verify", &[("content-type", &kind)], &body).ok().json();
    assert_eq!(timeless(archived), expected(false, Policy::Network));

    // Rows and the submission have their evidence, in memory and in the folder.
    let row = by_path["submissions"][0]["rows"][0]["evidence"].as_str().unwrap();
    let record = server.get(&format!("/v1/evidence/{row}")).ok().json();
    assert_eq!(record["package"]["miner_hotkey"], ALICE);
    assert!(evidence.path().join(format!("{row}.json")).is_file());
    let list = server.get(&format!("/v1/verdicts?kind=verify&text={}", ALICE.to_lowercase())).ok().json();
    assert_eq!(list["verdicts"].as_array().unwrap().len(), 3);
    assert_eq!(list["verdicts"][0]["interval_id"], INTERVAL);
    let id = list["verdicts"][2]["id"].as_str().unwrap();
    let submission = server.get(&format!("/v1/evidence/{id}")).ok().json();
    assert_eq!(submission["verdict"], "accept");
}

#[test]
fn hostile_archives_are_refused_and_leave_nothing() {
    let server = Running::start(|options| options.limits.upload_bytes = 4 << 20);
    let temp = std::env::temp_dir();
    let left = || {
        let names = std::fs::read_dir(&temp).unwrap().filter_map(|e| e.ok()?.file_name().into_string().ok());
        names.filter(|name| name.starts_with("nexis-package-")).count()
    };
    let before = left();
    let entry = |kind: EntryType, name: &[u8], content: &[u8]| {
        let mut builder = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_cksum();
        builder.append(&header, content).unwrap();
        builder.into_inner().unwrap()
    };
    let gzip = b"\x1f\x8b\x08\x00 compressed".to_vec();
    for (archive, status) in [
        (entry(EntryType::Regular, b"../100/manifest.json", b"{}"), 400),
        (entry(EntryType::Regular, b"/etc/evil", b"{}"), 400),
        (entry(EntryType::Symlink, b"100", b""), 400),
        (entry(EntryType::Link, b"100", b""), 400),
        (entry(EntryType::Fifo, b"100", b""), 400),
        (entry(EntryType::Regular, b"readme.txt", b"no package"), 400),
        (gzip, 400),
        (Vec::new(), 400),
        (entry(EntryType::Regular, b"100/manifest.json", &vec![b' '; 5 << 20]), 413),
    ] {
        let (kind, body) = form(&[], "archive", &archive);
        let reply = server.send("POST", "/v1/verify", &[("content-type", &kind)], &body);
        assert_eq!(reply.status, status, "{}", reply.text());
        assert!(!reply.text().contains("nexis-package-"), "{}", reply.text());
    }
    // What is a package and not a good one is the miner's fault.
    let (kind, body) = form(&[], "archive", &entry(EntryType::Regular, b"100/manifest.json", b"{}"));
    let report = server.send("POST", "/v1/verify", &[("content-type", &kind)], &body).ok().json();
    assert_eq!(report["submissions"][0]["verdict"], "reject");
    assert!(left() <= before, "an unpacked archive was left");
}

#[test]
fn what_makes_no_sense_is_refused_in_words() {
    let server = Running::shared();
    for (body, says) in [
        (json!({}), "missing field `path`"),
        (json!({ "path": ".", "mood": 1 }), "mood: there is no such field"),
        (json!({ "path": ".", "policy": "lax" }), "policy: network or strict"),
        (json!({ "path": ".", "interval": -1 }), "body: invalid value"),
        (json!({ "path": ".", "interval": 1.5 }), "body: invalid"),
        (json!({ "path": ".", "hotkey": "" }), "hotkey: an address"),
        (json!({ "path": ".", "validator_hotkey": "5Grwva" }), "validator_hotkey: an address"),
        (json!({ "path": ".", "interval": 6950 }), "interval: 6950: an interval is named by its first block"),
        (json!({ "path": ".", "interval": 9_007_199_254_740_992_u64 }), "interval: at most"),
    ] {
        let error = server.post("/v1/verify", &body).error();
        assert!(error.starts_with("400: ") && error.contains(says), "{says}: {error}");
    }
    let (kind, body) = form(&[("interval", "x")], "archive", b"");
    let reply = server.send("POST", "/v1/verify", &[("content-type", &kind)], &body);
    assert!(reply.error().contains("interval: a number"), "{}", reply.error());
}
