//! How a rebuild goes on: a bar a partition on a terminal, plain lines elsewhere, always on the standard error.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, stderr};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use pulsegate_projections::rebuild::{PartitionProgress, Phase, Progress};

/// How often bars move.
const BARS_EVERY: Duration = Duration::from_millis(250);
/// How often a plain line is written.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Over how long a rate is measured.
const RATE_OVER: Duration = Duration::from_secs(5);

type Key = (&'static str, i32);

/// Where the progress of a rebuild is shown.
pub(super) struct Bars {
    terminal: Option<Terminal>,
    samples: BTreeMap<Key, Vec<(Instant, i64)>>,
}

struct Terminal {
    all: MultiProgress,
    bars: BTreeMap<Key, ProgressBar>,
    phase: ProgressBar,
}

impl Bars {
    /// Chosen by where the standard error goes.
    pub(super) fn new() -> Self {
        let terminal = stderr().is_terminal().then(|| {
            let all = MultiProgress::new();
            let phase = all.add(ProgressBar::new_spinner());
            Terminal { all, bars: BTreeMap::new(), phase }
        });
        Self { terminal, samples: BTreeMap::new() }
    }

    /// From one drawing to the next.
    pub(super) const fn period(&self) -> Duration {
        if self.terminal.is_some() { BARS_EVERY } else { LINE_EVERY }
    }

    /// Shows where the rebuild is.
    pub(super) fn show(&mut self, progress: &Progress) {
        let now = Instant::now();
        let partitions = progress.partitions();
        let mut rates = BTreeMap::new();
        for (key, partition) in &partitions {
            let samples = self.samples.entry(*key).or_default();
            samples.push((now, partition.next_offset));
            let old = samples.iter().take_while(|(at, _)| now - *at > RATE_OVER).count();
            samples.drain(..old.min(samples.len() - 1));
            let (since, from) = samples[0];
            let ms = i64::try_from((now - since).as_millis()).unwrap_or(i64::MAX).max(1);
            rates.insert(*key, (partition.next_offset - from).saturating_mul(1_000) / ms);
        }
        let total = total(&partitions);
        let rate: i64 = rates.values().sum();
        let phase = words(progress.phase());
        let summary = format!("{} {phase}: {}", progress.build(), line(&total, rate));
        let Some(terminal) = &mut self.terminal else {
            eprintln!("{summary}");
            for (key, partition) in partitions.iter().filter(|(_, one)| one.begun && !one.done) {
                eprintln!("  {}/{}: {}", key.0, key.1, line(partition, rates[key]));
            }
            return;
        };
        terminal.phase.set_message(summary);
        terminal.phase.tick();
        for (key, partition) in &partitions {
            let bar = terminal.bars.entry(*key).or_insert_with(|| {
                let bar = ProgressBar::new(0).with_prefix(format!("{}/{}", key.0, key.1));
                if let Ok(style) = ProgressStyle::with_template("{prefix:>16} {bar:24} {msg}") {
                    bar.set_style(style);
                }
                terminal.all.add(bar)
            });
            bar.set_length(u64::try_from(partition.end - partition.began_at).unwrap_or_default());
            bar.set_position(u64::try_from(partition.next_offset - partition.began_at).unwrap_or_default());
            bar.set_message(line(partition, rates[key]));
        }
    }

    /// Takes the bars away.
    pub(super) fn finish(&self) {
        if let Some(terminal) = &self.terminal
            && let Err(error) = terminal.all.clear()
        {
            tracing::debug!(%error, "clearing the bars");
        }
    }
}

fn total(partitions: &[(Key, PartitionProgress)]) -> PartitionProgress {
    let mut total = PartitionProgress { began_at: 0, next_offset: 0, end: 0, begun: true, done: true };
    for (_, partition) in partitions {
        total.next_offset += partition.next_offset - partition.began_at;
        total.end += partition.end - partition.began_at;
        total.done &= partition.done;
    }
    total
}

const fn words(phase: Phase) -> &'static str {
    match phase {
        Phase::Planning => "looks what there is to do",
        Phase::Filling => "is filled",
        Phase::Indexing => "gets its indexes",
        Phase::CatchingUp => "catches up",
        Phase::Done => "is done",
    }
}

fn line(partition: &PartitionProgress, rate: i64) -> String {
    let (done, all) = (partition.next_offset - partition.began_at, partition.end - partition.began_at);
    let lag = (all - done).max(0);
    if !partition.begun {
        return format!("{} events wait", grouped(lag));
    }
    if lag == 0 {
        return format!("{} events, none behind", grouped(done));
    }
    let left = if rate > 0 { format!("{} s left", lag / rate + 1) } else { "standing".to_owned() };
    format!("{} of {} events · {}/s · {left} · {} behind", grouped(done), grouped(all), grouped(rate), grouped(lag))
}

/// A number with its thousands apart.
pub(super) fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    if number < 0 {
        text.push('-');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_much_how_fast_and_how_long() {
        let partition =
            PartitionProgress { began_at: 100, next_offset: 1_000_100, end: 3_000_100, begun: true, done: false };
        assert_eq!(
            line(&partition, 500_000),
            "1 000 000 of 3 000 000 events · 500 000/s · 5 s left · 2 000 000 behind"
        );
        assert_eq!(
            line(&PartitionProgress { begun: false, next_offset: 100, ..partition }, 0),
            "3 000 000 events wait"
        );
        assert_eq!(
            line(&PartitionProgress { next_offset: 3_000_100, ..partition }, 0),
            "3 000 000 events, none behind"
        );
        assert_eq!(grouped(-1_234), "-1 234");
    }
}
