//! Weights onto a simulated chain: the wire, the checks beforehand, faults, and the confirmation of commits.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::path::Path;
use std::time::Duration;

use nexis_core::protocol::Hotkey;
use nexis_core::weights::DenseWeights;
use nexis_node::chain::sim::{SimulatedChain, SubmitFault, SubnetConfig};
use nexis_node::chain::weights::{
    InFlight, PendingReveal, RevealStatus, Settled, SubmitOptions, WeightsOutcome, WireWeights,
    confirm_reveal, settle, submit_weights,
};
use nexis_node::chain::{Chain, ChainError, HotkeyPair, Result};
use serde::Deserialize;

const NETUID: u16 = 7;

fn pair(n: u8) -> HotkeyPair {
    HotkeyPair::from_seed(&[n; 32]).unwrap()
}

/// A subnet with a validator (UID 0) and `miners` miners.
fn subnet(miners: u8, change: impl FnOnce(&mut SubnetConfig)) -> (SimulatedChain, HotkeyPair) {
    let mut config = SubnetConfig { netuid: NETUID, deadline_ms: 200, ..SubnetConfig::default() };
    change(&mut config);
    let chain = SimulatedChain::new(config);
    let validator = pair(1);
    chain.register(validator.hotkey(), 1_000_000, true).unwrap();
    for n in 0..miners {
        chain.register(pair(100 + n).hotkey(), 0, false).unwrap();
    }
    chain.advance(1).unwrap();
    (chain, validator)
}

fn dense(weights: &[f64]) -> DenseWeights {
    DenseWeights {
        uids: (0..u16::try_from(weights.len()).unwrap()).collect(),
        weights: weights.to_vec(),
        unknown_hotkeys: Vec::new(),
    }
}

fn quick() -> SubmitOptions {
    SubmitOptions { pause: Duration::ZERO, ..SubmitOptions::default() }
}

async fn send(chain: &SimulatedChain, signer: &HotkeyPair, weights: &[f64]) -> Result<WeightsOutcome> {
    submit_weights(chain, signer, NETUID, &dense(weights), &[], &quick()).await
}

fn row(chain: &SimulatedChain, hotkey: &Hotkey) -> Vec<(u16, u16)> {
    chain.weights().remove(hotkey).unwrap_or_default()
}

fn committed(outcome: WeightsOutcome) -> PendingReveal {
    match outcome {
        WeightsOutcome::Committed(pending) => pending,
        other => panic!("{other:?}"),
    }
}

fn in_flight(outcome: WeightsOutcome) -> InFlight {
    match outcome {
        WeightsOutcome::Unknown(sent) => sent,
        other => panic!("{other:?}"),
    }
}

fn commit_reveal(config: &mut SubnetConfig) {
    config.commit_reveal = true;
    config.tempo = 50;
    config.weights_rate_limit = 10;
}

#[test]
fn the_wire_is_what_the_sdk_makes_of_the_same_weights() {
    #[derive(Deserialize)]
    struct Wire {
        cases: Vec<Case>,
    }
    #[derive(Deserialize)]
    struct Case {
        limit: u16,
        own_uid: u16,
        uids: Vec<u16>,
        weights: Vec<f64>,
        out: (Vec<u16>, Vec<u16>),
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights/wire.json");
    let wire: Wire = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(wire.cases.len() > 20);
    let (mut equal, mut lowered, mut uncut) = (0, 0, 0);
    for case in wire.cases {
        let (uids, weights) = (case.uids, case.weights);
        let dense = DenseWeights { uids, weights, unknown_hotkeys: Vec::new() };
        let ours = WireWeights::of(&dense, case.limit, case.own_uid);
        let paid = dense.weights.iter().filter(|weight| **weight > 0.0).count();
        if paid * usize::from(case.limit) <= 65535 && case.limit < u16::MAX && dense.uids != [case.own_uid] {
            // No cut helps. The SDK pays everybody the same then; ours are left for the preflight to refuse.
            assert!(case.out.1.iter().all(|value| *value == 65535) && case.out.1.len() == dense.uids.len());
            assert!(ours.uids.len() <= paid && !ours.within(case.limit));
            uncut += 1;
            continue;
        }
        let alone = dense.uids == [case.own_uid];
        let theirs = WireWeights { uids: case.out.0, values: case.out.1 };
        assert!(ours.within(case.limit) || alone);
        if theirs.within(case.limit) || alone {
            assert_eq!(ours, theirs, "limit {}", case.limit);
            equal += 1;
        } else {
            // The chain would drop theirs, for a rounding; ours have the largest lowered by that.
            assert_eq!(ours.uids, theirs.uids);
            for (our, their) in ours.values.iter().zip(&theirs.values) {
                assert!(our == their || (*their == u16::MAX && their - our < 256), "{our} {their}");
            }
            lowered += 1;
        }
    }
    assert!(equal > 10 && lowered > 0 && uncut > 3, "{equal} {lowered} {uncut}");
    let odd = WireWeights::of(&dense(&[f64::NAN, -1.0, 0.5, f64::INFINITY]), u16::MAX, 0);
    assert_eq!((odd.uids, odd.values), (vec![2], vec![65535]));
    assert_eq!(WireWeights::of(&dense(&[0.0, 0.0]), u16::MAX, 0), WireWeights::default());
}

#[tokio::test]
async fn plain_weights_take_effect_at_once() {
    let (chain, validator) = subnet(3, |_| {});
    let outcome = send(&chain, &validator, &[0.0, 0.5, 0.25, 0.0]).await.unwrap();
    assert_eq!(outcome, WeightsOutcome::Set { block: 1002 });
    assert_eq!(row(&chain, validator.hotkey()), [(1, 65535), (2, 32768)]);
}

#[tokio::test]
async fn committed_weights_are_revealed_in_the_predicted_epoch_and_confirmed() {
    let (chain, validator) = subnet(3, commit_reveal);
    let mut pending = committed(send(&chain, &validator, &[0.0, 1.0, 0.5, 0.0]).await.unwrap());
    assert_eq!((pending.block, pending.reveal_block, pending.deadline), (1002, 1050, 1100));
    let look = async |pending: &mut PendingReveal| {
        confirm_reveal(&chain, NETUID, validator.hotkey(), pending).await.unwrap()
    };
    assert_eq!(look(&mut pending).await, RevealStatus::Waiting);
    chain.advance(48).unwrap();
    assert_eq!(chain.head().number, 1050);
    assert_eq!(look(&mut pending).await, RevealStatus::Waiting);
    assert!(chain.weights().is_empty());
    chain.advance(5).unwrap();
    // The round is that of three blocks after the epoch's start.
    assert_eq!(look(&mut pending).await, RevealStatus::Revealed { block: 1053 });
    assert_eq!(look(&mut pending).await, RevealStatus::Revealed { block: 1053 });
    assert_eq!(row(&chain, validator.hotkey()), [(1, 65535), (2, 32768)]);
}

#[tokio::test]
async fn a_commit_that_is_never_revealed_raises_an_alarm() {
    let (chain, validator) = subnet(3, commit_reveal);
    let mut pending = committed(send(&chain, &validator, &[0.0, 1.0, 0.5, 0.0]).await.unwrap());
    chain.faults(|faults| faults.drop_reveals = true);
    chain.advance(60).unwrap();
    let status = confirm_reveal(&chain, NETUID, validator.hotkey(), &mut pending).await.unwrap();
    let RevealStatus::Missed { why } = status else { panic!("{status:?}") };
    assert!(
        why.contains("block 1002") && why.contains("validator permit") && why.contains("are gone"),
        "{why}"
    );
    assert!(chain.weights().is_empty());

    // The same where other commits of ours are still waiting: the epoch's end decides then.
    let (chain, validator) = subnet(3, commit_reveal);
    let mut first = committed(send(&chain, &validator, &[0.0, 1.0, 0.5, 0.0]).await.unwrap());
    chain.faults(|faults| faults.drop_reveals = true);
    chain.advance(58).unwrap();
    let earlier = [first.clone()];
    let second = submit_weights(&chain, &validator, NETUID, &dense(&[0.0, 1.0]), &earlier, &quick()).await;
    assert_eq!(committed(second.unwrap()).nth, 1);
    chain.advance(10).unwrap();
    let look = async |pending: &mut PendingReveal| {
        confirm_reveal(&chain, NETUID, validator.hotkey(), pending).await.unwrap()
    };
    assert_eq!(look(&mut first).await, RevealStatus::Waiting);
    chain.advance(first.deadline - chain.head().number).unwrap();
    let RevealStatus::Missed { why } = look(&mut first).await else { panic!() };
    assert!(why.contains("before block 1100"), "{why}");
}

/// What only shows at the reveal is dropped by the chain without a word; the preflight had no way to see it coming.
#[tokio::test]
async fn a_permit_lost_between_commit_and_reveal_is_an_alarm() {
    let (chain, validator) = subnet(3, commit_reveal);
    let mut pending = committed(send(&chain, &validator, &[0.0, 1.0, 0.5, 0.0]).await.unwrap());
    chain.register(validator.hotkey(), 1_000_000, false).unwrap();
    chain.advance(60).unwrap();
    assert_eq!(chain.reveal_records()[0].dropped.as_deref(), Some("NeuronNoValidatorPermit"));
    let status = confirm_reveal(&chain, NETUID, validator.hotkey(), &mut pending).await.unwrap();
    assert!(matches!(status, RevealStatus::Missed { .. }));
}

#[tokio::test]
async fn two_commits_of_one_epoch_have_an_event_each() {
    let (chain, validator) = subnet(3, commit_reveal);
    let mut first = committed(send(&chain, &validator, &[0.0, 1.0, 0.5, 0.0]).await.unwrap());
    chain.advance(15).unwrap();
    let earlier = [first.clone()];
    let second =
        submit_weights(&chain, &validator, NETUID, &dense(&[0.0, 0.0, 1.0]), &earlier, &quick()).await;
    let mut second = committed(second.unwrap());
    assert_eq!((first.nth, second.nth, first.reveal_block), (1, 2, second.reveal_block));
    // Only the first is opened: the second is never taken for it.
    chain.advance(36).unwrap();
    chain.advance(1).unwrap();
    chain.faults(|faults| faults.drop_reveals = true);
    assert_eq!(chain.reveal_records().len(), 2);
    for pending in [&mut first, &mut second] {
        let status = confirm_reveal(&chain, NETUID, validator.hotkey(), pending).await.unwrap();
        assert_eq!(status, RevealStatus::Revealed { block: 1053 });
    }
    assert_eq!(row(&chain, validator.hotkey()), [(2, 65535)]);
}

/// A process that was killed has nothing but what it stored.
#[tokio::test]
async fn what_is_stored_is_enough_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chain.json");
    let mut config = SubnetConfig { netuid: NETUID, ..SubnetConfig::default() };
    commit_reveal(&mut config);
    let stored = {
        let chain = SimulatedChain::open(&file, config.clone()).unwrap();
        chain.register(pair(1).hotkey(), 1, true).unwrap();
        chain.register(pair(100).hotkey(), 0, false).unwrap();
        chain.advance(1).unwrap();
        let outcome = send(&chain, &pair(1), &[0.0, 1.0]).await.unwrap();
        serde_json::to_string(&outcome).unwrap()
    };
    let chain = SimulatedChain::open(&file, config).unwrap();
    let mut pending = committed(serde_json::from_str(&stored).unwrap());
    chain.advance(55).unwrap();
    let status = confirm_reveal(&chain, NETUID, pair(1).hotkey(), &mut pending).await.unwrap();
    assert_eq!(status, RevealStatus::Revealed { block: 1053 });
    assert_eq!(row(&chain, pair(1).hotkey()), [(1, 65535)]);
}

/// Everything that the chain would drop, and a word in the error that says which it was.
#[tokio::test]
async fn the_preflight_refuses_what_the_chain_would_drop() {
    type Change = fn(&mut SubnetConfig);
    let weights: &[f64] = &[0.0, 1.0, 1.0, 0.0];
    let cases: [(&str, Change, &[f64]); 5] = [
        ("at least", |config| config.min_allowed_weights = 3, weights),
        ("all weights are 0", |_| {}, &[0.0, 0.0]),
        ("UID 4 is not in subnet 7", |_| {}, &[0.0, 1.0, 1.0, 0.0, 1.0]),
        ("no epochs", |config| (config.commit_reveal, config.tempo) = (true, 0), weights),
        ("larger share", |config| config.max_weights_limit = 20_000, weights),
    ];
    for (word, change, weights) in cases {
        let (chain, validator) = subnet(3, change);
        let error = send(&chain, &validator, weights).await.unwrap_err();
        assert!(
            matches!(error, ChainError::Preflight(_)) && error.to_string().contains(word),
            "{word}: {error}"
        );
        assert_eq!(chain.transactions(), 0, "{word}");
    }

    let (chain, validator) = subnet(3, |_| {});
    let twice = DenseWeights { uids: vec![1, 1], weights: vec![0.5, 0.5], unknown_hotkeys: Vec::new() };
    let error = submit_weights(&chain, &validator, NETUID, &twice, &[], &quick()).await.unwrap_err();
    assert!(error.to_string().contains("UID 1 has two weights"), "{error}");
    let error = send(&chain, &pair(9), weights).await.unwrap_err();
    assert!(error.to_string().contains("not registered in subnet 7"), "{error}");
    let error = send(&chain, &pair(100), weights).await.unwrap_err();
    assert!(error.to_string().contains("no validator permit"), "{error}");
    send(&chain, &validator, weights).await.unwrap();
    let error = send(&chain, &validator, weights).await.unwrap_err();
    assert!(error.to_string().contains("100 blocks to wait"), "{error}");
    assert_eq!(chain.transactions(), 1);
}

#[tokio::test]
async fn another_version_of_commit_reveal_is_a_loud_stop() {
    let (chain, validator) =
        subnet(3, |config| (config.commit_reveal, config.commit_reveal_version) = (true, 5));
    let error = send(&chain, &validator, &[0.0, 1.0]).await.unwrap_err();
    assert!(matches!(error, ChainError::Unsupported { .. }), "{error:?}");
    assert!(error.to_string().contains("it is 5") && chain.transactions() == 0, "{error}");
}

#[tokio::test]
async fn ten_unrevealed_commits_are_enough() {
    let (chain, validator) = subnet(3, |config| {
        commit_reveal(config);
        (config.weights_rate_limit, config.tempo) = (0, 300);
    });
    for _ in 0..10 {
        send(&chain, &validator, &[0.0, 1.0]).await.unwrap();
    }
    let error = send(&chain, &validator, &[0.0, 1.0]).await.unwrap_err();
    assert!(error.to_string().contains("10 commits wait"), "{error}");
}

fn refuse(code: Option<u8>, why: &str) -> SubmitFault {
    SubmitFault::Refuse { code, why: why.into() }
}

#[tokio::test]
async fn refusals_are_tried_three_times_and_no_more() {
    let faults = [
        refuse(Some(6), "rate limit"),
        refuse(None, "Transaction is outdated"),
        refuse(None, "nonce too low: Transaction is outdated"),
        refuse(Some(15), "the round has passed"),
        SubmitFault::FailBefore,
    ];
    for fault in faults {
        for (failures, sent) in [(2, 1), (3, 0)] {
            let (chain, validator) = subnet(3, |_| {});
            chain.faults(|faults| faults.submits.extend(vec![fault.clone(); failures]));
            let outcome = send(&chain, &validator, &[0.0, 1.0]).await;
            assert_eq!(outcome.is_ok(), sent == 1, "{fault:?} {failures}: {outcome:?}");
            assert_eq!(chain.transactions(), sent, "{fault:?} {failures}");
        }
    }
    // What no other try can mend is tried once.
    for code in [1, 19] {
        let (chain, validator) = subnet(3, |_| {});
        chain.faults(|faults| faults.submits.push_back(refuse(Some(code), "no")));
        send(&chain, &validator, &[0.0, 1.0]).await.unwrap_err();
        assert!(chain.faults(|faults| faults.submits.is_empty()) && chain.transactions() == 0);
    }
}

#[tokio::test]
async fn the_pools_own_codes_come_through() {
    let (chain, validator) = subnet(3, |config| config.min_stake_rao = 2_000_000);
    let error = send(&chain, &validator, &[0.0, 1.0]).await.unwrap_err();
    assert!(matches!(error, ChainError::Refused { code: Some(1), .. }), "{error:?}");
}

#[tokio::test]
async fn a_runtime_upgrade_between_two_calls_costs_one_try() {
    let (chain, validator) = subnet(3, |_| {});
    chain.upgrade_runtime();
    assert!(matches!(send(&chain, &validator, &[0.0, 1.0]).await, Ok(WeightsOutcome::Set { .. })));
    assert_eq!(chain.transactions(), 1);
}

#[tokio::test]
async fn reads_that_fail_are_tried_again() {
    let (chain, validator) = subnet(3, |_| {});
    chain.faults(|faults| faults.reads = 2);
    assert!(matches!(send(&chain, &validator, &[0.0, 1.0]).await, Ok(WeightsOutcome::Set { .. })));
    chain.advance(200).unwrap();
    chain.faults(|faults| faults.reads = 3);
    assert!(matches!(send(&chain, &validator, &[0.0, 1.0]).await, Err(ChainError::Unreachable { .. })));
}

/// The answer to a transaction that took effect is lost: it is found on the chain, and nothing is sent again.
#[tokio::test]
async fn a_lost_answer_is_not_a_second_transaction() {
    for reveal in [false, true] {
        let (chain, validator) = subnet(3, |config| config.commit_reveal = reveal);
        chain.faults(|faults| faults.submits.push_back(SubmitFault::TimeOutAfter));
        let outcome = send(&chain, &validator, &[0.0, 1.0]).await.unwrap();
        match outcome {
            WeightsOutcome::Set { block } => assert!(!reveal && block == 1002),
            WeightsOutcome::Committed(pending) => assert!(reveal && pending.block == 1002),
            WeightsOutcome::Unknown(_) => panic!("it is on the chain"),
        }
        assert_eq!(chain.transactions(), 1);
    }
}

/// Nobody knows whether it was sent: nothing else is until it can no longer be included.
#[tokio::test]
async fn an_unknown_outcome_is_settled_before_anything_else_is_sent() {
    let (chain, validator) = subnet(3, |_| {});
    chain.faults(|faults| faults.submits.push_back(SubmitFault::TimeOutBefore));
    let sent = in_flight(send(&chain, &validator, &[0.0, 1.0]).await.unwrap());
    assert_eq!(chain.transactions(), 0);
    let sent: InFlight = serde_json::from_str(&serde_json::to_string(&sent).unwrap()).unwrap();
    let hotkey = validator.hotkey();
    assert_eq!(settle(&chain, hotkey, &sent).await.unwrap(), Settled::Open);
    chain.advance(sent.valid_until - chain.head().number).unwrap();
    assert_eq!(settle(&chain, hotkey, &sent).await.unwrap(), Settled::Open);
    chain.advance(1).unwrap();
    assert_eq!(settle(&chain, hotkey, &sent).await.unwrap(), Settled::Lost);
}

/// A transaction that waits in the pool longer than its caller, and is included afterwards.
#[tokio::test]
async fn a_transaction_that_is_included_later_is_found() {
    let (chain, validator) = subnet(3, |config| {
        (config.seal_on_submit, config.deadline_ms) = (false, 1);
    });
    let sent = in_flight(send(&chain, &validator, &[0.0, 1.0]).await.unwrap());
    assert_eq!(chain.transactions(), 1);
    assert_eq!(settle(&chain, validator.hotkey(), &sent).await.unwrap(), Settled::Open);
    let block = chain.advance(1).unwrap().number;
    let settled = settle(&chain, validator.hotkey(), &sent).await.unwrap();
    assert_eq!(settled, Settled::Took(WeightsOutcome::Set { block }));
    assert_eq!(chain.transactions(), 1);
}

#[tokio::test]
async fn heads_stall_skip_and_go_on() {
    let (chain, _) = subnet(0, |_| {});
    let head = chain.finalized_head().await.unwrap();
    chain.faults(|faults| faults.stalled = true);
    chain.advance(5).unwrap();
    assert_eq!(chain.finalized_head().await.unwrap(), head);
    assert!(matches!(chain.next_finalized_head(head.number).await, Err(ChainError::TimedOut { .. })));
    chain.faults(|faults| (faults.stalled, faults.skip) = (false, 10));
    chain.advance(8).unwrap();
    assert_eq!(chain.next_finalized_head(head.number).await.unwrap().number, 1010);
    // Who waits is woken by a block.
    let (waiting, _) = tokio::join!(chain.next_finalized_head(1010), async {
        tokio::task::yield_now().await;
        chain.advance(7).unwrap();
    });
    assert_eq!(waiting.unwrap().number, 1020);
}
