//! A text that must not be shown.

use std::fmt;

use zeroize::Zeroizing;

use crate::parts::SIMULATED;

/// What stands for a secret wherever one would be shown.
const MASK: &str = "********";

/// An address as it may be shown: without user, path and query, since providers put keys there. Any other text as it is.
pub(super) fn masked_address(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len()));
    let host = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{MASK}@{host}"),
        None => authority.to_owned(),
    };
    let path = if path.len() > 1 { format!("/{MASK}") } else { path.to_owned() };
    format!("{scheme}://{host}{path}")
}

/// The same of what should be a node's address, also where it is not written as one: `wss:` alone is taken for its
/// beginning, and a host may stand there by itself.
pub(super) fn masked_endpoint(text: &str) -> String {
    let text = text.trim();
    if text.contains("://") || text.starts_with(SIMULATED) {
        return masked_address(text);
    }
    let schemes = ["ws", "wss", "http", "https"];
    let (scheme, rest) = text
        .split_once(':')
        .filter(|(scheme, _)| schemes.iter().any(|known| scheme.eq_ignore_ascii_case(known)))
        .unwrap_or(("", text));
    let masked = masked_address(&format!("{scheme}://{}", rest.trim_start_matches(['/', '\\'])));
    masked.strip_prefix("://").map(ToOwned::to_owned).unwrap_or(masked)
}

/// A secret of the operator's. `Debug` and `Display` mask it, and memory is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// A secret from its text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_a_host_is_not_shown() {
        for (address, shown) in [
            ("wss://node.example:443", "wss://node.example:443"),
            ("wss://user:KEY@node.example/KEY?k=KEY", "wss://********@node.example/********"),
            ("wss://node.example\\KEY", "wss://node.example/********"),
            ("wss:///node.example/KEY", "wss:///********"),
            ("wss:node.example/KEY", "wss://node.example/********"),
            (" WSS:\\KEY@node.example", "WSS://********@node.example"),
            ("node.example/KEY", "node.example/********"),
            ("KEY@node.example:443?KEY", "********@node.example:443/********"),
            ("node.example:443", "node.example:443"),
            ("sim:/var/lib/chain", "sim:/var/lib/chain"),
        ] {
            assert_eq!(masked_endpoint(address), shown);
        }
    }
}
