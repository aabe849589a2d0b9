//! The command with a second encoder beside its model: a tiny random one, whose card makes it say what a test wants.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod program;
mod second;

use std::fs;
use std::path::Path;

use program::{json, nexis, package, repository, text};
use second::tiny;
use serde_json::Value;

#[test]
fn verify_and_replay_name_both_and_what_decided() {
    let folder = tempfile::tempdir().unwrap();
    let package = package(folder.path());
    let alone = json(&nexis(&["verify", &package, "--json"]));
    for (probability, decided_by) in [(0.9, "agreement"), (0.02, "log-odds")] {
        let second = tiny(folder.path(), probability);
        let evidence = folder.path().join(decided_by);
        let verify = |more: &[&str]| nexis(&[&["verify", &package, "--ensemble", &second], more].concat());
        let report = json(&verify(&["--json", "--evidence", evidence.to_str().unwrap()]));
        let used = &report["environment"]["ensemble"];
        assert_eq!(
            (&used["model"]["id"], &used["model"]["architecture"]),
            (&"tiny".into(), &"siglip".into())
        );
        assert_eq!(used["model"]["precision"], "exact-f32");
        assert!(used["card"].is_string());
        assert_eq!(report["environment"]["model"], alone["environment"]["model"]);
        let rows = report["submissions"][0]["rows"].as_array().unwrap();
        assert_eq!(rows.len(), 2);
        for (row, single) in rows.iter().zip(alone["submissions"][0]["rows"].as_array().unwrap()) {
            let alignment = &row["alignment"];
            assert_eq!(alignment["cascade"]["decided_by"], decided_by);
            assert_eq!(alignment["probability"], single["alignment"]["probability"]);
            let said = &alignment["ensemble"];
            assert_eq!(said["first"], single["alignment"]["verdict"]);
            assert_eq!(said["second"]["verdict"], if probability > 0.5 { "accept" } else { "reject" });
            let leads: Vec<f64> =
                said["log_odds"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
            let accepts = leads.iter().sum::<f64>() > 0.0;
            assert_eq!(alignment["verdict"], if accepts { "accept" } else { "reject" });
        }
        // For people: the table and the page.
        let page = folder.path().join("report.html");
        let said = text(&verify(&["--html", page.to_str().unwrap()]).stdout);
        let page = fs::read_to_string(&page).unwrap();
        for said in [&said, &page] {
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(said.contains("tiny (siglip, exact-f32)"), "{said}");
        }
        assert!(page.contains("<span class=\"name\">second encoder</span>"), "{page}");
        assert!(page.contains("<h4>Second encoder alone <span class=\"badge accept\">"), "{page}");
        let words = if decided_by == "agreement" { "both encoders agree" } else { "log-odds decide" };
        assert!(page.contains(words), "{page}");

        let record = fs::read_dir(&evidence).unwrap().next().unwrap().unwrap().path();
        let replay = |more: &[&str]| nexis(&[&["replay", record.to_str().unwrap(), &package], more].concat());
        let again = replay(&["--ensemble", &second]);
        assert_eq!(again.status.code(), Some(0), "{}{}", text(&again.stdout), text(&again.stderr));
        // The recorded id is a folder's name that no registry knows.
        let missing = replay(&[]);
        assert_eq!(missing.status.code(), Some(2), "{}", text(&missing.stdout));
        assert!(text(&missing.stderr).contains("name it with --ensemble"), "{}", text(&missing.stderr));
        // Under a card that says otherwise, the record differs.
        let other = folder.path().join("other");
        fs::create_dir_all(&other).unwrap();
        let differs = replay(&["--ensemble", &tiny(&other, 0.6), "--json"]);
        assert_eq!(differs.status.code(), Some(1), "{}", text(&differs.stderr));
        assert!(text(&differs.stdout).contains("environment.ensemble.card"));
    }
    // A record by one model needs no second, and one that is given is left out.
    let plain = folder.path().join("plain");
    nexis(&["verify", &package, "--evidence", plain.to_str().unwrap()]);
    let record = fs::read_dir(&plain).unwrap().next().unwrap().unwrap().path();
    assert!(!fs::read_to_string(&record).unwrap().contains("ensemble"));
    let second = tiny(folder.path(), 0.9);
    let spare = nexis(&["replay", record.to_str().unwrap(), &package, "--ensemble", &second]);
    assert_eq!(spare.status.code(), Some(0), "{}{}", text(&spare.stdout), text(&spare.stderr));
    assert!(text(&spare.stderr).contains("made by one model"), "{}", text(&spare.stderr));
}

#[test]
fn a_judge_stands_behind_both() {
    let folder = tempfile::tempdir().unwrap();
    let package = package(folder.path());
    let second = tiny(folder.path(), 0.02);
    let tied = repository().join("tests/fixtures/judges/qwen3_vl_tied_bf16");
    let tied = tied.to_str().unwrap();
    let verify = |more: &[&str]| {
        let always = ["verify", &package, "--ensemble", &second, "--judge", tied, "--json"];
        json(&nexis(&[&always, more].concat()))
    };
    let asked = verify(&[]);
    let spent = verify(&["--judge-budget", "0"]);
    let rows = |report: &Value| report["submissions"][0]["rows"].as_array().unwrap().clone();
    for (row, other) in rows(&asked).iter().zip(rows(&spent)) {
        let (cascade, alone) = (&row["alignment"]["cascade"], &other["alignment"]["cascade"]);
        assert_eq!((&cascade["decided_by"], &alone["decided_by"]), (&"judge".into(), &"budget-spent".into()));
        assert_eq!(row["alignment"]["verdict"] == "accept", cascade["yes"].as_f64().unwrap() >= 0.5);
        assert_eq!(other["alignment"]["verdict"], alone["encoder"]);
        // About the frames the two agree.
        assert_eq!(row["category"]["cascade"]["decided_by"], "agreement");
    }
}

#[test]
fn single_clips_precheck_and_doctor_take_a_second_model() {
    let folder = tempfile::tempdir().unwrap();
    let (second, picture) = (tiny(folder.path(), 0.9), folder.path().join("frame.png"));
    image::RgbImage::from_pixel(320, 180, image::Rgb([90, 120, 90])).save(&picture).unwrap();
    let score = |more: &[&str]| {
        let always = ["score", "--frame", picture.to_str().unwrap(), "--caption", "A grey wall."];
        nexis(&[&always, more].concat())
    };
    let found = json(&score(&["--ensemble", &second, "--json"]));
    assert_eq!(found["alignment"]["cascade"]["decided_by"], "log-odds");
    assert_eq!(found["category"]["ensemble"]["log_odds"], Value::Null, "one frame has no category");
    let said = text(&score(&["--ensemble", &second]).stdout);
    assert!(said.contains("P(match), second encoder 0.900 >= 0.500"), "{said}");

    let findings = json(&nexis(&["doctor", "--ensemble", &second, "--json"]));
    let part = |name: &str| findings.as_array().unwrap().iter().find(|f| f["part"] == name).unwrap().clone();
    assert!(part("ensemble")["detail"].as_str().unwrap().starts_with("tiny: "), "{findings}");
    assert_eq!(part("trial")["state"], "ok");
    let plain = json(&nexis(&["doctor", "--json"]));
    assert!(!plain.to_string().contains("ensemble"), "{plain}");

    // Weights are the same under any name and card.
    let copy = folder.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(repository().join("models/demo")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
        }
    }
    let judge = repository().join("tests/fixtures/judges/qwen3_vl_tied_bf16");
    for (given, says) in [
        (copy.to_str().unwrap(), "the same weights as demo"),
        ("demo", "the same weights as demo"),
        (judge.to_str().unwrap(), "answers questions"),
    ] {
        let refused = score(&["--ensemble", given]);
        assert_eq!(refused.status.code(), Some(64), "{given}: {}", text(&refused.stderr));
        assert!(text(&refused.stderr).contains(says), "{given}: {}", text(&refused.stderr));
    }
    let unfetched = score(&["--ensemble", "openai/clip-vit-base-patch32"]);
    assert_eq!(unfetched.status.code(), Some(2));
    assert!(text(&unfetched.stderr).contains("nexis models fetch openai/clip-vit-base-patch32"));
}

#[test]
fn a_miners_own_check_asks_both() {
    let folder = tempfile::tempdir().unwrap();
    let made = package(folder.path());
    let report = json(&nexis(&["verify", &made, "--json"]));
    let row = &report["submissions"][0]["rows"][0];
    let clip = format!("{made}/clips/{}.mp4", row["clip_id"].as_str().unwrap());
    assert!(Path::new(&clip).is_file(), "{clip}");
    let items = folder.path().join("items.json");
    let item = serde_json::json!([{
        "clip": clip, "caption": row["caption"], "clip_start_sec": 0.0,
        "source_video_url": "https://www.youtube.com/watch?v=abcdefghijk",
    }]);
    fs::write(&items, item.to_string()).unwrap();
    let pack = |out: &str, more: &[&str]| {
        let out = folder.path().join(out);
        let always = [
            "miner",
            "pack",
            items.to_str().unwrap(),
            "--interval",
            "7756900",
            "--check",
            "--out",
            out.to_str().unwrap(),
            "--hotkey",
            "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY",
        ];
        nexis(&[&always, more].concat())
    };
    let second = tiny(folder.path(), 1e-9);
    let alone = pack("alone", &[]);
    assert_eq!(alone.status.code(), Some(0), "{}{}", text(&alone.stdout), text(&alone.stderr));
    let both = pack("both", &["--ensemble", &second]);
    assert_eq!(both.status.code(), Some(1), "{}{}", text(&both.stdout), text(&both.stderr));
    assert!(text(&both.stdout).contains("caption_semantic_mismatch"), "{}", text(&both.stdout));
}
