//! A player: a machine of four phases that goes through its script and hears its verdicts.

use std::mem;
use std::time::Duration;

use pulsegate_domain::ids::{PlayerState, SessionId};
use rand::{Rng as _, RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use super::catalogue::Title;
use super::client::Answer;
use super::clock::Clock;
use super::habits::{Mischief, Step};
use super::household::{OnLimit, PlayerPlan};
use super::line::{Line, verdict};
use super::viewing::{Viewing, session_id};

/// Tries of one start that gets no answer.
const START_TRIES_MAX: u32 = 5;
/// The wait between two of them where the answer doesn't say one.
const START_RETRY_MS: u64 = 1_000;
/// How often a player that waits asks for room: at least and at most.
const LOOK_MS: (u64, u64) = (200, 3_000);
/// How long a viewer reads who is in the way, at most.
const READING_MS_MAX: u64 = 1_500;

/// One player of a household.
pub(crate) struct Player {
    plan: PlayerPlan,
    line: Line,
    clock: Clock,
    beat_ms: u64,
    rng: ChaCha8Rng,
    phase: Phase,
    shown: (i64, i64),
}

/// Where a player stands.
enum Phase {
    /// No session.
    Idle,
    /// Told yes, or nothing yet.
    Watching(Viewing),
    /// Told no, and waits for room.
    Waiting(Viewing),
    /// Told no, and plays on.
    Defying(Viewing),
}

/// What an answer means to a player.
enum Outcome {
    /// It may run.
    Go,
    /// It must not, and who is in its way.
    No(Option<SessionId>),
    /// Its session has ended.
    Over,
    /// Nothing about that.
    Unclear,
}

impl Player {
    /// A player that hasn't done anything yet.
    pub(crate) fn new(plan: PlayerPlan, line: Line, clock: Clock, beat_ms: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(plan.seed);
        Self { plan, line, clock, beat_ms, rng, phase: Phase::Idle, shown: (0, 0) }
    }

    /// Goes through the script until it or the run ends, then stops what is left.
    pub(crate) async fn live(mut self) {
        let begins = self.clock.begun + Duration::from_millis(self.plan.begins_after_ms);
        let script = mem::take(&mut self.plan.script);
        if self.clock.reach(begins).await {
            for step in script {
                let goes_on = self.take(step).await;
                self.show();
                if !goes_on {
                    break;
                }
            }
        }
        self.stop(false).await;
        self.show();
    }

    /// Takes one step; answers whether the run goes on.
    async fn take(&mut self, step: Step) -> bool {
        match step {
            Step::Start(title) => self.start(title).await,
            Step::Watch { ms } => self.watch(ms, PlayerState::Playing).await,
            Step::Pause { ms } => self.watch(ms, PlayerState::Paused).await,
            Step::Silence { ms } | Step::Rest { ms } => self.clock.rest(Duration::from_millis(ms)).await,
            Step::Offline { ms } => self.offline(ms).await,
            Step::Stop { beacon } => {
                self.stop(beacon).await;
                true
            }
            Step::Signal(kind, title) => {
                self.line.signal(kind, title).await;
                true
            }
            Step::Misbehave(mischief) => {
                self.misbehave(mischief).await;
                true
            }
        }
    }

    async fn start(&mut self, title: &'static Title) -> bool {
        // The session before is left as it is: that its device goes on is for the service to see.
        self.phase = Phase::Idle;
        let mut random = [0; 10];
        self.rng.fill_bytes(&mut random);
        let Some(session) = session_id(random) else { return true };
        let viewing = Viewing::begin(session, title, Duration::from_millis(self.beat_ms));
        let Some(outcome) = self.ask(&viewing, &[]).await else {
            self.phase = Phase::Watching(viewing);
            return false;
        };
        self.phase = match outcome {
            Outcome::Go => Phase::Watching(viewing),
            Outcome::Over => Phase::Idle,
            Outcome::Unclear => self.give_up(viewing).await,
            Outcome::No(Some(in_the_way)) if self.plan.on_limit == OnLimit::Evict => {
                return self.evict(viewing, in_the_way).await;
            }
            Outcome::No(_) => self.told_no(viewing).await,
        };
        true
    }

    /// Starts until somebody answers; `None` if the run ends before that.
    async fn ask(&mut self, viewing: &Viewing, evict: &[SessionId]) -> Option<Outcome> {
        for _ in 0..START_TRIES_MAX {
            let answer = self.line.start(viewing, evict).await;
            let wait = match &answer {
                Answer::Told(_) => return Some(outcome(&answer)),
                Answer::Refused { .. } | Answer::Unreadable(_) => return Some(Outcome::Unclear),
                Answer::Unavailable { retry_after } => *retry_after,
                Answer::Failed { .. } | Answer::Lost => Duration::from_millis(START_RETRY_MS),
            };
            if !self.clock.rest(wait).await {
                return None;
            }
        }
        Some(Outcome::Unclear)
    }

    /// Takes the place of one that is in the way: mostly with the start itself, else by remote kill.
    async fn evict(&mut self, viewing: Viewing, in_the_way: SessionId) -> bool {
        let reading = Duration::from_millis(self.rng.random_range(0..=READING_MS_MAX));
        let goes_on = self.clock.rest(reading).await;
        let evict = [in_the_way];
        let by_start = self.rng.random_bool(0.75);
        if goes_on && !by_start {
            self.line.evict(in_the_way).await;
        }
        let outcome = if goes_on { self.ask(&viewing, if by_start { &evict } else { &[] }).await } else { None };
        let goes_on = outcome.is_some();
        self.phase = match outcome {
            Some(Outcome::Go) => Phase::Watching(viewing),
            Some(Outcome::Over) => Phase::Idle,
            Some(Outcome::No(_) | Outcome::Unclear) | None => Phase::Waiting(viewing),
        };
        goes_on
    }

    async fn told_no(&mut self, viewing: Viewing) -> Phase {
        match self.plan.on_limit {
            OnLimit::GiveUp => self.give_up(viewing).await,
            OnLimit::WaitForRoom | OnLimit::Evict => Phase::Waiting(self.look_later(viewing)),
            OnLimit::Ignore => Phase::Defying(viewing),
        }
    }

    async fn give_up(&mut self, mut viewing: Viewing) -> Phase {
        self.line.stop(&mut viewing, false).await;
        Phase::Idle
    }

    async fn stop(&mut self, beacon: bool) {
        match mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Idle => {}
            Phase::Watching(mut viewing) | Phase::Waiting(mut viewing) | Phase::Defying(mut viewing) => {
                self.line.stop(&mut viewing, beacon).await;
            }
        }
    }

    /// Lets a time pass, and does for the session what is due.
    async fn watch(&mut self, ms: u64, state: PlayerState) -> bool {
        let until = Instant::now() + Duration::from_millis(ms);
        loop {
            self.show();
            let due = match &self.phase {
                Phase::Idle => until,
                Phase::Watching(viewing) | Phase::Waiting(viewing) | Phase::Defying(viewing) => viewing.due.min(until),
            };
            if !self.clock.reach(due).await {
                return false;
            }
            if due == until {
                return true;
            }
            self.phase = match mem::replace(&mut self.phase, Phase::Idle) {
                Phase::Idle => Phase::Idle,
                Phase::Watching(viewing) => self.beat(viewing, state).await,
                Phase::Waiting(viewing) => self.look_for_room(viewing).await,
                Phase::Defying(viewing) => self.defy(viewing).await,
            };
        }
    }

    async fn beat(&mut self, mut viewing: Viewing, state: PlayerState) -> Phase {
        viewing.due = Instant::now() + Duration::from_millis(self.beat_ms);
        if !viewing.kept.is_empty() {
            // First what is older: a heartbeat below the last sequence doesn't count any more.
            self.line.send_late(&mut viewing).await;
        }
        let beat = viewing.beat(state);
        let answer = self.line.heartbeat(&viewing, &beat).await;
        let mut heard = outcome(&answer);
        if matches!(heard, Outcome::Go) && self.rng.random_bool(0.3) {
            heard = match outcome(&self.line.check(viewing.session).await) {
                Outcome::Unclear => Outcome::Go,
                checked => checked,
            };
        }
        match heard {
            Outcome::Go => Phase::Watching(viewing),
            Outcome::No(_) => self.told_no(viewing).await,
            Outcome::Over => Phase::Idle,
            Outcome::Unclear => {
                if !matches!(answer, Answer::Refused { .. }) {
                    viewing.keep(beat);
                }
                Phase::Watching(viewing)
            }
        }
    }

    async fn defy(&mut self, viewing: Viewing) -> Phase {
        self.line.tally.count(self.line.habit, |counts| counts.ignored_blocks += 1);
        match self.beat(viewing, PlayerState::Playing).await {
            // Still told no: plays on all the same.
            Phase::Waiting(viewing) | Phase::Defying(viewing) => Phase::Defying(viewing),
            Phase::Watching(viewing) => Phase::Watching(viewing),
            Phase::Idle => Phase::Idle,
        }
    }

    /// Asks for the verdict, and starts the same session again if that says that there is room.
    async fn look_for_room(&mut self, viewing: Viewing) -> Phase {
        let viewing = self.look_later(viewing);
        let answer = self.line.check(viewing.session).await;
        let Some(verdict) = verdict(&answer) else { return Phase::Waiting(viewing) };
        if verdict.is_ended() {
            return Phase::Idle;
        }
        if !verdict.room {
            return Phase::Waiting(viewing);
        }
        match outcome(&self.line.start(&viewing, &[]).await) {
            Outcome::Go => {
                let mut viewing = viewing;
                viewing.due = Instant::now() + Duration::from_millis(self.beat_ms);
                Phase::Watching(viewing)
            }
            Outcome::Over => Phase::Idle,
            Outcome::No(_) | Outcome::Unclear => Phase::Waiting(viewing),
        }
    }

    fn look_later(&self, mut viewing: Viewing) -> Viewing {
        viewing.due = Instant::now() + Duration::from_millis((self.beat_ms / 3).clamp(LOOK_MS.0, LOOK_MS.1));
        viewing
    }

    /// Plays on without a network, keeps its heartbeats, and sends them when the network is back.
    async fn offline(&mut self, ms: u64) -> bool {
        let until = Instant::now() + Duration::from_millis(ms);
        let (Phase::Watching(mut viewing) | Phase::Defying(mut viewing)) = mem::replace(&mut self.phase, Phase::Idle)
        else {
            return self.clock.reach(until).await;
        };
        let mut goes_on = true;
        while goes_on && viewing.due < until {
            goes_on = self.clock.reach(viewing.due).await;
            let beat = viewing.beat(PlayerState::Playing);
            viewing.keep(beat);
            viewing.due += Duration::from_millis(self.beat_ms);
        }
        goes_on = goes_on && self.clock.reach(until).await;
        if !viewing.kept.is_empty() {
            self.line.send_late(&mut viewing).await;
        }
        viewing.due = viewing.due.min(until);
        self.phase = Phase::Watching(viewing);
        goes_on
    }

    async fn misbehave(&mut self, mischief: Mischief) {
        let Phase::Watching(viewing) = &mut self.phase else { return };
        // A jump is one only from a heartbeat that was heard.
        if viewing.beats() > 0 && viewing.kept.is_empty() {
            self.line.misbehave(mischief, viewing).await;
        }
    }

    /// Shows where this player stands to whoever draws the progress.
    fn show(&mut self) {
        let now = match &self.phase {
            Phase::Idle => (0, 0),
            Phase::Watching(_) => (1, 0),
            Phase::Waiting(_) | Phase::Defying(_) => (0, 1),
        };
        self.line.tally.stand(now.0 - self.shown.0, now.1 - self.shown.1);
        self.shown = now;
    }
}

fn outcome(answer: &Answer) -> Outcome {
    match (answer, verdict(answer)) {
        (_, Some(verdict)) if verdict.allows() => Outcome::Go,
        (_, Some(verdict)) if verdict.is_ended() => Outcome::Over,
        (_, Some(verdict)) => Outcome::No(verdict.conflicts.first().map(|conflict| conflict.session_id)),
        (Answer::Told(_), None) => Outcome::Go,
        (_, None) => Outcome::Unclear,
    }
}
