//! The chain over a node's JSON-RPC, with subxt and without generated code: what the runtime looks like comes from
//! the node's metadata.
//!
//! One task ([`owner`]) owns the connection and follows the finalised heads; everything else asks through the link
//! that it lends out. Reads are asked again once, elsewhere, when a connection fails; a transaction is sent once.

mod endpoint;
mod events;
mod extrinsic;
mod link;
mod owner;
mod reads;
mod refusal;
mod runtime;
mod shapes;
mod submit;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nexis_core::protocol::Hotkey;
use tokio::sync::watch;

use self::endpoint::Endpoint;
pub use self::extrinsic::Unsigned;
use self::link::Link;
use self::owner::{REMEDY, Status};
pub use self::runtime::Runtime;
use self::runtime::Runtimes;
use crate::chain::{
    BlockRef, Call, Chain, ChainClock, ChainError, Commitment, HotkeyPair, Metagraph, Receipt, Result,
    Reveal, SubnetState,
};

/// How a [`SubtensorChain`] behaves.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Hash of the chain's first block, if another chain shall be refused from the start. Without it the first
    /// endpoint decides, and the others must agree.
    pub genesis: Option<[u8; 32]>,
    /// Attempts to connect to each endpoint, all of them in vain, until [`ChainError::Unreachable`]. Without, and once there
    /// was a connection, it is tried until `give_up`.
    pub attempts: Option<u32>,
    /// Deadline of connecting.
    pub connect_deadline: Duration,
    /// Deadline of one call to the node.
    pub call_deadline: Duration,
    /// Deadline of a question that takes several calls, connecting anew included.
    pub read_deadline: Duration,
    /// Deadline of a transaction, from signing until it is finalised. Its life of 64 blocks should fit in.
    pub finality_deadline: Duration,
    /// Pause between two WebSocket pings.
    pub ping_every: Duration,
    /// Time without a new finalised block until the connection is made anew, at the next endpoint.
    pub silence: Duration,
    /// Time without a new finalised block until [`ChainError::Stalled`].
    pub give_up: Duration,
    /// Longest answer that is read, in bytes.
    pub max_response_bytes: u32,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            genesis: None,
            attempts: None,
            connect_deadline: Duration::from_secs(15),
            call_deadline: Duration::from_secs(30),
            read_deadline: Duration::from_secs(120),
            finality_deadline: Duration::from_secs(15 * 60),
            ping_every: Duration::from_secs(15),
            silence: Duration::from_secs(90),
            give_up: Duration::from_secs(10 * 60),
            max_response_bytes: 32 << 20,
        }
    }
}

/// A Bittensor chain ("subtensor") behind one or more nodes.
pub struct SubtensorChain {
    endpoints: String,
    status: watch::Receiver<Status>,
    options: ClientOptions,
    runtimes: Arc<Runtimes>,
    /// One transaction in flight per hotkey.
    turns: std::sync::Mutex<BTreeMap<Hotkey, Arc<tokio::sync::Mutex<()>>>>,
}

impl SubtensorChain {
    /// Begins to connect to the endpoints (`ws://` or `wss://`), in their order; does not wait for it. Must be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// [`ChainError::Unreachable`] where there is no endpoint, or one is not an address.
    pub fn connect(endpoints: &[String], options: ClientOptions) -> Result<Self> {
        let refused = |why: &str| ChainError::Unreachable { endpoint: "an endpoint".into(), why: why.into() };
        let parsed: Vec<Endpoint> =
            endpoints.iter().map(|text| Endpoint::parse(text).map_err(refused)).collect::<Result<_>>()?;
        if parsed.is_empty() {
            return Err(ChainError::Unreachable {
                endpoint: "none".into(),
                why: "no endpoint is given".into(),
            });
        }
        // Another crate may have brought a second provider for TLS, and then rustls wants to be told which.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let shown: Vec<_> = parsed.iter().map(ToString::to_string).collect();
        let runtimes = Arc::new(Runtimes::default());
        let status = owner::start(parsed, options.clone(), runtimes.clone());
        Ok(Self {
            endpoints: shown.join(", "),
            status,
            options,
            runtimes,
            turns: std::sync::Mutex::default(),
        })
    }

    /// The runtime at the newest block.
    ///
    /// # Errors
    /// As any read.
    pub async fn runtime(&self) -> Result<Runtime> {
        self.read(
            "the runtime",
            move |link| async move { Ok(Runtime::clone(&*link.runtime_at(None).await?)) },
        )
        .await
    }

    /// Asks a question; once more elsewhere, if the connection fails over it.
    async fn read<T, F: Future<Output = Result<T>>>(
        &self,
        what: &str,
        ask: impl Fn(Arc<Link>) -> F,
    ) -> Result<T> {
        let asking = async {
            let link = owner::link(&self.status).await?;
            match ask(link.clone()).await {
                Err(error) if is_transport(&error) => {
                    tracing::warn!(endpoint = %link.endpoint(), what, %error, "asking again elsewhere");
                    link.condemn();
                    let other = owner::other_link(&self.status, Some(&link)).await?;
                    ask(other).await
                }
                answer => answer,
            }
        };
        self.within(what, self.options.read_deadline, asking).await
    }

    /// Ends what takes longer than its deadline, and says what the trouble was if there is no connection.
    async fn within<T>(
        &self,
        what: &str,
        deadline: Duration,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        match tokio::time::timeout(deadline, work).await {
            Ok(result) => result,
            Err(_) => {
                let status = self.status.borrow();
                Err(match (&status.link, &status.trouble) {
                    (Some(link), _) => link.timed_out(what, deadline),
                    (None, Some((endpoint, why))) => ChainError::Unreachable {
                        endpoint: endpoint.clone(),
                        why: format!("{why}; {REMEDY}"),
                    },
                    (None, None) => ChainError::TimedOut {
                        endpoint: self.endpoints.clone(),
                        what: what.into(),
                        seconds: deadline.as_secs(),
                    },
                })
            }
        }
    }
}

/// Whether this can be the address of a node.
///
/// # Errors
/// What is wrong with it, without its text, which may hold a key.
pub fn check_endpoint(text: &str) -> Result<(), &'static str> {
    Endpoint::parse(text).map(drop)
}

/// Whether it was the connection that failed, not the question.
fn is_transport(error: &ChainError) -> bool {
    matches!(error, ChainError::Unreachable { .. } | ChainError::TimedOut { .. })
}

impl fmt::Debug for SubtensorChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubtensorChain({})", self.endpoints)
    }
}

#[async_trait]
impl Chain for SubtensorChain {
    fn name(&self) -> String {
        let link = self.status.borrow().link.clone();
        link.map_or_else(|| self.endpoints.clone(), |link| link.endpoint().to_string())
    }

    async fn finalized_head(&self) -> Result<BlockRef> {
        self.read("the finalised head", move |link| async move {
            let hash = link.call("the finalised head", link.methods().chain_get_finalized_head()).await?;
            let header = link.call("its header", link.methods().chain_get_header(Some(hash))).await?;
            let header = header.ok_or_else(|| link.unreachable("it does not know its own finalised head"))?;
            Ok(BlockRef { number: header.number, hash: hash.0 })
        })
        .await
    }

    async fn block(&self, number: u64) -> Result<BlockRef> {
        // A node names blocks that are not final yet, too, and may name others later.
        let head = self.finalized_head().await?;
        self.read("a block", move |link| async move {
            if number > head.number { Err(link.no_block(number)) } else { link.block(number).await }
        })
        .await
    }

    async fn next_finalized_head(&self, after: u64) -> Result<BlockRef> {
        owner::head_after(&self.status, after).await
    }

    async fn metagraph(&self, netuid: u16, at: &BlockRef) -> Result<Metagraph> {
        self.read("the metagraph", move |link| async move { reads::metagraph(&link, netuid, at).await }).await
    }

    async fn commitments(&self, netuid: u16, at: &BlockRef) -> Result<BTreeMap<Hotkey, Commitment>> {
        self.read("the commitments", move |link| async move { reads::commitments(&link, netuid, at).await })
            .await
    }

    async fn subnet_state(&self, netuid: u16, at: &BlockRef) -> Result<SubnetState> {
        self.read(
            "the subnet's settings",
            move |link| async move { reads::subnet_state(&link, netuid, at).await },
        )
        .await
    }

    async fn pending_commits(&self, netuid: u16, hotkey: &Hotkey, at: &BlockRef) -> Result<usize> {
        self.read("pending commits", move |link| async move {
            reads::pending_commits(&link, netuid, hotkey, at).await
        })
        .await
    }

    async fn reveals(&self, netuid: u16, from: u64, to: u64) -> Result<Vec<Reveal>> {
        self.read("reveals", move |link| async move { events::reveals(&link, netuid, from, to).await }).await
    }

    async fn clock(&self) -> Result<ChainClock> {
        let live = ChainClock::live()?;
        // A chain for tests makes its blocks faster.
        let block_seconds = self.runtime().await?.block_seconds().unwrap_or(live.block_seconds);
        Ok(ChainClock { block_seconds, ..live })
    }

    async fn submit(&self, signer: &HotkeyPair, call: &Call) -> Result<Receipt> {
        submit::submit(self, signer, call).await
    }
}
