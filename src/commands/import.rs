//! `pulsegate titles import`, `pulsegate contracts import`: a table becomes registrations.
//!
//! Each line is checked as the HTTP surface would check it. Nothing is sent while a line is bad, unless told.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use chrono::Utc;
use clap::{Args, Subcommand};
use pulsegate_domain::catalog::Catalog;
use pulsegate_domain::contract::ContractCommand;
use pulsegate_domain::event::CatalogEvent;
use pulsegate_domain::time::Timestamp;
use pulsegate_projections::catalog_view::CatalogView;
use pulsegate_write_side::envelope::{self, Origin};
use pulsegate_write_side::table::{self, Bad, Kind, Read};
use pulsegate_write_side::{EventLog, Record};
use serde::Serialize;

use super::serve;
use crate::config::Config;

/// Most records under way to the log.
const UNDER_WAY_MAX: usize = 500;
/// Most bad lines that are shown to people.
const SHOWN_MAX: usize = 100;
/// What the events say that they came in by.
const SOURCE: &str = "import";

#[derive(Debug, Subcommand)]
pub(crate) enum TitlesCommand {
    /// Register titles out of a table; `docs/contracts.md` has its columns
    Import(ImportArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContractsCommand {
    /// Register contracts out of a table; `docs/contracts.md` has its columns
    Import(ImportArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Comma-separated values with a line of names first
    file: PathBuf,
    /// Check every line and send nothing; needs neither Kafka nor the database
    #[arg(long)]
    dry_run: bool,
    /// Send the good lines although there are bad ones
    #[arg(long, conflicts_with = "dry_run")]
    skip_bad: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn titles(config: &Config, command: TitlesCommand) -> anyhow::Result<ExitCode> {
    let TitlesCommand::Import(args) = command;
    run(config, Kind::Titles, args).await
}

pub(crate) async fn contracts(config: &Config, command: ContractsCommand) -> anyhow::Result<ExitCode> {
    let ContractsCommand::Import(args) = command;
    run(config, Kind::Contracts, args).await
}

/// What became of a table.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    good: usize,
    /// Lines that can't be registered; a line may have several mistakes.
    bad: usize,
    mistakes: Vec<Bad>,
    sent: usize,
    /// Good lines that the catalog says already.
    unchanged: usize,
}

async fn run(config: &Config, kind: Kind, args: ImportArgs) -> anyhow::Result<ExitCode> {
    let file = std::fs::File::open(&args.file).with_context(|| format!("failed to open {}", args.file.display()))?;
    let Read { lines, mistakes, bad } = table::read(file, kind)?;
    let mut outcome = Outcome { good: lines.len(), bad, mistakes, ..Outcome::default() };
    let is_sent = !args.dry_run && (outcome.bad == 0 || args.skip_bad);
    if is_sent {
        send(config, lines, &mut outcome).await?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&outcome)?);
    } else {
        show(&outcome, &args, is_sent);
    }
    Ok(if outcome.bad == 0 || is_sent { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(outcome: &Outcome, args: &ImportArgs, is_sent: bool) {
    for bad in outcome.mistakes.iter().take(SHOWN_MAX) {
        println!("{}:{bad}", args.file.display());
    }
    if outcome.mistakes.len() > SHOWN_MAX {
        println!("… and {} more mistakes (--json shows all)", outcome.mistakes.len() - SHOWN_MAX);
    }
    let Outcome { good, bad, sent, unchanged, .. } = outcome;
    print!("{good} good lines, {bad} bad: ");
    match (is_sent, args.dry_run) {
        (true, _) => println!("{sent} registered, {unchanged} were so already"),
        (false, true) => println!("a dry run, so nothing was sent"),
        (false, false) => println!("nothing was sent (--skip-bad sends the good ones)"),
    }
}

async fn send(config: &Config, lines: Vec<CatalogEvent>, outcome: &mut Outcome) -> anyhow::Result<()> {
    let catalog = CatalogView::start(&serve::reader_settings(config)).context("failed to read the catalog")?;
    if !catalog.caught_up(serve::START_WAIT).await {
        bail!("failed to read the catalog within {} s: is Kafka away?", serve::START_WAIT.as_secs());
    }
    let now = Timestamp::from(Utc::now());
    let by = super::operator();
    let mut records: Vec<Record> = Vec::new();
    for event in lines {
        if catalog.read(|catalog| is_so_already(catalog, &event)) {
            outcome.unchanged += 1;
        } else {
            records.push(envelope::by(envelope::catalog(&event, &Origin::new(SOURCE, now)), &by));
        }
    }
    tokio::task::spawn_blocking(move || catalog.stop()).await?;
    let log = EventLog::connect(&serve::log_settings(config)).context("failed to connect to the log")?;
    while !records.is_empty() {
        let rest = records.split_off(records.len().min(UNDER_WAY_MAX));
        for appended in log.append_all(std::mem::replace(&mut records, rest)).await {
            appended.with_context(|| {
                format!("failed after {} lines were registered; the same file may be sent again", outcome.sent)
            })?;
            outcome.sent += 1;
        }
    }
    Ok(())
}

fn is_so_already(catalog: &Catalog, event: &CatalogEvent) -> bool {
    match event {
        CatalogEvent::TitleRegistered(title) => catalog.title(&title.title_id) == Some(title),
        CatalogEvent::ContractRegistered(contract) => {
            let there = catalog.contract_versions(&contract.contract_id).cloned().unwrap_or_default();
            matches!(there.decide(ContractCommand::Register(contract.clone())), Ok(None))
        }
        _ => false,
    }
}
