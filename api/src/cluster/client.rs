//! Asking other nodes over HTTP: how they are, and what a client asked us.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use pulsegate_projections::cluster::Address;
use serde::de::DeserializeOwned;

use super::{HOP, NodeReport, lock};
use crate::callers::NODE;

/// How long another node may take to accept a connection.
const CONNECT_MAX: Duration = Duration::from_millis(500);
/// How long it may take to say how it is.
const REPORT_MAX: Duration = Duration::from_secs(1);
/// A passed-on answer of which nothing more comes for this long is cut off; streams send something more often.
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// Connections to a node that are kept open for later.
const IDLE_MAX: usize = 512;
const IDLE_TIME_MAX: Duration = Duration::from_secs(30);
/// What is between two neighbours only and isn't passed on.
const BETWEEN_NEIGHBOURS: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HOST,
];

/// A node did not answer.
#[derive(Debug)]
pub(super) struct Lost {
    /// Whether it may have received the question all the same.
    pub(super) sent: bool,
    pub(super) error: String,
}

/// The way to the other nodes.
pub(super) struct Peers {
    client: reqwest::Client,
    me: HeaderValue,
    being_asked: Arc<Mutex<BTreeSet<Address>>>,
}

/// A question to a node under way; over when dropped.
pub(super) struct Turn {
    address: Address,
    being_asked: Arc<Mutex<BTreeSet<Address>>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        lock(&self.being_asked).remove(&self.address);
    }
}

impl Peers {
    pub(super) fn new(me: &str, secret: Option<&str>) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        if let Some(secret) = secret {
            let mut secret = HeaderValue::try_from(secret).map_err(|error| error.to_string())?;
            secret.set_sensitive(true);
            headers.insert(NODE, secret);
        }
        let client = reqwest::Client::builder()
            // Whatever proxy the environment names is not for neighbours.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_MAX)
            .read_timeout(SILENCE_MAX)
            .pool_max_idle_per_host(IDLE_MAX)
            .pool_idle_timeout(IDLE_TIME_MAX)
            .tcp_nodelay(true)
            .default_headers(headers)
            .build()
            .map_err(|error| error.to_string())?;
        let me = HeaderValue::try_from(me).map_err(|error| error.to_string())?;
        Ok(Self { client, me, being_asked: Arc::default() })
    }

    /// The turn to ask a node how it is; `None` while it is being asked.
    pub(super) fn turn(&self, address: &Address) -> Option<Turn> {
        let is_free = lock(&self.being_asked).insert(address.clone());
        is_free.then(|| Turn { address: address.clone(), being_asked: Arc::clone(&self.being_asked) })
    }

    /// How a node is.
    pub(super) async fn report(&self, address: &str) -> Result<NodeReport, Lost> {
        let report: NodeReport = self.get(address, "/v1/cluster/node", REPORT_MAX).await?;
        if report.address == address {
            Ok(report)
        } else {
            Err(Lost { sent: false, error: format!("it calls itself {}", report.address) })
        }
    }

    /// Asks a node for JSON.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        address: &str,
        path: &str,
        time_max: Duration,
    ) -> Result<T, Lost> {
        let asked = self.client.get(format!("http://{address}{path}")).header(HOP, &self.me).timeout(time_max);
        let answer = asked.send().await.map_err(Lost::of)?.error_for_status().map_err(Lost::of)?;
        answer.json().await.map_err(Lost::of)
    }

    /// Passes a request on, as it is. The answer's body is streamed.
    pub(super) async fn pass_on(
        &self,
        address: &str,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response, Lost> {
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let mut headers = headers.clone();
        for name in BETWEEN_NEIGHBOURS.iter().chain([&CONTENT_LENGTH]) {
            headers.remove(name);
        }
        headers.insert(HOP, self.me.clone());
        // Sampled here or not at all: what a caller says counts where it calls.
        match pulsegate_traces::current().and_then(|context| HeaderValue::try_from(context.header()).ok()) {
            Some(context) => drop(headers.insert(pulsegate_traces::HEADER, context)),
            None => drop(headers.remove(pulsegate_traces::HEADER)),
        }
        let asked = self.client.request(method.clone(), format!("http://{address}{path}")).headers(headers).body(body);
        let answer = asked.send().await.map_err(Lost::of)?;
        let (mut parts, body) = http::Response::<reqwest::Body>::from(answer).into_parts();
        for name in &BETWEEN_NEIGHBOURS {
            parts.headers.remove(name);
        }
        Ok(Response::from_parts(parts, Body::new(body)))
    }
}

impl Lost {
    #[expect(clippy::needless_pass_by_value, reason = "it is what an error is mapped by")]
    fn of(error: reqwest::Error) -> Self {
        // `reqwest` says of itself only that sending failed; why stands behind it.
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Self { sent: !error.is_connect() && !error.is_builder(), error: format!("{error}{cause}") }
    }
}
