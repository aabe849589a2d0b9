//! One request to the hub, with its redirects: who may see the token, and what a refusal means.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, ETAG, HeaderMap, HeaderName, HeaderValue, LOCATION,
    RANGE, RETRY_AFTER, USER_AGENT,
};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use nexis_core::model::registry::is_commit;
use rand::Rng;
use url::{Host, Url};

use super::tls::{Connector, connector};
use super::{HubError, HubErrorKind, HubSettings, Result};

const MAX_REDIRECTS: usize = 10;

/// The commit that a revision is.
const COMMIT: HeaderName = HeaderName::from_static("x-repo-commit");
/// Tag of a large file, which is kept elsewhere: its SHA-256.
const LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");
/// Size of a large file.
const LINKED_SIZE: HeaderName = HeaderName::from_static("x-linked-size");
/// Why the hub refuses, in one word.
const ERROR_CODE: HeaderName = HeaderName::from_static("x-error-code");

/// What a hub says of a file, on whichever of its answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// The commit.
    pub(super) commit: Option<String>,
    /// The tag of its content.
    pub(super) etag: Option<String>,
    /// Its size.
    pub(super) bytes: Option<u64>,
}

impl Facts {
    /// Takes what an answer adds; what an earlier one said stays.
    fn absorb(&mut self, headers: &HeaderMap, last: bool) {
        let text = |name: &HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
        let number = |name: &HeaderName| text(name).and_then(|text| text.parse().ok());
        let commit = text(&COMMIT).filter(|commit| is_commit(commit)).map(str::to_owned);
        self.commit = self.commit.take().or(commit);
        // A redirect's own length and tag are those of the redirect.
        let etag = text(&LINKED_ETAG).or_else(|| text(&ETAG).filter(|_| last));
        self.etag = self.etag.take().or_else(|| etag.map(plain_etag));
        self.bytes =
            self.bytes.or_else(|| number(&LINKED_SIZE)).or_else(|| number(&CONTENT_LENGTH).filter(|_| last));
    }
}

/// A tag without its quotes and without the mark of a weak one.
fn plain_etag(etag: &str) -> String {
    etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"').to_owned()
}

/// An answer that is no refusal.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) facts: Facts,
    pub(super) body: Incoming,
}

/// Whether a request for a file is about the file, or for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asking {
    /// About it: what another host would say of it is of no interest.
    About,
    /// For its bytes from here on.
    From(u64),
}

/// A client of one hub.
pub(super) struct HubClient {
    http: legacy::Client<Connector, Empty<Bytes>>,
    pub(super) settings: HubSettings,
}

impl HubClient {
    pub(super) fn new(settings: &HubSettings) -> Result<Self> {
        let http = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector(settings)?);
        Ok(Self { http, settings: settings.clone() })
    }

    /// The address of a file. A revision is one part of it, whatever slashes it holds.
    pub(super) fn address(&self, repository: &str, revision: &str, file: &str) -> Result<Url> {
        let mut url = self.settings.endpoint.clone();
        url.path_segments_mut()
            .map_err(|()| HubError::new(HubErrorKind::Local, "HF_ENDPOINT is no address of a server"))?
            .pop_if_empty()
            .extend(repository.split('/'))
            .push("resolve")
            .push(revision)
            .extend(file.split('/'));
        Ok(url)
    }

    /// Asks once, following redirects. `what` names the file in messages.
    pub(super) async fn ask(&self, what: &str, url: &Url, asking: Asking) -> Result<Answer> {
        let mut url = url.clone();
        let mut facts = Facts::default();
        for _ in 0..=MAX_REDIRECTS {
            let request = self.request(&url, asking)?;
            let patience = self.settings.connect_timeout + self.settings.answer_timeout;
            let answer = match tokio::time::timeout(patience, self.http.request(request)).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) if is_about_tls(&error) => {
                    // Asking again does not change a certificate.
                    let why = format!(
                        "{what}: {}: {}; if a proxy or mirror of yours is in between, name its authority in \
                         SSL_CERT_FILE",
                        shown(&url),
                        causes(&error)
                    );
                    return Err(HubError::new(HubErrorKind::Misbehaved, why));
                }
                Ok(Err(error)) => return Err(unreachable(what, &url, &causes(&error))),
                Err(_) => {
                    let why = format!("no answer within {} s", patience.as_secs());
                    return Err(unreachable(what, &url, &why));
                }
            };
            let status = answer.status();
            let next = status.is_redirection().then(|| answer.headers().get(LOCATION)).flatten();
            facts.absorb(answer.headers(), next.is_none());
            let Some(next) = next else {
                if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE {
                    let (parts, body) = answer.into_parts();
                    return Ok(Answer { status, headers: parts.headers, facts, body });
                }
                return Err(self.refusal(what, &url, status, answer.headers()));
            };
            let to = self.redirected(what, &url, next)?;
            if asking == Asking::About && to.origin() != url.origin() {
                let (parts, body) = answer.into_parts();
                return Ok(Answer { status, headers: parts.headers, facts, body });
            }
            url = to;
        }
        let why =
            format!("{what}: more than {MAX_REDIRECTS} redirects from {}", shown(&self.settings.endpoint));
        Err(HubError::new(HubErrorKind::Misbehaved, why))
    }

    fn redirected(&self, what: &str, from: &Url, location: &HeaderValue) -> Result<Url> {
        let misbehaved = |why: &str| {
            HubError::new(HubErrorKind::Misbehaved, format!("{what}: {} sends us {why}", shown(from)))
        };
        let to = location.to_str().ok().and_then(|text| from.join(text).ok());
        let to = to.filter(|to| matches!(to.scheme(), "http" | "https") && to.has_host());
        let to = to.ok_or_else(|| misbehaved("to what is no address"))?;
        if from.scheme() == "https" && to.scheme() != "https" {
            return Err(misbehaved("from https to http"));
        }
        Ok(to)
    }

    fn request(&self, url: &Url, asking: Asking) -> Result<Request<Empty<Bytes>>> {
        let local =
            |e: hyper::http::Error| HubError::new(HubErrorKind::Local, format!("{}: {e}", shown(url)));
        let method = if asking == Asking::About { Method::HEAD } else { Method::GET };
        let mut request = Request::builder()
            .method(method)
            .uri(url.as_str())
            .header(USER_AGENT, concat!("nexis/", env!("CARGO_PKG_VERSION")))
            // Sizes and tags are to be those of the file.
            .header(ACCEPT_ENCODING, "identity")
            .body(Empty::new())
            .map_err(local)?;
        let headers = request.headers_mut();
        if let Asking::From(from) = asking
            && from > 0
        {
            let range = HeaderValue::from_str(&format!("bytes={from}-")).map_err(|e| local(e.into()))?;
            headers.insert(RANGE, range);
        }
        if let Some(token) = self.settings.token.as_ref().filter(|_| self.trusts(url)) {
            let bearer = zeroize::Zeroizing::new(format!("Bearer {}", token.expose()));
            let mut value = HeaderValue::from_str(&bearer).map_err(|e| local(e.into()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(request)
    }

    /// Whether the token may go there: to the endpoint itself, and not in the clear over a network.
    fn trusts(&self, url: &Url) -> bool {
        let loopback = match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        url.origin() == self.settings.endpoint.origin() && (url.scheme() == "https" || loopback)
    }

    /// What a refusal means. The hub's own sentences are a stranger's and stay out; its codes are compared.
    fn refusal(&self, what: &str, url: &Url, status: StatusCode, headers: &HeaderMap) -> HubError {
        let code = headers.get(ERROR_CODE).and_then(|code| code.to_str().ok()).unwrap_or_default();
        let by = format!("{} says {}", shown(url), status.as_u16());
        let ours = url.origin() == self.settings.endpoint.origin();
        let token = match &self.settings.token {
            Some(_) if !self.trusts(&self.settings.endpoint) => {
                "the token is not sent, since HF_ENDPOINT is not https"
            }
            Some(_) => "the token in use does not open it",
            None => "no token is set (HF_TOKEN)",
        };
        let new = |kind, why: &str| HubError::new(kind, format!("{what}: {why}; {by}"));
        match (status, code) {
            (_, "GatedRepo") => {
                let why = format!("its owner wants terms accepted on the repository's page; {token}");
                new(HubErrorKind::Denied, &why)
            }
            (_, "RepoNotFound") => new(
                HubErrorKind::NotFound,
                &format!("there is no such repository, or it is private; {token}"),
            ),
            (_, "RevisionNotFound") => new(HubErrorKind::NotFound, "the repository has no such revision"),
            (_, "EntryNotFound") => new(HubErrorKind::NotFound, "the repository has no such file there"),
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) if ours => {
                new(HubErrorKind::Denied, &format!("access is refused; {token}"))
            }
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
                // Signed addresses expire; the next try gets a new one.
                new(HubErrorKind::Unreachable, "the address that the hub gave was refused")
            }
            (StatusCode::NOT_FOUND | StatusCode::GONE, _) => new(HubErrorKind::NotFound, "it is not there"),
            (StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT, _) => {
                let error = new(HubErrorKind::Busy, "too many requests");
                HubError { wait: retry_after(headers), ..error }
            }
            _ if status.is_server_error() => {
                let error = new(HubErrorKind::Unreachable, "the server fails");
                HubError { wait: retry_after(headers), ..error }
            }
            _ => new(HubErrorKind::Misbehaved, "that is no answer of a hub"),
        }
    }

    /// Waits before the next try, as long as the hub asks for or as patience has it. `failed` is the number of tries in
    /// a row that brought nothing.
    ///
    /// # Errors
    /// The failure itself, where it is not waited any more.
    pub(super) async fn pause(&self, failure: HubError, failed: u32) -> Result<()> {
        let settings = &self.settings;
        if !failure.kind.is_transient() || failed >= settings.attempts {
            return Err(failure);
        }
        let pause = match failure.wait {
            Some(wait) if wait > settings.longest_wait => {
                let what = format!("{}; it asks to wait {} s, try again then", failure.what, wait.as_secs());
                return Err(HubError { what, ..failure });
            }
            Some(wait) => wait,
            None => {
                let longest = settings.backoff.saturating_mul(1 << failed.saturating_sub(1).min(6));
                longest.mul_f64(rand::rng().random_range(0.5..1.0))
            }
        };
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTime::parse_from_rfc2822(text).ok()?;
    Some((at.to_utc() - Utc::now()).to_std().unwrap_or_default())
}

/// An address without its query, which may be a signature.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

pub(super) fn unreachable(what: &str, url: &Url, why: &str) -> HubError {
    HubError::new(HubErrorKind::Unreachable, format!("{what}: {}: {why}", shown(url)))
}

/// Whether TLS refused, rather than the network.
fn is_about_tls(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if inner.is_some_and(|inner| inner.is::<rustls::Error>()) || error.is::<rustls::Error>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What the HTTP client says went wrong, down to the first cause.
pub(super) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if !said.iter().any(|before| before.contains(&text)) {
            said.push(text);
        }
        cause = error.source();
    }
    said.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(endpoint: &str) -> HubClient {
        let endpoint = endpoint.to_owned();
        let settings = HubSettings::from_environment(&|name| match name {
            "HF_ENDPOINT" => Some(endpoint.clone()),
            "HF_TOKEN" => Some("hf_secret".to_owned()),
            _ => None,
        });
        HubClient::new(&settings.unwrap()).unwrap()
    }

    #[test]
    fn a_revision_is_one_part_of_the_address() {
        let hub = client("http://mirror.example/hub");
        let url = hub.address("maker/small", "refs/pr/15", "sub/a b.json").unwrap();
        assert_eq!(
            url.as_str(),
            "http://mirror.example/hub/maker/small/resolve/refs%2Fpr%2F15/sub/a%20b.json"
        );
    }

    #[test]
    fn the_token_goes_to_the_endpoint_alone_and_not_in_the_clear() {
        let sent = |endpoint: &str, to: &str| {
            let request = client(endpoint).request(&Url::parse(to).unwrap(), Asking::About).unwrap();
            assert!(!format!("{request:?}").contains("hf_secret"));
            request.headers().contains_key(AUTHORIZATION)
        };
        assert!(sent("http://127.0.0.1:80", "http://127.0.0.1:80/x"));
        assert!(sent("http://localhost:8080", "http://localhost:8080/x"));
        assert!(!sent("http://localhost:8080", "http://localhost:8081/x"));
        assert!(!sent("http://localhost:8080", "http://127.0.0.1:8080/x"));
        assert!(!sent("http://mirror.example", "http://mirror.example/x"));
    }

    #[test]
    fn facts_are_those_of_the_file_and_not_of_a_redirect() {
        let of = |pairs: &[(&'static str, &'static str)], last| {
            let mut facts = Facts::default();
            let headers =
                pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)));
            facts.absorb(&headers.collect(), last);
            facts
        };
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let linked = of(
            &[
                ("etag", "\"x\""),
                ("x-linked-etag", "\"abc\""),
                ("x-linked-size", "7"),
                ("content-length", "9"),
            ],
            false,
        );
        assert_eq!(linked, Facts { commit: None, etag: Some("abc".into()), bytes: Some(7) });
        let redirect = of(&[("etag", "\"x\""), ("content-length", "9"), ("x-repo-commit", commit)], false);
        assert_eq!(redirect, Facts { commit: Some(commit.into()), etag: None, bytes: None });
        let last = of(&[("etag", "W/\"x\""), ("content-length", "9"), ("x-repo-commit", "main")], true);
        assert_eq!(last, Facts { commit: None, etag: Some("x".into()), bytes: Some(9) });
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let of = |text: &str| {
            let value = HeaderValue::from_str(text).unwrap();
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value)]))
        };
        assert_eq!(of("7"), Some(Duration::from_secs(7)));
        assert_eq!(of("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(of("soon"), None);
    }
}
