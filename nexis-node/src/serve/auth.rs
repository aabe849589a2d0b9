//! Who may ask: API keys, and for a server on loopback without any, only programs of this machine.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use axum::http::{HeaderMap, Uri, header};
use nexis_core::hash::Digest;
use nexis_core::{Error, Result};
use subtle::{Choice, ConstantTimeEq};

use super::error::{Answer, Refusal};

/// Longest file of keys, in bytes.
const MAX_KEY_FILE: u64 = 1 << 20;
/// Shortest key: less can be guessed.
const MIN_KEY: usize = 16;
const MAX_KEY: usize = 512;

/// The keys that open the server. Only their digests are kept, so that no log and no core dump has one.
#[derive(Clone, Default)]
pub struct ApiKeys {
    digests: Vec<Digest>,
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeys({})", self.digests.len())
    }
}

impl ApiKeys {
    /// Keys from text: one a line or several with commas between; what begins with `#` is a comment.
    ///
    /// # Errors
    /// [`Error::Usage`] where a key is too short, too long or has other characters than visible ASCII. The key is not
    /// in the message.
    pub fn parse(what: &str, text: &str) -> Result<Self> {
        let mut digests = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if line.trim_start().starts_with('#') {
                continue;
            }
            for key in line.split(',').map(str::trim).filter(|key| !key.is_empty()) {
                if !(MIN_KEY..=MAX_KEY).contains(&key.len()) || !key.bytes().all(|b| b.is_ascii_graphic()) {
                    let why = format!(
                        "the key on line {} has to have {MIN_KEY} to {MAX_KEY} visible ASCII characters",
                        number + 1
                    );
                    return Err(Error::usage(what, why));
                }
                digests.push(Digest::of(key));
            }
        }
        Ok(Self { digests })
    }

    /// Keys from a file.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), where the file cannot be read, and where it holds none: whoever names a file of keys
    /// wants the server closed.
    pub fn read(path: &Path) -> Result<Self> {
        let io = |e| Error::io(path, e);
        let what = path.display().to_string();
        if std::fs::metadata(path).map_err(io)?.len() > MAX_KEY_FILE {
            return Err(Error::usage(what, "too large to be a file of keys"));
        }
        let keys = Self::parse(&what, &std::fs::read_to_string(path).map_err(io)?)?;
        if keys.is_empty() {
            return Err(Error::usage(what, "no key is in it; write one a line"));
        }
        Ok(keys)
    }

    /// These and others.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.digests.extend(other.digests);
        self
    }

    /// Whether there are none, so that everybody may ask.
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// Whether a key is one of these. Neither which one nor how much of one was right shows in the time.
    fn admits(&self, key: &[u8]) -> bool {
        let given = Digest::of(key).to_string();
        let known = self.digests.iter().fold(Choice::from(0), |known, digest| {
            known | digest.to_string().as_bytes().ct_eq(given.as_bytes())
        });
        known.into()
    }

    /// That a request brings a key, where one is needed.
    pub(super) fn check(&self, headers: &HeaderMap) -> Answer<()> {
        if self.is_empty() {
            return Ok(());
        }
        let value = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
        let (scheme, key) = value.split_at_checked("Bearer ".len()).unwrap_or_default();
        if scheme.eq_ignore_ascii_case(b"Bearer ") && self.admits(key.trim_ascii()) {
            Ok(())
        } else {
            Err(Refusal::unauthorised())
        }
    }
}

/// Which names a server answers to. A page from elsewhere can make a browser ask a server on this machine, under its
/// own name (DNS rebinding) or with its own origin; without keys, nothing else would keep it out.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// `None` where any name will do.
    allowed: Option<Vec<String>>,
}

impl Names {
    /// The names of a server at this address. Beyond loopback, and where there are keys, it is the keys (or the
    /// operator's network) that keep others out.
    pub(super) fn new(address: SocketAddr, keys: &ApiKeys) -> Self {
        let guarded = address.ip().is_loopback() && keys.is_empty();
        let allowed = guarded.then(|| {
            vec!["localhost".to_owned(), "127.0.0.1".into(), "[::1]".into(), bare(&address.to_string())]
        });
        Self { allowed }
    }

    fn admit(&self, authority: &str) -> bool {
        self.allowed
            .as_ref()
            .is_none_or(|names| names.iter().any(|name| name.eq_ignore_ascii_case(&bare(authority))))
    }

    /// That a request is meant for this server and was not made by a page of another.
    pub(super) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Answer<()> {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let host = uri.authority().map(|a| a.as_str()).or_else(|| text(header::HOST)).unwrap_or_default();
        if !self.admit(host) {
            let why =
                "Host is not this server's: without keys it answers to localhost and its own address only";
            return Err(Refusal::forbidden("host_not_allowed", why));
        }
        if let (Some(_), Some(origin)) = (&self.allowed, text(header::ORIGIN)) {
            let from = origin.split_once("://").map_or(origin, |(_, authority)| authority);
            if !self.admit(from) || !from.eq_ignore_ascii_case(host) {
                let why = "a page of another origin may not ask this server";
                return Err(Refusal::forbidden("origin_not_allowed", why));
            }
        }
        Ok(())
    }
}

/// An authority without its port.
fn bare(authority: &str) -> String {
    let end = match authority.strip_prefix('[').and_then(|rest| rest.find(']')) {
        Some(end) => Some(end + 2),
        None => authority.rfind(':'),
    };
    authority.get(..end.unwrap_or(authority.len())).unwrap_or(authority).to_owned()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const KEY: &str = "sk-nexis-0123456789";

    fn with(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_request_needs_one_of_the_keys() {
        let keys =
            ApiKeys::parse("keys", &format!("# mine\n{KEY}\n\nother-key-of-sixteen, third-key-of-sixteen"))
                .unwrap();
        for good in [format!("Bearer {KEY}"), format!("bearer  {KEY} "), "Bearer third-key-of-sixteen".into()]
        {
            assert!(keys.check(&with(header::AUTHORIZATION, &good)).is_ok(), "{good}");
        }
        for bad in ["", "Bearer", "Bearer ", "Basic c2s=", "Bearer sk-nexis-012345678", "Bearer # mine", KEY]
        {
            let refusal = keys.check(&with(header::AUTHORIZATION, bad)).unwrap_err();
            assert_eq!(refusal.status().as_u16(), 401, "{bad}");
        }
        assert!(keys.check(&HeaderMap::new()).is_err());
        assert!(ApiKeys::default().check(&HeaderMap::new()).is_ok());
        assert_eq!(format!("{keys:?}"), "ApiKeys(3)");
    }

    #[test]
    fn a_key_that_is_none_is_refused_without_being_shown() {
        for text in ["short", "with\u{e4} umlaut and long enough", "has a space in the middle"] {
            let error = ApiKeys::parse("keys", text).unwrap_err().to_string();
            assert!(error.contains("line 1") && !error.contains(text), "{error}");
        }
    }

    #[test]
    fn a_loopback_server_without_keys_answers_to_its_own_names() {
        let uri = Uri::from_static("/v1/models");
        let open = Names::new("127.0.0.1:8070".parse().unwrap(), &ApiKeys::default());
        for host in ["127.0.0.1:8070", "localhost:8070", "LOCALHOST", "[::1]:8070", "127.0.0.1"] {
            assert!(open.check(&uri, &with(header::HOST, host)).is_ok(), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example:8070", "localhost.evil:80", "", "[::2]:80"] {
            assert_eq!(
                open.check(&uri, &with(header::HOST, host)).unwrap_err().status().as_u16(),
                403,
                "{host}"
            );
        }
        let from = |origin: &str| {
            let mut headers = with(header::HOST, "localhost:8070");
            headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
            open.check(&uri, &headers)
        };
        assert!(from("http://localhost:8070").is_ok());
        for origin in ["http://evil.example", "null", "http://localhost:9999", "http://127.0.0.1:8070"] {
            assert!(from(origin).is_err(), "{origin}");
        }
        let keyed = Names::new("127.0.0.1:8070".parse().unwrap(), &ApiKeys::parse("k", KEY).unwrap());
        assert!(keyed.check(&uri, &with(header::HOST, "nexis.example")).is_ok());
        let wide = Names::new("0.0.0.0:8070".parse().unwrap(), &ApiKeys::default());
        assert!(wide.check(&uri, &with(header::HOST, "nexis.example")).is_ok());
    }
}
