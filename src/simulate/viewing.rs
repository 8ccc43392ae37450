//! One session as its player keeps it, and the heartbeats that it makes.

use std::time::Duration;

use pulsegate_domain::ids::{PlayerState, SessionId};
use tokio::time::Instant;
use uuid::Builder;

use super::catalogue::Title;

/// Heartbeats that a player keeps while it can't send them; the oldest go first.
const KEPT_MAX: usize = 1_000;

/// A session of one title on one device.
#[derive(Debug)]
pub(crate) struct Viewing {
    /// Its id.
    pub(crate) session: SessionId,
    /// What is watched.
    pub(crate) title: &'static Title,
    /// When the player has something to do for it next.
    pub(crate) due: Instant,
    /// Heartbeats that didn't get through.
    pub(crate) kept: Vec<Beat>,
    began: Instant,
    moved: Instant,
    sequence: u64,
    position_ms: u64,
    state: PlayerState,
}

/// A heartbeat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beat {
    /// When it happened.
    pub(crate) at: Instant,
    /// Its number in its session.
    pub(crate) sequence: u64,
    /// Since the session began.
    pub(crate) elapsed_ms: u64,
    /// Where the picture is.
    pub(crate) position_ms: u64,
    /// What the player does.
    pub(crate) state: PlayerState,
}

impl Viewing {
    /// A session that begins now.
    pub(crate) fn begin(session: SessionId, title: &'static Title, first_beat_after: Duration) -> Self {
        let now = Instant::now();
        Self {
            session,
            title,
            due: now + first_beat_after,
            kept: Vec::new(),
            began: now,
            moved: now,
            sequence: 0,
            position_ms: 0,
            state: PlayerState::Playing,
        }
    }

    /// How many heartbeats it made.
    pub(crate) const fn beats(&self) -> u64 {
        self.sequence
    }

    /// The next heartbeat. The picture has moved since the last one if that said `playing`.
    pub(crate) fn beat(&mut self, state: PlayerState) -> Beat {
        let now = Instant::now();
        if self.state == PlayerState::Playing {
            self.position_ms = (self.position_ms + millis(now - self.moved)).min(self.title.runtime_ms);
        }
        self.moved = now;
        self.state = state;
        let sequence = self.sequence;
        self.sequence += 1;
        Beat { at: now, sequence, elapsed_ms: millis(now - self.began), position_ms: self.position_ms, state }
    }

    /// Keeps a heartbeat for later.
    pub(crate) fn keep(&mut self, beat: Beat) {
        if self.kept.len() == KEPT_MAX {
            self.kept.remove(0);
        }
        self.kept.push(beat);
    }
}

impl Beat {
    /// How long ago it happened.
    pub(crate) fn age_ms(&self) -> u64 {
        millis(self.at.elapsed())
    }
}

/// A session id of this moment, as a player makes it; its random part is `random`.
pub(crate) fn session_id(random: [u8; 10]) -> Option<SessionId> {
    let now_ms = u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap_or(0);
    SessionId::new(Builder::from_unix_timestamp_millis(now_ms, &random).into_uuid()).ok()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::catalogue::TITLES;

    #[test]
    fn heartbeats_are_counted_from_0_and_the_oldest_kept_go_first() {
        let mut viewing = Viewing::begin(session_id([1; 10]).unwrap(), &TITLES[0], Duration::ZERO);
        for sequence in 0..=u64::try_from(KEPT_MAX).unwrap() {
            let beat = viewing.beat(PlayerState::Playing);
            assert_eq!(beat.sequence, sequence);
            viewing.keep(beat);
        }
        assert_eq!((viewing.kept.len(), viewing.kept[0].sequence), (KEPT_MAX, 1));
    }

    #[test]
    fn a_session_id_is_of_version_7() {
        assert_eq!(session_id([0xff; 10]).unwrap().uuid().get_version_num(), 7);
    }
}
