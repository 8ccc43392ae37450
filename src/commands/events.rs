//! `pulsegate events`: look at the log as it is, send in again what it refused, and bring history in.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, bail};
use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use pulsegate_domain::topic::{Topic, partition_of};
use rdkafka::Offset;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use serde::Serialize;
use serde_json::value::RawValue;

use super::history::{self, ImportArgs};
use super::resend::{self, ResendArgs};
use super::telemetry;
use super::topic_reader::{BROKER_TIMEOUT, POLL, TopicReader};
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(crate) enum EventsCommand {
    #[command(flatten)]
    Look(LookCommand),
    Resend(ResendArgs),
    /// Fill an empty log with history, in its own time
    Import(ImportArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum LookCommand {
    /// Print events as they arrive
    Tail {
        #[arg(value_enum, default_value = "playback")]
        topic: TopicName,
        /// Only those of this key (an account, for playback)
        #[arg(long)]
        key: Option<String>,
        /// Begin with the oldest
        #[arg(long)]
        from_beginning: bool,
        /// End when the end of the log is reached
        #[arg(long)]
        until_end: bool,
        /// A JSON object a line: topic, partition, offset, timestamp, key, value
        #[arg(long)]
        json: bool,
    },
    /// Print one record, whole
    Show {
        #[arg(value_enum)]
        topic: TopicName,
        partition: i32,
        offset: i64,
        /// As a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Count the events of a topic by type
    Count {
        #[arg(value_enum, default_value = "playback")]
        topic: TopicName,
        /// As a JSON object
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum TopicName {
    Playback,
    Clickstream,
    Catalog,
    Rejected,
    Provisional,
}

impl From<TopicName> for Topic {
    fn from(name: TopicName) -> Self {
        match name {
            TopicName::Playback => Self::Playback,
            TopicName::Clickstream => Self::Clickstream,
            TopicName::Catalog => Self::Catalog,
            TopicName::Rejected => Self::Rejected,
            TopicName::Provisional => Self::Provisional,
        }
    }
}

/// Runs one of the commands; reading blocks, so it has a thread of its own.
pub(crate) async fn run(config: &Config, command: EventsCommand) -> anyhow::Result<ExitCode> {
    let command = match command {
        EventsCommand::Look(command) => command,
        EventsCommand::Resend(args) => return resend::run(config, args).await,
        EventsCommand::Import(args) => return history::import(config, args).await,
    };
    let config = config.clone();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let reading = tokio::task::spawn_blocking(move || {
        let stopped = || !matches!(stopped.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty));
        match command {
            LookCommand::Tail { topic, key, from_beginning, until_end, json } => {
                tail(&config, topic.into(), &Tail { key, from_beginning, until_end, json }, stopped)
            }
            LookCommand::Show { topic, partition, offset, json } => {
                show(&config, topic.into(), partition, offset, json)
            }
            LookCommand::Count { topic, json } => count(&config, topic.into(), json, stopped),
        }
    });
    tokio::pin!(reading);
    tokio::select! {
        done = &mut reading => done.context("the reading thread panicked")??,
        () = telemetry::stop_signal() => {
            drop(stop);
            reading.await.context("the reading thread panicked")??;
        }
    }
    Ok(ExitCode::SUCCESS)
}

struct Tail {
    key: Option<String>,
    from_beginning: bool,
    until_end: bool,
    json: bool,
}

fn tail(config: &Config, topic: Topic, tail: &Tail, stopped: impl Fn() -> bool) -> anyhow::Result<()> {
    let reader = TopicReader::open(config, topic)?;
    let partitions = i32::try_from(reader.ends.len()).context("too many partitions")?;
    // A key's events stand in one partition, so the others need not be read.
    let only = tail.key.as_ref().map(|key| partition_of(key.as_bytes(), partitions));
    let wanted = |partition: i32| only.is_none_or(|only| only == partition);
    let from = if tail.from_beginning { Offset::Beginning } else { Offset::End };
    reader.assign(|partition| wanted(partition).then_some(from))?;
    let mut open: Vec<_> = reader.ends.keys().copied().filter(|partition| wanted(*partition)).collect();
    let mut out = std::io::stdout().lock();
    while !stopped() {
        match reader.consumer.poll(POLL) {
            Some(Ok(message)) if tail.key.as_ref().is_some_and(|key| message.key() != Some(key.as_bytes())) => {}
            Some(Ok(message)) => match write_line(&mut out, &message, tail.json) {
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => break,
                written => written?,
            },
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.retain(|unread| *unread != partition);
                if tail.until_end && open.is_empty() {
                    break;
                }
            }
            Some(Err(error)) => eprintln!("pulsegate: {error}"),
            None => {}
        }
    }
    reader.consumer.unassign()?;
    Ok(())
}

#[derive(Serialize)]
struct Line<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: Option<String>,
    key: Option<std::borrow::Cow<'a, str>>,
    headers: BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a RawValue>,
    /// For a value that is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

impl<'a> Line<'a> {
    fn of(message: &'a BorrowedMessage<'_>) -> Self {
        let payload = message.payload().unwrap_or_default();
        let value = serde_json::from_slice::<&RawValue>(payload).ok();
        let mut headers = BTreeMap::new();
        for header in message.headers().into_iter().flat_map(|headers| headers.iter()) {
            headers.insert(header.key, String::from_utf8_lossy(header.value.unwrap_or_default()).into_owned());
        }
        Self {
            topic: message.topic(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis().map(rfc3339),
            key: message.key().map(String::from_utf8_lossy),
            headers,
            value,
            text: value.is_none().then(|| String::from_utf8_lossy(payload).into_owned()),
        }
    }
}

fn rfc3339(millis: i64) -> String {
    DateTime::<Utc>::from_timestamp_millis(millis)
        .map_or_else(|| format!("{millis} ms"), |time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

fn write_line(out: &mut impl std::io::Write, message: &BorrowedMessage<'_>, json: bool) -> std::io::Result<()> {
    let line = Line::of(message);
    if json {
        return writeln!(out, "{}", serde_json::to_string(&line)?);
    }
    let value = line.value.map(RawValue::get).or(line.text.as_deref()).unwrap_or_default();
    writeln!(
        out,
        "{} {}/{} {} {value}",
        line.timestamp.as_deref().unwrap_or("-"),
        line.partition,
        line.offset,
        line.key.as_deref().unwrap_or("-"),
    )
}

fn show(config: &Config, topic: Topic, partition: i32, offset: i64, json: bool) -> anyhow::Result<()> {
    let reader = TopicReader::open(config, topic)?;
    let Some(end) = reader.ends.get(&partition) else { bail!("{} has no partition {partition}", reader.topic) };
    if !(reader.beginnings[&partition]..*end).contains(&offset) {
        bail!("{}/{partition} holds offsets {} to {}", reader.topic, reader.beginnings[&partition], end - 1);
    }
    reader.assign(|known| (known == partition).then_some(Offset::Offset(offset)))?;
    let deadline = Instant::now() + BROKER_TIMEOUT;
    while Instant::now() < deadline {
        match reader.consumer.poll(POLL) {
            Some(Ok(message)) if message.offset() == offset => {
                let line = Line::of(&message);
                if json {
                    println!("{}", serde_json::to_string_pretty(&line)?);
                } else {
                    println!("{}/{}/{}", line.topic, line.partition, line.offset);
                    println!("timestamp  {}", line.timestamp.as_deref().unwrap_or("-"));
                    println!("key        {}", line.key.as_deref().unwrap_or("-"));
                    for (name, value) in &line.headers {
                        println!("header     {name}: {value}");
                    }
                    match line.value {
                        Some(value) => {
                            let value: serde_json::Value = serde_json::from_str(value.get())?;
                            println!("{}", serde_json::to_string_pretty(&value)?);
                        }
                        None => println!("{}", line.text.unwrap_or_default()),
                    }
                }
                reader.consumer.unassign()?;
                return Ok(());
            }
            Some(Ok(_)) => bail!("offset {offset} holds no record (a transaction's marker)"),
            Some(Err(KafkaError::PartitionEOF(_))) | None => {}
            Some(Err(error)) => return Err(error).context("failed to read the record"),
        }
    }
    bail!("Kafka did not give the record within {} s", BROKER_TIMEOUT.as_secs())
}

#[derive(Default, Serialize)]
struct Counts {
    topic: String,
    events: u64,
    by_type: BTreeMap<String, u64>,
    next_offsets: BTreeMap<i32, i64>,
}

fn count(config: &Config, topic: Topic, json: bool, stopped: impl Fn() -> bool) -> anyhow::Result<()> {
    #[derive(serde::Deserialize)]
    struct Kind<'a> {
        #[serde(borrow, rename = "type")]
        kind: std::borrow::Cow<'a, str>,
    }

    let reader = TopicReader::open(config, topic)?;
    let mut counts = Counts { topic: reader.topic.clone(), next_offsets: reader.ends.clone(), ..Counts::default() };
    let progress = ProgressBar::new(reader.distance(&reader.beginnings));
    progress.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {eta}")?);
    let is_whole = reader.read_to_the_ends(&reader.beginnings, |message| {
        let kind = serde_json::from_slice::<Kind<'_>>(message.payload().unwrap_or_default())
            .map_or_else(|_| "(unreadable)".to_owned(), |known| known.kind.into_owned());
        *counts.by_type.entry(kind).or_default() += 1;
        counts.events += 1;
        progress.inc(1);
        Ok(!stopped())
    })?;
    progress.finish_and_clear();
    if !is_whole {
        bail!("stopped before the end");
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&counts)?);
    } else {
        println!("{}: {} events", counts.topic, counts.events);
        for (kind, count) in &counts.by_type {
            println!("{count:>12}  {kind}");
        }
    }
    Ok(())
}
