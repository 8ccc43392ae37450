//! From the queue to the collector, on a thread of its own.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::{Duration, Instant};

use metrics::{Counter, counter};
use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use thiserror::Error;

use super::sampling::Sampling;
use super::{TRACER, Tracer};

/// Most spans that wait to be told; what comes then is dropped.
const QUEUE_MAX: usize = 4_096;
/// Most spans told at once.
const BATCH_MAX: usize = 512;
/// How long a span waits for others at most.
const BATCH_WAIT: Duration = Duration::from_secs(1);
/// How long the collector may take to accept a batch, with repetitions.
const EXPORT_MAX: Duration = Duration::from_secs(5);
/// How long a stop waits until what is there is told.
const STOP_MAX: Duration = Duration::from_secs(2);
/// Between two looks at the queue, and how soon a stop is noticed. Whoever tells a span wakes nobody: that would cost
/// the request more than its span.
const POLL: Duration = Duration::from_millis(100);

/// What is traced, and where it is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The collector's address for OTLP over HTTP, e.g. `http://127.0.0.1:4318`.
    pub endpoint: String,
    /// Which part of requests is sampled by chance, 0–1.
    pub ratio: f64,
    /// Most requests a second that are sampled because their caller says so.
    pub forced_per_s: u32,
    /// What this process is called.
    pub service: String,
    /// What tells it from its like.
    pub instance: String,
}

/// Why nothing can be traced.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address, or a standard variable of OTLP's, isn't usable.
    #[error("make the exporter of traces: {0}")]
    Exporter(#[from] ExporterBuildError),
    /// No HTTP client.
    #[error("make the exporter of traces: {0}")]
    Client(#[from] reqwest::Error),
    /// No thread or runtime.
    #[error("start the thread that exports traces: {0}")]
    Thread(#[from] io::Error),
    /// This process traces already.
    #[error("this process traces already")]
    Twice,
}

/// The way to the exporting thread.
pub(crate) struct Queue {
    spans: SyncSender<Box<SpanData>>,
    dropped: Counter,
}

impl Queue {
    /// Never waits.
    pub(crate) fn tell(&self, span: Box<SpanData>) {
        if self.spans.try_send(span).is_err() {
            self.dropped.increment(1);
        }
    }
}

/// Traces are exported; dropped, what is there is told within two seconds, and no more after that.
#[derive(Debug)]
pub struct Exporting {
    stop: Arc<AtomicBool>,
    ended: Receiver<()>,
}

/// Begins to trace, in all of this process. Metrics go to the recorder that is installed now.
pub fn start(settings: &Settings) -> Result<Exporting, StartError> {
    let client = reqwest::Client::builder().timeout(EXPORT_MAX).build()?;
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(address(&settings.endpoint))
        .with_timeout(EXPORT_MAX)
        .build()?;
    let resource = Resource::builder()
        .with_service_name(settings.service.clone())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", settings.instance.clone()))
        .build();
    exporter.set_resource(&resource);
    let (spans, told) = mpsc::sync_channel(QUEUE_MAX);
    let (end, ended) = mpsc::sync_channel(1);
    let stop = Arc::new(AtomicBool::new(false));
    let telling = Telling {
        exporter,
        runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        spans: told,
        stop: Arc::clone(&stop),
        exported: counter!("pulsegate_traces_exported_total"),
        dropped: counter!("pulsegate_traces_dropped_total", "reason" => "not_delivered"),
        is_away: false,
    };
    let dropped = counter!("pulsegate_traces_dropped_total", "reason" => "queue_full");
    for counter in [&telling.exported, &telling.dropped, &dropped] {
        counter.increment(0);
    }
    let tracer =
        Tracer { sampling: Sampling::new(settings.ratio, settings.forced_per_s), queue: Queue { spans, dropped } };
    TRACER.set(tracer).map_err(|_| StartError::Twice)?;
    std::thread::Builder::new().name("traces".into()).spawn(move || {
        telling.run();
        // Whoever stops it may have given up waiting.
        let _ = end.send(());
    })?;
    Ok(Exporting { stop, ended })
}

/// Where OTLP's traces go at a collector of this address.
fn address(endpoint: &str) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    if endpoint.ends_with("/v1/traces") { endpoint.to_owned() } else { format!("{endpoint}/v1/traces") }
}

impl Drop for Exporting {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.ended.recv_timeout(STOP_MAX + POLL).is_err() {
            tracing::debug!("traces were still being exported");
        }
    }
}

struct Telling {
    exporter: SpanExporter,
    runtime: tokio::runtime::Runtime,
    spans: Receiver<Box<SpanData>>,
    stop: Arc<AtomicBool>,
    exported: Counter,
    dropped: Counter,
    is_away: bool,
}

impl Telling {
    fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            let batch = self.batch();
            if !batch.is_empty() {
                self.tell(batch, EXPORT_MAX);
            }
        }
        // What waits is told if the collector takes it quickly.
        let until = Instant::now() + STOP_MAX;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let mut rest = Vec::new();
            self.take(&mut rest);
            if rest.is_empty() {
                return;
            }
            self.tell(rest, left);
        }
    }

    /// The spans of a moment: as many as are told at once, or fewer once the wait or the process is over.
    fn batch(&self) -> Vec<SpanData> {
        let until = Instant::now() + BATCH_WAIT;
        let mut batch = Vec::new();
        loop {
            self.take(&mut batch);
            let is_over = Instant::now() >= until || self.stop.load(Ordering::Relaxed);
            if batch.len() >= BATCH_MAX || is_over {
                return batch;
            }
            std::thread::sleep(POLL);
        }
    }

    /// Takes what waits, up to a batch.
    fn take(&self, batch: &mut Vec<SpanData>) {
        batch.extend(self.spans.try_iter().take(BATCH_MAX - batch.len()).map(|span| *span));
    }

    fn tell(&mut self, batch: Vec<SpanData>, time_max: Duration) {
        let count = batch.len() as u64;
        let exporting = async { tokio::time::timeout(time_max, self.exporter.export(batch)).await };
        let error = match self.runtime.block_on(exporting) {
            Ok(Ok(())) => {
                self.exported.increment(count);
                if std::mem::take(&mut self.is_away) {
                    tracing::info!("traces are exported again");
                }
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} ms", time_max.as_millis()),
        };
        self.dropped.increment(count);
        if !std::mem::replace(&mut self.is_away, true) {
            tracing::warn!(error, "traces can't be exported and are dropped");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collectors_address_needs_no_path() {
        assert_eq!(address("http://127.0.0.1:4318"), "http://127.0.0.1:4318/v1/traces");
        assert_eq!(address("https://otel.example/otlp/"), "https://otel.example/otlp/v1/traces");
        assert_eq!(address("https://otel.example/v1/traces"), "https://otel.example/v1/traces");
    }
}
