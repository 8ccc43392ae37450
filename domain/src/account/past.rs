//! The sessions of an account that have ended and are still remembered.

use super::{EndedSession, Observe, push_exact};
use crate::ids::SessionId;
use crate::time::Timestamp;

/// Apart from the account, because the accounts of those who watch for the first time today have none: a
/// list and an instant in each would be a third of what an account takes.
#[derive(Clone, Debug, Default)]
pub(super) struct Past(Option<Box<Remembered>>);

#[derive(Clone, Debug)]
struct Remembered {
    sessions: Vec<EndedSession>,
    /// No session is forgotten before this instant: spares a look at each one at each record.
    forgets_from: Timestamp,
}

impl Past {
    pub(super) const fn nothing() -> Self {
        Self(None)
    }

    pub(super) fn sessions(&self) -> &[EndedSession] {
        self.0.as_ref().map_or(&[], |remembered| &remembered.sessions)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn find_mut(&mut self, id: SessionId) -> Option<&mut EndedSession> {
        self.0.as_mut()?.sessions.iter_mut().find(|session| session.id == id)
    }

    pub(super) fn add(&mut self, session: EndedSession) {
        let forget_at = session.forget_at();
        let remembered =
            self.0.get_or_insert_with(|| Box::new(Remembered { sessions: Vec::new(), forgets_from: forget_at }));
        remembered.forgets_from = remembered.forgets_from.min(forget_at);
        push_exact(&mut remembered.sessions, session);
    }

    /// Forgets what is due at `now`.
    pub(super) fn forget(&mut self, now: Timestamp, observer: &mut impl Observe) {
        let Some(remembered) = self.0.as_mut().filter(|remembered| now >= remembered.forgets_from) else { return };
        remembered.sessions.retain(|session| {
            let keep = now < session.forget_at();
            if !keep {
                observer.forgotten(session.id);
            }
            keep
        });
        match remembered.sessions.iter().map(EndedSession::forget_at).min() {
            Some(first) => remembered.forgets_from = first,
            None => self.0 = None,
        }
    }
}
