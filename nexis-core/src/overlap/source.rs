//! Source URLs: which are allowed, and the names that one video goes by.

use super::urlparse;
use crate::package::ClipRecord;
use crate::python;

/// Prefix of a key that names the spec.
const SPEC_PREFIX: &str = "video_v1:";
/// Canonical form of a video's address.
const WATCH_URL: &str = "https://www.youtube.com/watch?v=";

/// Where a URL points to, if its host is allowed.
enum Site {
    Short,
    Full,
}

fn site(host: &str) -> Option<Site> {
    match host {
        "youtu.be" => Some(Site::Short),
        "youtube.com" => Some(Site::Full),
        host if host.ends_with(".youtube.com") => Some(Site::Full),
        _ => None,
    }
}

/// Whether the host is `youtube.com`, a subdomain of it, or `youtu.be`. Scheme, port and user information
/// are not looked at; a URL that Python's parser rejects is not allowed.
pub fn is_allowed_source(url: &str) -> bool {
    urlparse::parse(python::strip(url)).is_some_and(|parts| site(&parts.host).is_some())
}

/// The canonical key of a source: its video id, or the trimmed URL where it has none.
pub fn source_identity_key(url: &str) -> String {
    let url = python::strip(url);
    video_id(url).unwrap_or_else(|| url.to_owned())
}

fn video_id(url: &str) -> Option<String> {
    let parts = urlparse::parse(url)?;
    let site = site(&parts.host)?;
    let of_query = urlparse::query_value(&parts.query, "v").map(|id| python::strip(&id).to_owned());
    let id = of_query.filter(|id| !id.is_empty()).or_else(|| match site {
        Site::Short => Some(parts.path.trim_matches('/').to_owned()),
        Site::Full => {
            let mut segments = parts.path.split('/').filter(|segment| !segment.is_empty());
            let first = segments.next()?;
            matches!(first, "shorts" | "embed" | "v").then(|| segments.next().map(str::to_owned)).flatten()
        }
    })?;
    (!id.is_empty()).then_some(id)
}

/// Every key under which the global index may know a row's source, in the network's order: the canonical
/// key, the row's video id, the URL; each also with the spec in front. Keys can repeat.
pub fn overlap_index_keys(source_video_url: &str, source_video_id: &str) -> Vec<String> {
    let url = python::strip(source_video_url);
    let id = python::strip(source_video_id);
    let canonical = source_identity_key(url);
    let mut keys = Vec::with_capacity(6);
    let mut add = |key: &str| {
        keys.push(key.to_owned());
        keys.push(format!("{SPEC_PREFIX}{key}"));
    };
    add(&canonical);
    if !id.is_empty() {
        add(id);
    }
    if !url.is_empty() && url != canonical {
        add(url);
    }
    keys
}

/// A source's name without the spec in front.
pub(super) fn bare(source: &str) -> &str {
    let source = python::strip(source);
    python::strip(source.strip_prefix(SPEC_PREFIX).unwrap_or(source))
}

/// The key of `record_info.json` for a source, whether given as a URL, a video id or an older key.
pub fn record_info_key(source: &str) -> String {
    let key = source_identity_key(bare(source));
    if key.starts_with("http://") || key.starts_with("https://") { key } else { format!("{WATCH_URL}{key}") }
}

/// The name that overlap within one submission groups by: the trimmed video id, or the URL where that is
/// blank.
pub fn overlap_group(row: &ClipRecord) -> &str {
    match python::strip(&row.source_video_id) {
        "" => python::strip(&row.source_video_url),
        id => id,
    }
}
