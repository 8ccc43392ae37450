//! Taking a log in: which of its sightings are signs of life now, and which of them are to become events.

use pulsegate_domain::time::Timestamp;

use super::thinner::Thinner;
use super::{Line, Sighting};
use crate::request::SignalRequest;

/// A sighting this far in the future comes from a clock that is wrong, in milliseconds.
const AHEAD_MS_MAX: u64 = 300_000;

/// Judges sightings at the time at which they come in.
#[derive(Debug)]
pub struct Intake<'t> {
    thinner: &'t mut Thinner,
    now: Timestamp,
}

/// What becomes of a line.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// It becomes an event.
    Sent(Box<Sighting>),
    /// Its viewing is known to be alive already.
    Thinned,
    /// It is older than its lease, so no sign of life now.
    TooOld,
    /// It is of a time that has not come.
    Ahead,
    /// Something that is neither a manifest nor a segment was served.
    NotMedia,
    /// Nothing was served.
    NotServed,
    /// It says nothing.
    Blank,
}

impl<'t> Intake<'t> {
    /// An intake at `now`.
    pub const fn new(thinner: &'t mut Thinner, now: Timestamp) -> Self {
        Self { thinner, now }
    }

    /// Judges a line; `lease_ms` says how long the policy in force keeps a signal's session alive.
    ///
    /// An event is a sign of life from when the log takes it in. So what happened longer ago than its lease is none:
    /// sent now, it would hold a slot for somebody who is gone.
    pub fn judge(&mut self, line: Line, lease_ms: impl FnOnce(&SignalRequest) -> u64) -> Fate {
        let sighting = match line {
            Line::Seen(sighting) => sighting,
            Line::NotMedia => return Fate::NotMedia,
            Line::NotServed => return Fate::NotServed,
            Line::Blank => return Fate::Blank,
        };
        if sighting.at.ms_since(self.now) > AHEAD_MS_MAX {
            return Fate::Ahead;
        }
        let lease_ms = lease_ms(&sighting.signal);
        if self.now.ms_since(sighting.at) >= lease_ms {
            return Fate::TooOld;
        }
        // A clock that is a little ahead must not keep later lines away.
        if self.thinner.lets_through(&sighting.signal, sighting.at.min(self.now), lease_ms) {
            Fate::Sent(sighting)
        } else {
            Fate::Thinned
        }
    }
}

#[cfg(test)]
mod tests {
    use pulsegate_domain::ids::SignalKind;

    use super::*;

    #[test]
    fn what_is_older_than_its_lease_is_counted_and_not_sent() {
        let now = Timestamp::from_millis(1_795_380_423_120);
        let mut thinner = Thinner::default();
        let mut judge = |at: Timestamp| {
            let signal = SignalRequest {
                account_id: "a".parse().unwrap(),
                session_id: None,
                device_id: "d".parse().unwrap(),
                device_class: None,
                title_id: "t".parse().unwrap(),
                content_kind: None,
                territory: None,
                kind: SignalKind::CdnSegment,
            };
            let line = Line::Seen(Box::new(Sighting { at, signal }));
            Intake::new(&mut thinner, now).judge(line, |_| 30_000)
        };
        assert_eq!(judge(now.minus_ms(30_000)), Fate::TooOld);
        assert!(matches!(judge(now.minus_ms(29_999)), Fate::Sent(_)));
        assert_eq!(judge(now.minus_ms(25_000)), Fate::Thinned);
        assert!(matches!(judge(now.minus_ms(10_000)), Fate::Sent(_)));
        assert_eq!(judge(now.plus_ms(300_001)), Fate::Ahead);
        assert!(matches!(judge(now.plus_ms(300_000)), Fate::Sent(_)));
        assert_eq!(judge(now), Fate::Thinned);
    }
}
