//! An S3 server on this machine's loopback, over a folder: what the devnet's miners upload to.
//!
//! The protocol, with real signatures, is the crate `s3s`'s, and the files are `s3s-fs`'s, one folder per bucket. What
//! is added here: keys that open one bucket or all, to read or to write; the error of a bucket that is not there, as
//! other servers give it; and faults on purpose.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::dto::StreamingBlob;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, S3Result, s3_error};
use s3s_fs::FileSystem;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use super::faults::{Fault, FaultPlan, Faults};
use super::s3::AccessKeys;

/// What a pair of keys opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The bucket; `None` for all.
    pub bucket: Option<String>,
    /// Whether it may also be written.
    pub write: bool,
}

impl Grant {
    /// Everything.
    pub const fn all() -> Self {
        Self { bucket: None, write: true }
    }

    /// Reading one bucket.
    pub fn read(bucket: impl Into<String>) -> Self {
        Self { bucket: Some(bucket.into()), write: false }
    }

    /// Reading and writing one bucket.
    pub fn write(bucket: impl Into<String>) -> Self {
        Self { bucket: Some(bucket.into()), write: true }
    }
}

/// The keys that the server knows, and where its buckets are.
struct Keyring {
    root: PathBuf,
    keys: RwLock<HashMap<String, (SecretKey, Grant)>>,
}

impl Keyring {
    fn find(&self, access_key: &str) -> Option<(SecretKey, Grant)> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(access_key).cloned()
    }
}

/// `s3s` takes its parts by value; both are the same keyring.
struct Shared(Arc<Keyring>);

#[async_trait]
impl S3Auth for Shared {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        self.0.find(access_key).map(|(secret, _)| secret).ok_or_else(|| s3_error!(InvalidAccessKeyId))
    }
}

#[async_trait]
impl S3Access for Shared {
    async fn check(&self, request: &mut S3AccessContext<'_>) -> S3Result<()> {
        let known = request.credentials().and_then(|keys| self.0.find(&keys.access_key));
        let Some((_, grant)) = known else { return Err(s3_error!(AccessDenied)) };
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let bucket = request.s3_path().get_bucket_name();
        let opens = grant.bucket.is_none() || grant.bucket.as_deref() == bucket;
        if !opens || !(reads || grant.write) {
            return Err(s3_error!(AccessDenied));
        }
        match bucket {
            Some(bucket)
                if request.s3_op().name() != "CreateBucket" && !self.0.root.join(bucket).is_dir() =>
            {
                Err(s3_error!(NoSuchBucket))
            }
            _ => Ok(()),
        }
    }
}

/// The server; it stops, and breaks off what it was about to send, when this is dropped.
pub struct S3Server {
    address: SocketAddr,
    keyring: Arc<Keyring>,
    faults: Arc<Faults>,
    serving: JoinHandle<()>,
}

impl S3Server {
    /// Starts over a folder, which is made where it is not there, on a port that the system chooses. No keys are
    /// known yet.
    ///
    /// # Errors
    /// Where the folder or the port cannot be had.
    pub async fn start(root: impl AsRef<Path>) -> io::Result<Self> {
        Self::start_at(root, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    /// Starts at an address, for example that of a server which was stopped.
    ///
    /// # Errors
    /// Where the folder or the address cannot be had.
    pub async fn start_at(root: impl AsRef<Path>, address: SocketAddr) -> io::Result<Self> {
        let root = root.as_ref();
        std::fs::create_dir_all(root)?;
        let root = root.canonicalize()?;
        let files = FileSystem::new(&root).map_err(|error| io::Error::other(format!("{error:?}")))?;
        let keyring = Arc::new(Keyring { root, keys: RwLock::default() });
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(Shared(Arc::clone(&keyring)));
        builder.set_access(Shared(Arc::clone(&keyring)));
        let (service, faults) = (builder.build(), Arc::new(Faults::default()));
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let serving = tokio::spawn(serve(listener, service, Arc::clone(&faults)));
        Ok(Self { address, keyring, faults, serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its endpoint, as a store takes it.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The folder of a bucket. Files that are put there are objects.
    pub fn bucket_folder(&self, bucket: &str) -> PathBuf {
        self.keyring.root.join(bucket)
    }

    /// Makes a bucket; nothing happens where it is there.
    ///
    /// # Errors
    /// Where the name is no bucket's, or the folder cannot be made.
    pub fn create_bucket(&self, bucket: &str) -> io::Result<()> {
        super::key::check_bucket("S3 server", bucket)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        std::fs::create_dir_all(self.bucket_folder(bucket))
    }

    /// Lets a pair of keys in; what it opened before is forgotten.
    pub fn grant(&self, keys: &AccessKeys, grant: Grant) {
        let secret = SecretKey::from(keys.secret_key());
        let mut known = self.keyring.keys.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(keys.access_key().to_owned(), (secret, grant));
    }

    /// Makes faults from now on, or none.
    pub fn set_faults(&self, plan: Option<FaultPlan>) {
        self.faults.set(plan);
    }

    /// Stops, breaks off what it was about to send, and gives the port back.
    pub async fn stop(mut self) {
        self.serving.abort();
        // Being cut off is how it ends.
        let _ = (&mut self.serving).await;
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Serves until it is dropped; with it go the connections.
async fn serve(listener: TcpListener, service: S3Service, faults: Arc<Faults>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    let conversation = converse(socket, service.clone(), Arc::clone(&faults));
                    // It would log whole requests with their signatures.
                    connections.spawn(conversation.with_subscriber(NoSubscriber::default()));
                }
                // Too many open files, most likely: some will be closed.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn converse(socket: TcpStream, service: S3Service, faults: Arc<Faults>) {
    let answer = service_fn(move |request| respond(request, service.clone(), Arc::clone(&faults)));
    // A client that goes away is no concern of the server's.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(socket), answer)
        .await;
}

async fn respond(
    request: Request<Incoming>,
    service: S3Service,
    faults: Arc<Faults>,
) -> Result<Response<Body>, io::Error> {
    let fault = faults.next(&format!("{} {}", request.method(), request.uri().path()));
    match fault {
        Some((Fault::Dropped, _)) => return Err(io::Error::other("dropped on purpose")),
        Some((Fault::SlowDown, _)) => return Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, "SlowDown")),
        Some((Fault::Internal, _)) => return Ok(refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")),
        Some((Fault::Late, late)) => tokio::time::sleep(late).await,
        Some((Fault::Cut, _)) | None => {}
    }
    let answered = hyper::service::Service::call(&service, request).await;
    let answer = answered.map_err(|error| io::Error::other(format!("{error:?}")))?;
    Ok(match fault {
        Some((Fault::Cut, _)) => answer.map(|body| cut(body, 1000)),
        _ => answer,
    })
}

fn refusal(status: StatusCode, code: &str) -> Response<Body> {
    let text =
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>on purpose</Message></Error>");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}

/// A body that breaks off after `left` bytes, where it has more.
fn cut(body: Body, left: usize) -> Body {
    let bytes = stream::unfold(Some((body, left)), |state| async move {
        let (mut body, left) = state?;
        match body.next().await? {
            Ok(bytes) if bytes.len() <= left => {
                let left = left - bytes.len();
                Some((Ok(bytes), Some((body, left))))
            }
            Ok(bytes) if left > 0 => Some((Ok(bytes.slice(..left)), Some((body, 0)))),
            _ => Some((Err(io::Error::other("cut on purpose")), None)),
        }
    });
    Body::from(StreamingBlob::wrap(bytes))
}
