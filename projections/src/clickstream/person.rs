//! Who did it, as a number: what the samples are drawn by.

use pulsegate_domain::ids::{AccountId, AnonymousId};

/// The account, else the visitor; an event that names neither is a person of its own.
///
/// The numbers stand in tables: another way to make them is another version of the projection.
pub(super) fn of(
    account_id: Option<&AccountId>,
    anonymous_id: Option<&AnonymousId>,
    partition: i32,
    offset: i64,
) -> i64 {
    match (account_id, anonymous_id) {
        (Some(account), _) => hash(b'a', account.as_str().as_bytes()),
        (None, Some(visitor)) => hash(b'v', visitor.as_str().as_bytes()),
        (None, None) => hash(b'e', &(i128::from(partition) << 64 | i128::from(offset)).to_be_bytes()),
    }
}

/// Whether all that this person does is in the coarser and larger sample, one in 16.
pub(super) const fn is_sampled(person: i64) -> bool {
    person.trailing_zeros() >= 4
}

/// FNV-1a, then the finish of `SplitMix64`: its low bits, by which samples are drawn, are as good as the others.
fn hash(kind: u8, bytes: &[u8]) -> i64 {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let mut hash = std::iter::once(&kind).chain(bytes).fold(0xcbf2_9ce4_8422_2325, fnv);
    hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (hash ^ hash >> 31).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_holds_as_many_as_it_says_and_everything_of_each() {
        let of_account = |n: u32| of(Some(&format!("account-{n}").parse().unwrap()), None, 0, 0);
        for one_in in [16_i64, 256] {
            let drawn =
                i64::from(u32::try_from((0..100_000).filter(|n| of_account(*n) & (one_in - 1) == 0).count()).unwrap());
            // Three standard deviations of the binomial are 230 of 6 250, and 59 of 390.
            assert!((drawn * one_in - 100_000).abs() < 15_500, "{drawn} of one in {one_in}");
        }
        let account = Some("ada".parse().unwrap());
        let visitor = Some("ada".parse().unwrap());
        let ada = of(account.as_ref(), None, 0, 0);
        assert_eq!(of(account.as_ref(), visitor.as_ref(), 7, 9), ada);
        assert_ne!(of(None, visitor.as_ref(), 7, 9), ada);
        assert_ne!(of(None, None, 0, 1), of(None, None, 1, 0));
    }

    #[test]
    fn the_numbers_are_those_that_stand_in_tables() {
        assert_eq!(of(Some(&"ada".parse().unwrap()), None, 0, 0), -8_010_271_520_816_649_404);
    }
}
