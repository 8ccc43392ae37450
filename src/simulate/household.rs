//! The plan: households, their players and what each will do, all drawn from one seed.

use pulsegate_domain::ids::DeviceClass;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::habits::{Habit, Pace, Step, script};

/// What a household knows of its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    /// The policy by which it expects to be judged.
    pub(crate) policy: &'static str,
    /// Streams of the account that this policy allows.
    pub(crate) streams_max: u32,
    /// How long this policy keeps the slot of a session that is silent.
    pub(crate) lease_ms: u64,
}

/// The policy that is built in, and that an account without entitlement has.
pub(crate) const STANDARD: Limit = Limit { policy: "standard@1", streams_max: 2, lease_ms: 25_000 };

/// What a player does when it is told that the limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnLimit {
    /// Stops its session and leaves it at that.
    GiveUp,
    /// Asks now and then whether there is room, and starts the same session again when there is.
    WaitForRoom,
    /// Names one of those in its way and takes its place.
    Evict,
    /// Plays on.
    Ignore,
}

/// One account and everybody who uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Household {
    /// Its account.
    pub(crate) account: String,
    /// The limit that it knows of.
    pub(crate) limit: Limit,
    /// Its players.
    pub(crate) players: Vec<PlayerPlan>,
}

/// One player, a tab or an app on one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlayerPlan {
    /// What it is like.
    pub(crate) habit: Habit,
    /// Its device.
    pub(crate) device_id: String,
    /// That device's kind.
    pub(crate) device_class: DeviceClass,
    /// Where it is.
    pub(crate) territory: &'static str,
    /// What it does when told no.
    pub(crate) on_limit: OnLimit,
    /// When its first step begins.
    pub(crate) begins_after_ms: u64,
    /// What it does.
    pub(crate) script: Vec<Step>,
    /// The seed of what it decides on the way.
    pub(crate) seed: u64,
}

/// What to draw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw<'a> {
    /// The seed: the same one draws the same plan.
    pub(crate) seed: u64,
    /// The run's name, part of every account.
    pub(crate) run: &'a str,
    /// Players in all.
    pub(crate) viewers: usize,
    /// Their measures.
    pub(crate) pace: Pace,
    /// Only ordinary viewers.
    pub(crate) ordinary_only: bool,
}

/// The habits that a household can have, and how many of a hundred have it.
const HOUSEHOLDS: [(Habit, u32); 11] = [
    (Habit::Ordinary, 34),
    (Habit::Zapping, 8),
    (Habit::Autoplay, 10),
    (Habit::Reload, 6),
    (Habit::TwoTabs, 6),
    (Habit::Crash, 7),
    (Habit::NetworkLoss, 8),
    (Habit::SharedPassword, 9),
    (Habit::LicenceOnly, 4),
    (Habit::IgnoresBlocks, 4),
    (Habit::BadClient, 4),
];

const TERRITORIES: [&str; 8] = ["AT", "BR", "CZ", "DE", "FR", "JP", "NG", "PT"];

/// Draws the households. Each habit comes once, in an order of the seed, before habits repeat by weight;
/// the last household is cut where the viewers are complete.
pub(crate) fn plan(draw: Draw<'_>) -> Vec<Household> {
    let mut rng = ChaCha8Rng::seed_from_u64(draw.seed);
    let mut first_round: Vec<_> = HOUSEHOLDS.iter().map(|(habit, _)| *habit).collect();
    first_round.shuffle(&mut rng);
    let mut households = Vec::new();
    let mut missing = draw.viewers;
    while missing > 0 {
        let habit =
            if draw.ordinary_only { Habit::Ordinary } else { first_round.pop().unwrap_or_else(|| by_weight(&mut rng)) };
        let household = household(habit, households.len(), missing, draw, &mut rng);
        missing -= household.players.len();
        households.push(household);
    }
    households
}

fn by_weight(rng: &mut ChaCha8Rng) -> Habit {
    HOUSEHOLDS.choose_weighted(rng, |(_, weight)| *weight).map_or(Habit::Ordinary, |(habit, _)| *habit)
}

fn household(habit: Habit, number: usize, room: usize, draw: Draw<'_>, rng: &mut ChaCha8Rng) -> Household {
    let territory = TERRITORIES.choose(rng).copied().unwrap_or("ZZ");
    let mut players = Vec::new();
    for (index, member) in members(habit, rng).into_iter().take(room).enumerate() {
        // Two tabs share one device; everybody else has their own.
        let device = if member == Habit::TwoTabs { 0 } else { index };
        let device_class = class_of(member, rng);
        let latest_ms = draw.pace.beat_ms.min(draw.pace.run_ms / 4);
        players.push(PlayerPlan {
            habit: member,
            device_id: format!("{}-h{number:04}-d{device}", draw.seed),
            device_class,
            territory,
            on_limit: on_limit(member, rng),
            begins_after_ms: rng.random_range(0..=latest_ms),
            script: script(member, rng, draw.pace),
            seed: rng.random_range(0..=u64::MAX),
        });
    }
    Household { account: format!("sim-{}-{}-h{number:04}", draw.run, draw.seed), limit: STANDARD, players }
}

/// Who lives there: a habit that needs somebody in its way or at its side brings ordinary viewers.
fn members(habit: Habit, rng: &mut ChaCha8Rng) -> Vec<Habit> {
    match habit {
        Habit::Ordinary | Habit::Autoplay | Habit::NetworkLoss | Habit::Reload | Habit::Scene => {
            vec![habit; rng.random_range(1..=2)]
        }
        Habit::TwoTabs => vec![Habit::TwoTabs; 2],
        Habit::SharedPassword => vec![Habit::SharedPassword; rng.random_range(3..=5)],
        Habit::Zapping | Habit::LicenceOnly | Habit::BadClient => vec![habit, Habit::Ordinary],
        Habit::Crash => vec![Habit::Crash, Habit::Crash, Habit::Ordinary],
        Habit::IgnoresBlocks => vec![Habit::Ordinary, Habit::Ordinary, Habit::IgnoresBlocks],
    }
}

fn class_of(habit: Habit, rng: &mut ChaCha8Rng) -> DeviceClass {
    match habit {
        Habit::TwoTabs | Habit::Reload => DeviceClass::Web,
        Habit::LicenceOnly | Habit::Autoplay => DeviceClass::Tv,
        _ => *DeviceClass::ALL.choose(rng).unwrap_or(&DeviceClass::Other),
    }
}

fn on_limit(habit: Habit, rng: &mut ChaCha8Rng) -> OnLimit {
    let draw = rng.random_range(0..100);
    match habit {
        Habit::IgnoresBlocks => OnLimit::Ignore,
        Habit::SharedPassword if draw < 35 => OnLimit::Evict,
        Habit::SharedPassword => OnLimit::WaitForRoom,
        _ if draw < 50 => OnLimit::WaitForRoom,
        _ => OnLimit::GiveUp,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use pulsegate_domain::ids::{AccountId, DeviceId};

    use super::*;

    fn draw(seed: u64, viewers: usize) -> Vec<Household> {
        let pace = Pace { beat_ms: 10_000, run_ms: 60_000, lease_ms: STANDARD.lease_ms };
        plan(Draw { seed, run: "r1", viewers, pace, ordinary_only: false })
    }

    #[test]
    fn a_seed_draws_one_plan_and_another_seed_another() {
        assert_eq!(draw(1, 200), draw(1, 200));
        assert_ne!(draw(1, 200), draw(2, 200));
    }

    #[test]
    fn a_larger_run_begins_as_a_smaller_one() {
        let (small, large) = (draw(3, 40), draw(3, 400));
        let whole = small.len() - 1;
        assert_eq!(small[..whole], large[..whole]);
    }

    #[test]
    fn there_are_as_many_viewers_as_asked_for_and_every_habit_among_fifty() {
        for viewers in [1, 2, 7, 50, 333] {
            assert_eq!(draw(1, viewers).iter().map(|home| home.players.len()).sum::<usize>(), viewers);
        }
        for seed in 0..20 {
            let plan = draw(seed, 50);
            let habits: BTreeSet<_> = plan.iter().flat_map(|home| &home.players).map(|player| player.habit).collect();
            assert_eq!(habits.len(), HOUSEHOLDS.len(), "seed {seed}");
        }
    }

    #[test]
    fn ids_are_such_as_the_service_takes_and_contain_the_seed() {
        for home in draw(42, 100) {
            assert!(home.account.parse::<AccountId>().is_ok() && home.account.contains("-42-"), "{}", home.account);
            for player in home.players {
                assert!(player.device_id.parse::<DeviceId>().is_ok() && player.device_id.starts_with("42-"));
            }
        }
    }

    #[test]
    fn a_shared_password_has_more_devices_than_the_limit() {
        let plan = draw(1, 50);
        let shared = plan.iter().find(|home| home.players[0].habit == Habit::SharedPassword).unwrap();
        let devices: BTreeSet<_> = shared.players.iter().map(|player| &player.device_id).collect();
        assert!(devices.len() > usize::try_from(shared.limit.streams_max).unwrap());
    }
}
