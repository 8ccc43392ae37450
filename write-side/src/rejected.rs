//! What was refused: its bytes unchanged, where it failed and why, so that it can be sent in again.
//!
//! The record's value is what was received and nothing else; all that is known about the refusal stands
//! in headers.

mod reason;

use std::borrow::Cow;
use std::fmt;

use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::Topic;
use rdkafka::message::{Headers as _, Message};

use crate::problems::FieldProblem;
use crate::record::Record;

pub use reason::{RejectReason, UnknownReason};

/// The largest original that is kept whole, in bytes: the largest body that is read at all.
pub const ORIGINAL_LEN_MAX: usize = 1 << 20;
/// The longest detail that is kept, in bytes.
pub const DETAIL_LEN_MAX: usize = 4_096;
/// Most problems that are kept.
pub const PROBLEMS_MAX: usize = 50;

const REASON: &str = "pulsegate-reason";
const SOURCE: &str = "pulsegate-source";
const INDEX: &str = "pulsegate-index";
const DETAIL: &str = "pulsegate-detail";
const PROBLEMS: &str = "pulsegate-problems";
const RECEIVED_AT: &str = "pulsegate-received-at-ms";
const CUT_FROM: &str = "pulsegate-cut-from-bytes";
const RESENT_FROM: &str = "pulsegate-resent-from";
const ATTEMPT: &str = "pulsegate-attempt";

/// Where a record of the topic stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RejectedPlace {
    /// The partition.
    pub partition: i32,
    /// The offset there.
    pub offset: i64,
}

impl fmt::Display for RejectedPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partition, self.offset)
    }
}

impl RejectedPlace {
    fn read(text: &str) -> Option<Self> {
        let (partition, offset) = text.split_once('/')?;
        Some(Self { partition: partition.parse().ok()?, offset: offset.parse().ok()? })
    }
}

/// What was sent in again and refused again: it goes back to the topic as a record of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resent {
    /// The record by which it was refused the first time.
    pub from: RejectedPlace,
    /// How often it has been sent in again.
    pub attempt: u32,
}

/// Something that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its key as received, where known.
    pub key: Option<Vec<u8>>,
    /// Why, as a code.
    pub reason: RejectReason,
    /// The route that it came in by.
    pub source: String,
    /// Its index, where it was part of a batch.
    pub index: Option<usize>,
    /// Why, for people.
    pub detail: String,
    /// What is wrong with which field.
    pub problems: Vec<FieldProblem>,
    /// When it was received, the first time.
    pub received_at: Timestamp,
    /// What was received: a whole body, or one item of a batch.
    pub original: Vec<u8>,
    /// How long the original was, in bytes, if it was too long to be kept whole. Such a one can't be sent
    /// in again.
    pub cut_from: Option<usize>,
    /// Where it comes from, if it was sent in again and refused again.
    pub resent: Option<Resent>,
}

impl Rejected {
    /// Its record, of bounded size.
    #[must_use]
    pub fn into_record(mut self) -> Record {
        if self.original.len() > ORIGINAL_LEN_MAX {
            self.cut_from = Some(self.original.len());
            self.original.truncate(ORIGINAL_LEN_MAX);
        }
        self.detail.truncate(self.detail.floor_char_boundary(DETAIL_LEN_MAX));
        self.problems.truncate(PROBLEMS_MAX);
        let mut headers = vec![
            (REASON, Cow::Borrowed(self.reason.code().as_bytes())),
            (SOURCE, owned(self.source)),
            (DETAIL, owned(self.detail)),
            (RECEIVED_AT, owned(self.received_at.millis().to_string())),
        ];
        if let Some(index) = self.index {
            headers.push((INDEX, owned(index.to_string())));
        }
        if let Some(length) = self.cut_from {
            headers.push((CUT_FROM, owned(length.to_string())));
        }
        if let Some(resent) = self.resent {
            headers.push((RESENT_FROM, owned(resent.from.to_string())));
            headers.push((ATTEMPT, owned(resent.attempt.to_string())));
        }
        if !self.problems.is_empty()
            && let Ok(problems) = serde_json::to_string(&self.problems)
        {
            headers.push((PROBLEMS, owned(problems)));
        }
        Record { topic: Topic::Rejected, key: self.key, value: self.original, headers }
    }

    /// Reads a record of the topic back. What a header doesn't say is empty: a record that something else
    /// wrote there can be looked at all the same.
    #[must_use]
    pub fn from_message(message: &impl Message) -> Self {
        let header = |name: &str| {
            let header = message.headers()?.iter().find(|header| header.key == name)?;
            std::str::from_utf8(header.value?).ok()
        };
        let text = |name: &str| header(name).unwrap_or_default().to_owned();
        let received_at = header(RECEIVED_AT).and_then(|millis| millis.parse().ok());
        let attempt = header(ATTEMPT).and_then(|attempt| attempt.parse().ok());
        Self {
            key: message.key().map(<[u8]>::to_vec),
            reason: header(REASON).map_or(RejectReason::Unknown, RejectReason::of_code),
            source: text(SOURCE),
            index: header(INDEX).and_then(|index| index.parse().ok()),
            detail: text(DETAIL),
            problems: header(PROBLEMS).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default(),
            received_at: Timestamp::from_millis(
                received_at.or_else(|| message.timestamp().to_millis()).unwrap_or_default(),
            ),
            original: message.payload().unwrap_or_default().to_vec(),
            cut_from: header(CUT_FROM).and_then(|length| length.parse().ok()),
            resent: header(RESENT_FROM)
                .and_then(RejectedPlace::read)
                .zip(attempt)
                .map(|(from, attempt)| Resent { from, attempt }),
        }
    }
}

fn owned(text: String) -> Cow<'static, [u8]> {
    Cow::Owned(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use rdkafka::message::{Header, OwnedHeaders, OwnedMessage};

    use super::*;

    fn rejected(original: Vec<u8>) -> Rejected {
        Rejected {
            key: Some(b"acc".to_vec()),
            reason: RejectReason::Invalid,
            source: "/v1/heartbeats".to_owned(),
            index: Some(3),
            detail: "ä".repeat(DETAIL_LEN_MAX),
            problems: vec![FieldProblem::new("/state", "is required"); 60],
            received_at: Timestamp::from_millis(1_795_380_423_120),
            original,
            cut_from: None,
            resent: Some(Resent { from: RejectedPlace { partition: 3, offset: 1_042 }, attempt: 2 }),
        }
    }

    fn message(record: Record) -> OwnedMessage {
        let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value.as_ref()) })
        });
        let time = rdkafka::Timestamp::LogAppendTime(5);
        OwnedMessage::new(Some(record.value), record.key, "t".to_owned(), time, 0, 0, Some(headers))
    }

    #[test]
    fn the_original_is_unchanged_and_the_rest_is_bounded() {
        let original = rejected(b"{\"x\": \xff}".to_vec());
        let read = Rejected::from_message(&message(original.clone().into_record()));
        assert_eq!((&read.original, read.index, read.cut_from), (&original.original, Some(3), None));
        assert_eq!((read.detail.len(), read.problems.len()), (DETAIL_LEN_MAX, PROBLEMS_MAX));
        assert_eq!(read, Rejected { detail: read.detail.clone(), problems: read.problems.clone(), ..original });
    }

    #[test]
    fn what_is_cut_says_so() {
        let read = Rejected::from_message(&message(rejected(vec![b'x'; ORIGINAL_LEN_MAX + 1]).into_record()));
        assert_eq!((read.original.len(), read.cut_from), (ORIGINAL_LEN_MAX, Some(ORIGINAL_LEN_MAX + 1)));
    }

    #[test]
    fn a_foreign_record_can_be_looked_at() {
        let record = Record { topic: Topic::Rejected, key: None, value: b"?".to_vec(), headers: Vec::new() };
        let read = Rejected::from_message(&message(record));
        assert_eq!(
            (read.reason, read.received_at, read.original),
            (RejectReason::Unknown, Timestamp::from_millis(5), b"?".to_vec())
        );
    }

    #[test]
    fn each_reason_is_known_by_its_code_and_in_the_docs() {
        let docs = include_str!("../../docs/rejected.md");
        for reason in RejectReason::ALL {
            let row = format!("| `{}` | {} |\n", reason.code(), reason.meaning());
            assert!(docs.contains(&row), "docs/rejected.md lacks\n{row}");
            assert_eq!(reason.code().parse(), Ok(*reason));
        }
        let error = "nonsense".parse::<RejectReason>().unwrap_err().to_string();
        assert!(error.starts_with("\"nonsense\" is no reason; there are: malformed-json, "), "{error}");
    }
}
