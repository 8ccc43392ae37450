//! An answer from the state that is known plus one event, for when the view is behind.

use pulsegate_domain::account::{Place, SessionView};
use pulsegate_domain::event::PlaybackEvent;
use pulsegate_domain::ids::AccountId;
use pulsegate_projections::hot_view::{AsOf, Folded};
use pulsegate_write_side::Appended;

use super::Playback;
use super::answer::{Answered, CommandError, of_fold};

impl Playback {
    /// What the fold would say right after `event`, if nothing lay between what is known and it.
    pub(super) fn provisional(
        &self,
        account: &AccountId,
        event_id: &str,
        event: &PlaybackEvent,
        appended: &Appended,
    ) -> Result<(Answered, Option<SessionView>), CommandError> {
        metrics::counter!("pulsegate_provisional_answers_total").increment(1);
        let folded = self.inner.view.look(account, |look| {
            let mut known = look.account.cloned().unwrap_or_default();
            let at = look.as_of.at.max(appended.at);
            let place = Place { offset: appended.offset, at };
            let applied = known
                .apply(event_id, event, place, look.policies, &mut ())
                .map_err(|unknown| CommandError::unknown_policy(&unknown.0))?;
            Ok::<_, CommandError>(Folded {
                as_of: AsOf { partition: appended.partition, offset: appended.offset, at },
                applied: Some(applied),
                verdict: known.verdict(applied.session, at, look.policies),
                session: known.session_view(applied.session, at, look.policies),
            })
        })?;
        let (mut answer, session) = of_fold(folded)?;
        answer.stamp.provisional = true;
        Ok((answer, session))
    }
}
