//! `nexis bench align` and `nexis calibrate PAIRS` as a researcher calls them, on drawn pairs.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod program;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use program::{nexis, repository};
use serde_json::Value;

/// A tiny model with random weights and without a card.
fn random_model() -> String {
    repository().join("tests/fixtures/models/quick_f32").display().to_string()
}

fn done(arguments: &[&str]) -> String {
    let output = nexis(arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn refused(arguments: &[&str], code: i32) -> String {
    let output = nexis(arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
    errors
}

/// So many drawn pairs, small ones.
fn drawn(folder: &Path, count: u64) -> String {
    let out = folder.join("pairs");
    let count = count.to_string();
    done(&["synth", "pairs", out.to_str().unwrap(), "--count", &count, "--quiet"]);
    out.join("pairs.jsonl").display().to_string()
}

fn measure(report: &Value, model: usize, key: &str) -> (f64, Option<(f64, f64)>) {
    let measures = report["models"][model]["measures"].as_array().unwrap();
    let found = measures.iter().find(|m| m["key"] == key).unwrap_or_else(|| panic!("{key} in {measures:?}"));
    let end = |name: &str| found["interval"][name].as_f64();
    (found["value"].as_f64().unwrap(), end("low").zip(end("high")))
}

#[test]
fn two_models_on_pairs_of_which_some_are_broken_or_hostile() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = drawn(folder.path(), 28);
    let hostile =
        "</script><script>alert(1)</script> \\u202e <img src=x onerror=alert(2)> & \\\"two\\\" birds";
    let mut text = fs::read_to_string(&pairs).unwrap();
    let picture = text.split("pictures/").nth(1).unwrap().split('"').next().unwrap().to_owned();
    // Said to fit, so that it is among the mistakes that the page shows.
    for (caption, name, label) in
        [(hostile, picture.as_str(), 1), ("a lost picture", "gone.jpg", 0), ("a broken one", "text.jpg", 0)]
    {
        text.push_str(&format!(
            "{{\"frames\": [\"pictures/{name}\"], \"caption\": \"{caption}\", \"label\": {label}, \
             \"group\": \"<b>g</b>\", \"subset\": \"<i>odd</i>\"}}\n"
        ));
    }
    fs::write(&pairs, &text).unwrap();
    fs::write(folder.path().join("pairs/pictures/text.jpg"), "no picture").unwrap();
    let out = folder.path().join("report");
    let out = out.to_str().unwrap();
    let models = format!("demo,{}", random_model());
    let call = |out: &str, cache: &str, more: &[&str]| -> String {
        let base = ["bench", "align", &pairs, "--models", &models, "--out", out, "--cache", cache, "--json"];
        done(
            &[&base[..], &["--resamples", "50", "--price-per-hour", "0.5", "--api-price", "2"], more]
                .concat(),
        )
    };
    let cache = folder.path().join("cache").display().to_string();
    let first = call(out, &cache, &[]);
    let report: Value = serde_json::from_str(&first).unwrap();
    let data = &report["data"];
    assert_eq!((data["scored"].as_u64(), data["broken"].as_u64()), (Some(29), Some(2)));
    let why: Vec<_> =
        data["broken_pairs"].as_array().unwrap().iter().map(|b| (&b["row"], b["why"].as_str())).collect();
    assert_eq!(why[0].0, 30);
    assert!(why[0].1.unwrap().contains("gone.jpg: there is no such file"), "{why:?}");
    assert!(why[1].1.unwrap().contains("text.jpg: neither JPEG nor PNG"), "{why:?}");
    let (auc, interval) = measure(&report, 0, "auc");
    let (low, high) = interval.unwrap();
    assert!(auc > 0.7 && low <= auc && auc <= high, "{auc} {low} {high}");
    assert!(report["models"][0]["reliability"].is_object() && report["models"][1]["reliability"].is_null());
    assert!(report["models"][1]["score"].as_str().unwrap().contains("has no card"));
    assert_eq!(
        (&report["kappa"][0][0], report["kappa"][0].as_array().unwrap().len()),
        (&Value::from(1.0), 2)
    );
    assert!(report["models"][0]["cost"]["clips"].as_u64().unwrap() >= 14);

    // The page shows a stranger's text as text, and asks nobody for anything.
    let page = fs::read_to_string(Path::new(out).join("report.html")).unwrap();
    assert!(page.contains("&lt;script&gt;alert(1)"));
    assert!(page.contains("&lt;i&gt;odd&lt;/i&gt;"));
    for forbidden in
        ["<script", "<img src=x", "http:", "https:", "<b>g", "<i>odd", "\u{202e}", "<link", "url("]
    {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    for needed in [
        "<svg class=\"plot\"",
        "data:image/jpeg;base64,",
        "prefers-color-scheme: dark",
        "Content-Security-Policy",
    ] {
        assert!(page.contains(needed), "{needed}");
    }
    let scores = fs::read_to_string(Path::new(out).join("scores.csv")).unwrap();
    assert_eq!(scores.lines().count(), 1 + 29);
    assert!(
        fs::read_to_string(Path::new(out).join("measures.csv")).unwrap().lines().any(|l| l.contains("tau_b"))
    );

    // With the store nothing is worked out again, and nothing changes; without it neither.
    let again: Value = serde_json::from_str(&call(out, &cache, &[])).unwrap();
    let fresh_cache = folder.path().join("other").display().to_string();
    let fresh: Value =
        serde_json::from_str(&call(out, &fresh_cache, &["--threads", "1", "--batch", "3"])).unwrap();
    let bare = |report: &Value| {
        let mut report = report.clone();
        for model in report["models"].as_array_mut().unwrap() {
            model["cost"] = Value::Null;
            model["found"] = Value::Null;
        }
        report
    };
    assert_eq!(bare(&again), bare(&report));
    assert_eq!(bare(&fresh), bare(&report));
    let found = |report: &Value| report["models"][0]["found"].as_u64();
    assert_eq!((found(&report), found(&again), found(&fresh)), (Some(0), Some(29), Some(0)));
    assert_eq!(again["models"][0]["cost"], report["models"][0]["cost"], "what is known costs nothing more");

    // One feature by itself is a sweep over what is known.
    let swept: Value = serde_json::from_str(&call(out, &cache, &["--score", "units_min"])).unwrap();
    assert_eq!((found(&swept), swept["models"][0]["score"].as_str()), (Some(29), Some("feature units_min")));
    assert_ne!(measure(&swept, 0, "auc"), measure(&report, 0, "auc"));
}

#[test]
fn a_card_from_one_half_holds_its_target_on_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = drawn(folder.path(), 360);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (card, cache) = (path("card.toml"), path("cache"));
    let target = 0.1;
    let fit = |out: &str| -> Value {
        let typed = [
            "calibrate",
            &pairs,
            "--model",
            "demo",
            "--part",
            "1/2",
            "--false-rejection",
            "0.1",
            "--out",
            out,
            "--cache",
            &cache,
            "--resamples",
            "200",
            "--date",
            "2026-01-02",
            "--report",
            &path("fit"),
            "--json",
        ];
        serde_json::from_str(&done(&typed)).unwrap()
    };
    let fitted = fit(&card);
    let written = fs::read_to_string(&card).unwrap();
    let facts = &fitted["fit"];
    assert!(facts["pairs"].as_u64().unwrap() > 120 && facts["held_out"].as_u64().unwrap() > 0);
    let (rejected, _) = measure(&fitted["report"], 0, "false_rejects");
    assert!(rejected <= target && rejected > target - 0.05, "{rejected}");
    assert!(facts["category"]["accuracy"].as_f64().unwrap() > 0.8);
    assert!(written.contains(fitted["report"]["data"]["content_sha256"].as_str().unwrap()));
    assert!(written.contains("--part 1/2") && written.contains("data_sha256"));
    assert!(fs::read_to_string(folder.path().join("fit/report.html")).unwrap().contains("Coefficients"));
    // From what is kept, the same card to the last character.
    fit(&path("again.toml"));
    assert_eq!(fs::read_to_string(path("again.toml")).unwrap(), written);

    let judged = |part: &str| -> Value {
        let models = format!("demo@{card}");
        let typed = [
            "bench",
            "align",
            &pairs,
            "--models",
            &models,
            "--part",
            part,
            "--out",
            &path("bench"),
            "--cache",
            &cache,
            "--resamples",
            "200",
            "--mistakes",
            "0",
            "--json",
        ];
        serde_json::from_str(&done(&typed)).unwrap()
    };
    let other = judged("2/2");
    let (rejected, interval) = measure(&other, 0, "false_rejects");
    let (low, high) = interval.unwrap();
    assert!(low <= rejected && rejected <= high);
    // What the calibration says is to be expected of groups that it has not seen: both halves are small, and this
    // interval knows it.
    let end = |name: &str| facts["expected_false_rejections"][name].as_f64().unwrap();
    assert!(end("low") <= rejected && rejected <= end("high"), "{rejected} is not in {facts}");
    assert!(end("low") <= target && target <= end("high"));
    let scored = |report: &Value| report["data"]["scored"].as_u64().unwrap();
    assert_eq!(scored(&other) + scored(&judged("1/2")), 360, "the parts share nothing and leave nothing out");
}

#[test]
fn labels_and_gate_do_not_depend_on_the_order_of_the_rows() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = drawn(folder.path(), 84);
    let text = fs::read_to_string(&pairs).unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (cache, root, card) = (path("cache"), path("pairs"), path("card.toml"));
    let fit = |lines: Vec<&str>| -> Value {
        let other = path("the pairs.txt");
        fs::write(&other, lines.join("\n")).unwrap();
        let typed = [
            &["calibrate", &other, "--model", "demo", "--out", &card, "--cache", &cache][..],
            &["--root", &root, "--format", "jsonl", "--separator", "|", "--id", "mine", "--folds", "3"],
            &["--resamples", "10", "--mistakes", "0", "--json"],
        ];
        serde_json::from_str(&done(&typed.concat())).unwrap()
    };
    let pair = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    // Clips one after another as they are drawn; then each with its rows the other way round, so that a caption that
    // does not fit comes first; then all of it the other way round.
    let (mut fitting_first, mut other_first): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    let lines: Vec<&str> = text.lines().collect();
    for rows in lines.chunk_by(|a, b| pair(a)["frames"] == pair(b)["frames"]) {
        let mut rows = rows.to_vec();
        rows.sort_by_key(|row| pair(row)["label"] != 1);
        assert!(pair(rows[0])["label"] == 1 && pair(rows[rows.len() - 1])["label"] == 0);
        fitting_first.extend(&rows);
        other_first.extend(rows.iter().rev());
    }
    let fitted = fit(fitting_first.clone());
    for order in [other_first, fitting_first.into_iter().rev().collect()] {
        let again = fit(order);
        assert_eq!(again["card"]["category"], fitted["card"]["category"]);
        assert_eq!(again["fit"]["category"], fitted["fit"]["category"]);
    }
    assert!(fitted["card"]["category"]["gate"]["threshold"].as_f64().unwrap() > 0.0);
    // Where only captions that do not fit name a category, nothing is known of those that do, and the gate rejects
    // nothing.
    let refused: Vec<String> = lines
        .iter()
        .map(|line| {
            let mut pair = pair(line);
            if pair["label"] == 1 {
                pair.as_object_mut().unwrap().remove("category");
            }
            pair.to_string()
        })
        .collect();
    let of_refused = fit(refused.iter().map(String::as_str).collect());
    assert_eq!(of_refused["card"]["category"]["gate"]["threshold"], 0.0);
    let command = fitted["card"]["calibration"]["command"].as_str().unwrap();
    assert!(
        command.starts_with(&format!("nexis calibrate '{}' --model demo", path("the pairs.txt"))),
        "{command}"
    );
    for given in [&format!(" --root {root}"), " --format jsonl", " --separator '|'", " --id mine"] {
        assert!(command.contains(given), "{given} in {command}");
    }
}

#[test]
fn where_nothing_is_accepted_there_is_no_precision() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = drawn(folder.path(), 12);
    let card =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo/card.toml")).unwrap();
    let mut lines: Vec<String> = card.lines().map(str::to_owned).collect();
    let threshold = lines.iter_mut().find(|line| line.starts_with("threshold = ")).unwrap();
    // The first is that of P(match), and no score of these is so sure.
    "threshold = 0.999999999999".clone_into(threshold);
    let never = folder.path().join("never.toml");
    fs::write(&never, lines.join("\n")).unwrap();
    let model = format!("demo@{}", never.display());
    let out = folder.path().join("out").display().to_string();
    let call = ["bench", "align", &pairs, "--models", &model, "--out", &out, "--resamples", "20"];
    let table = done(&call);
    let line = table.lines().find(|line| line.starts_with("precision at the threshold")).unwrap();
    assert!(line.ends_with(" undefined"), "{line}");
    let report: Value = serde_json::from_str(&done(&[&call[..], &["--json"]].concat())).unwrap();
    let measures = report["models"][0]["measures"].as_array().unwrap();
    let precision = measures.iter().find(|measure| measure["key"] == "precision").unwrap();
    assert!(precision["value"].is_null() && precision["interval"].is_null(), "{precision}");
    assert_eq!((measure(&report, 0, "true_accepts").0, measure(&report, 0, "f1").0), (0.0, 0.0));
    let read = |name: &str| fs::read_to_string(Path::new(&out).join(name)).unwrap();
    assert!(
        read("report.html").contains("<th scope=\"row\">precision at the threshold</th><td>undefined<small>")
    );
    assert!(
        read("measures.csv").lines().any(|line| line.ends_with(",precision,precision at the threshold,,,"))
    );
}

#[test]
fn ratings_are_ranked_and_cut_where_asked() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = drawn(folder.path(), 20);
    let text = fs::read_to_string(&pairs).unwrap();
    let rated: String = text
        .lines()
        .map(|line| {
            let mut pair: Value = serde_json::from_str(line).unwrap();
            pair["label"] =
                if pair["label"] == 1 { serde_json::json!([4, 5]) } else { serde_json::json!([2, 1]) };
            format!("{pair}\n")
        })
        .collect();
    fs::write(&pairs, rated).unwrap();
    let out = folder.path().join("out").display().to_string();
    let call = |more: &[&str]| -> Value {
        let base =
            ["bench", "align", &pairs, "--models", "demo", "--out", &out, "--resamples", "20", "--json"];
        serde_json::from_str(&done(&[&base[..], more].concat())).unwrap()
    };
    let report = call(&[]);
    let keys: BTreeSet<&str> = report["models"][0]["measures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["key"].as_str().unwrap())
        .collect();
    assert_eq!(keys, BTreeSet::from(["tau_b", "tau_c", "tau_b_people"]));
    assert!(measure(&report, 0, "tau_b").0 > 0.2);
    let report = call(&["--positive-from", "3"]);
    assert_eq!(
        (report["data"]["positives"].as_u64(), report["data"]["negatives"].as_u64()),
        (Some(10), Some(10))
    );
    assert!(measure(&report, 0, "auc").0 > 0.7);
    let error = refused(&["calibrate", &pairs, "--model", "demo", "--out", &out], 64);
    assert!(error.contains("--positive-from"), "{error}");
}

#[test]
fn wrong_calls_are_told_what_would_be_right() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pairs.csv");
    let pairs = path.to_str().unwrap();
    fs::write(&path, "clip,caption,label\na.mp4,one,1\nb.mp4,,0\n").unwrap();
    let out = folder.path().join("out").display().to_string();
    let call = ["bench", "align", pairs, "--models", "demo", "--out", &out];
    let error = refused(&call, 64);
    assert!(error.contains("pairs.csv, line 3: it has no caption"), "{error}");
    fs::write(&path, "clip,caption\na.mp4,one\n").unwrap();
    assert!(refused(&call, 64).contains("no pair has a label"));
    fs::write(&path, "clip,caption,label\na.mp4,one,1\n").unwrap();
    let error = refused(&call, 64);
    assert!(error.contains("no pair could be scored; row 2: a.mp4: there is no such file"), "{error}");
    assert!(refused(&["bench", "align", "nowhere.csv", "--models", "demo"], 64).contains("no such file"));
    let error = refused(&["calibrate", pairs], 64);
    assert!(error.contains("name the model to fit on these pairs with --model"), "{error}");
    assert!(refused(&["bench", "align", pairs], 64).contains("--models"));
    assert!(refused(&["bench", "align", pairs, "--models", "demo", "--part", "3/2"], 64).contains("1/2"));
    assert!(
        refused(&["bench", "align", pairs, "--models", "demo", "--score", "wholes"], 64)
            .contains("units_min")
    );
}
