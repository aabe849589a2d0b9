//! Where values come from, what is said of wrong ones, and what is never shown.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod second;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use nexis_core::model::Precision;
use nexis_gpu::EngineOptions;
use nexis_node::config::{Config, ConfigError, ModelPin, Network, Sources, explain};
use nexis_node::engine;

const SECRET: &str = "s3cr3t-that-nobody-may-see";

struct Given {
    folder: tempfile::TempDir,
    environment: BTreeMap<&'static str, String>,
    flags: Vec<(String, String, String)>,
}

impl Given {
    fn new(toml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("nexis.toml"), toml).unwrap();
        Self { folder, environment: BTreeMap::from([("HOME", "/home/op".to_owned())]), flags: Vec::new() }
    }

    fn env(mut self, name: &'static str, value: &str) -> Self {
        self.environment.insert(name, value.to_owned());
        self
    }

    fn flag(mut self, key: &str, value: &str) -> Self {
        self.flags.push((key.to_owned(), value.to_owned(), "--set".to_owned()));
        self
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("nexis.toml")
    }

    fn with<T>(&self, work: impl FnOnce(&Sources<'_>) -> T) -> T {
        let file = self.file();
        let environment = |name: &str| self.environment.get(name).cloned();
        work(&Sources { file: Some(&file), environment: &environment, flags: self.flags.clone() })
    }

    fn load(&self) -> Result<Config, ConfigError> {
        self.with(Config::load)
    }

    fn problems(&self) -> String {
        self.load().unwrap_err().to_string()
    }
}

#[test]
fn defaults_are_the_networks() {
    let config = Given::new("").load().unwrap();
    assert_eq!((config.network, config.netuid), (Network::Finney, 70));
    assert_eq!(config.wallet.path, Path::new("/home/op/.bittensor/wallets"));
    assert_eq!((config.wallet.name.as_str(), config.wallet.hotkey.as_str()), ("default", "default"));
    assert_eq!(config.validator.weights_blocks, 300);
    assert_eq!(
        config.storage.endpoint_of("0123456789abcdef0123456789abcdef"),
        "https://0123456789abcdef0123456789abcdef.r2.cloudflarestorage.com"
    );
    assert!(!config.log.json && config.log.metrics.is_none());
}

#[test]
fn the_example_is_a_configuration() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/nexis.example.toml");
    let config = Given::new(&std::fs::read_to_string(example).unwrap()).load().unwrap();
    assert_eq!(config.log.metrics.unwrap().port(), 9101);
}

#[test]
fn flags_are_above_the_environment_and_the_environment_above_the_file() {
    let file = "netuid = 1\ndata_dir = \"/from/file\"\n[wallet]\nname = \"file\"\nhotkey = \"file\"\n";
    let given =
        Given::new(file).env("NEXIS_NETUID", "2").env("BT_WALLET_NAME", "environment").flag("netuid", "3");
    let config = given.load().unwrap();
    assert_eq!(config.netuid, 3);
    assert_eq!(config.wallet.name, "environment");
    assert_eq!((config.wallet.hotkey.as_str(), config.data_dir.as_path()), ("file", Path::new("/from/file")));

    let (explained, problems) = given.with(explain);
    assert!(problems.is_empty());
    let of = |key: &str| explained.iter().find(|e| e.key == key).unwrap();
    let netuid = of("netuid");
    assert_eq!((netuid.value.as_deref(), netuid.origin.as_deref()), (Some("3"), Some("--set")));
    assert_eq!(netuid.hides, [given.file().display().to_string(), "environment NEXIS_NETUID".to_owned()]);
    assert_eq!(of("wallet.name").origin.as_deref(), Some("environment BT_WALLET_NAME"));
    assert_eq!(of("wallet.hotkey").origin, Some(given.file().display().to_string()));
    assert_eq!(of("chain.call_seconds").origin.as_deref(), Some("default"));
    assert_eq!(of("storage.bucket").value, None);
    // An empty variable is one that is not set.
    assert_eq!(Given::new("netuid = 5").env("NEXIS_NETUID", "").load().unwrap().netuid, 5);
}

#[test]
fn the_networks_variables_are_read() {
    let config = Given::new("")
        .env("BT_WALLET_NAME", "w")
        .env("BT_WALLET_HOTKEY", "h")
        .env("BT_WALLET_PATH", "/wallets")
        .env("R2_ACCOUNT_ID", "a1a1")
        .env("R2_READ_ACCESS_KEY_ID", "read")
        .env("R2_READ_SECRET_ACCESS_KEY", SECRET)
        .env("NEXIS_EXCLUDE", "5A, 5B,,5C")
        .load()
        .unwrap();
    assert_eq!((config.wallet.name.as_str(), config.wallet.hotkey.as_str()), ("w", "h"));
    assert_eq!(config.wallet.path, Path::new("/wallets"));
    assert_eq!(config.storage.account_id.as_deref(), Some("a1a1"));
    assert_eq!(config.storage.read.unwrap().secret_key.expose(), SECRET);
    assert_eq!(config.validator.exclude.len(), 3);
}

#[test]
fn unknown_keys_name_the_one_that_was_meant_and_everything_wrong_is_said_at_once() {
    let said = Given::new(
        "netuit = 70\n[validator]\nlook_bak = 3\nfetch_seconds = \"soon\"\n[models]\nid = \"demo\"\n",
    )
    .flag("walet.name", "x")
    .problems();
    for expected in [
        "no setting netuit; did you mean netuid?",
        "no setting validator.look_bak; did you mean validator.look_back?",
        "no setting models; did you mean",
        "no setting walet.name; did you mean wallet.name?",
        "validator.fetch_seconds: \"soon\" is not a whole number from 1 to 3600",
    ] {
        assert!(said.contains(expected), "{expected:?} is not in\n{said}");
    }
    // In the wrong section.
    assert!(Given::new("look_back = 3").problems().contains("did you mean validator.look_back?"));
}

#[test]
fn values_are_held_against_their_bounds() {
    for (toml, expected) in [
        ("netuid = 70000", "netuid: \"70000\" is not a whole number from 0 to 65535"),
        ("netuid = [70]", "netuid: one value is expected, not a array"),
        ("network = \"mainnet\"", "none of finney, test, devnet"),
        ("[chain]\nendpoints = []", "at least one node"),
        ("[chain]\nendpoints = [1]", "a list of texts"),
        (
            "[chain]\nendpoints = [\"wss://node.example\", \"https://node.example/key\"]",
            "chain.endpoints: https://node.example/********: only ws:// and wss:// are spoken",
        ),
        ("[chain]\nendpoints = [\"node.example\"]", "node.example: it is not a URL"),
        ("[chain]\nendpoints = [\"sim:chain.json\"]", "which only the devnet has"),
        ("[chain]\nattempts = 0", "chain.attempts: \"0\" is not a whole number from 1 to 1000"),
        ("[wallet]\nname = \"../other\"", "not a name"),
        ("[storage]\nendpoint = \"ftp://x\"", "http or https"),
        ("[storage]\nendpoint = \"https://me:word@host\"", "keys do not belong"),
        ("[storage]\nread_access_key = \"k\"", "storage.read_secret_key: is needed beside"),
        ("[index]\nbucket = \"b\"", "are needed to read it"),
        ("[model]\ncard = \"12\"", "64 hexadecimal digits"),
        ("[model.digests]\n\"model.safetensors\" = \"12\"", "model.digests.model.safetensors"),
        ("[model]\nprecision = \"half\"", "exact, fast or f32"),
        (
            "[model]\nprecision = \"fast\"",
            "model.precision: fast gives scores that other validators do not get",
        ),
        ("[model]\nprecision = \"f32\"\nallow_inexact = false", "set model.allow_inexact = true"),
        ("[log]\nfilter = \"nexis=loud\"", "log.filter: log filter \"nexis=loud\""),
        ("netuid = ", "line 1"),
    ] {
        let said = Given::new(toml).problems();
        assert!(said.contains(expected), "{toml}: {said}");
    }
    let config = Given::new("[model.digests]\n\"a.json\" = \"00000000000000000000000000000000000000000000000000000000000000ff\"\n[validator]\nfetch_seconds = 5")
        .load()
        .unwrap();
    assert_eq!(config.model.pin.files["a.json"].as_bytes()[31], 0xff);
    assert_eq!(config.validator.fetch, Duration::from_secs(5));
}

#[test]
fn another_precision_than_the_exact_one_is_the_operators_choice() {
    let precision = |toml: &str| Given::new(toml).load().unwrap().model.precision;
    assert_eq!(precision(""), Precision::Exact);
    assert_eq!(precision("[model]\nprecision = \"fast\"\nallow_inexact = true"), Precision::Fast);
    assert_eq!(precision("[model]\nallow_inexact = true"), Precision::Exact);
    let given = Given::new("").env("NEXIS_PRECISION", "fast");
    assert!(given.problems().contains("NEXIS_PRECISION"));
}

#[test]
fn secrets_are_shown_nowhere() {
    let file = format!("[storage]\nwrite_access_key = \"{SECRET}-a\"\nwrite_secret_key = \"{SECRET}-b\"\n");
    let given =
        Given::new(&file).env("R2_READ_ACCESS_KEY_ID", SECRET).env("R2_READ_SECRET_ACCESS_KEY", SECRET);
    let config = given.load().unwrap();
    let (explained, _) = given.with(explain);
    let shown =
        format!("{config:?} {config:#?} {explained:?} {}", serde_json::to_string(&explained).unwrap());
    assert!(!shown.contains("s3cr3t"), "{shown}");
    assert!(shown.contains("********"));
    let secret = config.storage.write.unwrap().secret_key;
    assert_eq!((secret.to_string().as_str(), secret.expose()), ("********", format!("{SECRET}-b").as_str()));
    // Neither does a file that cannot be read as TOML quote the line at fault.
    let broken = Given::new(&format!("[storage]\nwrite_secret_key = \"{SECRET}\n"));
    assert!(broken.problems().contains("line 2") && !broken.problems().contains("s3cr3t"));
    // A secret where there is no such setting is not repeated.
    assert!(!Given::new(&format!("[storage]\nsecret = \"{SECRET}\"")).problems().contains("s3cr3t"));
}

/// Providers of nodes put keys into addresses.
#[test]
fn an_address_is_shown_without_what_opens_it() {
    let shown = |written: &str| {
        let given = Given::new("").flag("chain.endpoints", written);
        let (explained, _) = given.with(explain);
        explained.into_iter().find(|line| line.key == "chain.endpoints").unwrap().value.unwrap()
    };
    assert_eq!(shown("wss://node.example:443"), "wss://node.example:443");
    assert_eq!(
        shown("wss://op:s3cr3t@node.example:443/a?key=s3cr3t#b, wss://node.example?key=s3cr3t/a@b"),
        "wss://********@node.example:443/********, wss://node.example/********"
    );
    let folder = Given::new("").flag("storage.folder", "/buckets/a@b?c").with(explain).0;
    assert!(folder.iter().any(|line| line.value.as_deref() == Some("/buckets/a@b?c")));
}

fn check(file: &Path, arguments: &[&str]) -> Output {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    Command::new(env!("CARGO_BIN_EXE_nexis"))
        .args(["config", "check", "--config", file.to_str().unwrap()])
        .args(arguments)
        .env_clear()
        .env("HOME", "/home/op")
        .env("NEXIS_MODELS", models)
        .env("R2_READ_SECRET_ACCESS_KEY", SECRET)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Whichever command reads a configuration, it says the same of a wrong one.
#[test]
fn every_command_ends_alike_where_its_configuration_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let ends = |toml: &str, command: &[&str]| {
        let given = Given::new(toml);
        let output = Command::new(env!("CARGO_BIN_EXE_nexis"))
            .args(command)
            .args(["--config", given.file().to_str().unwrap()])
            .env_clear()
            .env("HOME", folder.path())
            .env("NEXIS_MODELS", Path::new(env!("CARGO_MANIFEST_DIR")).join("../models"))
            .current_dir(folder.path())
            .output()
            .unwrap();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let check = &["config", "check"][..];
    let once = &["validator", "once", "--interval", "100"][..];
    let run = &["validator", "run"][..];
    let upload = &["miner", "upload", ".", "--interval", "100"][..];
    let other: &[&[&str]] = &[&["validator", "status"], &["miner", "status"], upload, &["owner", "sync"]];
    for (toml, code, says, commands) in [
        ("netwrk = \"devnet\"", 64, "no setting netwrk", [&[check, once, run][..], other].concat()),
        ("network", 64, "line 1", [&[check, once, run][..], other].concat()),
        ("[chain]\nendpoints = [\"node\"]", 64, "not a URL", [&[check, once, run][..], other].concat()),
        ("[model]\nid = \"demo\"", 64, "it is a demonstration", vec![check, once, run]),
        ("network = \"devnet\"\n[model]\ndevice = \"tpu\"", 64, "cuda:N", vec![check, once, run]),
        // Nothing is wrong with it where the model has been fetched.
        ("[model]\nid = \"openai/clip-vit-base-patch32\"", 2, "is missing", vec![check, once, run]),
    ] {
        for command in commands {
            let (ended, said) = ends(toml, command);
            assert_eq!(ended, Some(code), "{toml} {command:?}: {said}");
            assert!(said.contains(says), "{toml} {command:?}: {said}");
        }
    }
}

#[test]
fn a_judge_is_allowed_by_name_and_pinned_by_digest() {
    judge_is_pinned("qwen3_vl_tied_bf16", "model.safetensors");
}

#[test]
fn a_judge_of_pictures_is_pinned_likewise() {
    judge_is_pinned("moondream_q4_0", "model-q4_0.gguf");
}

fn judge_is_pinned(name: &str, weights: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/judges").join(name);
    let base = format!("network = \"devnet\"\n[model]\njudge = \"{}\"\n", folder.display());
    assert!(Given::new(&base).problems().contains("model.allow_inexact = true"));
    assert!(Given::new("[model]\njudge_budget = -1").problems().contains("model.judge_budget"));
    let prompt = format!("[model]\njudge_prompt = \"{}\"", "0".repeat(64));
    assert!(Given::new(&prompt).problems().contains("none is named"));

    let allowed = format!("{base}allow_inexact = true\njudge_budget = 7\n");
    let given = Given::new(&allowed);
    let judge = given.load().unwrap().model.judge.unwrap();
    assert_eq!((judge.budget, judge.pin.files.len()), (7, 0));
    let storage = "[storage]\nread_access_key = \"k\"\n";
    std::fs::write(given.file(), format!("{allowed}{storage}")).unwrap();
    let output = check(&given.file(), &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let lines = json["judge"].as_str().unwrap().strip_prefix("[model]\n").unwrap();
    let pinned = format!("{allowed}{lines}\n{storage}");
    std::fs::write(given.file(), &pinned).unwrap();
    let output = check(&given.file(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("the judge behind it load and are admitted"));
    for key in ["judge_prompt = \"".to_owned(), format!("\"{weights}\" = \"")] {
        let digest = pinned.lines().find_map(|line| line.strip_prefix(key.as_str())).unwrap();
        std::fs::write(given.file(), pinned.replace(&digest[..64], &"0".repeat(64))).unwrap();
        let output = check(&given.file(), &[]);
        assert_eq!(output.status.code(), Some(64));
        assert!(text(&output.stdout).contains("as pinned"), "{}", text(&output.stdout));
    }
    let one = pinned.lines().filter(|line| !line.contains("tokenizer.json")).collect::<Vec<_>>().join("\n");
    std::fs::write(given.file(), one).unwrap();
    assert!(text(&check(&given.file(), &[]).stdout).contains("is not pinned in model.judge_digests"));
}

#[test]
fn a_second_model_is_pinned_as_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = second::tiny(folder.path(), 0.9);
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");

    let base = format!("network = \"devnet\"\n[model]\nensemble = \"{tiny}\"\n");
    let given = Given::new(&base);
    let second = given.load().unwrap().model.ensemble.unwrap();
    assert_eq!((second.id.as_str(), second.pin), (tiny.as_str(), ModelPin::default()));
    let card = format!("[model]\nensemble_card = \"{}\"", "0".repeat(64));
    assert!(Given::new(&card).problems().contains("none is named"));
    // One setting holds for both: what is inexact is refused, whichever it is.
    assert!(Given::new(&format!("{base}precision = \"f32\"\n")).problems().contains("model.allow_inexact"));

    let storage = "[storage]\nread_access_key = \"k\"\n";
    std::fs::write(given.file(), format!("{base}{storage}")).unwrap();
    let output = check(&given.file(), &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let lines = |part: &str| json[part].as_str().unwrap().strip_prefix("[model]\n").unwrap().to_owned();
    let second = lines("ensemble");
    assert!(
        second.starts_with("ensemble_card = \"") && second.contains("[model.ensemble_digests]"),
        "{second}"
    );
    let pinned = format!("{base}{second}\n{storage}");
    std::fs::write(given.file(), &pinned).unwrap();
    let output = check(&given.file(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("model and the one beside it load and are admitted"));
    for key in ["ensemble_card = \"", "\"model.safetensors\" = \""] {
        let digest = pinned.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        std::fs::write(given.file(), pinned.replace(&digest[..64], &"0".repeat(64))).unwrap();
        let output = check(&given.file(), &[]);
        assert_eq!(output.status.code(), Some(64));
        assert!(text(&output.stdout).contains("as pinned"), "{}", text(&output.stdout));
    }
    let one = pinned.lines().filter(|line| !line.contains("tokenizer.json")).collect::<Vec<_>>().join("\n");
    std::fs::write(given.file(), one).unwrap();
    assert!(text(&check(&given.file(), &[]).stdout).contains("is not pinned in model.ensemble_digests"));

    // Off the devnet the second has to be pinned and no demonstration, as the first.
    let judge = EngineOptions {
        model: "demo".into(),
        models_roots: vec![repository.join("models")].into(),
        device: "cpu".into(),
        precision: Precision::Exact,
        batch: 16,
        max_wall: std::time::Duration::from_secs(20),
        ensemble: Some(tiny.clone()),
        judge: None,
    };
    let options = judge.clone();
    let judge = options.judge().unwrap();
    let pin = engine::ensemble_pin_of(&judge);
    let refused = |network, pin| engine::admit_ensemble(&judge, network, pin).unwrap_err().to_string();
    assert!(refused(Network::Finney, &pin).contains("name another in model.ensemble"));
    let card = Path::new(&tiny).join("card.toml");
    let earnest =
        std::fs::read_to_string(&card).unwrap().replace("demonstration = true", "demonstration = false");
    std::fs::write(&card, earnest).unwrap();
    let earnest = options.judge().unwrap();
    let own = engine::ensemble_pin_of(&earnest);
    let admitted =
        |pin: &ModelPin| engine::admit_ensemble(&earnest, Network::Finney, pin).map_err(|e| e.to_string());
    assert_eq!(admitted(&own), Ok(()));
    let unpinned = admitted(&ModelPin::default()).unwrap_err();
    assert!(unpinned.contains("it is not pinned") && unpinned.contains("ensemble_card = \""), "{unpinned}");
    assert!(admitted(&pin).unwrap_err().contains("as pinned in model.ensemble_card"));
    assert!(engine::admit_ensemble(&judge, Network::Devnet, &pin).is_ok());
    let bare = ModelPin { card: None, ..pin.clone() };
    assert!(refused(Network::Devnet, &bare).contains("its card is not pinned in model.ensemble_card"));
}

#[test]
fn the_command_explains_and_admits_only_the_pinned_model() {
    let given = Given::new("network = \"devnet\"\n[storage]\nread_access_key = \"k\"\n");
    let output = check(&given.file(), &[]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", text(&output.stderr));
    assert!(said.contains("network = devnet    ["), "{said}");
    assert!(
        said.contains("storage.read_secret_key = ********    [environment R2_READ_SECRET_ACCESS_KEY]"),
        "{said}"
    );
    assert!(said.contains("model loads and is admitted"), "{said}");
    assert!(!said.contains("s3cr3t"));

    // The demonstration judges nobody's money.
    let refused = check(&given.file(), &["--network", "finney"]);
    assert_eq!(refused.status.code(), Some(64));
    assert!(text(&refused.stdout).contains("it is a demonstration"), "{}", text(&refused.stdout));

    // What the command says of the model is what pins it.
    let json: serde_json::Value = serde_json::from_slice(&check(&given.file(), &["--json"]).stdout).unwrap();
    let pinned = format!(
        "network = \"devnet\"\n[storage]\nread_access_key = \"k\"\n{}\n",
        json["model"].as_str().unwrap()
    );
    std::fs::write(given.file(), &pinned).unwrap();
    let output = check(&given.file(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let digest = pinned.lines().find_map(|line| line.strip_prefix("\"model.safetensors\" = \"")).unwrap();
    let other = pinned.replace(&digest[..64], &"0".repeat(64));
    std::fs::write(given.file(), other).unwrap();
    let output = check(&given.file(), &[]);
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stdout).contains("model.safetensors has SHA-256"), "{}", text(&output.stdout));
}
