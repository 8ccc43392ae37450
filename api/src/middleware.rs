//! What happens around every handler. From the outside in, each for its reason:
//!
//! 1. **CORS**, outermost: a browser must be able to read refusals too, and a preflight costs no slot.
//! 2. [`around`], one layer rather than eight, because each layer is a box and a call on the hot path:
//!    - **request id** first, so that everything below can name the request; echoed on every answer;
//!    - **a slot** before anything is read: a node that is full answers at once (reads and writes apart);
//!    - **a time limit** and **a net for panics** around all of the work, so that each is answered;
//!    - **the problem's body**, written here, the only place that knows the request id;
//!    - **headers** that every answer has;
//!    - **log, measures and the trace**, if the request is sampled, last, when the status is known.
//! 3. [`keep_refused`] around the routes that take events in: it needs the body, which only they read.
//!
//! A body's limits of size and time stand in [`crate::body`], where a body is read: what nobody reads
//! needs no limit. Pages alone are compressed, in [`crate::routes::pages`]: a verdict is smaller than
//! the cost of compressing it.

use std::any::Any;
use std::future::{Future as _, poll_fn};
use std::hash::{BuildHasher as _, RandomState};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use pulsegate_traces::{Caller, Span};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::extract::Received;
use crate::problem::{Problem, ProblemKind, RETRY_AFTER_S};
use crate::refused;
use crate::settings::CorsOrigins;
use crate::state::ApiState;

/// Names a request, in the request if its sender likes, and in the answer always.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Says which trace a request is a part of.
const TRACEPARENT: HeaderName = HeaderName::from_static(pulsegate_traces::HEADER);

/// A browser that was here once comes by https only.
const HTTPS_FOR_A_YEAR: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Length of a request id of ours.
const REQUEST_ID_LEN: usize = 33;
/// Longest request id that is taken from a sender.
const REQUEST_ID_LEN_MAX: usize = 128;
/// For how long a browser may remember what a preflight was told.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_hours(2);

/// The answers to browsers that ask for other origins' pages; `None` where only our own may call.
pub(crate) fn cors(origins: &CorsOrigins) -> Option<CorsLayer> {
    let origins = match origins {
        CorsOrigins::Own => return None,
        CorsOrigins::Any => AllowOrigin::any(),
        CorsOrigins::Listed(origins) => AllowOrigin::list(origins.iter().cloned()),
    };
    let layer = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, http::header::CONTENT_ENCODING, REQUEST_ID, TRACEPARENT])
        .expose_headers([REQUEST_ID, RETRY_AFTER, LOCATION])
        .max_age(PREFLIGHT_MAX_AGE);
    Some(layer)
}

/// Everything that happens around every handler but CORS.
pub(crate) async fn around(State(api): State<ApiState>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let request_id = request_id(request.headers());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let traceparent = request.headers().get(TRACEPARENT).cloned();
    let span = begin_trace(&api, traceparent.as_ref(), &request, route.as_ref().map(MatchedPath::as_str));
    let mut response = match &span {
        None => answer(&api, request, next).await,
        // Few are: the others' future must not be larger for them.
        Some(span) => Box::pin(pulsegate_traces::within(span.context(), answer(&api, request, next))).await,
    };
    let problem = response.extensions_mut().remove::<Arc<Problem>>();
    if let Some(problem) = &problem {
        api.measures().problem(problem.kind());
        // What was said of the empty body.
        response.headers_mut().remove(CONTENT_LENGTH);
        *response.body_mut() = Body::from(problem.body(request_id.to_str().unwrap_or_default()));
        if let Some((verdict, stamp)) = problem.verdict() {
            api.measures().verdict(verdict, stamp);
        }
    }
    let route = route.as_ref().map(MatchedPath::as_str);
    let status = response.status();
    if status.is_server_error() {
        let trace_id = trace_id(span.as_ref(), traceparent.as_ref());
        log_failure(&request_id, trace_id.as_deref(), &method, route, status, problem.as_deref());
    }
    if let Some(span) = span {
        end_trace(span, &request_id, status, problem.as_deref());
    }
    finish(response.headers_mut(), request_id, api.settings().is_https);
    api.measures().request(&method, route, status, began.elapsed());
    response
}

/// Begins the span of a request that is sampled. Of whom it is nothing is said: paths hold accounts.
fn begin_trace(
    api: &ApiState,
    traceparent: Option<&HeaderValue>,
    request: &Request,
    route: Option<&str>,
) -> Option<Span> {
    if !pulsegate_traces::is_on() {
        return None;
    }
    let is_neighbour = api.settings().callers.is_neighbour(request.headers());
    let caller = if is_neighbour { Caller::Neighbour } else { Caller::Outside };
    let mut span = pulsegate_traces::request(traceparent.map(HeaderValue::as_bytes), caller)?;
    let (method, route) = (crate::measures::name_of(request.method()), route.unwrap_or(crate::measures::UNMATCHED));
    span.rename(format!("{method} {route}"));
    span.set("http.request.method", method);
    span.set("http.route", route.to_owned());
    Some(span)
}

/// The trace that a request is a part of: ours, or else its caller's.
fn trace_id(span: Option<&Span>, traceparent: Option<&HeaderValue>) -> Option<String> {
    match span {
        Some(span) => Some(span.context().trace_id()),
        None => traceparent.and_then(|header| pulsegate_traces::trace_id_of(header.as_bytes())),
    }
}

/// Says of a request how it was answered.
fn end_trace(mut span: Span, request_id: &HeaderValue, status: StatusCode, problem: Option<&Problem>) {
    span.set("http.response.status_code", i64::from(status.as_u16()));
    span.set("pulsegate.request_id", request_id.to_str().unwrap_or_default().to_owned());
    if let Some(problem) = problem {
        span.set("error.type", problem.kind().code());
    }
    if status.is_server_error() {
        span.fail("");
    }
}

async fn answer(api: &ApiState, request: Request, next: Next) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let Ok(_slot) = api.in_flight(is_read).try_acquire() else {
        let detail = "as many requests are under way as this node takes at once";
        return Problem::new(ProblemKind::Overloaded, detail).retry_after(RETRY_AFTER_S).into_response();
    };
    let mut work = pin!(AssertUnwindSafe(next.run(request)).catch_unwind());
    // What is answered from memory is answered at once, and needs no clock for it.
    let done = match poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => tokio::time::timeout(api.settings().answer_time_max, work).await,
    };
    match done {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => Problem::internal(&panic_message(&*panic)).into_response(),
        Err(_) => {
            let detail = format!("no answer within {} ms", api.settings().answer_time_max.as_millis());
            Problem::new(ProblemKind::TimedOut, detail).retry_after(RETRY_AFTER_S).into_response()
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let message = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", message.unwrap_or("without a message"))
}

/// The headers that every answer has.
fn finish(headers: &mut HeaderMap, request_id: HeaderValue, is_https: bool) {
    headers.insert(REQUEST_ID, request_id);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if is_https {
        headers.insert(STRICT_TRANSPORT_SECURITY, HTTPS_FOR_A_YEAR);
    }
    // What a page may be cached for it has said itself; a verdict is true now.
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// The sender's own id of a request if it is sane, else one of ours.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_sane = |id: &&HeaderValue| {
        let bytes = id.as_bytes();
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._:@/+=-".contains(byte);
        !bytes.is_empty() && bytes.len() <= REQUEST_ID_LEN_MAX && bytes.iter().all(plain)
    };
    headers.get(REQUEST_ID).filter(is_sane).cloned().unwrap_or_else(new_request_id)
}

/// Unique among nodes by the process's random part, and within it by a count: nobody sorts or guesses
/// by it, so it needn't cost a random number a request.
fn new_request_id() -> HeaderValue {
    static PROCESS: LazyLock<[u8; 16]> = LazyLock::new(|| hex(RandomState::new().hash_one(std::process::id())));
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let mut id = [b'-'; REQUEST_ID_LEN];
    id[..16].copy_from_slice(&*PROCESS);
    id[17..].copy_from_slice(&hex(COUNT.fetch_add(1, Ordering::Relaxed)));
    HeaderValue::from_bytes(&id).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// A number in 16 digits, without the formatter that takes any.
fn hex(number: u64) -> [u8; 16] {
    std::array::from_fn(|place| b"0123456789abcdef"[(number >> (60 - 4 * place) & 15) as usize])
}

/// Logs a 5xx, once, here. A mistake of ours is always logged; that something is away or full is logged
/// once a second, with how many there were, as every request says so then.
fn log_failure(
    id: &HeaderValue,
    trace_id: Option<&str>,
    method: &Method,
    route: Option<&str>,
    status: StatusCode,
    problem: Option<&Problem>,
) {
    static UNAVAILABLE: Sampled = Sampled::new();
    let request_id = id.to_str().unwrap_or_default();
    let route = route.unwrap_or(crate::measures::UNMATCHED);
    let code = problem.map_or("", |problem| problem.kind().code());
    let cause = problem.map_or("", Problem::cause);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        if let Some(others) = UNAVAILABLE.next() {
            tracing::warn!(request_id, trace_id, %method, route, code, cause, others, "requests were answered 503");
        }
    } else {
        tracing::error!(request_id, trace_id, %method, route, %status, code, cause, "a request failed");
    }
}

/// Lets one through a second and counts the others.
struct Sampled {
    second: AtomicU64,
    held_back: AtomicU64,
}

impl Sampled {
    const fn new() -> Self {
        Self { second: AtomicU64::new(0), held_back: AtomicU64::new(0) }
    }

    /// How many were held back since the last one, if this one may go.
    fn next(&self) -> Option<u64> {
        static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
        let second = BEGAN.elapsed().as_secs() + 1;
        if self.second.swap(second, Ordering::Relaxed) == second {
            self.held_back.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.held_back.swap(0, Ordering::Relaxed))
    }
}

/// Keeps what is refused with 400 or 422, with its original bytes, in the `rejected` topic.
pub(crate) async fn keep_refused(State(api): State<ApiState>, mut request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let received = Received::default();
    request.extensions_mut().insert(received.clone());
    let uri = request.uri().clone();
    let response = next.run(request).await;
    let is_refused = matches!(response.status(), StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY);
    if is_refused && let Some(problem) = response.extensions().get::<Arc<Problem>>() {
        refused::keep(&api, vec![refused::whole(uri.path(), &received.bytes(), problem)]);
    }
    response
}
