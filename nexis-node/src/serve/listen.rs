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
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

use super::limits::Limits;

/// Most headers of a request.
const MAX_HEADERS: usize = 64;
/// Most bytes that one connection reads ahead.
const READ_AHEAD: usize = 128 << 10;

/// Serves until `stop`, then lets requests in hand end, for at most the limits' grace.
pub(super) async fn serve(listener: TcpListener, router: Router, limits: &Limits, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(limits.connections.clamp(1, Semaphore::MAX_PERMITS)));
    let idle = limits.idle_time;
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
                        converse(socket, router, stop, idle).await;
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
    let ended =
        tokio::time::timeout(limits.grace, async { while connections.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tracing::warn!(left = connections.len(), "connections are cut off: their time is over");
    }
}

async fn converse(socket: TcpStream, router: Router, stop: CancellationToken, idle: Duration) {
    // An answer that is small is not held back until more comes.
    let _ = socket.set_nodelay(true);
    // Whoever asks and never reads the answer would hold the connection's place for ever.
    let mut socket = TimeoutStream::new(socket);
    socket.set_write_timeout(Some(idle));
    let mut builder = Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .max_headers(MAX_HEADERS)
        .max_buf_size(READ_AHEAD);
    let mut connection =
        pin!(builder.serve_connection(TokioIo::new(Box::pin(socket)), TowerToHyperService::new(router)));
    // A client that goes away is no concern of the server's.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
