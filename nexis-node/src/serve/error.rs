//! What a request is answered with where it is not answered: one JSON shape, the one that OpenAI's clients read.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use nexis_core::Error;
use serde_json::json;

/// A request that is refused or failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<String>,
    message: String,
    retry_after: Option<u64>,
}

/// Result of everything that answers a request.
pub(super) type Answer<T> = Result<T, Refusal>;

/// Longest message, and longest name of a part of the request, in bytes: both may repeat what was sent.
const MAX_MESSAGE: usize = 2000;
const MAX_PARAM: usize = 200;

/// The beginning of a text, where it is longer than so many bytes.
fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push('\u{2026}');
    }
    text
}

/// Seconds after which a request that met a full server may be worth another try, at least and at most.
const RETRY_AFTER: (u64, u64) = (1, 60);

impl Refusal {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        let message = cut(message.into(), MAX_MESSAGE);
        Self { status, kind, code: None, param: None, message, retry_after: None }
    }

    fn coded(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// Names the part of the request that is concerned.
    pub(super) fn at(self, param: impl Into<String>) -> Self {
        Self { param: Some(cut(param.into(), MAX_PARAM)), ..self }
    }

    /// The request makes no sense as it is.
    pub(super) fn invalid(param: impl Into<String>, why: impl std::fmt::Display) -> Self {
        let param = cut(param.into(), MAX_PARAM);
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", format!("{param}: {why}")).at(param)
    }

    /// A chat request for something that nothing here can answer.
    pub(super) fn not_answerable(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", why)
            .coded("not_answerable")
            .at("messages")
    }

    pub(super) fn unauthorised() -> Self {
        let message = "no valid key: send `Authorization: Bearer KEY` with one of the keys that the server was \
                       started with";
        Self::new(StatusCode::UNAUTHORIZED, "authentication_error", message).coded("invalid_api_key")
    }

    pub(super) fn forbidden(code: &'static str, why: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "permission_error", why).coded(code)
    }

    pub(super) fn not_found(param: &str, why: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", why).coded("not_found").at(param)
    }

    pub(super) fn method_not_allowed() -> Self {
        let why = "this address takes other methods; /openapi.json says which";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", why).coded("method_not_allowed")
    }

    pub(super) fn slow_request(seconds: u64) -> Self {
        let why = format!("the body did not arrive within {seconds} s");
        Self::new(StatusCode::REQUEST_TIMEOUT, "timeout_error", why).coded("slow_request")
    }

    pub(super) fn length_required() -> Self {
        let why = "Content-Length is needed: a body of unknown length is not taken";
        Self::new(StatusCode::LENGTH_REQUIRED, "invalid_request_error", why).coded("length_required")
    }

    pub(super) fn too_large(why: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", why).coded("too_large")
    }

    pub(super) fn media_type(expected: &str) -> Self {
        let why = format!("Content-Type: {expected} is expected");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request_error", why)
            .coded("unsupported_media_type")
    }

    /// As many requests are in hand as may be, for so long.
    pub(super) fn busy(why: &str, wait: Duration) -> Self {
        let seconds = wait.as_secs_f64().ceil() as u64;
        let seconds = seconds.clamp(RETRY_AFTER.0, RETRY_AFTER.1);
        let message = format!("{why}; ask again in {seconds} s");
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message);
        Self { retry_after: Some(seconds), ..refusal.coded("rate_limit_exceeded") }
    }

    pub(super) fn took_too_long(seconds: u64) -> Self {
        let why = format!("not done within {seconds} s");
        Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout_error", why).coded("timeout")
    }

    pub(super) fn stopping() -> Self {
        let refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "the server is stopping");
        Self { retry_after: Some(RETRY_AFTER.0), ..refusal.coded("unavailable") }
    }

    pub(super) fn defect(why: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", why.to_string())
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    #[cfg(test)]
    pub(super) fn message(&self) -> &str {
        &self.message
    }
}

/// What the core could not do: the caller's to mend where it asked for what makes no sense, else ours.
impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::Usage { what, why } => Self::invalid(what, why),
            Error::Interrupted => Self::stopping(),
            other => {
                tracing::error!(error = %other, "could not check");
                // A path of ours is nobody's business.
                match other {
                    Error::Io { source, .. } => {
                        Self::defect(format!("a file could not be read or written: {source}"))
                    }
                    other => Self::defect(other),
                }
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = json!({
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        });
        let mut response = (self.status, Json(json!({ "error": error }))).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_not_sent_back_at_length() {
        let name = "\u{e4}".repeat(1 << 20);
        let refusal = Refusal::invalid(&name, format!("there is no {name}"));
        assert!(refusal.message().len() <= MAX_MESSAGE + 3, "{}", refusal.message().len());
        assert!(refusal.message().starts_with("\u{e4}\u{e4}") && refusal.message().ends_with('\u{2026}'));
        assert!(refusal.param.as_ref().unwrap().len() <= MAX_PARAM + 3);
        assert_eq!(Refusal::invalid("caption", "it is empty").message(), "caption: it is empty");
    }
}
