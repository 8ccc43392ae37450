//! The topics of the log, and where in one a key stands.

use std::fmt;

/// A topic of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Starts, heartbeats, stops, evictions, signals; keyed by account.
    Playback,
    /// Any JSON that a front end sends; keyed by account or visitor.
    Clickstream,
    /// Titles, rights holders, contracts, policies, entitlements; one partition, keyed by entity.
    Catalog,
    /// What was refused, as it was received.
    Rejected,
    /// Answers that were given from less than the whole log; keyed by account.
    Provisional,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 5] = [Self::Playback, Self::Clickstream, Self::Catalog, Self::Rejected, Self::Provisional];

    /// The name behind the prefix.
    #[must_use]
    pub const fn base_name(self) -> &'static str {
        match self {
            Self::Playback => "playback",
            Self::Clickstream => "clickstream",
            Self::Catalog => "catalog",
            Self::Rejected => "rejected",
            Self::Provisional => "provisional",
        }
    }
}

/// The names of one deployment's topics: several share a cluster by prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicNames {
    prefix: String,
}

impl TopicNames {
    /// Topics behind `prefix`, e.g. `pulsegate.`
    #[must_use]
    pub fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into() }
    }

    /// The full name of a topic, e.g. `pulsegate.playback`.
    #[must_use]
    pub fn name(&self, topic: Topic) -> String {
        format!("{}{}", self.prefix, topic.base_name())
    }

    /// The prefix.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl fmt::Display for TopicNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}*", self.prefix)
    }
}

/// The partition of a key: Kafka's own (Java) partitioner, murmur2 of the key over the partition count.
///
/// # Panics
/// If `partitions` is not positive: a topic has at least one.
#[must_use]
pub fn partition_of(key: &[u8], partitions: i32) -> i32 {
    assert!(partitions > 0, "a topic has at least one partition");
    let positive = murmur2(key) & 0x7fff_ffff;
    i32::try_from(positive).unwrap_or(i32::MAX) % partitions
}

fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut hash = SEED ^ length;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        k = k.wrapping_mul(M);
        k ^= k >> 24;
        k = k.wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_kafkas_own_partitioner() {
        // The values of Apache Kafka's UtilsTest.testMurmur2.
        for (key, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()), hash.cast_unsigned(), "{key}");
        }
        assert!((0..12).contains(&partition_of(b"account-1", 12)));
    }

    #[test]
    fn names_stand_behind_the_prefix() {
        assert_eq!(TopicNames::new("pulsegate.").name(Topic::Playback), "pulsegate.playback");
    }
}
