//! `pulsegate decisions`: why an account was told what it was told, and what had to be answered before that was known.

mod provisional;
mod words;

use std::io::{IsTerminal as _, stderr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use chrono::Utc;
use clap::{Args, Subcommand};
use futures_util::StreamExt as _;
use indicatif::ProgressBar;
use pulsegate_domain::account::explain::{Explainer, Explanation};
use pulsegate_domain::ids::{AccountId, SessionId};
use pulsegate_domain::policy::PolicySet;
use pulsegate_domain::time::Timestamp;
use pulsegate_projections::catalog_view::CatalogView;
use pulsegate_write_side::EventLog;
use pulsegate_write_side::store::{AccountStore, Replay};
use serde::Serialize;

use super::serve;
use super::when::Moment;
use crate::config::Config;

/// How long the catalog may take to be read.
const CATALOG_WAIT: Duration = Duration::from_secs(30);

#[derive(Debug, Subcommand)]
pub(crate) enum DecisionsCommand {
    /// Fold an account once more, from the log, and say step by step how it came to what it was told
    Explain(ExplainArgs),
    /// Answers that were given from less than the whole log, beside the log's word
    Provisional(provisional::ProvisionalArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Whose
    account: AccountId,
    /// Up to when: a time (UTC where no offset is said; 2026-11-22T20:47 is that whole minute); else now
    #[arg(long, value_name = "TIME")]
    at: Option<Moment>,
    /// Which session is asked about; else the last one that was told no
    #[arg(long, value_name = "ID")]
    session: Option<SessionId>,
    /// How many of the last steps are told
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    steps: u16,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// An explanation with its place.
#[derive(Serialize)]
struct Explained<'a> {
    account_id: &'a AccountId,
    partition: i32,
    /// The last record that was read, of any account.
    offset: i64,
    /// Records under its key that the fold passes over.
    skipped: u64,
    #[serde(flatten)]
    explanation: &'a Explanation,
}

/// Runs one of the commands.
pub(crate) async fn run(config: &Config, command: DecisionsCommand) -> anyhow::Result<ExitCode> {
    let args = match command {
        DecisionsCommand::Explain(args) => args,
        DecisionsCommand::Provisional(args) => return provisional::run(config, args).await,
    };
    let now = Timestamp::from(Utc::now());
    let at = args.at.map_or(now, |moment| moment.ends.min(now));
    if let Some(moment) = args.at {
        ensure!(moment.begins <= now, "{} lies in the future: nothing has been decided yet", moment.begins);
    }
    let catalog = CatalogView::start(&serve::reader_settings(config)).context("failed to read the catalog")?;
    let is_whole = catalog.caught_up(CATALOG_WAIT).await;
    let policies = catalog.policies();
    tokio::task::spawn_blocking(move || catalog.stop()).await?;
    // An event of a policy that isn't known would be passed over, and the explanation be wrong and look right.
    ensure!(is_whole, "failed to read the catalog: is Kafka away?");

    let settings = serve::log_settings(config);
    let log = EventLog::connect(&settings).context("failed to connect to the log")?;
    let store = AccountStore::new(log, settings, Arc::clone(&policies), "explain");
    let found = explain(&store, &args, at, &policies).await?;
    let explained = Explained {
        account_id: &args.account,
        partition: store.partition(&args.account),
        offset: found.offset,
        skipped: found.skipped,
        explanation: &found.explanation,
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&explained)?);
    } else {
        print!("{}", words::of(&explained, args.session));
    }
    Ok(ExitCode::SUCCESS)
}

struct Found {
    explanation: Explanation,
    offset: i64,
    skipped: u64,
}

async fn explain(
    store: &AccountStore,
    args: &ExplainArgs,
    at: Timestamp,
    policies: &PolicySet,
) -> anyhow::Result<Found> {
    let account = &args.account;
    let progress = if stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    let (mut explainer, mut events, mut skipped, mut last) = (Explainer::new(args.steps.into()), 0, 0, None);
    let mut records = store.events_until(account, Some(at)).context("failed to read the log")?;
    while let Some(record) = records.next().await {
        match record.context("failed to read the log")? {
            Replay::Event(placed) => match explainer.apply(&placed) {
                Ok(()) => events += 1,
                Err(_) => skipped += 1,
            },
            Replay::Skipped(_) => skipped += 1,
            Replay::End(place) => last = place,
        }
        if (events + skipped) % 1_000 == 1 {
            progress.set_message(format!("{events} events of {account}"));
            progress.tick();
        }
    }
    progress.finish_and_clear();
    let partition = store.partition(account);
    if events + skipped == 0 {
        match first_of(store, account).await? {
            Some(first) => bail!("the first that the log holds of {account} is of {first}, which is after {at}"),
            None if last.is_none() && args.at.is_some() => {
                bail!("the log of partition {partition}, where {account} would stand, holds nothing before {at}")
            }
            None => bail!("the log holds nothing of {account}"),
        }
    }
    if let Some(session) = args.session {
        let explanation = explainer.clone().explanation(at, policies);
        let is_known = explanation.steps_before > 0
            || explanation.steps.iter().any(|step| step.session_id == session)
            || explanation.sessions.iter().any(|known| known.session_id == session);
        ensure!(is_known, "{account} has had no session {session} until {at}");
    }
    let offset = last.map_or(-1, |place| place.offset);
    Ok(Found { explanation: explainer.explanation(at, policies), offset, skipped })
}

/// When an account was first heard of, if it ever was.
async fn first_of(store: &AccountStore, account: &AccountId) -> anyhow::Result<Option<Timestamp>> {
    let mut records = store.events_until(account, None).context("failed to read the log")?;
    match records.next().await.transpose().context("failed to read the log")? {
        Some(Replay::Event(placed)) => Ok(Some(placed.place.at)),
        Some(Replay::Skipped(place)) => Ok(Some(place.at)),
        Some(Replay::End(_)) | None => Ok(None),
    }
}
