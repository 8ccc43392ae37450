//! Counters: what a batch adds to each key, added up before anything is written.

use std::collections::HashMap;
use std::collections::hash_map::IntoIter;
use std::hash::Hash;

/// What a batch adds to each key.
#[derive(Debug)]
pub struct Deltas<K> {
    sums: HashMap<K, i64, foldhash::fast::RandomState>,
}

impl<K> Default for Deltas<K> {
    fn default() -> Self {
        Self { sums: HashMap::default() }
    }
}

impl<K: Eq + Hash> Deltas<K> {
    /// Adds `n` to a key.
    pub fn add(&mut self, key: K, n: i64) {
        let sum = self.sums.entry(key).or_default();
        *sum = sum.saturating_add(n);
    }

    /// How many keys were added to.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sums.len()
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }
}

impl<K> IntoIterator for Deltas<K> {
    type Item = (K, i64);
    type IntoIter = IntoIter<K, i64>;

    fn into_iter(self) -> Self::IntoIter {
        self.sums.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_to_a_key_adds_up() {
        let mut deltas = Deltas::default();
        for (key, n) in [("a", 2), ("b", 5), ("a", -1)] {
            deltas.add(key, n);
        }
        let mut sums: Vec<_> = deltas.into_iter().collect();
        sums.sort_unstable();
        assert_eq!(sums, [("a", 1), ("b", 5)]);
    }
}
