//! The one task that owns the connection: it connects, follows the finalised heads, and goes to the next endpoint
//! when this one is lost, silent or of no use.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use subxt::utils::H256;
use tokio::sync::watch;
use tokio::time::Instant;

use super::ClientOptions;
use super::endpoint::Endpoint;
use super::link::Link;
use super::runtime::Runtimes;
use crate::chain::{BlockRef, ChainError, Result};

/// First and longest pause between two attempts to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// What may help where no endpoint can be reached.
pub(super) const REMEDY: &str =
    "see whether it is up and can be reached from here, or name another node in chain.endpoints";

/// What the owner has to say at any moment.
#[derive(Clone, Default)]
pub(super) struct Status {
    /// The connection in use.
    pub(super) link: Option<Arc<Link>>,
    /// The newest finalised block of all endpoints.
    pub(super) head: Option<BlockRef>,
    /// What went wrong last, and where.
    pub(super) trouble: Option<(String, String)>,
    /// For how long there has been no new head, once that is too long; seconds.
    pub(super) stalled: Option<u64>,
    /// What came of the last attempt at each endpoint, once all that are allowed were in vain.
    pub(super) in_vain: Option<(String, String)>,
}

impl Status {
    /// The error of a chain that cannot be reached, or stands still: nobody is to wait for it any longer.
    fn given_up(&self) -> Option<ChainError> {
        if let Some((endpoint, why)) = self.in_vain.clone() {
            return Some(ChainError::Unreachable { endpoint, why });
        }
        let seconds = self.stalled?;
        let (endpoint, why) =
            self.trouble.clone().unwrap_or_else(|| ("none".into(), "no endpoint answered".into()));
        Some(ChainError::Stalled { endpoint, seconds, why })
    }
}

/// Starts the owner. It ends when every receiver is gone.
pub(super) fn start(
    endpoints: Vec<Endpoint>,
    options: ClientOptions,
    runtimes: Arc<Runtimes>,
) -> watch::Receiver<Status> {
    let (status, watched) = watch::channel(Status::default());
    let genesis = options.genesis.map(H256);
    let failures = vec![Failures::default(); endpoints.len()];
    let owner = Owner { endpoints, options, runtimes, status, genesis, progress: Instant::now(), failures };
    tokio::spawn(owner.run());
    watched
}

struct Owner {
    endpoints: Vec<Endpoint>,
    options: ClientOptions,
    runtimes: Arc<Runtimes>,
    status: watch::Sender<Status>,
    genesis: Option<H256>,
    /// When a new head came last.
    progress: Instant,
    /// Of each endpoint, as long as there was no connection. A transaction may be on its way once there was one, and whoever
    /// looks for it then is not to be turned away early.
    failures: Vec<Failures>,
}

/// An endpoint's attempts.
#[derive(Clone, Default)]
struct Failures {
    times: u32,
    last: String,
}

impl Owner {
    async fn run(mut self) {
        let mut pause = PAUSES.0;
        let endpoints = self.endpoints.clone();
        for (place, endpoint) in endpoints.iter().enumerate().cycle() {
            let before = self.progress;
            let status = self.status.clone();
            let why = tokio::select! {
                why = self.serve(endpoint) => why,
                () = status.closed() => return,
            };
            tracing::warn!(%endpoint, why, "the connection to the chain ended");
            self.note_failure(place, &why);
            self.status.send_modify(|status| {
                // Whoever still waits for it shall wait no longer.
                if let Some(link) = status.link.take() {
                    link.condemn();
                }
                status.trouble = Some((endpoint.to_string(), why));
            });
            self.note_stall();
            pause = if self.progress > before { PAUSES.0 } else { (pause * 2).min(PAUSES.1) };
            // Many validators lose the same endpoint at once; they shall not come back at once.
            let pause = pause.mul_f64(rand::rng().random_range(0.5..1.0));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = status.closed() => return,
            }
        }
    }

    /// Uses one endpoint for as long as it is good, and says why it no longer is.
    async fn serve(&mut self, endpoint: &Endpoint) -> String {
        let link = match Link::open(endpoint, &self.options, self.runtimes.clone()).await {
            Ok(link) => Arc::new(link),
            Err(ChainError::Unreachable { why, .. }) => return why,
            Err(error) => return error.to_string(),
        };
        let genesis = self.genesis.unwrap_or_else(|| link.genesis());
        if genesis != link.genesis() {
            return format!(
                "it serves another chain: its first block is {:?}, not {genesis:?}",
                link.genesis()
            );
        }
        let subscribing = link.methods().chain_subscribe_finalized_heads();
        let mut heads = match link.call("finalised heads", subscribing).await {
            Ok(heads) => heads,
            Err(error) => return error.to_string(),
        };
        tracing::info!(%endpoint, "connected to the chain");
        // Only now: one that is of no use decides nothing for the others.
        self.genesis = Some(genesis);
        self.failures.clear();
        self.status.send_modify(|status| {
            status.link = Some(link.clone());
            status.in_vain = None;
        });
        let mut silent_at = Instant::now() + self.options.silence;
        loop {
            let header = tokio::select! {
                header = heads.next() => header,
                why = link.lost() => return why,
                () = tokio::time::sleep_until(silent_at) => {
                    return format!("no new finalised block for {} s", self.options.silence.as_secs());
                }
            };
            let number = match header {
                Some(Ok(header)) => header.number,
                Some(Err(error)) => return endpoint.clean(&error.to_string()),
                None => return "it ended the stream of finalised blocks".into(),
            };
            if self.status.borrow().head.is_some_and(|head| number <= head.number) {
                continue;
            }
            match link.block(number).await {
                Ok(head) => self.advance(head),
                Err(error) => return error.to_string(),
            }
            silent_at = Instant::now() + self.options.silence;
        }
    }

    fn advance(&mut self, head: BlockRef) {
        self.progress = Instant::now();
        self.status.send_modify(|status| {
            status.head = Some(head);
            status.stalled = None;
        });
    }

    /// Counts an attempt at an endpoint that has come to nothing.
    fn note_failure(&mut self, place: usize, why: &str) {
        let (Some(attempts), Some(failed)) = (self.options.attempts, self.failures.get_mut(place)) else {
            return;
        };
        failed.times = failed.times.saturating_add(1);
        why.clone_into(&mut failed.last);
        if self.failures.iter().any(|endpoint| endpoint.times < attempts) {
            return;
        }
        let endpoints: Vec<_> = self.endpoints.iter().map(ToString::to_string).collect();
        let last = match self.failures.as_slice() {
            [only] => only.last.clone(),
            all => {
                let each = endpoints.iter().zip(all).map(|(endpoint, of)| format!("{endpoint}: {}", of.last));
                each.collect::<Vec<_>>().join(", ")
            }
        };
        let why = format!("tried {attempts} times, at last: {last}; {REMEDY}");
        self.status.send_modify(|status| status.in_vain = Some((endpoints.join(", "), why)));
    }

    fn note_stall(&self) {
        let since = self.progress.elapsed();
        if since >= self.options.give_up {
            self.status.send_modify(|status| status.stalled = Some(since.as_secs()));
        }
    }
}

/// The connection in use; waits for one.
pub(super) async fn link(watched: &watch::Receiver<Status>) -> Result<Arc<Link>> {
    other_link(watched, None).await
}

/// A connection that is not `old`; waits for one.
pub(super) async fn other_link(
    watched: &watch::Receiver<Status>,
    old: Option<&Arc<Link>>,
) -> Result<Arc<Link>> {
    let mut watched = watched.clone();
    let fresh =
        |status: &Status| status.link.clone().filter(|link| old.is_none_or(|old| !Arc::ptr_eq(old, link)));
    let status = watched.wait_for(|status| fresh(status).is_some() || status.given_up().is_some()).await;
    let Ok(status) = status else {
        return Err(ended());
    };
    match fresh(&status) {
        Some(link) => Ok(link),
        None => Err(status.given_up().unwrap_or_else(ended)),
    }
}

/// Waits for a finalised block after `after`.
pub(super) async fn head_after(watched: &watch::Receiver<Status>, after: u64) -> Result<BlockRef> {
    let mut watched = watched.clone();
    let later = |status: &Status| status.head.filter(|head| head.number > after);
    let status = watched.wait_for(|status| later(status).is_some() || status.given_up().is_some()).await;
    let Ok(status) = status else {
        return Err(ended());
    };
    match later(&status) {
        Some(head) => Ok(head),
        None => Err(status.given_up().unwrap_or_else(ended)),
    }
}

fn ended() -> ChainError {
    ChainError::Unreachable {
        endpoint: "chain".into(),
        why: "the task that owns the connection has ended".into(),
    }
}
