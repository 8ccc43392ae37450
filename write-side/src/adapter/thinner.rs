//! Thinning: of the many lines that one viewing makes, as many become events as keep it alive.

use std::collections::HashMap;
use std::mem;

use pulsegate_domain::ids::{AccountId, DeviceId, SessionId, TitleId};
use pulsegate_domain::time::Timestamp;

use crate::request::SignalRequest;

/// A line says something new once it would keep its viewing alive by this part of its lease longer.
const PART_OF_LEASE: u64 = 3;

/// Remembers until when each viewing is alive by what was let through.
///
/// Of bounded size: when as many viewings as it may know are known, those that were not seen since the last time are
/// forgotten. What is forgotten is let through once more, which does no harm.
#[derive(Debug)]
pub struct Thinner {
    known_max: usize,
    young: HashMap<Viewing, Timestamp>,
    old: HashMap<Viewing, Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Viewing {
    account: AccountId,
    device: DeviceId,
    title: TitleId,
    session: Option<SessionId>,
}

impl Viewing {
    fn of(signal: &SignalRequest) -> Self {
        Self {
            account: signal.account_id.clone(),
            device: signal.device_id.clone(),
            title: signal.title_id.clone(),
            session: signal.session_id,
        }
    }
}

impl Default for Thinner {
    fn default() -> Self {
        Self::new(100_000)
    }
}

impl Thinner {
    /// One that knows twice as many viewings at most.
    #[must_use]
    pub fn new(known_max: usize) -> Self {
        Self { known_max: known_max.max(1), young: HashMap::new(), old: HashMap::new() }
    }

    /// Whether a sign of life at `at` says enough that is new to become an event.
    pub fn lets_through(&mut self, signal: &SignalRequest, at: Timestamp, lease_ms: u64) -> bool {
        let viewing = Viewing::of(signal);
        let alive_until = at.plus_ms(lease_ms);
        let known = self.young.get(&viewing).or_else(|| self.old.get(&viewing)).copied();
        if known.is_some_and(|known| alive_until < known.plus_ms(lease_ms / PART_OF_LEASE)) {
            return false;
        }
        if self.young.len() >= self.known_max {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(viewing, alive_until);
        true
    }

    /// What was let through did not become an event after all: the next line shall.
    pub fn take_back(&mut self, signal: &SignalRequest) {
        let viewing = Viewing::of(signal);
        self.young.remove(&viewing);
        self.old.remove(&viewing);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use pulsegate_domain::ids::SignalKind;

    use super::*;

    fn signal(account: &str, title: &str) -> SignalRequest {
        SignalRequest {
            account_id: account.parse().unwrap(),
            session_id: None,
            device_id: "tv".parse().unwrap(),
            device_class: None,
            title_id: title.parse().unwrap(),
            content_kind: None,
            territory: None,
            kind: SignalKind::CdnSegment,
        }
    }

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(0).plus_ms(ms)
    }

    #[test]
    fn one_sign_of_life_in_a_third_of_a_lease_is_enough() {
        let mut thinner = Thinner::default();
        let passed = |thinner: &mut Thinner, ms| thinner.lets_through(&signal("a", "t"), at(ms), 30_000);
        let times = [0, 2_000, 4_000, 9_999, 10_000, 12_000, 8_000, 20_000, 19_999];
        let passed: Vec<_> = times.into_iter().filter(|ms| passed(&mut thinner, *ms)).collect();
        assert_eq!(passed, [0, 10_000, 20_000]);
        // Another title of the device, another account: other viewings.
        assert!(thinner.lets_through(&signal("a", "u"), at(20_001), 30_000));
        assert!(thinner.lets_through(&signal("b", "t"), at(20_001), 30_000));
    }

    #[test]
    fn a_short_lease_is_not_outlived_by_a_long_one() {
        let mut thinner = Thinner::default();
        assert!(thinner.lets_through(&signal("a", "t"), at(0), 10_000));
        // It keeps alive for long: what says less for a while is left out.
        assert!(thinner.lets_through(&signal("a", "t"), at(1_000), 60_000));
        assert!(!thinner.lets_through(&signal("a", "t"), at(50_000), 10_000));
        assert!(thinner.lets_through(&signal("a", "t"), at(54_400), 10_000));
    }

    #[test]
    fn what_did_not_become_an_event_is_let_through_again() {
        let mut thinner = Thinner::default();
        assert!(thinner.lets_through(&signal("a", "t"), at(0), 30_000));
        thinner.take_back(&signal("a", "t"));
        assert!(thinner.lets_through(&signal("a", "t"), at(1), 30_000));
    }

    proptest! {
        #[test]
        fn whoever_is_served_often_enough_stays_alive(
            gaps in proptest::collection::vec(0..10_000_u64, 1..200),
            viewings in 1..40_usize,
            known_max in 1..30_usize,
        ) {
            let lease = 30_000;
            let mut thinner = Thinner::new(known_max);
            let mut alive_until = vec![None; viewings];
            let mut now = 0;
            for (index, gap) in gaps.iter().enumerate() {
                now += gap / viewings as u64;
                let viewing = index % viewings;
                let known: &mut Option<u64> = &mut alive_until[viewing];
                if thinner.lets_through(&signal(&format!("a{viewing}"), "t"), at(now), lease) {
                    *known = Some(now + lease);
                }
                // Served again within 10 s: never left to die in between.
                prop_assert!(known.is_some_and(|until| until > now + lease - lease / PART_OF_LEASE));
                prop_assert!(thinner.young.len() <= known_max && thinner.old.len() <= known_max);
            }
        }
    }
}
