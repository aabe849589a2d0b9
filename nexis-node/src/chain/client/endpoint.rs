//! Addresses of nodes, and how they are shown.

use std::fmt;

use url::Url;

/// Longest text of a node that gets into a message, in characters.
const LONGEST_TEXT: usize = 300;

/// A node's WebSocket address. It is shown without user, path and query, since providers put keys there.
#[derive(Clone)]
pub(super) struct Endpoint {
    url: String,
    shown: String,
    secrets: Vec<String>,
}

impl Endpoint {
    /// Reads a `ws://` or `wss://` address.
    ///
    /// # Errors
    /// For anything else, what is wrong with it, without its text.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text.trim())
            .map_err(|_| "it is not a URL; write it like wss://entrypoint-finney.opentensor.ai:443")?;
        if !matches!(url.scheme(), "ws" | "wss") {
            return Err("only ws:// and wss:// are spoken");
        }
        let host = url.host_str().ok_or("it names no host")?;
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let shown = format!("{}://{host}{port}", url.scheme());
        let parts =
            [url.path(), url.query().unwrap_or_default(), url.username(), url.password().unwrap_or_default()];
        let secrets = parts.iter().filter(|part| part.len() > 1).map(ToString::to_string).collect();
        Ok(Self { url: url.into(), shown, secrets })
    }

    /// The whole address, for connecting only.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Somebody else's text, fit for a message: without what this address keeps to itself, without control
    /// characters, and short.
    pub(super) fn clean(&self, text: &str) -> String {
        let mut text = text.replace(&self.url, &self.shown);
        for secret in &self.secrets {
            text = text.replace(secret.as_str(), "…");
        }
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_TEXT).collect()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_the_address_is_not_shown() {
        let endpoint = Endpoint::parse("wss://user:hush@node.example:9944/v1/abcdef?token=xyz").unwrap();
        assert_eq!(endpoint.to_string(), "wss://node.example:9944");
        assert_eq!(format!("{endpoint:?}"), "wss://node.example:9944");
        let text = endpoint.clean(
            "cannot reach wss://user:hush@node.example:9944/v1/abcdef?token=xyz\u{1b}[2J at /v1/abcdef",
        );
        for secret in ["hush", "abcdef", "xyz", "\u{1b}"] {
            assert!(!text.contains(secret), "{secret:?} is in {text:?}");
        }
        for wrong in ["node.example", "https://node.example", "ws://"] {
            assert!(Endpoint::parse(wrong).is_err(), "{wrong}");
        }
    }
}
