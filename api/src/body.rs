//! Reading a request's body: whole, within its limits of size and time, gzip undone.

use std::convert::Infallible;
use std::pin::pin;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request, Response};
use tower::{Layer as _, ServiceExt as _};
use tower_http::decompression::{DecompressionBody, RequestDecompressionLayer};

use crate::problem::{Problem, ProblemKind};
use crate::settings::ApiSettings;

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    TooLarge,
    Unreadable,
}

/// Reads a body.
pub(crate) async fn read(headers: &HeaderMap, body: Body, settings: &ApiSettings) -> Result<Bytes, Problem> {
    let bytes_max = settings.body_bytes_max;
    let is_gzip = is_gzip(headers)?;
    // Said before it comes: no need to read a byte of it.
    if declared_length(headers).is_some_and(|length| length > bytes_max) {
        return Err(problem_of(Failure::TooLarge, bytes_max));
    }
    let collected = tokio::time::timeout(settings.body_time_max, collect(body.into_data_stream(), bytes_max)).await;
    let Ok(sent) = collected else {
        let detail = format!("the body did not arrive within {} ms", settings.body_time_max.as_millis());
        return Err(Problem::new(ProblemKind::RequestTimeout, detail));
    };
    let sent = sent.map_err(|failure| problem_of(failure, bytes_max))?;
    if is_gzip { decompress(sent, bytes_max).await.map_err(|failure| problem_of(failure, bytes_max)) } else { Ok(sent) }
}

fn problem_of(failure: Failure, bytes_max: usize) -> Problem {
    match failure {
        Failure::TooLarge => Problem::new(
            ProblemKind::TooLarge,
            format!("a body may have {bytes_max} bytes, as sent and when decompressed"),
        ),
        Failure::Unreadable => {
            Problem::new(ProblemKind::UnreadableBody, "the body broke off, or is not what its encoding says")
        }
    }
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, Problem> {
    let Some(encoding) = headers.get(CONTENT_ENCODING) else { return Ok(false) };
    let encoding = encoding.to_str().unwrap_or_default().trim();
    if encoding.eq_ignore_ascii_case("gzip") || encoding.eq_ignore_ascii_case("x-gzip") {
        Ok(true)
    } else if encoding.eq_ignore_ascii_case("identity") {
        Ok(false)
    } else {
        Err(Problem::new(ProblemKind::UnsupportedMediaType, "the only content encoding that is understood is gzip"))
    }
}

/// The chunks of a body as one, not copied where it came in one.
async fn collect<E>(chunks: impl Stream<Item = Result<Bytes, E>>, bytes_max: usize) -> Result<Bytes, Failure> {
    let mut chunks = pin!(chunks);
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Failure::Unreadable)?;
        if first.len() + joined.len() + chunk.len() > bytes_max {
            return Err(Failure::TooLarge);
        }
        if first.is_empty() && joined.is_empty() {
            first = chunk;
        } else {
            joined.extend_from_slice(&std::mem::take(&mut first));
            joined.extend_from_slice(&chunk);
        }
    }
    Ok(if joined.is_empty() { first } else { joined.freeze() })
}

/// Undoes gzip, at most `bytes_max` bytes of it: a small body may hold a very large one.
async fn decompress(sent: Bytes, bytes_max: usize) -> Result<Bytes, Failure> {
    let collect = tower::service_fn(move |request: Request<DecompressionBody<Body>>| async move {
        let collected = collect(Body::new(request.into_body()).into_data_stream(), bytes_max).await;
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(collected);
        Ok::<_, Infallible>(response)
    });
    let mut request = Request::new(Body::from(sent));
    request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    let response = RequestDecompressionLayer::new().layer(collect).oneshot(request).await;
    let Ok(mut response) = response;
    response.extensions_mut().remove::<Result<Bytes, Failure>>().unwrap_or(Err(Failure::Unreadable))
}

/// What a body says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MediaType {
    /// `application/json` or `application/…+json`.
    Json,
    /// `text/plain`.
    Text,
    /// No word.
    Unsaid,
    /// Anything else.
    Other,
}

impl MediaType {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(CONTENT_TYPE) else { return Self::Unsaid };
        let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let is = |other: &str| essence.eq_ignore_ascii_case(other);
        let suffixed = || {
            let essence = essence.to_ascii_lowercase();
            essence.starts_with("application/") && essence.ends_with("+json")
        };
        if is("application/json") || suffixed() {
            Self::Json
        } else if is("text/plain") {
            Self::Text
        } else {
            Self::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_many_spellings() {
        for (value, expected) in [
            ("application/json", MediaType::Json),
            ("Application/JSON; charset=utf-8", MediaType::Json),
            ("application/cloudevents+json", MediaType::Json),
            ("text/plain;charset=UTF-8", MediaType::Text),
            ("text/json", MediaType::Other),
            ("application/jsonp", MediaType::Other),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]);
            assert_eq!(MediaType::of(&headers), expected, "{value}");
        }
        assert_eq!(MediaType::of(&HeaderMap::new()), MediaType::Unsaid);
    }

    #[tokio::test]
    async fn chunks_are_joined_up_to_the_limit() {
        let body = |parts: &'static [&'static str]| {
            futures_util::stream::iter(
                parts.iter().map(|part| Ok::<_, Infallible>(Bytes::from_static(part.as_bytes()))),
            )
        };
        assert_eq!(collect(body(&[]), 3).await, Ok(Bytes::new()));
        assert_eq!(collect(body(&["abc"]), 3).await, Ok(Bytes::from("abc")));
        assert_eq!(collect(body(&["a", "", "b", "c"]), 3).await, Ok(Bytes::from("abc")));
        assert_eq!(collect(body(&["ab", "cd"]), 3).await, Err(Failure::TooLarge));
    }
}
