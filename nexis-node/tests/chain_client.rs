//! The chain client against a node that checks what it is sent, in good times and bad.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod rpc_fixture;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nexis_core::protocol::Hotkey;
use nexis_core::weights::DenseWeights;
use nexis_node::chain::weights::{SubmitOptions, WeightsOutcome, submit_weights};
use nexis_node::chain::{
    BlockRef, Call, Chain, ChainError, ClientOptions, Commitment, CommitmentField, Neuron, Reveal, Runtime,
    SubnetState, SubtensorChain,
};
use rpc_fixture::chain::FixtureChain;
use rpc_fixture::metadata::{SPEC, TRANSACTION, V15, V16, newer, with_extension};
use rpc_fixture::scene::{
    ADDRESSES, NETUID, commit_reveal, commitments, credentials, pair, plain, raw, subnet,
};
use rpc_fixture::{Fault, Node, tick};

fn client(nodes: &[&Node]) -> SubtensorChain {
    client_with(nodes, ClientOptions::default())
}

fn client_with(nodes: &[&Node], options: ClientOptions) -> SubtensorChain {
    let urls: Vec<String> = nodes.iter().map(|node| node.url()).collect();
    SubtensorChain::connect(&urls, options).unwrap()
}

fn hotkey(index: usize) -> Hotkey {
    Hotkey::new(ADDRESSES[index])
}

fn weights() -> Call {
    Call::SetWeights { netuid: NETUID, uids: vec![0, 1], weights: vec![65535, 13107], version_key: 7 }
}

fn commit() -> Call {
    Call::CommitWeights { netuid: NETUID, commit: vec![1, 2, 3], reveal_round: 25_000_100, version: 4 }
}

fn publish() -> Call {
    Call::SetCommitment { netuid: NETUID, data: credentials() }
}

fn neurons() -> Vec<Neuron> {
    let neuron = |uid: u16, validator_permit, last_update, total_stake_rao| Neuron {
        uid,
        hotkey: hotkey(uid.into()),
        validator_permit,
        last_update,
        total_stake_rao,
    };
    vec![neuron(0, true, 0, 5_000_000_000_000), neuron(1, false, 4, 17)]
}

/// The bytes that subtensor's own tests and the SDK give.
#[test]
fn calls_are_encoded_as_the_network_has_them() {
    for metadata in [&*V16, &*V15] {
        let runtime = Runtime::new(metadata, SPEC, TRANSACTION, [0; 32]).unwrap();
        let call = Call::SetCommitment { netuid: 3, data: vec![b'a'; 128] };
        let expected = [&[0x12, 0x00, 0x03, 0x00, 0x04, 0x81][..], &[b'a'; 128]].concat();
        assert_eq!(runtime.call_data(&call).unwrap(), expected);
        let call = Call::CommitWeights { netuid: 3, commit: vec![1, 2], reveal_round: 7, version: 4 };
        assert_eq!(
            hex::encode(runtime.call_data(&call).unwrap()),
            "0776030000080102070000000000000004 00".replace(' ', "")
        );
        let call = Call::SetWeights { netuid: 3, uids: vec![0, 1], weights: vec![65535, 1], version_key: 9 };
        let expected = "0777 0300 00 08 0000 0100 08 ffff 0100 0900000000000000".replace(' ', "");
        assert_eq!(hex::encode(runtime.call_data(&call).unwrap()), expected);
    }
    let runtime = Runtime::new(&V16, SPEC, TRANSACTION, [0; 32]).unwrap();
    let long = Call::SetCommitment { netuid: 3, data: vec![0; 129] };
    assert!(matches!(runtime.call_data(&long), Err(ChainError::Unsupported { .. })));
    assert!(matches!(Runtime::new(b"meta", SPEC, TRANSACTION, [0; 32]), Err(ChainError::Unsupported { .. })));
}

#[tokio::test]
async fn a_subnet_is_read() {
    let node = Node::start(plain()).await;
    let chain = client(&[&node]);
    let head = chain.finalized_head().await.unwrap();
    assert_eq!(head.number, 9);

    let metagraph = chain.metagraph(NETUID, &head).await.unwrap();
    assert_eq!((metagraph.netuid, metagraph.block, metagraph.neurons), (NETUID, head, neurons()));

    let expected = BTreeMap::from([
        (
            hotkey(0),
            Commitment {
                block: 3,
                fields: vec![
                    CommitmentField::Other(131),
                    CommitmentField::Other(134),
                    CommitmentField::Raw(vec![7; 300]),
                ],
            },
        ),
        (hotkey(1), Commitment { block: 3, fields: vec![CommitmentField::Raw(credentials())] }),
        (
            hotkey(2),
            Commitment { block: 3, fields: vec![CommitmentField::None, CommitmentField::Other(135)] },
        ),
    ]);
    assert_eq!(chain.commitments(NETUID, &head).await.unwrap(), expected);

    // What the fixture does not store has the metadata's default; what runtime 365 does not have is not made up.
    let expected = SubnetState {
        tempo: 360,
        commit_reveal: false,
        commit_reveal_version: 4,
        reveal_period_epochs: 1,
        weights_rate_limit: 0,
        weights_version_key: 7,
        min_allowed_weights: 1,
        max_weights_limit: 65535,
        blocks_since_last_step: 12,
        last_epoch_block: None,
        pending_epoch_at: None,
        next_epoch_start: None,
        last_stored_round: Some(25_000_000),
    };
    assert_eq!(chain.subnet_state(NETUID, &head).await.unwrap(), expected);

    assert_eq!(chain.clock().await.unwrap().block_seconds, 12.0);

    for missing in [
        chain.metagraph(4, &head).await.map(drop),
        chain.subnet_state(4, &head).await.map(drop),
        chain.metagraph(NETUID, &BlockRef { number: 9, hash: [1; 32] }).await.map(drop),
    ] {
        assert!(matches!(missing, Err(ChainError::Unsupported { .. })), "{missing:?}");
    }
    assert_eq!(chain.commitments(4, &head).await.unwrap(), BTreeMap::new());
}

/// What later runtimes have is read when their metadata names it.
#[tokio::test]
async fn a_later_runtime_tells_more() {
    let node = Node::start(plain()).await;
    *node.state.newest.lock().unwrap() = newer();
    let chain = client(&[&node]);
    let head = chain.finalized_head().await.unwrap();
    let state = chain.subnet_state(NETUID, &head).await.unwrap();
    assert_eq!(
        (state.last_epoch_block, state.pending_epoch_at, state.next_epoch_start),
        (Some(40), Some(0), Some(400))
    );
    assert_eq!(state.tempo, 360);
}

/// An extension that we have not heard of is left out where it can be, and stops us where it cannot.
#[test]
fn unknown_extensions_of_transactions() {
    let checkpoint = BlockRef { number: 5, hash: [5; 32] };
    let prepare = |metadata: &[u8]| {
        let runtime = Runtime::new(metadata, SPEC, TRANSACTION, [0; 32]).unwrap();
        runtime.prepare(&weights(), 1, checkpoint)
    };
    let known = prepare(&V16).unwrap();
    let optional = prepare(&with_extension("Option")).unwrap();
    let (known, optional) = (known.payload().unwrap(), optional.payload().unwrap());
    // Era, nonce, tip, then one more byte: none.
    let place =
        Runtime::new(&V16, SPEC, TRANSACTION, [0; 32]).unwrap().call_data(&weights()).unwrap().len() + 4;
    let expected = [&known[..place], &[0], &known[place..]].concat();
    assert_eq!(hex::encode(optional), hex::encode(expected));
    let refused = prepare(&with_extension("AccountId32")).err().unwrap();
    assert!(matches!(&refused, ChainError::Unsupported { why, .. } if why.contains("Unheard")), "{refused}");
}

/// Newer and older nodes offer other metadata; the answers are the same.
#[tokio::test]
async fn any_metadata_will_do() {
    for offered in [vec![15], vec![14, 15, 16, u32::MAX], vec![]] {
        let node = Node::start(plain()).await;
        *node.state.metadata.lock().unwrap() = offered;
        let chain = client(&[&node]);
        let head = chain.finalized_head().await.unwrap();
        assert_eq!(chain.metagraph(NETUID, &head).await.unwrap().neurons, neurons());
        assert_eq!(chain.commitments(NETUID, &head).await.unwrap().len(), 3);
    }
}

#[tokio::test]
async fn without_the_runtime_api_the_metagraph_comes_from_elsewhere() {
    let node = Node::start(plain()).await;
    let chain = client(&[&node]);
    let head = chain.finalized_head().await.unwrap();
    let _ = chain.runtime().await.unwrap();
    let no = || Fault::Refuse("state_call", 4003, "Client error: Execution failed", None);
    node.fail(no());
    assert_eq!(chain.metagraph(NETUID, &head).await.unwrap().neurons, neurons());
    assert_eq!(node.calls("SubnetInfoRuntimeApi_get_metagraph"), 1);
    node.fail(no());
    node.fail(no());
    assert_eq!(chain.metagraph(NETUID, &head).await.unwrap().neurons, neurons());
    assert!(node.calls("state_queryStorageAt") >= 2);
}

#[tokio::test]
async fn many_commitments_come_in_pages() {
    let many = (0..600u16).map(|i| {
        let mut account = [0; 32];
        account[..2].copy_from_slice(&i.to_le_bytes());
        (account, raw(&i.to_le_bytes()))
    });
    let many = many.collect::<Vec<_>>();
    let node = Node::start(FixtureChain::new(subnet(false, 0), &many)).await;
    let chain = client(&[&node]);
    let head = chain.finalized_head().await.unwrap();
    let read = chain.commitments(NETUID, &head).await.unwrap();
    assert_eq!(read.len(), 600);
    let fields = read.values().map(|found| match found.fields.as_slice() {
        [CommitmentField::Raw(bytes)] => u16::from_le_bytes(bytes.as_slice().try_into().unwrap()),
        other => panic!("{other:?}"),
    });
    let fields = fields.collect::<std::collections::BTreeSet<_>>();
    assert!(fields.into_iter().eq(0..600));
    assert_eq!(node.calls("state_getKeysPaged"), 3);
}

#[tokio::test]
async fn the_three_calls_are_taken_and_done() {
    let node = Node::start(plain()).await;
    let chain = client(&[&node]);
    let ticking = tick(&node.chain);
    let alice = pair(0);
    let receipt =
        chain.submit(&alice, &Call::SetCommitment { netuid: NETUID, data: b"new".to_vec() }).await.unwrap();
    let read = chain.commitments(NETUID, &receipt.block).await.unwrap();
    let expected =
        Commitment { block: receipt.block.number, fields: vec![CommitmentField::Raw(b"new".to_vec())] };
    assert_eq!(read[&hotkey(0)], expected);

    let receipt = chain.submit(&alice, &weights()).await.unwrap();
    let neurons = chain.metagraph(NETUID, &receipt.block).await.unwrap().neurons;
    assert_eq!(neurons[0].last_update, receipt.block.number);
    ticking.abort();

    let seen = node.chain.inner.lock().unwrap().seen.clone();
    assert_eq!(seen.iter().map(|transaction| transaction.nonce).collect::<Vec<_>>(), [0, 1]);
    assert!(seen.iter().all(|transaction| transaction.period == 64));
    assert_eq!(seen[1].hash, receipt.extrinsic_hash);
    assert_eq!(node.calls("author_submitExtrinsic"), 0);
}

#[tokio::test]
async fn a_commit_waits_until_it_is_revealed() {
    let node = Node::start(commit_reveal()).await;
    let chain = client(&[&node]);
    let ticking = tick(&node.chain);
    let first = chain.submit(&pair(0), &commit()).await.unwrap();
    let second = chain.submit(&pair(0), &commit()).await.unwrap();
    let third = chain.submit(&pair(1), &commit()).await.unwrap();
    assert_eq!(chain.pending_commits(NETUID, &hotkey(0), &first.block).await.unwrap(), 1);
    assert_eq!(chain.pending_commits(NETUID, &hotkey(0), &third.block).await.unwrap(), 2);
    assert_eq!(chain.pending_commits(NETUID, &hotkey(1), &second.block).await.unwrap(), 0);
    assert_eq!(chain.pending_commits(NETUID, &hotkey(1), &third.block).await.unwrap(), 1);
    assert!(chain.pending_commits(NETUID, &Hotkey::new("nobody"), &third.block).await.is_err());

    let best = node.chain.reveal(pair(0).public_key());
    let after = chain.next_finalized_head(best).await.unwrap();
    ticking.abort();
    let reveals = chain.reveals(NETUID, 1, after.number).await.unwrap();
    let [Reveal { block, netuid: NETUID, hotkey: who }] = reveals.as_slice() else { panic!("{reveals:?}") };
    assert_eq!(*who, hotkey(0));
    assert!(*block > third.block.number);
    assert_eq!(chain.reveals(NETUID, *block, *block).await.unwrap(), reveals);
    assert_eq!(chain.reveals(NETUID, 1, *block - 1).await.unwrap(), []);
    assert_eq!(chain.reveals(NETUID + 1, 1, after.number).await.unwrap(), []);
    assert_eq!(chain.pending_commits(NETUID, &hotkey(0), &after).await.unwrap(), 0);
}

/// What a validator does of it: everything is checked beforehand, and both paths are taken by the chain.
#[tokio::test]
async fn weights_by_both_paths() {
    for (fixture, commits) in [(plain(), 0), (commit_reveal(), 1)] {
        let node = Node::start(fixture).await;
        let chain = client(&[&node]);
        let ticking = tick(&node.chain);
        let weights = DenseWeights { uids: vec![0, 1], weights: vec![0.0, 1.0], unknown_hotkeys: vec![] };
        let outcome =
            submit_weights(&chain, &pair(0), NETUID, &weights, &[], &SubmitOptions::default()).await.unwrap();
        ticking.abort();
        let head = chain.finalized_head().await.unwrap();
        assert_eq!(chain.pending_commits(NETUID, &hotkey(0), &head).await.unwrap(), commits);
        let block = match outcome {
            WeightsOutcome::Set { block } if commits == 0 => block,
            WeightsOutcome::Committed(pending) if commits == 1 => pending.block,
            other => panic!("{other:?}"),
        };
        assert_eq!(chain.metagraph(NETUID, &head).await.unwrap().neurons[0].last_update, block);
    }
}

/// Inclusion is not success.
#[tokio::test]
async fn a_failed_dispatch_is_named() {
    let node = Node::start(commit_reveal()).await;
    let chain = client(&[&node]);
    let ticking = tick(&node.chain);
    let failed = chain.submit(&pair(0), &weights()).await;
    assert!(
        matches!(&failed, Err(ChainError::Dispatch { pallet, error, .. })
            if pallet == "SubtensorModule" && error == "CommitRevealEnabled"),
        "{failed:?}"
    );
    let failed = chain.submit(&pair(2), &publish()).await;
    assert!(
        matches!(&failed, Err(ChainError::Dispatch { pallet, error, .. })
            if pallet == "Commitments" && error == "AccountNotAllowedCommit"),
        "{failed:?}"
    );
    ticking.abort();
}

#[tokio::test]
async fn the_pools_refusals_are_understood_and_not_sent_again() {
    let node = Node::start(FixtureChain::new(subnet(false, 100), &commitments())).await;
    let chain = client(&[&node]);
    let ticking = tick(&node.chain);
    // Bob's weights are too young; Charlie has no uid.
    for (who, code, part) in [(1, Some(6), "rate limit"), (2, Some(19), "no uid")] {
        let refused = chain.submit(&pair(who), &weights()).await.unwrap_err();
        let ChainError::Refused { code: said, why } = &refused else { panic!("{refused:?}") };
        assert_eq!(*said, code);
        assert!(why.contains(part), "{why}");
    }
    let _ = chain.submit(&pair(1), &publish()).await.unwrap();
    node.fail(Fault::StaleNonce);
    let refused = chain.submit(&pair(1), &publish()).await.unwrap_err();
    assert!(
        matches!(&refused, ChainError::Refused { code: None, why } if why.contains("nonce is used up")),
        "{refused}"
    );
    node.fail(Fault::Refuse("author_submitAndWatchExtrinsic", -32005, "rate limit exceeded", None));
    let refused = chain.submit(&pair(1), &publish()).await.unwrap_err();
    assert!(
        matches!(&refused, ChainError::Refused { why, .. } if why.contains("limits how often")),
        "{refused}"
    );
    ticking.abort();
    assert_eq!(node.chain.inner.lock().unwrap().seen.len(), 4);
}

/// Between the question for the version and the signature the runtime changes: the signature is refused, and the
/// second one fits.
#[tokio::test]
async fn a_runtime_upgraded_between_two_calls() {
    let node = Node::start(plain()).await;
    let chain = client(&[&node]);
    let ticking = tick(&node.chain);
    assert_eq!(chain.runtime().await.unwrap().spec_version(), SPEC);
    node.fail(Fault::UpgradeAfter("system_accountNextIndex"));
    let receipt = chain.submit(&pair(0), &publish()).await.unwrap();
    assert_eq!(chain.runtime().await.unwrap().spec_version(), SPEC + 1);
    assert_eq!(node.calls("Metadata_metadata_at_version"), 2);
    let seen = node.chain.inner.lock().unwrap().seen.clone();
    assert_eq!(seen.iter().map(|transaction| transaction.nonce).collect::<Vec<_>>(), [0, 0]);
    // What was written before the upgrade is still read as it was written.
    assert_eq!(
        chain.commitments(NETUID, &receipt.block).await.unwrap()[&hotkey(0)].block,
        receipt.block.number
    );
    ticking.abort();
}

/// The same refusal twice is not an upgrade, and ends.
#[tokio::test]
async fn a_bad_signature_is_tried_again_once() {
    let node = Node::start(plain()).await;
    let chain = client(&[&node]);
    for _ in 0..2 {
        let bad = Some("Transaction has a bad signature");
        node.fail(Fault::Refuse("author_submitAndWatchExtrinsic", 1010, "Invalid Transaction", bad));
    }
    let refused = chain.submit(&pair(0), &publish()).await.unwrap_err();
    assert!(matches!(refused, ChainError::Refused { code: None, .. }), "{refused}");
    assert_eq!(node.calls("author_submitAndWatchExtrinsic"), 2);
}

#[tokio::test]
async fn a_socket_dropped_in_mid_call() {
    let node = Node::start(plain()).await;
    let chain = client(&[&node]);
    let head = chain.finalized_head().await.unwrap();
    for method in ["state_getKeysPaged", "state_queryStorageAt"] {
        node.fail(Fault::CutBefore(method));
        assert_eq!(chain.commitments(NETUID, &head).await.unwrap().len(), 3);
    }
    node.fail(Fault::CutBefore("state_call"));
    assert_eq!(chain.metagraph(NETUID, &head).await.unwrap().neurons, neurons());
}

/// The node has taken the transaction, and the socket is gone before it said so: it is found in the blocks, and was
/// sent once.
#[tokio::test]
async fn a_transaction_lost_sight_of_is_found() {
    let node = Node::start(plain()).await;
    let chain = client(&[&node]);
    let ticking = tick(&node.chain);
    node.fail(Fault::CutAfter("author_submitAndWatchExtrinsic"));
    let receipt = chain.submit(&pair(0), &publish()).await.unwrap();
    ticking.abort();
    let inner = node.chain.inner.lock().unwrap();
    assert_eq!(inner.seen.len(), 1);
    assert_eq!(inner.included[&receipt.extrinsic_hash], receipt.block.number);
}

/// A pool's word that a transaction is invalid is no proof: another node may have it, and here it is included.
#[tokio::test]
async fn a_disowned_transaction_is_looked_for() {
    let node = Node::start(plain()).await;
    let chain = client(&[&node]);
    let ticking = tick(&node.chain);
    node.fail(Fault::Disown);
    let _ = chain.submit(&pair(0), &publish()).await.unwrap();
    let already = Fault::Refuse("author_submitAndWatchExtrinsic", 1013, "Transaction Already Imported", None);
    node.fail(already);
    let lost = chain.submit(&pair(0), &publish()).await.unwrap_err();
    assert!(
        matches!(&lost, ChainError::Refused { why, .. } if why.contains("none of the 64 blocks")),
        "{lost}"
    );
    ticking.abort();
    assert_eq!(node.chain.inner.lock().unwrap().seen.len(), 1);
}

/// A transaction was sent, and then the chain cannot be read any more: nobody may think that nothing was sent.
#[tokio::test]
async fn an_outcome_that_cannot_be_found_out() {
    let node = Node::start(plain()).await;
    let options = ClientOptions {
        silence: Duration::from_millis(100),
        give_up: Duration::from_millis(400),
        ..ClientOptions::default()
    };
    let chain = client_with(&[&node], options);
    let _ = chain.runtime().await.unwrap();
    let unknown = chain.submit(&pair(0), &publish()).await.unwrap_err();
    assert!(matches!(unknown, ChainError::OutcomeUnknown { .. }), "{unknown}");
    assert_eq!(node.chain.inner.lock().unwrap().seen.len(), 1);
}

/// As before, and the chain never includes it: that is only known when its life is over.
#[tokio::test]
async fn a_transaction_that_is_lost_is_known_to_be() {
    let node = Node::start(plain()).await;
    let chain = client(&[&node]);
    let ticking = tick(&node.chain);
    node.fail(Fault::Forget);
    node.fail(Fault::CutAfter("author_submitAndWatchExtrinsic"));
    let lost = chain.submit(&pair(0), &publish()).await.unwrap_err();
    ticking.abort();
    assert!(
        matches!(&lost, ChainError::Refused { code: None, why } if why.contains("none of the 64 blocks")),
        "{lost}"
    );
    let inner = node.chain.inner.lock().unwrap();
    assert_eq!(inner.seen.len(), 1);
    assert!(inner.finalised > 64);
}

/// The chain stands still after the transaction was taken: the outcome is not known, and that is what is said.
#[tokio::test]
async fn no_finality_within_the_deadline() {
    let node = Node::start(plain()).await;
    let options = ClientOptions { finality_deadline: Duration::from_millis(500), ..ClientOptions::default() };
    let chain = client_with(&[&node], options);
    let _ = chain.runtime().await.unwrap();
    let unknown = chain.submit(&pair(0), &publish()).await.unwrap_err();
    assert!(matches!(unknown, ChainError::TimedOut { .. }), "{unknown}");
    assert_eq!(node.chain.inner.lock().unwrap().seen.len(), 1);
}

#[tokio::test]
async fn a_silent_node_is_left_for_another() {
    let shared = plain();
    let (first, second) = (Node::start(shared.clone()).await, Node::start(shared.clone()).await);
    let options = ClientOptions { silence: Duration::from_millis(300), ..ClientOptions::default() };
    let chain = client_with(&[&first, &second], options);
    let head = chain.next_finalized_head(0).await.unwrap();
    assert_eq!(head.number, 9);
    first.silence(true);
    let ticking = tick(&shared);
    let later = chain.next_finalized_head(head.number + 5).await.unwrap();
    ticking.abort();
    assert!(later.number > head.number + 5);
    assert_eq!(chain.name(), second.url());
}

/// A node falls silent while a transaction is in flight: the other node shows what became of it.
#[tokio::test]
async fn a_node_that_falls_silent_over_a_transaction() {
    let shared = plain();
    let (first, second) = (Node::start(shared.clone()).await, Node::start(shared.clone()).await);
    let options = ClientOptions { silence: Duration::from_millis(500), ..ClientOptions::default() };
    let chain = client_with(&[&first, &second], options);
    let _ = chain.runtime().await.unwrap();
    first.silence(true);
    let ticking = tick(&shared);
    let receipt = chain.submit(&pair(0), &publish()).await.unwrap();
    ticking.abort();
    let inner = shared.inner.lock().unwrap();
    assert_eq!((inner.seen.len(), inner.included[&receipt.extrinsic_hash]), (1, receipt.block.number));
    assert_eq!(chain.name(), second.url());
}

#[tokio::test]
async fn a_chain_that_stands_still_is_reported() {
    let node = Node::start(plain()).await;
    let options = ClientOptions {
        silence: Duration::from_millis(100),
        give_up: Duration::from_millis(400),
        ..ClientOptions::default()
    };
    let chain = client_with(&[&node], options);
    let head = chain.next_finalized_head(0).await.unwrap();
    let stalled = chain.next_finalized_head(head.number).await.unwrap_err();
    assert!(matches!(stalled, ChainError::Stalled { .. }), "{stalled}");
    assert!(stalled.to_string().contains("no new finalised block"), "{stalled}");
    // Should it come to life before the process is ended, it is used again.
    let ticking = tick(&node.chain);
    loop {
        match chain.next_finalized_head(head.number).await {
            Ok(later) => break assert!(later.number > head.number),
            Err(ChainError::Stalled { .. }) => tokio::task::yield_now().await,
            Err(other) => panic!("{other}"),
        }
    }
    ticking.abort();
}

#[tokio::test]
async fn dead_and_overloaded_endpoints_are_passed_over() {
    let shared = plain();
    let (dead, busy, good) = (
        Node::start(shared.clone()).await,
        Node::start(shared.clone()).await,
        Node::start(shared.clone()).await,
    );
    dead.unplug();
    let chain = client(&[&dead, &busy, &good]);
    let head = chain.finalized_head().await.unwrap();
    assert_eq!(chain.name(), busy.url());
    busy.fail(Fault::Refuse("state_getKeysPaged", -32005, "rate limit exceeded", None));
    assert_eq!(chain.commitments(NETUID, &head).await.unwrap().len(), 3);
    assert_eq!(chain.name(), good.url());
}

/// A command that ends does not wait for a chain that is not there; whoever follows one does, unless told otherwise.
#[tokio::test]
async fn attempts_in_vain_are_counted() {
    let shared = plain();
    let (first, second) = (Node::start(shared.clone()).await, Node::start(shared.clone()).await);
    first.unplug();
    second.unplug();
    let bounded = || ClientOptions { attempts: Some(2), ..ClientOptions::default() };
    let chain = client_with(&[&first], bounded());
    for _ in 0..2 {
        let lost = chain.finalized_head().await.unwrap_err();
        assert!(
            matches!(&lost, ChainError::Unreachable { endpoint, .. } if *endpoint == first.url()),
            "{lost}"
        );
        let said = lost.to_string();
        assert!(said.contains("tried 2 times") && said.contains("chain.endpoints"), "{said}");
    }
    let chain = client_with(&[&first, &second], bounded());
    let lost = chain.next_finalized_head(0).await.unwrap_err().to_string();
    for node in [&first, &second] {
        assert!(lost.contains(&format!("{}: ", node.url())), "each has its reason: {lost}");
    }
    let patient = ClientOptions { read_deadline: Duration::from_secs(3), ..ClientOptions::default() };
    let lost = client_with(&[&first], patient).finalized_head().await.unwrap_err().to_string();
    assert!(!lost.contains("times") && lost.contains("chain.endpoints"), "{lost}");

    // One that answers is enough.
    let good = Node::start(shared).await;
    let chain = client_with(&[&first, &good], bounded());
    chain.finalized_head().await.unwrap();
    assert_eq!(chain.name(), good.url());
}

#[tokio::test]
async fn another_chain_is_refused() {
    let node = Node::start(plain()).await;
    let options = ClientOptions {
        genesis: Some([1; 32]),
        read_deadline: Duration::from_millis(500),
        ..ClientOptions::default()
    };
    let refused = client_with(&[&node], options).finalized_head().await.unwrap_err();
    assert!(refused.to_string().contains("another chain"), "{refused}");
}

#[tokio::test]
async fn addresses_that_are_none_are_refused() {
    for wrong in [vec![], vec!["https://127.0.0.1".to_owned()], vec!["nonsense".to_owned()]] {
        assert!(SubtensorChain::connect(&wrong, ClientOptions::default()).is_err(), "{wrong:?}");
    }
}

/// Nothing that is logged, at whatever level, holds the hotkey's secret or the key in an endpoint's address.
#[tokio::test]
async fn secrets_stay_out_of_the_log() {
    #[derive(Clone, Default)]
    struct Sink(Arc<std::sync::Mutex<Vec<u8>>>);
    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let sink = Sink::default();
    let writer = sink.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let node = Node::start(plain()).await;
    let url = format!("{}/v1/hush-hush", node.url());
    let chain = SubtensorChain::connect(&[url], ClientOptions::default()).unwrap();
    let ticking = tick(&node.chain);
    node.fail(Fault::CutAfter("author_submitAndWatchExtrinsic"));
    let _ = chain.submit(&pair(0), &publish()).await.unwrap();
    ticking.abort();
    drop(guard);
    let log = String::from_utf8_lossy(&sink.0.lock().unwrap()).to_lowercase();
    assert!(log.contains("lost sight"), "the log is not what was meant: {} bytes", log.len());
    let seed = rpc_fixture::scene::SEEDS[0];
    assert!(!log.contains(seed) && !log.contains(&seed[..16]), "the seed is in the log");
    // The fixture's server tells what it is asked, of course.
    let told: Vec<&str> =
        log.lines().filter(|line| line.contains("hush-hush") && !line.contains("jsonrpsee-server")).collect();
    assert!(told.is_empty(), "{told:?}");
}
