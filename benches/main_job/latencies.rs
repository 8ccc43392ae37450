//! How long answers took.

use std::time::Duration;

use crate::scale::float;

/// Every one of them, in microseconds: a run has few enough to need no histogram.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies(Vec<u32>);

/// In milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quantiles {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

impl Latencies {
    pub(crate) fn add(&mut self, took: Duration) {
        self.0.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    pub(crate) fn merge(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// Half and 99 % took at most so long; of nothing, no number.
    pub(crate) fn quantiles(mut self) -> Quantiles {
        self.0.sort_unstable();
        let at = |per_mille: usize| {
            let rank = (self.0.len() * per_mille).div_ceil(1_000).saturating_sub(1);
            self.0.get(rank).map_or(f64::NAN, |us| float(u64::from(*us)) / 1e3)
        };
        Quantiles { p50_ms: at(500), p99_ms: at(990) }
    }
}

/// The quantiles of several rounds.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    p50_ms: Vec<f64>,
    p99_ms: Vec<f64>,
}

impl Rounds {
    pub(crate) fn add(&mut self, quantiles: Quantiles) {
        self.p50_ms.push(quantiles.p50_ms);
        self.p99_ms.push(quantiles.p99_ms);
    }

    /// The medians.
    pub(crate) fn median(self) -> Quantiles {
        Quantiles { p50_ms: crate::scale::median(self.p50_ms), p99_ms: crate::scale::median(self.p99_ms) }
    }
}
