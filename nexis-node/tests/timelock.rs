//! Timelocked commits, against the network's own core in both directions, and the blocks of their reveal.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nexis_node::chain::EpochSchedule;
use nexis_node::chain::timelock::{
    Beacon, RandomnessKey, TimelockError, WeightsPayload, open, reveal_round, round_at, seal,
};
use parity_scale_codec::Encode;
use serde::Deserialize;

const ROUND: u64 = 1000;
/// Quicknet's public signature of round 1000.
const SIGNATURE: &str =
    "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39";

#[derive(Deserialize)]
struct Commits {
    signature: String,
    bytes_of_256: usize,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    hotkey: String,
    uids: Vec<u16>,
    values: Vec<u16>,
    version_key: u64,
    payload: String,
    commit: String,
}

#[derive(Deserialize)]
struct Epochs {
    rounds: Vec<Round>,
    epochs: Vec<[u64; 7]>,
}

#[derive(Deserialize)]
struct Round {
    unix_time: f64,
    current_block: u64,
    reveal_block: u64,
    block_seconds: f64,
    round: u64,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/timelock").join(name)
}

fn load<T: serde::de::DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&std::fs::read(fixture(name)).unwrap()).unwrap()
}

fn payload(entries: u16) -> WeightsPayload {
    WeightsPayload {
        hotkey: vec![7; 32],
        uids: (0..entries).collect(),
        values: (0..entries).map(|i| u16::MAX - i).collect(),
        version_key: 3,
    }
}

#[test]
fn the_cores_commits_open_and_hold_what_it_put_in() {
    let commits: Commits = load("commits.json");
    assert_eq!(commits.signature, SIGNATURE);
    let signature = hex::decode(&commits.signature).unwrap();
    assert_eq!(commits.cases.len(), 3);
    for case in commits.cases {
        let expected = WeightsPayload {
            hotkey: hex::decode(&case.hotkey).unwrap(),
            uids: case.uids,
            values: case.values,
            version_key: case.version_key,
        };
        assert_eq!(hex::encode(expected.encode()), case.payload);
        let commit = hex::decode(&case.commit).unwrap();
        assert_eq!(WeightsPayload::open(&commit, &signature).unwrap(), expected);
        // Ours of the same weights is as long as theirs.
        assert_eq!(expected.seal(&RandomnessKey::quicknet().unwrap(), ROUND).unwrap().len(), commit.len());
    }
}

#[test]
fn the_commit_of_256_weights_has_1313_bytes() {
    let quicknet = RandomnessKey::quicknet().unwrap();
    let commit = payload(256).seal(&quicknet, ROUND).unwrap();
    assert_eq!(commit.len(), 1313);
    assert_eq!(commit.len(), load::<Commits>("commits.json").bytes_of_256);
    let signature = hex::decode(SIGNATURE).unwrap();
    assert_eq!(WeightsPayload::open(&commit, &signature).unwrap(), payload(256));
    // Fresh randomness each time.
    assert_ne!(payload(256).seal(&quicknet, ROUND).unwrap(), commit);
    let long = payload(2000).seal(&quicknet, ROUND).unwrap_err();
    assert!(long.to_string().contains("2000 weights") && long.to_string().contains("5000"), "{long}");
}

/// What it printed once is in the README beside the fixtures.
#[test]
#[ignore = "needs the network's core: make test-sdk, or NEXIS_SDK_PYTHON and --include-ignored"]
fn the_core_opens_our_commits() {
    let python =
        std::env::var_os("NEXIS_SDK_PYTHON").expect("NEXIS_SDK_PYTHON names a Python with bittensor-core");
    let quicknet = RandomnessKey::quicknet().unwrap();
    let payloads = [payload(1), payload(3), payload(35), payload(256)];
    let mut lines = String::new();
    for payload in &payloads {
        let commit = hex::encode(payload.seal(&quicknet, ROUND).unwrap());
        lines += &format!("{{\"commit\": \"{commit}\", \"signature\": \"{SIGNATURE}\"}}\n");
    }
    let mut child = Command::new(python)
        .arg(fixture("make.py"))
        .arg("open")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let opened: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(Into::into).collect();
    let expected: Vec<String> = payloads.iter().map(|payload| hex::encode(payload.encode())).collect();
    assert_eq!(opened, expected);
    for (payload, line) in payloads.iter().zip(&opened) {
        eprintln!("the core opened {} weights: {} bytes, equal", payload.uids.len(), line.len() / 2);
    }
}

#[test]
fn a_beacon_of_ones_own_opens_its_rounds_and_no_other() {
    let beacon = Beacon::from_seed(b"a test");
    let commit = payload(35).seal(&beacon.key(), 77).unwrap();
    assert_eq!(WeightsPayload::open(&commit, &beacon.sign(77).unwrap()).unwrap(), payload(35));
    assert_eq!(open(&commit, &beacon.sign(78).unwrap()), Err(TimelockError::Closed));
    let other = Beacon::from_seed(b"another");
    assert_eq!(open(&commit, &other.sign(77).unwrap()), Err(TimelockError::Closed));
    assert_eq!(open(&commit, &hex::decode(SIGNATURE).unwrap()), Err(TimelockError::Closed));
    assert_eq!(seal(&beacon.key(), 77, b"x", &[1; 32]), seal(&beacon.key(), 77, b"x", &[1; 32]));
    assert!(!format!("{beacon:?}").contains("77"));
}

#[test]
fn broken_commits_are_refused_and_nothing_panics() {
    let beacon = Beacon::from_seed(b"a test");
    let signature = beacon.sign(5).unwrap();
    let commit = payload(3).seal(&beacon.key(), 5).unwrap();
    for cut in 0..commit.len() {
        assert!(matches!(open(&commit[..cut], &signature), Err(TimelockError::Ciphertext(_))), "{cut}");
    }
    // A change anywhere: most make it unreadable or closed, none gives other weights.
    for place in (0..commit.len()).step_by(7) {
        let mut changed = commit.clone();
        changed[place] ^= 0x41;
        match WeightsPayload::open(&changed, &signature) {
            Err(_) => {}
            Ok(opened) => assert_eq!(opened, payload(3), "{place}"),
        }
    }
    let longer = open(&[commit.clone(), vec![0]].concat(), &signature).unwrap_err();
    assert!(longer.to_string().contains("follows"));
    assert!(matches!(open(&vec![0xff; 6000], &signature), Err(TimelockError::Ciphertext(_))));
    // Lengths that claim the address space.
    let mut huge = commit.clone();
    huge[96..104].fill(0xff);
    assert!(matches!(open(&huge, &signature), Err(TimelockError::Ciphertext(_))));
    assert_eq!(open(&commit, &[0; 48]), Err(TimelockError::Signature));
    assert_eq!(open(&commit, b"short"), Err(TimelockError::Signature));
    for key in [&[0xff; 96][..], &[0x80; 96], &[0; 96], b"short"] {
        assert_eq!(RandomnessKey::from_bytes(key), Err(TimelockError::Key));
    }
    let text = seal(&beacon.key(), 5, b"no payload", &[1; 32]).unwrap();
    assert_eq!(WeightsPayload::open(&text, &signature), Err(TimelockError::Payload));
}

#[test]
fn reveal_epochs_are_those_that_the_core_predicts() {
    let epochs: Epochs = load("epochs.json");
    assert!(epochs.epochs.len() > 800);
    for [last_epoch_block, pending_epoch_at, tempo, since, block, period, expected] in epochs.epochs {
        let schedule = EpochSchedule {
            block,
            last_epoch_block,
            pending_epoch_at,
            tempo: u16::try_from(tempo).unwrap(),
            blocks_since_last_step: since,
        };
        let epoch = schedule.reveal_epoch(period).unwrap();
        assert_eq!(epoch.first_block, expected, "{schedule:?} period {period}");
        if period > 0 {
            assert_eq!(epoch.end_block, schedule.reveal_epoch(period + 1).unwrap().first_block);
        }
        assert!(epoch.end_block > epoch.first_block);
    }
    let none = EpochSchedule {
        block: 5,
        last_epoch_block: 1,
        pending_epoch_at: 0,
        tempo: 0,
        blocks_since_last_step: 4,
    };
    assert_eq!((none.next_epoch(), none.reveal_epoch(1)), (None, None));
}

#[test]
fn rounds_are_those_that_the_core_chooses() {
    let rounds = load::<Epochs>("epochs.json").rounds;
    assert_eq!(rounds.len(), 3);
    for r in rounds {
        assert_eq!(reveal_round(r.unix_time, r.reveal_block, r.current_block, r.block_seconds), r.round);
    }
    assert_eq!(round_at(0.0), 0);
    assert_eq!(round_at(1_692_803_367.0 + 3000.0), 1000);
}
