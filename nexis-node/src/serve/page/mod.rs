//! The page at `/`: for people, from this program alone.
//!
//! It asks the server's other endpoints like any client does, and needs nothing from elsewhere. Its files are asked for
//! under a digest of all of them, so that they may be kept for ever and never be of two versions.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use nexis_core::hash::Digest;

/// The page itself; `@version` in it stands for the digest.
const INDEX: &str = include_str!("index.html");
const VERSION: &str = "@version";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file that the page asks for.
struct Asset {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

static ASSETS: [Asset; 8] = [
    // The look of the report that `nexis verify --html` writes, so that both belong together.
    Asset { name: "report.css", content_type: CSS, text: include_str!("../../view/page.css") },
    Asset { name: "style.css", content_type: CSS, text: include_str!("style.css") },
    Asset { name: "app.js", content_type: SCRIPT, text: include_str!("app.js") },
    Asset { name: "api.js", content_type: SCRIPT, text: include_str!("api.js") },
    Asset { name: "dom.js", content_type: SCRIPT, text: include_str!("dom.js") },
    Asset { name: "recent.js", content_type: SCRIPT, text: include_str!("recent.js") },
    Asset { name: "result.js", content_type: SCRIPT, text: include_str!("result.js") },
    Asset { name: "icon.svg", content_type: "image/svg+xml", text: include_str!("icon.svg") },
];

/// Only this server's files run, and no text from outside becomes markup or script, wherever a defect of the page's own
/// puts it. Pictures of frames are data, previews of chosen files are blobs.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
    media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// What every answer of the page carries.
const GUARDS: [(&str, &str); 4] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// The page's routes, which need no key: nothing that was judged is in them.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let version = version();
    let tag = format!("\"{version}\"");
    let index: Arc<str> = INDEX.replace(VERSION, &version).into();
    let show = get(move |asked: HeaderMap| {
        let answer = show_index(&index, &tag, &asked);
        std::future::ready(answer)
    });
    ASSETS.iter().fold(Router::new().route("/", show), |router, asset| {
        let path = format!("/page/{version}/{}", asset.name);
        router.route(&path, get(move || std::future::ready(show_asset(asset))))
    })
}

/// The digest of all files and their names.
fn version() -> String {
    let parts = ASSETS.iter().flat_map(|asset| [asset.name, asset.text]).chain([INDEX]);
    let digests: String = parts.map(|part| Digest::of(part).to_string()).collect();
    Digest::of(digests).to_string()
}

/// The page is kept too, but asked about each time: only it knows the digest of the rest.
fn show_index(index: &str, tag: &str, asked: &HeaderMap) -> Response {
    let kept = [(header::ETAG, tag.to_owned()), (header::CACHE_CONTROL, "no-cache".to_owned())];
    let known = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    if known.flat_map(|value| value.split(',')).any(|one| one.trim().trim_start_matches("W/") == tag) {
        return (StatusCode::NOT_MODIFIED, GUARDS, kept).into_response();
    }
    (GUARDS, kept, [(header::CONTENT_TYPE, HTML)], index.to_owned()).into_response()
}

fn show_asset(asset: &'static Asset) -> Response {
    let kept = [
        (header::CONTENT_TYPE, asset.content_type),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    (GUARDS, kept, asset.text).into_response()
}

#[cfg(test)]
mod tests {
    use nexis_core::check::CategoryRule;
    use nexis_core::protocol::Category;
    use nexis_core::verifier::{MAX_FRAMES, YES};

    use super::*;

    /// What stands between two marks, wherever it does.
    fn between<'a>(text: &'a str, from: &str, to: &str) -> Vec<&'a str> {
        text.split(from).skip(1).filter_map(|rest| rest.split_once(to).map(|(inner, _)| inner)).collect()
    }

    #[test]
    fn whatever_the_page_names_is_one_of_its_files() {
        let is_asset = |name: &str| ASSETS.iter().any(|asset| asset.name == name);
        let linked = between(INDEX, "=\"page/@version/", "\"");
        assert!(linked.len() >= 4 && linked.iter().all(|name| is_asset(name)), "{linked:?}");
        let scripts = ASSETS.iter().filter(|asset| asset.content_type == SCRIPT);
        let imported: Vec<_> = scripts.flat_map(|asset| between(asset.text, " from \"./", "\"")).collect();
        assert!(imported.len() >= 4 && imported.iter().all(|name| is_asset(name)), "{imported:?}");
        for asset in &ASSETS {
            assert!(
                linked.contains(&asset.name) || imported.contains(&asset.name),
                "{} is for nobody",
                asset.name
            );
        }
    }

    #[test]
    fn the_page_knows_the_rule_and_the_labels() {
        let text = |name: &str| ASSETS.iter().find(|asset| asset.name == name).unwrap().text;
        let rule = CategoryRule::default();
        let written = format!(
            "RULE = {{ wins: {}, natureScore: {}, margin: {} }};",
            rule.min_wins, rule.min_nature_score, rule.min_margin
        );
        assert!(text("result.js").contains(&written), "{written}");
        assert!(text("result.js").contains(&format!("YES = {YES:?};")), "{YES}");
        let labels = Category::ALL.map(|label| format!("\"{label}\"")).join(", ");
        assert!(text("result.js").contains(&format!("LABELS = [{labels}];")), "{labels}");
        let most = format!("MOST_FRAMES = {MAX_FRAMES};");
        assert!(text("app.js").contains(&most), "{most}");
    }

    #[test]
    fn nothing_names_another_server() {
        for (name, text) in ASSETS.iter().map(|asset| (asset.name, asset.text)).chain([("index.html", INDEX)])
        {
            let named: Vec<_> =
                text.split("://").skip(1).filter(|rest| !rest.starts_with("www.w3.org/2000/svg")).collect();
            assert!(named.is_empty(), "{name}");
        }
    }

    #[test]
    fn what_is_known_is_not_sent_again() {
        let status = |known: &'static str| {
            let asked = HeaderMap::from_iter([(header::IF_NONE_MATCH, known.parse().unwrap())]);
            show_index("page", "\"abc\"", &asked).status()
        };
        assert_eq!(status("\"abc\""), StatusCode::NOT_MODIFIED);
        assert_eq!(status("\"x\", W/\"abc\""), StatusCode::NOT_MODIFIED);
        assert_eq!(status("\"abcd\""), StatusCode::OK);
    }
}
