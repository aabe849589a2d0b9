//! A server with two encoders that decide together.

use std::sync::OnceLock;

use nexis_core::report::{Decider, Verdict};
use nexis_core::verifier::RowJudge;
use nexis_gpu::EngineOptions;
use serde_json::{Value, json};

use super::second::tiny;
use super::world::{Running, engine, frame_of, made};

/// The demonstration model, and a tiny one that says no to every caption.
fn together() -> &'static EngineOptions {
    static FOLDER: OnceLock<(tempfile::TempDir, EngineOptions)> = OnceLock::new();
    let (_, options) = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let ensemble = Some(tiny(folder.path(), 0.02));
        (folder, EngineOptions { ensemble, ..engine() })
    });
    options
}

fn judge() -> &'static RowJudge {
    static JUDGE: OnceLock<RowJudge> = OnceLock::new();
    JUDGE.get_or_init(|| together().judge().unwrap())
}

fn server() -> &'static Running {
    static SERVER: OnceLock<Running> = OnceLock::new();
    SERVER.get_or_init(|| {
        Running::start(|options| {
            options.engine = together().clone();
            options.roots = vec![made().root.path().to_path_buf()];
        })
    })
}

#[test]
fn both_encoders_say_over_the_wire_what_they_say_on_the_command_line() {
    let mut split = 0;
    for clip in &made().clips {
        let frames: Vec<_> = clip.pictures[..6].iter().map(|uri| frame_of(uri)).collect();
        let expected = judge().score_frames(&frames, &clip.caption).unwrap();
        split += usize::from(expected.alignment.cascade.unwrap().decided_by == Decider::LogOdds);
        let request = json!({ "caption": clip.caption, "frames": clip.pictures[..6] });
        // Labels of some frames are asked for before, so that of those the first encoder's embeddings are remembered
        // alone; the second time, all are.
        server().post("/v1/classify", &json!({ "frames": clip.pictures[..3] })).ok();
        for _ in 0..2 {
            let scored = server().post("/v1/score", &request).ok().json();
            assert_eq!(scored["alignment"], serde_json::to_value(&expected.alignment).unwrap());
            assert_eq!(scored["category"], serde_json::to_value(&expected.category).unwrap());
            assert_eq!(scored["environment"]["ensemble"]["model"]["id"], "tiny");
            assert!(scored["why"].to_string().contains("by the second encoder"), "{}", scored["why"]);
        }
        let of_clip = judge().score(&clip.path, &clip.caption).unwrap();
        let request = json!({ "caption": clip.caption, "clip": clip.path });
        let scored = server().post("/v1/score", &request).ok().json();
        assert_eq!(scored["alignment"], serde_json::to_value(&of_clip.alignment).unwrap());
        assert_eq!(scored["category"], serde_json::to_value(&of_clip.category).unwrap());

        let asked = format!(
            "Caption: {}\n\nReturn ONLY JSON: {{\"match\": true}} or {{\"match\": false}}.",
            clip.caption
        );
        let mut content = vec![json!({ "type": "text", "text": asked })];
        content.extend(
            clip.pictures[..6].iter().map(|url| json!({ "type": "image_url", "image_url": { "url": url } })),
        );
        let request = json!({ "model": "any", "messages": [{ "role": "user", "content": content }] });
        let reply = server().post("/v1/chat/completions", &request).ok().json();
        let matched: Value =
            serde_json::from_str(reply["choices"][0]["message"]["content"].as_str().unwrap()).unwrap();
        assert_eq!(matched, json!({ "match": expected.alignment.verdict == Verdict::Accept }));
    }
    assert!(split > 0, "the two never disagreed");
}

#[test]
fn labels_are_the_first_encoders_and_say_so() {
    let clip = &made().clips[0];
    let request = json!({ "frames": clip.pictures[..6] });
    let labelled = server().post("/v1/classify", &request).ok().json();
    let alone = judge().without_ensemble();
    assert_eq!(labelled["environment"], serde_json::to_value(alone.environment()).unwrap());
    let frames: Vec<_> = clip.pictures[..6].iter().map(|uri| frame_of(uri)).collect();
    let expected = alone.classify_frames(&frames).unwrap();
    assert_eq!(labelled["labels"], serde_json::to_value(&expected.labels).unwrap());
}

#[test]
fn the_list_shows_what_decided() {
    let clip = &made().clips[0];
    let request = json!({ "caption": clip.caption, "frames": clip.pictures[..6] });
    let scored = server().post("/v1/score", &request).ok().json();
    let listed = server().get("/v1/verdicts?kind=score&limit=200").ok().json();
    let listed = listed["verdicts"].as_array().unwrap();
    let listed = listed.iter().find(|verdict| verdict["id"] == scored["id"]).unwrap();
    for (of, figure, least, by) in [
        ("alignment", "probability", 0.5, "decided_by"),
        ("category", "nature_score", 0.72, "nature_decided_by"),
    ] {
        let report = &scored[of];
        assert_eq!(listed[by], report["cascade"]["decided_by"], "{of}");
        let leads = report["ensemble"]["log_odds"].as_array().unwrap();
        let sum: f64 = leads.iter().map(|lead| lead.as_f64().unwrap()).sum();
        let figure = listed[figure].as_f64().unwrap();
        let odds = |share: f64| (share / (1.0 - share)).ln();
        assert!((odds(figure) - odds(least) - sum).abs() < 1e-9, "{of}: {figure}, {sum}");
    }
    assert_eq!(listed["threshold"], 0.5);
    let above = listed["probability"].as_f64() > listed["threshold"].as_f64();
    assert_eq!(above, scored["alignment"]["verdict"] == "accept");
}

#[test]
fn what_both_encoders_saw_of_a_picture_is_remembered() {
    let server = Running::start(|options| options.engine = together().clone());
    let clip = &made().clips[1];
    let frames = json!(clip.pictures[..6]);
    let lookups = |outcome: &str| -> f64 {
        let text = server.get("/metrics").ok().text();
        let name = format!("nexis_picture_lookups_total{{outcome=\"{outcome}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0.0, |count| count.parse().unwrap())
    };
    let counts = || (lookups("miss"), lookups("hit"));
    let score =
        || server.post("/v1/score", &json!({ "caption": clip.caption, "frames": frames })).ok().json();
    let first = score();
    assert_eq!(counts(), (6.0, 0.0));
    // Everything of every encoder is remembered, so that none of the twelve is a miss for what one of them lacks.
    assert_eq!(score()["id"], first["id"]);
    server.post("/v1/classify", &json!({ "frames": frames })).ok();
    assert_eq!(counts(), (6.0, 12.0));
}
