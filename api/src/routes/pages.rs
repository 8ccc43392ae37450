//! The pages: what `web/dist` held when the crate was built, the API's description, and a page for each
//! problem.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE,
    RANGE, REFERRER_POLICY, X_FRAME_OPTIONS,
};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, Version};
use rust_embed::{EmbeddedFile, RustEmbed};
use tower_http::compression::CompressionLayer;

use crate::problem::{Problem, ProblemKind};
use crate::state::ApiState;

/// Where each page is, and its file.
const PAGES: [(&str, &str); 10] = [
    ("/", "index.html"),
    ("/overview", "overview.html"),
    ("/titles", "titles.html"),
    ("/licensing", "licensing.html"),
    ("/clickstream", "clickstream.html"),
    ("/concurrency", "concurrency.html"),
    ("/projections", "projections.html"),
    ("/player", "player.html"),
    ("/docs", "docs.html"),
    ("/signed-out", "signed-out.html"),
];

/// The other routes here.
const FILES: [&str; 5] = ["/clip.webm", "/assets/{*file}", "/sdk/{*file}", "/openapi.json", "/problems/{code}"];

/// The routes here, for the measures.
pub(crate) fn paths() -> impl Iterator<Item = &'static str> {
    PAGES.into_iter().map(|(path, _)| path).chain(FILES)
}

/// Nothing but our own files: no inline script or style, no other origin.
const OWN_FILES: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
);
/// The viewer of the API's description has small images in its style sheet.
const OWN_FILES_AND_IMAGES: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'none'",
);
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
/// A file whose name has its content's hash never changes.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const FOR_AN_HOUR: HeaderValue = HeaderValue::from_static("public, max-age=3600");
/// To be kept, and asked about each time.
const ASK_FIRST: HeaderValue = HeaderValue::from_static("no-cache");

#[derive(RustEmbed)]
#[folder = "../web/dist"]
struct Dist;

pub(crate) fn routes() -> Router<ApiState> {
    let with_page = |router: Router<ApiState>, (path, name)| {
        router.route(path, get(move |headers: HeaderMap| async move { file(name, &headers) }))
    };
    PAGES
        .into_iter()
        .fold(Router::new(), with_page)
        .route("/clip.webm", get(by_path))
        .route("/assets/{*file}", get(by_path))
        .route("/sdk/{*file}", get(by_path))
        .route("/openapi.json", get(openapi))
        .route("/problems/{code}", get(problem))
        .layer(CompressionLayer::new().compress_when(is_whole_text))
}

async fn by_path(uri: Uri, headers: HeaderMap) -> Response {
    file(uri.path().trim_start_matches('/'), &headers)
}

async fn openapi() -> Response {
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| crate::openapi::json().into());
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-cache")], DOCUMENT.clone()).into_response()
}

async fn problem(Path(code): Path<String>) -> Response {
    match ProblemKind::of(&code) {
        Some(kind) => {
            let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "public, max-age=3600")];
            (headers, kind.page()).into_response()
        }
        None => super::not_found().await.into_response(),
    }
}

/// Only text gains by being compressed, and a part of a file must stay a part.
fn is_whole_text(status: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    let media = headers.get(CONTENT_TYPE).and_then(|media| media.to_str().ok());
    status == StatusCode::OK && media.is_some_and(is_text)
}

fn is_text(media: &str) -> bool {
    media.starts_with("text/") || ["javascript", "json", "xml"].iter().any(|kind| media.contains(kind))
}

/// A file of `web/dist`, whole, in part, or not again.
fn file(name: &str, asked: &HeaderMap) -> Response {
    let Some(EmbeddedFile { data, metadata }) = Dist::get(name) else {
        return Problem::new(ProblemKind::NotFound, "no page or file has this path").into_response();
    };
    let bytes = match data {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => Bytes::from(bytes),
    };
    let is_text = is_text(metadata.mimetype());
    let etag = etag(&metadata.sha256_hash(), is_text);
    let mut response = part(&bytes, &etag, is_text, asked);
    let headers = response.headers_mut();
    headers.insert(ETAG, HeaderValue::try_from(etag).unwrap_or(HeaderValue::from_static("")));
    headers.insert(CACHE_CONTROL, how_long(name));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(OPENER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(PERMISSIONS_POLICY, HeaderValue::from_static("camera=(), microphone=(), geolocation=()"));
    headers.insert(CONTENT_SECURITY_POLICY, if name == "docs.html" { OWN_FILES_AND_IMAGES } else { OWN_FILES });
    if !is_text {
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    }
    // A problem has said its own type.
    if response.status() != StatusCode::RANGE_NOT_SATISFIABLE {
        let media = media_type(metadata.mimetype());
        response.headers_mut().insert(CONTENT_TYPE, media);
    }
    response
}

/// The response but for the headers that each has.
fn part(bytes: &Bytes, etag: &str, is_text: bool, asked: &HeaderMap) -> Response {
    let asked_for = |name| asked.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let is_known = |known: &str| known.split(',').map(str::trim).any(|tag| tag == "*" || tag == etag);
    if asked_for(IF_NONE_MATCH).is_some_and(is_known) {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    // Text may go out compressed, of which a range of bytes means nothing; and a part of another version
    // is worse than all of this one.
    let is_same = asked_for(IF_RANGE).is_none_or(|known| known == etag);
    let range = asked_for(RANGE).filter(|_| !is_text && is_same);
    match range.map(|range| range_of(range, bytes.len())) {
        None | Some(Asked::All) => bytes.clone().into_response(),
        Some(Asked::Part(range)) => {
            let place = format!("bytes {}-{}/{}", range.start(), range.end(), bytes.len());
            let headers = [(CONTENT_RANGE, place)];
            (StatusCode::PARTIAL_CONTENT, headers, bytes.slice(range)).into_response()
        }
        Some(Asked::Beyond) => {
            let headers = [(CONTENT_RANGE, format!("bytes */{}", bytes.len()))];
            let detail = format!("the file has {} bytes", bytes.len());
            (headers, Problem::new(ProblemKind::RangeNotSatisfiable, detail)).into_response()
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    All,
    Part(RangeInclusive<usize>),
    Beyond,
}

/// Reads a `Range` header. What is no single range of bytes is ignored, as RFC 9110 allows.
fn range_of(range: &str, length: usize) -> Asked {
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-')) else {
        return Asked::All;
    };
    let (first, last) = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last.min(length.saturating_sub(1))),
        (Ok(first), Err(_)) if last.is_empty() => (first, length.saturating_sub(1)),
        // The last so many bytes.
        (Err(_), Ok(0)) if first.is_empty() => return Asked::Beyond,
        (Err(_), Ok(count)) if first.is_empty() => (length.saturating_sub(count), length.saturating_sub(1)),
        _ => return Asked::All,
    };
    if first < length { Asked::Part(first..=last) } else { Asked::Beyond }
}

/// Text goes out compressed or not, so its tag says only that the content is the same, not the bytes.
fn etag(hash: &[u8; 32], is_text: bool) -> String {
    use std::fmt::Write as _;
    let mut etag = String::from(if is_text { "W/\"" } else { "\"" });
    for byte in &hash[..16] {
        // Writing to a string doesn't fail.
        let _ = write!(etag, "{byte:02x}");
    }
    etag.push('"');
    etag
}

fn how_long(name: &str) -> HeaderValue {
    match name.split_once('/') {
        Some(("assets", _)) => FOR_EVER,
        None if name == "clip.webm" => FOR_AN_HOUR,
        _ => ASK_FIRST,
    }
}

fn media_type(media: &str) -> HeaderValue {
    let charset = if media.starts_with("text/") && !media.contains("charset") { "; charset=utf-8" } else { "" };
    HeaderValue::try_from(format!("{media}{charset}")).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_rfc_9110_says() {
        for (range, expected) in [
            ("bytes=0-0", Asked::Part(0..=0)),
            ("bytes=2-", Asked::Part(2..=9)),
            ("bytes=2-99", Asked::Part(2..=9)),
            ("bytes=-3", Asked::Part(7..=9)),
            ("bytes=-99", Asked::Part(0..=9)),
            ("bytes=10-", Asked::Beyond),
            ("bytes=-0", Asked::Beyond),
            ("bytes=5-2", Asked::All),
            ("bytes=0-1,4-5", Asked::All),
            ("bytes=-", Asked::All),
            ("items=0-1", Asked::All),
        ] {
            assert_eq!(range_of(range, 10), expected, "{range}");
        }
        assert_eq!(range_of("bytes=0-", 0), Asked::Beyond);
    }
}
