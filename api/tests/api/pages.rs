//! The pages and their files.

use axum::body::Body;
use http::{Request, StatusCode};

use crate::surface::{Answer, ask, get};

async fn get_with(path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
    ask(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn each_page_is_served_under_a_policy_of_its_own_files() {
    for path in
        ["/", "/overview", "/titles", "/licensing", "/concurrency", "/player", "/projections", "/docs", "/signed-out"]
    {
        let page = get(path).await;
        assert_eq!((page.status, page.header("content-type")), (StatusCode::OK, "text/html; charset=utf-8"), "{path}");
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'self'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(page.header("x-frame-options"), "DENY");
        assert_eq!(page.header("cache-control"), "no-cache");
        assert!(page.body.starts_with(b"<!doctype html>"), "{path}");
    }
}

#[tokio::test]
async fn what_a_page_links_to_is_there_and_kept_for_ever() {
    let page = get("/player").await;
    let page = std::str::from_utf8(&page.body).unwrap();
    let links: Vec<_> = page.split('"').filter(|text| text.starts_with("/assets/")).collect();
    assert!(!links.is_empty());
    for link in links {
        let file = get(link).await;
        assert_eq!(file.status, StatusCode::OK, "{link}");
        assert!(file.header("cache-control").contains("immutable"), "{link}");
    }
    assert_eq!(get("/sdk/pulsegate.js").await.header("content-type"), "text/javascript; charset=utf-8");
}

#[tokio::test]
async fn what_is_known_is_not_sent_again() {
    let first = get("/").await;
    let known = get_with("/", &[("if-none-match", first.header("etag"))]).await;
    assert_eq!((known.status, known.body.len()), (StatusCode::NOT_MODIFIED, 0));
    assert_eq!(known.header("etag"), first.header("etag"));
    assert_eq!(get_with("/", &[("if-none-match", "\"other\"")]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_film_is_served_in_parts() {
    let whole = get("/clip.webm").await;
    let length = whole.body.len();
    assert_eq!((whole.header("content-type"), whole.header("accept-ranges")), ("video/webm", "bytes"));
    let etag = whole.header("etag");
    let part = get_with("/clip.webm", &[("range", "bytes=100-199"), ("if-range", etag)]).await;
    assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.header("content-range"), format!("bytes 100-199/{length}"));
    assert_eq!(part.body, whole.body.slice(100..200));
    let other_version = get_with("/clip.webm", &[("range", "bytes=100-199"), ("if-range", "\"other\"")]).await;
    assert_eq!((other_version.status, other_version.body.len()), (StatusCode::OK, length));
    let beyond = get_with("/clip.webm", &[("range", &format!("bytes={length}-"))]).await;
    assert_eq!(beyond.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(beyond.header("content-range"), format!("bytes */{length}"));
    beyond.problem("range-not-satisfiable");
}

#[tokio::test]
async fn text_is_compressed_and_film_is_not() {
    let accepts = [("accept-encoding", "gzip")];
    assert_eq!(get_with("/docs", &accepts).await.header("content-encoding"), "gzip");
    assert_eq!(get_with("/openapi.json", &accepts).await.header("content-encoding"), "gzip");
    assert_eq!(get_with("/clip.webm", &accepts).await.header("content-encoding"), "");
    assert_eq!(get_with("/v1/live", &accepts).await.header("content-encoding"), "");
}
