//! The protocol against independent implementations: pydantic, CPython's `urllib` and `random`
//! (`tests/fixtures/protocol/make_*.py`).

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use nexis_core::check::{FrameScores, Violation, category_decision, has_injection_keyword};
use nexis_core::mt19937::PythonRandom;
use nexis_core::overlap::{
    OverlapIndex, PruneInput, is_allowed_source, prune, prune_global, source_identity_key,
};
use nexis_core::package::{ClipRecord, ExpectedMiner, Manifest, Timestamp, asset_key, clip_id, validate_row};
use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_core::python;
use nexis_core::sample::{SamplePlan, select_miners, select_row_indices};
use nexis_core::spec::{DatasetSpec, VideoSpec};
use nexis_core::weights::dense_weights;
use nexis_tests::reference::{expected, list};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Collects every difference, so that one run shows them all.
fn report(differences: &[String], cases: usize) {
    assert!(cases > 100, "only {cases} cases");
    let shown: Vec<&String> = differences.iter().take(25).collect();
    assert!(differences.is_empty(), "{} of {cases} differ: {shown:#?}", differences.len());
}

#[test]
fn manifests_are_judged_as_pydantic_judges_them() {
    let fixture = expected("protocol/manifests.json");
    let now: DateTime<Utc> = "2026-04-11T00:00:00Z".parse().unwrap();
    let cases = fixture["cases"].as_array().unwrap();
    let mut differences = Vec::new();
    for case in cases {
        let mut input = fixture["base"].clone();
        let field = case["field"].as_str().unwrap();
        input[field] = case["value"].clone();
        let got = match Manifest::parse(input.to_string().as_bytes(), now) {
            Ok(manifest) => json!({"valid": true, "parsed": serde_json::to_value(&manifest).unwrap()[field]}),
            Err(_) => json!({"valid": false}),
        };
        if got["valid"] != case["valid"] || got.get("parsed") != case.get("parsed") {
            differences.push(format!("{case} but {got}"));
        }
    }
    report(&differences, cases.len());
}

#[test]
fn odd_documents_are_taken_as_python_takes_them() {
    let fixture = expected("protocol/documents.json");
    let now: DateTime<Utc> = "2026-04-11T00:00:00Z".parse().unwrap();
    let cases = fixture.as_array().unwrap();
    assert!(cases.len() > 60);
    let mut differences = Vec::new();
    for case in cases {
        let parsed = Manifest::parse(case["text"].as_str().unwrap().as_bytes(), now);
        let got = parsed.map(|manifest| serde_json::to_value(&manifest).unwrap()).ok();
        if json!(got.is_some()) != case["valid"] || got.as_ref() != case.get("parsed") {
            differences.push(format!("{case} but {got:?}"));
        }
    }
    assert!(differences.is_empty(), "{} of {} differ: {differences:#?}", differences.len(), cases.len());
}

#[test]
fn rows_are_judged_as_pydantic_judges_them() {
    let fixture = expected("protocol/rows.json");
    let rules = VideoSpec::default().row_rules();
    let cases = fixture["cases"].as_array().unwrap();
    let mut differences = Vec::new();
    for case in cases {
        let mut row = fixture["base"].as_object().unwrap().clone();
        let field = case["field"].as_str().unwrap();
        row.insert(field.to_owned(), case["value"].clone());
        let got = match validate_row(&row, &rules) {
            Ok(record) => json!({"valid": true, "parsed": serde_json::to_value(&record).unwrap()[field]}),
            Err(_) => json!({"valid": false}),
        };
        if got["valid"] != case["valid"] || got.get("parsed") != case.get("parsed") {
            differences.push(format!("{case} but {got}"));
        }
    }
    report(&differences, cases.len());
}

#[test]
fn source_urls_are_taken_apart_as_urllib_does() {
    let cases = expected("protocol/urls.json");
    let cases = cases.as_array().unwrap();
    let mut differences = Vec::new();
    for case in cases {
        let url = case["url"].as_str().unwrap();
        let got = json!({"url": url, "allowed": is_allowed_source(url), "key": source_identity_key(url)});
        if got != *case {
            differences.push(format!("{case} but {got}"));
        }
    }
    report(&differences, cases.len());
}

/// The cases of one rule, and how its outcome is read of them.
fn rule(name: &str, outcome: impl Fn(&Value) -> Value) {
    let fixture = expected("protocol/rules.json");
    let cases = fixture[name].as_array().unwrap();
    assert!(cases.len() >= 50, "only {} cases of {name}", cases.len());
    let mut differences = Vec::new();
    for case in cases {
        let outcome = outcome(case);
        // As text: 0.0 and -0.0 are not the same here.
        let text = Value::to_string;
        let differs = |(key, value): (&String, &Value)| text(&case[key]) != text(value);
        if outcome.as_object().unwrap().iter().any(differs) {
            differences.push(format!("{case} but {outcome}"));
        }
    }
    let shown = differences.first();
    assert!(differences.is_empty(), "{} of {} {name} differ: {shown:#?}", differences.len(), cases.len());
}

fn records(rows: &Value) -> Vec<ClipRecord> {
    let base = expected("protocol/rows.json")["base"].as_object().unwrap().clone();
    let full = |row: &Value| {
        let mut full = base.clone();
        full.extend(row.as_object().unwrap().clone());
        serde_json::from_value(Value::Object(full)).unwrap()
    };
    rows.as_array().unwrap().iter().map(full).collect()
}

#[test]
fn rows_are_checked_as_python_checks_them() {
    rule("hard_checks", |case| {
        let found = VideoSpec::default().hard_checks(&records(&case["rows"]));
        json!({"failures": found.iter().map(Violation::code).collect::<Vec<_>>()})
    });
    rule("injection", |case| json!({"injection": has_injection_keyword(case["caption"].as_str().unwrap())}));
}

#[test]
fn rows_are_pruned_as_python_prunes_them() {
    rule("pruning", |case| {
        let index: OverlapIndex = serde_json::from_value::<BTreeMap<String, Vec<f64>>>(case["index"].clone())
            .unwrap()
            .into_iter()
            .collect();
        let miners: Vec<(Hotkey, DateTime<Utc>, Vec<ClipRecord>)> = case["submissions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| {
                let time =
                    [&s["manifest_last_modified"], &s["created_at"]].into_iter().find(|t| t.is_string());
                let made_at = Timestamp::from_json(time.unwrap()).unwrap().instant();
                (Hotkey::new(s["hotkey"].as_str().unwrap()), made_at, records(&s["records"]))
            })
            .collect();
        let inputs: Vec<PruneInput<'_>> = miners
            .iter()
            .map(|(hotkey, made_at, rows)| PruneInput { hotkey, made_at: *made_at, rows })
            .collect();
        let (mut after_global, mut kept) = (serde_json::Map::new(), serde_json::Map::new());
        for (input, pruned) in inputs.iter().zip(prune(&inputs, &index, 4.5)) {
            let ids =
                |places: &[usize]| json!(places.iter().map(|i| &input.rows[*i].clip_id).collect::<Vec<_>>());
            let left = prune_global(input.rows, &index, 4.5);
            assert_eq!(pruned.global, input.rows.len() - left.len(), "{case}");
            assert_eq!(pruned.cross_miner, left.len() - pruned.kept.len(), "{case}");
            after_global.insert(input.hotkey.to_string(), ids(&left));
            kept.insert(input.hotkey.to_string(), ids(&pruned.kept));
        }
        json!({"after_global": after_global, "kept": kept})
    });
}

#[test]
fn categories_are_decided_as_python_decides_them() {
    rule("category", |case| {
        let frames: Vec<FrameScores> = serde_json::from_value(case["frames"].clone()).unwrap();
        let decision = category_decision(&frames).unwrap();
        json!({
            "accept": decision.accept, "nature_score": decision.nature_score,
            "rival_score": decision.rival_score, "margin": decision.margin,
        })
    });
}

#[test]
fn the_index_is_read_and_written_as_python_does() {
    rule("record_info", |case| {
        let index = OverlapIndex::parse(case["raw"].as_str().unwrap().as_bytes()).index;
        let parsed: BTreeMap<&str, &[f64]> = index.iter().collect();
        json!({"parsed": parsed, "serialized": index.to_json()})
    });
}

#[test]
fn the_generator_is_cpythons() {
    let fixture = expected("protocol/python.json");
    let cases = fixture["shuffles"].as_array().unwrap();
    assert!(cases.len() > 40);
    for case in cases {
        let mut random = PythonRandom::new(case["seed"].as_str().unwrap().parse().unwrap());
        let words: Vec<u32> = (0..3).map(|_| random.next_u32()).collect();
        assert_eq!(json!(words), case["words"], "{case}");
        assert_eq!(random.bits(64).to_string(), case["wide"], "{case}");
        assert_eq!(random.bits(45).to_string(), case["odd"], "{case}");
        let mut items: Vec<usize> = (0..case["shuffled"].as_array().unwrap().len()).collect();
        random.shuffle(&mut items);
        assert_eq!(json!(items), case["shuffled"], "{case}");
    }
}

#[test]
fn row_plans_are_cpythons() {
    let fixture = expected("protocol/python.json");
    let cases = fixture["plans"].as_array().unwrap();
    assert!(cases.len() >= 60);
    for case in cases {
        let total = usize::try_from(case["total"].as_u64().unwrap()).unwrap();
        let validator = case["validator"].as_str().map(Hotkey::new);
        let miner = Hotkey::new(case["miner"].as_str().unwrap());
        let seed = case["interval_seed"].as_str().unwrap();
        assert_eq!(
            json!(select_row_indices(total, &miner, validator.as_ref(), seed)),
            case["indices"],
            "{case}"
        );
        let interval = IntervalId::new(case["total"].as_u64().unwrap() * 100);
        assert_eq!(interval.seed(), seed, "{case}");
        let plan = SamplePlan::new(interval, &miner, validator.as_ref(), total);
        assert_eq!(json!(plan.indices), case["indices"], "{case}");
    }
}

#[test]
fn characters_are_classed_as_python_classes_them() {
    let fixture = expected("protocol/python.json");
    let set = |name: &str| -> std::collections::BTreeSet<u32> {
        let ranges: Vec<[u32; 2]> = serde_json::from_value(fixture[name].clone()).unwrap();
        ranges.into_iter().flat_map(|[first, last]| first..=last).collect()
    };
    let (space, word, assigned) = (set("space"), set("word"), set("assigned"));
    assert!(assigned.len() > 140_000);
    for code in assigned {
        let c = char::from_u32(code).unwrap();
        assert_eq!(python::is_space(c), space.contains(&code), "U+{code:04X} as white space");
        assert_eq!(python::is_word(c), word.contains(&code), "U+{code:04X} as part of a word");
    }
}

#[test]
fn three_decimals_are_pythons() {
    let fixture = expected("protocol/python.json");
    for case in list(&fixture, "three_decimals") {
        let x: f64 = case[0].as_str().unwrap().parse().unwrap();
        let index: OverlapIndex = [("k", vec![x])].into_iter().collect();
        let shown = case[1].as_str().unwrap();
        assert!(index.to_json().contains(&format!("\"{shown}\"")), "{case}");
        let text = format!("s:{shown}:{shown}");
        let digest = nexis_core::hash::Digest::of(text).to_string();
        assert_eq!(clip_id("s", x, x), digest[..24], "{case}");
    }
}

#[test]
fn record_info_survives_hostile_documents() {
    let deep = "[".repeat(100_000);
    let parsed = OverlapIndex::parse(deep.as_bytes());
    assert!(parsed.index.is_empty() && parsed.problem.is_some());
    let odd =
        r#"{"video_v1": {"a": ["1e999", "nan", -1, true, {}, [1], "1_0", 1e308], "b": {"c": []}, " ": [1]}}"#;
    let parsed = OverlapIndex::parse(odd.as_bytes());
    assert_eq!(parsed.index.get("https://www.youtube.com/watch?v=a"), [-1.0, 1.0, 10.0, 1e308]);
    assert_eq!(parsed.skipped, 6);
    // Two spellings of one video become one key.
    let two = r#"{"https://youtu.be/x": [5], "video_v1:x": ["0.0", 5.0]}"#;
    let parsed = OverlapIndex::parse(two.as_bytes());
    assert_eq!(
        parsed.index.iter().collect::<Vec<_>>(),
        [("https://www.youtube.com/watch?v=x", &[0.0, 5.0][..])]
    );
}

#[test]
fn a_bucket_name_stands_for_its_hotkey() {
    let hotkey = "5YjBQN2gFHFger1DeShFK8ZnYeE4EWBFjGyBSBdckDE1fHpz";
    assert_eq!(ExpectedMiner::from_folder_name(hotkey), ExpectedMiner::Hotkey(Hotkey::new(hotkey)));
    let lower = hotkey.to_lowercase();
    assert_eq!(ExpectedMiner::from_folder_name(&lower), ExpectedMiner::Bucket(lower));
}

#[test]
fn dense_weights_have_no_gaps() {
    let key = |name: &str| Hotkey::new(name);
    assert_eq!(dense_weights(&[], &[]).weights, Vec::<f64>::new());
    let metagraph = [(key("a"), 7), (key("b"), 0), (key("c"), 3)];
    // Nothing positive: UID 0 has it all, wherever it stands.
    let dense = dense_weights(&[(key("a"), -1.0), (key("c"), f64::NAN)], &metagraph);
    assert_eq!(dense.weights, [0.0, 1.0, 0.0]);
    let dense =
        dense_weights(&[(key("a"), 3.0), (key("b"), -2.0), (key("x"), 5.0), (key("c"), 1.0)], &metagraph);
    assert_eq!(dense.weights, [0.75, 0.0, 0.25]);
    assert_eq!(dense.unknown_hotkeys, [key("x")]);
}

#[test]
fn asset_keys_that_are_taken() {
    let interval = IntervalId::new(7_756_900);
    for (uri, key) in [
        ("clips/c1.mp4", "7756900/clips/c1.mp4"),
        ("7756900/clips/c1.mp4", "7756900/clips/c1.mp4"),
        ("77569001/c1.mp4", "7756900/77569001/c1.mp4"),
        ("clips/a b..c.mp4", "7756900/clips/a b..c.mp4"),
        ("clips/\u{e9}.mp4", "7756900/clips/\u{e9}.mp4"),
        ("...a/%2e%2e", "7756900/...a/%2e%2e"),
    ] {
        assert_eq!(asset_key(interval, uri).as_deref(), Ok(key), "{uri}");
    }
}

#[test]
fn asset_uris_that_are_refused() {
    let long = "a".repeat(1025);
    for uri in [
        "",
        "/",
        "/etc/passwd",
        "..",
        "../x",
        "clips/../../x",
        "clips/./x",
        ".",
        "clips//x",
        "clips/",
        "a/..",
        "7756900/",
        "7756900/../x",
        "7756900//x",
        "7756900//etc/passwd",
        "clips\\x",
        "..\\x",
        "C:/x",
        "c:x",
        "file:///etc/passwd",
        "https://x/y",
        "s3://b/k",
        "a\0b",
        "\0",
        "a\nb",
        "a\u{7f}",
        "a\u{85}b",
        "a\u{200b}b",
        "a\u{202e}b",
        "e\u{301}.mp4",
        "\u{212b}.mp4",
        "clips/x.",
        "clips/x ",
        " clips/x",
        "clips /x",
        "clips./x",
        "a\u{feff}",
        &long,
    ] {
        let violation = asset_key(IntervalId::new(7_756_900), uri).unwrap_err();
        assert_eq!(violation.code(), format!("invalid_asset_uri:{uri}"));
        assert!(!violation.detail.is_empty());
    }
}

proptest! {
    #[test]
    fn no_accepted_key_leaves_its_interval(uri in "(\\PC|[./\\\\:\u{0}~%a1 ]){0,40}", id in 0_u64..1_000_000) {
        let interval = IntervalId::new(id);
        if let Ok(key) = asset_key(interval, &uri) {
            let path = std::path::Path::new(&key);
            prop_assert!(path.components().all(|c| matches!(c, std::path::Component::Normal(_))));
            prop_assert!(path.starts_with(id.to_string()));
            prop_assert_eq!(path.components().count(), key.split('/').count());
            prop_assert!(!key.contains(['\0', '\\', ':']));
            // Asking for the key itself gives it back.
            prop_assert_eq!(asset_key(interval, &key).unwrap(), key);
        }
    }

    #[test]
    fn row_samples_are_ascending_and_of_the_right_size(total in 0_usize..5000, miner in "[a-z]{1,8}") {
        let indices = select_row_indices(total, &Hotkey::new(miner), None, "seed");
        let expected = if total <= 3 { total } else { total.div_ceil(5).clamp(1, 3) };
        prop_assert_eq!(indices.len(), expected);
        prop_assert!(indices.windows(2).all(|w| w[0] < w[1]));
        prop_assert!(indices.iter().all(|i| *i < total));
    }

    #[test]
    fn miner_samples_do_not_depend_on_order(names in proptest::collection::btree_set("[a-z]{6}", 0..60), by in 0_usize..60) {
        let mut hotkeys: Vec<Hotkey> = names.into_iter().map(Hotkey::new).collect();
        let first = select_miners("seed", &hotkeys);
        prop_assert_eq!(first.len(), hotkeys.len().min(35));
        if !hotkeys.is_empty() {
            let by = by % hotkeys.len();
            hotkeys.rotate_left(by);
        }
        prop_assert_eq!(select_miners("seed", &hotkeys), first);
    }

    #[test]
    fn a_draw_below_n_is_below_n(seed: u64, n in 1_u64..) {
        let mut random = PythonRandom::new(seed);
        for _ in 0..20 {
            prop_assert!(random.below(n) < n);
        }
    }
}

#[test]
fn an_interval_is_eligible_from_its_first_eligible_block_on() {
    for id in [0, 100, 6900, 7_756_900].map(IntervalId::new) {
        let first = id.first_eligible_block();
        assert_eq!(IntervalId::latest_eligible(first), Some(id));
        assert!(IntervalId::latest_eligible(first - 1).is_none_or(|earlier| earlier < id));
    }
}
