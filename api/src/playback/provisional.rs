//! An answer from the state that is known plus one event, for when no fold has come to it; and that it is kept, so
//! that it can be settled against the log.
//!
//! **Invariant:** an ask that is answered provisionally stands in the topic `provisional` before it is answered.

use std::sync::Arc;

use pulsegate_domain::account::{Place, SessionView, Verdict};
use pulsegate_domain::event::{Answered as Kept, Because, KnownState, PlaybackEvent, ProvisionalEvent, Question};
use pulsegate_domain::ids::{AccountId, SessionId};
use pulsegate_projections::hot_view::{AsOf, Folded, Look};
use pulsegate_write_side::Appended;
use pulsegate_write_side::envelope::{self, Origin};
use uuid::Uuid;

use super::Playback;
use super::answer::{Answered, CommandError, of_fold};
use super::known::Known;

/// An event in the log that no fold has come to.
pub(super) struct Unheard<'a> {
    pub(super) question: Question,
    pub(super) event_id: Uuid,
    pub(super) event: &'a PlaybackEvent,
    pub(super) appended: &'a Appended,
}

/// What a provisional answer rests on.
struct Basis {
    because: Because,
    known: Option<KnownState>,
}

impl Playback {
    /// What the fold would say right after the event, if nothing lay between what is known and it.
    pub(super) async fn provisional(
        &self,
        unheard: Unheard<'_>,
        known: &Known,
    ) -> Result<(Answered, Option<SessionView>), CommandError> {
        let Unheard { question, event_id, event, appended } = unheard;
        let account = event.account_id();
        let (folded, basis) = self.look(account, known, |look| {
            let mut state = look.account.cloned().unwrap_or_default();
            let at = look.clock.max(appended.at);
            let place = Place { offset: appended.offset, at };
            // What has passed the event already can't say what was before it; the log can.
            let is_before = known.is_something() && look.as_of.offset < appended.offset;
            let basis = Basis {
                because: self.because(known, look),
                known: is_before.then(|| KnownState::of(&state, look.as_of.offset + 1, look.clock)),
            };
            let applied = state
                .apply(&event_id.to_string(), event, place, look.policies, &mut ())
                .map_err(|unknown| CommandError::unknown_policy(&unknown.0))?;
            let folded = Folded {
                as_of: AsOf { partition: appended.partition, offset: appended.offset, at },
                applied: Some(applied),
                verdict: state.verdict(applied.session, at, look.policies),
                session: state.session_view(applied.session, at, look.policies),
            };
            Ok::<_, CommandError>((folded, basis))
        })?;
        let (mut answer, session) = of_fold(folded)?;
        answer.stamp.provisional = true;
        if let (Some(verdict), Some(session)) = (&answer.verdict, answer.session_id) {
            let kept = self.kept(account, session, question, basis, verdict, answer.stamp.as_of, Some(appended.offset));
            // Nobody could say afterwards what it was: so it isn't said. The retry is safe.
            self.keep(kept).await.map_err(|error| {
                CommandError::unavailable(format!("a provisional answer could not be kept: {error}"))
            })?;
        }
        Ok((answer, session))
    }

    /// Keeps the answer to a check, which waits for nothing.
    pub(super) fn keep_check(&self, account: &AccountId, session: SessionId, known: &Known, answer: &Answered) {
        let Some(verdict) = &answer.verdict else { return };
        let Ok(place) = Arc::clone(&self.inner.keeping).try_acquire_owned() else {
            metrics::counter!("pulsegate_provisional_unkept_total").increment(1);
            return;
        };
        let basis = self.look(account, known, |look: &Look<'_>| {
            let state = look.account.cloned().unwrap_or_default();
            let stood = known.is_something().then(|| KnownState::of(&state, look.as_of.offset + 1, look.clock));
            Basis { because: self.because(known, look), known: stood }
        });
        let kept = self.kept(account, session, Question::Check, basis, verdict, answer.stamp.as_of, None);
        let playback = self.clone();
        tokio::spawn(async move {
            if let Err(error) = playback.keep(kept).await {
                tracing::debug!(%error, "the answer to a check is not kept");
            }
            drop(place);
        });
    }

    #[expect(clippy::too_many_arguments, reason = "a record of seven facts, made in two places")]
    fn kept(
        &self,
        account: &AccountId,
        session: SessionId,
        question: Question,
        basis: Basis,
        verdict: &Verdict,
        as_of: AsOf,
        offset: Option<i64>,
    ) -> Kept {
        Kept {
            account_id: account.clone(),
            session_id: Some(session),
            question,
            because: basis.because,
            partition: as_of.partition,
            offset,
            at: as_of.at,
            decision: verdict.decision,
            reason: verdict.reason,
            known: basis.known,
            node: self.inner.node.clone(),
        }
    }

    async fn keep(&self, kept: Kept) -> Result<(), pulsegate_write_side::AppendError> {
        const SOURCE: &str = "/v1/provisional";
        let because = match kept.because {
            Because::Starting => "starting",
            Because::ViewBehind => "view_behind",
            Because::PartitionMoving => "partition_moving",
        };
        metrics::counter!("pulsegate_provisional_answers_total", "because" => because).increment(1);
        let record = envelope::provisional(&ProvisionalEvent::Answered(kept), &Origin::new(SOURCE, self.now()));
        let appended = self.inner.log.append(record).await;
        if appended.is_err() {
            metrics::counter!("pulsegate_provisional_unkept_total").increment(1);
        }
        appended.map(drop)
    }
}
