//! How a run goes on: a bar on a terminal, plain lines elsewhere, always on the standard error.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use super::clock::Clock;
use super::tally::Tally;

/// How often a bar moves.
const BAR_MS: u64 = 250;
/// How often a plain line is written.
const LINE_MS: u64 = 10_000;

/// Where progress is shown.
pub(crate) enum Progress {
    /// Nowhere.
    Silent,
    /// On a terminal.
    Bar(ProgressBar),
    /// A line now and then.
    Lines,
}

impl Progress {
    /// Chosen by where the standard error goes.
    pub(crate) fn new(run: Duration, quiet: bool) -> Self {
        if quiet {
            return Self::Silent;
        }
        if !stderr().is_terminal() {
            return Self::Lines;
        }
        let bar = ProgressBar::new(u64::try_from(run.as_millis()).unwrap_or(u64::MAX));
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg}") {
            bar.set_style(style);
        }
        Self::Bar(bar)
    }

    /// From one drawing to the next.
    pub(crate) fn period(&self) -> Duration {
        Duration::from_millis(match self {
            Self::Bar(_) => BAR_MS,
            Self::Lines | Self::Silent => LINE_MS,
        })
    }

    /// Shows where the run is.
    pub(crate) fn show(&self, tally: &Tally, clock: &Clock) {
        match self {
            Self::Silent => {}
            Self::Bar(bar) => {
                bar.set_position(u64::try_from(clock.begun.elapsed().as_millis()).unwrap_or(u64::MAX));
                bar.set_message(line(tally, clock));
            }
            Self::Lines => eprintln!("{}", line(tally, clock)),
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn line(tally: &Tally, clock: &Clock) -> String {
    let took_ms = u64::try_from((Instant::now() - clock.begun).as_millis()).unwrap_or(u64::MAX).max(1);
    let (watching, waiting) = tally.standing();
    let violations = match tally.violations() {
        0 => String::new(),
        count => format!(" · {count} VIOLATIONS"),
    };
    format!(
        "{} requests · {}/s · {watching} watching · {waiting} told no · {} s left{violations}",
        tally.requests(),
        tally.requests().saturating_mul(1_000) / took_ms,
        clock.left().as_secs(),
    )
}
