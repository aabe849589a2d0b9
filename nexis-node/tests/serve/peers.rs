//! Programs that somebody else wrote, against the program as an operator starts it: OpenAI's client, schemathesis, and
//! many clients at once. `make test-serve` fetches them; `NEXIS_PEERS_PYTHON=.../bin/python cargo test --workspace
//! --test serve -- --ignored --test-threads 1` runs them.

use std::io::{BufRead, BufReader, Cursor};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::world::{made, png};

const KEY: &str = "sk-nexis-of-the-peers-0123456789";

fn python() -> PathBuf {
    std::env::var_os("NEXIS_PEERS_PYTHON")
        .expect("NEXIS_PEERS_PYTHON names a Python with tests/serve_peers")
        .into()
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/serve_peers")
}

/// The program to measure may be another build than the tests'.
fn nexis() -> PathBuf {
    std::env::var_os("NEXIS_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_nexis").into(), PathBuf::from)
}

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")
}

/// The clips' frames as files, and a list of them.
fn written() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut clips = Vec::new();
    for (number, clip) in made().clips.iter().enumerate() {
        let mut names = Vec::new();
        for (at, frame) in clip.frames.iter().enumerate() {
            let name = format!("{number}-{at}.png");
            std::fs::write(folder.path().join(&name), png(frame)).unwrap();
            let mut jpeg = Cursor::new(Vec::new());
            let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 90);
            let picture = image::RgbImage::from_raw(frame.width, frame.height, frame.rgb.to_vec()).unwrap();
            picture.write_with_encoder(encoder).unwrap();
            std::fs::write(folder.path().join(&name).with_extension("jpg"), jpeg.into_inner()).unwrap();
            names.push(name);
        }
        clips.push(json!({ "caption": clip.caption, "frames": names }));
    }
    std::fs::write(folder.path().join("clips.json"), Value::from(clips).to_string()).unwrap();
    folder
}

/// `nexis serve` in a process of its own.
struct Served {
    child: Child,
    address: SocketAddr,
}

impl Served {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(nexis())
            .args(["serve", "--bind", "127.0.0.1:0", "--log-json", "--log", "warn,nexis=info"])
            .args(arguments)
            .env("NEXIS_MODELS", models())
            .env("NEXIS_API_KEYS", KEY)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
            .find(|line| line["message"] == "serving")
            .map(|line| line["address"].as_str().unwrap().parse().unwrap())
            .expect("it did not come to serve");
        // A pipe that nobody reads fills up.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    fn python(&self) -> Command {
        let mut command = Command::new(python());
        command
            .env("OPENAI_BASE_URL", format!("http://{}/v1", self.address))
            .env("OPENAI_API_KEY", KEY)
            .env("NEXIS_MODELS", models())
            .current_dir(scripts());
        command
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "needs OpenAI's Python client; see the top of the file"]
fn openais_client_gets_what_the_program_says() {
    let folder = written();
    let server = Served::start(&[]);
    let done = server.python().arg("peers.py").arg(nexis()).arg(folder.path()).status().unwrap();
    assert!(done.success());
}

#[test]
#[ignore = "needs schemathesis; see the top of the file"]
fn schemathesis_finds_nothing() {
    let server = Served::start(&["--root", made().root.path().to_str().unwrap(), "--timeout-seconds", "20"]);
    let schemathesis = python().with_file_name("schemathesis");
    // It keeps a cache where it runs.
    let scratch = tempfile::tempdir().unwrap();
    let done = Command::new(schemathesis)
        .current_dir(scratch.path())
        .arg("--config-file")
        .arg(scripts().join("schemathesis.toml"))
        .arg("run")
        .arg(format!("http://{}/openapi.json", server.address))
        .args(["--header", &format!("Authorization: Bearer {KEY}")])
        .status()
        .unwrap();
    assert!(done.success());
}

/// Calls of the model that are shared, beside calls of one picture, in one run.
#[test]
#[ignore = "takes minutes and needs aiohttp; see the top of the file"]
fn two_hundred_clients_get_answers_or_are_told_to_come_back() {
    let folder = written();
    let seconds = std::env::var("NEXIS_LOAD_SECONDS").unwrap_or_else(|_| "60".into());
    for (name, arguments) in
        [("batched", vec![]), ("one picture a call", vec!["--batch", "1", "--max-wait-ms", "0"])]
    {
        let server = Served::start(&arguments);
        let done = server
            .python()
            .arg("load.py")
            .args(["--name", name, "--key", KEY, "--seconds", &seconds])
            .args(["--url", &format!("http://{}/v1/chat/completions", server.address)])
            .args(["--pid", &server.child.id().to_string(), "--folder"])
            .arg(folder.path())
            .status()
            .unwrap();
        assert!(done.success(), "{name}");
    }
}
