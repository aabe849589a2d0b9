//! Judging and paying: neither waits for the other.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_node::chain::sim::SimulatedChain;
use nexis_node::chain::{
    BlockRef, Call, Chain, ChainClock, Commitment, HotkeyPair, Metagraph, Receipt, Result, Reveal,
    SubnetState,
};
use nexis_node::state::{State, WeightState};
use nexis_node::store::Result as StoreResult;
use nexis_node::validator::{IndexSource, NoHook, Validator};
use tokio_util::sync::CancellationToken;

use super::world::{World, advance_to, follow, hotkey};

/// A chain on which no transaction ever becomes final.
struct NeverFinal(SimulatedChain);

#[async_trait]
impl Chain for NeverFinal {
    fn name(&self) -> String {
        self.0.name()
    }

    async fn finalized_head(&self) -> Result<BlockRef> {
        self.0.finalized_head().await
    }

    async fn block(&self, number: u64) -> Result<BlockRef> {
        self.0.block(number).await
    }

    async fn next_finalized_head(&self, after: u64) -> Result<BlockRef> {
        self.0.next_finalized_head(after).await
    }

    async fn metagraph(&self, netuid: u16, at: &BlockRef) -> Result<Metagraph> {
        self.0.metagraph(netuid, at).await
    }

    async fn commitments(&self, netuid: u16, at: &BlockRef) -> Result<BTreeMap<Hotkey, Commitment>> {
        self.0.commitments(netuid, at).await
    }

    async fn subnet_state(&self, netuid: u16, at: &BlockRef) -> Result<SubnetState> {
        self.0.subnet_state(netuid, at).await
    }

    async fn pending_commits(&self, netuid: u16, hotkey: &Hotkey, at: &BlockRef) -> Result<usize> {
        self.0.pending_commits(netuid, hotkey, at).await
    }

    async fn reveals(&self, netuid: u16, from: u64, to: u64) -> Result<Vec<Reveal>> {
        self.0.reveals(netuid, from, to).await
    }

    async fn clock(&self) -> Result<ChainClock> {
        self.0.clock().await
    }

    async fn submit(&self, _signer: &HotkeyPair, _call: &Call) -> Result<Receipt> {
        pending().await
    }
}

/// An index that is there until it is taken away; then whoever reads it waits.
#[derive(Default)]
struct Withdrawn(AtomicBool);

#[async_trait]
impl IndexSource for Withdrawn {
    async fn read(&self) -> StoreResult<Option<Vec<u8>>> {
        if self.0.load(Ordering::SeqCst) { pending().await } else { Ok(None) }
    }
}

/// Runs a validator until something holds of its state, or fails.
async fn run_until(validator: &Validator, what: &str, holds: impl Fn(&State) -> bool) {
    let stop = CancellationToken::new();
    let wait = async {
        while !holds(validator.state()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
    };
    let both = async { tokio::join!(validator.run(&stop), wait) };
    let (ran, ()) = tokio::time::timeout(Duration::from_secs(60), both).await.expect(what);
    ran.unwrap();
}

fn next_is(interval: u64) -> impl Fn(&State) -> bool {
    move |state| state.next().unwrap() == Some(IntervalId::new(interval))
}

async fn subnet(world: &World) {
    world.register_validator();
    world.register("carol", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_that_do_not_become_final_keep_no_interval_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    subnet(&world).await;
    let chain = world.chain();
    let mut parts = world.parts(&chain, Arc::new(NoHook));
    parts.chain = Arc::new(NeverFinal(chain.clone()));
    let validator = Validator::new(parts, world.settings()).unwrap();
    advance_to(&chain, 7102);
    run_until(&validator, "judged", next_is(7100)).await;
    advance_to(&chain, 7202);
    // Weights are due, and are sent; only then does the next interval close.
    let closed = AtomicBool::new(false);
    let judged = |state: &State| {
        let sent = state.weights().unwrap().iter().any(|w| w.tries > 0);
        if sent && !closed.swap(true, Ordering::SeqCst) {
            advance_to(&chain, 7302);
        }
        next_is(7300)(state)
    };
    run_until(&validator, "judged while weights are on their way", judged).await;
    assert!(!matches!(validator.state().weights().unwrap()[0].outcome, WeightState::Confirmed { .. }));

    // On a chain that works again, they are sent again and taken.
    drop(validator);
    let validator = world.validator(&chain);
    advance_to(&chain, 7320);
    follow(&validator, &chain).await;
    let paid = validator.state().weights().unwrap();
    assert_eq!(paid.len(), 1);
    assert!(matches!(paid[0].outcome, WeightState::Confirmed { .. }), "{paid:?}");
    assert!(chain.weights().contains_key(&hotkey("validator")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interval_that_cannot_be_judged_keeps_no_weights_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    subnet(&world).await;
    let chain = world.chain();
    let index = Arc::new(Withdrawn::default());
    let mut parts = world.parts(&chain, Arc::new(NoHook));
    parts.index = Arc::clone(&index) as Arc<dyn IndexSource>;
    let validator = Validator::new(parts, world.settings()).unwrap();
    advance_to(&chain, 7102);
    run_until(&validator, "judged", next_is(7100)).await;
    // Due at 7200: the weights for what was judged until then.
    index.0.store(true, Ordering::SeqCst);
    advance_to(&chain, 7202);
    let paid = |state: &State| {
        state.weights().unwrap().iter().any(|w| matches!(w.outcome, WeightState::Confirmed { .. }))
    };
    run_until(&validator, "paid while an interval waits", paid).await;
    assert_eq!(validator.state().next().unwrap(), Some(IntervalId::new(7100)));
}
