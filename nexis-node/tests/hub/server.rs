//! A server that behaves like the hub, and a second one that behaves like its store of large files.
//!
//! As on the hub, a small file is one relative redirect away and tagged with Git's SHA-1; a large one is elsewhere, at a
//! signed address, and tagged with its SHA-256. Faults are queued and happen once each.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{AUTHORIZATION, HeaderMap, RANGE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Where a fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    /// A question about a file.
    Head,
    /// A small file's bytes.
    Small,
    /// A large file's bytes.
    Large,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// A refusal, with a header.
    Status(u16, Option<(&'static str, &'static str)>),
    /// The connection breaks after so many bytes of the body.
    Cut(usize),
    /// Nothing more comes after so many bytes of the body.
    Stall(usize),
    /// One byte is another.
    Flip,
    /// All of it comes, whatever range was asked for.
    NoRange,
    /// Another range comes than was asked for.
    ShiftedRange,
    /// More comes than was announced, and no length is announced with it.
    More,
    /// A header is another, or is left out.
    Header(&'static str, Option<String>),
    /// It is elsewhere.
    Redirect(String),
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) large: bool,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
}

#[derive(Clone)]
pub(crate) struct Repo {
    pub(crate) commit: String,
    /// Contents, and whether the hub keeps them as large ones.
    pub(crate) files: BTreeMap<String, (Bytes, bool)>,
    /// The token that opens it.
    pub(crate) token: Option<String>,
}

#[derive(Default)]
struct State {
    /// By name and revision: the same repository may be there under several.
    repos: Mutex<BTreeMap<(String, String), Repo>>,
    seen: Mutex<Vec<Seen>>,
    faults: Mutex<VecDeque<(On, Fault)>>,
    connections: AtomicUsize,
    large_at: Mutex<Option<SocketAddr>>,
}

pub(crate) struct FakeHub {
    state: Arc<State>,
    address: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for FakeHub {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

pub(crate) fn git_sha1(bytes: &[u8]) -> String {
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    hex::encode(hasher.finalize())
}

impl FakeHub {
    pub(crate) async fn start() -> Self {
        let state = Arc::new(State::default());
        let (hub, large) = (listen().await, listen().await);
        *state.large_at.lock().unwrap() = Some(large.local_addr().unwrap());
        let address = hub.local_addr().unwrap();
        let tasks =
            vec![serve(hub, Arc::clone(&state), false, None), serve(large, Arc::clone(&state), true, None)];
        Self { state, address, tasks }
    }

    /// Also serves the hub over TLS. Gives the address.
    pub(crate) async fn over_tls(&mut self, acceptor: TlsAcceptor) -> SocketAddr {
        let listener = listen().await;
        let address = listener.local_addr().unwrap();
        self.tasks.push(serve(listener, Arc::clone(&self.state), false, Some(acceptor)));
        address
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Puts a repository there, under a revision and its commit.
    pub(crate) fn put(&self, name: &str, revision: &str, repo: Repo) {
        let mut repos = self.state.repos.lock().unwrap();
        repos.insert((name.into(), repo.commit.clone()), repo.clone());
        repos.insert((name.into(), revision.into()), repo);
    }

    /// Queues a fault.
    pub(crate) fn fault(&self, on: On, fault: Fault) {
        self.state.faults.lock().unwrap().push_back((on, fault));
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// Bodies of large files that were asked for, by the range that was asked for.
    pub(crate) fn large_ranges(&self) -> Vec<Option<String>> {
        let range = |seen: Seen| seen.headers.get(RANGE).map(|range| range.to_str().unwrap().to_owned());
        self.seen().into_iter().filter(|seen| seen.large).map(range).collect()
    }

    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn left(&self) -> usize {
        self.state.faults.lock().unwrap().len()
    }
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

fn serve(listener: TcpListener, state: Arc<State>, large: bool, tls: Option<TlsAcceptor>) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let Ok((socket, _)) = listener.accept().await else { return };
            state.connections.fetch_add(1, Ordering::SeqCst);
            let (state, tls) = (Arc::clone(&state), tls.clone());
            tokio::spawn(async move {
                let answer = service_fn(move |request| {
                    let state = Arc::clone(&state);
                    async move { Ok::<_, Infallible>(state.answer(&request, large)) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                let _ = match tls {
                    Some(tls) => match tls.accept(socket).await {
                        Ok(socket) => http.serve_connection(TokioIo::new(socket), answer).await,
                        Err(_) => return,
                    },
                    None => http.serve_connection(TokioIo::new(socket), answer).await,
                };
            });
        }
    })
}

fn decoded(segment: &str) -> String {
    segment.replace("%2F", "/").replace("%20", " ")
}

fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

fn empty(status: u16) -> Response<Body> {
    let mut response = Response::new(whole(Bytes::new()));
    *response.status_mut() = status.try_into().unwrap();
    response
}

fn with(mut response: Response<Body>, name: &'static str, value: &str) -> Response<Body> {
    response.headers_mut().insert(name, value.parse().unwrap());
    response
}

impl State {
    fn answer(&self, request: &Request<Incoming>, large: bool) -> Response<Body> {
        let path = request.uri().path().to_owned();
        self.seen.lock().unwrap().push(Seen {
            large,
            method: request.method().clone(),
            path: path.clone(),
            headers: request.headers().clone(),
        });
        let parts: Vec<String> = path.split('/').skip(1).map(decoded).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts.as_slice() {
            [digest] if large => self.large(request, digest),
            [owner, name, "resolve", revision, file @ ..] => {
                self.resolve(request, &format!("{owner}/{name}"), revision, &file.join("/"))
            }
            ["api", "resolve-cache", "models", owner, name, commit, file @ ..] => {
                self.small(request, &format!("{owner}/{name}"), commit, &file.join("/"))
            }
            _ => empty(404),
        }
    }

    /// The next fault, if it is for here.
    fn next(&self, on: On) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let mine = faults.front().is_some_and(|(at, _)| *at == on);
        if mine { faults.pop_front().map(|(_, fault)| fault) } else { None }
    }

    fn resolve(&self, request: &Request<Incoming>, name: &str, revision: &str, file: &str) -> Response<Body> {
        let fault = if request.method() == Method::HEAD { self.next(On::Head) } else { None };
        match &fault {
            Some(Fault::Status(status, header)) => {
                let refused = empty(*status);
                return header.iter().fold(refused, |refused, &(name, value)| with(refused, name, value));
            }
            Some(Fault::Redirect(to)) => return with(empty(302), "location", to),
            _ => {}
        }
        let repos = self.repos.lock().unwrap();
        if !repos.keys().any(|(there, _)| there == name) {
            return with(empty(401), "x-error-code", "RepoNotFound");
        }
        let Some(repo) = repos.get(&(name.to_owned(), revision.to_owned())) else {
            return with(empty(404), "x-error-code", "RevisionNotFound");
        };
        let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        match (&repo.token, given) {
            (Some(_), None) => return with(empty(401), "x-error-code", "GatedRepo"),
            (Some(token), Some(given)) if given != format!("Bearer {token}") => return empty(403),
            _ => {}
        }
        let Some((bytes, large)) = repo.files.get(file) else {
            let answer = with(empty(404), "x-error-code", "EntryNotFound");
            return with(answer, "x-repo-commit", &repo.commit);
        };
        let mut answer = if *large {
            let at = self.large_at.lock().unwrap().unwrap();
            let address = format!("http://{at}/{}?X-Signature=signed-for-this-request", sha256(bytes));
            let answer = with(empty(302), "location", &address);
            let answer = with(answer, "x-linked-size", &bytes.len().to_string());
            with(answer, "x-linked-etag", &format!("\"{}\"", sha256(bytes)))
        } else {
            let to = format!("/api/resolve-cache/models/{name}/{}/{file}", repo.commit);
            with(empty(307), "location", &to)
        };
        answer = with(answer, "x-repo-commit", &repo.commit);
        if let Some(Fault::Header(name, value)) = fault {
            match value {
                Some(value) => answer = with(answer, name, &value),
                None => drop(answer.headers_mut().remove(name)),
            }
        }
        answer
    }

    fn small(&self, request: &Request<Incoming>, name: &str, commit: &str, file: &str) -> Response<Body> {
        let repos = self.repos.lock().unwrap();
        let found = repos.get(&(name.to_owned(), commit.to_owned())).and_then(|repo| repo.files.get(file));
        let Some((bytes, _)) = found.cloned() else { return empty(404) };
        drop(repos);
        let fault = if request.method() == Method::HEAD { None } else { self.next(On::Small) };
        let etag = git_sha1(&bytes);
        let answer = content(request, bytes, fault);
        let answer = with(answer, "x-repo-commit", commit);
        with(answer, "etag", &format!("\"{etag}\""))
    }

    fn large(&self, request: &Request<Incoming>, digest: &str) -> Response<Body> {
        let repos = self.repos.lock().unwrap();
        let mut all = repos.values().flat_map(|repo| repo.files.values());
        let Some((bytes, _)) = all.find(|(bytes, _)| sha256(bytes) == digest).cloned() else {
            return empty(404);
        };
        drop(repos);
        // Its own tag is none that the hub knows.
        with(content(request, bytes, self.next(On::Large)), "etag", "\"of the store\"")
    }
}

/// A content, or the part of it that is asked for, with what goes wrong.
fn content(request: &Request<Incoming>, bytes: Bytes, fault: Option<Fault>) -> Response<Body> {
    let length = bytes.len();
    let asked = request.headers().get(RANGE).map(|range| {
        let range = range.to_str().unwrap();
        range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse::<usize>().unwrap()
    });
    let asked = asked.filter(|_| !matches!(fault, Some(Fault::NoRange)));
    if asked.is_some_and(|from| from >= length) {
        return empty(416);
    }
    let from = asked.unwrap_or(0) + usize::from(matches!(fault, Some(Fault::ShiftedRange)));
    let mut part = bytes.slice(from.min(length)..);
    if matches!(fault, Some(Fault::Flip)) {
        let mut other = part.to_vec();
        *other.last_mut().unwrap() ^= 1;
        part = other.into();
    }
    let announced = part.len();
    let body = match fault {
        Some(Fault::Cut(n)) => cut(part, n),
        Some(Fault::Stall(n)) => stalled(part, n),
        Some(Fault::More) => {
            let more = stream::repeat_with(|| Ok(Frame::data(Bytes::from_static(&[7; 4096])))).take(100_000);
            BodyExt::boxed_unsync(StreamBody::new(stream::iter([Ok(Frame::data(part))]).chain(more)))
        }
        _ => whole(part),
    };
    match &fault {
        Some(Fault::Status(status, header)) => {
            let refused = empty(*status);
            return header.iter().fold(refused, |refused, &(name, value)| with(refused, name, value));
        }
        Some(Fault::Redirect(to)) => return with(empty(302), "location", to),
        _ => {}
    }
    let mut answer = Response::new(body);
    if asked.is_some() {
        *answer.status_mut() = 206.try_into().unwrap();
        answer = with(answer, "content-range", &format!("bytes {from}-{}/{length}", length - 1));
    }
    if !matches!(fault, Some(Fault::More)) {
        answer = with(answer, "content-length", &announced.to_string());
    }
    answer
}

fn cut(part: Bytes, n: usize) -> Body {
    let first = stream::iter([Ok(Frame::data(part.slice(..n)))]);
    let end = stream::once(async {
        // What came before goes out first.
        tokio::task::yield_now().await;
        Err(io::Error::other("cut on purpose"))
    });
    BodyExt::boxed_unsync(StreamBody::new(first.chain(end)))
}

fn stalled(part: Bytes, n: usize) -> Body {
    let first = stream::iter([Ok(Frame::data(part.slice(..n)))]);
    BodyExt::boxed_unsync(StreamBody::new(first.chain(stream::pending::<io::Result<Frame<Bytes>>>())))
}
