//! A record on its way into the log, and what becomes of it.

use std::borrow::Cow;

use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::Topic;
use rdkafka::types::RDKafkaErrorCode;
use thiserror::Error;

/// A record to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// To which topic.
    pub topic: Topic,
    /// Its key, which chooses its partition; a record without one goes to any.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Vec<u8>,
    /// Its headers.
    pub headers: Vec<(&'static str, Cow<'static, [u8]>)>,
}

impl Record {
    /// About how much memory it takes while it waits, in bytes.
    pub(crate) fn weight(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        // The constant stands for librdkafka's own bookkeeping of a message.
        self.value.len() + self.key.as_ref().map_or(0, Vec::len) + headers + 256
    }
}

/// Where a record came to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The partition of its topic.
    pub partition: i32,
    /// The offset there.
    pub offset: i64,
    /// The broker's log append time.
    pub at: Timestamp,
}

/// Why a record was not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AppendError {
    /// Too many records wait for the broker already. It was not sent.
    #[error("append: too many records wait for the log")]
    QueueFull,
    /// The broker did not confirm in time, or did so without saying where. It may still arrive: the same
    /// event may be sent again.
    #[error("append: the log did not acknowledge the record in time; it may still arrive")]
    NotAcknowledged,
    /// Larger than the topic takes. It was not appended.
    #[error("append: the record is larger than the log takes")]
    TooLarge,
    /// The broker says no. It was not appended.
    #[error("append: the log refuses the record: {0}")]
    Refused(RDKafkaErrorCode),
    /// The producer failed for good and its successor isn't there yet. It was not sent.
    #[error("append: the producer is being renewed")]
    Unavailable,
}

impl AppendError {
    /// Every [reason](Self::reason).
    pub const REASONS: [&'static str; 5] = ["queue_full", "not_acknowledged", "too_large", "refused", "unavailable"];

    /// One word for metrics.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::NotAcknowledged => "not_acknowledged",
            Self::TooLarge => "too_large",
            Self::Refused(_) => "refused",
            Self::Unavailable => "unavailable",
        }
    }

    /// The error that a code of librdkafka or the broker means. What isn't known to have kept the record
    /// out of the log may have let it in.
    pub(crate) const fn of(code: RDKafkaErrorCode) -> Self {
        match code {
            RDKafkaErrorCode::QueueFull => Self::QueueFull,
            RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidMessageSize
            | RDKafkaErrorCode::MessageBatchTooLarge => Self::TooLarge,
            RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::InvalidTopic
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::PolicyViolation
            | RDKafkaErrorCode::InvalidTimestamp
            | RDKafkaErrorCode::InvalidRecord => Self::Refused(code),
            RDKafkaErrorCode::Fatal => Self::Unavailable,
            _ => Self::NotAcknowledged,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_arrived_is_never_called_refused() {
        for code in [
            RDKafkaErrorCode::MessageTimedOut,
            RDKafkaErrorCode::RequestTimedOut,
            RDKafkaErrorCode::NetworkException,
            RDKafkaErrorCode::PurgeInflight,
            RDKafkaErrorCode::NotEnoughReplicasAfterAppend,
            RDKafkaErrorCode::OutOfOrderSequenceNumber,
        ] {
            assert_eq!(AppendError::of(code), AppendError::NotAcknowledged, "{code:?}");
        }
        assert_eq!(AppendError::of(RDKafkaErrorCode::MessageSizeTooLarge), AppendError::TooLarge);
    }
}
