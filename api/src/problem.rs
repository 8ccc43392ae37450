//! Every way in which a request fails: one table of problem types, and the RFC 9457 body.
//!
//! A [`Problem`] becomes a response without a body; the outermost middleware writes the body, because
//! only it knows the request's id. **Invariant:** whatever is routed answers an error with
//! `application/problem+json`.

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use pulsegate_domain::account::Verdict;
use pulsegate_domain::ids::SessionId;
use pulsegate_projections::hot_view::AsOf;
use pulsegate_write_side::problems::{BodyError, FieldProblem, in_one_line};
use serde::Serialize;

use crate::playback::{CommandError, Stamp};

/// The media type of every problem.
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// When a request that was not served should come back, in seconds.
pub(crate) const RETRY_AFTER_S: u64 = 1;

macro_rules! problems {
    ($($(#[$doc:meta])* $kind:ident = $code:literal, $status:ident, $title:literal;)+) => {
        /// A type of problem: a row of the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ProblemKind { $($(#[$doc])* $kind),+ }

        impl ProblemKind {
            /// Every row.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// The word by which programs know it; its `type` is `/problems/<code>`.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$kind => $code),+ }
            }

            /// The status of the response.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status),+ }
            }

            /// The short sentence by which people know it, the same each time.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$kind => $title),+ }
            }

            /// The path at which its page is served, and its `type`.
            #[must_use]
            pub const fn path(self) -> &'static str {
                match self { $(Self::$kind => concat!("/problems/", $code)),+ }
            }

            /// The page: what it means and what to do, as Markdown.
            #[must_use]
            pub const fn page(self) -> &'static str {
                match self { $(Self::$kind => include_str!(concat!("../../docs/problems/", $code, ".md"))),+ }
            }
        }
    };
}

problems! {
    /// Not JSON, or a key stands twice in an object.
    MalformedJson = "malformed-json", BAD_REQUEST, "The body is not JSON that every reader reads alike";
    /// The body's content encoding cannot be undone, or the body broke off.
    UnreadableBody = "unreadable-body", BAD_REQUEST, "The body could not be read";
    /// Nobody said who calls, or what was shown is not good.
    Unauthenticated = "unauthenticated", UNAUTHORIZED, "Who calls is not known";
    /// Who calls may not do this.
    Forbidden = "forbidden", FORBIDDEN, "The caller may not do this";
    /// No route has this path.
    NotFound = "not-found", NOT_FOUND, "Nothing is at this path";
    /// The account has no such session, or it was forgotten.
    SessionUnknown = "session-unknown", NOT_FOUND, "The account has no such session";
    /// The catalog has no such policy, title, rights holder or contract.
    EntityUnknown = "entity-unknown", NOT_FOUND, "The catalog has no such entry";
    /// The path has a route, the method none.
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "The path does not take this method";
    /// The body did not arrive in time.
    RequestTimeout = "request-timeout", REQUEST_TIMEOUT, "The body did not arrive in time";
    /// A rule of the account's policy is full.
    ConcurrencyLimitReached = "concurrency-limit-reached", CONFLICT, "Too many streams at once";
    /// A session has one device and one title.
    SessionMismatch = "session-mismatch", CONFLICT, "The session runs on another device or shows another title";
    /// A statement is closed already, or not yet, or can't be closed as it is.
    StatementRefused = "statement-refused", CONFLICT, "The statement can't be closed or restated so";
    /// An ended session never runs again.
    SessionEnded = "session-ended", GONE, "The session has ended";
    /// It was changed since the asker looked at it.
    VersionConflict = "version-conflict", PRECONDITION_FAILED, "It was changed since you looked at it";
    /// The body is too long, as sent or when decompressed.
    TooLarge = "too-large", PAYLOAD_TOO_LARGE, "The body is too large";
    /// The body is of a type, or in an encoding, that the route does not read.
    UnsupportedMediaType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "The body is of an unsupported type";
    /// The file has no such bytes.
    RangeNotSatisfiable = "range-not-satisfiable", RANGE_NOT_SATISFIABLE, "The file has no such range";
    /// Well-formed, but wrong.
    Invalid = "invalid", UNPROCESSABLE_ENTITY, "The request is well-formed but wrong";
    /// A session id so old that its session may have been forgotten.
    SessionTooOld = "session-too-old", UNPROCESSABLE_ENTITY, "The session id is too old to start with";
    /// A heartbeat's sequence is too far above the last one's.
    SequenceJump = "sequence-jump", UNPROCESSABLE_ENTITY, "The sequence is too far ahead";
    /// More than one caller may ask.
    RateLimited = "rate-limited", TOO_MANY_REQUESTS, "The caller asks too often";
    /// A mistake of ours.
    Internal = "internal-error", INTERNAL_SERVER_ERROR, "The service made a mistake";
    /// The log or the database did not answer in time.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "The service cannot answer for now";
    /// More requests than this node takes at once.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "The node has too much to do";
    /// The answer took too long.
    TimedOut = "timed-out", SERVICE_UNAVAILABLE, "The answer took too long";
}

impl ProblemKind {
    /// The row of a code.
    #[must_use]
    pub fn of(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.code() == code)
    }
}

/// What an answer about a session says beside being a problem.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Which session.
    pub session_id: SessionId,
    /// May it run, and why not; as of where.
    pub verdict: Option<(Verdict, Stamp)>,
}

/// A request that fails: its type, what exactly happened, and what is worth knowing beside.
#[derive(Clone, Debug)]
pub struct Problem {
    kind: ProblemKind,
    detail: Cow<'static, str>,
    errors: Vec<FieldProblem>,
    retry_after_s: Option<u64>,
    judged: Option<Box<Judged>>,
    cause: String,
}

impl Problem {
    /// A problem of `kind`; `detail` says what exactly happened.
    #[must_use]
    pub fn new(kind: ProblemKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after_s: None,
            judged: None,
            cause: String::new(),
        }
    }

    /// A well-formed request with these mistakes.
    #[must_use]
    pub fn invalid(errors: Vec<FieldProblem>) -> Self {
        let detail = in_one_line(&errors);
        Self { errors, ..Self::new(ProblemKind::Invalid, detail) }
    }

    /// A well-formed request with one mistake.
    #[must_use]
    pub fn invalid_field(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::invalid(vec![FieldProblem::new(pointer, detail)])
    }

    /// The catalog has no entry of that id.
    #[must_use]
    pub fn entity_unknown(what: &'static str, id: &impl Display) -> Self {
        Self::new(ProblemKind::EntityUnknown, format!("there is no {what} {id}"))
    }

    /// A mistake of ours. Its cause is for the log and never shown.
    #[must_use]
    pub fn internal(cause: &impl Display) -> Self {
        Self::new(ProblemKind::Internal, "an unexpected failure; the log has it under this request id").because(cause)
    }

    /// Says why, in the log only.
    #[must_use]
    pub fn because(mut self, cause: &impl Display) -> Self {
        self.cause = cause.to_string();
        self
    }

    /// Says when to try again, in seconds.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Adds the verdict and where it was read.
    #[must_use]
    pub fn judged(mut self, judged: Judged) -> Self {
        self.judged = Some(Box::new(judged));
        self
    }

    /// Its type.
    #[must_use]
    pub const fn kind(&self) -> ProblemKind {
        self.kind
    }

    /// What exactly happened.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The mistakes with their places.
    #[must_use]
    pub fn errors(&self) -> &[FieldProblem] {
        &self.errors
    }

    /// The verdict that it carries, and as of where.
    #[must_use]
    pub fn verdict(&self) -> Option<&(Verdict, Stamp)> {
        self.judged.as_ref()?.verdict.as_ref()
    }

    /// Why, for the log; empty where there is nothing to add.
    #[must_use]
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// The body of the response to the request `request_id`.
    #[must_use]
    pub fn body(&self, request_id: &str) -> Vec<u8> {
        let judged = self.judged.as_deref();
        let verdict = judged.and_then(|judged| judged.verdict.as_ref());
        let stamp = verdict.map(|(_, stamp)| stamp);
        let wire = Wire {
            r#type: self.kind.path(),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: &self.detail,
            code: self.kind.code(),
            errors: &self.errors,
            request_id,
            session_id: judged.map(|judged| judged.session_id),
            verdict: verdict.map(|(verdict, _)| verdict),
            as_of: stamp.map(|stamp| stamp.as_of),
            provisional: stamp.is_some_and(|stamp| stamp.provisional),
            stale_ms: stamp.and_then(|stamp| stamp.stale_ms),
        };
        // Writing to memory fails only where a map's key is not text, and there is no map here.
        serde_json::to_vec(&wire).unwrap_or_default()
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::NotJson { detail } => Self::new(ProblemKind::MalformedJson, detail),
            BodyError::Invalid(errors) => Self::invalid(errors),
        }
    }
}

const fn kind_of(error: &CommandError) -> ProblemKind {
    match error {
        CommandError::Blocked { .. } => ProblemKind::ConcurrencyLimitReached,
        CommandError::Ended { .. } => ProblemKind::SessionEnded,
        CommandError::SessionMismatch(_) => ProblemKind::SessionMismatch,
        CommandError::SessionTooOld(_) => ProblemKind::SessionTooOld,
        CommandError::SequenceJump(_) => ProblemKind::SequenceJump,
        CommandError::SessionUnknown => ProblemKind::SessionUnknown,
        CommandError::ContractUnknown(_) => ProblemKind::EntityUnknown,
        CommandError::VersionConflict { .. } => ProblemKind::VersionConflict,
        CommandError::Invalid(_) => ProblemKind::Invalid,
        CommandError::Overloaded => ProblemKind::Overloaded,
        CommandError::Unavailable { .. } => ProblemKind::Unavailable,
        CommandError::TooLarge => ProblemKind::TooLarge,
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        let problem = Self::new(kind_of(&error), error.to_string());
        match error {
            CommandError::Blocked { session_id, verdict, stamp }
            | CommandError::Ended { session_id, verdict, stamp } => {
                problem.judged(Judged { session_id, verdict: Some((verdict, stamp)) })
            }
            CommandError::SessionMismatch(session_id) | CommandError::SessionTooOld(session_id) => {
                problem.judged(Judged { session_id, verdict: None })
            }
            CommandError::Invalid(errors) => Self::invalid(errors),
            CommandError::Overloaded | CommandError::Unavailable { .. } => problem.retry_after(RETRY_AFTER_S),
            CommandError::SequenceJump(_)
            | CommandError::SessionUnknown
            | CommandError::ContractUnknown(_)
            | CommandError::VersionConflict { .. }
            | CommandError::TooLarge => problem,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.kind.status().into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, PROBLEM_JSON);
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if self.kind == ProblemKind::Unauthenticated {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"pulsegate\""));
        }
        if self.kind == ProblemKind::UnsupportedMediaType {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

#[derive(Serialize)]
struct Wire<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldProblem],
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<SessionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'a Verdict>,
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of: Option<AsOf>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    provisional: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let table: Vec<_> = ProblemKind::ALL
            .iter()
            .map(|kind| format!("{} {}: {}", kind.status().as_u16(), kind.code(), kind.title()))
            .collect();
        insta::assert_snapshot!(table.join("\n"), @r"
        400 malformed-json: The body is not JSON that every reader reads alike
        400 unreadable-body: The body could not be read
        401 unauthenticated: Who calls is not known
        403 forbidden: The caller may not do this
        404 not-found: Nothing is at this path
        404 session-unknown: The account has no such session
        404 entity-unknown: The catalog has no such entry
        405 method-not-allowed: The path does not take this method
        408 request-timeout: The body did not arrive in time
        409 concurrency-limit-reached: Too many streams at once
        409 session-mismatch: The session runs on another device or shows another title
        409 statement-refused: The statement can't be closed or restated so
        410 session-ended: The session has ended
        412 version-conflict: It was changed since you looked at it
        413 too-large: The body is too large
        415 unsupported-media-type: The body is of an unsupported type
        416 range-not-satisfiable: The file has no such range
        422 invalid: The request is well-formed but wrong
        422 session-too-old: The session id is too old to start with
        422 sequence-jump: The sequence is too far ahead
        429 rate-limited: The caller asks too often
        500 internal-error: The service made a mistake
        503 unavailable: The service cannot answer for now
        503 overloaded: The node has too much to do
        503 timed-out: The answer took too long
        ");
    }

    #[test]
    fn each_type_has_a_page_that_names_it_and_each_page_a_type() {
        for kind in ProblemKind::ALL {
            let heading = format!("# {}\n\n`{}` · status {}\n", kind.title(), kind.code(), kind.status().as_u16());
            assert!(kind.page().starts_with(&heading), "docs/problems/{}.md must begin with\n{heading}", kind.code());
            assert_eq!(ProblemKind::of(kind.code()), Some(*kind), "two rows have the code {}", kind.code());
        }
        let pages = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/problems")).unwrap();
        for page in pages {
            let name = page.unwrap().file_name().into_string().unwrap();
            let code = name.strip_suffix(".md").unwrap_or(&name);
            assert!(ProblemKind::of(code).is_some(), "docs/problems/{name} describes no type");
        }
    }

    #[test]
    fn a_body_leaves_out_what_it_does_not_know() {
        let body = Problem::new(ProblemKind::NotFound, "nothing is at /x").body("r-1");
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "type": "/problems/not-found", "title": "Nothing is at this path", "status": 404,
                "detail": "nothing is at /x", "code": "not-found", "request_id": "r-1"
            })
        );
    }

    #[test]
    fn every_mistake_is_told_in_the_detail_and_with_its_place() {
        let one = Problem::invalid_field("/rate", "must be 0-16");
        assert_eq!(one.detail(), "/rate must be 0-16");
        let two = Problem::invalid([one.errors(), one.errors()].concat());
        assert_eq!((two.detail(), two.errors().len()), ("/rate must be 0-16; /rate must be 0-16", 2));
    }
}
