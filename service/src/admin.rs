//! The admin port: health and metrics, on a thread of its own, so that load can't starve them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

/// Upper bounds of the buckets of whatever ends in `_seconds`: from a check in memory to a request that
/// waits for a broker.
const SECONDS: [f64; 15] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Upper bounds of the buckets of counts, e.g. of a batch's records.
const COUNTS: [f64; 8] = [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 10_000.0];
/// How often recorded values are moved into their buckets, without which memory would grow.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// What Prometheus calls its text format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether a process may be sent requests.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// It may.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<String>,
}

/// Asks whether this process may be sent requests.
pub type ReadinessCheck = Arc<dyn Fn() -> Readiness + Send + Sync>;

/// Installs the process's metrics recorder. Do so before anything makes a handle.
pub fn install_metrics() -> Result<PrometheusHandle, BuildError> {
    builder()?.install_recorder()
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets(&COUNTS)
}

#[derive(Clone)]
struct Admin {
    metrics: PrometheusHandle,
    readiness: ReadinessCheck,
}

/// The routes of the admin port: `/livez`, `/readyz`, `/metrics`.
pub fn router(metrics: PrometheusHandle, readiness: ReadinessCheck) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(expose))
        .with_state(Admin { metrics, readiness })
}

async fn ready(State(admin): State<Admin>) -> Response {
    #[derive(Serialize)]
    struct Body {
        ready: bool,
        reasons: Vec<String>,
    }
    let Readiness { ready, reasons } = (admin.readiness)();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(Body { ready, reasons })).into_response()
}

async fn expose(State(admin): State<Admin>) -> Response {
    metrics::gauge!("pulsegate_ready").set(if (admin.readiness)().ready { 1.0 } else { 0.0 });
    ([(CONTENT_TYPE, EXPOSITION)], admin.metrics.render()).into_response()
}

/// The admin port while it is served; dropping it stops it.
pub struct AdminServer {
    address: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl AdminServer {
    /// Serves the admin routes on a thread of its own.
    pub fn start(listener: TcpListener, metrics: PrometheusHandle, readiness: ReadinessCheck) -> io::Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("admin".into()).spawn(move || {
            if let Err(error) = runtime.block_on(serve(listener, metrics, readiness, stopped)) {
                tracing::error!(%error, "the admin port is not served any more");
            }
        })?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// The address that is listened on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the admin port's thread panicked");
        }
    }
}

async fn serve(
    listener: TcpListener,
    metrics: PrometheusHandle,
    readiness: ReadinessCheck,
    stop: CancellationToken,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let upkeep = metrics.clone();
    let upkeep = async move {
        loop {
            tokio::time::sleep(UPKEEP_INTERVAL).await;
            upkeep.run_upkeep();
        }
    };
    // Not drained: a scrape that is cut off at the very end is no loss.
    tokio::select! {
        served = axum::serve(listener, router(metrics, readiness)) => served,
        () = upkeep => Ok(()),
        () = stop.cancelled() => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use http::Request;
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(ready: bool, path: &str) -> (StatusCode, String) {
        let recorder = builder().unwrap().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!("a_seconds").record(0.002);
            metrics::histogram!("b_records").record(2.0);
        });
        let reasons = if ready { vec![] } else { vec!["reading up".to_owned()] };
        let readiness = Arc::new(move || Readiness { ready, reasons: reasons.clone() });
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router(recorder.handle(), readiness).oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn says_why_it_is_not_ready() {
        let not_ready = r#"{"ready":false,"reasons":["reading up"]}"#.to_owned();
        assert_eq!(ask(false, "/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, not_ready));
        assert_eq!(ask(true, "/readyz").await, (StatusCode::OK, r#"{"ready":true,"reasons":[]}"#.to_owned()));
        assert_eq!(ask(false, "/livez").await, (StatusCode::OK, "ok\n".to_owned()));
    }

    #[tokio::test]
    async fn metrics_have_buckets_in_seconds() {
        let (status, text) = ask(true, "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(text.contains(r#"a_seconds_bucket{le="0.0025"} 1"#), "{text}");
        assert!(text.contains(r#"b_records_bucket{le="3"} 1"#), "{text}");
    }

    #[tokio::test]
    async fn it_answers_while_the_runtime_is_blocked() {
        use std::io::{Read as _, Write as _};
        let readiness = Arc::new(|| Readiness { ready: true, reasons: Vec::new() });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let recorder = builder().unwrap().build_recorder();
        let server = AdminServer::start(listener, recorder.handle(), readiness).unwrap();
        // This thread is all that the test's runtime has, and it does nothing else until it has read each answer.
        for path in ["/livez", "/readyz", "/metrics"] {
            let mut connection = std::net::TcpStream::connect(server.address()).unwrap();
            connection.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
            write!(connection, "GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            connection.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        }
    }
}
