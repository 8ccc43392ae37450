//! `DELETE …/sessions/{session}`, `POST …/stop`, `POST …/evict`

use pulsegate_domain::ids::{AccountId, EvictedBy, SessionId};

use super::{EvictRequest, StopRequest};
use crate::json::field::Integer;
use crate::json::wire::{read_or_empty, wire};
use crate::problems::BodyError;

wire!(StopBody {
    required {}
    optional { sequence: Integer, elapsed_ms: Integer, position_ms: Integer }
});

wire!(EvictBody {
    required {}
    optional { by: EvictedBy }
});

/// Reads the body of a stop, which may be empty.
pub fn parse_stop(account: AccountId, session: SessionId, body: &[u8]) -> Result<StopRequest, BodyError> {
    let body: StopBody = read_or_empty(body)?;
    Ok(StopRequest {
        account_id: account,
        session_id: session,
        sequence: body.sequence.map(|integer| integer.0),
        elapsed_ms: body.elapsed_ms.map(|integer| integer.0),
        position_ms: body.position_ms.map(|integer| integer.0),
    })
}

/// Reads the body of an eviction, which may be empty.
pub fn parse_evict(account: AccountId, session: SessionId, body: &[u8]) -> Result<EvictRequest, BodyError> {
    let body: EvictBody = read_or_empty(body)?;
    Ok(EvictRequest { account_id: account, session_id: session, by: body.by.unwrap_or(EvictedBy::Operator) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(body: &str) -> Result<StopRequest, String> {
        let session = "019ab0c4-7e1a-7abc-8def-0123456789ab".parse().unwrap();
        parse_stop("a".parse().unwrap(), session, body.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_stop_may_say_nothing() {
        for body in ["", " \n", "{}", r#"{"sequence":null}"#] {
            assert_eq!(stop(body).unwrap().sequence, None, "{body}");
        }
        assert_eq!(stop(r#"{"elapsed_ms":7}"#).unwrap().elapsed_ms, Some(7));
        assert_eq!(
            stop(r#"{"elapsed_ms":"7"}"#),
            Err("invalid: /elapsed_ms must be an integer of 0-9007199254740991".into())
        );
    }

    #[test]
    fn an_eviction_is_the_operators_unless_it_says_otherwise() {
        let session = "019ab0c4-7e1a-7abc-8def-0123456789ab".parse().unwrap();
        let by = |body: &str| parse_evict("a".parse().unwrap(), session, body.as_bytes()).map(|request| request.by);
        assert_eq!(by(""), Ok(EvictedBy::Operator));
        assert_eq!(by(r#"{"by":"viewer"}"#), Ok(EvictedBy::Viewer));
        assert_eq!(by(r#"{"by":"cat"}"#).unwrap_err().to_string(), "invalid: /by must be one of operator, viewer");
    }
}
