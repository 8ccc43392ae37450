//! What handlers take out of a request. Each rejection is a [`Problem`].

use std::fmt::Display;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;
use pulsegate_domain::ids::{AccountId, InvalidId, SessionId};

use crate::body::{self, MediaType};
use crate::playback::Expected;
use crate::problem::{Problem, ProblemKind};
use crate::state::ApiState;

/// The ids in the path, read when asked for.
///
/// Not sooner, because what is refused for its path is kept with its body, which must be read by then.
pub(crate) struct PathIds(RawPathParams);

impl PathIds {
    /// `{account}`
    pub(crate) fn account(&self) -> Result<AccountId, Problem> {
        self.read("account", "/account_id")
    }

    /// `{session}`
    pub(crate) fn session(&self) -> Result<SessionId, Problem> {
        self.read("session", "/session_id")
    }

    /// A parameter that is no id; `pointer` is the field that it stands for.
    pub(crate) fn parsed<T: FromStr<Err: Display>>(&self, name: &str, pointer: &str) -> Result<T, Problem> {
        let text = self.0.iter().find(|(key, _)| *key == name).map_or("", |(_, text)| text);
        text.parse().map_err(|error| Problem::invalid_field(pointer, format!("{error} (in the path)")))
    }

    /// Any other parameter; `pointer` is the field that it stands for.
    pub(crate) fn read<T: FromStr<Err = InvalidId>>(&self, name: &str, pointer: &str) -> Result<T, Problem> {
        let text = self.0.iter().find(|(key, _)| *key == name).map_or("", |(_, text)| text);
        text.parse().map_err(|error: InvalidId| Problem::invalid_field(pointer, format!("{error} (in the path)")))
    }
}

impl FromRequestParts<ApiState> for PathIds {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        // Only what is not UTF-8 fails here, and no id of ours is that.
        RawPathParams::from_request_parts(parts, state).await.map(Self).map_err(|rejection| {
            Problem::invalid_field("", format!("the path is not readable: {}", rejection.body_text()))
        })
    }
}

/// Where a body is put as it was received, for the middleware that keeps what is refused.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received(Arc<OnceLock<Bytes>>);

impl Received {
    /// The body, if it was read.
    pub(crate) fn bytes(&self) -> Bytes {
        self.0.get().cloned().unwrap_or_default()
    }
}

async fn read(request: Request, state: &ApiState) -> Result<Bytes, Problem> {
    let (parts, body) = request.into_parts();
    let bytes = body::read(&parts.headers, body, state.settings()).await?;
    if let Some(Received(slot)) = parts.extensions.get::<Received>() {
        // Set once: a request has one body.
        let _ = slot.set(bytes.clone());
    }
    Ok(bytes)
}

/// A body that says that it is JSON.
pub(crate) struct JsonBody(pub(crate) Bytes);

impl FromRequest<ApiState> for JsonBody {
    type Rejection = Response;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Response> {
        checked(request, state, JSON, |media| media == MediaType::Json).await.map(Self)
    }
}

/// A body that a beacon may have sent: JSON that may call itself `text/plain` or nothing at all.
pub(crate) struct BeaconBody(pub(crate) Bytes);

impl FromRequest<ApiState> for BeaconBody {
    type Rejection = Response;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Response> {
        checked(request, state, JSON, |media| media != MediaType::Other).await.map(Self)
    }
}

/// Lines of a log as `text/plain`, or JSON that holds some.
pub(crate) struct LinesBody(pub(crate) Bytes);

impl FromRequest<ApiState> for LinesBody {
    type Rejection = Response;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Response> {
        checked(request, state, LINES, |media| media != MediaType::Other).await.map(Self)
    }
}

const JSON: &str = "application/json or application/…+json";
const LINES: &str = "text/plain, or application/json for what Firehose delivers";

/// Reads a body whose type is `wanted`. An empty one needs no type: whether it may be empty, its parser says.
async fn checked(
    request: Request,
    state: &ApiState,
    names: &str,
    wanted: impl Fn(MediaType) -> bool,
) -> Result<Bytes, Response> {
    use axum::response::IntoResponse as _;
    let media = MediaType::of(request.headers());
    let read = read(request, state).await;
    match read {
        Ok(bytes) if bytes.is_empty() || wanted(media) => Ok(bytes),
        Ok(_) => Err(Problem::new(
            ProblemKind::UnsupportedMediaType,
            format!("the body must be {names}, and say so in Content-Type"),
        )),
        Err(problem) => Err(problem),
    }
    .map_err(Problem::into_response)
}

/// Which version a change is made from, as `If-Match` or `If-None-Match` says.
pub(crate) struct Precondition(pub(crate) Option<Expected>);

impl Precondition {
    fn read(headers: &HeaderMap) -> Result<Option<Expected>, Problem> {
        let one = |name: &'static str, pointer: &'static str| {
            let mut values = headers.get_all(name).iter();
            let value = values.next().map(|value| value.to_str().unwrap_or_default());
            if values.next().is_some() {
                return Err(Problem::invalid_field(pointer, "must stand in the headers once"));
            }
            Ok(value)
        };
        match (one("if-match", "/If-Match")?, one("if-none-match", "/If-None-Match")?) {
            (None, None) => Ok(None),
            (Some("*"), None) => Ok(Some(Expected::Any)),
            (Some(tag), None) => {
                let version = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')?.parse().ok());
                let version = version.ok_or_else(|| {
                    Problem::invalid_field(
                        "/If-Match",
                        "must be * or a version as ETag says it, e.g. \"3\" (in the headers)",
                    )
                })?;
                Ok(Some(Expected::Version(version)))
            }
            (None, Some("*")) => Ok(Some(Expected::None)),
            (None, Some(_)) => Err(Problem::invalid_field("/If-None-Match", "must be * (in the headers)")),
            (Some(_), Some(_)) => {
                Err(Problem::invalid_field("/If-Match", "must not stand beside If-None-Match (in the headers)"))
            }
        }
    }
}

impl FromRequestParts<ApiState> for Precondition {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &ApiState) -> Result<Self, Problem> {
        Self::read(&parts.headers).map(Self)
    }
}

/// Reads one value of the query string: `None` where it is absent.
pub(crate) fn query<T>(query: Option<&str>, name: &'static str) -> Result<Option<T>, Problem>
where
    T: FromStr,
    T::Err: Display,
{
    let mut found = None;
    for pair in query.unwrap_or_default().split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if key != name {
            continue;
        }
        let pointer = || format!("/{name}");
        if found.is_some() {
            return Err(Problem::invalid_field(pointer(), "must stand in the query once"));
        }
        let text = percent_decode(value)
            .ok_or_else(|| Problem::invalid_field(pointer(), "must be percent-encoded UTF-8 (in the query)"))?;
        let value =
            text.parse().map_err(|error| Problem::invalid_field(pointer(), format!("{error} (in the query)")))?;
        found = Some(value);
    }
    Ok(found)
}

/// Most names and values of a query that are read at all.
const PAIRS_MAX: usize = 100;

/// All names and values of the query string, in their order.
pub(crate) fn pairs(query: Option<&str>) -> Result<Vec<(String, String)>, Problem> {
    let mut pairs = Vec::new();
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(name), Some(value)) = (percent_decode(name), percent_decode(value)) else {
            return Err(Problem::invalid_field("", format!("{pair} must be percent-encoded UTF-8 (in the query)")));
        };
        if pairs.len() == PAIRS_MAX {
            return Err(Problem::invalid_field(
                "",
                format!("at most {PAIRS_MAX} names and values may stand in the query"),
            ));
        }
        pairs.push((name, value));
    }
    Ok(pairs)
}

/// Text of a query that a database can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) String);

impl FromStr for Text {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('\0') { Err("must not hold a zero character") } else { Ok(Self(text.to_owned())) }
    }
}

/// How many rows of a page are asked for: 1 to `MAX`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Limit<const MAX: u32>(pub(crate) u32);

impl<const MAX: u32> FromStr for Limit<MAX> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let limit = text.parse().ok().filter(|limit| (1..=MAX).contains(limit));
        limit.map(Self).ok_or_else(|| format!("must be an integer of 1-{MAX}"))
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                u8::try_from(high << 4 | low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_value_is_decoded_and_found_by_name() {
        let look = |text| query::<String>(Some(text), "as_of").map_err(|problem| problem.detail().to_owned());
        assert_eq!(look("a=1&as_of=2026-11-22T20%3A47%3A03Z"), Ok(Some("2026-11-22T20:47:03Z".into())));
        assert_eq!(look("as_ofx=1&b"), Ok(None));
        assert_eq!(look("as_of"), Ok(Some(String::new())));
        assert_eq!(look("as_of=1&as_of=1"), Err("/as_of must stand in the query once".into()));
        assert_eq!(look("as_of=%f"), Err("/as_of must be percent-encoded UTF-8 (in the query)".into()));
        assert_eq!(look("as_of=%ff"), Err("/as_of must be percent-encoded UTF-8 (in the query)".into()));
    }

    #[test]
    fn a_version_is_asked_for_as_an_etag_says_it() {
        let read = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs
                .iter()
                .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)));
            Precondition::read(&pairs.collect()).map_err(|problem| problem.errors()[0].pointer.clone())
        };
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("if-match", "\"3\"")]), Ok(Some(Expected::Version(3))));
        assert_eq!(read(&[("if-match", "*")]), Ok(Some(Expected::Any)));
        assert_eq!(read(&[("if-none-match", "*")]), Ok(Some(Expected::None)));
        for bad in ["3", "\"x\"", "W/\"3\"", "\"1\", \"2\"", ""] {
            assert_eq!(read(&[("if-match", bad)]), Err("/If-Match".to_owned()), "{bad}");
        }
        assert_eq!(read(&[("if-none-match", "\"3\"")]), Err("/If-None-Match".to_owned()));
        assert_eq!(read(&[("if-match", "*"), ("if-none-match", "*")]), Err("/If-Match".to_owned()));
        let twice = [("if-match", "\"1\""), ("if-match", "\"2\"")];
        let mut headers = HeaderMap::new();
        for (name, value) in twice {
            headers.append(http::HeaderName::from_static(name), http::HeaderValue::from_static(value));
        }
        assert!(Precondition::read(&headers).is_err());
    }

    #[test]
    fn a_page_is_bounded() {
        assert_eq!("500".parse(), Ok(Limit::<500>(500)));
        assert!(["0", "501", "-1", ""].iter().all(|bad| bad.parse::<Limit<500>>().is_err()));
    }

    #[test]
    fn all_of_a_query_is_read_in_its_order() {
        let read = |text: &str| pairs(Some(text)).map_err(|problem| problem.detail().to_owned());
        let own = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        assert_eq!(read("step=a%20b&step=c+d&x"), Ok(own(&[("step", "a b"), ("step", "c d"), ("x", "")])));
        assert_eq!((read(""), pairs(None).unwrap()), (Ok(vec![]), vec![]));
        assert!(read("a=%ff").unwrap_err().contains("a=%ff must be percent-encoded"));
        assert!(read(&"a=1&".repeat(PAIRS_MAX)).is_ok());
        assert!(read(&"a=1&".repeat(PAIRS_MAX + 1)).is_err());
    }

    #[test]
    fn a_bad_query_value_names_its_parameter() {
        let problem = query::<u32>(Some("limit=many"), "limit").unwrap_err();
        assert_eq!(problem.errors()[0].pointer, "/limit");
    }
}
