//! `nexis models` as a user calls it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use bytes::Bytes;
use serde_json::Value;

use crate::server::{FakeHub, Fault, On, Repo};
use crate::world::{COMMIT, TOKEN, noise, repo};

/// A folder with a registry and everything else that is written, and a hub.
pub(crate) struct Desk {
    pub(crate) hub: FakeHub,
    pub(crate) folder: tempfile::TempDir,
}

const OTHERS: &str = r#"
[[model]]
id = "maker/pickle"
kind = "clip"
licence = "MIT"
note = "Phones."
obstacle = "its repository has the weights as a pickle only"
[model.hub]
repository = "maker/pickle"
revision = "main"
files = [{ name = "config.json", bytes = 12 }]

[[model]]
id = "maker/judge"
kind = "moondream"
licence = "MIT"
note = "Answers."
[model.hub]
repository = "maker/judge"
revision = "main"
files = [{ name = "model-q4_0.gguf", at_most = 300000 }, { name = "tokenizer.json" }]
"#;

impl Desk {
    pub(crate) async fn new() -> Self {
        let hub = FakeHub::start().await;
        hub.put("maker/small", "main", tiny());
        hub.put("maker/pickle", "main", repo(COMMIT, 4));
        let folder = tempfile::tempdir().unwrap();
        let of_hub = "{ name = \"preprocessor_config.json\" }, { name = \"tokenizer.json\" }";
        let registry = crate::world::REGISTRY.replace("{ name = \"sub/tokenizer.json\" }", of_hub);
        let registry = registry.replace("at_most = 300000", "at_most = 3000000");
        fs::create_dir(folder.path().join("models")).unwrap();
        fs::write(folder.path().join("models/registry.toml"), format!("{registry}{OTHERS}")).unwrap();
        Self { hub, folder }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let of = |name: &str| self.folder.path().join(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_nexis"));
        command
            .args(arguments)
            .env("NEXIS_MODELS", of("models"))
            .env("NEXIS_HOME", of("home"))
            .env("HF_HOME", of("hf"))
            .env("HF_ENDPOINT", self.hub.endpoint())
            .env("HF_TOKEN", TOKEN)
            .env("NO_COLOR", "1")
            .env_remove("HF_HUB_OFFLINE")
            .env_remove("HF_HUB_CACHE")
            .stdin(Stdio::null());
        command
    }

    /// Runs beside the hub, which needs the test's own threads.
    async fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        done(self.command(arguments)).await
    }
}

pub(crate) async fn done(mut command: Command) -> (i32, String, String) {
    let output: Output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert!(!stdout.contains(TOKEN) && !stderr.contains(TOKEN), "{stdout}{stderr}");
    (output.status.code().unwrap(), stdout, stderr)
}

/// A tiny CLIP with random weights.
fn tiny_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/models/quick_f32")
}

fn tiny() -> Repo {
    let names = ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"];
    let read = |name: &str| Bytes::from(fs::read(tiny_folder().join(name)).unwrap());
    let files = names.map(|name| (name.to_owned(), (read(name), name.ends_with(".safetensors"))));
    Repo { commit: COMMIT.to_owned(), files: files.into(), token: Some(TOKEN.to_owned()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_nothing_to_a_model_that_loads() {
    let desk = Desk::new().await;
    let clip = desk.folder.path().join("clip.mp4");
    fs::write(&clip, "no clip, and never opened").unwrap();
    let score = ["score", clip.to_str().unwrap(), "--caption", "a hill", "--model", "maker/small"];
    let (status, _, said) = desk.run(&score).await;
    assert_eq!(status, 2);
    assert!(
        said.contains("model maker/small is missing") && said.contains("nexis models fetch maker/small"),
        "{said}"
    );

    let (status, out, said) = desk.run(&["models", "fetch", "maker/small"]).await;
    assert_eq!(status, 0, "{said}");
    assert!(out.contains(COMMIT) && out.contains("on record now"), "{out}");
    assert!(said.contains("Fetching maker/small: "), "plain lines in a log: {said}");

    // It loads: what is missing now is the card.
    let (status, _, said) = desk.run(&score).await;
    assert_eq!(status, 2);
    assert!(said.contains("home/models/maker/small/card.toml") && said.contains("nexis calibrate"), "{said}");

    // Another file in its place is not loaded.
    let snapshot = format!("hf/hub/models--maker--small/snapshots/{COMMIT}/preprocessor_config.json");
    let path = desk.folder.path().join(snapshot);
    let changed = fs::read_to_string(&path).unwrap().replace('{', "{ ");
    fs::write(&path, changed).unwrap();
    let (_, _, said) = desk.run(&score).await;
    assert!(said.contains("preprocessor_config.json has SHA-256"), "{said}");
    let (status, out, _) = desk.run(&["models", "verify", "maker/small"]).await;
    assert_eq!(status, 1);
    assert!(out.contains("another: SHA-256") && out.contains("nexis models fetch maker/small"), "{out}");
    let (status, out, said) = desk.run(&["models", "fetch", "maker/small", "--json"]).await;
    assert_eq!((status, said.as_str()), (0, ""));
    let fetched: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(fetched[0]["files"][2]["how"], "downloaded");
    let (status, out, said) = desk.run(&["models", "verify", "--json"]).await;
    assert_eq!((status, said.as_str()), (0, ""));
    let checks: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&checks[0]["id"], &checks[0]["files"][0]["state"]), (&"maker/small".into(), &"same".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_of_one_file_of_weights_is_fetched_used_and_removed() {
    let desk = Desk::new().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/judges/moondream_q4_0");
    let read = |name: &str| Bytes::from(fs::read(folder.join(name)).unwrap());
    let files = ["model-q4_0.gguf", "tokenizer.json"]
        .map(|name| (name.to_owned(), (read(name), name.ends_with(".gguf"))));
    let repo = Repo { commit: COMMIT.to_owned(), files: files.into(), token: Some(TOKEN.to_owned()) };
    desk.hub.put("maker/judge", "main", repo);
    let (status, _, said) = desk.run(&["models", "fetch", "maker/judge", "--quiet"]).await;
    assert_eq!((status, said.as_str()), (0, ""));
    let (_, out, _) = desk.run(&["models", "list"]).await;
    let line = out.lines().find(|line| line.starts_with("maker/judge")).unwrap();
    assert!(line.contains("moondream") && !line.contains("not yet") && !line.contains("not here"), "{line}");
    let (status, out, _) = desk.run(&["models", "verify", "maker/judge"]).await;
    assert_eq!(status, 0, "{out}");

    // It is loaded by its name, and held to the record.
    let picture = desk.folder.path().join("frame.png");
    image::RgbImage::from_pixel(64, 36, image::Rgb([90, 120, 90])).save(&picture).unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo");
    let score = [
        "score",
        "--frame",
        picture.to_str().unwrap(),
        "--caption",
        "A grey wall.",
        "--model",
        model.to_str().unwrap(),
        "--judge",
        "maker/judge",
        "--json",
    ];
    let (_, out, said) = desk.run(&score).await;
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {said}"));
    assert_eq!(report["environment"]["judge"]["identity"]["model"]["id"], "maker/judge");
    let snapshot = desk.folder.path().join(format!("hf/hub/models--maker--judge/snapshots/{COMMIT}"));
    let mut changed = fs::read(snapshot.join("model-q4_0.gguf")).unwrap();
    // The low bits of a number, in the last block of the file.
    let last = changed.len() - 40;
    changed[last] ^= 1;
    fs::write(snapshot.join("model-q4_0.gguf"), changed).unwrap();
    let (status, _, said) = desk.run(&score).await;
    assert!(status == 2 && said.contains("model-q4_0.gguf has SHA-256"), "{status} {said}");

    let (status, _, said) = desk.run(&["models", "remove", "maker/judge", "--yes"]).await;
    assert_eq!(status, 0, "{said}");
    let (_, out, _) = desk.run(&["models", "list"]).await;
    assert!(out.lines().any(|line| line.starts_with("maker/judge") && line.contains("not here")), "{out}");

    // Brought from elsewhere: the same files under the same name.
    let (status, _, said) =
        desk.run(&["models", "import", folder.to_str().unwrap(), "--id", "maker/judge"]).await;
    assert_eq!(status, 0, "{said}");
    let (status, out, _) = desk.run(&["models", "verify", "maker/judge"]).await;
    assert_eq!(status, 0, "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn offline_the_command_opens_no_connection() {
    let desk = Desk::new().await;
    let mut fetch = desk.command(&["models", "fetch", "maker/small"]);
    fetch.env("HF_HUB_OFFLINE", "1");
    let (status, _, said) = done(fetch).await;
    assert_eq!((status, desk.hub.connections()), (2, 0));
    assert!(said.contains("HF_HUB_OFFLINE") && said.contains("nexis models import"), "{said}");
    desk.run(&["models", "fetch", "maker/small", "--quiet"]).await;
    let before = desk.hub.connections();
    for arguments in [["models", "fetch", "maker/small"], ["models", "verify", "maker/small"]] {
        let mut command = desk.command(&arguments);
        command.env("HF_HUB_OFFLINE", "1");
        let (status, _, said) = done(command).await;
        assert_eq!(status, 0, "{said}");
    }
    assert_eq!(desk.hub.connections(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_says_what_is_here_and_what_runs() {
    let desk = Desk::new().await;
    let (_, out, _) = desk.run(&["models", "list"]).await;
    let line = |out: &str, id: &str| out.lines().find(|line| line.starts_with(id)).unwrap().to_owned();
    assert!(line(&out, "maker/small").contains("not here"));
    assert!(
        line(&out, "maker/pickle").contains("not yet") && out.contains("has the weights as a pickle only")
    );
    let (status, _, said) = desk.run(&["models", "fetch", "maker/pickle"]).await;
    assert_eq!(status, 64);
    assert!(said.contains("--anyway"), "{said}");
    desk.hub.fault(On::Head, Fault::Status(429, Some(("retry-after", "0"))));
    let (status, _, said) = desk.run(&["models", "fetch", "maker/small", "--quiet"]).await;
    assert_eq!((status, said.as_str()), (0, ""));
    let (_, out, said) = desk.run(&["models", "list", "--json"]).await;
    let models: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(said, "");
    let small = &models[0];
    assert_eq!(
        (&small["present"], &small["runs"], &small["place"]),
        (&true.into(), &true.into(), &"hub".into())
    );
    assert_eq!((&small["commit"], &small["licence"]), (&COMMIT.into(), &"MIT".into()));
    assert_eq!(small["digests"].as_object().unwrap().len(), 4);
    assert_eq!(
        (&models[1]["runs"], &models[1]["role"], &models[1]["bytes"]),
        (&false.into(), &"encoder".into(), &12.into())
    );
    assert_eq!((&models[2]["runs"], &models[2]["role"]), (&true.into(), &"judge".into()));
    let (status, _, said) = desk.run(&["models", "fetch", "nonsense"]).await;
    assert_eq!(status, 2);
    assert!(said.contains("maker/small, maker/pickle"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_and_removals() {
    let desk = Desk::new().await;
    let tiny = tiny_folder();
    let (status, out, said) =
        desk.run(&["models", "import", tiny.to_str().unwrap(), "--id", "own/tiny"]).await;
    assert_eq!(status, 0, "{said}");
    assert!(out.contains("home/models/own/tiny"), "{out}");
    let (_, out, _) = desk.run(&["models", "list"]).await;
    assert!(out.lines().any(|line| line.starts_with("own/tiny") && line.contains("here")), "{out}");
    let (status, _, _) = desk.run(&["models", "verify", "own/tiny"]).await;
    assert_eq!(status, 0);

    let (status, _, said) = desk.run(&["models", "remove", "own/tiny"]).await;
    assert_eq!(status, 64);
    assert!(said.contains("--yes"), "{said}");
    let (status, out, _) = desk.run(&["models", "remove", "own/tiny", "--yes", "--forget"]).await;
    assert_eq!(status, 0);
    assert!(out.contains("files removed"), "{out}");
    let (_, out, _) = desk.run(&["models", "list"]).await;
    assert!(!out.contains("own/tiny"), "{out}");

    desk.run(&["models", "fetch", "maker/small", "--quiet"]).await;
    let (status, out, _) = desk.run(&["models", "remove", "maker/small", "--yes", "--json"]).await;
    assert_eq!(status, 0);
    assert!(serde_json::from_str::<Value>(&out).unwrap()["removed"].as_array().unwrap().len() >= 8, "{out}");
    let (status, out, _) = desk.run(&["models", "remove", "maker/small"]).await;
    assert_eq!(status, 0);
    assert!(out.contains("nothing is removed: it is not here"), "{out}");
    // By hand below a root: not ours to remove.
    let by_hand = desk.folder.path().join("models/maker/small");
    fs::create_dir_all(&by_hand).unwrap();
    fs::write(by_hand.join("config.json"), noise(1, 10)).unwrap();
    let (_, out, _) = desk.run(&["models", "remove", "maker/small", "--yes"]).await;
    assert!(out.contains("by hand") && by_hand.join("config.json").exists(), "{out}");
    for wrong in [["models", "import", "/nowhere"], ["models", "import", "/"]] {
        assert_eq!(desk.run(&wrong).await.0, 64);
    }
}
