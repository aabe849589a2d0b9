//! The command with a judge behind its model: a small random one, whose answers mean nothing and decide all the same.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod program;

use std::fs;
use std::path::Path;

use program::{command, json, nexis, package, repository, text};

fn judge(name: &str) -> String {
    repository().join("tests/fixtures/judges").join(name).to_str().unwrap().to_owned()
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

/// The demonstration model with a card that leaves everything to a judge.
fn doubtful(folder: &Path) -> String {
    let model = folder.join("doubtful");
    copy_files(&repository().join("models/demo"), &model);
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
    let package = package(folder.path());
    let (model, tied) = (doubtful(folder.path()), judge("qwen3_vl_tied_bf16"));
    let evidence = folder.path().join("evidence");

    let verify =
        |more: &[&str]| nexis(&[&["verify", &package, "--model", &model, "--judge", &tied], more].concat());
    let found = verify(&["--json", "--evidence", evidence.to_str().unwrap()]);
    let report = json(&found);
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
    let spent = json(&spent);
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
    assert!(text(&missing.stderr).contains("--judge"), "{}", text(&missing.stderr));
    // A record is somebody else's: a folder of that name is not loaded for its sake.
    let planted = command(&["replay", record.to_str().unwrap(), &package, "--model", &model])
        .current_dir(repository().join("tests/fixtures/judges"))
        .output()
        .unwrap();
    assert_eq!(planted.status.code(), Some(2), "{}", text(&planted.stdout));
    assert!(text(&planted.stderr).contains("--judge"), "{}", text(&planted.stderr));
    // An id of the registry is, where every file of it is held to a digest.
    let models = folder.path().join("models");
    copy_files(Path::new(&tied), &models.join("qwen3_vl_tied_bf16"));
    let listed = |files: &[&str]| {
        let files: Vec<String> = files
            .iter()
            .map(|name| {
                let digest = &used["identity"]["model"]["digests"][name];
                format!(
                    "{{ name = \"{name}\"{} }}",
                    digest.as_str().map(|d| format!(", sha256 = \"{d}\"")).unwrap_or_default()
                )
            })
            .collect();
        fs::write(
            models.join("registry.toml"),
            format!(
                "[[model]]\nid = \"qwen3_vl_tied_bf16\"\nkind = \"qwen3-vl\"\nlicence = \"Apache-2.0\"\nnote = \"Random.\"\n\
                 [model.hub]\nrepository = \"maker/tied\"\nrevision = \"main\"\nfiles = [{}]\n",
                files.join(", ")
            ),
        )
        .unwrap();
        replay(&["--models-dir", models.to_str().unwrap()])
    };
    let all = ["config.json", "preprocessor_config.json", "tokenizer.json", "model.safetensors"];
    let held = listed(&all);
    assert_eq!(held.status.code(), Some(0), "{}{}", text(&held.stdout), text(&held.stderr));
    // One file less, and one that nobody has a digest of.
    for files in [&all[..3], &["config.json", "model.safetensors", "vocab.json"]] {
        let loose = listed(files);
        assert_eq!(loose.status.code(), Some(2), "{}{}", text(&loose.stdout), text(&loose.stderr));
        assert!(text(&loose.stderr).contains("digest"), "{}", text(&loose.stderr));
    }
    // Neither has an interval that a budget could hold for.
    assert_eq!(replay(&["--judge", &tied, "--judge-budget", "3"]).status.code(), Some(64));
    let other = replay(&["--judge", &judge("qwen3_vl_sharded_f16")]);
    assert_eq!(other.status.code(), Some(1));
    assert!(text(&other.stdout).contains("environment.judge.identity.model.id"), "{}", text(&other.stdout));

    // A record that was made without a judge needs none, and one that is given is left out.
    let plain = folder.path().join("plain");
    nexis(&["verify", &package, "--model", &model, "--evidence", plain.to_str().unwrap()]);
    let record = fs::read_dir(&plain).unwrap().next().unwrap().unwrap().path();
    let spare = nexis(&["replay", record.to_str().unwrap(), &package, "--model", &model, "--judge", &tied]);
    assert_eq!(spare.status.code(), Some(0), "{}{}", text(&spare.stdout), text(&spare.stderr));
    assert!(text(&spare.stderr).contains("made without a judge"), "{}", text(&spare.stderr));
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
    let report = json(&found);
    assert_eq!(report["alignment"]["cascade"]["decided_by"], "judge");
    assert_eq!(report["category"]["cascade"]["decided_by"], "encoder", "one frame has no category");

    // A folder with a GGUF file and its tokenizer is a judge too, which sees one picture at a time.
    let quantised = score(&["--model", &model, "--judge", &judge("moondream_q4_0"), "--json"]);
    let report = json(&quantised);
    assert_eq!(report["alignment"]["cascade"]["decided_by"], "judge");
    let used = &report["environment"]["judge"]["identity"]["model"];
    assert_eq!(
        (used["architecture"].as_str(), used["precision"].as_str()),
        (Some("moondream"), Some("f32+q4_0"))
    );

    for (arguments, says) in [
        (["--judge", "demo"].as_slice(), "is an encoder"),
        (&["--model", &tied], "answers questions"),
        (&["--judge-budget", "3"], "--judge"),
    ] {
        let refused = score(arguments);
        assert_eq!(refused.status.code(), Some(64), "{arguments:?}");
        assert!(text(&refused.stderr).contains(says), "{arguments:?}: {}", text(&refused.stderr));
    }
    // Nor has `score` an interval.
    assert_eq!(score(&["--judge", &tied, "--judge-budget", "3"]).status.code(), Some(64));
    for id in ["Qwen/Qwen3-VL-2B-Instruct", "santiagomed/candle-moondream"] {
        let unfetched = score(&["--judge", id]);
        assert_eq!(unfetched.status.code(), Some(2));
        let said = text(&unfetched.stderr);
        assert!(said.contains(&format!("nexis models fetch {id}")), "{said}");
    }
}
