//! One connection to one node: calls with a deadline, and errors in the chain's own words.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use subxt::config::{RpcConfigFor, SubstrateConfig};
use subxt::ext::jsonrpsee::core::client::Client as Socket;
use subxt::ext::jsonrpsee::ws_client::{PingConfig, WsClientBuilder};
use subxt::rpcs::{Error as RpcError, LegacyRpcMethods, RpcClient, UserError};
use subxt::utils::H256;
use tokio_util::sync::CancellationToken;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use super::ClientOptions;
use super::endpoint::Endpoint;
use super::runtime::{Runtime, Runtimes};
use crate::chain::{BlockRef, ChainError, Result};

/// The node's calls by the names that every Substrate node has.
pub(super) type Methods = LegacyRpcMethods<RpcConfigFor<SubstrateConfig>>;

/// Failed pings until a connection counts as lost.
const LOST_PINGS: usize = 2;
/// Blocks whose runtime is remembered.
const REMEMBERED_BLOCKS: usize = 16;
/// JSON-RPC's code for a method that the node does not have.
pub(super) const METHOD_NOT_FOUND: i32 = -32601;
/// Codes by which gateways say that they were asked too much.
const RATE_LIMITED: [i32; 4] = [-32004, -32005, -32029, 429];

/// A connection. The socket is owned by one background task of the WebSocket client; whoever holds a link only sends
/// it requests.
pub(super) struct Link {
    endpoint: Endpoint,
    socket: Arc<Socket>,
    rpc: RpcClient,
    methods: Methods,
    genesis: H256,
    deadline: Duration,
    condemned: CancellationToken,
    runtimes: Arc<Runtimes>,
    specs: Mutex<VecDeque<(H256, Version)>>,
}

/// A runtime's versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// Of the specification: what the metadata and signatures belong to.
    pub(super) spec: u32,
    /// Of the transactions' format: part of every signature.
    pub(super) transaction: u32,
}

impl Link {
    /// Connects, and asks for the first block's hash.
    pub(super) async fn open(
        endpoint: &Endpoint,
        options: &ClientOptions,
        runtimes: Arc<Runtimes>,
    ) -> Result<Self> {
        let ping = PingConfig::new()
            .ping_interval(options.ping_every)
            .inactive_limit(options.ping_every.saturating_mul(2))
            .max_failures(LOST_PINGS);
        let building = WsClientBuilder::new()
            .connection_timeout(options.connect_deadline)
            // Ours comes first, and says what was asked.
            .request_timeout(options.call_deadline.saturating_mul(2))
            .max_response_size(options.max_response_bytes)
            .enable_ws_ping(ping)
            .build(endpoint.url())
            // The WebSocket client logs the address with all that is in it.
            .with_subscriber(NoSubscriber::new());
        let unreachable = |why: String| ChainError::Unreachable { endpoint: endpoint.to_string(), why };
        let socket = match tokio::time::timeout(options.connect_deadline, building).await {
            Ok(Ok(socket)) => Arc::new(socket),
            Ok(Err(error)) => return Err(unreachable(endpoint.clean(&error.to_string()))),
            Err(_) => {
                return Err(unreachable(format!(
                    "no connection within {} s",
                    options.connect_deadline.as_secs()
                )));
            }
        };
        let rpc = RpcClient::new(socket.clone());
        let mut link = Self {
            endpoint: endpoint.clone(),
            socket,
            methods: Methods::new(rpc.clone()),
            rpc,
            genesis: H256::zero(),
            deadline: options.call_deadline,
            condemned: CancellationToken::new(),
            runtimes,
            specs: Mutex::default(),
        };
        link.genesis = link.call("the first block's hash", link.methods.genesis_hash()).await?;
        Ok(link)
    }

    /// Where it leads.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The calls, without deadline: use them within [`Link::call`].
    pub(super) fn methods(&self) -> &Methods {
        &self.methods
    }

    /// Calls by name, without deadline.
    pub(super) fn rpc(&self) -> &RpcClient {
        &self.rpc
    }

    /// Hash of the chain's first block.
    pub(super) fn genesis(&self) -> H256 {
        self.genesis
    }

    /// Deadline of one call.
    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Says that this connection is of no use any more; its owner makes another.
    pub(super) fn condemn(&self) {
        self.condemned.cancel();
    }

    /// Waits until the connection is lost or condemned, and says why.
    pub(super) async fn lost(&self) -> String {
        tokio::select! {
            error = self.socket.on_disconnect() => self.endpoint.clean(&error.to_string()),
            () = self.condemned.cancelled() => "it failed to answer".into(),
        }
    }

    /// Runs one call within its deadline.
    pub(super) async fn call<T>(
        &self,
        what: &str,
        asked: impl Future<Output = Result<T, RpcError>>,
    ) -> Result<T> {
        match tokio::time::timeout(self.deadline, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.failure(what, error)),
            Err(_) => Err(self.timed_out(what, self.deadline)),
        }
    }

    /// The error of a deadline that has passed.
    pub(super) fn timed_out(&self, what: &str, deadline: Duration) -> ChainError {
        ChainError::TimedOut {
            endpoint: self.endpoint.to_string(),
            what: what.into(),
            seconds: deadline.as_secs(),
        }
    }

    /// The error of a connection that has failed.
    pub(super) fn unreachable(&self, why: impl Into<String>) -> ChainError {
        ChainError::Unreachable { endpoint: self.endpoint.to_string(), why: why.into() }
    }

    /// A failed call in the chain's words.
    pub(super) fn failure(&self, what: &str, error: RpcError) -> ChainError {
        match error {
            RpcError::User(said) => self.answered_no(what, &said),
            RpcError::Deserialization(_) | RpcError::Decode(_) => ChainError::Unsupported {
                what: what.into(),
                why: self.endpoint.clean(&format!("{} sent something else: {error}", self.endpoint)),
            },
            other => self.unreachable(self.endpoint.clean(&format!("{what}: {other}"))),
        }
    }

    fn answered_no(&self, what: &str, said: &UserError) -> ChainError {
        let text = self.endpoint.clean(&words(said));
        if is_rate_limit(said) {
            return self.unreachable(format!("{what}: the node limits how often it is asked: {text}"));
        }
        let why = if text.contains("State already discarded") || text.contains("UnknownBlock") {
            format!(
                "{} no longer has the state of that block; give the endpoint of an archive node: {text}",
                self.endpoint
            )
        } else {
            format!("{} answered: {text}", self.endpoint)
        };
        ChainError::Unsupported { what: what.into(), why }
    }

    /// The block's header, which must be there.
    pub(super) async fn parent(&self, at: &BlockRef) -> Result<H256> {
        let hash = H256(at.hash);
        let header = self.call("a block's header", self.methods.chain_get_header(Some(hash))).await?;
        let header = header.ok_or_else(|| self.no_block(at.number))?;
        if header.number != at.number {
            let why = format!("block {} calls itself {}", at.number, header.number);
            return Err(ChainError::Unsupported { what: "block".into(), why });
        }
        Ok(if at.number == 0 { hash } else { header.parent_hash })
    }

    /// The error of a block that the node does not know.
    pub(super) fn no_block(&self, number: u64) -> ChainError {
        ChainError::Unsupported {
            what: format!("block {number}"),
            why: format!("{} does not know it", self.endpoint),
        }
    }

    /// Hash of a finalised block by its number.
    pub(super) async fn block(&self, number: u64) -> Result<BlockRef> {
        let asked = self.methods.chain_get_block_hash(Some(number.into()));
        let hash = self.call("a block's hash", asked).await?.ok_or_else(|| self.no_block(number))?;
        Ok(BlockRef { number, hash: hash.0 })
    }

    /// The runtime that wrote a block's state and events: its parent's, since an upgrade takes effect a block later.
    pub(super) async fn runtime_of_state(&self, at: &BlockRef) -> Result<Arc<Runtime>> {
        if let Some(version) = self.remembered(H256(at.hash))
            && let Some(runtime) = self.runtimes.known(version)
        {
            return Ok(runtime);
        }
        let parent = self.parent(at).await?;
        let version = self.version(Some(parent)).await?;
        self.remember(H256(at.hash), version);
        self.runtimes.get(self, version, Some(parent)).await
    }

    /// The runtime that a block leaves behind, which answers calls made at that block; of the newest block if none
    /// is given.
    pub(super) async fn runtime_at(&self, at: Option<H256>) -> Result<Arc<Runtime>> {
        let version = self.version(at).await?;
        self.runtimes.get(self, version, at).await
    }

    /// Versions of the runtime at a block, or at the newest.
    pub(super) async fn version(&self, at: Option<H256>) -> Result<Version> {
        let version = self.call("the runtime's version", self.methods.state_get_runtime_version(at)).await?;
        Ok(Version { spec: version.spec_version, transaction: version.transaction_version })
    }

    fn remembered(&self, hash: H256) -> Option<Version> {
        let specs = self.specs.lock().unwrap_or_else(PoisonError::into_inner);
        specs.iter().find(|(known, _)| *known == hash).map(|(_, version)| *version)
    }

    fn remember(&self, hash: H256, version: Version) {
        let mut specs = self.specs.lock().unwrap_or_else(PoisonError::into_inner);
        if specs.len() == REMEMBERED_BLOCKS {
            specs.pop_front();
        }
        specs.push_back((hash, version));
    }
}

/// A refusal with its data, which often holds the reason.
pub(super) fn words(said: &UserError) -> String {
    match &said.data {
        Some(data) => format!("{} ({}): {}", said.message, said.code, data.get().trim_matches('"')),
        None => format!("{} ({})", said.message, said.code),
    }
}

/// Whether a gateway refuses for being asked too often.
pub(super) fn is_rate_limit(said: &UserError) -> bool {
    RATE_LIMITED.contains(&said.code) || said.message.to_ascii_lowercase().contains("rate limit")
}
