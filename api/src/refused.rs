//! Keeping what is refused, as it was received, so that it can be sent in again after a fix. No client
//! waits for it or is told of it.

use std::sync::Arc;

use bytes::Bytes;
use chrono::Utc;
use pulsegate_domain::time::Timestamp;
use pulsegate_write_side::rejected::{RejectReason, Rejected};
use pulsegate_write_side::request::ItemError;

use crate::problem::Problem;
use crate::state::ApiState;

/// Longest path that is kept as where something came in, in bytes: two ids and the words between.
const SOURCE_LEN_MAX: usize = 512;

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
            playback.keep_rejected(rejected).await;
        }
        drop(slot);
    });
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
