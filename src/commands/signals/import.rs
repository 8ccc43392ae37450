//! `pulsegate signals import`: log files of a content delivery network, taken in as signals.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum};
use pulsegate_domain::account::check_at_door;
use pulsegate_domain::catalog::Catalog;
use pulsegate_domain::event::PlaybackEvent;
use pulsegate_domain::time::Timestamp;
use pulsegate_projections::active_sessions;
use pulsegate_projections::catalog_view::CatalogView;
use pulsegate_write_side::adapter::{Fate, Intake, Line, Mapping, Sighting, Thinner};
use pulsegate_write_side::envelope::{self, Origin};
use pulsegate_write_side::request::SignalRequest;
use pulsegate_write_side::{AppendError, EventLog, stamp};
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::progress::Progress;
use super::reading::{Chunk, Numbered, read_files};
use super::report::{Place, Report};
use crate::commands::{serve, telemetry};
use crate::config::Config;

/// Chunks that wait while others are sent.
const WAITING_MAX: usize = 8;
/// What an event says of how it came in.
const SOURCE: &str = "/commands/signals/import";
/// An id of version 7 that is older may be of a session that has ended and is forgotten, in milliseconds.
const SESSION_AGE_MS_MAX: u64 = 86_400_000;

/// Take in log files as signals
///
/// Of the many lines that one viewing makes, as few become signals as keep it alive. A signal is a sign of life from
/// when it is taken in, so a line that is older than its lease is counted and not sent: this is for logs that are
/// delivered within seconds, as a file or through a pipe.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// What wrote the files
    #[arg(long, value_enum)]
    format: Format,
    /// The files, also compressed with gzip; - is the standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where in a line account, device and title stand, a JSON file; what it leaves out is as without one
    #[arg(long, value_name = "FILE")]
    mapping: Option<PathBuf>,
    /// Leave out what was seen before this time, e.g. 2026-11-22T20:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<DateTime<Utc>>,
    /// Say what would be done, by the leases of the built-in policy; send nothing and ask nobody
    #[arg(long)]
    dry_run: bool,
    /// As a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Amazon's real-time records, or its standard logs
    Cloudfront,
}

/// Runs the command; SIGINT and SIGTERM end it between two chunks.
pub(super) async fn run(config: &Config, args: ImportArgs) -> anyhow::Result<ExitCode> {
    let Format::Cloudfront = args.format;
    let mapping = Arc::new(match &args.mapping {
        Some(path) => {
            let file = std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
            Mapping::parse(&file).with_context(|| format!("failed to read {} as a mapping", path.display()))?
        }
        None => Mapping::clone(&config.signals_mapping),
    });
    let stop = CancellationToken::new();
    let signalled = stop.clone();
    tokio::spawn(async move {
        telemetry::stop_signal().await;
        signalled.cancel();
    });
    let sender = if args.dry_run { None } else { Some(Sender::start(config).await?) };
    let mut report = Report::new(args.dry_run, &args.files);
    let outcome = import(&args, mapping, sender.as_ref(), &mut report, &stop).await;
    if let Some(sender) = sender {
        sender.stop().await?;
    }
    report.interrupted = stop.is_cancelled();
    report.print(args.json)?;
    outcome?;
    Ok(if report.interrupted { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn import(
    args: &ImportArgs,
    mapping: Arc<Mapping>,
    sender: Option<&Sender>,
    report: &mut Report,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let since = args.since.map(Timestamp::from);
    let (chunks, mut read) = mpsc::channel(WAITING_MAX);
    let files = args.files.clone();
    let mut progress = Progress::of(&files);
    // Reading blocks: the standard input for as long as nothing comes. A stop doesn't wait for it.
    let reading = tokio::task::spawn_blocking(move || read_files(&files, &mapping, &chunks));
    let mut thinner = Thinner::default();
    loop {
        let chunk = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            chunk = read.recv() => chunk,
        };
        let Some(chunk) = chunk else { break };
        take_in(chunk, since, sender, &mut thinner, report, &mut progress).await?;
    }
    progress.finish();
    reading.await.context("the reading thread panicked")?
}

/// Judges a chunk's lines and sends what is a sign of life.
async fn take_in(
    chunk: Chunk,
    since: Option<Timestamp>,
    sender: Option<&Sender>,
    thinner: &mut Thinner,
    report: &mut Report,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    let now = Timestamp::from(Utc::now());
    let mut sent = Vec::new();
    let built_in = Catalog::default();
    for Numbered { number, line } in chunk.lines {
        let place = Place { file: chunk.file, line: number };
        report.lines += 1;
        let line = match line {
            Ok(line) => line,
            Err(error) => {
                report.refuse(&error.field, place, error.detail);
                continue;
            }
        };
        if let Line::Seen(sighting) = &line {
            report.found(place, sighting);
            if since.is_some_and(|since| sighting.at < since) {
                report.before += 1;
                continue;
            }
        }
        let lease_ms = |signal: &SignalRequest| {
            let of =
                |catalog: &Catalog| catalog.policy_in_force(&signal.account_id).terms.leases_ms.signal(signal.kind);
            sender.map_or_else(|| of(&built_in), |sender| sender.catalog.read(of))
        };
        match Intake::new(thinner, now).judge(line, lease_ms) {
            Fate::Sent(sighting) => sent.push((place, *sighting)),
            Fate::Thinned => report.thinned += 1,
            Fate::TooOld => report.too_old += 1,
            Fate::Ahead => report.ahead += 1,
            Fate::NotMedia => report.not_media += 1,
            Fate::NotServed => report.not_served += 1,
            Fate::Blank => report.lines -= 1,
        }
    }
    match sender {
        Some(sender) => sender.send(sent, now, report).await?,
        None => report.sent += sent.len() as u64,
    }
    progress.show(chunk.bytes, report);
    Ok(())
}

/// The same stamps and the same log as for a request.
struct Sender {
    log: EventLog,
    catalog: CatalogView,
    pool: PgPool,
}

impl Sender {
    async fn start(config: &Config) -> anyhow::Result<Self> {
        let catalog = CatalogView::start(&serve::reader_settings(config)).context("failed to read the catalog")?;
        if !catalog.caught_up(serve::START_WAIT).await {
            bail!("failed to read the catalog within {} s: is Kafka away?", serve::START_WAIT.as_secs());
        }
        let log = EventLog::connect(&serve::log_settings(config)).context("failed to connect to the log")?;
        Ok(Self { log, catalog, pool: serve::pool(config)? })
    }

    async fn send(&self, sent: Vec<(Place, Sighting)>, now: Timestamp, report: &mut Report) -> anyhow::Result<()> {
        let mut places = Vec::with_capacity(sent.len());
        let mut records = Vec::with_capacity(sent.len());
        for (place, Sighting { at, signal }) in sent {
            let event = self.catalog.read(|catalog| PlaybackEvent::Signal(stamp::signal(signal, catalog, None, now)));
            if let Some(refused) = self.refused_at_door(&event, now).await? {
                report.refuse("session_id", place, refused);
                continue;
            }
            places.push(place);
            records.push(envelope::playback(&event, &Origin::new(SOURCE, at)));
        }
        for (place, appended) in places.into_iter().zip(self.log.append_all(records).await) {
            match appended {
                Ok(_) => report.sent += 1,
                Err(AppendError::TooLarge) => report.refuse("line", place, AppendError::TooLarge.to_string()),
                Err(error) => bail!("failed to append what {} says: {error}", report.name(place)),
            }
        }
        Ok(())
    }

    /// An old id may be of a session that is forgotten; only then is its account looked up.
    async fn refused_at_door(&self, event: &PlaybackEvent, now: Timestamp) -> anyhow::Result<Option<String>> {
        let made_at_ms = event.session_id().and_then(|id| i64::try_from(id.made_at_ms()?).ok());
        if made_at_ms.is_none_or(|made| now.ms_since(Timestamp::from_millis(made)) <= SESSION_AGE_MS_MAX) {
            return Ok(None);
        }
        let known = active_sessions::account(&self.pool, event.account_id()).await;
        let account = known.context("failed to read the account")?.account;
        Ok(check_at_door(&account, event, now, &self.catalog.policies()).err().map(|error| error.to_string()))
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.log.flush(serve::FLUSH_WAIT).await;
        // It stops a thread, which waits for a poll to end.
        tokio::task::spawn_blocking(move || self.catalog.stop()).await?;
        Ok(())
    }
}
