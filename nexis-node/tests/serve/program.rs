//! The command as an operator runs it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::world::{Running, made, send};

const KEY: &str = "sk-nexis-of-the-operator-1";
const OTHER: &str = "sk-nexis-of-the-environment-2";

fn nexis(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nexis"));
    command
        .arg("serve")
        .args(arguments)
        .env("NEXIS_MODELS", Path::new(env!("CARGO_MANIFEST_DIR")).join("../models"))
        .env_remove("NEXIS_API_KEYS")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[test]
fn it_serves_until_it_is_told_to_stop_and_tells_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, format!("# operators\n{KEY}\n")).unwrap();
    let evidence = folder.path().join("evidence");
    let arguments = [
        "--bind",
        "127.0.0.1:0",
        "--log",
        "trace",
        "--log-json",
        "--api-key-file",
        keys.to_str().unwrap(),
        "--evidence",
        evidence.to_str().unwrap(),
        "--root",
        made().root.path().to_str().unwrap(),
        "--threads",
        "2",
    ];
    let mut child = nexis(&arguments).env("NEXIS_API_KEYS", OTHER).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut log = String::new();
    let address = loop {
        let before = log.len();
        assert!(lines.read_line(&mut log).unwrap() > 0, "{log}");
        let line: Value = serde_json::from_str(&log[before..]).unwrap();
        if line["message"] == "serving" {
            break line["address"].as_str().unwrap().parse().unwrap();
        }
    };
    assert!(log.contains("the model is a demonstration and no judge of real footage"), "{log}");
    let rest = std::thread::spawn(move || {
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        rest
    });
    let clip = &made().clips[0];
    let relative = clip.path.strip_prefix(made().root.path()).unwrap();
    let body = json!({ "caption": clip.caption, "clip": relative }).to_string();
    let ask = |key: &str| {
        let authorization = format!("Bearer {key}");
        let headers = [("content-type", "application/json"), ("authorization", authorization.as_str())];
        send(address, "POST", "/v1/score", &headers, body.as_bytes())
    };
    assert_eq!(ask("sk-nexis-of-nobody-at-all").status, 401);
    ask(OTHER).ok();
    let scored = ask(KEY).ok().json();
    assert!(evidence.join(format!("{}.json", scored["id"].as_str().unwrap())).is_file());
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    log.push_str(&rest.join().unwrap());
    assert!(log.contains("\"stopped\""), "{log}");
    for secret in [KEY, OTHER, "sk-nexis-of-nobody-at-all"] {
        assert!(!log.contains(secret), "a key is in the log");
    }
}

#[test]
fn a_wrong_call_is_refused_before_anything_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "# none\n").unwrap();
    for (arguments, code, says) in [
        (vec!["--root", "/no/such/folder"], 64, "--root /no/such/folder: there is no such folder"),
        (vec!["--root", empty.to_str().unwrap()], 64, "it is no folder"),
        // Before the model is looked for.
        (vec!["--root", "nowhere", "--model", "no-such-model"], 64, "--root nowhere"),
        (vec!["--judge", "demo"], 64, "answers no questions"),
        (vec!["--api-key-file", empty.to_str().unwrap()], 64, "no key is in it"),
        (vec!["--bind", "nowhere"], 64, "--bind"),
        (vec!["--device", "cuda:0"], 2, "cuda:0"),
        (vec!["--log", "nexis=loud"], 64, "--log: log filter \"nexis=loud\""),
    ] {
        let arguments = [&["--bind", "127.0.0.1:0"][..], &arguments].concat();
        let arguments = if says == "--bind" { &arguments[2..] } else { &arguments[..] };
        let output = nexis(arguments).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(says), "{says}: {text}");
    }
    let taken = Running::shared().address.to_string();
    let output = nexis(&["--bind", &taken]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("choose another address"));
}

/// `nexis score --frame` and the server say the same of the same pictures.
#[test]
fn the_server_agrees_with_the_command_on_frames() {
    let folder = tempfile::tempdir().unwrap();
    let clip = &made().clips[0];
    let mut command = Command::new(env!("CARGO_BIN_EXE_nexis"));
    command.args(["score", "--json", "--caption", &clip.caption]);
    for (i, frame) in clip.frames.iter().enumerate() {
        let path = folder.path().join(format!("{i}.png"));
        std::fs::write(&path, super::world::png(frame)).unwrap();
        command.arg("--frame").arg(path);
    }
    let output = command
        .env("NEXIS_MODELS", Path::new(env!("CARGO_MANIFEST_DIR")).join("../models"))
        .output()
        .unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let served = Running::shared()
        .post("/v1/score", &json!({ "caption": clip.caption, "frames": clip.pictures }))
        .ok()
        .json();
    for field in ["alignment", "category", "verdict", "environment", "probe"] {
        assert_eq!(said[field], served[field], "{field}");
    }
}
