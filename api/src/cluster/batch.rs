//! Batches that hold several accounts: split by who has each account in memory, done at once, merged in order.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use pulsegate_domain::ids::AccountId;
use pulsegate_projections::cluster::Address;
use pulsegate_write_side::request::{Batch, HeartbeatRequest, SignalRequest};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::Lost;
use super::{Cluster, Owned};
use crate::answer::{SignalAnswer, SignalPassedOn, SignalsAnswer};
use crate::playback::{BatchOutcome, CommandError, ItemRejected};
use crate::problem::{Problem, ProblemKind};
use crate::refused::raw_items;
use crate::state::ApiState;

const HEARTBEATS: &str = "/v1/heartbeats";
const SIGNALS: &str = "/v1/signals";
/// Longest answer of another node that is read, in bytes: a thousand verdicts.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A part of a batch that another node has in memory.
struct Part<T> {
    peer: Address,
    items: Vec<(usize, T)>,
}

/// An item that a peer rejected.
#[derive(Deserialize)]
struct Rejected {
    index: usize,
    code: String,
    detail: String,
}

#[derive(Deserialize)]
struct HeartbeatsTaken {
    accepted: usize,
    rejected: Vec<Rejected>,
}

#[derive(Deserialize)]
struct SignalsJudged {
    verdicts: Vec<SignalPassedOn>,
}

/// What a peer made of its part.
enum Judged<T> {
    Answered(T),
    /// It can't be asked any more: its part is done here.
    Lost,
    /// It says that it can't do it now, or may have done it and went away.
    Away(String),
}

impl Cluster {
    /// Appends a batch of heartbeats, each through the node that has its account.
    pub(crate) async fn heartbeats(
        &self,
        api: &ApiState,
        mut batch: Batch<HeartbeatRequest>,
        body: &Bytes,
        hopped: bool,
    ) -> Result<BatchOutcome, CommandError> {
        let parts = self.take_parts(&mut batch.accepted, |request| &request.account_id, hopped);
        let Some(owned) = self.inner.owned.as_ref().filter(|_| !parts.is_empty()) else {
            return api.playback().heartbeats(batch).await;
        };
        let raw = raw_items(body, "heartbeats");
        let passed = parts.into_iter().map(async |part| {
            let judged = self.ask::<HeartbeatsTaken, _>(owned, &part, HEARTBEATS, "heartbeats", &raw).await;
            match judged {
                Judged::Answered(taken) => Ok(of_peer(&part.items, taken)),
                Judged::Lost => {
                    let batch = Batch { accepted: part.items, rejected: Vec::new() };
                    api.playback().heartbeats(batch).await.map_err(|error| (Vec::new(), error))
                }
                Judged::Away(detail) => {
                    let indices = part.items.iter().map(|(index, _)| *index).collect();
                    Err((indices, CommandError::Unavailable { detail }))
                }
            }
        });
        let own = async {
            if batch.is_empty() {
                return Ok(BatchOutcome::default());
            }
            let indices: Vec<_> = batch.accepted.iter().map(|(index, _)| *index).collect();
            api.playback().heartbeats(batch).await.map_err(|error| (indices, error))
        };
        let (own, passed) = futures_util::future::join(own, join_all(passed)).await;
        merged(std::iter::once(own).chain(passed))
    }

    /// Appends a batch of signals and answers each, through the node that has its account.
    pub(crate) async fn signals(
        &self,
        api: &ApiState,
        mut batch: Batch<SignalRequest>,
        body: &Bytes,
        hopped: bool,
    ) -> Result<SignalsAnswer, Problem> {
        let parts = self.take_parts(&mut batch.accepted, |request| &request.account_id, hopped);
        let Some(owned) = self.inner.owned.as_ref().filter(|_| !parts.is_empty()) else {
            return SignalsAnswer::of(api.playback().signals(batch).await, api.measures());
        };
        let raw = raw_items(body, "signals");
        let here = async |batch| {
            let outcomes = api.playback().signals(batch).await;
            outcomes.into_iter().map(|outcome| SignalAnswer::of(outcome, api.measures())).collect::<Vec<_>>()
        };
        let passed = parts.into_iter().map(async |part| {
            match self.ask::<SignalsJudged, _>(owned, &part, SIGNALS, "signals", &raw).await {
                Judged::Answered(judged) => {
                    let indices = part.items.iter().map(|(index, _)| *index);
                    indices
                        .zip(judged.verdicts)
                        .map(|(index, verdict)| SignalAnswer::passed_on(index, verdict))
                        .collect()
                }
                Judged::Lost => here(Batch { accepted: part.items, rejected: Vec::new() }).await,
                Judged::Away(detail) => {
                    let away = |(index, _): &(usize, _)| SignalAnswer::away(*index, detail.clone());
                    part.items.iter().map(away).collect()
                }
            }
        });
        let (own, passed) = futures_util::future::join(here(batch), join_all(passed)).await;
        SignalsAnswer::merged(own.into_iter().chain(passed.into_iter().flatten()).collect())
    }

    /// Takes out of a batch what other nodes have in memory.
    fn take_parts<T>(
        &self,
        accepted: &mut Vec<(usize, T)>,
        account: impl Fn(&T) -> &AccountId,
        hopped: bool,
    ) -> Vec<Part<T>> {
        if hopped || self.inner.owned.is_none() {
            return Vec::new();
        }
        let mut own = Vec::new();
        let mut parts: BTreeMap<Address, Vec<(usize, T)>> = BTreeMap::new();
        for (index, item) in std::mem::take(accepted) {
            match self.peer_of(account(&item)) {
                Some(peer) => parts.entry(peer).or_default().push((index, item)),
                None => own.push((index, item)),
            }
        }
        *accepted = own;
        parts.into_iter().map(|(peer, items)| Part { peer, items }).collect()
    }

    async fn ask<A: for<'de> Deserialize<'de>, T>(
        &self,
        owned: &Owned,
        part: &Part<T>,
        path: &'static str,
        field: &str,
        raw: &[&RawValue],
    ) -> Judged<A> {
        let items: Vec<_> = part.items.iter().filter_map(|(index, _)| raw.get(*index)).map(|item| item.get()).collect();
        let body = Bytes::from(format!("{{\"{field}\":[{}]}}", items.join(",")));
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let uri = Uri::from_static(path);
        let asked = owned.peers.pass_on(&part.peer, &Method::POST, &uri, &headers, body);
        let answer = tokio::select! {
            answer = asked => answer,
            () = owned.lost(&part.peer) => Err(Lost { sent: true, error: "it is lost".to_owned() }),
        };
        self.note(&part.peer, &answer);
        match answer {
            Ok(answer) => {
                let status = answer.status();
                let read = axum::body::to_bytes(answer.into_body(), ANSWER_BYTES_MAX).await;
                match read.map(|body| serde_json::from_slice(&body)) {
                    Ok(Ok(answered)) if status == StatusCode::OK => Judged::Answered(answered),
                    _ => Judged::Away(format!("the node that has this account answered {status}")),
                }
            }
            // What is sent twice is counted once: heartbeats by their sequence, and a signal is a sign of life.
            Err(_) => Judged::Lost,
        }
    }
}

/// What a peer made of its part, by the indices of the whole batch.
fn of_peer<T>(items: &[(usize, T)], taken: HeartbeatsTaken) -> BatchOutcome {
    let rejected = taken.rejected.into_iter().filter_map(|rejected| {
        let (index, _) = items.get(rejected.index)?;
        let code = ProblemKind::of(&rejected.code).unwrap_or(ProblemKind::Unavailable).code();
        Some(ItemRejected { index: *index, code, detail: rejected.detail })
    });
    BatchOutcome { accepted: taken.accepted, rejected: rejected.collect() }
}

/// One answer of all parts. A part that failed is so many items that did; if nothing was done at all, the batch did.
fn merged(
    parts: impl Iterator<Item = Result<BatchOutcome, (Vec<usize>, CommandError)>>,
) -> Result<BatchOutcome, CommandError> {
    let mut all = BatchOutcome::default();
    let mut failed = None;
    for part in parts {
        match part {
            Ok(part) => {
                all.accepted += part.accepted;
                all.rejected.extend(part.rejected);
            }
            Err((indices, error)) => {
                let reject = |index| ItemRejected { index, code: error.code(), detail: error.to_string() };
                all.rejected.extend(indices.into_iter().map(reject));
                failed = Some(error);
            }
        }
    }
    all.rejected.sort_by_key(|item| item.index);
    match failed {
        Some(error) if all.accepted == 0 => Err(error),
        _ => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_passed_on_as_they_came() {
        let body = Bytes::from_static(br#"{"x":1,"heartbeats":[{"a" : 1}, 7 ,{"b":"\u0041"}]}"#);
        let raw: Vec<_> = raw_items(&body, "heartbeats").into_iter().map(RawValue::get).collect();
        assert_eq!(raw, [r#"{"a" : 1}"#, "7", r#"{"b":"\u0041"}"#]);
        assert!(raw_items(&body, "signals").is_empty());
    }

    #[test]
    fn parts_are_merged_in_the_order_of_the_batch() {
        let rejected = |index| Rejected { index, code: "session-mismatch".to_owned(), detail: "d".to_owned() };
        // The peer's items 0 and 1 are the batch's 2 and 7.
        let peer = of_peer(&[(2, ()), (7, ())], HeartbeatsTaken { accepted: 1, rejected: vec![rejected(1)] });
        let own = BatchOutcome { accepted: 3, rejected: Vec::new() };
        let away = || CommandError::Unavailable { detail: "away".to_owned() };
        let all = merged([Ok(own), Ok(peer), Err((vec![0, 5], away()))].into_iter()).unwrap();
        let rejected: Vec<_> = all.rejected.iter().map(|item| (item.index, item.code)).collect();
        assert_eq!(all.accepted, 4);
        assert_eq!(rejected, [(0, "unavailable"), (5, "unavailable"), (7, "session-mismatch")]);
        assert!(merged([Ok(BatchOutcome::default()), Err((vec![0], away()))].into_iter()).is_err(), "nothing was done");
    }
}
