//! Waiting for a verdict to say something else, and following all verdicts of an account.
//!
//! Nobody polls: a wait sleeps in the [hot view](pulsegate_projections::hot_view) until a record or time itself may have
//! changed a verdict of its account. It takes no slot among the requests under way, since it asks nothing of the node.

use std::collections::HashMap;
use std::time::Duration;

use pulsegate_domain::account::{SessionView, Verdict};
use pulsegate_domain::ids::{AccountId, DeviceId, SessionId, TitleId};
use pulsegate_domain::time::Timestamp;
use pulsegate_projections::hot_view::{TooManyWaiters, Waiter};
use tokio::time::Instant;

use super::{Answered, CommandError, Playback, Stamp};

/// Longest wait for one verdict.
pub const WAIT_MAX: Duration = Duration::from_mins(1);
/// Longest time for which an account is followed in one go.
const FOLLOW_MAX: Duration = Duration::from_mins(15);
/// Most sessions of an account that are followed at once.
const FOLLOWED_MAX: usize = 256;

impl From<TooManyWaiters> for CommandError {
    fn from(_: TooManyWaiters) -> Self {
        Self::Overloaded
    }
}

/// A verdict that is news, of an account that is followed.
#[derive(Clone, Debug)]
pub struct News {
    /// Which session.
    pub session_id: SessionId,
    /// Its device and its title; `None` where it has ended.
    pub about: Option<(DeviceId, TitleId)>,
    /// May it run?
    pub verdict: Verdict,
    /// As of where.
    pub stamp: Stamp,
}

impl Playback {
    /// A verdict as soon as it says something else than now, or at the end of `wait`. If `since`, a verdict's
    /// [word](Verdict::word), isn't its word now, it says something else already.
    ///
    /// # Errors
    /// [`CommandError::SessionUnknown`] where there is no such session, [`CommandError::Overloaded`] where too many wait.
    pub fn verdict_after(
        &self,
        account: &AccountId,
        session: SessionId,
        since: Option<&str>,
        wait: Duration,
    ) -> Result<impl Future<Output = Answered> + Send + use<>, CommandError> {
        let mut waiter = self.inner.view.wait_on(account)?;
        let (mut answer, mut next) = self.check_and_next(account, session);
        let Some(before) = answer.verdict.clone() else { return Err(CommandError::SessionUnknown) };
        let is_news_already = since.is_some_and(|since| since != before.word());
        let deadline = Instant::now() + wait.min(WAIT_MAX);
        let (playback, account) = (self.clone(), account.clone());
        Ok(async move {
            let says_other = |verdict: &Verdict| verdict.says_other_than(&before);
            while !is_news_already && !answer.verdict.as_ref().is_none_or(says_other) {
                tokio::select! {
                    () = waiter.changed(next) => {}
                    () = tokio::time::sleep_until(deadline) => break,
                    () = playback.inner.waits_end.cancelled() => break,
                }
                if !playback.has_in_memory(&account) {
                    // Its partition has left this node: who asks again is passed on to where it is.
                    break;
                }
                (answer, next) = playback.check_and_next(&account, session);
            }
            answer
        })
    }

    /// The verdict on a session, and when time alone may change it.
    fn check_and_next(&self, account: &AccountId, session: SessionId) -> (Answered, Option<Timestamp>) {
        self.inner.view.look(account, |look| {
            let verdict = look.account.and_then(|known| known.verdict(session, look.as_of.at, look.policies));
            let next = look.account.and_then(|known| known.changes_by_itself_at(look.as_of.at));
            (Answered { session_id: Some(session), verdict, stamp: Stamp::of_look(look) }, next)
        })
    }

    /// Follows the verdicts of an account.
    ///
    /// # Errors
    /// [`CommandError::Overloaded`] where too many wait.
    pub fn follow(&self, account: &AccountId) -> Result<Following, CommandError> {
        Ok(Following {
            waiter: self.inner.view.wait_on(account)?,
            playback: self.clone(),
            account: account.clone(),
            told: HashMap::new(),
            next: Next::Now,
            until: Instant::now() + FOLLOW_MAX,
        })
    }

    /// Ends all waits with what is known by then, because the node stops.
    pub fn end_waits(&self) {
        self.inner.waits_end.cancel();
    }
}

enum Next {
    /// Nothing was told yet.
    Now,
    /// A record, or time alone at this instant.
    At(Option<Timestamp>),
}

/// The verdicts of an account as they change.
pub struct Following {
    playback: Playback,
    account: AccountId,
    waiter: Waiter,
    told: HashMap<SessionId, Verdict>,
    next: Next,
    until: Instant,
}

impl Following {
    /// Whose verdicts.
    #[must_use]
    pub const fn account(&self) -> &AccountId {
        &self.account
    }

    /// What is new: at first the verdicts on all live and waiting sessions, then those that say something else than
    /// when they were last told. `None` at the end: it was followed for long enough, or the node stops.
    pub async fn news(&mut self) -> Option<Vec<News>> {
        loop {
            if let Next::At(by_itself_at) = self.next {
                tokio::select! {
                    () = self.waiter.changed(by_itself_at) => {}
                    () = tokio::time::sleep_until(self.until) => return None,
                    () = self.playback.inner.waits_end.cancelled() => return None,
                }
            }
            if !self.playback.has_in_memory(&self.account) {
                return None;
            }
            let is_first = matches!(self.next, Next::Now);
            let news = self.look();
            if is_first || !news.is_empty() {
                return Some(news);
            }
        }
    }

    fn look(&mut self) -> Vec<News> {
        let Self { playback, account, told, next, .. } = self;
        playback.inner.view.look(account, |look| {
            let stamp = Stamp::of_look(look);
            let at = look.as_of.at;
            let mut live = look.account.map(|known| known.sessions(at, look.policies)).unwrap_or_default();
            live.truncate(FOLLOWED_MAX);
            let mut news = Vec::new();
            // Those that are not live any more are told of once more.
            told.retain(|session, before| {
                if live.iter().any(|view| view.session_id == *session) {
                    return true;
                }
                let verdict = look.account.and_then(|known| known.verdict(*session, at, look.policies));
                if let Some(verdict) = verdict.filter(|verdict| verdict.says_other_than(before)) {
                    news.push(News { session_id: *session, about: None, verdict, stamp });
                }
                false
            });
            for SessionView { session_id, device_id, title_id, verdict, .. } in live {
                if told.get(&session_id).is_none_or(|before| verdict.says_other_than(before)) {
                    told.insert(session_id, verdict.clone());
                    news.push(News { session_id, about: Some((device_id, title_id)), verdict, stamp });
                }
            }
            *next = Next::At(look.account.and_then(|known| known.changes_by_itself_at(at)));
            news
        })
    }
}
