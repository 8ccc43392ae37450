//! `POST /v1/statements/{period}/close`, `…/restate`

use pulsegate_domain::ids::RightsHolderId;

use crate::json::field::Flag;
use crate::json::wire::{read, wire};
use crate::problems::BodyError;

wire!(StatementBody {
    required {}
    optional { rights_holder_id: RightsHolderId, early: Flag }
});

/// Asks to close or restate a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementRequest {
    /// To whom; everybody where absent.
    pub rights_holder_id: Option<RightsHolderId>,
    /// Close although heartbeats may still come.
    pub early: bool,
}

/// Reads the body of a close or a restatement; an empty one says nothing.
pub fn parse_statement(body: &[u8]) -> Result<StatementRequest, BodyError> {
    let body: StatementBody = read(if body.is_empty() { b"{}" } else { body })?;
    Ok(StatementRequest { rights_holder_id: body.rights_holder_id, early: body.early.is_some_and(|early| early.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_to_be_said() {
        let nothing = StatementRequest { rights_holder_id: None, early: false };
        assert_eq!(parse_statement(b""), Ok(nothing.clone()));
        assert_eq!(parse_statement(b"{}"), Ok(nothing));
        let all = parse_statement(br#"{"rights_holder_id":"orvessa","early":true}"#).unwrap();
        assert_eq!((all.rights_holder_id.unwrap().as_str(), all.early), ("orvessa", true));
        let error = parse_statement(br#"{"rights_holder_id":"-","early":1}"#).unwrap_err().to_string();
        assert!(error.contains("/rights_holder_id") && error.ends_with("/early must be true or false"), "{error}");
    }
}
