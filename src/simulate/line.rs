//! A player's line to the service: its calls, each counted, timed and shown to its household's checker.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pulsegate_domain::account::Verdict;
use pulsegate_domain::ids::{DeviceClass, SessionId, SignalKind};
use serde_json::{Value, json};

use super::catalogue::Title;
use super::checker::{Asked, Checker, Heard};
use super::client::{Answer, AsOf, Client, Told};
use super::habits::{Habit, Mischief};
use super::household::Limit;
use super::tally::{Call, Counts, Tally, Violation};
use super::viewing::{Beat, Viewing};

/// How far a bad client jumps in its sequence: twice what is taken.
const JUMP: u64 = 200_000;

/// One account, as all its players share it.
#[derive(Debug)]
pub(crate) struct Home {
    /// The account's id.
    pub(crate) account: String,
    checker: Mutex<Checker>,
}

impl Home {
    /// A household that nobody has used yet.
    pub(crate) fn new(account: String, limit: Limit) -> Arc<Self> {
        Arc::new(Self { account, checker: Mutex::new(Checker::new(limit)) })
    }

    fn checker(&self) -> MutexGuard<'_, Checker> {
        self.checker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One player's line.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// The way there.
    pub(crate) client: Client,
    /// Where it is counted.
    pub(crate) tally: Arc<Tally>,
    /// Whose player it is.
    pub(crate) home: Arc<Home>,
    /// Under which habit it is counted.
    pub(crate) habit: Habit,
    /// On which device.
    pub(crate) device_id: String,
    /// That device's kind.
    pub(crate) device_class: DeviceClass,
    /// Where it is.
    pub(crate) territory: &'static str,
}

impl Line {
    /// Starts a session, or starts it again; `evict` ends those sessions for it.
    pub(crate) async fn start(&self, viewing: &Viewing, evict: &[SessionId]) -> Answer {
        let mut body = self.body(viewing.title);
        body["session_id"] = json!(viewing.session);
        if !evict.is_empty() {
            body["evict"] = json!(evict);
        }
        let request = self.client.start(&self.home.account, &body);
        let answer = self.ask(Call::Start, Some((Asked::Start, viewing.session)), request).await;
        let evicted = u64::try_from(evict.len()).unwrap_or(0);
        self.count(|counts| {
            counts.starts += 1;
            match verdict(&answer) {
                Some(verdict) if verdict.allows() => {
                    counts.allowed += 1;
                    counts.evictions += evicted;
                }
                Some(verdict) if !verdict.is_ended() => counts.blocked += 1,
                _ => {}
            }
        });
        answer
    }

    /// Sends a heartbeat.
    pub(crate) async fn heartbeat(&self, viewing: &Viewing, beat: &Beat) -> Answer {
        let body = self.beat_body(viewing, beat);
        let request = self.client.heartbeat(&self.home.account, viewing.session, &body);
        let answer = self.ask(Call::Heartbeat, Some((Asked::Heartbeat, viewing.session)), request).await;
        self.count(|counts| {
            counts.heartbeats += 1;
            match (&answer, verdict(&answer)) {
                (Answer::Told(_), None) => counts.accepted += 1,
                (Answer::Told(_), Some(verdict)) if verdict.allows() => counts.accepted += 1,
                (Answer::Told(_), Some(verdict)) if !verdict.is_ended() => counts.refused += 1,
                _ => {}
            }
        });
        answer
    }

    /// Sends what a viewing has kept; keeps it still if that fails.
    pub(crate) async fn send_late(&self, viewing: &mut Viewing) {
        let late: Vec<_> = viewing.kept.iter().map(|beat| self.late_body(viewing, beat)).collect();
        let sent = u64::try_from(late.len()).unwrap_or(0);
        let body = json!({ "heartbeats": late });
        let answer = self.ask(Call::Batch, None, self.client.heartbeats(&body)).await;
        let taken = match &answer {
            Answer::Told(told) => Some((told.body.accepted, told.body.rejected.len())),
            // Wrong once, wrong for ever: not to be sent again.
            Answer::Refused { .. } | Answer::Unreadable(_) => Some((0, viewing.kept.len())),
            Answer::Unavailable { .. } | Answer::Failed { .. } | Answer::Lost => None,
        };
        let Some((accepted, rejected)) = taken else { return };
        viewing.kept.clear();
        self.count(|counts| {
            counts.heartbeats += sent;
            counts.late += sent;
            counts.accepted += accepted;
            counts.refused += u64::try_from(rejected).unwrap_or(0);
        });
    }

    /// Asks whether a session may run.
    pub(crate) async fn check(&self, session: SessionId) -> Answer {
        self.count(|counts| counts.checks += 1);
        let request = self.client.check(&self.home.account, session);
        self.ask(Call::Check, Some((Asked::Check, session)), request).await
    }

    /// Stops a session.
    pub(crate) async fn stop(&self, viewing: &mut Viewing, beacon: bool) {
        let last = viewing.beat(pulsegate_domain::ids::PlayerState::Playing);
        let account = &self.home.account;
        let answer = if beacon {
            let body =
                json!({"sequence": last.sequence, "elapsed_ms": last.elapsed_ms, "position_ms": last.position_ms});
            self.ask(Call::Stop, None, self.client.stop_by_beacon(account, viewing.session, &body)).await
        } else {
            self.ask(Call::Stop, None, self.client.stop(account, viewing.session)).await
        };
        if matches!(answer, Answer::Told(_)) {
            self.home.checker().stopped(viewing.session, Instant::now());
            self.count(|counts| counts.stops += 1);
        }
    }

    /// Ends another session of the account from outside.
    pub(crate) async fn evict(&self, session: SessionId) {
        let answer = self.ask(Call::Evict, None, self.client.evict(&self.home.account, session)).await;
        if matches!(answer, Answer::Told(_)) {
            self.count(|counts| counts.evictions += 1);
        }
    }

    /// A server reports what it saw of this device.
    pub(crate) async fn signal(&self, kind: SignalKind, title: &'static Title) {
        let mut signal = self.body(title);
        signal["account_id"] = json!(self.home.account);
        signal["kind"] = json!(kind);
        let sent = Instant::now();
        let answer = self.ask(Call::Signal, None, self.client.signals(&json!({ "signals": [signal] }))).await;
        self.count(|counts| counts.signals += 1);
        let Answer::Told(told) = &answer else { return };
        for on_signal in &told.body.verdicts {
            if let (Some(session), Some(verdict)) = (on_signal.session_id, &on_signal.verdict) {
                let as_of = on_signal.as_of.or(told.body.as_of).filter(|_| !told.body.provisional);
                // A signal has no status of its own: 200 stands for whatever its verdict says.
                self.hear(Asked::Signal, session, sent, 200, verdict, as_of.filter(|_| told.body.stale_ms.is_none()));
            }
        }
    }

    /// Does something that must be refused, and counts a violation if it is taken.
    pub(crate) async fn misbehave(&self, mischief: Mischief, viewing: &mut Viewing) {
        let account = &self.home.account;
        let beat = viewing.beat(pulsegate_domain::ids::PlayerState::Playing);
        let mut body = self.beat_body(viewing, &beat);
        let answer = match mischief {
            Mischief::BrokenJson => {
                self.ask(
                    Call::Heartbeat,
                    None,
                    self.client.heartbeat_text(account, viewing.session, "{\"sequence\": 1,"),
                )
                .await
            }
            Mischief::SequenceJump => {
                body["sequence"] = json!(beat.sequence + JUMP);
                self.ask(Call::Heartbeat, None, self.client.heartbeat(account, viewing.session, &body)).await
            }
            Mischief::ForeignDevice => {
                let Some(session) = self.home.checker().session_elsewhere(&self.device_id) else { return };
                self.ask(Call::Heartbeat, None, self.client.heartbeat(account, session, &body)).await
            }
            Mischief::EmptyBatch => {
                self.ask(Call::Batch, None, self.client.heartbeats(&json!({ "heartbeats": [] }))).await
            }
        };
        match answer {
            Answer::Told(told) if told.status < 300 && !told.body.provisional => {
                self.violated("a wrong request", format!("{mischief:?} was taken with {}", told.status));
            }
            Answer::Told(_) | Answer::Refused { .. } => self.count(|counts| counts.mischief_refused += 1),
            Answer::Unavailable { .. } | Answer::Failed { .. } | Answer::Lost | Answer::Unreadable(_) => {}
        }
    }

    /// Sends a request; counts, times and checks its answer.
    async fn ask(
        &self,
        call: Call,
        about: Option<(Asked, SessionId)>,
        request: impl Future<Output = Answer>,
    ) -> Answer {
        let sent = Instant::now();
        let answer = request.await;
        self.tally.called(call, (!matches!(answer, Answer::Lost)).then(|| sent.elapsed()));
        let subject = || about.map_or_else(|| call.as_str().to_owned(), |(_, id)| format!("{} {id}", call.as_str()));
        match &answer {
            Answer::Told(told) => self.take_up(told, about, sent),
            Answer::Refused { status, code } => {
                if self.habit != Habit::BadClient {
                    self.count(|counts| *counts.problems.entry(format!("{status} {code}")).or_default() += 1);
                }
            }
            Answer::Unavailable { .. } => self.count(|counts| counts.unavailable += 1),
            Answer::Lost => self.count(|counts| counts.lost += 1),
            Answer::Failed { status } => self.violated(&subject(), format!("answered with {status}")),
            Answer::Unreadable(why) => self.violated(&subject(), format!("answered {why}")),
        }
        answer
    }

    fn take_up(&self, told: &Told, about: Option<(Asked, SessionId)>, sent: Instant) {
        let (Some((asked, session)), Some(verdict)) = (about, &told.body.verdict) else { return };
        if told.body.provisional {
            self.count(|counts| counts.provisional += 1);
        }
        if told.status == 410
            && let Some(reason) = verdict.reason
        {
            self.count(|counts| *counts.ended.entry(reason.as_str()).or_default() += 1);
        }
        let as_of = told.body.as_of.filter(|_| !told.body.provisional && told.body.stale_ms.is_none());
        self.hear(asked, session, sent, told.status, verdict, as_of);
    }

    fn hear(
        &self,
        asked: Asked,
        session: SessionId,
        sent: Instant,
        status: u16,
        verdict: &Verdict,
        as_of: Option<AsOf>,
    ) {
        let heard = Heard { asked, session, device: &self.device_id, sent, status, verdict, as_of };
        let wrong = self.home.checker().hear(&heard);
        for what in wrong {
            self.violated(&format!("{asked:?} {session}"), what);
        }
    }

    fn violated(&self, about: &str, what: String) {
        self.tally.violated(Violation { account: self.home.account.clone(), about: about.to_owned(), what });
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        self.tally.count(self.habit, change);
    }

    fn body(&self, title: &Title) -> Value {
        json!({
            "device_id": self.device_id,
            "device_class": self.device_class,
            "title_id": title.id,
            "content_kind": title.kind,
            "territory": self.territory,
        })
    }

    fn beat_body(&self, viewing: &Viewing, beat: &Beat) -> Value {
        let mut body = self.body(viewing.title);
        body["sequence"] = json!(beat.sequence);
        body["elapsed_ms"] = json!(beat.elapsed_ms);
        body["position_ms"] = json!(beat.position_ms);
        body["state"] = json!(beat.state);
        body
    }

    fn late_body(&self, viewing: &Viewing, beat: &Beat) -> Value {
        let mut body = self.beat_body(viewing, beat);
        body["account_id"] = json!(self.home.account);
        body["session_id"] = json!(viewing.session);
        body["age_ms"] = json!(beat.age_ms());
        body
    }
}

/// The verdict of an answer, if it has one.
pub(crate) fn verdict(answer: &Answer) -> Option<&Verdict> {
    match answer {
        Answer::Told(told) => told.body.verdict.as_ref(),
        Answer::Refused { .. }
        | Answer::Unavailable { .. }
        | Answer::Failed { .. }
        | Answer::Lost
        | Answer::Unreadable(_) => None,
    }
}
