//! The figures of the live page, from what this node folds.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pulsegate_domain::account::{Decision, DecisionKind};
use pulsegate_domain::ids::AccountId;
use pulsegate_domain::time::Timestamp;
use serde::Serialize;

use super::shard::Shard;
use super::{Decided, Now};

/// How many of the newest decisions are shown.
const DECISIONS_MAX: usize = 50;
/// Over how long rates are taken.
const RATE_WINDOW: Duration = Duration::from_secs(10);
/// Over how long blocked attempts are counted.
const BLOCKED_WINDOW_MS: u64 = 60_000;
/// Most refusals that are remembered for that.
const REFUSALS_MAX: usize = 100_000;
/// How old counted figures may be: counting walks every account.
const COUNT_MAX_AGE: Duration = Duration::from_millis(900);

/// What runs now, as this node folded it.
#[derive(Clone, Debug, Serialize)]
pub struct Live {
    /// Sessions that hold a slot and are live.
    pub streams_now: u64,
    /// Live sessions without a slot.
    pub waiting_now: u64,
    /// Accounts with a stream.
    pub accounts_now: u64,
    /// Heartbeats folded per second, over the last ten.
    pub heartbeats_per_s: f64,
    /// Refusals that were decisions, in the last minute.
    pub blocked_attempts_per_min: u64,
    /// Refusals that were decisions, since this node caught up.
    pub blocked_attempts_total: u64,
    /// The newest decisions, newest first.
    pub decisions: Vec<LiveDecision>,
    /// When it was counted.
    pub as_of: LiveAsOf,
    /// How old the view's newest proof is, in milliseconds; absent while it is fresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_ms: Option<u64>,
}

/// When live figures were counted.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LiveAsOf {
    /// By this node's clock, kept to the log's.
    pub at: Timestamp,
}

/// A decision with its account and partition.
#[derive(Clone, Debug, Serialize)]
pub struct LiveDecision {
    /// Whose.
    pub account_id: AccountId,
    /// Where, with the decision's offset.
    pub partition: i32,
    /// What was decided.
    #[serde(flatten)]
    pub decision: Decision,
}

/// Counts as the fold goes.
#[derive(Default)]
pub(crate) struct Counters {
    /// Set once the view has caught up: history isn't "now".
    counting: AtomicBool,
    heartbeats: AtomicU64,
    refusals: AtomicU64,
    recent: Mutex<Recent>,
}

#[derive(Default)]
struct Recent {
    decisions: VecDeque<LiveDecision>,
    refusals: VecDeque<Timestamp>,
    heartbeats: VecDeque<(Instant, u64)>,
    counted: Option<(Instant, (u64, u64, u64))>,
}

impl Counters {
    pub(super) fn begin(&self) {
        self.counting.store(true, Ordering::Relaxed);
    }

    pub(super) fn heartbeat(&self) {
        self.heartbeats.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn decided(&self, decided: impl FnOnce() -> Decided) {
        if !self.counting.load(Ordering::Relaxed) {
            return;
        }
        let Decided { account, partition, decision } = decided();
        let mut recent = self.recent();
        if decision.decision == DecisionKind::Refuse {
            self.refusals.fetch_add(1, Ordering::Relaxed);
            if recent.refusals.len() == REFUSALS_MAX {
                recent.refusals.pop_front();
            }
            recent.refusals.push_back(decision.at);
        }
        if recent.decisions.len() == DECISIONS_MAX {
            recent.decisions.pop_back();
        }
        recent.decisions.push_front(LiveDecision { account_id: account, partition, decision });
    }

    /// Notes how far the counts are, for rates.
    pub(super) fn tick(&self) {
        let now = Instant::now();
        let mut recent = self.recent();
        recent.heartbeats.push_back((now, self.heartbeats.load(Ordering::Relaxed)));
        while recent.heartbeats.front().is_some_and(|(at, _)| now.duration_since(*at) > RATE_WINDOW) {
            recent.heartbeats.pop_front();
        }
    }

    pub(super) fn figures(&self, shards: &[Shard], now: Now) -> Live {
        // Counted without the lock: the fold takes a partition's lock first and this one second.
        let fresh = self.recent().counted.filter(|(at, _)| at.elapsed() < COUNT_MAX_AGE).map(|(_, figures)| figures);
        let figures = fresh.unwrap_or_else(|| {
            shards
                .iter()
                .map(|shard| shard.count(now))
                .fold((0, 0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1, sum.2 + part.2))
        });
        let stale_ms =
            shards.iter().filter(|shard| shard.is_folded()).map(|shard| shard.stale_ms(now)).max().unwrap_or_default();
        let mut recent = self.recent();
        if fresh.is_none() {
            recent.counted = Some((Instant::now(), figures));
        }
        let (accounts_now, streams_now, waiting_now) = figures;
        let since = now.at.minus_ms(BLOCKED_WINDOW_MS);
        while recent.refusals.front().is_some_and(|at| *at < since) {
            recent.refusals.pop_front();
        }
        Live {
            streams_now,
            waiting_now,
            accounts_now,
            heartbeats_per_s: rate(&recent.heartbeats),
            blocked_attempts_per_min: recent.refusals.len() as u64,
            blocked_attempts_total: self.refusals.load(Ordering::Relaxed),
            decisions: recent.decisions.iter().cloned().collect(),
            as_of: LiveAsOf { at: now.at },
            stale_ms: Some(stale_ms).filter(|stale| *stale >= super::STALE_MS_MIN),
        }
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn rate(ticks: &VecDeque<(Instant, u64)>) -> f64 {
    match (ticks.front(), ticks.back()) {
        (Some((first_at, first)), Some((last_at, last))) if last_at > first_at => {
            #[expect(clippy::cast_precision_loss, reason = "a rate to be looked at")]
            let count = (last - first) as f64;
            (count / last_at.duration_since(*first_at).as_secs_f64() * 10.0).round() / 10.0
        }
        _ => 0.0,
    }
}
