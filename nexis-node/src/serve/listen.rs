//! Connections: how many, how long they may take to say what they want, and how they end.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Longest time for a request's headers to come, and for the next request on a connection that is kept open.
const HEADER_TIME: Duration = Duration::from_secs(30);
/// Most headers of a request.
const MAX_HEADERS: usize = 64;
/// Most bytes that one connection reads ahead.
const READ_AHEAD: usize = 128 << 10;

/// Serves until `stop`, then lets requests in hand end, for at most `grace`.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    most: usize,
    stop: CancellationToken,
    grace: Duration,
) {
    let places = Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS)));
    let mut connections = JoinSet::new();
    while !stop.is_cancelled() {
        let accept = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            (place, accepted) = accept => match accepted {
                Ok((socket, _)) => {
                    let (router, stop) = (router.clone(), stop.clone());
                    connections.spawn(async move {
                        converse(socket, router, stop).await;
                        drop(place);
                    });
                }
                // Too many open files, most likely: some will be closed.
                Err(error) => {
                    tracing::warn!(%error, "no connection could be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop(listener);
    let ended = tokio::time::timeout(grace, async { while connections.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tracing::warn!(left = connections.len(), "connections are cut off: their time is over");
    }
}

async fn converse(socket: TcpStream, router: Router, stop: CancellationToken) {
    // An answer that is small is not held back until more comes.
    let _ = socket.set_nodelay(true);
    let mut builder = Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_headers(MAX_HEADERS)
        .max_buf_size(READ_AHEAD);
    let mut connection =
        pin!(builder.serve_connection(TokioIo::new(socket), TowerToHyperService::new(router)));
    // A client that goes away is no concern of the server's.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
