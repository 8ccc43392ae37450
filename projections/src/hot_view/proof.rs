//! Up to when a partition's fold is known to have been at the end of the log.

use pulsegate_domain::time::Timestamp;

/// Up to when the view is known to have been at the end of the log.
#[derive(Clone, Copy, Default)]
pub(super) struct Proof {
    pub(super) proven_at: Option<Timestamp>,
    /// An end that was above the position when it was noted, and when it was asked for.
    pending: Option<(i64, Timestamp)>,
    /// The newest end that was noted.
    pub(super) end: i64,
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
    pub(super) fn note(&mut self, end: i64, asked_at: Timestamp, next_offset: i64) -> bool {
        self.end = end;
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
}

/// The instant at which an answer between events is evaluated: the node's clock, but no later than the view was
/// known to be at the end of the log, so that an outage freezes leases and blocks nobody.
pub(super) fn evaluated_at(proven_at: Option<Timestamp>, clock: Timestamp, now: Timestamp) -> Timestamp {
    clock.max(now.min(proven_at.unwrap_or(Timestamp::MIN)))
}
