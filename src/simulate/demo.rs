//! The narrated scene: one household, one evening, in about a minute.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use chrono::{Local, Offset, Utc};
use pulsegate_domain::account::Verdict;
use pulsegate_domain::ids::{DeviceClass, PlayerState};
use pulsegate_domain::time::Timestamp;
use rand::{Rng as _, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use super::catalogue::{SERIES, TITLES, Title};
use super::client::{Answer, Client};
use super::clock::Clock;
use super::habits::Habit;
use super::household::STANDARD;
use super::line::{Home, Line, verdict};
use super::narrator::Narrator;
use super::tally::Tally;
use super::viewing::{Viewing, session_id};

/// How often devices of the scene send heartbeats, at most: often enough that nobody waits long for news.
const BEAT_MS_MAX: u64 = 5_000;
/// How often a device that waits looks for room.
const LOOK_MS: u64 = 250;
/// How long it is given after a stop, and after a crash.
const STOP_MS_MAX: u64 = 5_000;
const CRASH_MS_MAX: u64 = 35_000;

/// Devices of the scene, by their place in it.
const TV: usize = 0;
const BEN: usize = 1;
const CLEO: usize = 2;
const DOV: usize = 3;
const ANNA: usize = 4;

/// How many players the scene has.
pub(crate) const ACTORS: usize = CAST.len();

const CAST: [(&str, &str, DeviceClass); 5] = [
    ("living-room-tv", "living-room TV", DeviceClass::Tv),
    ("bens-phone", "Ben's phone", DeviceClass::Mobile),
    ("cleos-tablet", "Cleo's tablet", DeviceClass::Tablet),
    ("dovs-laptop", "Dov's laptop", DeviceClass::Web),
    ("annas-phone", "Anna's phone", DeviceClass::Mobile),
];

/// Where the words go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    /// Nowhere.
    Silent,
    /// The standard output.
    Out,
    /// The standard error, where the standard output is for JSON.
    Err,
}

impl Voice {
    fn say(self, line: &str) {
        // A scene goes on though nobody listens any more.
        let _ = match self {
            Self::Silent => Ok(()),
            Self::Out => writeln!(io::stdout(), "{line}"),
            Self::Err => writeln!(io::stderr(), "{line}"),
        };
    }
}

/// One device in the scene.
struct Actor {
    line: Line,
    viewing: Option<Viewing>,
    /// Sends heartbeats of its own accord.
    beating: bool,
}

/// The scene as it is played.
pub(crate) struct Scene {
    actors: Vec<Actor>,
    clock: Clock,
    narrator: Narrator,
    voice: Voice,
    rng: ChaCha8Rng,
    beat: Duration,
    account: String,
}

impl Scene {
    /// A household that nobody has met before.
    pub(crate) fn new(
        client: &Client,
        tally: &Arc<Tally>,
        clock: Clock,
        run: &str,
        seed: u64,
        beat_ms: u64,
        voice: Voice,
    ) -> Self {
        let account = format!("demo-{run}");
        let home = Home::new(account.clone(), STANDARD);
        let actor = |(id, _, device_class): (&str, &str, DeviceClass)| Actor {
            line: Line {
                client: client.clone(),
                tally: Arc::clone(tally),
                home: Arc::clone(&home),
                habit: Habit::Scene,
                device_id: id.to_owned(),
                device_class,
                territory: "PT",
            },
            viewing: None,
            beating: false,
        };
        Self {
            actors: CAST.into_iter().map(actor).collect(),
            clock,
            narrator: Narrator {
                devices: CAST.into_iter().map(|(id, name, _)| (id.to_owned(), name)).collect(),
                zone: Local::now().offset().fix(),
            },
            voice,
            rng: ChaCha8Rng::seed_from_u64(seed),
            beat: Duration::from_millis(beat_ms.min(BEAT_MS_MAX)),
            account,
        }
    }

    /// Plays the scene; ends early with the run.
    pub(crate) async fn play(&mut self) {
        self.say(&format!("one household, account {}, policy {}: 2 streams at a time", self.account, STANDARD.policy));
        // `None` is a run that was ended: the curtain falls all the same.
        let _ = self.acts().await;
        self.curtain().await;
    }

    async fn acts(&mut self) -> Option<()> {
        self.full_house().await?;
        self.a_slot_by_stop().await?;
        self.a_slot_by_lease().await?;
        self.watch_here_instead().await?;
        self.back_from_the_dead().await
    }

    async fn full_house(&mut self) -> Option<()> {
        self.start(TV, "Anna", &TITLES[0], "on the living-room TV").await;
        self.pass(3_000).await?;
        self.start(BEN, "Ben", &SERIES[0], "on his phone").await;
        self.pass(3_000).await?;
        self.start(CLEO, "Cleo", &TITLES[3], "on her tablet").await;
        self.say("Cleo's tablet shows who is watching, and waits for a slot");
        self.pass(4_000).await
    }

    async fn a_slot_by_stop(&mut self) -> Option<()> {
        self.say("Ben has enough and stops");
        self.stop(BEN).await;
        let freed = Instant::now();
        match self.wait_for_room(CLEO, STOP_MS_MAX).await? {
            Some(told) => {
                self.say(&format!("slot freed, Cleo's retry … {told}, {} later", seconds(freed.elapsed())));
            }
            None => self.say("Cleo's tablet still has no slot: something is wrong"),
        }
        self.pass(4_000).await
    }

    async fn a_slot_by_lease(&mut self) -> Option<()> {
        self.start(DOV, "Dov", &TITLES[5], "on his laptop").await;
        self.pass(2_000).await?;
        self.beat(TV).await;
        let last_sign = Instant::now();
        let last_sign_at = self.narrator.time(now());
        self.actors[TV].beating = false;
        self.say(&format!(
            "the living-room TV loses its power. Nobody says goodbye; its last sign of life was at {last_sign_at}"
        ));
        if let Some(verdict) = self.look(DOV).await
            && let Some(frees_in_ms) = verdict.frees_in_ms
        {
            let wait = seconds(Duration::from_millis(frees_in_ms));
            self.say(&format!("Dov's laptop asks how long … in {wait}, if one of the two stays silent"));
        }
        match self.wait_for_room(DOV, CRASH_MS_MAX).await? {
            Some(told) => self.say(&format!(
                "the TV's lease has run out, Dov's retry … {told}, {} after the TV's last sign of life",
                seconds(last_sign.elapsed())
            )),
            None => self.say("Dov's laptop still has no slot: something is wrong"),
        }
        self.pass(3_000).await
    }

    async fn watch_here_instead(&mut self) -> Option<()> {
        self.start(ANNA, "Anna", &TITLES[0], "on her phone, in the dark").await;
        self.pass(3_000).await?;
        let Some(dov) = self.actors[DOV].viewing.as_ref().map(|viewing| viewing.session) else { return Some(()) };
        let actor = &mut self.actors[ANNA];
        let Some(viewing) = &actor.viewing else { return Some(()) };
        let answer = actor.line.start(viewing, &[dov]).await;
        actor.beating = allows(&answer);
        let told = self.narrator.told(&answer);
        self.say(&format!("Anna taps \"watch here instead of Dov's laptop\" … {told}"));
        self.pass(self.beat.as_secs() * 1_000 + 2_000).await
    }

    async fn back_from_the_dead(&mut self) -> Option<()> {
        self.say("the power is back; the TV goes on where it was, as if it still had its slot");
        self.beat(TV).await;
        if let Some(told) = self.look(TV).await {
            self.say(&format!("the living-room TV is {}", self.narrator.said(&told)));
        }
        self.pass(3_000).await
    }

    /// Everybody goes to bed.
    async fn curtain(&mut self) {
        self.say("everybody goes to bed");
        for index in 0..self.actors.len() {
            self.stop(index).await;
        }
    }

    async fn start(&mut self, index: usize, who: &str, title: &'static Title, place: &str) {
        let mut random = [0; 10];
        self.rng.fill_bytes(&mut random);
        let Some(session) = session_id(random) else { return };
        let viewing = Viewing::begin(session, title, self.beat);
        let actor = &mut self.actors[index];
        let answer = actor.line.start(&viewing, &[]).await;
        actor.beating = allows(&answer);
        actor.viewing = Some(viewing);
        let told = self.narrator.told(&answer);
        self.say(&format!("{who} starts \"{}\" {place} … {told}", title.name));
    }

    async fn stop(&mut self, index: usize) {
        let actor = &mut self.actors[index];
        actor.beating = false;
        if let Some(mut viewing) = actor.viewing.take() {
            actor.line.stop(&mut viewing, false).await;
        }
    }

    /// A heartbeat; what is news in its answer is told.
    async fn beat(&mut self, index: usize) {
        let beat_after = self.beat;
        let actor = &mut self.actors[index];
        let Some(viewing) = &mut actor.viewing else { return };
        viewing.due = Instant::now() + beat_after;
        let beat = viewing.beat(PlayerState::Playing);
        let answer = actor.line.heartbeat(viewing, &beat).await;
        let Some(verdict) = verdict(&answer) else { return };
        if verdict.is_ended() {
            actor.viewing = None;
        }
        if !verdict.allows() && actor.beating {
            actor.beating = false;
            let told = self.narrator.said(verdict);
            self.say(&format!("the next heartbeat of {} … {told}", CAST[index].1));
        }
    }

    async fn look(&self, index: usize) -> Option<Verdict> {
        let actor = &self.actors[index];
        let answer = actor.line.check(actor.viewing.as_ref()?.session).await;
        verdict(&answer).cloned()
    }

    /// Looks for room until there is some and a start gets it. The outer `None`: the run was ended; the
    /// inner one: it took too long.
    async fn wait_for_room(&mut self, index: usize, ms_max: u64) -> Option<Option<String>> {
        let give_up = Instant::now() + Duration::from_millis(ms_max);
        while Instant::now() < give_up {
            if self.look(index).await.is_some_and(|verdict| verdict.room) {
                let beat_after = self.beat;
                let actor = &mut self.actors[index];
                let Some(viewing) = &mut actor.viewing else { return Some(None) };
                let answer = actor.line.start(viewing, &[]).await;
                if allows(&answer) {
                    viewing.due = Instant::now() + beat_after;
                    actor.beating = true;
                    return Some(Some(self.narrator.told(&answer)));
                }
            }
            self.pass(LOOK_MS).await?;
        }
        Some(None)
    }

    /// Lets time pass, with the heartbeats that are due in it; `None` if the run was ended.
    async fn pass(&mut self, ms: u64) -> Option<()> {
        let until = Instant::now() + Duration::from_millis(ms);
        loop {
            let due = self
                .actors
                .iter()
                .enumerate()
                .filter(|(_, actor)| actor.beating)
                .filter_map(|(index, actor)| actor.viewing.as_ref().map(|viewing| (viewing.due, index)))
                .min()
                .filter(|(due, _)| *due < until);
            if !self.clock.reach(due.map_or(until, |(due, _)| due)).await {
                return None;
            }
            let Some((_, index)) = due else { return Some(()) };
            self.beat(index).await;
        }
    }

    fn say(&self, what: &str) {
        self.voice.say(&format!("{}  {what}", self.narrator.time(now())));
    }

    /// The account of the scene.
    pub(crate) fn account(&self) -> &str {
        &self.account
    }
}

fn allows(answer: &Answer) -> bool {
    verdict(answer).is_some_and(Verdict::allows)
}

fn now() -> Timestamp {
    Timestamp::from(Utc::now())
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
