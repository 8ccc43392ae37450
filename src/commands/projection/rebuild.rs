//! `pulsegate projection rebuild`: all of history into new tables.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use clap::Args;
use pulsegate_projections::rebuild::{self, Progress, RebuildError, Rebuilt, Wanted};
use pulsegate_projections::registry::Dependencies;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::bars::{Bars, grouped};
use crate::commands::telemetry;
use crate::config::Config;

/// How long a runner may take to take up the new shadow before it is said that none does.
const TAKEN_UP_MAX: Duration = Duration::from_secs(8);

#[derive(Debug, Args)]
pub(crate) struct RebuildArgs {
    /// The projection
    name: String,
    /// How many partitions are folded at once, each by up to two cores; else half as many as there are cores
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// Make a copy as of this instant (RFC 3339) instead of a shadow
    #[arg(long, requires = "into", value_name = "TIME")]
    as_of: Option<DateTime<Utc>>,
    /// The schema of the copy
    #[arg(long, requires = "as_of", value_name = "NAME")]
    into: Option<String>,
    /// Park poison events, with what waits behind them; else the first one stops the rebuild
    #[arg(long)]
    park: bool,
    /// The outcome as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(config: &Config, args: RebuildArgs) -> anyhow::Result<ExitCode> {
    let registered = super::find(&args.name)?;
    let with = super::dependencies(config).await?;
    let copy = args.as_of.zip(args.into.clone()).map(|(as_of, into)| rebuild::Copy { as_of: as_of.into(), into });
    let is_copy = copy.is_some();
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    // Each worker has a transaction of its own, and somebody must be able to ask how it goes.
    let connections = usize::try_from(config.database_connections).unwrap_or(usize::MAX);
    // A partition is read by one thread and folded by another. With more of them the live ones would wait for a core.
    let workers = args.workers.map_or(cores.div_ceil(2), usize::from).min(connections.saturating_sub(1).max(1));
    let wanted = Wanted { workers, parks: args.park, copy };
    let progress = Arc::new(Progress::default());
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        telemetry::stop_signal().await;
        stopped.cancel();
    });

    let mut bars = Bars::new();
    let rebuilding = rebuild::rebuild(registered, &with, &wanted, &progress, stop);
    tokio::pin!(rebuilding);
    let outcome = loop {
        tokio::select! {
            biased;
            outcome = &mut rebuilding => break outcome,
            () = tokio::time::sleep(bars.period()) => bars.show(&progress),
        }
    };
    bars.finish();
    match outcome {
        Ok(rebuilt) => {
            let followers = if is_copy { None } else { taken_up(&rebuilt, &with).await };
            said(&rebuilt, is_copy, followers, args.json)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if error.is_stop() => {
            eprintln!(
                "stopped: {} keeps what was folded; `pulsegate projection rebuild {}` goes on from there, on any machine",
                progress.build(),
                args.name
            );
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(explained(error, &args.name)),
    }
}

fn explained(error: RebuildError, name: &str) -> anyhow::Error {
    let poison = error.is_poison();
    let error = anyhow::Error::from(error).context(format!("failed to rebuild {name}"));
    if poison {
        return error.context(
            "a poison event stopped the rebuild, and nothing behind it was folded: mend the fold and run it again, \
             or run it with --park",
        );
    }
    error
}

/// How many runners keep the shadow current; a moment after it was made.
async fn taken_up(rebuilt: &Rebuilt, with: &Dependencies) -> Option<usize> {
    let begun = std::time::Instant::now();
    loop {
        match rebuild::followers(&rebuilt.build, with).await {
            Ok(0) if begun.elapsed() < TAKEN_UP_MAX => tokio::time::sleep(Duration::from_millis(500)).await,
            Ok(count) => return Some(count),
            Err(error) => {
                tracing::debug!(%error, "asking who folds the shadow");
                return None;
            }
        }
    }
}

fn said(rebuilt: &Rebuilt, is_copy: bool, followers: Option<usize>, as_json: bool) -> anyhow::Result<()> {
    let took_ms = u64::try_from(rebuilt.took.as_millis()).unwrap_or(u64::MAX);
    let name = rebuilt.build.registered().name;
    if as_json {
        let outcome = json!({
            "build": rebuilt.build.schema(),
            "state": if is_copy { "copy" } else { "shadow" },
            "records": rebuilt.records,
            "took_ms": took_ms,
            "followers": followers,
        });
        println!("{}", serde_json::to_string_pretty(&outcome).context("failed to write the outcome")?);
        return Ok(());
    }
    let rate = rebuilt.records.saturating_mul(1_000) / i64::try_from(took_ms).unwrap_or(i64::MAX).max(1);
    println!(
        "{} holds {} more events, folded in {:.1} s ({}/s)",
        rebuilt.build,
        grouped(rebuilt.records),
        rebuilt.took.as_secs_f64(),
        grouped(rate)
    );
    if is_copy {
        println!(
            "it is a copy: nobody folds on into it; `pulsegate projection retire {name} {}` drops it",
            rebuilt.build
        );
        return Ok(());
    }
    match followers {
        Some(0) => {
            println!("it is a shadow, but nobody keeps it current: run `pulsegate up` or `pulsegate project {name}`");
        }
        Some(count) => println!("it is a shadow, kept current by {count} running process(es)"),
        None => println!("it is a shadow; `pulsegate up` and `pulsegate project` keep it current"),
    }
    println!("next: `pulsegate projection verify {name}`, then `pulsegate projection switch {name}`");
    Ok(())
}
