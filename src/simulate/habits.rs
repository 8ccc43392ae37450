//! How viewers behave: each habit writes a script of steps, drawn from the seed before anything runs.

use pulsegate_domain::ids::SignalKind;
use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Serialize, Serializer};

use super::catalogue::{SERIES, TITLES, Title};

/// Longest script of one player, in steps; far above what a day of zapping needs at the usual beat.
const SCRIPT_STEPS_MAX: usize = 100_000;

/// What a player does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Habit {
    /// Starts, watches, pauses now and then, stops.
    Ordinary,
    /// A new title every few seconds on one device, no stops.
    Zapping,
    /// The next episode begins by itself.
    Autoplay,
    /// The page is loaded again: a new session without a stop of the old.
    Reload,
    /// Two tabs of one browser, each starting anew when its viewer clicks.
    TwoTabs,
    /// Goes silent, comes back after its lease.
    Crash,
    /// Loses the network, keeps its heartbeats, sends them late.
    NetworkLoss,
    /// More devices than the limit; those told no wait for room or evict.
    SharedPassword,
    /// A television that only a licence server and a CDN speak of.
    LicenceOnly,
    /// Told no, plays on and keeps sending heartbeats.
    IgnoresBlocks,
    /// Broken JSON, jumps in its sequence, another device's session.
    BadClient,
    /// Somebody in the narrated scene.
    Scene,
}

impl Habit {
    /// Every habit, in the order of the report.
    pub(crate) const ALL: [Self; 12] = [
        Self::Ordinary,
        Self::Zapping,
        Self::Autoplay,
        Self::Reload,
        Self::TwoTabs,
        Self::Crash,
        Self::NetworkLoss,
        Self::SharedPassword,
        Self::LicenceOnly,
        Self::IgnoresBlocks,
        Self::BadClient,
        Self::Scene,
    ];

    /// The words of the report.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ordinary => "ordinary",
            Self::Zapping => "zapping",
            Self::Autoplay => "autoplay",
            Self::Reload => "reload",
            Self::TwoTabs => "two tabs",
            Self::Crash => "crash",
            Self::NetworkLoss => "network loss",
            Self::SharedPassword => "shared password",
            Self::LicenceOnly => "licence only",
            Self::IgnoresBlocks => "ignores blocks",
            Self::BadClient => "bad client",
            Self::Scene => "scene",
        }
    }
}

impl Serialize for Habit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What a bad client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mischief {
    /// A heartbeat that isn't JSON.
    BrokenJson,
    /// A heartbeat whose sequence is far above the last.
    SequenceJump,
    /// A heartbeat for a session of another device.
    ForeignDevice,
    /// A batch without heartbeats.
    EmptyBatch,
}

impl Mischief {
    const ALL: [Self; 4] = [Self::BrokenJson, Self::SequenceJump, Self::ForeignDevice, Self::EmptyBatch];
}

/// One step of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Makes a new session, without a stop of the one before.
    Start(&'static Title),
    /// Plays (or waits for room, if told no).
    Watch {
        /// For so long.
        ms: u64,
    },
    /// Pauses; heartbeats go on.
    Pause {
        /// For so long.
        ms: u64,
    },
    /// Sends nothing and keeps nothing.
    Silence {
        /// For so long.
        ms: u64,
    },
    /// Plays without a network, and sends what it kept when that is back.
    Offline {
        /// For so long.
        ms: u64,
    },
    /// Ends the session.
    Stop {
        /// As a page does that is closed.
        beacon: bool,
    },
    /// Nobody watches.
    Rest {
        /// For so long.
        ms: u64,
    },
    /// A server saw the device.
    Signal(SignalKind, &'static Title),
    /// Something that must be refused.
    Misbehave(Mischief),
}

impl Step {
    /// How long the step lasts.
    pub(crate) const fn lasts_ms(self) -> u64 {
        match self {
            Self::Watch { ms }
            | Self::Pause { ms }
            | Self::Silence { ms }
            | Self::Offline { ms }
            | Self::Rest { ms } => ms,
            Self::Start(_) | Self::Stop { .. } | Self::Signal(..) | Self::Misbehave(_) => 0,
        }
    }
}

/// The measures that a script is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "a duration ends with its unit")]
pub(crate) struct Pace {
    /// From one heartbeat to the next.
    pub(crate) beat_ms: u64,
    /// The whole run.
    pub(crate) run_ms: u64,
    /// How long a silent session keeps its slot.
    pub(crate) lease_ms: u64,
}

/// The steps of one player, long enough for the whole run.
pub(crate) fn script(habit: Habit, rng: &mut ChaCha8Rng, pace: Pace) -> Vec<Step> {
    let mut writer = Writer { rng, pace, steps: Vec::new() };
    let mut written_ms = 0;
    while written_ms < pace.run_ms && writer.steps.len() < SCRIPT_STEPS_MAX {
        let from = writer.steps.len();
        writer.evening(habit);
        written_ms += writer.steps[from..].iter().map(|step| step.lasts_ms()).sum::<u64>();
    }
    writer.steps
}

struct Writer<'a> {
    rng: &'a mut ChaCha8Rng,
    pace: Pace,
    steps: Vec<Step>,
}

impl Writer<'_> {
    /// A time between two numbers of tenths of a beat, never 0: so every evening lasts and a script ends.
    fn tenths(&mut self, from: u64, to: u64) -> u64 {
        let (from, to) = (from * self.pace.beat_ms / 10, to * self.pace.beat_ms / 10);
        self.rng.random_range(from..=to).max(1)
    }

    fn watch(&mut self, from: u64, to: u64) {
        let ms = self.tenths(from, to);
        self.steps.push(Step::Watch { ms });
    }

    fn rest(&mut self, from: u64, to: u64) {
        let ms = self.tenths(from, to);
        self.steps.push(Step::Rest { ms });
    }

    fn any_title(&mut self) -> &'static Title {
        TITLES.choose(self.rng).unwrap_or(&TITLES[0])
    }

    fn start(&mut self) -> &'static Title {
        let title = self.any_title();
        self.steps.push(Step::Start(title));
        title
    }

    fn stop_and_rest(&mut self) {
        let beacon = self.rng.random_bool(0.3);
        self.steps.push(Step::Stop { beacon });
        self.rest(5, 25);
    }

    /// One round of a habit; a script is made of as many as the run needs.
    fn evening(&mut self, habit: Habit) {
        match habit {
            Habit::Ordinary | Habit::Scene => self.ordinary(),
            Habit::Zapping => self.zapping(),
            Habit::Autoplay => self.autoplay(),
            Habit::Reload => self.reload(),
            Habit::TwoTabs => self.tab(),
            Habit::Crash => self.crash(),
            Habit::NetworkLoss => self.network_loss(),
            Habit::SharedPassword | Habit::IgnoresBlocks => self.binge(),
            Habit::LicenceOnly => self.licence_only(),
            Habit::BadClient => self.bad_client(),
        }
    }

    fn ordinary(&mut self) {
        self.start();
        self.watch(20, 60);
        if self.rng.random_bool(0.4) {
            let ms = self.tenths(10, 25);
            self.steps.push(Step::Pause { ms });
            self.watch(15, 40);
        }
        self.stop_and_rest();
    }

    fn zapping(&mut self) {
        for _ in 0..self.rng.random_range(3..=7) {
            self.start();
            self.watch(2, 6);
        }
        self.start();
        self.watch(15, 30);
        self.stop_and_rest();
    }

    fn autoplay(&mut self) {
        let first = self.rng.random_range(0..3);
        for episode in &SERIES[first..first + 4] {
            self.steps.push(Step::Start(episode));
            self.watch(10, 25);
        }
        self.stop_and_rest();
    }

    fn reload(&mut self) {
        let title = self.start();
        for _ in 0..self.rng.random_range(1..=3) {
            self.watch(4, 20);
            self.steps.push(Step::Start(title));
        }
        self.watch(10, 20);
        self.stop_and_rest();
    }

    fn tab(&mut self) {
        self.start();
        self.watch(8, 25);
        self.rest(3, 12);
    }

    fn crash(&mut self) {
        let title = self.start();
        self.watch(5, 15);
        let ms = self.pace.lease_ms + self.rng.random_range(1_000..=3_000);
        self.steps.push(Step::Silence { ms });
        if self.rng.random_bool(0.5) {
            self.steps.push(Step::Start(title));
        }
        self.watch(10, 20);
        self.stop_and_rest();
    }

    fn network_loss(&mut self) {
        self.start();
        self.watch(8, 20);
        let ms = self.tenths(12, 35);
        self.steps.push(Step::Offline { ms });
        self.watch(12, 25);
        self.stop_and_rest();
    }

    fn binge(&mut self) {
        self.start();
        self.watch(20, 60);
        self.stop_and_rest();
    }

    fn licence_only(&mut self) {
        let title = self.any_title();
        self.steps.push(Step::Signal(SignalKind::DrmLicence, title));
        for _ in 0..self.rng.random_range(2..=5) {
            self.rest(8, 12);
            self.steps.push(Step::Signal(SignalKind::CdnSegment, title));
        }
        self.steps.push(Step::Signal(SignalKind::DrmRenewal, title));
        self.rest(20, 40);
    }

    fn bad_client(&mut self) {
        self.start();
        self.watch(11, 15);
        for _ in 0..self.rng.random_range(1..=3) {
            let mischief = *Mischief::ALL.choose(self.rng).unwrap_or(&Mischief::BrokenJson);
            self.steps.push(Step::Misbehave(mischief));
            self.watch(3, 8);
        }
        self.stop_and_rest();
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn every_habit_fills_the_run_and_begins_with_something_to_see() {
        let pace = Pace { beat_ms: 10_000, run_ms: 300_000, lease_ms: 25_000 };
        for habit in Habit::ALL {
            let steps = script(habit, &mut ChaCha8Rng::seed_from_u64(7), pace);
            assert!(steps.iter().map(|step| step.lasts_ms()).sum::<u64>() >= pace.run_ms, "{habit:?}");
            assert!(matches!(steps[0], Step::Start(_) | Step::Signal(..)), "{habit:?}");
        }
    }

    #[test]
    fn a_crash_is_silent_for_longer_than_its_lease() {
        let pace = Pace { beat_ms: 500, run_ms: 120_000, lease_ms: 25_000 };
        let steps = script(Habit::Crash, &mut ChaCha8Rng::seed_from_u64(1), pace);
        assert!(steps.iter().any(|step| matches!(step, Step::Silence { .. })));
        assert!(steps.iter().all(|step| !matches!(step, Step::Silence { ms } if *ms <= pace.lease_ms)));
    }
}
