//! Up to when a partition's fold is known to have been at the end of the log.

use std::time::Instant;

use pulsegate_domain::time::Timestamp;

use super::log_time::{Now, Stamped};

/// Up to when the view is known to have been at the end of the log.
#[derive(Clone, Copy, Default)]
pub(super) struct Proof {
    pub(super) proven_at: Option<Instant>,
    /// An end that was above the position when it was noted, and when it was asked for.
    pending: Option<(i64, Instant)>,
    /// The newest end that was noted.
    pub(super) end: i64,
    /// When it was asked for.
    end_asked_at: Option<Instant>,
}

impl Proof {
    /// Takes up what the fold has reached since.
    pub(super) fn settle(&mut self, next_offset: i64) {
        if let Some((end, asked_at)) = self.pending
            && next_offset >= end
        {
            self.proven_at = self.proven_at.max(Some(asked_at));
            self.pending = None;
        }
    }

    /// Notes an end of the log: `end` was it when it was asked for at `asked_at`. Whether it was reached.
    pub(super) fn note(&mut self, end: i64, asked_at: Instant, next_offset: i64) -> bool {
        self.end = end;
        self.end_asked_at = Some(asked_at);
        self.settle(next_offset);
        if next_offset >= end {
            self.proven_at = self.proven_at.max(Some(asked_at));
            self.pending = None;
        } else if self.pending.is_none() {
            // An older one that is not reached yet is kept: replaced each time, it might never be.
            self.pending = Some((end, asked_at));
        }
        next_offset >= end
    }

    /// What a partition's clock says of the time, if the last record folded was not there yet when the log's end was
    /// last asked for. To be asked before the next end is noted.
    pub(super) fn stamped(&self, clock: Timestamp, last_offset: i64) -> Option<Stamped> {
        let after = self.end_asked_at.filter(|_| last_offset >= self.end)?;
        Some(Stamped { stamp: clock, after, before: Instant::now() })
    }
}

/// The instant at which an answer between events is evaluated: now, but no later than the view was known to be at the end
/// of the log, so that an outage freezes leases and blocks nobody.
pub(super) fn evaluated_at(proven_at: Option<Instant>, clock: Timestamp, now: Now) -> Timestamp {
    clock.max(proven_at.map_or(Timestamp::MIN, |proven_at| now.then(proven_at)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_record_behind_the_end_that_was_last_asked_for_says_what_time_it_is() {
        let (clock, asked_at) = (Timestamp::from_millis(9), Instant::now());
        let mut proof = Proof::default();
        assert!(proof.stamped(clock, 4).is_none(), "nothing was asked yet: it may be of yesterday");
        proof.note(5, asked_at, 5);
        assert!(proof.stamped(clock, 4).is_none(), "nothing came since");
        let stamped = proof.stamped(clock, 5).unwrap();
        assert_eq!((stamped.stamp, stamped.after), (clock, asked_at));
        proof.note(6, asked_at + Duration::from_millis(500), 6);
        assert!(proof.stamped(clock, 5).is_none());
    }

    #[test]
    fn an_answer_is_evaluated_when_the_view_was_last_known_to_be_at_the_end() {
        let instant = Instant::now() + Duration::from_secs(10);
        let now = Now { at: Timestamp::from_millis(100_000), instant };
        let proven_at = Some(instant.checked_sub(Duration::from_secs(4)).unwrap());
        assert_eq!(evaluated_at(proven_at, Timestamp::from_millis(1), now).millis(), 96_000);
        assert_eq!(evaluated_at(proven_at, Timestamp::from_millis(97_000), now).millis(), 97_000);
        assert_eq!(evaluated_at(None, Timestamp::from_millis(1), now).millis(), 1);
    }
}
