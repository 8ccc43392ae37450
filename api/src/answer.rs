//! What requests are answered with: the shapes, and how they become responses.

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, StatusCode};
use pulsegate_domain::account::{SessionView, Verdict};
use pulsegate_domain::ids::{AccountId, SessionId};
use pulsegate_projections::hot_view::AsOf;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::measures::Measures;
use crate::playback::{
    AccountSessions, Answered, BatchOutcome, ItemRejected, LineRejected, LogOutcome, SignalOutcome, Stamp, Started,
};
use crate::problem::{Problem, ProblemKind, RETRY_AFTER_S};
use crate::schema;

/// Room for most answers.
const USUAL_BYTES: usize = 512;

/// A JSON response, written straight to its bytes.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    if let Err(error) = serde_json::to_writer(&mut bytes, body) {
        return Problem::internal(&error).into_response();
    }
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// `200` with a JSON body.
pub(crate) fn ok(body: &impl Serialize) -> Response {
    json(StatusCode::OK, body)
}

/// A session with its account.
#[derive(Serialize)]
pub(crate) struct AccountSession<'a> {
    account_id: &'a AccountId,
    #[serde(flatten)]
    session: &'a SessionView,
}

/// A session that got its slot.
#[derive(Serialize, ToSchema)]
pub(crate) struct StartAnswer<'a> {
    #[schema(value_type = schema::Session)]
    session: AccountSession<'a>,
    #[schema(value_type = schema::Verdict)]
    verdict: &'a Verdict,
    #[schema(value_type = schema::AsOf)]
    as_of: AsOf,
    /// How often to send a heartbeat.
    heartbeat_interval_ms: u64,
    /// Whether the answer was made from less than the whole log up to its own event; absent where not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    provisional: bool,
    /// How old the node's view is, in milliseconds; absent while it is fresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_ms: Option<u64>,
}

/// The verdict on a heartbeat.
#[derive(Serialize, ToSchema)]
pub(crate) struct HeartbeatAnswer {
    /// Null for a heartbeat that came too late to open the session that it names.
    #[schema(value_type = Option<schema::Verdict>, required = true)]
    verdict: Option<Verdict>,
    #[schema(value_type = schema::AsOf)]
    as_of: AsOf,
    next_heartbeat_in_ms: u64,
    /// Whether the answer was made from less than the whole log up to its own event; absent where not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    provisional: bool,
    /// How old the node's view is, in milliseconds; absent while it is fresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_ms: Option<u64>,
}

/// The verdict on a session.
#[derive(Serialize, ToSchema)]
pub(crate) struct VerdictAnswer {
    #[schema(value_type = Option<schema::Verdict>, required = true)]
    verdict: Option<Verdict>,
    #[schema(value_type = schema::AsOf)]
    as_of: AsOf,
    /// How often to ask or send a heartbeat.
    heartbeat_interval_ms: u64,
    /// For how long it was waited for; absent where it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    waited_ms: Option<u64>,
    /// Whether the answer was made from less than the whole log; absent where not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    provisional: bool,
    /// How old the node's view is, in milliseconds; absent while it is fresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_ms: Option<u64>,
}

/// The sessions of an account.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionsAnswer<'a> {
    /// The live and waiting ones, oldest first.
    #[schema(value_type = Vec<schema::Session>)]
    sessions: Vec<AccountSession<'a>>,
    #[schema(value_type = schema::AsOf)]
    as_of: AsOf,
    /// Whether the answer was made from less than the whole log; absent where not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    provisional: bool,
    /// How old the node's view is, in milliseconds; absent while it is fresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_ms: Option<u64>,
}

/// An item of a batch that does not stand in the log.
#[derive(Serialize, ToSchema)]
pub(crate) struct RejectedItem {
    /// Its index in the batch.
    index: usize,
    /// Why, for programs: a problem's code. `unavailable` and `overloaded` may be sent again as they are.
    code: &'static str,
    /// Why, for people.
    detail: String,
}

/// What became of a batch.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "accepted": 998, "rejected": [{"index": 17, "code": "invalid", "detail": "/position_ms is required"}]
}))]
pub(crate) struct BatchAnswer {
    /// How many stand in the log.
    accepted: usize,
    /// The others.
    rejected: Vec<RejectedItem>,
}

/// Why an item has no verdict.
#[derive(Serialize, ToSchema)]
pub(crate) struct ItemError {
    code: &'static str,
    detail: String,
}

/// The verdict on one signal, or why there is none.
#[derive(Serialize, ToSchema)]
pub(crate) struct SignalAnswer {
    /// Its index in the batch.
    index: usize,
    /// The session that it was given to.
    #[schema(value_type = Option<uuid::Uuid>, required = true)]
    session_id: Option<SessionId>,
    #[schema(value_type = Option<schema::Verdict>, required = true)]
    verdict: Option<Verdict>,
    #[schema(value_type = Option<schema::AsOf>, required = true)]
    as_of: Option<AsOf>,
    /// Whether the answer was made from less than the whole log up to its own event; absent where not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    provisional: bool,
    /// How old the node's view is, in milliseconds; absent while it is fresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_ms: Option<u64>,
    /// Absent where there is a verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ItemError>,
}

/// A verdict for each signal.
#[derive(Serialize, ToSchema)]
pub(crate) struct SignalsAnswer {
    verdicts: Vec<SignalAnswer>,
}

impl SignalsAnswer {
    /// Each signal without a verdict: its index, the code, the detail.
    pub(crate) fn errors(&self) -> impl Iterator<Item = (usize, &str, &str)> {
        let verdicts = self.verdicts.iter();
        verdicts
            .filter_map(|answer| answer.error.as_ref().map(|error| (answer.index, error.code, error.detail.as_str())))
    }

    /// The answers to a batch, counted. Nothing but items to be sent again is a batch to be sent again.
    pub(crate) fn of(outcomes: Vec<SignalOutcome>, measures: &Measures) -> Result<Self, Problem> {
        Self::merged(outcomes.into_iter().map(|outcome| SignalAnswer::of(outcome, measures)).collect())
    }
}

/// A start that got its slot.
pub(crate) fn started(started: &Started, heartbeat_interval_ms: u64, measures: &Measures) -> Response {
    let Started { account_id, session, stamp } = started;
    measures.verdict(&session.verdict, stamp);
    let answer = StartAnswer {
        session: AccountSession { account_id, session },
        verdict: &session.verdict,
        as_of: stamp.as_of,
        heartbeat_interval_ms,
        provisional: stamp.provisional,
        stale_ms: stamp.stale_ms,
    };
    let mut response = json(StatusCode::CREATED, &answer);
    let location = format!("/v1/accounts/{account_id}/sessions/{}", session.session_id);
    // Ids hold nothing that a header or a path would not take as it is.
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// The answer to a heartbeat.
pub(crate) fn heartbeat(answered: Answered, next_heartbeat_in_ms: u64, measures: &Measures) -> Response {
    let Answered { verdict, stamp: Stamp { as_of, provisional, stale_ms }, .. } = count(answered, measures);
    ok(&HeartbeatAnswer { verdict, as_of, next_heartbeat_in_ms, provisional, stale_ms })
}

/// The answer to a check or an eviction.
pub(crate) fn verdict(answered: Answered, heartbeat_interval_ms: u64, measures: &Measures) -> Response {
    ok(&VerdictAnswer::of(answered, heartbeat_interval_ms, None, measures))
}

/// The body of the answer to a check that waited.
pub(crate) fn verdict_body(
    answered: Answered,
    heartbeat_interval_ms: u64,
    waited_ms: Option<u64>,
    measures: &Measures,
) -> Vec<u8> {
    let answer = VerdictAnswer::of(answered, heartbeat_interval_ms, waited_ms, measures);
    // Writing to memory fails only where a map's key is not text, and there is no map here.
    serde_json::to_vec(&answer).unwrap_or_default()
}

impl VerdictAnswer {
    fn of(answered: Answered, heartbeat_interval_ms: u64, waited_ms: Option<u64>, measures: &Measures) -> Self {
        let Answered { verdict, stamp: Stamp { as_of, provisional, stale_ms }, .. } = count(answered, measures);
        Self { verdict, as_of, heartbeat_interval_ms, waited_ms, provisional, stale_ms }
    }
}

/// The answer to a licence server that may issue.
#[derive(Serialize, ToSchema)]
pub(crate) struct LicenceAnswer {
    /// The session that the question was given to.
    #[schema(value_type = Option<uuid::Uuid>, required = true)]
    session_id: Option<SessionId>,
    #[schema(value_type = Option<schema::Verdict>, required = true)]
    verdict: Option<Verdict>,
    #[schema(value_type = schema::AsOf)]
    as_of: AsOf,
    /// Whether the answer was made from less than the whole log up to its own event; absent where not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    provisional: bool,
    /// How old the node's view is, in milliseconds; absent while it is fresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_ms: Option<u64>,
}

/// The answer to a licence server that may issue.
pub(crate) fn licence(answered: Answered, measures: &Measures) -> Response {
    let Answered { session_id, verdict, stamp } = count(answered, measures);
    let Stamp { as_of, provisional, stale_ms } = stamp;
    ok(&LicenceAnswer { session_id, verdict, as_of, provisional, stale_ms })
}

/// A line of a log that was not taken.
#[derive(Serialize, ToSchema)]
pub(crate) struct RejectedLine {
    /// Its number, from 1.
    line: usize,
    /// Why, for programs: a problem's code. `unavailable` and `overloaded` may be sent again as they are.
    code: &'static str,
    /// Which field is wrong, where one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// Why, for people.
    detail: String,
}

/// What became of a log's lines.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "lines": 4_000, "accepted": 310, "thinned": 3_402, "too_old": 0, "ahead": 0, "not_media": 271, "not_served": 16,
    "refused": 1, "rejected": [{"line": 17, "code": "invalid", "field": "sc-status", "detail": "is \"x\", which is no status"}]
}))]
pub(crate) struct LogAnswer {
    /// How many said something.
    lines: usize,
    /// How many stand in the log as signals.
    accepted: usize,
    /// How many say nothing new: their viewing is known to be alive.
    thinned: usize,
    /// How many are older than their lease.
    too_old: usize,
    /// How many are of a time that has not come.
    ahead: usize,
    /// How many are of something else than manifests and segments.
    not_media: usize,
    /// How many are of requests that were not served.
    not_served: usize,
    /// How many could not be taken.
    refused: usize,
    /// The first 100 of these.
    rejected: Vec<RejectedLine>,
    /// Repeats what Firehose calls its delivery; absent otherwise.
    #[serde(rename = "requestId", skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    /// When it was answered, in milliseconds since 1970, for Firehose; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<i64>,
}

impl LogAnswer {
    /// The answer to lines; `delivery` is what Firehose calls them and when they were answered.
    pub(crate) fn of(outcome: LogOutcome, delivery: Option<(String, i64)>) -> Self {
        let (request_id, timestamp) = delivery.unzip();
        let line = |LineRejected { line, code, field, detail }| RejectedLine { line, code, field, detail };
        Self {
            lines: outcome.lines,
            accepted: outcome.accepted,
            thinned: outcome.thinned,
            too_old: outcome.too_old,
            ahead: outcome.ahead,
            not_media: outcome.not_media,
            not_served: outcome.not_served,
            refused: outcome.refused,
            rejected: outcome.rejected.into_iter().map(line).collect(),
            request_id,
            timestamp,
        }
    }
}

fn count(answered: Answered, measures: &Measures) -> Answered {
    if let Some(verdict) = &answered.verdict {
        measures.verdict(verdict, &answered.stamp);
    }
    answered
}

/// The sessions of an account.
pub(crate) fn sessions(found: &AccountSessions) -> Response {
    let AccountSessions { account_id, sessions, stamp: Stamp { as_of, provisional, stale_ms } } = found;
    ok(&SessionsAnswer {
        sessions: sessions.iter().map(|session| AccountSession { account_id, session }).collect(),
        as_of: *as_of,
        provisional: *provisional,
        stale_ms: *stale_ms,
    })
}

impl From<BatchOutcome> for BatchAnswer {
    fn from(outcome: BatchOutcome) -> Self {
        let rejected = outcome.rejected.into_iter();
        Self {
            accepted: outcome.accepted,
            rejected: rejected
                .map(|ItemRejected { index, code, detail }| RejectedItem { index, code, detail })
                .collect(),
        }
    }
}

/// What another node answered to one signal.
#[derive(Deserialize)]
pub(crate) struct SignalPassedOn {
    session_id: Option<SessionId>,
    verdict: Option<Verdict>,
    as_of: Option<AsOf>,
    #[serde(default)]
    provisional: bool,
    #[serde(default)]
    stale_ms: Option<u64>,
    #[serde(default)]
    error: Option<ErrorPassedOn>,
}

#[derive(Deserialize)]
struct ErrorPassedOn {
    code: String,
    detail: String,
}

impl SignalsAnswer {
    /// Of parts that several nodes answered, in order. Nothing but items to be sent again is a batch to be sent again.
    pub(crate) fn merged(mut verdicts: Vec<SignalAnswer>) -> Result<Self, Problem> {
        verdicts.sort_by_key(|answer| answer.index);
        let away = |answer: &SignalAnswer| {
            let error = answer.error.as_ref()?;
            let kind = ProblemKind::of(error.code)?;
            (kind.status() == StatusCode::SERVICE_UNAVAILABLE).then(|| (kind, error.detail.clone()))
        };
        match verdicts.first().and_then(away) {
            Some((kind, detail)) if verdicts.iter().all(|answer| away(answer).is_some()) => {
                Err(Problem::new(kind, detail).retry_after(RETRY_AFTER_S))
            }
            _ => Ok(Self { verdicts }),
        }
    }
}

impl SignalAnswer {
    /// As another node answered it, by its index in the whole batch.
    pub(crate) fn passed_on(index: usize, answer: SignalPassedOn) -> Self {
        let error = answer.error.map(|error| ItemError {
            code: ProblemKind::of(&error.code).unwrap_or(ProblemKind::Unavailable).code(),
            detail: error.detail,
        });
        Self {
            index,
            session_id: answer.session_id,
            verdict: answer.verdict,
            as_of: answer.as_of,
            provisional: answer.provisional,
            stale_ms: answer.stale_ms,
            error,
        }
    }

    /// The node that should judge it says that it can't now.
    pub(crate) const fn away(index: usize, detail: String) -> Self {
        let error = Some(ItemError { code: ProblemKind::Unavailable.code(), detail });
        Self { index, session_id: None, verdict: None, as_of: None, provisional: false, stale_ms: None, error }
    }

    pub(crate) fn of(outcome: SignalOutcome, measures: &Measures) -> Self {
        if let (Some(verdict), Some(stamp)) = (&outcome.verdict, &outcome.stamp) {
            measures.verdict(verdict, stamp);
        }
        Self {
            index: outcome.index,
            session_id: outcome.session_id,
            verdict: outcome.verdict,
            as_of: outcome.stamp.map(|stamp| stamp.as_of),
            provisional: outcome.stamp.is_some_and(|stamp| stamp.provisional),
            stale_ms: outcome.stamp.and_then(|stamp| stamp.stale_ms),
            error: outcome.error.map(|ItemRejected { code, detail, .. }| ItemError { code, detail }),
        }
    }
}
