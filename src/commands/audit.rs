//! `pulsegate audit`: who changed what. It is all in the log: changes of the catalog are its events, what is kept
//! elsewhere is noted there.

use std::process::ExitCode;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use clap::Args;
use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use pulsegate_domain::event::{CatalogEvent, Change, ChangeNoted, Event as _, decode};
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::Topic;
use pulsegate_write_side::EventLog;
use pulsegate_write_side::envelope::{self, BY, Origin};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use serde::Serialize;

use super::topic_reader::TopicReader;
use super::when::Since;
use super::{operator, serve};
use crate::config::Config;

/// Most changes that are shown; the newest.
const SHOWN_MAX: usize = 10_000;

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Since when: a time, a day, or so long ago: 30d, 12h
    #[arg(long, default_value = "30d")]
    since: Since,
    /// Only what this one did, or those whose name begins so: `person:`, `key:`, `command:`
    #[arg(long)]
    by: Option<String>,
    /// As JSON, an object a line
    #[arg(long)]
    json: bool,
}

/// A change, as it is shown.
#[derive(Debug, Serialize)]
struct Made {
    at: DateTime<Utc>,
    /// Who; `null` where nobody was asked, or a policy was derived from a contract.
    by: Option<String>,
    change: String,
    subject: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    offset: i64,
}

/// Runs the command.
pub(crate) async fn run(config: &Config, args: AuditArgs) -> anyhow::Result<ExitCode> {
    let (config, since, wanted) = (config.clone(), args.since.before(Timestamp::from(Utc::now())), args.by);
    let made = tokio::task::spawn_blocking(move || read(&config, since, wanted.as_deref())).await??;
    if args.json {
        for one in &made {
            println!("{}", serde_json::to_string(one)?);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(["at", "by", "change", "of", "", "offset"]);
    for one in made {
        table.add_row([
            one.at.format("%Y-%m-%d %H:%M:%S").to_string(),
            one.by.unwrap_or_else(|| "-".to_owned()),
            one.change,
            one.subject,
            one.detail.unwrap_or_default(),
            one.offset.to_string(),
        ]);
    }
    println!("{table}");
    Ok(ExitCode::SUCCESS)
}

fn read(config: &Config, since: Timestamp, wanted: Option<&str>) -> anyhow::Result<Vec<Made>> {
    let reader = TopicReader::open(config, Topic::Catalog)?;
    let from = reader.offsets_since(since.to_utc())?;
    let mut made = std::collections::VecDeque::new();
    reader.read_to_the_ends(&from, |message| {
        if let Some(one) = of(message)
            && wanted.is_none_or(|wanted| one.by.as_deref().is_some_and(|by| by.starts_with(wanted)))
        {
            if made.len() == SHOWN_MAX {
                made.pop_front();
            }
            made.push_back(one);
        }
        Ok(true)
    })?;
    Ok(made.into())
}

/// What a record of the catalog says; nothing where it can't be read.
fn of(message: &BorrowedMessage<'_>) -> Option<Made> {
    let envelope = decode::<CatalogEvent>(message.payload()?).ok()?;
    let by = message.headers().and_then(|headers| headers.iter().find(|header| header.key == BY)?.value);
    let by = by.map(|by| String::from_utf8_lossy(by).into_owned());
    let subject = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
    let (change, detail) = match &envelope.event {
        CatalogEvent::ChangeNoted(noted) => {
            let word = serde_json::to_value(noted.change).ok()?;
            (word.as_str()?.to_owned(), noted.detail.clone())
        }
        event => {
            let word = event.kind().trim_start_matches("pulsegate.catalog.").trim_end_matches(".v1");
            (word.to_owned(), detail(event))
        }
    };
    let at = DateTime::from_timestamp_millis(message.timestamp().to_millis()?)?;
    Some(Made { at, by, change, subject, detail, offset: message.offset() })
}

fn detail(event: &CatalogEvent) -> Option<String> {
    match event {
        CatalogEvent::PolicyPublished(policy) => Some(format!("version {}", policy.version)),
        CatalogEvent::EntitlementChanged(change) => Some(change.policy.to_string()),
        CatalogEvent::ContractEnded(ended) => Some(format!("last day {}", ended.last_day)),
        _ => None,
    }
}

/// Notes a change that this command made. It is made, whether or not it can be noted.
pub(super) async fn note(config: &Config, source: &str, change: ChangeNoted) {
    if let Err(error) = append(config, source, change).await {
        eprintln!("pulsegate: it is done, and could not be noted in the log: {error:#}");
    }
}

/// What was done to `subject`, in `detail`.
pub(super) fn noted(change: Change, subject: &str, detail: Option<String>) -> ChangeNoted {
    ChangeNoted { change, subject: subject.to_owned(), detail }
}

/// Appends a change; an error where that can't be done.
pub(super) async fn append(config: &Config, source: &str, change: ChangeNoted) -> anyhow::Result<()> {
    let log = EventLog::connect(&serve::log_settings(config)).context("failed to connect to the log")?;
    let origin = Origin::new(source, Timestamp::from(Utc::now()));
    let record = envelope::by(envelope::catalog(&CatalogEvent::ChangeNoted(change), &origin), &operator());
    log.append(record).await.context("failed to append")?;
    Ok(())
}
