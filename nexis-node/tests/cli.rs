//! The command as a user calls it: output, exit status, messages.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod program;

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::OnceLock;

use program::{command, json, nexis, repository, text};
use serde_json::Value;

fn models() -> PathBuf {
    repository().join("models")
}

fn status(output: &Output) -> i32 {
    output.status.code().unwrap()
}

struct Made {
    _folder: tempfile::TempDir,
    root: PathBuf,
    honest: String,
    cheat: String,
}

/// An honest package and one with the captions of other clips, side by side in one folder of buckets.
fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_path_buf();
        let out = root.to_str().unwrap().to_owned();
        let package = |more: &[&str]| {
            let made = nexis(&[&["synth", "package", "--out", &out], more].concat());
            assert_eq!(status(&made), 0, "{}", text(&made.stderr));
            text(&made.stdout).trim().to_owned()
        };
        let honest = package(&["--seed", "610002", "--rows", "2"]);
        let bob = "5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty";
        let cheat = package(&[
            "--seed",
            "610010",
            "--rows",
            "2",
            "--hotkey",
            bob,
            "--attack",
            "caption_semantic_mismatch",
        ]);
        Made { _folder: folder, root, honest, cheat }
    })
}

/// JSON without what varies by run.
fn timeless(output: &Output) -> Value {
    let mut value = json(output);
    for submission in value["submissions"].as_array_mut().unwrap() {
        submission.as_object_mut().unwrap().remove("checked_at").unwrap();
        for row in submission["rows"].as_array_mut().unwrap() {
            row.as_object_mut().unwrap().remove("timings_ms").unwrap();
        }
    }
    value
}

#[test]
fn verdicts_are_exit_codes() {
    let made = made();
    let accepted = nexis(&["verify", &made.honest]);
    assert_eq!(status(&accepted), 0, "{}", text(&accepted.stdout));
    let rejected = nexis(&["verify", &made.cheat]);
    assert_eq!(status(&rejected), 1, "{}", text(&rejected.stdout));
    assert!(text(&rejected.stdout).contains("caption_semantic_mismatch:"));
    let both = nexis(&["verify", made.root.to_str().unwrap(), "--quiet"]);
    assert_eq!(status(&both), 1);
    assert_eq!(text(&both.stderr), "");
}

#[test]
fn json_has_the_promised_fields_and_does_not_depend_on_threads_or_batch() {
    let root = made().root.to_str().unwrap();
    let one = nexis(&["verify", root, "--json", "--threads", "1", "--batch", "1"]);
    assert_eq!(text(&one.stderr), "");
    let two = nexis(&["verify", root, "--json", "--threads", "2", "--batch", "16"]);
    assert_eq!(timeless(&one), timeless(&two));

    let report = json(&one);
    assert!(report["environment"]["model"]["digests"]["model.safetensors"].is_string());
    assert!(report["environment"]["notice"].as_str().unwrap().contains("demonstration"));
    let submission = &report["submissions"][0];
    for field in [
        "miner_hotkey",
        "interval_id",
        "verdict",
        "accepted",
        "failures",
        "record_count",
        "sampled_rows",
        "sampled_clip_ids",
        "passed_sample_count",
        "score",
        "rows",
    ] {
        assert!(submission.get(field).is_some(), "{field}");
    }
    let row = &submission["rows"][0];
    for field in ["probability", "threshold", "verdict"] {
        assert!(row["alignment"].get(field).is_some(), "{field}");
    }
    assert_eq!(row["category"]["frames"].as_array().unwrap().len(), 3);
    assert!(row["category"]["decision"].is_string() && row["timings_ms"].is_object());
}

#[test]
fn wrong_calls_are_told_what_would_be_right() {
    let calls: [(&[&str], &str); 23] = [
        (&["verify", ".", "--hotkey", "5Grwva"], "--hotkey \"5Grwva\""),
        (&["verify", ".", "--validator-hotkey", ""], "SS58"),
        (&["verify", ".", "--html", "."], "it is a folder"),
        (&["verify", ".", "--html", "no/such/folder.html"], "folder is not there"),
        (&["verify", ".", "--record-info", "missing.json"], "no such file"),
        (&["verify", ".", "--record-info", "."], "it is a folder"),
        (&["verify", ".", "--interval", "6950"], "this one is in 6900, and the next is 7000"),
        (&["verify", ".", "--model", ""], "model \"\": this names no model; give a directory"),
        (&["miner", "pack", "missing.json", "--interval", "100"], "missing.json: there is no such file"),
        (&["miner", "upload", "missing", "--interval", "100"], "missing: there is no such folder"),
        (&["miner", "upload", ".", "--interval", "99"], "this one is in 0, and the next is 100"),
        (&["replay", "missing.json", "."], "no such file"),
        (&["score", ".", "--caption", "a hill"], "no plain file"),
        (&["miner", "pack", "items.json", "--interval", "100", "--hotkey", "5F..."], "SS58"),
        (&["calibrate", "demo", "--part", "1/2"], "--model"),
        (&["calibrate", "demo", "--date", "today"], "2026-04-10"),
        (&["verify", "/nowhere/at/all"], "no such folder"),
        (&["verify"], "PATH"),
        (&["verify", ".", "--policy", "kind"], "network"),
        (&["score", "missing.mp4", "--caption", "a hill"], "no such file"),
        (&["synth", "package", "--attack", "none_such"], "nexis synth attacks"),
        (&["frobnicate"], "frobnicate"),
        (&["verify", ".", "--device", "tpu"], "cuda:N"),
    ];
    for (call, hint) in calls {
        let mut call = call.to_vec();
        // Device and model are looked at once there is something to verify.
        if call.contains(&"tpu") || call.contains(&"--model") {
            call[1] = &made().honest;
        }
        let output = nexis(&call);
        let said = text(&output.stderr);
        assert_eq!(status(&output), 64, "{call:?}: {said}");
        assert!(said.contains(hint), "{call:?}: {said}");
        assert!(!said.contains("panicked") && !said.contains("backtrace"), "{said}");
    }
}

/// What the environment gives is not shown as what was left out; it counts all the same.
#[test]
fn the_environment_gives_no_options() {
    let usage = |call: &[&str]| {
        let output = command(call).env("NEXIS_CONFIG", "nexis.toml").output().unwrap();
        assert_eq!(status(&output), 64);
        let said = text(&output.stderr);
        said.lines().find(|line| line.starts_with("Usage: ")).unwrap().to_owned()
    };
    assert_eq!(usage(&["verify"]), "Usage: nexis verify <PATH>");
    assert_eq!(usage(&["miner", "pack"]), "Usage: nexis miner pack --interval <ID> <ITEMS>");

    let folder = tempfile::tempdir().unwrap();
    let elsewhere = command(&["verify", &made().honest]).env("NEXIS_MODELS", folder.path()).output().unwrap();
    assert_eq!(status(&elsewhere), 2);
    let named = format!("{}: no registry.toml", folder.path().display());
    assert!(text(&elsewhere.stderr).contains(&named), "{}", text(&elsewhere.stderr));
    let unset = command(&["verify", &made().honest]).env("NEXIS_MODELS", "").output().unwrap();
    assert_eq!(status(&unset), 0, "{}", text(&unset.stderr));
}

#[test]
fn a_bucket_that_is_not_here_is_told_from_an_interval_that_is_not() {
    let nobody = "5DAAnrj7VHTznn2AWBemMuyBwZWs6FNFjdyVXUeYum3PTXFy";
    let output = nexis(&["verify", made().root.to_str().unwrap(), "--hotkey", nobody]);
    assert_eq!(status(&output), 64);
    assert!(text(&output.stderr).contains(&format!("no bucket of {nobody}")), "{}", text(&output.stderr));
}

/// As behind `| head -1`, which has had enough after a line.
#[test]
fn nobody_is_told_that_nobody_reads_on() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    let html = page.to_str().unwrap();
    for call in [&["verify", &made().honest, "--json", "--html", html][..], &["models", "list"]] {
        let mut child = command(call).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        child.wait().unwrap();
        assert_eq!(said, "", "{call:?}");
    }
    assert!(fs::read_to_string(&page).unwrap().ends_with("</html>\n"), "the report is whole all the same");
}

#[test]
fn what_fails_is_not_called_done() {
    let output = nexis(&["verify", &made().honest, "--model", "no-such-model"]);
    let said = text(&output.stderr);
    assert!(said.starts_with("loading the model ...\nnexis: model no-such-model"), "{said}");
    let output = nexis(&["verify", &made().honest]);
    let said = text(&output.stderr);
    assert!(said.contains("loading the model: done in ") && !said.contains(": 0 "), "{said}");
}

#[test]
fn a_report_that_cannot_be_written_costs_no_verdict() {
    let output = nexis(&["verify", &made().honest, "--html", "/dev/full", "--quiet"]);
    assert_eq!(status(&output), 2);
    assert!(text(&output.stdout).contains("1 accepted, 0 rejected"), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("writing /dev/full"), "{}", text(&output.stderr));
}

#[test]
fn what_cannot_be_checked_is_nobodys_failure() {
    let output = nexis(&["verify", &made().honest, "--device", "cuda:0"]);
    assert_eq!(status(&output), 2, "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("cuda:0"));
    let output = nexis(&["verify", &made().honest, "--model", "no-such-model"]);
    assert_ne!(status(&output), 1);
    assert!(text(&output.stderr).contains("demo"), "known ids are listed: {}", text(&output.stderr));
}

#[test]
fn evidence_is_written_and_replays() {
    let folder = tempfile::tempdir().unwrap();
    let evidence = folder.path().join("evidence");
    let page = folder.path().join("report.html");
    let verified = nexis(&[
        "verify",
        &made().honest,
        "--quiet",
        "--evidence",
        evidence.to_str().unwrap(),
        "--html",
        page.to_str().unwrap(),
    ]);
    assert_eq!(status(&verified), 0);
    let html = fs::read_to_string(&page).unwrap();
    assert_eq!(html.matches("data:image/jpeg").count(), 12, "six pictures for each of two rows");
    let mut records: Vec<_> = fs::read_dir(&evidence).unwrap().map(|e| e.unwrap().path()).collect();
    records.sort();
    assert_eq!(records.len(), 2);
    let record = records[0].to_str().unwrap();
    let replayed = nexis(&["replay", record, &made().honest]);
    assert_eq!(status(&replayed), 0, "{}{}", text(&replayed.stdout), text(&replayed.stderr));
    assert!(text(&replayed.stdout).contains("nothing differs"));

    let mut tampered: Value = serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
    tampered["alignment"]["probability"] = 0.123.into();
    let path = folder.path().join("tampered.json");
    fs::write(&path, tampered.to_string()).unwrap();
    let replayed = nexis(&["replay", path.to_str().unwrap(), &made().honest]);
    assert_eq!(status(&replayed), 1);
    assert!(text(&replayed.stdout).contains("alignment.probability: recorded 0.123"));

    let nonsense = nexis(&["replay", page.to_str().unwrap(), &made().honest]);
    assert_eq!(status(&nonsense), 2, "{}", text(&nonsense.stderr));
}

#[test]
fn one_clip_is_scored_and_drawn() {
    let clips = Path::new(&made().honest).join("clips");
    let clip = fs::read_dir(clips).unwrap().next().unwrap().unwrap().path();
    let clip = clip.to_str().unwrap();
    let scored =
        nexis(&["score", clip, "--caption", "A kitchen with two blue chairs beside a table.", "--json"]);
    assert_eq!(status(&scored), 1, "{}", text(&scored.stderr));
    assert_eq!(json(&scored)["verdict"], "reject");

    let composed =
        nexis(&["score", clip, "--caption", "a hill under a blue sky", "--json", "--precision", "f32"]);
    assert_eq!(json(&composed)["environment"]["model"]["precision"], "f32");
    let refused = nexis(&["score", clip, "--caption", "a hill under a blue sky", "--precision", "half"]);
    assert_eq!(status(&refused), 64);
    assert!(text(&refused.stderr).contains("exact, fast or f32"));

    let folder = tempfile::tempdir().unwrap();
    let sheet = folder.path().join("sheet.png");
    let drawn = nexis(&["inspect", clip, "--out", sheet.to_str().unwrap()]);
    assert_eq!(status(&drawn), 0, "{}", text(&drawn.stderr));
    assert!(fs::read(&sheet).unwrap().starts_with(b"\x89PNG"));

    let notes = folder.path().join("notes.mp4");
    fs::write(&notes, "this is no clip").unwrap();
    let refused = nexis(&["score", notes.to_str().unwrap(), "--caption", "a hill under a blue sky"]);
    assert_eq!(status(&refused), 1);
    assert!(text(&refused.stdout).contains("cannot be decoded"));
    let refused = nexis(&["inspect", notes.to_str().unwrap(), "--json"]);
    assert_eq!(status(&refused), 1);
    assert!(json(&refused)["undecodable"].is_string());
}

#[test]
fn without_models_the_places_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().to_str().unwrap();
    let output = nexis(&["verify", &made().honest, "--models-dir", empty]);
    let said = text(&output.stderr);
    assert_eq!(status(&output), 2);
    assert!(said.contains(&format!("{empty}: no registry.toml")) && said.contains("NEXIS_MODELS"), "{said}");

    let doctor = nexis(&["doctor", "--json", "--model", "no-such-model"]);
    assert_eq!(status(&doctor), 2);
    let findings = json(&doctor);
    let of = |part| findings.as_array().unwrap().iter().find(|finding| finding["part"] == part).unwrap();
    assert!(of("model")["detail"].as_str().unwrap().contains("known ids: demo"));
    assert_eq!(of("trial")["detail"], "not made: there is nothing to score with");
    let doctor = json(&nexis(&["doctor", "--json", "--device", "cuda:0"]));
    let model = doctor.as_array().unwrap().iter().find(|finding| finding["part"] == "model").unwrap();
    assert!(model["detail"].as_str().unwrap().contains("make cuda") && model["remedy"].is_null(), "{model}");
}

#[test]
fn doctor_and_models_tell_what_is_here() {
    let doctor = nexis(&["doctor", "--json"]);
    assert_eq!(status(&doctor), 0, "{}", text(&doctor.stdout));
    let findings = json(&doctor);
    assert!(findings.as_array().unwrap().iter().any(|f| f["part"] == "trial" && f["state"] == "ok"));
    let models = nexis(&["models", "list"]);
    assert!(
        text(&models.stdout).contains("demo") && text(&models.stdout).contains("not a judge of real footage")
    );
}

/// A SigLIP with random weights goes every way that a model goes. Its figures mean nothing.
#[test]
fn a_siglip_is_imported_calibrated_and_judges() {
    let home = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        command(arguments)
            .env("NEXIS_HOME", home.path())
            .env("HF_HUB_CACHE", home.path().join("hub"))
            .output()
            .unwrap()
    };
    let succeeds = |arguments: &[&str]| {
        let output = run(arguments);
        assert_eq!(status(&output), 0, "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let fixture = models().join("../tests/fixtures/models/siglip_f32");
    succeeds(&["models", "import", fixture.to_str().unwrap(), "--id", "own/siglip"]);
    let listed = succeeds(&["models", "list"]);
    let line = listed.lines().find(|line| line.starts_with("own/siglip")).unwrap();
    assert!(line.contains("siglip") && line.contains("yes") && line.contains("here"), "{line}");
    succeeds(&["models", "verify", "own/siglip"]);

    let prompts = models().join("demo/prompts.json");
    let data = ["--fit", "2", "--measure", "2", "--date", "2026-04-01", "--quiet"];
    succeeds(&[&["calibrate", "own/siglip", "--prompts", prompts.to_str().unwrap()][..], &data].concat());
    let card = home.path().join("models/own/siglip/card.toml");
    assert!(fs::read_to_string(card).unwrap().contains("id = \"own/siglip\""));

    let made = made();
    let model = ["--model", "own/siglip", "--json"];
    let verified = run(&[&["verify", &made.honest][..], &model].concat());
    assert!([0, 1].contains(&status(&verified)), "{}", text(&verified.stderr));
    let report = json(&verified);
    assert_eq!(report["environment"]["model"]["architecture"], "siglip");
    assert_eq!(report["environment"]["model"]["precision"], "exact-f32");
    let rows = report["submissions"][0]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for row in rows {
        let probability = row["alignment"]["probability"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&probability), "{row}");
    }
    for precision in ["f32", "exact"] {
        let again = run(&[&["verify", &made.honest, "--precision", precision][..], &model].concat());
        assert!([0, 1].contains(&status(&again)), "{precision}: {}", text(&again.stderr));
    }
    let missing = run(&["verify", &made.honest, "--model", fixture.to_str().unwrap()]);
    assert_eq!(status(&missing), 2);
    assert!(text(&missing.stderr).contains("nexis calibrate"), "{}", text(&missing.stderr));
}
