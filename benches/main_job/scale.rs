//! How much and how long is measured.

use std::time::Duration;

use anyhow::Context as _;

/// How much and how long is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Times that limit and product take turns; a row is the median.
    pub(crate) rounds: usize,
    /// Load before anything counts: caches, branch predictors, connections and batches find their size.
    pub(crate) warm_up: Duration,
    /// Load that counts.
    pub(crate) measured: Duration,
    /// Sessions that are live at once where a node's size matters.
    pub(crate) live_sessions: usize,
    /// Records of the history that is folded, in rounds of its 100 000 sessions.
    pub(crate) history_records: usize,
    /// Records of the history that read models are rebuilt from.
    pub(crate) rebuild_records: usize,
    /// Times that readers are switched to another build and back.
    pub(crate) switches: usize,
    /// Starts over several nodes.
    pub(crate) random_starts: usize,
    /// How often one of these nodes is killed.
    pub(crate) kill_interval: Duration,
    /// How long a node is watched for growth.
    pub(crate) soak: Duration,
    /// Clickstream events that pages ask about.
    clicks: i64,
    /// How often each page is opened.
    pub(crate) pages: usize,
    /// Plays that a statement is made of.
    plays: i64,
}

impl Scale {
    /// What figures are read from.
    pub(crate) const FULL: Self = Self {
        rounds: 3,
        warm_up: Duration::from_millis(1_500),
        measured: Duration::from_secs(4),
        live_sessions: 100_000,
        history_records: 1_000_000,
        rebuild_records: 5_000_000,
        switches: 20,
        random_starts: 1_000_000,
        kill_interval: Duration::from_secs(20),
        soak: Duration::from_hours(1),
        clicks: 5_000_000,
        pages: 40,
        plays: 10_000_000,
    };
    /// What shows that the bench works.
    pub(crate) const QUICK: Self = Self {
        rounds: 1,
        warm_up: Duration::from_millis(500),
        measured: Duration::from_secs(1),
        live_sessions: 10_000,
        history_records: 200_000,
        rebuild_records: 200_000,
        switches: 5,
        random_starts: 10_000,
        kill_interval: Duration::from_secs(5),
        soak: Duration::from_mins(1),
        clicks: 200_000,
        pages: 5,
        plays: 200_000,
    };

    /// How many clickstream events; `PULSEGATE_BENCH_EVENTS` says another number.
    pub(crate) fn clicks(&self) -> anyhow::Result<i64> {
        asked_for("PULSEGATE_BENCH_EVENTS", self.clicks)
    }

    /// How many plays; `PULSEGATE_BENCH_PLAYS` says another number.
    pub(crate) fn plays(&self) -> anyhow::Result<i64> {
        asked_for("PULSEGATE_BENCH_PLAYS", self.plays)
    }
}

fn asked_for(variable: &str, otherwise: i64) -> anyhow::Result<i64> {
    let asked = std::env::var(variable).ok().filter(|number| !number.is_empty());
    asked.map_or(Ok(otherwise), |number| number.parse().with_context(|| format!("{variable} is no number: {number}")))
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A count as a number to divide.
#[expect(clippy::cast_precision_loss, reason = "nothing here counts to 2^52")]
pub(crate) const fn float(count: u64) -> f64 {
    count as f64
}

/// How many a second.
pub(crate) fn per_second(count: u64, time: Duration) -> f64 {
    float(count) / time.as_secs_f64()
}
