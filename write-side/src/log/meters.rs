//! What the log tells of itself.

use std::time::Duration;

use chrono::Utc;
use metrics::{Counter, Gauge, Histogram};
use pulsegate_domain::time::{Timestamp, ahead_ms};
use pulsegate_domain::topic::Topic;

use crate::record::AppendError;

/// Handles, made once: a look-up by name would cost more than the append. They belong to the recorder
/// that is installed when the log is connected.
pub(super) struct Meters {
    appended: [Counter; Topic::ALL.len()],
    renewed: Counter,
    latency: Histogram,
    in_flight: Gauge,
    ahead: Gauge,
}

impl Meters {
    /// Handles of a log that takes at most `queue_max` records at once.
    pub(super) fn new(queue_max: usize) -> Self {
        metrics::describe_counter!("pulsegate_log_appended_total", "Records that the broker acknowledged");
        metrics::describe_counter!("pulsegate_log_append_failed_total", "Records that it did not, by reason");
        metrics::describe_counter!(
            "pulsegate_log_producers_renewed_total",
            "Producers given up, after a fatal error or for a record that was not acknowledged in time"
        );
        metrics::describe_histogram!(
            "pulsegate_log_append_seconds",
            metrics::Unit::Seconds,
            "From append to acknowledgement; of a batch once for each partition"
        );
        metrics::describe_gauge!("pulsegate_log_in_flight", "Records that wait for the broker");
        metrics::gauge!("pulsegate_log_in_flight_max").set(gauged(queue_max));
        for reason in AppendError::REASONS {
            // An alert can't see a count grow that comes into being with its first failure.
            metrics::counter!("pulsegate_log_append_failed_total", "reason" => reason).increment(0);
        }
        Self {
            appended: Topic::ALL
                .map(|topic| metrics::counter!("pulsegate_log_appended_total", "topic" => topic.base_name())),
            renewed: metrics::counter!("pulsegate_log_producers_renewed_total"),
            latency: metrics::histogram!("pulsegate_log_append_seconds"),
            in_flight: metrics::gauge!("pulsegate_log_in_flight"),
            ahead: metrics::gauge!("pulsegate_clock_ahead_seconds", "of" => "broker"),
        }
    }

    /// Records that were sent together and took so long; the last was stamped by the broker somewhere in between.
    #[expect(clippy::cast_precision_loss, reason = "two clocks 2^52 ms apart are wrong enough")]
    pub(super) fn appended(&self, topic: Topic, count: usize, took: Duration, stamp: Timestamp) {
        self.appended[topic as usize].increment(u64::try_from(count).unwrap_or(u64::MAX));
        self.latency.record(took.as_secs_f64());
        let answered = Timestamp::from(Utc::now());
        let asked = answered.minus_ms(u64::try_from(took.as_millis()).unwrap_or(u64::MAX).saturating_add(1));
        self.ahead.set(ahead_ms(asked, stamp, answered) as f64 / 1e3);
    }

    #[expect(clippy::unused_self, reason = "failures are rare: their counters are looked up by reason")]
    pub(super) fn failed(&self, error: AppendError) {
        metrics::counter!("pulsegate_log_append_failed_total", "reason" => error.reason()).increment(1);
    }

    pub(super) fn renewed(&self) {
        self.renewed.increment(1);
    }

    pub(super) fn in_flight(&self, count: usize) {
        self.in_flight.set(gauged(count));
    }
}

fn gauged(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
