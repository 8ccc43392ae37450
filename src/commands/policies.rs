//! `pulsegate policies`: try a draft on what has happened.

mod page;
mod table;

use std::io::{IsTerminal as _, stderr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use chrono::Utc;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use pulsegate_domain::ids::PolicyName;
use pulsegate_domain::policy::Terms;
use pulsegate_domain::time::Timestamp;
use pulsegate_projections::catalog_view::CatalogView;
use pulsegate_projections::policy_try::{self, Progress, Question, TryError, WARM_UP_MS};
use pulsegate_projections::runner::RunError;
use pulsegate_write_side::problems::BodyError;
use pulsegate_write_side::request::parse_policy;
use tokio_util::sync::CancellationToken;

use super::when::{Moment, Since, length_ms};
use super::{serve, telemetry};
use crate::config::Config;

/// How long the catalog may take to be read.
const CATALOG_WAIT: Duration = Duration::from_secs(30);
/// Longest draft that is read, in bytes: as long as a request may be.
const DRAFT_BYTES_MAX: u64 = 1 << 20;
/// How often a bar moves, and how often a plain line is written.
const BAR_EVERY: Duration = Duration::from_millis(250);
const LINE_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, Subcommand)]
pub(crate) enum PoliciesCommand {
    /// Fold the log with a draft in place of what was in force, and say what it would have changed
    Try(TryArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TryArgs {
    /// The draft: JSON as for `PUT /v1/policies/{name}`
    file: PathBuf,
    /// Since when: so long ago (30d, 12h), a day or a time (UTC)
    #[arg(long)]
    since: Since,
    /// Until when, a day or a time (UTC), not included; else now
    #[arg(long)]
    until: Option<Moment>,
    /// Of which policy it takes the place; else of every one
    #[arg(long)]
    name: Option<PolicyName>,
    /// How much earlier the fold begins, to know what was remembered then
    #[arg(long, default_value = "2d", value_parser = warm_up_ms)]
    warm_up: u64,
    /// The outcome as JSON
    #[arg(long)]
    json: bool,
    /// Write the outcome as a page with charts, too
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

fn warm_up_ms(text: &str) -> Result<u64, String> {
    length_ms(text).ok_or_else(|| format!("must be a length of time such as {}d or 36h", WARM_UP_MS / 86_400_000))
}

/// Runs one of the commands.
pub(crate) async fn run(config: &Config, command: PoliciesCommand) -> anyhow::Result<ExitCode> {
    let PoliciesCommand::Try(args) = command;
    let terms = match draft(&args.file)? {
        Ok(terms) => terms,
        Err(error) => {
            let file = args.file.display();
            match error {
                BodyError::Invalid(problems) => {
                    for problem in problems {
                        eprintln!("pulsegate: {file}: {} {}", problem.pointer, problem.detail);
                    }
                }
                other @ BodyError::NotJson { .. } => eprintln!("pulsegate: {file}: {other}"),
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    let now = Timestamp::from(Utc::now());
    let since = args.since.before(now);
    ensure!(since < now, "{since} lies in the future: nothing has happened yet");
    let until = args.until.map(|moment| moment.begins);
    let question = Question { terms, name: args.name, since, until, warm_up_ms: args.warm_up };

    let catalog = CatalogView::start(&serve::reader_settings(config)).context("failed to read the catalog")?;
    let is_whole = catalog.caught_up(CATALOG_WAIT).await;
    let policies = catalog.policies();
    tokio::task::spawn_blocking(move || catalog.stop()).await?;
    ensure!(is_whole, "failed to read the catalog: is Kafka away?");

    let (progress, stop) = (Arc::new(Progress::default()), CancellationToken::new());
    let folding = {
        let (kafka, topics) = (config.kafka.clone(), config.topics.clone());
        let (progress, stop) = (Arc::clone(&progress), stop.clone());
        tokio::task::spawn_blocking(move || policy_try::run(&kafka, &topics, &policies, &question, &progress, &stop))
    };
    tokio::spawn(async move {
        telemetry::stop_signal().await;
        stop.cancel();
    });
    let tried = match shown(folding, &progress).await? {
        Err(TryError::Read(RunError::Stopped)) => {
            eprintln!("pulsegate: stopped; nothing was written");
            return Ok(ExitCode::FAILURE);
        }
        tried => tried.context("failed to try the draft")?,
    };
    if let Some(file) = &args.html {
        std::fs::write(file, page::of(&tried)).with_context(|| format!("failed to write {}", file.display()))?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&tried)?);
    } else {
        print!("{}", table::of(&tried));
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the draft as a node would.
fn draft(file: &std::path::Path) -> anyhow::Result<Result<Terms, BodyError>> {
    let failed = || format!("failed to read {}", file.display());
    let length = std::fs::metadata(file).with_context(failed)?.len();
    ensure!(length <= DRAFT_BYTES_MAX, "{} is longer than a policy may be, {DRAFT_BYTES_MAX} bytes", file.display());
    Ok(parse_policy(&std::fs::read(file).with_context(failed)?))
}

/// Waits for the fold and shows how far it is: a bar on a terminal, plain lines elsewhere, on the standard error.
async fn shown<T>(folding: tokio::task::JoinHandle<T>, progress: &Progress) -> anyhow::Result<T> {
    let is_terminal = stderr().is_terminal();
    let bar = if is_terminal { ProgressBar::new(0) } else { ProgressBar::hidden() };
    bar.set_style(ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} {per_sec} {eta} left")?);
    let began = Instant::now();
    tokio::pin!(folding);
    loop {
        tokio::select! {
            done = &mut folding => {
                bar.finish_and_clear();
                return done.context("the folding thread panicked");
            }
            () = tokio::time::sleep(if is_terminal { BAR_EVERY } else { LINE_EVERY }) => {}
        }
        let (folded, total) = progress.of_all();
        bar.set_length(total);
        bar.set_position(folded);
        if !is_terminal {
            let rate = u128::from(folded) * 1_000 / began.elapsed().as_millis().max(1);
            let left = u128::from(total - folded.min(total))
                .checked_div(rate)
                .map_or_else(String::new, |s| format!(", {s} s left"));
            eprintln!("{folded} of {total} records, {rate}/s{left}");
        }
    }
}
