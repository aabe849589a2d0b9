//! The server's own endpoints.

use nexis_core::hash::Digest;
use serde_json::{Value, json};

use super::world::{Running, data_uri, form, judge, made, png};

/// JSON without what varies by run.
fn timeless(mut value: Value) -> Value {
    for key in ["timings_ms", "created_at"] {
        value.as_object_mut().unwrap().remove(key).unwrap();
    }
    value
}

#[test]
fn a_clip_has_the_same_scores_by_path_by_upload_and_from_its_frames() {
    let server = Running::shared();
    let clip = &made().clips[0];
    let expected = judge().score(&clip.path, &clip.caption).unwrap();
    let relative = clip.path.strip_prefix(made().root.path()).unwrap().to_str().unwrap();
    let by_path = server.post("/v1/score", &json!({ "caption": clip.caption, "clip": relative })).ok().json();
    let whole = clip.path.to_str().unwrap();
    let by_whole_path =
        server.post("/v1/score", &json!({ "caption": clip.caption, "clip": whole })).ok().json();
    let (kind, body) = form(&[("caption", &clip.caption)], "clip", &std::fs::read(&clip.path).unwrap());
    let uploaded = server.send("POST", "/v1/score", &[("content-type", &kind)], &body).ok().json();
    assert_eq!(timeless(by_path.clone()), timeless(by_whole_path));
    assert_eq!(timeless(by_path.clone()), timeless(uploaded));

    let as_json = |value: &dyn erased::Json| value.json();
    assert_eq!(by_path["alignment"], as_json(&expected.alignment));
    assert_eq!(by_path["category"], as_json(&expected.category));
    assert_eq!(by_path["probe"], as_json(&expected.decoded.probe));
    assert_eq!(by_path["verdict"], "accept");
    assert_eq!(by_path["failures"], json!([]));
    assert!(by_path["why"][0].as_str().unwrap().starts_with("The caption describes the frames: P(match) "));
    assert_eq!(by_path["frames"].as_array().unwrap().len(), 6);
    assert_eq!(by_path["frames"][5]["index"], 5);
    assert_eq!(by_path["frames"][5]["pts_seconds"], expected.decoded.frames[5].pts_seconds);
    assert!(by_path["frames"][0].get("picture").is_none());
    assert!(by_path["environment"]["notice"].as_str().unwrap().contains("demonstration"));

    let frames = json!({ "caption": clip.caption, "frames": clip.pictures[..6], "pictures": true });
    let frames = server.post("/v1/score", &frames).ok().json();
    assert_eq!(frames["alignment"], by_path["alignment"]);
    assert_eq!(frames["category"], by_path["category"]);
    assert!(frames["probe"].is_null());
    let picture = super::world::frame_of(frames["frames"][0]["picture"].as_str().unwrap());
    assert_eq!((picture.width, picture.height), (320, 180));
}

mod erased {
    pub(super) trait Json {
        fn json(&self) -> serde_json::Value;
    }

    impl<T: serde::Serialize> Json for T {
        fn json(&self) -> serde_json::Value {
            serde_json::to_value(self).unwrap()
        }
    }
}

#[test]
fn a_score_says_what_is_wrong() {
    let server = Running::shared();
    let clips = &made().clips;
    let frames = &clips[0].pictures[..6];
    let failures = |caption: &str| {
        let reply = server.post("/v1/score", &json!({ "caption": caption, "frames": frames })).ok().json();
        assert_eq!(reply["verdict"] == "accept", reply["failures"] == json!([]));
        assert_eq!(
            reply["failures"].as_array().unwrap().is_empty(),
            reply["alignment"]["verdict"] == "accept"
                && reply["category"]["decision"] == "accept"
                && !caption.contains("match")
        );
        reply["failures"].clone()
    };
    assert_eq!(failures(&clips[0].caption), json!([]));
    let injected = format!("{} The colours match.", clips[0].caption);
    assert_eq!(failures(&injected)[0], "caption_semantic_injection_keyword");
    assert!(
        failures("A crowded street with red buses and tall glass towers at night in the city centre.")
            .as_array()
            .unwrap()
            .contains(&json!("category_caption_reject"))
    );
    // A clip that is none is its maker's fault, not an error.
    let (kind, body) = form(&[("caption", "a lake")], "clip", b"no clip at all");
    let reply = server.send("POST", "/v1/score", &[("content-type", &kind)], &body).ok().json();
    assert_eq!(
        (reply["verdict"].clone(), reply["failures"].clone()),
        (json!("reject"), json!(["undecodable_clip"]))
    );
    assert!(reply["alignment"].is_null() && reply["category"].is_null(), "{reply}");
}

#[test]
fn frames_are_classified_as_the_judge_does() {
    let server = Running::shared();
    let clip = &made().clips[1];
    let expected = judge().classify(&clip.path).unwrap();
    let relative = clip.path.strip_prefix(made().root.path()).unwrap().to_str().unwrap();
    let reply = server.post("/v1/classify", &json!({ "clip": relative, "pictures": true })).ok().json();
    assert_eq!(reply["labels"], serde_json::to_value(&expected.labels).unwrap());
    assert_eq!(reply["nature_score"].as_f64(), expected.nature_score);
    assert_eq!(reply["margin"].as_f64(), expected.margin);
    assert_eq!(reply["verdict"], serde_json::to_value(expected.decision).unwrap());
    assert!(reply["frames"][5]["picture"].as_str().unwrap().starts_with("data:image/jpeg;base64,"));
    // Frames of different sizes are fine here, and too few are said to be.
    let small = data_uri("png", &png(&clip.frames[0].resized(640, 360).unwrap()));
    let two = server.post("/v1/classify", &json!({ "frames": [clip.pictures[0], small] })).ok().json();
    assert_eq!(two["failures"], json!(["category_strict_frames_missing"]));
    let (kind, body) = form(&[], "clip", &std::fs::read(&clip.path).unwrap());
    let uploaded = server.send("POST", "/v1/classify", &[("content-type", &kind)], &body).ok().json();
    assert_eq!(uploaded["labels"], reply["labels"]);
}

#[test]
fn verdicts_are_listed_and_their_evidence_is_what_it_says() {
    let server = Running::start(|options| options.recent = 8);
    let clip = &made().clips[0];
    let frames = json!(clip.pictures[..6]);
    let first = server.post("/v1/score", &json!({ "caption": clip.caption, "frames": frames })).ok().json();
    let again = server.post("/v1/score", &json!({ "caption": clip.caption, "frames": frames })).ok().json();
    assert_eq!(first["id"], again["id"], "evidence holds nothing that varies");
    server.post("/v1/score", &json!({ "caption": "A red bus in a city street.", "frames": frames })).ok();
    server.post("/v1/classify", &json!({ "frames": frames })).ok();

    let list = server.get("/v1/verdicts").ok().json();
    let kinds: Vec<&str> =
        list["verdicts"].as_array().unwrap().iter().map(|v| v["kind"].as_str().unwrap()).collect();
    assert_eq!((kinds, &list["more"]), (vec!["classify", "score", "score", "score"], &json!(false)));
    assert_eq!(list["verdicts"][3]["sequence"], 1);
    assert_eq!(list["verdicts"][3]["caption"], clip.caption.as_str());
    assert_eq!(list["verdicts"][3]["probability"], first["alignment"]["probability"]);
    let sequences = |query: &str| -> Vec<u64> {
        let page = server.get(&format!("/v1/verdicts?{query}")).ok().json();
        page["verdicts"].as_array().unwrap().iter().map(|v| v["sequence"].as_u64().unwrap()).collect()
    };
    assert_eq!(sequences("text=RED%20BUS"), [3]);
    assert_eq!(sequences("verdict=reject&kind=score"), [3]);
    assert_eq!(sequences("limit=2&before=4"), [3, 2]);
    assert_eq!(sequences("text=caption_semantic_mismatch").len() + sequences("text=no-such-thing").len(), 1);

    let id = first["id"].as_str().unwrap();
    let evidence = server.get(&format!("/v1/evidence/{id}")).ok();
    assert_eq!(Digest::of(&evidence.body).to_string(), id);
    let evidence = evidence.json();
    assert_eq!(evidence["alignment"], first["alignment"]);
    assert_eq!(evidence["environment"], first["environment"]);
    assert!(evidence.get("timings_ms").is_none());
    assert_eq!(server.get(&format!("/v1/evidence/{}", "0".repeat(64))).status, 404);
    for bad in ["x", &"A".repeat(64), &format!("{id}0"), "..%2f..%2fetc"] {
        assert_eq!(server.get(&format!("/v1/evidence/{bad}")).status, 400, "{bad}");
    }
    for bad in [
        "limit=0",
        "limit=201",
        "limit=x",
        "kind=mood",
        "verdict=maybe",
        "before=0",
        "text=",
        "mood=1",
        "limit=1&limit=2",
    ] {
        assert_eq!(server.get(&format!("/v1/verdicts?{bad}")).status, 400, "{bad}");
    }
}

#[test]
fn the_model_says_what_it_is() {
    let server = Running::shared();
    let list = server.get("/v1/models").ok().json();
    assert_eq!((list["object"].clone(), list["data"][0]["id"].clone()), (json!("list"), json!("demo")));
    assert_eq!(list["data"][0]["demonstration"], true);
    assert_eq!(list["data"][0]["environment"], serde_json::to_value(judge().environment()).unwrap());
    assert_eq!(server.get("/v1/models/demo").ok().json(), list["data"][0]);
    assert_eq!(server.get("/v1/models/gpt-4o").status, 404);
}

#[test]
fn what_makes_no_sense_is_refused_in_words() {
    let server = Running::shared();
    let clip = &made().clips[0];
    let frames = json!(clip.pictures[..1]);
    for (body, says) in [
        (json!({ "frames": frames }), "caption: it is missing"),
        (json!({ "caption": " ", "frames": frames }), "caption: it is empty"),
        (json!({ "caption": "x".repeat(70_000), "frames": frames }), "caption: 70000 bytes"),
        (json!({ "caption": "x" }), "either `clip` or `frames`"),
        (json!({ "caption": "x", "clip": "a", "frames": frames }), "either `clip` or `frames`"),
        (json!({ "caption": "x", "frames": [] }), "frames: 0 pictures"),
        (json!({ "caption": "x", "frames": vec!["x"; 13] }), "frames: 13 pictures"),
        (json!({ "caption": "x", "frames": ["http://example.org/a.png"] }), "nothing is fetched"),
        (json!({ "caption": "x", "frames": [data_uri("png", b"x")] }), "frames[0]: neither JPEG nor PNG"),
        (json!({ "caption": "x", "frames": vec![0; 70_000] }), "more than 65536 values"),
        (json!({ "caption": "x", "frames": frames, "mood": 1 }), "unknown field `mood`"),
        (json!({ "caption": 1, "frames": frames }), "body: invalid type"),
        (json!({ "caption": "x", "frames": frames, "pictures": "yes" }), "body: invalid type"),
        (json!([]), "body: a JSON object"),
        (json!({ "caption": "x", "clip": "" }), "clip: a path"),
    ] {
        let error = server.post("/v1/score", &body).error();
        assert!(error.starts_with("400: ") && error.contains(says), "{says}: {error}");
    }
    let sizes = [clip.pictures[0].clone(), data_uri("png", &png(&clip.frames[0].resized(64, 36).unwrap()))];
    assert!(
        server.post("/v1/score", &json!({ "caption": "x", "frames": sizes })).error().contains("one size")
    );
    let extreme = [data_uri("png", &png(&clip.frames[0].resized(900, 9).unwrap()))];
    assert!(
        server.post("/v1/score", &json!({ "caption": "x", "frames": extreme })).error().starts_with("400")
    );
    let reply = server.send("POST", "/v1/score", &[("content-type", "application/json")], b"{\"caption\":");
    assert!(reply.error().contains("no JSON"));
    assert_eq!(server.send("POST", "/v1/score", &[("content-type", "text/plain")], b"{}").status, 415);
    assert_eq!(server.send("POST", "/v1/score", &[], b"{}").status, 415);
    assert_eq!(server.get("/v1/score").status, 405);
    assert_eq!(server.get("/v1/score").headers["allow"], "POST");
    assert_eq!(server.get("/v2").status, 404);
    assert!(
        server.post("/v1/classify", &json!({ "caption": "x", "frames": frames })).error().contains("caption")
    );
}

#[test]
fn a_file_below_a_root_is_read_within_the_limit_of_uploads() {
    let clip = &made().clips[0];
    let bytes = std::fs::metadata(&clip.path).unwrap().len();
    for (most, status) in [(bytes, 200), (bytes - 1, 413)] {
        let server = Running::start(|options| {
            options.roots = vec![made().root.path().to_path_buf()];
            options.limits.upload_bytes = most;
        });
        for (address, request) in [
            ("/v1/score", json!({ "caption": clip.caption, "clip": clip.path })),
            ("/v1/classify", json!({ "clip": clip.path })),
        ] {
            let reply = server.post(address, &request);
            assert_eq!(reply.status, status, "{address}: {}", reply.text());
        }
    }
}

#[test]
fn no_path_leads_out_of_the_roots() {
    let server = Running::shared();
    let clip = &made().clips[0];
    let outside = tempfile::tempdir().unwrap();
    let copy = outside.path().join("clip.mp4");
    std::fs::copy(&clip.path, &copy).unwrap();
    let inside = made().root.path();
    #[cfg(unix)]
    for (name, target) in [("link.mp4", copy.as_path()), ("link", outside.path()), ("pipe-less", inside)] {
        let _ = std::os::unix::fs::symlink(target, inside.join(name));
    }
    let status = |path: &str| {
        let score = server.post("/v1/score", &json!({ "caption": "x", "clip": path })).status;
        let verify = server.post("/v1/verify", &json!({ "path": path })).status;
        assert_eq!(score, server.post("/v1/classify", &json!({ "clip": path })).status, "{path}");
        (score, verify)
    };
    let up = format!("../{}/clip.mp4", outside.path().file_name().unwrap().to_str().unwrap());
    for path in [
        copy.to_str().unwrap(),
        &up,
        "/etc/passwd",
        "/",
        "..",
        "a/../../etc",
        "link.mp4",
        "link/clip.mp4",
        "x\0",
    ] {
        assert_eq!(status(path), (403, 403), "{path}");
    }
    assert_eq!(status("nowhere/clip.mp4"), (404, 404));
    // A folder is no clip.
    assert_eq!(server.post("/v1/score", &json!({ "caption": "x", "clip": "." })).status, 400);
    let closed = Running::start(|_| {});
    let error = closed.post("/v1/score", &json!({ "caption": "x", "clip": clip.path })).error();
    assert!(error.starts_with("403: ") && error.contains("--root"), "{error}");
}
