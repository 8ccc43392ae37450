//! `pulsegate events import`: another system's history, or a log that was kept, becomes an empty log's beginning.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, IsTerminal as _, stderr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::{Topic, TopicNames};
use pulsegate_write_side::history::{History, PastRecord, TimeOrder};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::serve;
use crate::config::Config;

/// Longest line, in bytes: the largest record and what stands around it.
const LINE_LEN_MAX: u64 = 4 << 20;
/// Most bad lines that are told.
const TOLD_MAX: usize = 100;

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Records as `pulsegate events tail --json` prints them, a line each, in time order within each key
    file: PathBuf,
    /// Check every line and send nothing; needs no Kafka
    #[arg(long)]
    dry_run: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// A line; what else stands in it is passed over.
#[derive(Deserialize)]
struct Line<'a> {
    /// A topic's name, with or without its prefix.
    topic: String,
    timestamp: DateTime<Utc>,
    key: String,
    #[serde(borrow)]
    value: &'a RawValue,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// What became of a file.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    lines: u64,
    bad: u64,
    mistakes: Vec<String>,
    imported: u64,
}

pub(crate) async fn import(config: &Config, args: ImportArgs) -> anyhow::Result<ExitCode> {
    let now = Timestamp::from(Utc::now());
    let settings = serve::log_settings(config);
    let mut outcome = Outcome::default();
    let mut order = TimeOrder::new(&settings);
    // All of it is looked at before anything is sent: half a history is none.
    let checked = each_line(&args.file, "checked", |number, line| {
        outcome.lines += 1;
        if let Err(mistake) = check(line, now, &mut order) {
            outcome.bad += 1;
            if outcome.mistakes.len() < TOLD_MAX {
                outcome.mistakes.push(format!("{number}: {mistake}"));
            }
        }
        Ok(())
    });
    checked?;
    if outcome.bad == 0 && !args.dry_run {
        let history = History::begin(&settings).await.context("failed to make an empty log")?;
        let sent = each_line(&args.file, "sent", |number, text| {
            let line = read(text).with_context(|| format!("line {number} was changed meanwhile"))?;
            let headers: Vec<_> = line.headers.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            Ok(history.append(&line.record()?, &headers)?)
        });
        sent.context("failed within the history; remove its topics before it is imported again")?;
        outcome.imported = history.end().await.context("failed at the history's end")?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&outcome)?);
    } else {
        for mistake in &outcome.mistakes {
            println!("{}:{mistake}", args.file.display());
        }
        let Outcome { lines, bad, imported, .. } = outcome;
        println!("{lines} lines, {bad} bad: {imported} imported{}", if args.dry_run { ", a dry run" } else { "" });
    }
    Ok(if outcome.bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Line<'_> {
    fn record(&self) -> anyhow::Result<PastRecord<'_>> {
        Ok(PastRecord {
            topic: topic(&self.topic).with_context(|| format!("there is no topic {:?}", self.topic))?,
            key: self.key.as_bytes(),
            value: self.value.get().as_bytes(),
            at: Timestamp::from(self.timestamp),
        })
    }
}

fn topic(name: &str) -> Option<Topic> {
    let plain = TopicNames::new("");
    Topic::ALL.into_iter().find(|topic| {
        let base = plain.name(*topic);
        name == base || name.ends_with(&format!(".{base}"))
    })
}

fn read(text: &str) -> anyhow::Result<Line<'_>> {
    serde_json::from_str(text).context("not a record as `pulsegate events tail --json` prints it")
}

fn check(text: &str, now: Timestamp, order: &mut TimeOrder) -> anyhow::Result<()> {
    let line = read(text)?;
    let record = line.record()?;
    if record.at > now {
        bail!("{} has not come yet", record.at);
    }
    order.follows(&record).or_else(|before| {
        bail!("{} is before {before}, the time of the record before it in its partition", record.at);
    })
}

/// Does something with each line that is not empty, and shows how far it is.
fn each_line(
    path: &Path,
    done: &'static str,
    mut with: impl FnMut(u64, &str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let file = File::open(path).with_context(|| format!("failed to open {}", path.display()))?;
    let progress =
        if stderr().is_terminal() { ProgressBar::new(file.metadata()?.len()) } else { ProgressBar::hidden() };
    progress.set_style(ProgressStyle::with_template(
        "{bar:30} {bytes}/{total_bytes} {msg} · {bytes_per_sec} · {eta} left",
    )?);
    progress.set_message(done);
    let mut reader = BufReader::new(file);
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        let read = std::io::Read::take(&mut reader, LINE_LEN_MAX).read_line(&mut line);
        let len = read.with_context(|| format!("failed to read line {number}"))? as u64;
        if len == 0 {
            break;
        }
        if len == LINE_LEN_MAX {
            bail!("line {number} is longer than {LINE_LEN_MAX} bytes");
        }
        progress.inc(len);
        if !line.trim().is_empty() {
            with(number, line.trim_end())?;
        }
    }
    progress.finish_and_clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use pulsegate_write_side::LogSettings;

    use super::*;

    #[test]
    fn a_line_must_be_a_record_of_the_past_in_its_order() {
        let mut order = TimeOrder::new(&LogSettings::new("nowhere:1", TopicNames::new("x.")));
        let now = Timestamp::from_millis(1_795_380_423_120);
        let mut says = |line: &str| check(line, now, &mut order).map_err(|error| error.to_string());
        let line = |topic: &str, at: &str| {
            format!(
                r#"{{"topic":"{topic}","partition":3,"offset":7,"timestamp":"{at}","key":"ada","value":{{"id":"1"}}}}"#
            )
        };
        assert_eq!(says(&line("pulsegate.playback", "2026-11-22T20:00:00Z")), Ok(()));
        assert_eq!(says(&line("playback", "2026-11-22T20:00:00Z")), Ok(()));
        assert_eq!(
            says(&line("playback", "2026-11-22T19:59:59.999Z")),
            Err(
                "2026-11-22T19:59:59.999Z is before 2026-11-22T20:00:00.000Z, the time of the record before it in its \
                 partition"
                    .to_owned()
            )
        );
        assert_eq!(says(&line("catalog", "2026-11-22T19:00:00Z")), Ok(()), "another topic has its own time");
        assert_eq!(
            says(&line("playback", "2026-11-23T00:00:00Z")),
            Err("2026-11-23T00:00:00.000Z has not come yet".to_owned())
        );
        assert_eq!(says(&line("films", "2026-11-22T20:00:00Z")), Err("there is no topic \"films\"".to_owned()));
        assert_eq!(says("{}"), Err("not a record as `pulsegate events tail --json` prints it".to_owned()));
    }
}
