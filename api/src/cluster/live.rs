//! The figures of the live page, of all nodes together.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;

use super::Cluster;

/// How long another node may take to give its figures; without them the sum says less, and the page goes on.
const LIVE_MAX: Duration = Duration::from_secs(1);
/// How many of the newest decisions are shown.
const DECISIONS_MAX: usize = 50;
/// What is counted on each node and adds up.
const SUMS: [&str; 6] = [
    "streams_now",
    "waiting_now",
    "accounts_now",
    "heartbeats_per_s",
    "blocked_attempts_per_min",
    "blocked_attempts_total",
];

impl Cluster {
    /// Adds the other nodes' figures to this node's. One that doesn't answer is left out: what it had is being taken
    /// over.
    pub(crate) async fn add_live(&self, own: Value) -> Value {
        let Some(owned) = &self.inner.owned else { return own };
        let reachable = owned.reachable.borrow().clone();
        let asked = reachable.iter().map(|address| owned.peers.get::<Value>(address, "/v1/live", LIVE_MAX));
        let others = join_all(asked).await.into_iter().filter_map(Result::ok);
        others.fold(own, |sum, other| add(sum, &other))
    }
}

fn add(mut sum: Value, other: &Value) -> Value {
    for field in SUMS {
        let (one, two) = (&sum[field], &other[field]);
        let both = one.as_f64().unwrap_or_default() + two.as_f64().unwrap_or_default();
        let whole = one.as_u64().zip(two.as_u64());
        sum[field] = whole.map_or_else(|| ((both * 10.0).round() / 10.0).into(), |(one, two)| (one + two).into());
    }
    let stale = sum["stale_ms"].as_u64().max(other["stale_ms"].as_u64());
    if let Some(stale) = stale {
        sum["stale_ms"] = stale.into();
    }
    if let (Some(mine), Value::Array(theirs)) = (sum["decisions"].as_array_mut(), &other["decisions"]) {
        mine.extend(theirs.iter().cloned());
        // Newest first; RFC 3339 in UTC with milliseconds sorts as it is.
        mine.sort_by(|one, two| two["at"].as_str().cmp(&one["at"].as_str()));
        mine.truncate(DECISIONS_MAX);
    }
    sum
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_add_up_and_decisions_are_the_newest_of_all() {
        let decision = |at: &str| json!({"at": format!("2026-11-22T20:47:{at}.000Z")});
        let figures = |streams: u64, rate: f64, decisions: Vec<Value>| {
            json!({"streams_now": streams, "waiting_now": 1, "accounts_now": 2, "heartbeats_per_s": rate,
                   "blocked_attempts_per_min": 0, "blocked_attempts_total": 9, "decisions": decisions})
        };
        let one = figures(3, 0.1, vec![decision("09"), decision("01")]);
        let other = figures(4, 0.2, (0..50).map(|_| decision("05")).collect());
        let sum = add(one, &other);
        assert_eq!(
            (&sum["streams_now"], &sum["heartbeats_per_s"], &sum["blocked_attempts_total"]),
            (&json!(7), &json!(0.3), &json!(18))
        );
        let decisions = sum["decisions"].as_array().unwrap();
        assert_eq!((decisions.len(), &decisions[0], &decisions[49]), (50, &decision("09"), &decision("05")));
        assert!(sum.get("stale_ms").is_none());
    }
}
