//! A node without a chain: JSON-RPC with the real metadata of runtime 365 and a small state, which checks signature,
//! nonce and life of every transaction, carries out the three calls that we make, and can be told to fail.
//!
//! What it checks and encodes is written out by hand here, so that the client is not measured against itself.

#![allow(dead_code)]

pub(crate) mod chain;
pub(crate) mod encode;
pub(crate) mod metadata;
pub(crate) mod methods;
pub(crate) mod scene;
pub(crate) mod transaction;
pub(crate) mod wire;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chain::FixtureChain;
use jsonrpsee::server::{RandomStringIdProvider, Server, ServerConfig, ServerHandle};
use wire::Wire;

/// Something that shall go wrong, once.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The connection is cut when this method is called, before anything is done.
    CutBefore(&'static str),
    /// The connection is cut after this method has had its effect.
    CutAfter(&'static str),
    /// The runtime is upgraded, in a new block, right after this method is answered.
    UpgradeAfter(&'static str),
    /// The method is refused: code, message, data.
    Refuse(&'static str, i32, &'static str, Option<&'static str>),
    /// The account's next nonce is given one too low.
    StaleNonce,
    /// The next transaction is taken and then forgotten.
    Forget,
    /// The next transaction is taken, and its sender is told that it is no longer valid.
    Disown,
}

/// A node: a server on a port of its own, in front of a chain that it may share with other nodes.
pub(crate) struct Node {
    pub(crate) chain: Arc<FixtureChain>,
    pub(crate) state: Arc<NodeState>,
    wire: Wire,
    _server: ServerHandle,
}

/// What a node's methods work on.
pub(crate) struct NodeState {
    pub(crate) chain: Arc<FixtureChain>,
    pub(crate) cut: tokio::sync::watch::Sender<u64>,
    faults: Mutex<Vec<Fault>>,
    /// Whether new finalised heads are announced.
    pub(crate) silent: AtomicBool,
    /// Versions of metadata that are offered.
    pub(crate) metadata: Mutex<Vec<u32>>,
    /// Metadata of version 16.
    pub(crate) newest: Mutex<Vec<u8>>,
    calls: Mutex<BTreeMap<String, usize>>,
}

impl NodeState {
    /// Takes a fault that fits, if there is one.
    pub(crate) fn take(&self, fits: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let place = faults.iter().position(fits)?;
        Some(faults.remove(place))
    }

    pub(crate) fn count(&self, method: &str) {
        *self.calls.lock().unwrap().entry(method.to_owned()).or_default() += 1;
    }

    /// Cuts every connection of this node.
    pub(crate) fn cut(&self) {
        self.cut.send_modify(|times| *times += 1);
    }
}

impl Node {
    /// Starts a node in front of a chain.
    pub(crate) async fn start(chain: Arc<FixtureChain>) -> Self {
        let state = Arc::new(NodeState {
            chain: chain.clone(),
            cut: tokio::sync::watch::Sender::new(0),
            faults: Mutex::default(),
            silent: AtomicBool::new(false),
            metadata: Mutex::new(vec![15, 16]),
            newest: Mutex::new(metadata::V16.clone()),
            calls: Mutex::default(),
        });
        let config = ServerConfig::builder().set_id_provider(RandomStringIdProvider::new(16)).build();
        let server = Server::builder().set_config(config).build("127.0.0.1:0").await.unwrap();
        let backend = server.local_addr().unwrap();
        let handle = server.start(methods::module(state.clone()));
        let wire = Wire::start(backend, state.cut.subscribe()).await;
        Self { chain, state, wire, _server: handle }
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.wire.address)
    }

    pub(crate) fn fail(&self, fault: Fault) {
        self.state.faults.lock().unwrap().push(fault);
    }

    /// How often a method was called.
    pub(crate) fn calls(&self, method: &str) -> usize {
        self.state.calls.lock().unwrap().get(method).copied().unwrap_or_default()
    }

    pub(crate) fn silence(&self, silent: bool) {
        self.state.silent.store(silent, Ordering::SeqCst);
    }

    /// Refuses new connections, too.
    pub(crate) fn unplug(&self) {
        self.wire.unplug();
        self.state.cut();
    }
}

/// Makes blocks until the returned task is aborted: at once while a transaction waits or is not yet final, and now and
/// then otherwise, so that a transaction's life of 64 blocks lasts for seconds.
pub(crate) fn tick(chain: &Arc<FixtureChain>) -> tokio::task::AbortHandle {
    const IDLE_TURNS: u32 = 6;
    let chain = chain.clone();
    tokio::spawn(async move {
        let mut turns = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(10)).await;
            turns += 1;
            if chain.is_busy() || turns >= IDLE_TURNS {
                chain.produce();
                turns = 0;
            }
        }
    })
    .abort_handle()
}
