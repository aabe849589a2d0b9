//! Which address is answered by what, and what every request passes first.

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::app::App;
use super::error::{Answer, Refusal};
use super::limits::{Admitted, Room, drain};
use super::{native, openai, page};
use crate::observe;

/// The document that describes the endpoints.
const OPENAPI: &str = include_str!("openapi.json");

/// Longest time that the body of a refused request is read for.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// Whether a route needs a key: what judges, what tells of verdicts, and the numbers of both. The page, the document and
/// the signs of life say nothing about what is judged.
fn is_closed(route: &str) -> bool {
    route.starts_with("/v1/") || route == "/metrics"
}

/// All routes.
pub(super) fn router(app: App, health: observe::Health) -> Router {
    let pages = observe::router(app.metrics.clone(), health);
    Router::new()
        .route("/v1/chat/completions", post(openai::chat))
        .route("/v1/models", get(native::models))
        .route("/v1/models/{id}", get(native::model))
        .route("/v1/score", post(native::score))
        .route("/v1/classify", post(native::classify))
        .route("/v1/verify", post(native::verify))
        .route("/v1/evidence/{id}", get(native::evidence))
        .route("/v1/verdicts", get(native::verdicts))
        .route("/openapi.json", get(openapi))
        .merge(page::routes())
        .method_not_allowed_fallback(async || Refusal::method_not_allowed())
        .fallback(async || {
            Refusal::not_found("path", "nothing is at this address; /openapi.json says what there is")
        })
        .with_state(app.clone())
        .merge(pages)
        .layer(from_fn_with_state(app, pass))
}

/// Every request passes here: who asks and of whom, how long it took, and what a browser may do with the answer.
async fn pass(State(app): State<App>, path: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = path.map_or_else(|| "other".to_owned(), |path| path.as_str().to_owned());
    let admitted = app
        .names
        .check(request.uri(), request.headers())
        .and_then(|()| if is_closed(&route) { app.keys.check(request.headers()) } else { Ok(()) });
    let mut response = match admitted {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            drain(request, app.admission.limits.body_bytes, DRAIN_TIME).await;
            refusal.into_response()
        }
    };
    let headers = response.headers_mut();
    headers.entry(header::X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    app.metrics.request(&route, response.status().as_u16(), started.elapsed());
    app.metrics.requests_in_hand(app.admission.in_hand());
    response
}

/// Lets a request in, or says why not once its body is out of the way.
pub(super) async fn admit(
    app: &App,
    request: Request,
    room: Room,
    verification: bool,
) -> Answer<(Admitted, Request)> {
    let admitted = if app.stop.is_cancelled() {
        Err(Refusal::stopping())
    } else if room == Room::Memory && !is_json(request.headers()) {
        Err(Refusal::media_type("application/json (or multipart/form-data, where a file may be sent)"))
    } else {
        app.admission.admit(request.headers(), room, verification)
    };
    match admitted {
        Ok(admitted) => Ok((admitted, request)),
        Err(refusal) => {
            drain(request, app.admission.limits.body_bytes, DRAIN_TIME).await;
            Err(refusal)
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

/// The body of a request that was let in.
pub(super) async fn json_body(admitted: &Admitted, request: Request) -> Answer<Bytes> {
    admitted.body(request.into_body()).await
}

async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    /// The routes, as they are written in this file and in the node's own pages.
    fn routes() -> BTreeSet<String> {
        let sources =
            [include_str!("router.rs"), include_str!("page/mod.rs"), include_str!("../observe/server.rs")];
        let lines = sources.iter().flat_map(|source| source.split(".route(\"").skip(1));
        lines.filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
    }

    #[test]
    fn the_document_describes_the_routes_and_no_other() {
        let document: Value = serde_json::from_str(super::OPENAPI).unwrap();
        let described: BTreeSet<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
        let assets = |path: &String| !path.starts_with("/page");
        assert_eq!(described, routes().into_iter().filter(assets).collect());
        for (path, methods) in document["paths"].as_object().unwrap() {
            for operation in methods.as_object().unwrap().values() {
                let open = operation.get("security").is_some();
                assert_eq!(super::is_closed(path), !open, "{path}");
                let refused = operation["responses"].as_object().unwrap().contains_key("401");
                assert_eq!(refused, !open, "{path}");
            }
        }
    }
}
