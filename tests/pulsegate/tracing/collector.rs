//! A collector that keeps what it is told: OTLP over HTTP, as any collector takes it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;

/// A span, as it was told, by the process that told it.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) by: BTreeMap<String, String>,
    pub(crate) name: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty where it is the first of its trace.
    pub(crate) parent: String,
    pub(crate) kind: i32,
    pub(crate) attributes: BTreeMap<String, String>,
    /// The spans that it is linked to.
    pub(crate) links: Vec<String>,
    pub(crate) took_ns: u64,
}

#[derive(Clone, Default)]
pub(crate) struct Collector {
    spans: Arc<Mutex<Vec<Told>>>,
}

impl Collector {
    /// Listens; gives its address.
    pub(crate) async fn start() -> (Self, String) {
        let collector = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().route("/v1/traces", post(take)).with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        (collector, address)
    }

    fn spans(&self) -> MutexGuard<'_, Vec<Told>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was told of a trace.
    pub(crate) fn of(&self, trace: &str) -> Vec<Told> {
        self.spans().iter().filter(|span| span.trace == trace).cloned().collect()
    }

    pub(crate) fn all(&self) -> Vec<Told> {
        self.spans().clone()
    }
}

async fn take(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) {
    assert_eq!(headers[CONTENT_TYPE], "application/x-protobuf");
    let request = ExportTraceServiceRequest::decode(body).expect("OTLP");
    for of_process in request.resource_spans {
        let by = texts(&of_process.resource.expect("who tells it").attributes);
        let spans = of_process.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans);
        collector.spans().extend(spans.map(|span| told(by.clone(), span)));
    }
}

fn told(by: BTreeMap<String, String>, span: Span) -> Told {
    Told {
        by,
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        kind: span.kind,
        attributes: texts(&span.attributes),
        links: span.links.iter().map(|link| hex(&link.span_id)).collect(),
        took_ns: span.end_time_unix_nano.checked_sub(span.start_time_unix_nano).expect("it ends after it began"),
        name: span.name,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(&attribute.value))).collect()
}
