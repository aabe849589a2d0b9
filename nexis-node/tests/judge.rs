//! The command with a judge behind its model: a small random one, whose answers mean nothing and decide all the same.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn judge(name: &str) -> String {
    repository().join("tests/fixtures/judges").join(name).to_str().unwrap().to_owned()
}

fn nexis(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nexis"))
        .args(arguments)
        .env("NEXIS_MODELS", repository().join("models"))
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The demonstration model with a card that leaves everything to a judge.
fn doubtful(folder: &Path) -> String {
    let model = folder.join("doubtful");
    fs::create_dir(&model).unwrap();
    for entry in fs::read_dir(repository().join("models/demo")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, model.join(path.file_name().unwrap())).unwrap();
        }
    }
    let card = model.join("card.toml");
    let said = fs::read_to_string(&card).unwrap();
    let left = said
        .replacen("[alignment]\n", "[alignment]\ndoubt = { from = 0.0, below = 1.0 }\n", 1)
        .replacen("[category]\n", "[category]\ndoubt = 0.9\n", 1);
    assert_eq!(left.matches("doubt =").count(), 2);
    fs::write(&card, left).unwrap();
    model.to_str().unwrap().to_owned()
}

#[test]
fn verify_and_replay_name_what_decided() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("packages");
    let made =
        nexis(&["synth", "package", "--out", out.to_str().unwrap(), "--seed", "610002", "--rows", "2"]);
    let package = text(&made.stdout).trim().to_owned();
    assert!(made.status.success(), "{}", text(&made.stderr));
    let (model, tied) = (doubtful(folder.path()), judge("qwen3_vl_tied_bf16"));
    let evidence = folder.path().join("evidence");

    let verify =
        |more: &[&str]| nexis(&[&["verify", &package, "--model", &model, "--judge", &tied], more].concat());
    let found = verify(&["--json", "--evidence", evidence.to_str().unwrap()]);
    let report: Value =
        serde_json::from_slice(&found.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&found.stderr)));
    let used = &report["environment"]["judge"];
    assert_eq!((used["budget"].as_u64(), used["threshold"].as_f64()), (Some(35), Some(0.5)));
    assert_eq!(used["identity"]["model"]["architecture"], "qwen3-vl");
    let rows = report["submissions"][0]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for row in rows {
        let cascade = &row["alignment"]["cascade"];
        assert_eq!(cascade["decided_by"], "judge");
        assert_eq!(row["alignment"]["verdict"] == "accept", cascade["yes"].as_f64().unwrap() >= 0.5);
    }
    let spent = verify(&["--json", "--judge-budget", "0"]);
    let spent: Value = serde_json::from_slice(&spent.stdout).unwrap();
    assert_eq!(spent["submissions"][0]["rows"][0]["alignment"]["cascade"]["decided_by"], "budget-spent");
    let page = folder.path().join("report.html");
    let said = verify(&["--html", page.to_str().unwrap()]);
    for said in [text(&said.stdout), fs::read_to_string(&page).unwrap()] {
        // On a terminal the line is broken.
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains("qwen3_vl_tied_bf16 (qwen3-vl, f32; 35 calls per interval)"), "{said}");
    }
    assert!(fs::read_to_string(&page).unwrap().contains("the judge says yes with"));

    let record = fs::read_dir(&evidence).unwrap().next().unwrap().unwrap().path();
    let replay = |more: &[&str]| {
        nexis(&[&["replay", record.to_str().unwrap(), &package, "--model", &model], more].concat())
    };
    let again = replay(&["--judge", &tied]);
    assert_eq!(again.status.code(), Some(0), "{}{}", text(&again.stdout), text(&again.stderr));
    // Without --judge the recorded id is looked for; this one is a folder that no registry knows.
    let missing = replay(&[]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(text(&missing.stderr).contains("qwen3_vl_tied_bf16"), "{}", text(&missing.stderr));
    let other = replay(&["--judge", &judge("qwen3_vl_sharded_f16")]);
    assert_eq!(other.status.code(), Some(1));
    assert!(text(&other.stdout).contains("environment.judge.identity.model.id"), "{}", text(&other.stdout));
}

#[test]
fn score_asks_the_judge_and_wrong_uses_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("frame.png");
    let grey = image::RgbImage::from_pixel(320, 180, image::Rgb([90, 120, 90]));
    grey.save(&picture).unwrap();
    let (model, tied) = (doubtful(folder.path()), judge("qwen3_vl_tied_bf16"));
    let score = |more: &[&str]| {
        let always = ["score", "--frame", picture.to_str().unwrap(), "--caption", "A grey wall."];
        nexis(&[&always, more].concat())
    };
    let found = score(&["--model", &model, "--judge", &tied, "--json"]);
    let report: Value =
        serde_json::from_slice(&found.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&found.stderr)));
    assert_eq!(report["alignment"]["cascade"]["decided_by"], "judge");
    assert_eq!(report["category"]["cascade"]["decided_by"], "encoder", "one frame has no category");

    for (arguments, says) in [
        (["--judge", "demo"].as_slice(), "is an encoder"),
        (&["--model", &tied], "answers questions"),
        (&["--judge-budget", "3"], "--judge"),
    ] {
        let refused = score(arguments);
        assert_eq!(refused.status.code(), Some(64), "{arguments:?}");
        assert!(text(&refused.stderr).contains(says), "{arguments:?}: {}", text(&refused.stderr));
    }
    let unfetched = score(&["--judge", "Qwen/Qwen3-VL-2B-Instruct"]);
    assert_eq!(unfetched.status.code(), Some(2));
    assert!(text(&unfetched.stderr).contains("nexis models fetch Qwen/Qwen3-VL-2B-Instruct"));
}
