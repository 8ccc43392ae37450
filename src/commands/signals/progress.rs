//! How a run goes on: a bar on a terminal, plain lines elsewhere, always on the standard error.

use std::io::{IsTerminal as _, stderr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::report::Report;

/// From one plain line to the next.
const LINE_EVERY: Duration = Duration::from_secs(10);

pub(super) struct Progress {
    /// Of all files; unknown where one of them is a pipe.
    total: Option<u64>,
    bar: Option<ProgressBar>,
    said: Instant,
}

impl Progress {
    pub(super) fn of(files: &[PathBuf]) -> Self {
        let length =
            |file: &PathBuf| std::fs::metadata(file).ok().filter(std::fs::Metadata::is_file).map(|it| it.len());
        let total = files.iter().map(length).sum::<Option<u64>>();
        let bar = stderr().is_terminal().then(|| total.map_or_else(ProgressBar::new_spinner, ProgressBar::new));
        let template = match total {
            Some(_) => "{bar:30} {bytes}/{total_bytes} · {msg} · {binary_bytes_per_sec} · {eta} left",
            None => "{spinner} {bytes} · {msg} · {binary_bytes_per_sec}",
        };
        if let Some(bar) = &bar
            && let Ok(style) = ProgressStyle::with_template(template)
        {
            bar.set_style(style);
        }
        Self { total, bar, said: Instant::now() }
    }

    pub(super) fn show(&mut self, bytes: u64, report: &Report) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
            bar.set_message(format!("{} lines, {} signals", report.lines, report.sent));
        } else if self.said.elapsed() >= LINE_EVERY {
            self.said = Instant::now();
            let of = self.total.map(|total| format!(" of {total}")).unwrap_or_default();
            eprintln!("{bytes}{of} bytes read · {} lines · {} signals", report.lines, report.sent);
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
