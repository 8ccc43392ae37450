//! State that a projection keeps a key, between batches: a bounded copy of what its tables say.

use std::collections::HashMap;
use std::hash::Hash;

use pulsegate_domain::time::Timestamp;

/// How many keys of one partition are kept, however few a batch names: as many sessions as a partition has at some ten
/// thousand heartbeats a second in all. With fewer each heartbeat would have its session read again.
const KEYS_MIN: usize = 10_000;
/// A key that was not named for so long, by the log's time, is let go before others. A player is heard of every 10 s.
const QUIET_MS: u64 = 60_000;

/// The state of one partition's keys: of all that the newest batch names, and of as many others as fit.
///
/// How many that is follows the batches: twice the keys of the last one, so that a rebuild, whose batches are large,
/// keeps much and a live fold little. Of those that are too many, what was quiet long goes first, and then whatever
/// comes first, not what was quiet longest: players are heard of in turns, and a cache that holds fewer than all of
/// them and lets the oldest go would never have what is asked for next.
#[derive(Debug)]
pub struct Cache<K, V> {
    entries: HashMap<K, Entry<V>, foldhash::fast::RandomState>,
    /// How many keys the last batch named, with those that it went on from.
    named: usize,
    /// The log's time at the end of the first of these.
    since: i64,
    has_let_go: bool,
}

#[derive(Debug, Default)]
struct Entry<V> {
    value: V,
    /// The log's time at the end of the newest batch that named it, in milliseconds.
    named_at: i64,
}

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::default(), named: 0, since: i64::MIN, has_let_go: false }
    }
}

impl<K: Clone + Eq + Hash, V: Default> Cache<K, V> {
    /// Begins a batch that names `keys`, some perhaps more than once, and ends at `clock`. Returns those that aren't
    /// here; their state is the default from now on, until it is brought.
    pub fn begin(&mut self, keys: impl Iterator<Item = K>, clock: Timestamp) -> Vec<K> {
        self.make_room(clock);
        self.named = 0;
        self.since = clock.millis();
        self.go_on(keys, clock)
    }

    /// The same for a batch that follows one whose state is in no table yet: nothing is let go.
    pub fn go_on(&mut self, keys: impl Iterator<Item = K>, clock: Timestamp) -> Vec<K> {
        let named_at = clock.millis();
        let mut missing = Vec::new();
        for key in keys {
            if let Some(entry) = self.entries.get_mut(&key) {
                self.named += usize::from(entry.named_at < self.since);
                entry.named_at = named_at;
            } else {
                self.named += 1;
                self.entries.insert(key.clone(), Entry { value: V::default(), named_at });
                missing.push(key);
            }
        }
        missing
    }

    fn make_room(&mut self, clock: Timestamp) {
        let most = KEYS_MIN.max(2 * self.named);
        if self.entries.len() <= most {
            return;
        }
        self.has_let_go = true;
        let quiet_since = clock.minus_ms(QUIET_MS).millis();
        self.entries.retain(|_, entry| entry.named_at > quiet_since);
        let mut too_many = self.entries.len().saturating_sub(most);
        self.entries.retain(|_, _| {
            let stays = too_many == 0;
            too_many = too_many.saturating_sub(1);
            stays
        });
        // A large batch is behind it: its room is let go as well.
        if self.entries.capacity() > 4 * most {
            self.entries.shrink_to(most);
        }
    }

    /// The state of a key that the batch names.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|entry| &mut entry.value)
    }

    /// Puts the state of a key that was missing.
    pub fn bring(&mut self, key: &K, value: V) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.value = value;
        }
    }

    /// How many keys are here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many keys the last batch named, with those that it [went on](Self::go_on) from.
    #[must_use]
    pub const fn named(&self) -> usize {
        self.named
    }

    /// Whether a key was ever let go: before that, what isn't here was never named.
    #[must_use]
    pub const fn has_let_go(&self) -> bool {
        self.has_let_go
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn what_a_batch_names_is_here_and_what_is_missing_is_told_once() {
        let mut cache = Cache::<u32, u32>::default();
        assert_eq!(cache.begin([1, 2, 1].into_iter(), at(1)), [1, 2]);
        *cache.get_mut(&1).unwrap() = 7;
        cache.bring(&2, 8);
        cache.bring(&3, 9);
        assert_eq!(cache.begin([2, 3, 1].into_iter(), at(1)), [3]);
        assert_eq!([1, 2, 3].map(|key| *cache.get_mut(&key).unwrap()), [7, 8, 0]);
    }

    #[test]
    fn as_many_are_kept_as_batches_need() {
        let mut cache = Cache::<usize, ()>::default();
        let large = 10 * KEYS_MIN;
        cache.begin(0..large, at(1));
        cache.begin(large..2 * large, at(2));
        cache.begin(0..1, at(3));
        assert!(!cache.has_let_go());
        cache.begin(0..1, at(4));
        assert!(cache.has_let_go());
        assert!(cache.len() <= KEYS_MIN + 1, "{} keys", cache.len());
    }

    #[test]
    fn what_is_quiet_goes_first_and_turns_that_are_too_long_still_find_some() {
        let mut cache = Cache::<usize, ()>::default();
        cache.begin(0..KEYS_MIN, at(0));
        let later = 1 + i64::try_from(QUIET_MS).unwrap();
        cache.begin(KEYS_MIN..KEYS_MIN + 100, at(later - 1));
        cache.begin(KEYS_MIN..=KEYS_MIN, at(later));
        assert_eq!(cache.len(), 100, "the quiet ones are gone");

        let players = 2 * KEYS_MIN;
        let mut found = 0;
        for turn in 0..20 {
            for first in (0..players).step_by(100) {
                let missing = cache.begin(first..first + 100, at(later + turn)).len();
                found += if turn > 0 { 100 - missing } else { 0 };
            }
        }
        assert!(found > 19 * players / 4, "found {found} of {}", 19 * players);
    }
}
