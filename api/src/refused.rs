//! Keeping what is refused, as it was received, so that it can be sent in again after a fix. No client
//! waits for it or is told of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::Utc;
use pulsegate_domain::time::Timestamp;
use pulsegate_write_side::rejected::{RejectReason, Rejected};
use pulsegate_write_side::request::{INVALID, ItemError};
use serde_json::value::RawValue;

use crate::problem::{Problem, ProblemKind};
use crate::state::ApiState;

/// Longest path that is kept as where something came in, in bytes: two ids and the words between.
const SOURCE_LEN_MAX: usize = 512;

/// The route whose bodies are what people wrote.
const CLICKSTREAM: &str = "/v1/clickstream";

/// A whole body that was refused at `path`.
pub(crate) fn whole(path: &str, body: &Bytes, problem: &Problem) -> Rejected {
    // The account as the path names it: what is refused for its account has no valid one.
    let key = path.strip_prefix("/v1/accounts/").and_then(|rest| rest.split('/').next());
    Rejected {
        key: key.map(|key| key.as_bytes().to_vec()),
        reason: RejectReason::of_code(problem.kind().code()),
        source: path[..path.floor_char_boundary(SOURCE_LEN_MAX)].to_owned(),
        index: None,
        detail: problem.detail().to_owned(),
        problems: problem.errors().to_vec(),
        received_at: Timestamp::from(Utc::now()),
        original: body.to_vec(),
        cut_from: None,
        resent: None,
    }
}

/// The items of a batch that could not be read.
pub(crate) fn items(source: &str, items: &[ItemError]) -> Vec<Rejected> {
    let received_at = Timestamp::from(Utc::now());
    let refused = items.iter().map(|item| Rejected {
        key: item.key.as_ref().map(|key| key.as_bytes().to_vec()),
        reason: RejectReason::Invalid,
        source: source.to_owned(),
        index: Some(item.index),
        detail: item.detail.clone(),
        problems: item.problems.clone(),
        received_at,
        original: item.original.as_bytes().to_vec(),
        cut_from: None,
        resent: None,
    });
    refused.collect()
}

/// The items of a batch that could be read and were refused as well-formed but wrong, because of what their account has
/// done: each its index, code and detail. `field` is the one in which the body has its items. Whoever took the batch in
/// keeps them, so that a part that is passed on to another node is kept once.
pub(crate) fn judged<'a>(
    source: &str,
    body: &Bytes,
    field: &str,
    rejected: impl IntoIterator<Item = (usize, &'a str, &'a str)>,
) -> Vec<Rejected> {
    let is_wrong =
        |code| ProblemKind::of(code).is_some_and(|kind| kind.status() == http::StatusCode::UNPROCESSABLE_ENTITY);
    let mut rejected = rejected.into_iter().filter(|(_, code, _)| *code != INVALID && is_wrong(code)).peekable();
    if rejected.peek().is_none() {
        return Vec::new();
    }
    let (raw, received_at) = (raw_items(body, field), Timestamp::from(Utc::now()));
    let refused = rejected.filter_map(|(index, code, detail)| {
        let original = raw.get(index)?.get();
        Some(Rejected {
            key: key_of(original),
            reason: RejectReason::of_code(code),
            source: source.to_owned(),
            index: Some(index),
            detail: detail.to_owned(),
            problems: Vec::new(),
            received_at,
            original: original.as_bytes().to_vec(),
            cut_from: None,
            resent: None,
        })
    });
    refused.collect()
}

/// The items of a batch as they stand in its body, which was read as a batch before.
pub(crate) fn raw_items<'a>(body: &'a Bytes, field: &str) -> Vec<&'a RawValue> {
    let fields = serde_json::from_slice::<BTreeMap<std::borrow::Cow<'_, str>, &'a RawValue>>(body);
    let items = fields.ok().and_then(|fields| fields.get(field).copied());
    items.and_then(|items| serde_json::from_str(items.get()).ok()).unwrap_or_default()
}

/// The account that an item names.
fn key_of(item: &str) -> Option<Vec<u8>> {
    #[derive(serde::Deserialize)]
    struct Named {
        account_id: String,
    }

    serde_json::from_str::<Named>(item).ok().map(|named| named.account_id.into_bytes())
}

/// Keeps what was refused, beside the request. More at once than the node keeps is counted and let go.
pub(crate) fn keep(api: &ApiState, refused: Vec<Rejected>) {
    if refused.is_empty() {
        return;
    }
    let Ok(slot) = Arc::clone(api.keeping()).try_acquire_owned() else {
        metrics::counter!("pulsegate_rejected_lost_total").increment(refused.len() as u64);
        return;
    };
    let playback = api.playback().clone();
    tokio::spawn(async move {
        for rejected in refused {
            let rejected = if playback.seals() { without_words(rejected) } else { rejected };
            playback.keep_rejected(rejected).await;
        }
        drop(slot);
    });
}

/// Where what people wrote is sealed, what was refused of it is not kept: whose it is can't be told.
fn without_words(rejected: Rejected) -> Rejected {
    if rejected.source != CLICKSTREAM {
        return rejected;
    }
    let cut_from = rejected.cut_from.or(Some(rejected.original.len()));
    Rejected { original: Vec::new(), cut_from, detail: String::new(), ..rejected }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::problem::ProblemKind;

    #[test]
    fn whatever_is_kept_has_a_reason_of_its_own() {
        let is_kept =
            |kind: &&ProblemKind| matches!(kind.status(), StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY);
        for kind in ProblemKind::ALL.iter().filter(is_kept) {
            assert_eq!(RejectReason::of_code(kind.code()).code(), kind.code());
        }
    }
}
