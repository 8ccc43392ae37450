//! What is refused at the door, before anything is appended, because of what is known of the account.

use thiserror::Error;

use super::{Account, MEMORY_MS, SEQUENCE_JUMP_MAX};
use crate::event::PlaybackEvent;
use crate::ids::SessionId;
use crate::policy::PolicySet;
use crate::time::Timestamp;

/// Why an event isn't appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Rejection {
    /// A session has one device and one title, those of its first sign of life.
    #[error("session {0} runs on another device or shows another title")]
    SessionMismatch(SessionId),
    /// A start of a session that has ended.
    #[error("session {0} has ended; start a new one")]
    SessionEnded(SessionId),
    /// An unknown version 7 id that is older than the memory of ended sessions: it may have ended.
    #[error("session {0} was made more than 24 h ago and is unknown; make a new one")]
    SessionTooOld(SessionId),
    /// A heartbeat's sequence is too far above the last one's.
    #[error("sequence {sequence} is more than 100000 above the last one, {last}")]
    SequenceJump {
        /// What the heartbeat says.
        sequence: u64,
        /// The highest sequence taken up.
        last: u64,
    },
}

/// Checks an event against what is known of its account at `now`.
///
/// A heartbeat of an ended session passes: it is appended all the same, because what was watched is
/// reported, not hidden. So does one from too long ago to open a session.
pub fn check_at_door(
    account: &Account,
    event: &PlaybackEvent,
    now: Timestamp,
    policies: &PolicySet,
) -> Result<(), Rejection> {
    let Some(id) = event.session_id() else { return Ok(()) };
    let (device, title) = match event {
        PlaybackEvent::Started(started) => (&started.device_id, &started.title_id),
        PlaybackEvent::Heartbeat(heartbeat) => (&heartbeat.device_id, &heartbeat.title_id),
        PlaybackEvent::Signal(signal) => (&signal.device_id, &signal.title_id),
        PlaybackEvent::Stopped(_) | PlaybackEvent::Evicted(_) => return Ok(()),
    };
    let ended = account.ended_session(id).is_some_and(|session| now < session.forget_at());
    if let Some(session) = account.open_session(id).filter(|session| now < session.expires_at()) {
        return match event {
            PlaybackEvent::Signal(_) => Ok(()),
            _ if session.device_id != *device || session.title_id != *title => Err(Rejection::SessionMismatch(id)),
            PlaybackEvent::Heartbeat(heartbeat) => match session.last_sequence {
                Some(last) if heartbeat.sequence > last && heartbeat.sequence - last > SEQUENCE_JUMP_MAX => {
                    Err(Rejection::SequenceJump { sequence: heartbeat.sequence, last })
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        };
    }
    let expired = account.open_session(id).is_some_and(|session| now < session.forget_at());
    if ended || expired {
        return match event {
            PlaybackEvent::Started(_) => Err(Rejection::SessionEnded(id)),
            _ => Ok(()),
        };
    }
    let opens = match event {
        PlaybackEvent::Heartbeat(heartbeat) => {
            policies.get(&heartbeat.policy).is_none_or(|policy| heartbeat.age_ms < policy.terms.leases_ms.heartbeat)
        }
        _ => true,
    };
    let made_long_ago = id
        .made_at_ms()
        .and_then(|made| i64::try_from(made).ok())
        .is_some_and(|made| now.ms_since(Timestamp::from_millis(made)) > MEMORY_MS);
    if opens && made_long_ago { Err(Rejection::SessionTooOld(id)) } else { Ok(()) }
}
