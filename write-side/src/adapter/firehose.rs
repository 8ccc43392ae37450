//! What Amazon Data Firehose delivers to an HTTP endpoint: records of a stream, each in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use crate::json::field::elements;
use crate::json::{Reader, read_body};
use crate::problems::{BodyError, FieldProblem};

/// Most records of one delivery; Firehose sends far fewer.
const RECORDS_MAX: usize = 10_000;

/// A delivery: its id, which the answer repeats, and the lines in its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// `requestId`, as it came.
    pub request_id: String,
    /// The records' lines, one after another.
    pub lines: Vec<u8>,
}

/// Reads a delivery.
pub fn parse_delivery(body: &[u8]) -> Result<Delivery, BodyError> {
    read_body(body, |reader| {
        let request_id = reader.raw("requestId").and_then(|raw| serde_json::from_str::<String>(raw).ok());
        if request_id.as_ref().is_none_or(|id| id.is_empty() || id.len() > 256) {
            reader.note("requestId", "must be a string of 1-256 characters");
        }
        let Some(raw) = reader.raw("records") else {
            reader.note("records", "is required");
            return None;
        };
        let records = elements(raw, "/records", reader.problems())?;
        if records.len() > RECORDS_MAX {
            reader.note("records", format!("must hold at most {RECORDS_MAX} records"));
            return None;
        }
        let mut lines = Vec::new();
        for (index, record) in records.into_iter().enumerate() {
            lines.extend(data_of(record, index, reader.problems())?);
            if lines.last().is_some_and(|last| *last != b'\n') {
                lines.push(b'\n');
            }
        }
        Some(Delivery { request_id: request_id?, lines })
    })
}

fn data_of(record: &RawValue, index: usize, problems: &mut Vec<FieldProblem>) -> Option<Vec<u8>> {
    let mut reader = Reader::open(record.get(), &format!("/records/{index}"), problems)?;
    let text = reader.raw("data").and_then(|raw| serde_json::from_str::<String>(raw).ok());
    let data = text.and_then(|text| STANDARD.decode(text).ok());
    if data.is_none() {
        reader.note("data", "must be base64");
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_its_records_lines() {
        let body = br#"{"requestId":"r-1","timestamp":1578090901599,"records":[{"data":"YQli"},{"data":"Ywo="}]}"#;
        let delivery = parse_delivery(body).unwrap();
        assert_eq!((delivery.request_id.as_str(), delivery.lines.as_slice()), ("r-1", b"a\tb\nc\n".as_slice()));
    }

    #[test]
    fn what_is_wrong_with_a_delivery_has_its_place() {
        let error = |body: &str| parse_delivery(body.as_bytes()).unwrap_err().to_string();
        assert_eq!(error("{}"), "invalid: /requestId must be a string of 1-256 characters; /records is required");
        assert_eq!(
            error(r#"{"requestId":"r","records":[{"data":"YQ=="},{"data":"?"}]}"#),
            "invalid: /records/1/data must be base64"
        );
        assert_eq!(error(r#"{"requestId":"r","records":[7]}"#), "invalid: /records/0 must be an object");
    }
}
