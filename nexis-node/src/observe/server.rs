//! `/metrics`, `/healthz` and `/readyz` over HTTP.

use std::future::Future;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde_json::json;
use tokio::net::TcpListener;

use super::{Health, Metrics};

/// The content type of OpenMetrics text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why the server does not serve.
#[derive(Debug, thiserror::Error)]
#[error("metrics on {address}: {source}; choose another address, or port 0 for any")]
pub struct ServeError {
    /// The address that was asked for.
    pub address: SocketAddr,
    /// What the system said.
    #[source]
    pub source: std::io::Error,
}

/// A server that listens already, so that its address is known before it serves.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
}

impl Server {
    /// Takes an address; port 0 takes any free one.
    ///
    /// # Errors
    /// Where the address cannot be had.
    pub async fn bind(address: SocketAddr, metrics: Metrics, health: Health) -> Result<Self, ServeError> {
        let failed = |source| ServeError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, router: router(metrics, health) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` ends.
    ///
    /// # Errors
    /// Where the listener fails.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), ServeError> {
        let address = self.address;
        axum::serve(self.listener, self.router)
            .with_graceful_shutdown(stop)
            .await
            .map_err(|source| ServeError { address, source })
    }
}

/// The three pages, for a server that has others too.
pub fn router(metrics: Metrics, health: Health) -> Router {
    Router::new()
        .route("/metrics", get(show_metrics))
        .route("/healthz", get(show_health))
        .route("/readyz", get(show_readiness))
        .with_state((metrics, health))
}

async fn show_metrics(State((metrics, _)): State<(Metrics, Health)>) -> Response {
    match metrics.to_text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn show_health(State((_, health)): State<(Metrics, Health)>) -> Response {
    match health.alive() {
        Ok(()) => Json(json!({ "alive": true })).into_response(),
        Err(silent) => {
            let body = Json(json!({ "alive": false, "silent_for_seconds": silent }));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

async fn show_readiness(State((_, health)): State<(Metrics, Health)>) -> Response {
    let readiness = health.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}
