//! A router over a log and a database that are away, and a way to ask it.

use std::sync::LazyLock;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use pulsegate_api::playback::{Playback, PlaybackSettings};
use pulsegate_api::{ApiSettings, ApiState, Reads};
use pulsegate_domain::topic::TopicNames;
use pulsegate_projections::catalog_view::CatalogView;
use pulsegate_projections::hot_view::{HotView, Snapshot};
use pulsegate_projections::reader::ReaderSettings;
use pulsegate_write_side::{EventLog, LogSettings};
use serde_json::Value;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tower::ServiceExt as _;

pub(crate) const SESSION: &str = "3f2b8c1e-5d7a-4e90-9b3c-1a2b3c4d5e6f";
pub(crate) const START: &str = r#"{"device_id":"tv-1","title_id":"t-1"}"#;

/// Nothing listens there.
const NOWHERE: &str = "127.0.0.1:1";

static PLAYBACK: LazyLock<(Playback, ReaderSettings)> =
    LazyLock::new(|| playback(NOWHERE, TopicNames::new("nowhere.")));

/// Playback over a log, away or not.
pub(crate) fn playback(kafka: &str, topics: TopicNames) -> (Playback, ReaderSettings) {
    let mut log = LogSettings::new(kafka, topics.clone());
    log.ack_timeout = Duration::from_millis(100);
    let reader = ReaderSettings { client: log.client.clone(), topics, partitions: log.partitions };
    let catalog = CatalogView::start(&reader).unwrap();
    let view = HotView::start(&reader, catalog.clone(), Snapshot::default()).unwrap();
    let events = EventLog::connect(&log).unwrap();
    let settings = PlaybackSettings { replay_wait: Duration::from_millis(100), ..PlaybackSettings::default() };
    (Playback::new(events, view, catalog, log, settings), reader)
}

pub(crate) fn state(settings: ApiSettings) -> ApiState {
    let pool = PgPoolOptions::new()
        .acquire_timeout(Duration::from_millis(200))
        .connect_lazy(&format!("postgres://nobody@{NOWHERE}/nothing"))
        .unwrap();
    state_on(pool, &PLAYBACK, settings)
}

/// The same over a database that is there.
pub(crate) fn state_on(
    pool: PgPool,
    (playback, reader): &(Playback, ReaderSettings),
    settings: ApiSettings,
) -> ApiState {
    ApiState::new(playback.clone(), Reads::new(pool, reader.clone()), settings)
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// Checks that it is a whole problem of `code`, and returns it.
    pub(crate) fn problem(&self, code: &str) -> Value {
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(problem["status"], self.status.as_u16());
        assert_eq!(problem["type"], format!("/problems/{code}"));
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        for member in ["title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{problem} lacks {member}");
        }
        problem
    }
}

pub(crate) async fn ask_of(router: Router, request: Request<Body>) -> Answer {
    let response = router.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    Answer { status: parts.status, headers: parts.headers, body: to_bytes(body, usize::MAX).await.unwrap() }
}

pub(crate) async fn ask(request: Request<Body>) -> Answer {
    ask_of(pulsegate_api::router(state(ApiSettings::default())), request).await
}

pub(crate) async fn get(path: &str) -> Answer {
    ask(Request::get(path).body(Body::empty()).unwrap()).await
}

pub(crate) fn sent(method: &str, path: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    request.body(body.into()).unwrap()
}

pub(crate) async fn post(path: &str, body: impl Into<Body>) -> Answer {
    ask(sent("POST", path, body)).await
}

pub(crate) fn of_session(rest: &str) -> String {
    format!("/v1/accounts/a/sessions/{SESSION}{rest}")
}
