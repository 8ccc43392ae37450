//! The search for a poison event: a batch that the database refuses is halved until one record is left.

use std::collections::BTreeMap;

use super::batch_error::BatchError;
use super::record::{Poison, Record};

/// How often a single record is tried before it is called poison: some refusals pass by themselves.
const TRIES_MAX: u32 = 3;

/// How many records are tried at once, and what is known of the first of them.
#[derive(Debug, Default)]
pub(crate) struct Search {
    /// None: all there are.
    window: Option<usize>,
    tries: u32,
    verdict: Option<Poison>,
}

impl Search {
    /// The records to try next, and which of them is poison.
    pub(crate) fn window<'a>(&self, rest: &'a [Record]) -> (&'a [Record], BTreeMap<i64, Poison>) {
        let records = &rest[..self.window.unwrap_or(rest.len()).clamp(1, rest.len())];
        let known = self.verdict.iter().map(|poison| (records[0].offset, poison.clone())).collect();
        (records, known)
    }

    /// A transaction went well.
    pub(crate) fn went_well(&mut self) {
        self.window = self.window.map(|window| window.saturating_mul(2)).filter(|window| *window < 1 << 20);
        self.tries = 0;
        self.verdict = None;
    }

    /// No more than this many may be tried.
    pub(crate) fn at_most(&mut self, records: usize) {
        self.window = Some(records.max(1));
    }

    /// A transaction of some of `rest` records was refused; `false` if that is no news about any of them.
    pub(crate) fn narrows(&mut self, rest: usize, error: &BatchError) -> bool {
        let window = self.window.unwrap_or(rest).clamp(1, rest.max(1));
        if window > 1 {
            self.window = Some(window / 2);
            return true;
        }
        self.window = Some(1);
        self.tries += 1;
        if self.verdict.is_none() && self.tries >= TRIES_MAX {
            self.verdict = Some(Poison::park(error));
            return true;
        }
        // Tried again after a wait; a refusal without the record in the batch isn't the record's fault.
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_among_many_is_found_by_halving() {
        let records: Vec<_> = (0..1_000).map(|offset| Record { offset, ..Record::default() }).collect();
        let (mut from, mut found, mut transactions) = (0, Vec::new(), 0);
        let mut search = Search::default();
        while from < records.len() {
            transactions += 1;
            let rest = &records[from..];
            let (batch, known) = search.window(rest);
            let refused = batch.iter().any(|record| record.offset == 617 && !known.contains_key(&617));
            if refused {
                search.narrows(rest.len(), &BatchError::Panicked("no".into()));
            } else {
                from += batch.len();
                found.extend(known.into_keys());
                search.went_well();
            }
        }
        assert_eq!(found, [617]);
        assert!(transactions < 60, "{transactions} transactions");
    }
}
