//! Sessions: start, stop, evict, and what is known of them.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::StatusCode;
use pulsegate_write_side::request::{parse_evict, parse_start, parse_stop};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer::{self, SessionsAnswer, StartAnswer, VerdictAnswer};
use crate::callers::By;
use crate::extract::{BeaconBody, JsonBody, PathIds, query};
use crate::instant::Instant;
use crate::problem::Problem;
use crate::schema;
use crate::schema::requests::{EvictRequest, StartRequest, StopRequest};
use crate::state::ApiState;
use crate::wait::{self, Since, VerdictEvent, WaitTime};

pub(super) fn taking_in() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        // `GET` of the same path stands here, because a path is one route whatever the method.
        .routes(routes!(start, list))
        .routes(routes!(stop))
        .routes(routes!(stop_by_beacon))
        .routes(routes!(evict))
}

pub(super) fn asking() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(verdict)).routes(routes!(verdicts))
}

/// Start a session
///
/// The start is appended to the log and answered from the fold right after it: `as_of` is its own place in the
/// log. A retry with the same `session_id` is the same start. Blocked is 409 with the verdict: the session waits; to ask
/// again, start it again.
#[utoipa::path(
    post, path = "/v1/accounts/{account}/sessions", tag = "playback",
    params(("account" = String, Path, description = "Whose stream.")),
    request_body = StartRequest,
    responses(
        (status = 201, description = "The session has its slot.", body = StartAnswer,
         headers(("Location" = String, description = "The session's path."))),
        (status = 409, description = "`concurrency-limit-reached` with the verdict, or `session-mismatch`.",
         body = schema::Problem, content_type = "application/problem+json"),
        (status = 410, description = "`session-ended`, with the verdict.",
         body = schema::Problem, content_type = "application/problem+json"),
    )
)]
async fn start(
    State(api): State<ApiState>,
    by: By,
    ids: PathIds,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let request = by.start(parse_start(ids.account()?, &body)?)?;
    let started = api.playback().start(request).await?;
    Ok(answer::started(&started, api.settings().heartbeat_interval_ms, api.measures()))
}

/// List an account's sessions
///
/// Those that are live: that hold a slot or wait for one. With `as_of` as they were then, rebuilt from the log.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/sessions", tag = "playback",
    params(
        ("account" = String, Path, description = "Whose streams."),
        ("as_of" = Option<chrono::DateTime<chrono::Utc>>, Query, description = "RFC 3339; now where absent."),
    ),
    responses((status = 200, description = "The sessions, oldest first.", body = SessionsAnswer))
)]
async fn list(State(api): State<ApiState>, by: By, ids: PathIds, RawQuery(raw): RawQuery) -> Result<Response, Problem> {
    let account = ids.account()?;
    let found = match query::<Instant>(raw.as_deref(), "as_of")? {
        Some(Instant(at)) => {
            by.replay()?;
            api.playback().sessions_as_of(&account, at).await?
        }
        None => api.playback().sessions(&account).await?,
    };
    Ok(answer::sessions(&found))
}

/// Stop a session
///
/// Also a session that nobody has heard of, and also the second time.
#[utoipa::path(
    delete, path = "/v1/accounts/{account}/sessions/{session}", tag = "playback",
    params(
        ("account" = String, Path, description = "Whose stream."),
        ("session" = uuid::Uuid, Path, description = "Which session."),
    ),
    responses((status = 204, description = "It has ended."))
)]
async fn stop(State(api): State<ApiState>, ids: PathIds) -> Result<StatusCode, Problem> {
    api.playback().stop(parse_stop(ids.account()?, ids.session()?, b"")?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Stop a session by beacon
///
/// For `navigator.sendBeacon`: the body may call itself `text/plain`, and may be left out.
#[utoipa::path(
    post, path = "/v1/accounts/{account}/sessions/{session}/stop", tag = "playback",
    params(
        ("account" = String, Path, description = "Whose stream."),
        ("session" = uuid::Uuid, Path, description = "Which session."),
    ),
    request_body(content((StopRequest = "application/json"), (StopRequest = "text/plain"))),
    responses((status = 204, description = "It has ended."))
)]
async fn stop_by_beacon(
    State(api): State<ApiState>,
    ids: PathIds,
    BeaconBody(body): BeaconBody,
) -> Result<StatusCode, Problem> {
    api.playback().stop(parse_stop(ids.account()?, ids.session()?, &body)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Evict a session
///
/// From outside: a remote kill. Its player is told at its next heartbeat or check, for ever. The second time it is
/// answered with how the session ended.
#[utoipa::path(
    post, path = "/v1/accounts/{account}/sessions/{session}/evict", tag = "playback",
    params(
        ("account" = String, Path, description = "Whose stream."),
        ("session" = uuid::Uuid, Path, description = "Which session."),
    ),
    request_body = EvictRequest,
    responses(
        (status = 200, description = "It has ended.", body = VerdictAnswer),
        (status = 404, description = "`session-unknown`.",
         body = schema::Problem, content_type = "application/problem+json"),
    )
)]
async fn evict(
    State(api): State<ApiState>,
    by: By,
    ids: PathIds,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let request = by.evict(parse_evict(ids.account()?, ids.session()?, &body)?);
    let answered = api.playback().evict(request).await?;
    Ok(answer::verdict(answered, api.settings().heartbeat_interval_ms, api.measures()))
}

/// Ask whether a session is blocked
///
/// From memory, in microseconds, and between events: a lease that has run out is seen without one. With `wait` the answer
/// comes as soon as the verdict says something else than now, or `since`; else at the end of the wait.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/sessions/{session}/verdict", tag = "playback",
    params(
        ("account" = String, Path, description = "Whose stream."),
        ("session" = uuid::Uuid, Path, description = "Which session."),
        ("wait" = Option<String>, Query, description = "For how long at most: up to `60s`, or in `ms`.", example = "30s"),
        ("since" = Option<String>, Query, example = "limit_reached",
         description = "What is known already: `allow`, `room` (blocked, and asking now would get a slot), or the reason. \
                        Where it isn't so any more, there is no wait."),
    ),
    responses(
        (status = 200, description = "The verdict, also for an ended session; null where it was forgotten during the wait.",
         body = VerdictAnswer),
        (status = 404, description = "`session-unknown`.",
         body = schema::Problem, content_type = "application/problem+json"),
    )
)]
async fn verdict(State(api): State<ApiState>, ids: PathIds, RawQuery(raw): RawQuery) -> Result<Response, Problem> {
    let (account, session) = (ids.account()?, ids.session()?);
    let since = query::<Since>(raw.as_deref(), "since")?.map(|Since(word)| word);
    let Some(WaitTime(wait)) = query(raw.as_deref(), "wait")? else {
        let answered = api.playback().verdict(&account, session).await?;
        return Ok(answer::verdict(answered, api.settings().heartbeat_interval_ms, api.measures()));
    };
    if !api.playback().has_in_memory(&account) {
        // Nothing that could wake it is folded here: who asks again is passed on to where it is.
        let answered = api.playback().verdict(&account, session).await?;
        return Ok(answer::verdict(answered, api.settings().heartbeat_interval_ms, api.measures()));
    }
    let answered = api.playback().verdict_after(&account, session, since, wait)?;
    Ok(wait::verdict(api, answered))
}

/// Follow an account's verdicts
///
/// As server-sent events: `verdict` for each live session at first, then for each whose verdict says something else than
/// when it was last told; `bye` at the end, which comes after 15 minutes or when the node stops. A browser's `EventSource`
/// comes back by itself.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/verdicts", tag = "playback",
    params(("account" = String, Path, description = "Whose streams.")),
    responses((status = 200, description = "The data of each `verdict` event.", body = VerdictEvent,
               content_type = "text/event-stream"))
)]
async fn verdicts(State(api): State<ApiState>, ids: PathIds) -> Result<Response, Problem> {
    let following = api.playback().follow(&ids.account()?)?;
    Ok(wait::verdicts(api, following))
}
