//! How a run goes on: a bar on a terminal, plain lines elsewhere, always on the standard error.

use std::io::{IsTerminal as _, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::report::Report;

/// From one plain line to the next.
const LINE_EVERY: Duration = Duration::from_secs(10);

pub(super) struct Progress {
    total: u64,
    bar: Option<ProgressBar>,
    begun: Instant,
    said: Instant,
}

impl Progress {
    pub(super) fn new(total: u64) -> Self {
        let bar = stderr().is_terminal().then(|| ProgressBar::new(total));
        if let Some(bar) = &bar
            && let Ok(style) =
                ProgressStyle::with_template("{bar:30} {pos}/{len} read · {msg} · {per_sec} · {eta} left")
        {
            bar.set_style(style);
        }
        Self { total, bar, begun: Instant::now(), said: Instant::now() }
    }

    pub(super) fn show(&mut self, report: &Report) {
        if let Some(bar) = &self.bar {
            bar.set_position(report.looked_at);
            bar.set_message(format!("{} sent", report.sent));
        } else if self.said.elapsed() >= LINE_EVERY {
            self.said = Instant::now();
            let per_s = report.looked_at / self.begun.elapsed().as_secs().max(1);
            let left_s = self.total.saturating_sub(report.looked_at) / per_s.max(1);
            eprintln!(
                "{} of {} records read · {} events sent · {per_s} records/s · about {left_s} s left",
                report.looked_at, self.total, report.sent
            );
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
