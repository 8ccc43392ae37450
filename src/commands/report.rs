//! `pulsegate report`: what is owed for, and what people did, in figures.

mod clickstream;
mod show;
mod statement;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use pulsegate_domain::ids::{RightsHolderId, Territory};
use pulsegate_projections::catalog_view::CatalogView;
use pulsegate_projections::clickstream::Resolution;
use pulsegate_projections::concurrency::{self, Per};
use pulsegate_projections::licensing::{self, Question, Report, Terms};
use pulsegate_projections::period::Period;
use serde::Serialize;

use super::serve;
use crate::config::Config;
use clickstream::ClickstreamArgs;
use show::{hours, table};
use statement::{CloseArgs, RestateArgs, StatementArgs, VerifyArgs};

/// How long the catalog may take to be read.
const CATALOG_WAIT: Duration = Duration::from_secs(30);
/// What was meant where a read fails.
const MIGRATED: &str = "failed to read the report (is the database migrated? `pulsegate migrate`)";

#[derive(Debug, Subcommand)]
pub(crate) enum ReportCommand {
    /// What is owed for: a row for each contract, title and territory
    Licensing {
        /// A month, 2026-10, a quarter, 2026-Q4, a day, 2026-10-31, or days, 2026-10-01--2026-10-15 (UTC)
        #[arg(long)]
        period: Period,
        /// Only what is owed to one
        #[arg(long)]
        rights_holder: Option<RightsHolderId>,
        /// Only what was watched in one, e.g. DE
        #[arg(long)]
        territory: Option<Territory>,
        #[command(flatten)]
        format: Format,
    },
    /// How many clickstream events of each name the log took in; or a question about them
    Clickstream(ClickstreamArgs),
    /// How many watched at once, who was told no, and how long they waited
    Concurrency {
        /// A month, a quarter, a day or days (UTC)
        #[arg(long)]
        period: Period,
        /// minute, hour or day; what suits the period where absent
        #[arg(long)]
        by: Option<Resolution>,
        /// everything, `device_class`, title or territory
        #[arg(long, default_value = "everything")]
        per: Per,
        #[command(flatten)]
        format: Format,
    },
    /// What is due to whom: as it was closed, or as it is now
    Statement(StatementArgs),
    /// Close a statement: from then on it stands
    Close(CloseArgs),
    /// Make what arrived since a revision of its own
    Restate(RestateArgs),
    /// Check a statement: its hash, its arithmetic, and every figure against the log
    Verify(VerifyArgs),
    /// The statements that were closed
    Statements {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Copy, Debug, Args)]
#[group(multiple = false)]
pub(crate) struct Format {
    /// As JSON, as `GET /v1/reports/…` answers
    #[arg(long)]
    json: bool,
    /// As comma-separated values
    #[arg(long)]
    csv: bool,
}

impl Format {
    fn print(self, report: &impl Serialize, csv: impl FnOnce() -> String, show: impl FnOnce()) -> anyhow::Result<()> {
        if self.json {
            println!("{}", serde_json::to_string_pretty(report)?);
        } else if self.csv {
            print!("{}", csv());
        } else {
            show();
        }
        Ok(())
    }
}

/// Runs one of the commands.
pub(crate) async fn run(config: &Config, command: ReportCommand) -> anyhow::Result<ExitCode> {
    let pool = serve::pool(config)?;
    match command {
        ReportCommand::Statement(args) => return statement::statement(config, &pool, args).await,
        ReportCommand::Close(args) => return statement::close(config, &pool, args).await,
        ReportCommand::Restate(args) => return statement::restate(config, &pool, args).await,
        ReportCommand::Statements { json } => return statement::list(&pool, json).await,
        ReportCommand::Verify(args) => return statement::verify(config, args).await,
        ReportCommand::Licensing { period, rights_holder, territory, format } => {
            let question = Question { period, rights_holder, territory };
            let catalog = CatalogView::start(&serve::reader_settings(config)).context("failed to read the catalog")?;
            // A report without the newest contract would be wrong and look right.
            anyhow::ensure!(catalog.caught_up(CATALOG_WAIT).await, "failed to read the catalog: is Kafka away?");
            let terms = |titles: &[String]| {
                catalog.read_at(|catalog, next_offset| Terms::of(catalog, next_offset, titles, &question.period))
            };
            let report = licensing::report(&pool, &question, terms).await;
            tokio::task::spawn_blocking(move || catalog.stop()).await?;
            let report = report.context(MIGRATED)?;
            format.print(&report, || report.to_csv(), || show_licensing(&report))?;
        }
        ReportCommand::Concurrency { period, by, per, format } => {
            let by = by.unwrap_or_else(|| Resolution::of(&period));
            let question = concurrency::Question::of(period, by, per);
            let report = concurrency::concurrency(&pool, &question).await.context(MIGRATED)?;
            format.print(&report, || report.to_csv(), || show::concurrency(&report))?;
        }
        ReportCommand::Clickstream(args) => return clickstream::run(&pool, args).await,
    }
    Ok(ExitCode::SUCCESS)
}

fn show_licensing(report: &Report) {
    let numbers = ["plays", "views", "watched", "late", "content", "accounts", "peak"];
    let mut table = table(&["rights holder", "contract", "title", "territory"], &numbers);
    let id = |id: &Option<String>| id.clone().unwrap_or_else(|| "-".to_owned());
    for row in &report.rows {
        table.add_row([
            id(&row.rights_holder_id),
            id(&row.contract_id),
            row.title_id.clone(),
            row.territory.clone(),
            row.plays.to_string(),
            row.qualified_views.to_string(),
            hours(row.watched_ms),
            hours(row.aged_ms),
            hours(row.content_ms),
            row.distinct_accounts.to_string(),
            row.peak_concurrent.to_string(),
        ]);
    }
    println!("{table}");
    let (rows, plays) = (&report.totals.of_rows, &report.totals.of_plays);
    println!(
        "over the rows (twice what two contracts are in force for): {} plays, {} qualified views, {} watched",
        rows.plays,
        rows.qualified_views,
        hours(rows.watched_ms)
    );
    println!(
        "over what was watched, each once: {} plays, {} watched, {} of it late, by {} accounts",
        plays.plays,
        hours(plays.watched_ms),
        hours(plays.aged_ms),
        plays.distinct_accounts
    );
    if report.inferred_sessions > 0 {
        println!("without watch time, since only servers told of them: {} sessions", report.inferred_sessions);
    }
    show::as_of(&report.period, &report.as_of);
}
