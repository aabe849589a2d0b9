//! The simulated chain by itself: what is read at a block, commitments, who may sign.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use nexis_core::commitment::Credentials;
use nexis_node::chain::sim::{Chaos, SimulatedChain, SubnetConfig};
use nexis_node::chain::{Call, Chain, ChainError, Commitment, CommitmentField, HotkeyPair};

fn pair(n: u8) -> HotkeyPair {
    HotkeyPair::from_seed(&[n; 32]).unwrap()
}

fn credentials() -> Credentials {
    Credentials::new(&"0a".repeat(16), &"k".repeat(32), &"s".repeat(64)).unwrap()
}

#[tokio::test]
async fn commitments_are_read_as_credentials_at_their_block() {
    let chain = SimulatedChain::new(SubnetConfig::default());
    chain.register(pair(1).hotkey(), 5, false).unwrap();
    let before = chain.head();
    let data = credentials().encode().into_bytes();
    let call = Call::SetCommitment { netuid: 1, data };
    let receipt = chain.submit(&pair(1), &call).await.unwrap();
    assert_eq!(receipt.block, chain.head());
    assert!(chain.commitments(1, &before).await.unwrap().is_empty());
    let commitments = chain.commitments(1, &receipt.block).await.unwrap();
    let commitment = &commitments[pair(1).hotkey()];
    assert_eq!((commitment.block, commitment.credentials()), (receipt.block.number, Some(credentials())));

    // Somebody else may not, and nothing but 128 bytes fits.
    let error = chain.submit(&pair(2), &call).await.unwrap_err();
    assert!(matches!(error, ChainError::Dispatch { error, .. } if error == "AccountNotAllowedCommit"));
    let long = Call::SetCommitment { netuid: 1, data: vec![b'a'; 129] };
    assert!(matches!(chain.submit(&pair(1), &long).await, Err(ChainError::Dispatch { .. })));
    assert!(matches!(chain.metagraph(2, &before).await, Err(ChainError::Unsupported { .. })));
}

#[test]
fn credentials_come_from_the_first_raw_field() {
    let raw = |text: &str| CommitmentField::Raw(text.as_bytes().to_vec());
    let of = |fields| Commitment { block: 1, fields }.credentials();
    let text = credentials().encode();
    assert_eq!(of(vec![CommitmentField::None, CommitmentField::Other(134), raw(&text)]), Some(credentials()));
    assert_eq!(of(vec![raw("short"), raw(&text)]), None);
    assert_eq!(of(vec![CommitmentField::Raw(vec![0xff; 128])]), None);
    assert_eq!(of(vec![]), None);
}

#[tokio::test]
async fn state_is_read_at_its_block_and_not_for_ever() {
    let chain = SimulatedChain::new(SubnetConfig { tempo: 20, ..SubnetConfig::default() });
    chain.register(pair(1).hotkey(), 5, true).unwrap();
    let early = chain.advance(25).unwrap();
    let call = Call::SetWeights { netuid: 1, uids: vec![0], weights: vec![65535], version_key: 0 };
    chain.submit(&pair(1), &call).await.unwrap();
    chain.register(pair(2).hotkey(), 6, false).unwrap();
    let late = chain.advance(30).unwrap();
    assert_eq!(chain.metagraph(1, &early).await.unwrap().neurons.len(), 1);
    assert_eq!(chain.metagraph(1, &early).await.unwrap().neurons[0].last_update, 0);
    let metagraph = chain.metagraph(1, &late).await.unwrap();
    assert_eq!((metagraph.neurons.len(), metagraph.neurons[0].last_update), (2, 1026));
    let state = chain.subnet_state(1, &early).await.unwrap();
    assert_eq!((state.last_epoch_block, state.next_epoch_start), (Some(1020), Some(1040)));
    let state = chain.subnet_state(1, &late).await.unwrap();
    assert_eq!((state.last_epoch_block, state.next_epoch_start), (Some(1040), Some(1060)));
    chain.ask_for_epoch(1058).unwrap();
    let state = chain.subnet_state(1, &chain.head()).await.unwrap();
    assert_eq!(state.next_epoch_start, Some(1058));
    chain.advance(400).unwrap();
    assert!(chain.metagraph(1, &early).await.unwrap_err().to_string().contains("discarded"));
    let mut forged = chain.head();
    forged.hash = [0; 32];
    assert!(chain.metagraph(1, &forged).await.unwrap_err().to_string().contains("no such block"));
}

#[tokio::test]
async fn the_same_seed_makes_the_same_chain_and_the_same_chaos() {
    let run = async |seed| {
        let chain = SimulatedChain::new(SubnetConfig { seed, ..SubnetConfig::default() });
        chain.register(pair(1).hotkey(), 5, true).unwrap();
        chain.faults(|faults| {
            faults.chaos = Some(Chaos { seed, reads_permille: 300, submits_permille: 0 });
        });
        let mut reads = String::new();
        for _ in 0..50 {
            reads.push(if chain.finalized_head().await.is_ok() { '.' } else { 'x' });
        }
        (chain.head(), chain.clock().await.unwrap().randomness, reads)
    };
    let (head, key, reads) = run(1).await;
    assert_eq!(run(1).await, (head, key, reads.clone()));
    assert_ne!(run(2).await.1, key);
    assert!(reads.contains('x') && reads.contains('.'));
}
