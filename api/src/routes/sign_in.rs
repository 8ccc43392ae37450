//! People sign in and out, and ask who they are.

use axum::Router;
use axum::extract::{RawQuery, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use chrono::Utc;
use http::header::{LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use pulsegate_callers::Scope;
use pulsegate_callers::sign_in::{LOGIN_MAX, SignIn, SignInError};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer;
use crate::callers::{By, Caller, Cookie, is_own};
use crate::extract::{Text, query};
use crate::problem::{Problem, ProblemKind};
use crate::state::ApiState;

/// The routes here that are no pages, for the measures.
pub(crate) const PATHS: &[&str] = &["/login", "/login/callback", "/logout"];

/// What a browser does, which is no part of the API.
pub(super) fn routes() -> Router<ApiState> {
    Router::new().route("/login", get(login)).route("/login/callback", get(callback)).route("/logout", post(logout))
}

pub(super) fn described() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(me))
}

/// Who calls, and what they may do.
#[derive(Serialize, ToSchema)]
pub(crate) struct Me {
    /// `anyone` where everything is open; `player`, `server` or `person`.
    #[schema(example = "person")]
    kind: &'static str,
    /// The account of a player, the id of a server's key, what the provider calls a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// What people call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Its scopes.
    #[schema(value_type = Vec<String>)]
    scopes: Vec<&'static str>,
    /// When it must show who it is again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    until: Option<chrono::DateTime<Utc>>,
}

/// Ask who you are
///
/// By the token, the key or the session that the request shows.
#[utoipa::path(
    get, path = "/v1/me", tag = "operation",
    responses((status = 200, description = "Who calls, and what they may do.", body = Me))
)]
async fn me(By(caller): By) -> Response {
    let until = |seconds: i64| chrono::DateTime::from_timestamp(seconds, 0);
    let words = |scopes: pulsegate_callers::Scopes| scopes.iter().map(Scope::as_str).collect();
    answer::ok(&match caller {
        Caller::Anyone | Caller::Node => {
            Me { kind: "anyone", id: None, name: None, scopes: Scope::ALL.map(Scope::as_str).to_vec(), until: None }
        }
        Caller::Player(player) => Me {
            kind: "player",
            id: Some(player.account_id.to_string()),
            name: None,
            scopes: Vec::new(),
            until: until(player.expires_at),
        },
        Caller::Server(server) => Me {
            kind: "server",
            id: Some(server.id.clone()),
            name: Some(server.name.clone()),
            scopes: words(server.scopes),
            until: None,
        },
        Caller::Person(person) => Me {
            kind: "person",
            id: Some(person.subject.clone()),
            name: Some(person.name.clone()),
            scopes: words(person.scopes),
            until: until(person.expires_at),
        },
    })
}

/// Leads a browser to the provider.
async fn login(State(api): State<ApiState>, RawQuery(raw): RawQuery, request: Request) -> Result<Response, Problem> {
    let sign_in = sign_in(&api)?;
    api.settings().callers.limit_sign_in(&request)?;
    let to = query::<Text>(raw.as_deref(), "to")?.map_or_else(|| "/".to_owned(), |Text(to)| to);
    let begun = sign_in.begin(&to, now()).await.map_err(problem)?;
    Ok(see(&begun.location, [Cookie::Login.set(sign_in, &begun.cookie, LOGIN_MAX.as_secs())]))
}

/// The browser is back from the provider.
async fn callback(State(api): State<ApiState>, RawQuery(raw): RawQuery, request: Request) -> Result<Response, Problem> {
    let sign_in = sign_in(&api)?;
    api.settings().callers.limit_sign_in(&request)?;
    let cookie = Cookie::Login.of(sign_in, request.headers()).unwrap_or_default();
    let signed_in = match sign_in.finish(raw.as_deref().unwrap_or_default(), &cookie, now()).await {
        Ok(signed_in) => signed_in,
        Err(error @ (SignInError::NotBegun | SignInError::Refused(_))) => {
            tracing::info!(%error, "nobody was signed in");
            return Ok(see("/signed-out?why=refused", [Cookie::Login.set(sign_in, "", 0)]));
        }
        Err(error) => return Err(problem(error)),
    };
    let life = sign_in.session_life().as_secs();
    let cookies = [Cookie::Session.set(sign_in, &signed_in.cookie, life), Cookie::Login.set(sign_in, "", 0)];
    tracing::info!(subject = signed_in.person.subject, scopes = %signed_in.person.scopes, "signed in");
    let to = if signed_in.person.scopes.is_empty() { "/signed-out?why=no-role" } else { &signed_in.to };
    Ok(see(to, cookies))
}

/// Ends the session of a browser.
async fn logout(State(api): State<ApiState>, headers: HeaderMap) -> Result<Response, Problem> {
    let sign_in = sign_in(&api)?;
    if !is_own(&Method::POST, &headers, sign_in) {
        return Err(Problem::new(ProblemKind::Forbidden, "only a page of this deployment signs out"));
    }
    Ok(see("/signed-out", [Cookie::Session.set(sign_in, "", 0)]))
}

/// Around the pages: who is not signed in is led to sign in, where people do.
pub(super) async fn sign_in_first(State(api): State<ApiState>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_page = *request.method() == Method::GET && !path.contains('.') && !path.starts_with("/problems/");
    let Ok(sign_in) = sign_in(&api) else { return next.run(request).await };
    if !is_page || path == "/signed-out" {
        return next.run(request).await;
    }
    let person = Cookie::Session.of(sign_in, request.headers()).and_then(|cookie| sign_in.person(&cookie, now()));
    if person.is_some() {
        return next.run(request).await;
    }
    let to = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let mut location = String::from("/login?to=");
    for byte in to.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            location.push(char::from(byte));
        } else {
            use std::fmt::Write as _;
            // Writing to a string doesn't fail.
            let _ = write!(location, "%{byte:02X}");
        }
    }
    see(&location, [])
}

fn sign_in(api: &ApiState) -> Result<&SignIn, Problem> {
    let nobody = || Problem::new(ProblemKind::NotFound, "nobody signs in here: no OpenID provider is configured");
    api.settings().callers.sign_in().ok_or_else(nobody)
}

fn see<const N: usize>(location: &str, cookies: [Option<HeaderValue>; N]) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::try_from(location).unwrap_or(HeaderValue::from_static("/")));
    for cookie in cookies.into_iter().flatten() {
        headers.append(SET_COOKIE, cookie);
    }
    response
}

#[expect(clippy::needless_pass_by_value, reason = "it is what an error is mapped by")]
fn problem(error: SignInError) -> Problem {
    let kind = match &error {
        SignInError::NotBegun | SignInError::Refused(_) | SignInError::Token(_) => ProblemKind::Unauthenticated,
        SignInError::Provider(_) => ProblemKind::Unavailable,
        SignInError::NoRandom => return Problem::internal(&error),
    };
    let problem = Problem::new(kind, error.to_string()).because(&error);
    if kind == ProblemKind::Unavailable { problem.retry_after(crate::problem::RETRY_AFTER_S) } else { problem }
}

fn now() -> i64 {
    Utc::now().timestamp()
}
