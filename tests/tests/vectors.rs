//! Every published input/output pair of the protocol.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use nexis_core::check::{FrameScores, category_decision, has_injection_keyword, middle_three};
use nexis_core::commitment::Credentials;
use nexis_core::overlap::{
    OverlapIndex, PruneInput, is_allowed_source, overlap_index_keys, prune, prune_global, record_info_key,
    source_identity_key,
};
use nexis_core::package::{ClipRecord, Manifest, clip_id, validate_row};
use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_core::sample::{select_miners, select_row_indices};
use nexis_core::spec::{DatasetSpec, VideoSpec};
use nexis_core::weights::{IntervalScore, dense_weights, interval_score, normalized_weights};
use nexis_tests::reference::expected;
use serde_json::{Map, Value, json};

fn vector(name: &str) -> Value {
    expected(nexis_tests::root().join(format!("tests/vectors/{name}.json")))
}

fn cases(name: &str) -> Vec<Value> {
    let cases = vector(name).as_array().cloned().unwrap_or_else(|| panic!("{name} is no list"));
    assert!(!cases.is_empty(), "{name} has no cases");
    cases
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} of {value}"))
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
}

fn hotkeys(value: &Value) -> Vec<Hotkey> {
    texts(value).iter().map(Hotkey::new).collect()
}

fn now() -> DateTime<Utc> {
    "2026-04-11T00:00:00Z".parse().unwrap()
}

#[test]
fn intervals() {
    for case in cases("intervals") {
        let block = case["block"].as_u64().unwrap();
        let current = IntervalId::containing(block).get();
        assert_eq!(json!(current), case["current_interval_start"], "block {block}");
        let latest = IntervalId::latest_eligible(block).map(IntervalId::get);
        assert_eq!(json!(latest), case["latest_eligible_validation_interval"], "block {block}");
    }
}

#[test]
fn manifest_validation() {
    for (i, case) in cases("manifest_validation").iter().enumerate() {
        let parsed = Manifest::parse(case["input"].to_string().as_bytes(), now());
        assert_eq!(json!(parsed.is_ok()), case["valid"], "case {i}: {case} gave {parsed:?}");
        let Ok(manifest) = parsed else { continue };
        let mut expected = case["parsed"].clone();
        if expected["created_at"] == "<now>" {
            expected["created_at"] = json!("2026-04-11T00:00:00Z");
        }
        let written: Value = serde_json::from_str(&manifest.to_json()).unwrap();
        assert_eq!(written, expected, "case {i}");
        let again = Manifest::parse(manifest.to_json().as_bytes(), now()).unwrap();
        assert_eq!(again, manifest, "case {i} does not survive writing");
    }
}

#[test]
fn record_validation() {
    let vector = vector("record_validation");
    let rules = VideoSpec::default().row_rules();
    let base = vector["base"].as_object().unwrap();
    assert!(validate_row(base, &rules).is_ok());
    let mutations = vector["mutations"].as_array().unwrap();
    assert!(!mutations.is_empty());
    for mutation in mutations {
        let mut row = base.clone();
        let field = text(mutation, "field").to_owned();
        if mutation["missing"] == true {
            row.remove(&field);
        } else {
            row.insert(field, mutation["value"].clone());
        }
        let result = validate_row(&row, &rules);
        assert_eq!(json!(result.is_ok()), mutation["valid"], "{mutation} gave {result:?}");
    }
}

#[test]
fn clip_ids() {
    for case in cases("clip_id") {
        let id = clip_id(
            text(&case, "source_video_id"),
            case["clip_start_sec"].as_f64().unwrap(),
            case["duration_sec"].as_f64().unwrap(),
        );
        assert_eq!(id, text(&case, "clip_id"), "{case}");
    }
}

#[test]
fn miner_sampling() {
    for case in cases("miner_sampling") {
        let interval = IntervalId::new(case["interval_id"].as_u64().unwrap());
        assert_eq!(interval.seed(), text(&case, "interval_seed"));
        let selected = select_miners(&interval.seed(), &hotkeys(&case["hotkeys"]));
        assert_eq!(selected, hotkeys(&case["selected"]), "interval {interval}");
    }
}

#[test]
fn row_sampling() {
    for case in cases("row_sampling") {
        let total = usize::try_from(case["total_rows"].as_u64().unwrap()).unwrap();
        let miner = Hotkey::new(text(&case, "miner_hotkey"));
        let validator = case["validator_hotkey"].as_str().map(Hotkey::new);
        let indices = select_row_indices(total, &miner, validator.as_ref(), text(&case, "interval_seed"));
        assert_eq!(json!(indices), case["indices"], "{case}");
    }
}

fn row(value: &Value) -> ClipRecord {
    serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{value}: {e}"))
}

#[test]
fn hard_checks() {
    for (i, case) in cases("hard_checks").iter().enumerate() {
        let rows: Vec<ClipRecord> = case["records"].as_array().unwrap().iter().map(row).collect();
        let codes: Vec<String> = VideoSpec::default().hard_checks(&rows).iter().map(|v| v.code()).collect();
        assert_eq!(codes, texts(&case["failures"]), "case {i}");
    }
}

#[test]
fn injection() {
    for case in cases("injection") {
        assert_eq!(json!(has_injection_keyword(text(&case, "caption"))), case["injection"], "{case}");
    }
}

#[test]
fn middle_frames() {
    for case in cases("middle_three") {
        let n = usize::try_from(case["n"].as_u64().unwrap()).unwrap();
        assert_eq!(json!(middle_three(n)), case["indices"], "n = {n}");
    }
}

#[test]
fn category_strict() {
    for (i, case) in cases("category_strict").iter().enumerate() {
        let frames: Vec<FrameScores> = serde_json::from_value(case["input"]["frames"].clone()).unwrap();
        let decision = category_decision(&frames).unwrap();
        assert_eq!(decision.accept, case["decision"] == "accept", "case {i}: {decision:?}");
        // To the last bit.
        assert_eq!(json!(decision.nature_score), case["nature_score"], "case {i}");
        assert_eq!(json!(decision.rival_score), case["rival_score"], "case {i}");
        assert_eq!(json!(decision.margin), case["margin"], "case {i}");
    }
}

#[test]
fn source_urls() {
    for case in cases("source_urls") {
        let url = text(&case, "url");
        assert_eq!(json!(is_allowed_source(url)), case["allowed"], "{url}");
        assert_eq!(source_identity_key(url), text(&case, "source_identity_key"), "{url}");
        assert_eq!(record_info_key(url), text(&case, "record_info_key"), "{url}");
        let keys = overlap_index_keys(url, text(&case, "source_video_id"));
        assert_eq!(keys, texts(&case["overlap_index_keys"]), "{url}");
    }
}

fn index(value: &Value) -> OverlapIndex {
    let entries = value.as_object().unwrap().iter();
    entries.map(|(key, starts)| (key.as_str(), serde_json::from_value(starts.clone()).unwrap())).collect()
}

#[test]
fn record_info() {
    for case in cases("record_info") {
        let parsed = OverlapIndex::parse(text(&case, "raw").as_bytes());
        assert_eq!(parsed.index, index(&case["parsed"]), "{case}");
        assert_eq!(parsed.index.to_json(), text(&case, "serialized"), "{case}");
        assert_eq!(OverlapIndex::parse(parsed.index.to_json().as_bytes()).index, parsed.index, "{case}");
    }
}

#[test]
fn overlap_pruning() {
    let template = vector("record_validation")["base"].clone();
    for (i, case) in cases("overlap_pruning").iter().enumerate() {
        let submissions = case["submissions"].as_array().unwrap();
        let miners: Vec<(Hotkey, DateTime<Utc>, Vec<ClipRecord>)> = submissions
            .iter()
            .map(|s| {
                let time = s["manifest_last_modified"].as_str().unwrap_or_else(|| text(s, "created_at"));
                let rows = s["records"].as_array().unwrap().iter().map(|record| {
                    let mut full = template.clone();
                    for (key, value) in record.as_object().unwrap() {
                        full[key] = value.clone();
                    }
                    row(&full)
                });
                (Hotkey::new(text(s, "hotkey")), time.parse().unwrap(), rows.collect())
            })
            .collect();
        let inputs: Vec<PruneInput<'_>> = miners
            .iter()
            .map(|(hotkey, made_at, rows)| PruneInput { hotkey, made_at: *made_at, rows })
            .collect();
        let index = index(&case["global_index"]);
        let ids = |rows: &[ClipRecord], kept: &[usize]| -> Vec<String> {
            kept.iter().map(|k| rows[*k].clip_id.clone()).collect()
        };
        let (mut global, mut cross) = (Map::new(), Map::new());
        for (input, pruned) in inputs.iter().zip(prune(&inputs, &index, 4.5)) {
            let who = input.hotkey.as_str();
            if pruned.global > 0 {
                global.insert(who.to_owned(), json!(pruned.global));
            }
            if pruned.cross_miner > 0 {
                cross.insert(who.to_owned(), json!(pruned.cross_miner));
            }
            let after_global = prune_global(input.rows, &index, 4.5);
            assert_eq!(
                ids(input.rows, &after_global),
                texts(&case["kept_after_global"][who]),
                "case {i}: {who}"
            );
            assert_eq!(ids(input.rows, &pruned.kept), texts(&case["kept"][who]), "case {i}: {who}");
        }
        assert_eq!(Value::Object(global), case["global_pruned"], "case {i}");
        assert_eq!(Value::Object(cross), case["cross_miner_pruned"], "case {i}");
    }
}

#[test]
fn scoring_weights() {
    for (i, case) in cases("scoring_weights").iter().enumerate() {
        let previous: BTreeMap<Hotkey, bool> =
            serde_json::from_value(case["previous_interval_accepted"].clone()).unwrap();
        let scores: Vec<IntervalScore> = serde_json::from_value(case["scores"].clone()).unwrap();
        for (score, written) in scores.iter().zip(case["scores"].as_array().unwrap()) {
            assert_eq!(json!(interval_score(score.accepted, score.passed_sample_count)), written["score"]);
        }
        let weights = normalized_weights(&scores, &previous);
        let as_map: Map<String, Value> = weights.iter().map(|(h, w)| (h.to_string(), json!(w))).collect();
        assert_eq!(Value::Object(as_map), case["weights"], "case {i}");
        let uids: Vec<u16> = serde_json::from_value(case["metagraph"]["uids"].clone()).unwrap();
        let metagraph: Vec<(Hotkey, u16)> =
            hotkeys(&case["metagraph"]["hotkeys"]).into_iter().zip(uids).collect();
        let dense = dense_weights(&weights, &metagraph);
        assert_eq!(serde_json::to_value(&dense).unwrap(), case["dense"], "case {i}");
    }
}

#[test]
fn commitments() {
    for case in cases("commitments") {
        let payload = text(&case, "payload");
        let decoded = Credentials::decode(payload);
        let shown = decoded.as_ref().map(|c| {
            json!({
                "account_id": c.account_id(),
                "read_access_key": c.read_access_key(),
                "read_secret_key": c.read_secret_key(),
            })
        });
        assert_eq!(json!(shown), case["decoded"], "{payload}");
        if let Some(credentials) = decoded {
            let encoded = credentials.encode();
            assert!(encoded.eq_ignore_ascii_case(payload), "{payload}");
            assert_eq!(Credentials::decode(&encoded), Some(credentials), "{payload}");
        }
    }
}

#[test]
fn every_vector_file_has_its_test() {
    let folder = nexis_tests::root().join("tests/vectors");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap().replace(".json", ""))
        .collect();
    names.sort();
    let source = include_str!("vectors.rs");
    for name in &names {
        let read = format!("cases(\"{name}\")");
        let opened = format!("vector(\"{name}\")");
        assert!(source.contains(&read) || source.contains(&opened), "{name} is not tested");
    }
    assert_eq!(names.len(), 15);
}
