//! The fold and the straight-line model, which share no line, side by side.

use std::collections::BTreeMap;

use pulsegate_domain::ids::SessionId;
use pulsegate_domain::time::Timestamp;
use serde_json::Value;

use crate::reader::Reader;
use crate::straight_line::StraightLine;

/// Both give the same verdict at `at` on each of `sessions`, and the model knows no other.
pub(crate) fn assert_agree<'a>(
    reader: &Reader,
    model: &StraightLine,
    account: &str,
    sessions: impl IntoIterator<Item = &'a SessionId>,
    at: Timestamp,
    context: &str,
) {
    let mut expected: BTreeMap<String, Value> = model.sessions(account, at.millis()).into_iter().collect();
    for session in sessions {
        let said = reader.verdict(account, *session, at);
        let expected = expected.remove(&session.to_string());
        assert_eq!(said, expected, "the fold (left) and the model differ on {session} of {account} at {at}: {context}");
    }
    assert!(expected.is_empty(), "only the model knows {:?} of {account} at {at}: {context}", expected.keys());
}

/// Both have decided the same; within one offset in any order.
pub(crate) fn assert_decided_alike(reader: &Reader, model: &StraightLine, account: &str, context: &str) {
    let in_order = |mut decisions: Vec<Value>| {
        decisions.sort_by_cached_key(|decision| (decision["offset"].as_i64(), decision.to_string()));
        decisions
    };
    let (decided, expected) = (in_order(reader.decisions(account)), in_order(model.decisions(account)));
    assert_eq!(decided, expected, "the fold (left) and the model decided differently on {account}: {context}");
}
