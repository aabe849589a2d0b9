//! The official Python SDK and the node's client read the same, sign the same, and are taken alike.
//!
//! What the SDK (PyPI `bittensor` 11.3.0) gave is recorded in `sdk/recorded.json`, and compared always. With the SDK
//! at hand it is asked again, and both submit to the fixture:
//! `NEXIS_SDK_PYTHON=…/bin/python cargo test --workspace --test chain_sdk -- --ignored`. `NEXIS_SDK_RECORD=1` besides
//! writes the record anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod rpc_fixture;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nexis_node::chain::{BlockRef, Call, Chain, ClientOptions, CommitmentField, Runtime, SubtensorChain};
use rpc_fixture::metadata::{SPEC, TRANSACTION, V15, V16};
use rpc_fixture::scene::{ADDRESSES, NETUID, SEEDS, credentials, pair, plain};
use rpc_fixture::{Node, tick};
use serde_json::{Value, json};

/// The finalised block that transactions are signed at.
const CHECKPOINT: u64 = 5;
const NONCE: u64 = 300;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk")
}

/// The calls, as both sides are told of them.
fn calls() -> Vec<(Call, Value)> {
    let uids: Vec<u16> = vec![0, 1];
    let weights: Vec<u16> = vec![65535, 13107];
    let commit: Vec<u8> = (0..1313u32).map(|i| (i % 251) as u8).collect();
    vec![
        (
            Call::SetCommitment { netuid: NETUID, data: credentials() },
            json!({ "module": "Commitments", "function": "set_commitment",
                "params": { "netuid": NETUID, "data": hex::encode(credentials()) } }),
        ),
        (
            Call::SetWeights { netuid: NETUID, uids: uids.clone(), weights: weights.clone(), version_key: 7 },
            json!({ "module": "SubtensorModule", "function": "set_mechanism_weights",
                "params": { "netuid": NETUID, "mecid": 0, "dests": uids, "weights": weights, "version_key": 7 } }),
        ),
        (
            Call::CommitWeights {
                netuid: NETUID,
                commit: commit.clone(),
                reveal_round: 25_000_100,
                version: 4,
            },
            json!({ "module": "SubtensorModule", "function": "commit_timelocked_mechanism_weights",
                "params": { "netuid": NETUID, "mecid": 0, "commit": hex::encode(commit),
                    "reveal_round": 25_000_100, "commit_reveal_version": 4 } }),
        ),
    ]
}

/// What the client makes of the same calls, in the SDK's form.
fn ours(metadata: &[u8], genesis: [u8; 32], checkpoint: BlockRef) -> Vec<Value> {
    let runtime = Runtime::new(metadata, SPEC, TRANSACTION, genesis).unwrap();
    let account = pair(0).public_key();
    let encode = |(call, plan): &(Call, Value)| {
        let unsigned = runtime.prepare(call, NONCE, checkpoint).unwrap();
        json!({
            "function": plan["function"],
            "data": hex::encode(runtime.call_data(call).unwrap()),
            "payload": hex::encode(unsigned.payload().unwrap()),
            "extrinsic": hex::encode(unsigned.assemble(account, [1; 64]).unwrap()),
        })
    };
    calls().iter().map(encode).collect()
}

/// The fixture's first block and the checkpoint: they depend on nothing but their numbers.
fn blocks() -> ([u8; 32], BlockRef) {
    let chain = plain();
    let inner = chain.inner.lock().unwrap();
    let hash = inner.blocks[CHECKPOINT as usize].hash;
    (inner.blocks[0].hash, BlockRef { number: CHECKPOINT, hash })
}

#[test]
fn calls_payloads_and_transactions_are_the_sdks_byte_for_byte() {
    let recorded = std::fs::read_to_string(directory().join("recorded.json")).unwrap();
    let recorded: Value = serde_json::from_str(&recorded).unwrap();
    let (genesis, checkpoint) = blocks();
    for metadata in [&*V15, &*V16] {
        assert_eq!(Value::from(ours(metadata, genesis, checkpoint)), recorded["calls"]);
    }
    assert_eq!(recorded["address"], ADDRESSES[0]);
}

/// A commitment's field as the SDK shows it.
fn as_shown(field: &CommitmentField) -> Value {
    match field {
        CommitmentField::None => json!("None"),
        // A list of bytes is shown as text if it is some, an array always as digits.
        CommitmentField::Raw(bytes) if bytes.len() > 128 => {
            json!({ "BigRaw": str::from_utf8(bytes).unwrap() })
        }
        CommitmentField::Raw(bytes) => {
            json!({ format!("Raw{}", bytes.len()): format!("0x{}", hex::encode(bytes)) })
        }
        CommitmentField::Other(tag) => json!({ "other": tag }),
    }
}

#[tokio::test]
#[ignore = "needs the official Python SDK; see the top of the file"]
async fn the_sdk_and_the_client_meet_at_the_fixture() {
    let python =
        std::env::var("NEXIS_SDK_PYTHON").expect("NEXIS_SDK_PYTHON names a Python that has `bittensor`");
    let node = Node::start(plain()).await;
    let ticking = tick(&node.chain);
    let plans: Vec<Value> = calls().into_iter().map(|(_, plan)| plan).collect();
    let storage =
        ["Tempo", "CommitRevealWeightsEnabled", "WeightsVersionKey", "MinAllowedWeights", "MaxWeightsLimit"];
    let plan = json!({
        "netuid": NETUID, "seed": SEEDS[0], "block": CHECKPOINT, "nonce": NONCE, "storage": storage,
        "calls": plans, "submit": plans[..2],
    });
    let home = tempfile::tempdir().unwrap();
    let plan_at = home.path().join("plan.json");
    std::fs::write(&plan_at, plan.to_string()).unwrap();
    let mut script = Command::new(python);
    script
        .arg(directory().join("official.py"))
        .args([&node.url(), plan_at.to_str().unwrap()])
        .env("HOME", home.path())
        .env("BITTENSOR_RUNTIME_CACHE_DIR", home.path().join("cache"))
        .stderr(Stdio::inherit());
    let output = tokio::task::spawn_blocking(move || script.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "the SDK's script failed");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();

    // It reads what we read.
    let chain = SubtensorChain::connect(&[node.url()], ClientOptions::default()).unwrap();
    let (genesis, checkpoint) = blocks();
    let graph = chain.metagraph(NETUID, &checkpoint).await.unwrap();
    let neurons: Vec<Value> = graph
        .neurons
        .iter()
        .map(|neuron| {
            json!({ "uid": neuron.uid, "hotkey": neuron.hotkey, "validator_permit": neuron.validator_permit,
                "last_update": neuron.last_update, "total_stake_rao": neuron.total_stake_rao })
        })
        .collect();
    assert_eq!(answer["neurons"], Value::from(neurons));
    let commitments = chain.commitments(NETUID, &checkpoint).await.unwrap();
    let theirs = answer["commitments"].as_object().unwrap();
    assert_eq!(theirs.len(), commitments.len());
    for (hotkey, found) in &commitments {
        let shown = &theirs[hotkey.as_str()];
        assert_eq!(shown["block"], found.block);
        let fields = shown["fields"].as_array().unwrap();
        assert_eq!(fields.len(), found.fields.len(), "{shown}");
        for (theirs, ours) in fields.iter().zip(&found.fields) {
            if !matches!(ours, CommitmentField::Other(_)) {
                assert_eq!(*theirs, as_shown(ours));
            }
        }
    }
    let state = chain.subnet_state(NETUID, &checkpoint).await.unwrap();
    let read = json!({
        "Tempo": state.tempo, "CommitRevealWeightsEnabled": state.commit_reveal,
        "WeightsVersionKey": state.weights_version_key, "MinAllowedWeights": state.min_allowed_weights,
        "MaxWeightsLimit": state.max_weights_limit,
    });
    assert_eq!(answer["state"], read);

    // It signs what we sign.
    assert_eq!(answer["calls"], Value::from(ours(&V16, genesis, checkpoint)));

    // The fixture takes its transactions as it takes ours, and they carry the same.
    let both = json!([{ "success": true, "message": "Success" }, { "success": true, "message": "Success" }]);
    assert_eq!(answer["submitted"], both);
    for (call, _) in &calls()[..2] {
        let _ = chain.submit(&pair(0), call).await.unwrap();
    }
    ticking.abort();
    let seen = node.chain.inner.lock().unwrap().seen.clone();
    assert_eq!(seen.len(), 4);
    for (theirs, ours) in [(0, 2), (1, 3)] {
        let (theirs, ours) = (&seen[theirs], &seen[ours]);
        assert_eq!((&theirs.call, theirs.period, theirs.account), (&ours.call, ours.period, ours.account));
        // Life, nonce, tip, mode: all but the nonce and the phase are alike.
        assert_eq!(theirs.extra.len(), ours.extra.len());
    }
    if std::env::var_os("NEXIS_SDK_RECORD").is_some() {
        let record =
            json!({ "sdk": "bittensor 11.3.0", "address": answer["address"], "calls": answer["calls"] });
        std::fs::write(directory().join("recorded.json"), format!("{record:#}\n")).unwrap();
    }
}
