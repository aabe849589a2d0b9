//! `nexis serve`: clips and captions judged over HTTP.
//!
//! Validators ask a hosted model two questions in OpenAI's wire format; here both are answered by the local model
//! ([`openai`]). Beside that stand endpoints of our own ([`native`]) and a page ([`page`]). `openapi.json` describes
//! all of it.
//!
//! A request passes [`auth`] and [`limits`] before a byte of its body is read, is worked on by a bounded number of
//! threads ([`desk`]), and shares its calls of the model with others ([`batch`]).

mod app;
mod archive;
mod auth;
mod batch;
mod desk;
mod error;
mod figure;
mod form;
mod judging;
mod limits;
mod listen;
mod native;
mod openai;
mod page;
mod pictures;
mod record;
mod roots;
mod router;
#[cfg(test)]
#[path = "../../tests/second/mod.rs"]
mod second;
#[cfg(test)]
mod trial;
mod values;
mod verdicts;
mod why;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use nexis_core::Result as CoreResult;
use nexis_core::model::{Crop, ImageText};
use nexis_core::verifier::RowJudge;
use nexis_gpu::EngineOptions;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use self::auth::ApiKeys;
pub use self::limits::Limits;

use self::app::{App, Parts};
use self::auth::Names;
use self::batch::{AtWork, BatchOptions, BatchedModel};
use self::limits::Admission;
use self::pictures::Pictures;
use self::roots::Roots;
use self::verdicts::Verdicts;
use crate::observe::{Condition, Health, Metrics};

/// Between two signs of life, and the silence after which the server counts as dead.
const BEAT: Duration = Duration::from_secs(10);
const MAX_SILENCE: Duration = Duration::from_secs(120);

/// Pictures of a request of the usual kind, in tiles: seven frames of three.
pub const TILES_PER_REQUEST: usize = 21;

/// What a server is to be.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Where it listens; port 0 takes any free one.
    pub address: SocketAddr,
    /// The model and where it runs. Its `batch` is the most pictures in one call.
    pub engine: EngineOptions,
    /// Threads of a forward pass; 0 for all cores.
    pub threads: usize,
    /// Longest time that a picture waits for others.
    pub max_wait: Duration,
    /// Folders whose files requests may name.
    pub roots: Vec<PathBuf>,
    /// Who may ask; everybody where there are none.
    pub keys: ApiKeys,
    /// Where evidence is written, beside memory.
    pub evidence: Option<PathBuf>,
    /// Pictures whose embeddings are remembered.
    pub remembered_pictures: usize,
    /// Verdicts that are listed.
    pub recent: usize,
    /// Bytes of evidence in memory.
    pub evidence_bytes: usize,
    /// Limits.
    pub limits: Limits,
}

impl ServeOptions {
    /// A server of this model at this address, everything else as it is by default.
    pub fn new(address: SocketAddr, engine: EngineOptions) -> Self {
        Self {
            address,
            engine,
            threads: 0,
            max_wait: Duration::from_millis(5),
            roots: Vec::new(),
            keys: ApiKeys::default(),
            evidence: None,
            remembered_pictures: 4096,
            recent: 1000,
            evidence_bytes: 64 << 20,
            limits: Limits::default(),
        }
    }
}

/// Why a server does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be had.
    #[error("{address}: {source}; choose another address, or port 0 for any")]
    Address {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The model, a root or the folder for evidence cannot be used.
    #[error("{0}")]
    Core(#[from] nexis_core::Error),
}

/// A server that listens already, so that its address is known before it serves.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    health: Health,
    stop: CancellationToken,
    limits: Limits,
    notices: Vec<String>,
}

/// Pictures of all requests go through the model together; no call of the judge's is split before.
const WHOLE: usize = 4096;

impl Server {
    /// Loads the model and takes the address. `stop` ends the server.
    ///
    /// # Errors
    /// Where something of it cannot be had.
    pub async fn bind(
        options: ServeOptions,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Address { address: options.address, source };
        // Before the model, which takes its time.
        let roots = Roots::new(&options.roots)?;
        let at_work = AtWork::default();
        let (judge, warm) = load(&options, &at_work, &metrics)?;
        let listener = TcpListener::bind(options.address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let health = Health::new(MAX_SILENCE, [Condition::Model]);
        health.holds(Condition::Model);
        let notices = notices(&judge, address, &options.keys);
        let admission = Admission::new(options.limits.clone(), at_work);
        admission.expect(warm);
        let verifying = verifying_pool(options.threads)?;
        let app = App::new(Parts {
            verifying,
            labelling: judge.without_judge().without_ensemble().environment().clone(),
            judge,
            pictures: Pictures::new(options.remembered_pictures, metrics.clone()),
            admission,
            names: Names::new(address, &options.keys),
            keys: options.keys,
            roots,
            verdicts: Verdicts::new(options.recent, options.evidence_bytes, options.evidence.as_deref())?,
            metrics,
            stop: stop.clone(),
            started: chrono::Utc::now().timestamp(),
        });
        let router = router::router(app, health.clone());
        Ok(Self { listener, address, router, health, stop, limits: options.limits, notices })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its operator is to be told: that the model is a demonstration, that anybody may ask.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Serves until it is stopped, and lets requests in hand end.
    pub async fn serve(self) {
        let health = self.health.clone();
        let stop = self.stop.clone();
        let beating = tokio::spawn(async move {
            loop {
                health.beat();
                tokio::select! {
                    () = stop.cancelled() => break health.fails(Condition::Model, "the server is stopping"),
                    () = tokio::time::sleep(BEAT) => {}
                }
            }
        });
        listen::serve(self.listener, self.router, &self.limits, self.stop).await;
        beating.abort();
    }
}

/// Threads for packages alone; 0 for all cores.
fn verifying_pool(threads: usize) -> CoreResult<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|i| format!("verify-{i}"))
        .build()
        .map_err(|e| nexis_core::Error::Internal(format!("no threads for packages: {e}")))
}

/// The judge, its picture calls gathered across requests, and the time of one request's.
fn load(options: &ServeOptions, at_work: &AtWork, metrics: &Metrics) -> CoreResult<(RowJudge, Duration)> {
    let batching = BatchOptions {
        most: options.engine.batch.max(1),
        max_wait: options.max_wait,
        threads: options.threads,
    };
    let engine = EngineOptions { batch: WHOLE, ..options.engine.clone() };
    let (mut warm, mut failed) = (Duration::ZERO, None);
    // A request's pictures go through each encoder, where there are two.
    let judge = engine.judge_through(|model| {
        let batched = BatchedModel::new(Arc::clone(&model), batching, at_work.clone(), metrics.clone());
        match (time_of_one(model.as_ref()), batched) {
            (Ok(time), Ok(batched)) => {
                warm += time;
                Arc::new(batched) as Arc<dyn ImageText>
            }
            (Err(error), _) | (_, Err(error)) => {
                failed = Some(error);
                model
            }
        }
    })?;
    failed.map_or(Ok((judge, warm)), Err)
}

/// How long the model takes for the pictures of a request. They are black; the first request finds the weights where it
/// needs them.
fn time_of_one(model: &dyn ImageText) -> CoreResult<Duration> {
    let size = model.preprocess().size;
    let black = Crop { size, rgb: vec![0; size as usize * size as usize * 3] };
    let started = Instant::now();
    model.encode_image(&vec![black; TILES_PER_REQUEST])?;
    Ok(started.elapsed())
}

fn notices(judge: &RowJudge, address: SocketAddr, keys: &ApiKeys) -> Vec<String> {
    let mut notices = Vec::new();
    let mut cards = std::iter::once(judge.card()).chain(judge.second_card());
    if cards.any(|card| card.model.demonstration) {
        notices.push(
            "the model is a demonstration and no judge of real footage: nobody is to be paid by its answers"
                .to_owned(),
        );
    }
    if !address.ip().is_loopback() && keys.is_empty() {
        notices.push(format!(
            "listening on {address} without a key: everybody who reaches it may ask; name keys with --api-key-file, or \
             bind to 127.0.0.1"
        ));
    }
    notices
}
