//! How long answers took, in a histogram of fixed size.

use std::time::Duration;

use serde::Serialize;

/// Buckets for each power of two: a quantile is right within 1/16.
const STEPS: usize = 16;
/// Powers of two of a microsecond that are told apart; the last reaches above an hour.
const POWERS: usize = 32;

/// Counts of durations, by size.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_us: u64,
}

/// What a histogram says, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Quantiles {
    /// How many answers.
    pub(crate) count: u64,
    /// Half of them took at most so long.
    pub(crate) p50_ms: f64,
    /// 95 % of them.
    pub(crate) p95_ms: f64,
    /// 99 % of them.
    pub(crate) p99_ms: f64,
    /// All of them.
    pub(crate) max_ms: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; STEPS * POWERS], total: 0, max_us: 0 }
    }
}

impl Histogram {
    /// Counts one duration.
    pub(crate) fn add(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = bucket_of(us).min(self.counts.len() - 1);
        self.counts[bucket] += 1;
        self.total += 1;
        self.max_us = self.max_us.max(us);
    }

    /// The quantiles; `None` if nothing was counted.
    pub(crate) fn quantiles(&self) -> Option<Quantiles> {
        (self.total > 0).then(|| Quantiles {
            count: self.total,
            p50_ms: self.quantile_ms(500),
            p95_ms: self.quantile_ms(950),
            p99_ms: self.quantile_ms(990),
            max_ms: millis(self.max_us),
        })
    }

    fn quantile_ms(&self, per_mille: u64) -> f64 {
        let rank = (self.total * per_mille).div_ceil(1_000);
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        millis(bucket.map_or(self.max_us, |bucket| upper_us(bucket).min(self.max_us)))
    }
}

fn millis(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64() * 1_000.0
}

/// Below `STEPS` each microsecond has a bucket of its own; from there on each power of two has `STEPS`.
fn bucket_of(us: u64) -> usize {
    let steps = STEPS as u64;
    if us < steps {
        return usize::try_from(us).unwrap_or(0);
    }
    let power = u64::from(us.ilog2() - steps.ilog2());
    usize::try_from((power + 1) * steps + (us >> power) - steps).unwrap_or(usize::MAX)
}

/// The largest duration of a bucket.
fn upper_us(bucket: usize) -> u64 {
    let (power, step) = (bucket / STEPS, (bucket % STEPS) as u64);
    if power == 0 { step } else { ((STEPS as u64 + step + 1) << (power - 1)) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_bucket_that_ends_just_above_it() {
        for us in (0..5_000).chain([60_000, 1_000_000, 5_000_000, 60_000_000]) {
            let upper = upper_us(bucket_of(us));
            assert!(upper >= us && (upper - us) * 16 <= us, "{us} in a bucket up to {upper}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_counted() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantiles(), None);
        for ms in 1..=100 {
            histogram.add(Duration::from_millis(ms));
        }
        let Quantiles { count, p50_ms, p99_ms, max_ms, .. } = histogram.quantiles().unwrap();
        assert_eq!(count, 100);
        assert!((50.0..54.0).contains(&p50_ms) && (99.0..=100.0).contains(&p99_ms), "{p50_ms} {p99_ms}");
        assert!((max_ms - 100.0).abs() < f64::EPSILON);
    }
}
