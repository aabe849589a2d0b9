//! The variables that people expect to work, read as the official client reads them.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use nexis_core::model::registry::{Lookup, expanded, hub_home};
use url::Url;

use super::{HubError, HubErrorKind, Result};
use crate::config::Secret;

const ENDPOINT: &str = "https://huggingface.co";
const LONGEST_TOKEN: u64 = 4096;

/// How the hub is reached.
#[derive(Clone)]
pub struct HubSettings {
    /// Its address.
    pub endpoint: Url,
    /// Who asks; goes to the endpoint alone.
    pub token: Option<Secret>,
    /// No connection is opened.
    pub offline: bool,
    /// Proxies for `https` addresses.
    pub(super) proxies: std::sync::Arc<Matcher>,
    /// For a connection, TLS included.
    pub connect_timeout: Duration,
    /// From the request to the answer's headers.
    pub answer_timeout: Duration,
    /// Between two parts of an answer's body.
    pub stall_timeout: Duration,
    /// Tries in a row that bring nothing, after which it is given up.
    pub attempts: u32,
    /// Longest pause before the second try; it doubles with each, and a random part of it is taken.
    pub backoff: Duration,
    /// Longest time to wait where the hub asks for it.
    pub longest_wait: Duration,
}

impl HubSettings {
    /// The settings of an environment:
    ///
    /// - `HF_ENDPOINT`: the hub's address.
    /// - `HF_TOKEN` (or `HUGGING_FACE_HUB_TOKEN`), else the file that `HF_TOKEN_PATH` names, else `token` in the
    ///   client's folder; `HF_HUB_DISABLE_IMPLICIT_TOKEN` forbids them all.
    /// - `HF_HUB_OFFLINE` (or `TRANSFORMERS_OFFLINE`): no connections.
    /// - `HF_HUB_ETAG_TIMEOUT` and `HF_HUB_DOWNLOAD_TIMEOUT`, in seconds.
    /// - `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, for `https` addresses.
    ///
    /// # Errors
    /// [`HubErrorKind::Local`] where one of them makes no sense.
    pub fn from_environment(lookup: Lookup<'_>) -> Result<Self> {
        let set = |name: &str| lookup(name).filter(|text| !text.is_empty());
        let seconds = |name: &str, default| {
            let text = set(name).and_then(|text| text.parse::<u64>().ok()).filter(|n| *n > 0);
            Duration::from_secs(text.unwrap_or(default))
        };
        let either = |a: &str, b: &str| set(a).or_else(|| set(b)).unwrap_or_default();
        let proxies = Matcher::builder()
            .all(either("ALL_PROXY", "all_proxy"))
            .https(either("HTTPS_PROXY", "https_proxy"))
            .no(either("NO_PROXY", "no_proxy"))
            .build();
        Ok(Self {
            endpoint: endpoint(set("HF_ENDPOINT").as_deref().unwrap_or(ENDPOINT))?,
            token: token(lookup)?,
            offline: is_true(&either("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")),
            proxies: proxies.into(),
            connect_timeout: Duration::from_secs(10),
            answer_timeout: seconds("HF_HUB_ETAG_TIMEOUT", 30),
            stall_timeout: seconds("HF_HUB_DOWNLOAD_TIMEOUT", 30),
            attempts: 5,
            backoff: Duration::from_secs(1),
            longest_wait: Duration::from_secs(300),
        })
    }
}

/// What the official client takes for true.
fn is_true(text: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].contains(&text.to_ascii_uppercase().as_str())
}

fn wrong(what: impl Into<String>) -> HubError {
    HubError::new(HubErrorKind::Local, what)
}

fn endpoint(text: &str) -> Result<Url> {
    // The text itself may hold a password, so it is not repeated.
    let why = |why: &str| wrong(format!("HF_ENDPOINT: {why}; an address such as {ENDPOINT} is expected"));
    let mut url = Url::parse(text.trim_end_matches('/')).map_err(|e| why(&e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(why("it is no http or https address"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(why("it holds a name or password; give a token in HF_TOKEN instead"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(why("it has a query or fragment"));
    }
    let folder = format!("{}/", url.path().trim_end_matches('/'));
    url.set_path(&folder);
    Ok(url)
}

fn token(lookup: Lookup<'_>) -> Result<Option<Secret>> {
    let set = |name: &str| lookup(name).filter(|text| !text.is_empty());
    if set("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some_and(|text| is_true(&text)) {
        return Ok(None);
    }
    for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
        if let Some(token) = set(name) {
            return cleaned(name, &token);
        }
    }
    let path = match set("HF_TOKEN_PATH") {
        Some(text) => expanded(&text, lookup),
        None => match hub_home(lookup) {
            Some(home) => home.join("token"),
            None => return Ok(None),
        },
    };
    read_token(&path)
}

fn read_token(path: &Path) -> Result<Option<Secret>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(HubError::local(path, &e)),
    };
    let mut text = zeroize::Zeroizing::new(String::new());
    file.take(LONGEST_TOKEN).read_to_string(&mut text).map_err(|e| HubError::local(path, &e))?;
    cleaned(&path.display().to_string(), &text)
}

/// A token as the official client cleans it; an empty one is none.
fn cleaned(origin: &str, text: &str) -> Result<Option<Secret>> {
    let token = text.trim();
    if token.is_empty() {
        return Ok(None);
    }
    if !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(wrong(format!(
            "{origin}: that is no token; tokens are of plain characters without spaces"
        )));
    }
    Ok(Some(Secret::new(token)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<HubSettings> {
        HubSettings::from_environment(&|name| {
            pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn defaults_and_what_changes_them() {
        let plain = read(&[]).unwrap();
        assert_eq!(plain.endpoint.as_str(), "https://huggingface.co/");
        assert!(plain.token.is_none() && !plain.offline);
        for (name, value, offline) in [
            ("HF_HUB_OFFLINE", "1", true),
            ("HF_HUB_OFFLINE", "yes", true),
            ("HF_HUB_OFFLINE", "0", false),
            ("HF_HUB_OFFLINE", "", false),
            ("TRANSFORMERS_OFFLINE", "True", true),
        ] {
            assert_eq!(read(&[(name, value)]).unwrap().offline, offline, "{name}={value}");
        }
        let mirror = read(&[("HF_ENDPOINT", "http://mirror.example:8080/hub/")]).unwrap();
        assert_eq!(mirror.endpoint.as_str(), "http://mirror.example:8080/hub/");
        let slow = read(&[("HF_HUB_DOWNLOAD_TIMEOUT", "120"), ("HF_HUB_ETAG_TIMEOUT", "x")]).unwrap();
        assert_eq!((slow.stall_timeout.as_secs(), slow.answer_timeout.as_secs()), (120, 30));
    }

    #[test]
    fn tokens_come_from_where_the_official_client_looks_and_are_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        std::fs::write(folder.path().join("token"), "hf_of_the_file\n").unwrap();
        let other = folder.path().join("other");
        std::fs::write(&other, "hf_of_another").unwrap();
        let other = other.to_str().unwrap();
        let shown = |pairs: &[(&str, &str)]| read(pairs).unwrap().token.map(|t| t.expose().to_owned());
        let hf_home = ("HF_HOME", home);
        assert_eq!(shown(&[hf_home]).as_deref(), Some("hf_of_the_file"));
        assert_eq!(shown(&[hf_home, ("HF_TOKEN_PATH", other)]).as_deref(), Some("hf_of_another"));
        assert_eq!(shown(&[hf_home, ("HUGGING_FACE_HUB_TOKEN", "hf_old")]).as_deref(), Some("hf_old"));
        let both = [hf_home, ("HF_TOKEN", " hf_new\r\n"), ("HUGGING_FACE_HUB_TOKEN", "hf_old")];
        assert_eq!(shown(&both).as_deref(), Some("hf_new"));
        assert_eq!(shown(&[hf_home, ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
        assert_eq!(shown(&[("HF_HOME", "/nowhere")]), None);
        let error = read(&[("HF_TOKEN", "hf_se cret")]).err().unwrap().to_string();
        assert!(error.contains("HF_TOKEN") && !error.contains("cret"), "{error}");
    }

    #[test]
    fn endpoints_that_are_none() {
        for text in ["huggingface.co", "ftp://x/", "https://u:pa55@mirror/", "https://m/?q=1", "file:///x"] {
            let error = read(&[("HF_ENDPOINT", text)]).err().unwrap().to_string();
            assert!(error.contains("HF_ENDPOINT") && !error.contains("pa55"), "{error}");
        }
    }
}
