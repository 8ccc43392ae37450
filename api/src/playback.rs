//! Playback, as the routes ask for it: what a request becomes in the log, and what the fold answers.
//!
//! A start, and a heartbeat or signal that asks for a slot, is answered from the fold right after its
//! own event. If the view is further behind than [`PlaybackSettings::view_wait`], the answer is made
//! from the state that is known plus this event, and says so.

mod answer;
mod caps;
mod catalog;
mod evidence;
mod ingest;
mod known;
mod provisional;
mod sightings;
mod waiting;

use std::sync::Arc;
use std::time::{Duration, Instant};

use pulsegate_domain::account::{Account, Rejection, SessionView, Verdict, check_at_door};
use pulsegate_domain::catalog::Catalog;
use pulsegate_domain::event::{PlaybackEvent, Question};
use pulsegate_domain::ids::{AccountId, SessionId};
use pulsegate_domain::time::Timestamp;
use pulsegate_privacy::AccountKeys;
use pulsegate_projections::catalog_view::CatalogView;
use pulsegate_projections::hot_view::{Acknowledged, AsOf, HotView, Live, Look, Now};
use pulsegate_service::admin::Readiness;
use pulsegate_write_side::envelope::{self, Origin};
use pulsegate_write_side::request::{EvictRequest, HeartbeatRequest, StartRequest, StopRequest};
use pulsegate_write_side::settings::LogSettings;
use pulsegate_write_side::stamp::{self, Known};
use pulsegate_write_side::store::AccountStore;
use pulsegate_write_side::{Appended, EventLog};
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use known::Known as KnownAccount;
use provisional::Unheard;

pub use answer::{AccountSessions, Answered, CommandError, ContractVersion, Stamp, Started};
pub use catalog::Expected;
pub use evidence::{EvidenceOf, Wanted};
pub use ingest::{BatchOutcome, ItemRejected, SignalOutcome};
pub use sightings::{LineRejected, LogOutcome};
pub use waiting::{Following, News, WAIT_MAX};

/// Most provisional checks that are being kept at once; more are counted and let go.
const KEEPING_MAX: usize = 256;

/// How playback answers.
#[derive(Clone, Copy, Debug)]
pub struct PlaybackSettings {
    /// How long an answer waits for the view to fold its own event.
    pub view_wait: Duration,
    /// How long a change of the catalog waits to be read back.
    pub catalog_wait: Duration,
    /// How long a replay of one account may take.
    pub replay_wait: Duration,
}

impl Default for PlaybackSettings {
    fn default() -> Self {
        Self {
            view_wait: Duration::from_millis(500),
            catalog_wait: Duration::from_secs(5),
            replay_wait: Duration::from_secs(30),
        }
    }
}

/// The application's side of the log; cheap to clone.
#[derive(Clone)]
pub struct Playback {
    inner: Arc<Inner>,
    /// In whose name the catalog is changed.
    by: Option<Arc<str>>,
    /// Under which what accounts wrote is sealed; without any it isn't.
    keys: Option<Arc<AccountKeys>>,
}

struct Inner {
    log: EventLog,
    view: HotView,
    catalog: CatalogView,
    log_settings: LogSettings,
    settings: PlaybackSettings,
    /// Replays that may still begin: each reads a partition from its beginning.
    replays: Arc<Semaphore>,
    /// What accounts are known by whose partition isn't folded here.
    read_model: Option<PgPool>,
    /// What this node is called in what it leaves behind.
    node: String,
    keeping: Arc<Semaphore>,
    /// The node stops: nobody waits any longer.
    waits_end: CancellationToken,
}

/// An event that passed the door, and what was seen of its session there.
struct Admitted {
    event: PlaybackEvent,
    /// Its session holds a live slot, so the event needn't ask.
    holds_slot: bool,
    /// Its session has ended.
    ended: bool,
    /// What was seen is the fold of the log to its end, as far as this node knows.
    certain: bool,
}

impl Playback {
    /// Playback over a log and the views of it.
    #[must_use]
    pub fn new(
        log: EventLog,
        view: HotView,
        catalog: CatalogView,
        log_settings: LogSettings,
        settings: PlaybackSettings,
    ) -> Self {
        let keeping = Arc::new(Semaphore::new(KEEPING_MAX));
        let inner = Inner {
            log,
            view,
            catalog,
            log_settings,
            settings,
            replays: Arc::new(Semaphore::new(evidence::REPLAYS_MAX)),
            read_model: None,
            node: "this node".to_owned(),
            keeping,
            waits_end: CancellationToken::new(),
        };
        Self { inner: Arc::new(inner), by: None, keys: None }
    }

    /// The same as a node of several, called `node`, that knows the accounts that it doesn't fold by a read model.
    #[must_use]
    pub fn among(self, node: String, read_model: PgPool) -> Self {
        let inner = &self.inner;
        Self {
            inner: Arc::new(Inner {
                log: inner.log.clone(),
                view: inner.view.clone(),
                catalog: inner.catalog.clone(),
                log_settings: inner.log_settings.clone(),
                settings: inner.settings,
                replays: Arc::clone(&inner.replays),
                read_model: Some(read_model),
                node,
                keeping: Arc::clone(&inner.keeping),
                waits_end: inner.waits_end.clone(),
            }),
            by: None,
            keys: self.keys,
        }
    }

    /// The same, which seals what accounts write under their keys.
    #[must_use]
    pub fn sealing(self, keys: Option<AccountKeys>) -> Self {
        Self { keys: keys.map(Arc::new), ..self }
    }

    /// Whether what accounts write is sealed.
    #[must_use]
    pub const fn seals(&self) -> bool {
        self.keys.is_some()
    }

    /// The same in somebody's name, which stands beside each change of the catalog.
    #[must_use]
    pub fn by(&self, who: Option<String>) -> Self {
        Self { inner: Arc::clone(&self.inner), by: who.map(Arc::from), keys: self.keys.clone() }
    }

    /// A player asks to play. Allowed is `Ok`; blocked, ended and mismatched are errors with the verdict.
    pub async fn start(&self, request: StartRequest) -> Result<Started, CommandError> {
        let account = request.account_id.clone();
        let session = request.session_id.unwrap_or_else(envelope::new_session_id);
        let known = self.known(&account).await;
        let now = self.inner.view.clock();
        let admitted = self.admit(&account, session, &known, now, |known| {
            let stamped = |catalog: &Catalog| stamp::started(request, session, catalog, known, now.at());
            PlaybackEvent::Started(self.inner.catalog.read(stamped))
        })?;
        let origin = Origin::new("/v1/accounts/sessions", self.now());
        let (answer, view) = self.append_and_hear(&known, Question::Start, admitted.event, &origin).await?;
        answer::started(account, session, answer, view)
    }

    /// A player says what it is doing. A refused one is `Ok` with a blocking verdict.
    pub async fn heartbeat(&self, request: HeartbeatRequest) -> Result<Answered, CommandError> {
        const SOURCE: &str = "/v1/accounts/sessions/heartbeats";
        let (account, session) = (request.account_id.clone(), request.session_id);
        let happened_at = self.now().minus_ms(request.age_ms);
        let known = self.known(&account).await;
        let now = self.inner.view.clock();
        let admitted = self.admit(&account, session, &known, now, |known| {
            let stamped = |catalog: &Catalog| stamp::heartbeat(request, catalog, known, now.at());
            PlaybackEvent::Heartbeat(self.inner.catalog.read(stamped))
        })?;
        let origin = Origin::new(SOURCE, happened_at);
        // What is known of it may not be so: then its own event decides, too.
        if !admitted.certain || !admitted.holds_slot && !admitted.ended {
            let (answer, _) = self.append_and_hear(&known, Question::Heartbeat, admitted.event, &origin).await?;
            return answer::open(answer);
        }
        let appended = self.inner.log.append(envelope::playback(&admitted.event, &origin)).await?;
        self.fold_own(origin.id, admitted.event, &appended);
        let mut answer = self.check(&account, session, &known);
        // It lost its slot on the way, or is about to get it back: then its own event decides.
        let lost = admitted.holds_slot && !answer.verdict.as_ref().is_some_and(Verdict::allows);
        if lost && self.inner.view.folded(appended.partition, appended.offset, self.inner.settings.view_wait).await {
            answer = self.check(&account, session, &known);
        }
        answer::open(answer)
    }

    /// A player is done; also of a session that nobody has heard of.
    pub async fn stop(&self, request: StopRequest) -> Result<(), CommandError> {
        let known = self.known(&request.account_id).await;
        let event = PlaybackEvent::Stopped(stamp::stopped(request));
        let origin = Origin::new("/v1/accounts/sessions/stop", self.now());
        if let KnownAccount::View = known {
            self.append_and_hear(&known, Question::Stop, event, &origin).await?;
        } else {
            // Nothing is said of it that a fold would have to know.
            self.inner.log.append(envelope::playback(&event, &origin)).await?;
        }
        Ok(())
    }

    /// Somebody ends a session from outside.
    ///
    /// # Errors
    /// [`CommandError::SessionUnknown`] where there is no such session.
    pub async fn evict(&self, request: EvictRequest) -> Result<Answered, CommandError> {
        let (account, session) = (request.account_id.clone(), request.session_id);
        let before = self.verdict(&account, session).await?;
        if before.verdict.as_ref().is_some_and(Verdict::is_ended) {
            return Ok(before);
        }
        let event = PlaybackEvent::Evicted(stamp::evicted(request));
        let known = self.known(&account).await;
        let origin = Origin::new("/v1/accounts/sessions/evict", self.now());
        let (answer, _) = self.append_and_hear(&known, Question::Evict, event, &origin).await?;
        Ok(answer)
    }

    /// The block check: from memory, between events.
    ///
    /// # Errors
    /// [`CommandError::SessionUnknown`] where there is no such session.
    pub async fn verdict(&self, account: &AccountId, session: SessionId) -> Result<Answered, CommandError> {
        let known = self.known(account).await;
        let answer = self.check(account, session, &known);
        if answer.stamp.provisional {
            self.keep_check(account, session, &known, &answer);
        }
        match answer.verdict {
            Some(_) => Ok(answer),
            // It may have been started a moment ago.
            None if answer.stamp.provisional && !self.inner.view.is_whole() => {
                Err(CommandError::unavailable("this session is not known here yet: its account's partition is moving"))
            }
            None => Err(CommandError::SessionUnknown),
        }
    }

    /// The live and waiting sessions of an account.
    ///
    /// # Errors
    /// [`CommandError::Unavailable`] where nobody who can be asked knows the account.
    pub async fn sessions(&self, account: &AccountId) -> Result<AccountSessions, CommandError> {
        let known = self.known(account).await;
        if !known.is_something() {
            return Err(CommandError::unavailable("this account's partition is folded by nobody who can be asked"));
        }
        Ok(self.look(account, &known, |look| AccountSessions {
            account_id: account.clone(),
            sessions: look.account.map(|known| known.sessions(look.as_of.at, look.policies)).unwrap_or_default(),
            stamp: Stamp::of_look(look),
        }))
    }

    /// The live and waiting sessions of an account as they were at `at`, rebuilt from the log.
    pub async fn sessions_as_of(&self, account: &AccountId, at: Timestamp) -> Result<AccountSessions, CommandError> {
        let at = at.min(self.now());
        let policies = self.inner.catalog.policies();
        let log = self.inner.log.clone();
        let store = AccountStore::new(log, self.inner.log_settings.clone(), Arc::clone(&policies), "replay");
        let replayed = tokio::time::timeout(self.inner.settings.replay_wait, store.replay_until(account, Some(at)))
            .await
            .map_err(|_| CommandError::unavailable("the replay of this account took too long"))?
            .map_err(|error| CommandError::unavailable(error.to_string()))?;
        let as_of =
            AsOf { partition: store.partition(account), offset: replayed.last.map_or(-1, |place| place.offset), at };
        Ok(AccountSessions {
            account_id: account.clone(),
            sessions: replayed.account.sessions(at, &policies),
            stamp: Stamp { as_of, provisional: false, stale_ms: None },
        })
    }

    /// The figures of the live page.
    #[must_use]
    pub fn live(&self) -> Live {
        self.inner.view.live()
    }

    /// The catalog as this node has read it.
    #[must_use]
    pub fn catalog(&self) -> &CatalogView {
        &self.inner.catalog
    }

    /// Whether an account's partition is folded here, however far.
    #[must_use]
    pub fn has_in_memory(&self, account: &AccountId) -> bool {
        self.inner.view.folds(self.inner.view.partition_of(account))
    }

    /// What this node folds.
    #[must_use]
    pub fn view(&self) -> &HotView {
        &self.inner.view
    }

    /// Whether this node may be asked.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let mut reasons = Vec::new();
        if let Some(failure) = self.inner.view.failure() {
            reasons.push(failure);
        }
        if !self.inner.view.is_caught_up() {
            reasons.push("the hot view has not caught up with the log yet".to_owned());
        }
        Readiness { ready: reasons.is_empty(), reasons }
    }

    fn check(&self, account: &AccountId, session: SessionId, known: &KnownAccount) -> Answered {
        self.look(account, known, |look| Answered {
            session_id: Some(session),
            verdict: look.account.and_then(|known| known.verdict(session, look.as_of.at, look.policies)),
            stamp: Stamp::of_look(look),
        })
    }

    /// Makes the event of a request and checks it against what is known of its account now.
    fn admit(
        &self,
        account: &AccountId,
        session: SessionId,
        known: &KnownAccount,
        now: Now,
        make: impl FnOnce(Option<Known>) -> PlaybackEvent,
    ) -> Result<Admitted, CommandError> {
        let is_something = known.is_something();
        self.look_at(account, known, now, |look: &Look<'_>| {
            let open = look.account.and_then(|known| known.open_session(session));
            let event = make(open.map(Known::from));
            let nothing = Account::default();
            let known = look.account.unwrap_or(&nothing);
            let verdict = || known.verdict(session, look.as_of.at, look.policies);
            match check_at_door(known, &event, look.as_of.at.max(now.at()), look.policies) {
                Ok(()) => {}
                // Where nothing is known, nothing is known to be wrong.
                Err(_) if !is_something => {}
                Err(Rejection::SessionEnded(_)) => {
                    if let Some(verdict) = verdict() {
                        return Err(CommandError::Ended { session_id: session, verdict, stamp: Stamp::of_look(look) });
                    }
                }
                Err(rejection) => return Err(rejection.into()),
            }
            let holds_slot = open.is_some_and(|open| open.holds_live_slot(look.as_of.at));
            let ended = !holds_slot && verdict().as_ref().is_some_and(Verdict::is_ended);
            Ok(Admitted { event, holds_slot, ended, certain: look.caught_up })
        })
    }

    /// Appends an event and hears what the fold says right after it.
    async fn append_and_hear(
        &self,
        known: &KnownAccount,
        question: Question,
        event: PlaybackEvent,
        origin: &Origin<'_>,
    ) -> Result<(Answered, Option<SessionView>), CommandError> {
        let account = event.account_id();
        let is_folded = matches!(known, KnownAccount::View);
        let mut expected = is_folded.then(|| self.inner.view.expect(account, origin.id));
        let appended = self.inner.log.append(envelope::playback(&event, origin)).await?;
        self.fold_own(origin.id, event.clone(), &appended);
        let since = Instant::now();
        let Some(expected) = &mut expected else {
            return self
                .provisional(Unheard { question, event_id: origin.id, event: &event, appended: &appended }, known)
                .await;
        };
        let span = pulsegate_traces::child("wait for the fold", pulsegate_traces::Kind::Internal);
        let folded = expected.folded(self.inner.settings.view_wait).await;
        if let Some(mut span) = span {
            span.set("pulsegate.provisional", folded.is_none());
        }
        metrics::histogram!("pulsegate_fold_wait_seconds").record(since.elapsed().as_secs_f64());
        if let Some(folded) = folded {
            return answer::of_fold(folded);
        }
        // It may have left this node meanwhile.
        let known = self.known(account).await;
        // Or the fold may have come to it just now, which is better.
        if let Some(folded) = expected.now() {
            return answer::of_fold(folded);
        }
        self.provisional(Unheard { question, event_id: origin.id, event: &event, appended: &appended }, &known).await
    }

    /// What time it is: it stamps when a request came in and decides nothing in the fold.
    fn now(&self) -> Timestamp {
        self.inner.view.now()
    }

    /// Lets the view fold what this node has appended, where it stands.
    fn fold_own(&self, id: Uuid, event: PlaybackEvent, appended: &Appended) {
        let own = Acknowledged { id, event, offset: appended.offset, stamp: appended.at };
        self.inner.view.acknowledged(appended.partition, [own]);
    }
}
