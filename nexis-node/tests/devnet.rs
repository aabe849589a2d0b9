//! A whole network in one process: that it pays what it finds, that faults and kills change nothing, and that no
//! secret is ever logged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nexis_node::devnet::Cast;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

const SEED: u64 = 3;
const MINERS: usize = 4;
const INTERVALS: u64 = 2;
const ROWS: u64 = 2;

/// A run without faults: what came of it, what it logged, how long it took.
struct Baseline {
    outcome: Value,
    log: String,
    took: Duration,
}

fn clips() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("devnet-clips")
}

fn devnet(out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nexis"));
    command.args(["devnet", "--json", "--seed", &SEED.to_string(), "--miners", &MINERS.to_string()]);
    command.args(["--intervals", &INTERVALS.to_string(), "--rows", &ROWS.to_string()]);
    command.arg("--out").arg(out).arg("--clips").arg(clips());
    command.env("NEXIS_MODELS", Path::new(env!("CARGO_MANIFEST_DIR")).join("../models"));
    command.env_remove("NEXIS_LOG");
    command
}

/// Runs to the end, and gives the outcome and the log.
fn finish(mut command: Command) -> (Value, String) {
    let ended = command.output().unwrap();
    let log = String::from_utf8_lossy(&ended.stderr).into_owned();
    let tail: String = log.lines().rev().take(20).collect::<Vec<_>>().join("\n");
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    let outcome: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{}\n{tail}", ended.status));
    assert!(ended.status.success(), "{}: {}\n{tail}", ended.status, outcome["surprises"]);
    (outcome, log)
}

fn baseline() -> &'static Baseline {
    static BASELINE: OnceLock<Baseline> = OnceLock::new();
    BASELINE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        // Once, so that drawing clips is no part of the time.
        finish(devnet(&dir.path().join("first")));
        let begun = Instant::now();
        let mut command = devnet(&dir.path().join("out"));
        command.env("NEXIS_LOG", "trace");
        let (outcome, log) = finish(command);
        Baseline { outcome, log, took: begun.elapsed() }
    })
}

#[test]
fn the_weights_on_the_chain_follow_from_the_decisions() {
    let outcome = &baseline().outcome;
    assert_eq!(outcome["surprises"], serde_json::json!([]));
    assert_eq!(outcome["weights"], outcome["expected_weights"]);
    // Two honest miners of equal merit, a copier and a cheat: worked out by hand.
    assert_eq!(outcome["weights"], serde_json::json!({ "1": 65535, "3": 65535 }));
    assert_eq!(outcome["bundles"], 4);
    assert_eq!(outcome["clips"], 8);
}

#[test]
fn no_secret_is_logged_at_any_level() {
    let log = &baseline().log;
    for marker in ["DEBUG", "miner{interval=", "weights prepared"] {
        assert!(log.contains(marker), "the log has no {marker}: {} bytes", log.len());
    }
    let cast = Cast::new(SEED, MINERS, INTERVALS, ROWS).unwrap();
    let secrets = cast.secrets();
    assert!(secrets.len() > 4 * MINERS && secrets.iter().all(|secret| secret.len() >= 64));
    for secret in secrets {
        assert!(!log.contains(&secret), "a secret is in the log");
    }
    assert!(!log.contains("Signature="), "a signed request is in the log");
}

#[test]
fn faults_change_no_decision_and_no_weight() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = devnet(&dir.path().join("out"));
    command.args(["--faults", "network,chain,disk"]).env("NEXIS_LOG", "debug");
    let (outcome, log) = finish(command);
    for met in ["what=\"an interval\"", "what=\"publishing\"", "failed by a fault", "File exists"] {
        assert!(log.contains(met), "no fault of this kind was met: {met}");
    }
    assert_eq!(outcome["intervals"], baseline().outcome["intervals"]);
    assert_eq!(outcome["digest"], baseline().outcome["digest"]);
}

/// Kills runs at random moments and starts them again, until so many were killed.
fn kill(times: u32, seed: u64) {
    let Baseline { outcome: expected, took, .. } = baseline();
    let mut rng = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let (mut killed, mut runs) = (0, 0);
    while killed < times {
        let out = dir.path().join(runs.to_string());
        runs += 1;
        loop {
            if killed == times {
                let (outcome, _) = finish(devnet(&out));
                assert_eq!(outcome["digest"], expected["digest"], "after {killed} kills");
                break;
            }
            let mut running = devnet(&out).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(took.mul_f64(rng.random_range(0.02..0.9)));
            if running.try_wait().unwrap().is_some() {
                // It came to its end before: run again, it says what came of it.
                let (outcome, _) = finish(devnet(&out));
                assert_eq!(outcome["digest"], expected["digest"], "after {killed} kills");
                break;
            }
            running.kill().unwrap();
            running.wait().unwrap();
            killed += 1;
        }
    }
}

#[test]
fn a_kill_at_a_random_moment_changes_nothing() {
    kill(3, 11);
}

/// `cargo test --workspace --test devnet -- --ignored`
#[test]
#[ignore = "takes minutes"]
fn fifty_kills_change_nothing() {
    kill(50, 12);
}
