//! `pulsegate report statement|close|restate|verify|statements`: what is due to whom, closed so that it stands.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use chrono::Utc;
use clap::Args;
use pulsegate_domain::event::Change;
use pulsegate_domain::ids::RightsHolderId;
use pulsegate_projections::catalog_view::CatalogView;
use pulsegate_projections::period::Period;
use pulsegate_projections::statements::export::{Format, Writer};
use pulsegate_projections::statements::{
    self, About, Agreements, Closed, Head, LAG_WAIT, Rows, Statement, StatementError, Verdict,
};
use sqlx::PgPool;

use super::show;
use crate::commands::{audit, serve};
use crate::config::Config;

/// How long the catalog may take to be read.
const CATALOG_WAIT: std::time::Duration = std::time::Duration::from_secs(30);
/// Most rows that a person is shown at once.
const SHOWN_MAX: usize = 200;
/// Most differences that a person is shown at once.
const DIFFERENCES_MAX: usize = 50;

/// Which statement.
#[derive(Debug, Args)]
pub(crate) struct AboutArgs {
    /// A month, 2026-10, a quarter, 2026-Q4, a day, 2026-10-31, or days, 2026-10-01--2026-10-15 (UTC)
    period: Period,
    /// To whom; everybody where absent
    #[arg(long)]
    rights_holder: Option<RightsHolderId>,
}

impl AboutArgs {
    fn about(self) -> About {
        About { period: self.period, rights_holder: self.rights_holder }
    }
}

#[derive(Debug, Args)]
pub(crate) struct StatementArgs {
    #[command(flatten)]
    about: AboutArgs,
    /// 1: as it was closed; 0: as it is now; the newest where absent
    #[arg(long)]
    revision: Option<u32>,
    /// Only what the revision added, signed
    #[arg(long, requires = "revision")]
    added: bool,
    /// json, csv, tsv or parquet; a table for people where absent
    #[arg(long)]
    format: Option<Format>,
    /// Into this file, or, if it is a folder, into a file of the usual name in it
    #[arg(long, requires = "format")]
    output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CloseArgs {
    #[command(flatten)]
    about: AboutArgs,
    /// Although heartbeats of the period may still come
    #[arg(long)]
    early: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RestateArgs {
    #[command(flatten)]
    about: AboutArgs,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Its period
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    period: Option<Period>,
    /// To whom; everybody where absent
    #[arg(long, conflicts_with = "file")]
    rights_holder: Option<RightsHolderId>,
    /// As of which revision; the newest where absent
    #[arg(long, conflicts_with = "file")]
    revision: Option<u32>,
    /// A statement that was exported as JSON: its hash and its arithmetic are checked, which takes neither log nor database
    #[arg(long)]
    file: Option<PathBuf>,
    /// Fold the log up to the file's offsets, too, and compare
    #[arg(long, requires = "file")]
    against_log: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn statement(config: &Config, pool: &PgPool, args: StatementArgs) -> anyhow::Result<ExitCode> {
    let about = args.about.about();
    let (head, rows) = if args.added {
        let revision = args.revision.unwrap_or_default();
        let added = statements::added(pool, &about, revision).await?;
        added.ok_or_else(|| StatementError::NoRevision(about.period.to_string(), revision))?
    } else {
        found(config, pool, &about, args.revision).await?
    };
    match args.format {
        Some(format) => write(&about, &head, rows, format, args.output.as_deref()).await?,
        None => show::statement(&about, &head, &rows.all().await?, SHOWN_MAX),
    }
    Ok(ExitCode::SUCCESS)
}

async fn found(config: &Config, pool: &PgPool, about: &About, revision: Option<u32>) -> anyhow::Result<(Head, Rows)> {
    if revision != Some(0)
        && let Some(kept) = statements::find(pool, about, revision).await?
    {
        return Ok(kept);
    }
    if let Some(revision) = revision.filter(|revision| *revision > 0) {
        return Err(StatementError::NoRevision(about.period.to_string(), revision).into());
    }
    let catalog = catalog(config)?;
    let made = statements::provisional(pool, about, async || agreements(&catalog).await).await;
    tokio::task::spawn_blocking(move || catalog.stop()).await?;
    let Statement { head, rows } = made?;
    Ok((head, Rows::of(rows)))
}

fn catalog(config: &Config) -> anyhow::Result<CatalogView> {
    CatalogView::start(&serve::reader_settings(config)).context("failed to read the catalog")
}

/// A statement without the newest contract would be wrong and look right.
async fn agreements(catalog: &CatalogView) -> Option<Agreements> {
    catalog.caught_up(CATALOG_WAIT).await.then(|| catalog.read_at(Agreements::of))
}

async fn write(
    about: &About,
    head: &Head,
    mut rows: Rows,
    format: Format,
    output: Option<&Path>,
) -> anyhow::Result<()> {
    let mut out: Box<dyn std::io::Write> = match output {
        Some(path) => {
            let path = if path.is_dir() { path.join(format.file_name(about, head)) } else { path.to_owned() };
            let file = std::fs::File::create(&path).with_context(|| format!("failed to make {}", path.display()))?;
            eprintln!("{}", path.display());
            Box::new(std::io::BufWriter::new(file))
        }
        None => Box::new(std::io::stdout().lock()),
    };
    let (mut writer, begin) = Writer::begin(format, about, head)?;
    out.write_all(&begin)?;
    while let Some(page) = rows.next().await {
        out.write_all(&writer.rows(head, &page?)?)?;
    }
    out.write_all(&writer.end()?)?;
    Ok(out.flush()?)
}

pub(super) async fn close(config: &Config, pool: &PgPool, args: CloseArgs) -> anyhow::Result<ExitCode> {
    let about = args.about.about();
    let catalog = catalog(config)?;
    let log = serve::reader_settings(config);
    let at_least = async || statements::caught_up(pool, &log, &about.period, LAG_WAIT).await;
    let agreements = async || agreements(&catalog).await;
    let closed = statements::close(pool, &about, agreements, Utc::now(), args.early, at_least).await;
    tokio::task::spawn_blocking(move || catalog.stop()).await?;
    let closed = closed?;
    audit::note(config, "report", closed.head.noted(Change::StatementClosed)).await;
    say(&closed, args.json)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn restate(config: &Config, pool: &PgPool, args: RestateArgs) -> anyhow::Result<ExitCode> {
    let about = args.about.about();
    let catalog = catalog(config)?;
    let made = statements::restate(pool, &about, async || agreements(&catalog).await, Utc::now()).await;
    tokio::task::spawn_blocking(move || catalog.stop()).await?;
    match made? {
        Some(made) => {
            audit::note(config, "report", made.head.noted(Change::StatementRestated)).await;
            say(&made, args.json)?;
        }
        None if args.json => println!("null"),
        None => println!("nothing changed: the newest revision stands"),
    }
    Ok(ExitCode::SUCCESS)
}

fn say(made: &Closed, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(&made.head)?);
    } else {
        let Closed { head, rows } = made;
        println!("{} {}, revision {}: {rows} rows added", head.period, head.state.as_str(), head.revision);
        show::due(head);
        println!("sha256 {}", head.sha256);
    }
    Ok(())
}

pub(super) async fn list(pool: &PgPool, json: bool) -> anyhow::Result<ExitCode> {
    let listed = statements::list(pool).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&listed)?);
    } else {
        show::list(&listed);
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn verify(config: &Config, args: VerifyArgs) -> anyhow::Result<ExitCode> {
    let json = args.json;
    let (about, said, mut verdict, against_log) = match (args.file, args.period) {
        (Some(file), _) => {
            let text = std::fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
            let (about, said, verdict) =
                statements::verify_file(&text).map_err(|why| anyhow::anyhow!("{}: {why}", file.display()))?;
            (about, said, verdict, args.against_log)
        }
        (None, Some(period)) => {
            let about = About { period, rights_holder: args.rights_holder };
            let pool = serve::pool(config)?;
            let kept = statements::verify(&pool, &about, args.revision).await?;
            let (said, verdict) = kept.ok_or_else(|| StatementError::NotClosed(about.period.to_string()))?;
            (about, said, verdict, true)
        }
        (None, None) => unreachable!("one of the two is required"),
    };
    if against_log {
        let (settings, as_of) = (serve::reader_settings(config), said.head.as_of.clone());
        let records: i64 = as_of.iter().map(|one| one.offset + 1).sum();
        let progress = show::progress(records);
        let told = progress.clone();
        let period = about.clone();
        let folding =
            tokio::task::spawn_blocking(move || statements::recount(&settings, &period, &as_of, || told.inc(1)));
        let folded = folding.await?;
        progress.finish_and_clear();
        verdict = verdict.and(statements::compare(&said, &folded.context("failed to fold the log")?));
    }
    tell(&about, &said.head, &verdict, against_log, json)?;
    Ok(if verdict.same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(about: &About, head: &Head, verdict: &Verdict, against_log: bool, json: bool) -> anyhow::Result<()> {
    if json {
        let told = serde_json::json!({
            "period": head.period, "rights_holder_id": head.rights_holder_id, "revision": head.revision,
            "sha256": head.sha256, "against_log": against_log, "same": verdict.same, "rows": verdict.rows,
            "differences": verdict.differences,
        });
        println!("{}", serde_json::to_string_pretty(&told)?);
        return Ok(());
    }
    for one in verdict.differences.iter().take(DIFFERENCES_MAX) {
        let place: Vec<_> = [&one.contract_id, &one.title_id, &one.territory, &one.device_class]
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(String::as_str)
            .collect();
        let place = if place.is_empty() { "the statement".to_owned() } else { place.join(" ") };
        println!("{place}: {} is said to be {}, and is {}", one.figure, one.said, one.found);
    }
    if verdict.differences.len() > DIFFERENCES_MAX {
        println!("… and {} more (--json shows 1 000)", verdict.differences.len() - DIFFERENCES_MAX);
    }
    let checked = if against_log {
        "hash, arithmetic and every figure, folded from the log up to its offsets"
    } else {
        "hash and arithmetic; --against-log folds the log as well"
    };
    let same = if verdict.same { "stands" } else { "does NOT stand" };
    println!("{} revision {} {same}: {} rows ({checked})", about.file_name(head.revision), head.revision, verdict.rows);
    Ok(())
}
