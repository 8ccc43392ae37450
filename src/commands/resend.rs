//! `pulsegate events resend`: what was refused is sent in again after a fix, once.
//!
//! A record is claimed in the database before anything of it is sent, and settled when the log has
//! acknowledged all of it. What a crash leaves claimed and not settled, the next run looks up in the log by
//! the events' ids, which follow from where they were refused. One run at a time has the turn.

mod claims;
mod progress;
mod reading;
mod report;
mod sending;

use std::collections::{BTreeMap, HashSet};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::Topic;
use pulsegate_write_side::rejected::RejectReason;
use pulsegate_write_side::resend::{Identity, Item, read_again};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::claims::{Claims, Settled};
use self::progress::Progress;
use self::reading::Found;
use self::report::Report;
use self::sending::{Outgoing, Sender};
use super::{serve, telemetry};
use crate::config::Config;

/// Most records, and about how many bytes of them, that are claimed and sent together.
const CHUNK_RECORDS_MAX: usize = 500;
const CHUNK_BYTES_MAX: usize = 4 << 20;
/// Records that wait while others are sent.
const WAITING_MAX: usize = 64;

/// Send what was refused in again, once
///
/// The topic `rejected` keeps what was refused, as it was received. After a fix, its heartbeats and clickstream events
/// can be sent in again: heartbeats with their age, so that they count for their own day and take no slot now. What is
/// refused again goes back to the topic, as another attempt. What asked for something at that moment (a start, a stop,
/// an eviction, a signal) is not sent. The same record is never sent twice, through crashes too.
#[derive(Debug, Args)]
pub(crate) struct ResendArgs {
    /// What was refused for this reason; may be given more than once
    #[arg(long = "reason", value_name = "CODE", required = true, value_parser = reason())]
    reasons: Vec<RejectReason>,
    /// What was refused at this time or later, e.g. 2026-11-22T20:00:00Z
    #[arg(long, value_name = "TIME")]
    since: DateTime<Utc>,
    /// What was refused before this time
    #[arg(long, value_name = "TIME")]
    until: Option<DateTime<Utc>>,
    /// Say what would be done; send and remember nothing
    #[arg(long)]
    dry_run: bool,
    /// As a JSON object
    #[arg(long)]
    json: bool,
}

fn reason() -> impl TypedValueParser<Value = RejectReason> {
    let values = RejectReason::ALL.iter().map(|reason| PossibleValue::new(reason.code()).help(reason.meaning()));
    PossibleValuesParser::new(values).map(|code| RejectReason::of_code(&code))
}

impl ResendArgs {
    fn wants(&self, found: &Found) -> bool {
        self.reasons.contains(&found.rejected.reason)
            && self.until.is_none_or(|until| found.at < Timestamp::from(until))
    }
}

/// Runs the command; SIGINT and SIGTERM end it between two chunks.
pub(crate) async fn run(config: &Config, args: ResendArgs) -> anyhow::Result<ExitCode> {
    if args.until.is_some_and(|until| until <= args.since) {
        bail!("--until must be later than --since");
    }
    let stop = CancellationToken::new();
    let signalled = stop.clone();
    tokio::spawn(async move {
        telemetry::stop_signal().await;
        signalled.cancel();
    });
    let mut run = Run::begin(config, &args).await?;
    let outcome = run.all(config, &args, &stop).await;
    run.end().await?;
    run.report.interrupted = stop.is_cancelled();
    run.report.print(args.json)?;
    outcome?;
    Ok(if run.report.interrupted { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

struct Run {
    topic: String,
    claims: Claims,
    /// The run's number and who sends for it; nothing where nothing shall be sent.
    sending: Option<(i64, Sender)>,
    /// What a run that was cut short had sent before.
    sent_before: HashSet<Uuid>,
    report: Report,
}

impl Run {
    async fn begin(config: &Config, args: &ResendArgs) -> anyhow::Result<Self> {
        let topic = config.topics.name(Topic::Rejected);
        let pool = serve::pool(config)?;
        let mut claims = Claims::open(&pool, topic.clone()).await?;
        let mut report = Report { dry_run: args.dry_run, ..Report::default() };
        let mut sent_before = HashSet::new();
        let mut sending = None;
        if !args.dry_run {
            claims.take_turn().await?;
            if let Some(unsettled) = claims.unsettled().await? {
                sent_before = reading::sent_since(config, unsettled).await?;
            }
            let sender = Sender::start(config, pool).await?;
            let resend = claims.begin(args, reading::ends(config).await?).await?;
            report.resend = Some(resend);
            sending = Some((resend, sender));
        }
        Ok(Self { topic, claims, sending, sent_before, report })
    }

    async fn all(&mut self, config: &Config, args: &ResendArgs, stop: &CancellationToken) -> anyhow::Result<()> {
        let (sender, mut found) = mpsc::channel(WAITING_MAX);
        let (total, reading) = reading::start(config, args.since, sender).await?;
        let mut progress = Progress::new(total);
        let mut chunk = Vec::new();
        let mut bytes = 0;
        loop {
            let next = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                next = found.recv() => next,
            };
            let is_last = next.is_none();
            if let Some(found) = next {
                self.report.looked_at += 1;
                if args.wants(&found) {
                    bytes += found.rejected.original.len();
                    chunk.push(found);
                }
            }
            if is_last || chunk.len() >= CHUNK_RECORDS_MAX || bytes >= CHUNK_BYTES_MAX {
                bytes = 0;
                self.chunk(std::mem::take(&mut chunk)).await?;
            }
            progress.show(&self.report);
            if is_last {
                break;
            }
        }
        progress.finish();
        // The reader notices that nobody listens any more.
        drop(found);
        reading.await.context("the reading thread panicked")?
    }

    /// Claims some records, sends what is in them, and settles what the log has acknowledged.
    async fn chunk(&mut self, chunk: Vec<Found>) -> anyhow::Result<()> {
        self.report.matching += chunk.len() as u64;
        let now = Timestamp::from(Utc::now());
        let mut ready = BTreeMap::new();
        for Found { place, rejected, .. } in chunk {
            match read_again(&self.topic, place, &rejected, now) {
                Ok(items) => {
                    if ready.insert(Identity::of(place, &rejected), items).is_some() {
                        self.report.known += 1;
                    }
                }
                Err(why) => *self.report.not_sent.entry(why.code()).or_default() += 1,
            }
        }
        let asked: Vec<_> = ready.keys().copied().collect();
        let Some((resend, sender)) = &self.sending else {
            let known = self.claims.settled_among(&asked).await?;
            self.report.known += known.len() as u64;
            for items in ready.into_iter().filter(|(identity, _)| !known.contains(identity)).map(|(_, items)| items) {
                self.report.would_do(&items);
            }
            return Ok(());
        };
        let claimed = self.claims.claim(*resend, &asked).await?;
        self.report.known += (asked.len() - claimed.len()) as u64;
        let mut outgoing = Outgoing::default();
        let mut settled = Vec::with_capacity(claimed.len());
        for (identity, items) in ready.into_iter().filter(|(identity, _)| claimed.contains(identity)) {
            let mut own = Settled::new(identity);
            for item in items {
                match item {
                    Item::Send(again) if self.sent_before.contains(&again.id) => {
                        self.report.sent_before += 1;
                        own.sent += 1;
                    }
                    Item::Send(again) => sender.prepare(*again, settled.len(), &mut outgoing).await?,
                    Item::Refused(rejected) => outgoing.refuse(settled.len(), *rejected),
                    Item::TooOld => self.report.too_old += 1,
                }
            }
            settled.push(own);
        }
        let failure = sender.send(outgoing, &mut settled, &mut self.report).await;
        self.claims.settle(&settled).await?;
        match failure {
            Some(error) => bail!(
                "the log did not acknowledge all of it ({error}); run the same command again: what arrived all the \
                 same is found in the log and not sent twice"
            ),
            None => Ok(()),
        }
    }

    async fn end(&mut self) -> anyhow::Result<()> {
        let resend = self.sending.as_ref().map(|(resend, _)| *resend);
        if let Some((_, sender)) = self.sending.take() {
            sender.stop().await?;
        }
        self.report.unsettled = self.claims.end(resend).await?;
        Ok(())
    }
}
