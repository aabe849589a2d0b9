//! `urllib.parse.urlparse`, the parts of it that sources need.
//!
//! Compared against CPython over generated URLs: `tests/fixtures/protocol/urls.json`.

use unicode_normalization::UnicodeNormalization;

/// Host, path and query of a URL as Python sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// `hostname`: lower case, without user information and port; empty where there is none.
    pub(super) host: String,
    /// `path`, without the parameters of its last segment.
    pub(super) path: String,
    /// `query`.
    pub(super) query: String,
}

/// `None` where Python raises `ValueError`.
pub(super) fn parse(url: &str) -> Option<Parts> {
    let url: String = url
        .trim_start_matches(|c: char| c <= ' ')
        .chars()
        .filter(|c| !matches!(c, '\t' | '\r' | '\n'))
        .collect();
    let (scheme, rest) = split_scheme(&url);
    let (netloc, rest) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())),
        None => ("", rest),
    };
    check_netloc(netloc)?;
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    Some(Parts {
        host: hostname(netloc),
        path: without_parameters(&scheme, path).to_owned(),
        query: query.to_owned(),
    })
}

fn split_scheme(url: &str) -> (String, &str) {
    if let Some((scheme, rest)) = url.split_once(':') {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        if scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.bytes().all(plain) {
            return (scheme.to_ascii_lowercase(), rest);
        }
    }
    (String::new(), url)
}

/// Brackets come in pairs, and no character may decompose into one that separates parts of a URL.
fn check_netloc(netloc: &str) -> Option<()> {
    if netloc.contains('[') != netloc.contains(']') {
        return None;
    }
    if netloc.contains('[') {
        check_brackets(netloc)?;
    }
    if netloc.is_ascii() {
        return Some(());
    }
    let plain: String = netloc.chars().filter(|c| !matches!(c, '@' | ':' | '#' | '?')).collect();
    let composed: String = plain.nfkc().collect();
    (plain == composed || !composed.contains(['/', '?', '#', '@', ':'])).then_some(())
}

/// Inside brackets stands an IPv6 address or a future one; nothing stands in front of them, and at most a
/// port after them.
fn check_brackets(netloc: &str) -> Option<()> {
    let host = netloc.rsplit_once('@').map_or(netloc, |(_, host)| host);
    let address = match host.split_once('[') {
        Some((before, rest)) => {
            let (address, after) = rest.split_once(']').unwrap_or((rest, ""));
            if !before.is_empty() || !(after.is_empty() || after.starts_with(':')) {
                return None;
            }
            address
        }
        None => host.split_once(':').map_or(host, |(host, _)| host),
    };
    if let Some(future) = address.strip_prefix('v') {
        let (version, rest) = future.split_once('.')?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:".contains(c);
        let hex = !version.is_empty() && version.chars().all(|c| c.is_ascii_hexdigit());
        return (hex && !rest.is_empty() && rest.chars().all(plain)).then_some(());
    }
    let (address, zone) = address.split_once('%').map_or((address, None), |(a, z)| (a, Some(z)));
    if zone.is_some_and(|zone| zone.is_empty() || zone.contains('%')) {
        return None;
    }
    address.parse::<std::net::Ipv6Addr>().ok().map(drop)
}

fn hostname(netloc: &str) -> String {
    let host = netloc.rsplit_once('@').map_or(netloc, |(_, host)| host);
    let host = match host.split_once('[') {
        Some((_, rest)) => rest.split_once(']').map_or(rest, |(host, _)| host),
        None => host.split_once(':').map_or(host, |(host, _)| host),
    };
    match host.split_once('%') {
        Some((host, zone)) => format!("{}%{zone}", host.to_lowercase()),
        None => host.to_lowercase(),
    }
}

/// Schemes whose paths may carry parameters after a semicolon.
const WITH_PARAMETERS: [&str; 12] =
    ["", "ftp", "hdl", "prospero", "http", "https", "shttp", "rtsp", "sip", "sips", "mms", "sftp"];

fn without_parameters<'a>(scheme: &str, path: &'a str) -> &'a str {
    if scheme != "tel" && !WITH_PARAMETERS.contains(&scheme) {
        return path;
    }
    let last = path.rfind('/').unwrap_or(0);
    match path.get(last..).and_then(|segment| segment.find(';')) {
        Some(at) => path.get(..last + at).unwrap_or(path),
        None => path,
    }
}

/// The first value of a field of a query as `parse_qs` gives it: blank values do not count, plus signs
/// are spaces, percent escapes are UTF-8.
pub(super) fn query_value(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (!value.is_empty() && unquote(key) == name).then(|| unquote(value))
    })
}

fn unquote(text: &str) -> String {
    let hex = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(b) = bytes.get(at) {
        match (b, hex(bytes.get(at + 1)), hex(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 3;
            }
            (b, ..) => {
                out.push(if *b == b'+' { b' ' } else { *b });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
