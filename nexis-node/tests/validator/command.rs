//! The command as an operator runs it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nexis_core::hash::Digest;
use nexis_core::protocol::IntervalId;
use nexis_node::state::{IntervalStatus, State};

use super::world::{NETUID, World, hotkey};

const SECRET: &str = "s3cr3t-that-nobody-may-see";

/// A configuration and a wallet for the world's validator.
fn configure(world: &World) -> PathBuf {
    let wallets = world.root.join("wallets");
    let hotkeys = wallets.join("default/hotkeys");
    std::fs::create_dir_all(&hotkeys).unwrap();
    let key = serde_json::json!({
        "ss58Address": hotkey("validator"),
        "secretSeed": format!("0x{}", Digest::of("validator")),
    });
    std::fs::write(hotkeys.join("default"), key.to_string()).unwrap();
    let file = world.root.join("nexis.toml");
    let text = format!(
        "network = \"devnet\"\nnetuid = {NETUID}\ndata_dir = {data:?}\n[chain]\nendpoints = [\"sim:{chain}\"]\n\
         [wallet]\npath = {wallets:?}\n[storage]\nfolder = {buckets:?}\nread_access_key = \"{SECRET}\"\n\
         read_secret_key = \"{SECRET}\"\n",
        data = world.data(),
        chain = world.root.join("chain.json").display(),
        buckets = world.buckets(),
    );
    std::fs::write(&file, text).unwrap();
    file
}

fn nexis(file: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nexis"));
    command
        .args(["validator"])
        .args(arguments)
        .env("NEXIS_CONFIG", file)
        .env("NEXIS_LOG", "trace")
        .env("NEXIS_MODELS", Path::new(env!("CARGO_MANIFEST_DIR")).join("../models"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn succeeded(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shown = format!("{}{}", text(&output.stdout), text(&output.stderr));
    let seed = Digest::of("validator").to_string();
    // The credentials in the miners' commitments are 32 and 64 times one letter.
    for secret in [SECRET, &seed, &"k".repeat(32), &"s".repeat(64)] {
        assert!(!shown.contains(secret), "a secret is shown: {shown}");
    }
    text(&output.stdout)
}

/// Ends the process as a supervisor does, and waits for it.
fn terminate(child: Child) -> Output {
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    child.wait_with_output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_tries_runs_stops_and_asks() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    world.register_validator();
    world.register("alice", None).await;
    world.register("carol", None).await;
    world.package("alice", 6900, &[600_000], None);
    let file = configure(&world);

    let dry = nexis(&file, &["once", "--interval", "6900", "--dry-run", "--json"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_str(&succeeded(&dry)).unwrap();
    assert_eq!(report["submissions"].as_array().unwrap().len(), 2);
    assert!(!world.data().exists(), "a dry run leaves nothing");
    let status = nexis(&file, &["status"]).output().unwrap();
    assert_eq!(status.status.code(), Some(2));
    assert!(text(&status.stderr).contains("no state is there"), "{}", text(&status.stderr));

    for (interval, hint) in
        [("7000", "the latest that may be judged is 6900"), ("6950", "this one is in 6900")]
    {
        let refused = nexis(&file, &["once", "--interval", interval, "--dry-run"]).output().unwrap();
        assert_eq!(refused.status.code(), Some(64));
        assert!(text(&refused.stderr).contains(hint), "{}", text(&refused.stderr));
    }

    // Nobody listens where nobody may: the port is reserved.
    let nowhere = ["--set", "chain.endpoints=ws://127.0.0.1:1", "--set", "chain.attempts=2"];
    let once = ["once", "--interval", "6900", "--dry-run"];
    let unreached = nexis(&file, &[&once[..], &nowhere].concat()).output().unwrap();
    assert_eq!(unreached.status.code(), Some(2));
    let said = text(&unreached.stderr);
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("nexis: ws://127.0.0.1:1 does not answer: tried 2 times"), "{said}");
    assert!(last.contains("name another node in chain.endpoints"), "{said}");

    let running = nexis(&file, &["run"]).spawn().unwrap();
    let state = world.data().join("state.redb");
    let done = || {
        let state = State::look(&state).ok()?;
        let record = state.interval(IntervalId::new(6900)).ok()??;
        (record.status == IntervalStatus::Done).then_some(record)
    };
    let mut record = None;
    for _ in 0..600 {
        record = done();
        if record.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let Some(record) = record else { panic!("not done: {}", text(&terminate(running).stderr)) };
    assert_eq!((record.accepted, record.rejected, record.inconclusive), (1, 1, 0));
    // Beside the running validator.
    let status = succeeded(&nexis(&file, &["status"]).output().unwrap());
    assert!(status.contains("6900       done     1 accepted, 1 rejected, 0 not checked"), "{status}");
    let second = nexis(&file, &["run"]).output().unwrap();
    assert_eq!(second.status.code(), Some(2));
    assert!(text(&second.stderr).contains("only one validator may run"), "{}", text(&second.stderr));
    succeeded(&terminate(running));

    let status = succeeded(&nexis(&file, &["status", "--json"]).output().unwrap());
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["next"], 7000);
    assert_eq!(status["identity"]["hotkey"], hotkey("validator").to_string());
    let once = succeeded(&nexis(&file, &["once", "--interval", "6900"]).output().unwrap());
    assert!(once.contains("missing_submission_files") && once.contains("accept"), "{once}");
}
