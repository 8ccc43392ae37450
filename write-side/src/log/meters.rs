//! What the log tells of itself.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};
use pulsegate_domain::topic::Topic;

use crate::record::AppendError;

/// Handles, made once: a look-up by name would cost more than the append. They belong to the recorder
/// that is installed when the log is connected.
pub(super) struct Meters {
    appended: [Counter; Topic::ALL.len()],
    renewed: Counter,
    latency: Histogram,
    in_flight: Gauge,
}

impl Meters {
    pub(super) fn new() -> Self {
        metrics::describe_counter!("pulsegate_log_appended_total", "Records that the broker acknowledged");
        metrics::describe_counter!("pulsegate_log_append_failed_total", "Records that it did not, by reason");
        metrics::describe_counter!("pulsegate_log_producers_renewed_total", "Producers given up after a fatal error");
        metrics::describe_histogram!(
            "pulsegate_log_append_seconds",
            metrics::Unit::Seconds,
            "From append to acknowledgement"
        );
        metrics::describe_gauge!("pulsegate_log_in_flight", "Records that wait for the broker");
        Self {
            appended: Topic::ALL
                .map(|topic| metrics::counter!("pulsegate_log_appended_total", "topic" => topic.base_name())),
            renewed: metrics::counter!("pulsegate_log_producers_renewed_total"),
            latency: metrics::histogram!("pulsegate_log_append_seconds"),
            in_flight: metrics::gauge!("pulsegate_log_in_flight"),
        }
    }

    pub(super) fn appended(&self, topic: Topic, took: Duration) {
        self.appended[topic as usize].increment(1);
        self.latency.record(took.as_secs_f64());
    }

    #[expect(clippy::unused_self, reason = "failures are rare: their counters are looked up by reason")]
    pub(super) fn failed(&self, error: AppendError) {
        metrics::counter!("pulsegate_log_append_failed_total", "reason" => error.reason()).increment(1);
    }

    pub(super) fn renewed(&self) {
        self.renewed.increment(1);
    }

    pub(super) fn in_flight(&self, count: usize) {
        self.in_flight.set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
    }
}
