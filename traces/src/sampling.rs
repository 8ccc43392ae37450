//! Who is sampled: some by chance, some because their caller says so, and nobody without a bound.

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::Caller;
use super::context::{Context, Said};

/// Most requests a second that are sampled because a node that has passed them on says so.
const NEIGHBOURS_PER_S: u32 = 1_000;
/// Most records a second that get a span of their own.
const RECORDS_PER_S: u32 = 100;

pub(crate) struct Sampling {
    /// A random number below this is sampled.
    threshold: u64,
    outside: Allowance,
    neighbours: Allowance,
    records: Allowance,
}

impl Sampling {
    /// Samples `ratio` (0–1) of those of whom nobody says anything, and at most `forced_per_s` whose caller from outside
    /// says so.
    pub(crate) fn new(ratio: f64, forced_per_s: u32) -> Self {
        Self {
            threshold: threshold(ratio),
            outside: Allowance::new(forced_per_s),
            neighbours: Allowance::new(NEIGHBOURS_PER_S),
            records: Allowance::new(RECORDS_PER_S),
        }
    }

    /// Whether a request is sampled, and the span that it is a part of, if there is one.
    #[expect(clippy::option_option, reason = "not sampled, sampled and first, sampled and a part")]
    pub(crate) fn request(&self, traceparent: Option<&[u8]>, caller: Caller) -> Option<Option<Context>> {
        match traceparent.and_then(Said::read) {
            Some(said) if !said.is_sampled => None,
            Some(said) if self.allowance(caller).take() => Some(Some(said.context)),
            // Who asks too often is treated as if it had not asked, with its trace where chance will have it.
            Some(said) => self.chance().then_some(Some(said.context)),
            None => self.chance().then_some(None),
        }
    }

    /// Whether one more record gets a span.
    pub(crate) fn record(&self) -> bool {
        self.records.take()
    }

    const fn allowance(&self, caller: Caller) -> &Allowance {
        match caller {
            Caller::Outside => &self.outside,
            Caller::Neighbour => &self.neighbours,
        }
    }

    fn chance(&self) -> bool {
        random() < self.threshold
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a ratio of 0 to 1 of all numbers; a cast of what is larger gives the largest"
)]
fn threshold(ratio: f64) -> u64 {
    (ratio.clamp(0.0, 1.0) * u64::MAX as f64) as u64
}

/// So many a second.
struct Allowance {
    per_s: u32,
    /// The second, and how many it has had: above and below the middle.
    taken: AtomicU64,
}

impl Allowance {
    const fn new(per_s: u32) -> Self {
        Self { per_s, taken: AtomicU64::new(0) }
    }

    fn take(&self) -> bool {
        static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
        self.take_in(BEGAN.elapsed().as_secs() + 1)
    }

    fn take_in(&self, second: u64) -> bool {
        let more = |taken: u64| {
            let count = if taken >> 32 == second { taken & u64::from(u32::MAX) } else { 0 };
            (count < u64::from(self.per_s)).then_some(second << 32 | (count + 1))
        };
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }
}

/// Numbers that nobody needs to be unable to guess (`SplitMix64`, seeded for each thread by the system).
pub(crate) fn random() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0));
    }
    STATE.with(|state| {
        let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(next);
        let mixed = (next ^ next >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLED: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const NOT_SAMPLED: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    #[test]
    fn nobody_is_sampled_at_nought_and_everybody_at_one() {
        let of =
            |ratio| (0..1_000).filter(|_| Sampling::new(ratio, 0).request(None, Caller::Outside).is_some()).count();
        assert_eq!((of(0.0), of(1.0)), (0, 1_000));
    }

    #[test]
    fn about_a_hundredth_is_sampled_at_a_hundredth() {
        let sampling = Sampling::new(0.01, 0);
        let sampled = (0..100_000).filter(|_| sampling.request(None, Caller::Outside).is_some()).count();
        assert!((700..1_300).contains(&sampled), "{sampled}");
    }

    #[test]
    fn a_caller_that_says_no_is_not_sampled() {
        assert_eq!(Sampling::new(1.0, 10).request(Some(NOT_SAMPLED), Caller::Outside), None);
    }

    #[test]
    fn callers_from_outside_force_a_few_and_nodes_more() {
        let sampling = Sampling::new(0.0, 3);
        let of = |caller| (0..500).filter(|_| sampling.request(Some(SAMPLED), caller).is_some()).count();
        // A second may pass on the way.
        assert!((3..=6).contains(&of(Caller::Outside)));
        assert_eq!(of(Caller::Neighbour), 500);
        assert_eq!(Sampling::new(0.0, 0).request(Some(SAMPLED), Caller::Outside), None);
        let parent = Context::of_sampled(SAMPLED);
        assert_eq!(Sampling::new(1.0, 0).request(Some(SAMPLED), Caller::Outside), Some(parent));
        assert_eq!(Sampling::new(1.0, 0).request(Some(b"nonsense"), Caller::Outside), Some(None));
    }

    #[test]
    fn each_second_has_its_own_allowance() {
        let allowance = Allowance::new(2);
        let taken: Vec<_> = [1, 1, 1, 2, 2, 2, 9].map(|second| allowance.take_in(second)).to_vec();
        assert_eq!(taken, [true, true, false, true, true, false, true]);
    }
}
