//! `pulsegate simulate`: viewers over HTTP, drawn from a seed, some of whose players misbehave.
//!
//! The same seed draws the same households, devices, habits and scripts. What the service answers is
//! checked against what each household knows of its limit; a violation makes the report unsound.

mod catalogue;
mod checker;
mod client;
mod clock;
mod demo;
mod habits;
mod household;
mod latency;
mod line;
mod narrator;
mod past;
mod player;
mod progress;
mod report;
mod tally;
mod viewing;

use std::io::Write;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use pulsegate_domain::ids::AccountId;
use pulsegate_write_side::LogSettings;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use crate::commands::Length;
use client::Client;
use clock::Clock;
use demo::{Scene, Voice};
use habits::{Habit, Pace};
use household::{Draw, Household, STANDARD, plan};
use line::{Home, Line};
use player::Player;
use progress::Progress;
pub(crate) use report::Report;
use tally::Tally;

/// Ordinary viewers beside the scene.
const EXTRAS: usize = 20;
/// The longest that a scene lasts.
const SCENE_MS_MAX: u64 = 120_000;
/// How long players have for their last calls once a run is over.
const GRACE_MS: u64 = 20_000;

/// What to simulate.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SimulateArgs {
    /// Players in all
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub(crate) viewers: u32,
    /// Length of the run
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub(crate) seconds: u64,
    /// What households, habits and scripts are drawn from
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub(crate) seed: u64,
    /// The service
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,
    /// From one heartbeat of a player to the next; scripts are written in this measure
    #[arg(long, value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(50..=60_000))]
    pub(crate) heartbeat_ms: u64,
    /// Part of every account's name [default: from the time, so that runs don't meet]
    #[arg(long = "run", value_name = "NAME")]
    pub(crate) run_name: Option<String>,
    /// Tell the story of one household in a minute; --viewers and --seconds don't count then
    #[arg(long)]
    pub(crate) demo: bool,
    /// Instead, fill an empty log with so many days of viewing before now, in the log's time: 90d
    #[arg(long, value_name = "DAYS", conflicts_with_all = ["demo", "seconds", "url", "heartbeat_ms"])]
    pub(crate) history: Option<Length>,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Show no progress, and nothing but violations at the end
    #[arg(long)]
    pub(crate) quiet: bool,
}

/// Lets viewers loose on a service until the run ends or `stop` resolves, prints what they met, and
/// returns it. The caller decides the exit code: 1 unless [`Report::is_clean`].
pub(crate) async fn run(args: SimulateArgs, stop: impl Future<Output = ()>) -> anyhow::Result<Report> {
    let run_name = run_name(args.run_name.as_deref())?;
    let client = Client::new(&args.url)?;
    client.probe().await?;

    let run_ms = if args.demo { SCENE_MS_MAX } else { args.seconds * 1_000 };
    let households = plan(Draw {
        seed: args.seed,
        run: &run_name,
        viewers: if args.demo { EXTRAS } else { usize::try_from(args.viewers)? },
        pace: Pace { beat_ms: args.heartbeat_ms, run_ms, lease_ms: STANDARD.lease_ms },
        ordinary_only: args.demo,
    });
    let (halt, halted) = watch::channel(false);
    let clock = Clock::new(Duration::from_millis(run_ms), halted);
    let tally = Arc::new(Tally::default());
    let voice = match (args.quiet, args.json) {
        (true, _) => Voice::Silent,
        (false, true) => Voice::Err,
        (false, false) => Voice::Out,
    };
    let scene =
        args.demo.then(|| Scene::new(&client, &tally, clock.clone(), &run_name, args.seed, args.heartbeat_ms, voice));
    let scene_account = scene.as_ref().map(|scene| scene.account().to_owned());
    let players = let_loose(&households, &client, &tally, &clock, args.heartbeat_ms);
    let progress = Progress::new(Duration::from_millis(run_ms), args.quiet || args.demo);

    let interrupted = until_over(players, scene, &halt, stop, &tally, &clock, &progress).await?;

    let count = |habit| households.iter().flat_map(|home| &home.players).filter(|player| player.habit == habit).count();
    let (actors, stages) = if args.demo { (demo::ACTORS, 1) } else { (0, 0) };
    let report = Report {
        run: run_name,
        seed: args.seed,
        url: client.base().to_owned(),
        viewers: households.iter().map(|home| home.players.len()).sum::<usize>() + actors,
        households: households.len() + stages,
        took_ms: u64::try_from(clock.begun.elapsed().as_millis())?,
        interrupted,
        requests: tally.requests(),
        habits: Report::habit_rows(&tally, |habit| if habit == Habit::Scene { actors } else { count(habit) }),
        latency: Report::latency_rows(&tally),
        violations: tally.violations(),
        examples: tally.examples(),
    };
    print(&report, &args, scene_account.as_deref()).context("failed to print the report")?;
    Ok(report)
}

/// Fills an empty log with the history that is asked for.
pub(crate) async fn make_history(
    args: &SimulateArgs,
    Length(back): Length,
    settings: &LogSettings,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let run = run_name(args.run_name.as_deref())?;
    past::make(args, back.as_secs() / (24 * 3_600), &run, settings, stop).await?;
    Ok(())
}

/// Every player as a task of its own.
fn let_loose(
    households: &[Household],
    client: &Client,
    tally: &Arc<Tally>,
    clock: &Clock,
    beat_ms: u64,
) -> JoinSet<()> {
    let mut players = JoinSet::new();
    for household in households {
        let home = Home::new(household.account.clone(), household.limit);
        for plan in &household.players {
            let line = Line {
                client: client.clone(),
                tally: Arc::clone(tally),
                home: Arc::clone(&home),
                habit: plan.habit,
                device_id: plan.device_id.clone(),
                device_class: plan.device_class,
                territory: plan.territory,
            };
            players.spawn(Player::new(plan.clone(), line, clock.clone(), beat_ms).live());
        }
    }
    players
}

/// Waits for the scene and the players; answers whether `stop` ended them. Players still busy after the
/// grace are dropped.
async fn until_over(
    mut players: JoinSet<()>,
    mut scene: Option<Scene>,
    halt: &watch::Sender<bool>,
    stop: impl Future<Output = ()>,
    tally: &Tally,
    clock: &Clock,
    progress: &Progress,
) -> anyhow::Result<bool> {
    let (mut on_stage, mut interrupted) = (scene.is_some(), false);
    let mut stop = pin!(stop);
    let mut play = pin!(async {
        if let Some(scene) = &mut scene {
            scene.play().await;
        }
    });
    let mut ticks = interval_at(Instant::now() + progress.period(), progress.period());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let grace = Duration::from_millis(GRACE_MS);
    let mut last_call = Instant::now() + clock.left() + grace;
    while on_stage || !players.is_empty() {
        tokio::select! {
            () = &mut stop, if !interrupted => {
                interrupted = true;
                last_call = Instant::now() + grace;
                halt.send_replace(true);
            }
            () = &mut play, if on_stage => {
                on_stage = false;
                last_call = Instant::now() + grace;
                halt.send_replace(true);
            }
            Some(ended) = players.join_next() => ended.context("a player failed")?,
            _ = ticks.tick() => progress.show(tally, clock),
            () = sleep_until(last_call) => break,
        }
    }
    progress.finish();
    Ok(interrupted)
}

fn run_name(given: Option<&str>) -> anyhow::Result<String> {
    let name = given.map_or_else(name_from_time, str::to_owned);
    let account = format!("sim-{name}-{}-h00000", u64::MAX);
    ensure!(
        !name.is_empty() && account.parse::<AccountId>().is_ok(),
        "--run {name} must be 1-90 characters of A-Z a-z 0-9 . _ : @ -"
    );
    Ok(name)
}

/// The milliseconds since 1970 in base 36: eight characters.
fn name_from_time() -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut left = u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap_or(0);
    let mut digits = Vec::new();
    while left > 0 {
        digits.push(char::from(DIGITS[usize::try_from(left % 36).unwrap_or(0)]));
        left /= 36;
    }
    digits.iter().rev().collect()
}

fn print(report: &Report, args: &SimulateArgs, scene_account: Option<&str>) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut out, report)?;
        writeln!(out)?;
    } else if args.quiet {
        if !report.is_clean() {
            write!(out, "{}", report.findings())?;
        }
    } else if let Some(account) = scene_account {
        write!(out, "\n{}", report.closing(account))?;
    } else {
        write!(out, "{}", report.in_words())?;
    }
    Ok(out.flush()?)
}

#[cfg(test)]
impl SimulateArgs {
    /// One viewer for a second.
    fn for_tests() -> Self {
        Self {
            viewers: 1,
            seconds: 1,
            seed: 1,
            url: "http://127.0.0.1:1".to_owned(),
            heartbeat_ms: 1_000,
            run_name: None,
            demo: false,
            history: None,
            json: false,
            quiet: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_such_that_its_accounts_are_ids() {
        assert_eq!(run_name(Some("nightly-3")).unwrap(), "nightly-3");
        assert_eq!(run_name(None).unwrap().len(), 8);
        for bad in ["", "a b", "a/b", &"x".repeat(100)] {
            assert!(run_name(Some(bad)).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_service_that_isn_t_there_is_one_clear_error() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let args = SimulateArgs { url: format!("http://{address}"), ..SimulateArgs::for_tests() };
        let error = run(args, std::future::pending()).await.unwrap_err();
        assert!(error.to_string().starts_with("failed to reach http://127.0.0.1:"), "{error}");
    }
}
