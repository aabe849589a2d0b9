//! A server with a judge behind its encoder: what is in doubt, and questions in a caller's own words.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nexis_core::report::{Decider, Verdict};
use nexis_core::verifier::{JUDGE_BUDGET, RowJudge, YES};
use nexis_gpu::{EngineOptions, JudgeChoice};
use serde_json::{Value, json};

use super::world::{Running, engine, frame_of, made};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The demonstration model with a card that leaves every caption to the judge, and a small random Qwen3-VL.
fn doubtful() -> &'static EngineOptions {
    static FOLDER: OnceLock<(tempfile::TempDir, EngineOptions)> = OnceLock::new();
    let (_, options) = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let (demo, copy) = (repository().join("models/demo"), folder.path().join("demo"));
        std::fs::create_dir(&copy).unwrap();
        for name in ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"] {
            std::fs::copy(demo.join(name), copy.join(name)).unwrap();
        }
        let card = std::fs::read_to_string(demo.join("card.toml")).unwrap();
        let doubtful = card.replace("[alignment]\n", "[alignment]\ndoubt = { from = 0.0, below = 1.0 }\n");
        assert_ne!(doubtful, card);
        std::fs::write(copy.join("card.toml"), doubtful).unwrap();
        let judge = repository().join("tests/fixtures/judges/qwen3_vl_tied_bf16");
        let judge = JudgeChoice { id: judge.to_str().unwrap().to_owned(), budget: JUDGE_BUDGET };
        let model = copy.to_str().unwrap().to_owned();
        (folder, EngineOptions { model, judge: Some(judge), ..engine() })
    });
    options
}

fn judge() -> &'static RowJudge {
    static JUDGE: OnceLock<RowJudge> = OnceLock::new();
    JUDGE.get_or_init(|| doubtful().judge().unwrap())
}

fn server() -> &'static Running {
    static SERVER: OnceLock<Running> = OnceLock::new();
    SERVER.get_or_init(|| {
        Running::start(|options| {
            options.engine = doubtful().clone();
            options.roots = vec![made().root.path().to_path_buf()];
        })
    })
}

fn chat(text: &str, pictures: &[String]) -> Value {
    let pictures = pictures.iter().map(|url| json!({ "type": "image_url", "image_url": { "url": url } }));
    let content: Vec<Value> =
        std::iter::once(json!({ "type": "text", "text": text })).chain(pictures).collect();
    json!({ "model": "any", "messages": [{ "role": "user", "content": content }] })
}

fn content(request: &Value) -> String {
    let reply = server().post("/v1/chat/completions", request).ok().json();
    reply["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_in_doubt_is_the_judges_over_the_wire_as_on_the_command_line() {
    let mut judged = 0;
    for clip in &made().clips {
        // Picture files carry no times, and a judge is told times.
        let frames: Vec<_> = clip.pictures[..6].iter().map(|uri| frame_of(uri)).collect();
        let expected = judge().score_frames(&frames, &clip.caption).unwrap();
        let cascade = expected.alignment.cascade.unwrap();
        judged += usize::from(cascade.decided_by == Decider::Judge);

        let asked = format!(
            "Caption: {}\n\nReturn ONLY JSON: {{\"match\": true}} or {{\"match\": false}}.",
            clip.caption
        );
        // Twice: the second time, the pictures are remembered and not decoded for the encoder.
        for _ in 0..2 {
            let matched: Value = serde_json::from_str(&content(&chat(&asked, &clip.pictures[..6]))).unwrap();
            assert_eq!(matched, json!({ "match": expected.alignment.verdict == Verdict::Accept }));
        }
        let request = json!({ "caption": clip.caption, "frames": clip.pictures[..6] });
        let scored = server().post("/v1/score", &request).ok().json();
        assert_eq!(scored["alignment"], serde_json::to_value(&expected.alignment).unwrap());
        assert_eq!(scored["category"], serde_json::to_value(&expected.category).unwrap());
        assert_eq!(scored["environment"]["judge"]["identity"]["model"]["architecture"], "qwen3-vl");

        let of_clip = judge().score(&clip.path, &clip.caption).unwrap();
        let request = json!({ "caption": clip.caption, "clip": clip.path });
        let scored = server().post("/v1/score", &request).ok().json();
        assert_eq!(scored["alignment"], serde_json::to_value(&of_clip.alignment).unwrap());
    }
    assert!(judged > 0, "nothing was in doubt");
}

#[test]
fn a_question_of_the_callers_own_is_answered_by_yes_or_no() {
    let clip = &made().clips[0];
    let frames: Vec<_> = clip.pictures[..3].iter().map(|uri| frame_of(uri)).collect();
    for question in ["Is there a boat in these pictures? Answer yes or no.", "Yes/no: is the sky visible?"] {
        let expected = match judge().ask(&frames, question).unwrap() {
            Some(nexis_core::model::judge::Answer::Yes(yes)) if yes >= YES => "Yes",
            Some(_) => "No",
            None => panic!("there is a judge"),
        };
        let reply = server().post("/v1/chat/completions", &chat(question, &clip.pictures[..3])).ok();
        assert!(!reply.headers.contains_key("x-nexis-evidence"), "it is no verdict");
        let reply = reply.json();
        assert_eq!(reply["choices"][0]["message"]["content"], expected, "{question}");
        assert_eq!(reply["model"], "qwen3_vl_tied_bf16");
        assert!(reply["usage"]["prompt_tokens"].as_u64().unwrap() > 0);
    }
}

#[test]
fn labels_are_the_encoders_and_say_so() {
    let clip = &made().clips[0];
    let request = json!({ "frames": clip.pictures[..6] });
    let labelled = server().post("/v1/classify", &request).ok().json();
    assert!(labelled["environment"].get("judge").is_none(), "{labelled}");
    let expected = judge().without_judge();
    assert_eq!(labelled["environment"], serde_json::to_value(expected.environment()).unwrap());
}

#[test]
fn what_the_judge_cannot_answer_is_refused() {
    let clip = &made().clips[0];
    let refused = |request: &Value| {
        let reply = server().post("/v1/chat/completions", request);
        assert!((400..=413).contains(&reply.status), "{}", reply.text());
        reply.json()["error"]["message"].as_str().unwrap().to_owned()
    };
    let poem = refused(&chat("Write a poem about these pictures.", &clip.pictures[..2]));
    assert!(poem.contains("yes or no"), "{poem}");
    // A caption cannot turn a prompt that is not understood into a question for the judge.
    let strange = "Rate the match from 1 to 10.\n\nCaption: A boat. Answer yes or no.";
    let strange = refused(&chat(strange, &clip.pictures[..2]));
    assert!(strange.contains("yes or no"), "{strange}");
    let blind = refused(&chat("Is there a boat? Answer yes or no.", &[]));
    assert!(blind.contains("no picture"), "{blind}");
    let long = format!("Is there {} boat? Answer yes or no.", "a very small ".repeat(2000));
    let long = refused(&chat(&long, &clip.pictures[..2]));
    assert!(long.contains("tokens"), "{long}");
    let mut formatted = chat("Is there a boat? Answer yes or no.", &clip.pictures[..2]);
    formatted["response_format"] = json!({
        "type": "json_schema",
        "json_schema": { "name": "a", "schema": { "type": "object", "properties": { "boat": { "type": "boolean" } } } }
    });
    let formatted = refused(&formatted);
    assert!(formatted.contains("response_format"), "{formatted}");
}
