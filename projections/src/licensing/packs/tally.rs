//! From facts to figures: the second way to them, beside SQL over the facts themselves.

use super::form::{Counted, Fact, Facts};

/// Counts facts, each session's of one row, together.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counted: Counted,
    is_any: bool,
    accounts: Vec<u32>,
    edges: Vec<i64>,
}

impl Tally {
    /// Takes up a fact; `threshold_ms` is from where on a play is a qualified view.
    pub(crate) fn add(&mut self, facts: &Facts, fact: &Fact, threshold_ms: i64) {
        let reached_ms = fact.before_ms.saturating_add(fact.watched_ms);
        let is_qualified = fact.before_ms < threshold_ms && threshold_ms <= reached_ms;
        self.is_any = true;
        self.counted.plays += i64::from(fact.played);
        self.counted.qualified_views += i64::from(is_qualified);
        self.counted.watched_ms = self.counted.watched_ms.saturating_add(fact.watched_ms);
        self.counted.aged_ms = self.counted.aged_ms.saturating_add(fact.aged_ms);
        self.counted.content_ms = self.counted.content_ms.saturating_add(fact.content_ms);
        self.accounts.push(fact.account);
        // Intervals are half open: at one instant the ends, which are even, come before the beginnings.
        for (from, to) in facts.intervals(fact) {
            self.edges.push(from.saturating_mul(2).saturating_add(1));
            self.edges.push(to.saturating_mul(2));
        }
    }

    /// The figures, if anything was taken up; it begins anew.
    pub(crate) fn take(&mut self) -> Option<Counted> {
        if !std::mem::take(&mut self.is_any) {
            return None;
        }
        let mut counted = std::mem::take(&mut self.counted);
        self.accounts.sort_unstable();
        self.accounts.dedup();
        counted.distinct_accounts = i64::try_from(self.accounts.len()).unwrap_or(i64::MAX);
        self.accounts.clear();
        self.edges.sort_unstable();
        let mut watching = 0;
        for edge in self.edges.drain(..) {
            watching += if edge & 1 == 1 { 1 } else { -1 };
            counted.peak_concurrent = counted.peak_concurrent.max(watching);
        }
        Some(counted)
    }
}

/// A set of accounts by their numbers, which are dense: few are a list, many are bits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts {
    few: Vec<u32>,
    bits: Vec<u64>,
}

/// A list longer than this is sorted, and bits are made of what is left if that is still half as long.
const FEW: usize = 4_096;

impl Accounts {
    /// Adds one.
    pub(crate) fn add(&mut self, account: u32) {
        if self.bits.is_empty() {
            self.few.push(account);
            if self.few.len() > FEW {
                self.settle();
            }
        } else {
            self.set(account);
        }
    }

    fn set(&mut self, account: u32) {
        let word = usize::try_from(account / 64).unwrap_or(usize::MAX);
        if word >= self.bits.len() {
            self.bits.resize(word + 1, 0);
        }
        self.bits[word] |= 1 << (account % 64);
    }

    fn settle(&mut self) {
        self.few.sort_unstable();
        self.few.dedup();
        if self.few.len() > FEW / 2 {
            for account in std::mem::take(&mut self.few) {
                self.set(account);
            }
        }
    }

    /// How many there are.
    pub(crate) fn count(&mut self) -> i64 {
        self.settle();
        let bits: u64 = self.bits.iter().map(|word| u64::from(word.count_ones())).sum();
        i64::try_from(self.few.len() as u64 + bits).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::licensing::packs::form::{Numbers, Place};

    #[test]
    fn figures_are_counted_over_facts() {
        let mut facts = Facts::default();
        let place = Place::of("DE", "tv").unwrap();
        let fact = |account, before, watched| Numbers {
            day: 20_000,
            place,
            played: before == 0,
            account,
            times: [before, watched, 1, 2],
        };
        facts.push(&fact(1, 0, 20_000), [(0, 10), (10, 20)].into_iter());
        facts.push(&fact(1, 20_000, 10_000), [(20, 30)].into_iter());
        facts.push(&fact(2, 0, 29_999), [(15, 25)].into_iter());
        let mut tally = Tally::default();
        assert_eq!(tally.take(), None);
        for _ in 0..2 {
            facts.facts.iter().for_each(|fact| tally.add(&facts, fact, 30_000));
            let expected = Counted {
                plays: 2,
                qualified_views: 1,
                watched_ms: 59_999,
                aged_ms: 3,
                content_ms: 6,
                distinct_accounts: 2,
                peak_concurrent: 2,
            };
            assert_eq!(tally.take(), Some(expected));
        }
    }

    #[test]
    fn accounts_are_counted_once() {
        for (count, step) in [(10, 1), (10_000, 3), (300_000, 7)] {
            let numbers = || (0..count).map(|number| number * step % 100_003);
            let mut accounts = Accounts::default();
            numbers().for_each(|number| accounts.add(number));
            assert_eq!(accounts.count(), i64::try_from(numbers().collect::<BTreeSet<_>>().len()).unwrap());
        }
    }
}
