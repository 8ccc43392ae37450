//! A bounded map of what is asked for again and again: two generations, of which the older is let go when the newer is
//! full. What is asked for moves to the newer, so only what was quiet for a whole generation is forgotten; and nothing
//! that a caller sends makes it grow.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Requests of many threads look here at once.
const SHARDS: usize = 16;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

struct Two<K, V> {
    newer: Map<K, V>,
    older: Map<K, V>,
}

/// A map of bounded size.
pub(crate) struct Generations<K, V> {
    shards: [Mutex<Two<K, V>>; SHARDS],
    /// Secret, so that nobody can choose keys that fall into one shard.
    hasher: RandomState,
    generation_max: usize,
}

impl<K: Eq + Hash, V: Clone> Generations<K, V> {
    /// A map of at most `entries_max`.
    pub(crate) fn new(entries_max: usize) -> Self {
        let two = || Two { newer: Map::default(), older: Map::default() };
        Self {
            shards: std::array::from_fn(|_| Mutex::new(two())),
            hasher: RandomState::new(),
            generation_max: (entries_max / (2 * SHARDS)).max(1),
        }
    }

    fn shard(&self, key: &K) -> MutexGuard<'_, Two<K, V>> {
        let hash = self.hasher.hash_one(key);
        let index = usize::try_from(hash % (SHARDS as u64)).unwrap_or_default();
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known under a key.
    pub(crate) fn get(&self, key: K) -> Option<V> {
        let mut shard = self.shard(&key);
        if let Some(value) = shard.newer.get(&key) {
            return Some(value.clone());
        }
        let value = shard.older.remove(&key)?;
        shard.put(key, value.clone(), self.generation_max);
        Some(value)
    }

    /// Remembers something under a key.
    pub(crate) fn put(&self, key: K, value: V) {
        self.shard(&key).put(key, value, self.generation_max);
    }

    /// Looks at what is known under a key, and remembers what comes of it.
    pub(crate) fn change<R>(&self, key: K, change: impl FnOnce(Option<V>) -> (V, R)) -> R {
        let mut shard = self.shard(&key);
        let known = match shard.newer.get(&key) {
            Some(value) => Some(value.clone()),
            None => shard.older.remove(&key),
        };
        let (value, result) = change(known);
        shard.put(key, value, self.generation_max);
        result
    }
}

impl<K: Eq + Hash, V> Two<K, V> {
    fn put(&mut self, key: K, value: V, generation_max: usize) {
        if self.newer.len() >= generation_max && !self.newer.contains_key(&key) {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_nothing_grows_without_bound() {
        let map = Generations::new(64);
        for key in 0..10_000_u32 {
            map.put(key, key);
            assert_eq!(map.get(0), Some(0), "asked for each time, after {key}");
        }
        let kept = (0..10_000).filter(|key| map.get(*key).is_some()).count();
        assert!((2..=64).contains(&kept), "{kept}");
    }
}
