//! `pulsegate projection`: which read models there are and how far they are.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use pulsegate_projections::registry::REGISTERED;
use pulsegate_projections::{ProjectionStatus, status};

use super::serve;
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(crate) enum ProjectionCommand {
    /// Every projection, with its versions and what it folds
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// How far each partition is
    Status {
        /// Only this projection
        name: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs one of the commands.
pub(crate) async fn run(config: &Config, command: ProjectionCommand) -> anyhow::Result<ExitCode> {
    let pool = serve::pool(config)?;
    let known = status(&pool, &config.kafka, &config.topics)
        .await
        .context("failed to read the projections (is the database migrated? `pulsegate migrate`)")?;
    match command {
        ProjectionCommand::List { json } => list(&known, json)?,
        ProjectionCommand::Status { name, json } => {
            let chosen: Vec<_> =
                known.into_iter().filter(|one| name.as_ref().is_none_or(|name| *name == one.name)).collect();
            if let Some(name) = name
                && chosen.is_empty()
            {
                anyhow::bail!("there is no projection {name:?}");
            }
            show(&chosen, json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(known: &[ProjectionStatus], json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(known)?);
        return Ok(());
    }
    let mut table = table(&["projection", "version", "state", "topics", "lag", "parked", "skipped"]);
    for one in known {
        let registered = REGISTERED.iter().find(|registered| registered.name == one.name);
        let topics: Vec<_> = registered
            .map(|registered| registered.topics)
            .unwrap_or_default()
            .iter()
            .map(|topic| topic.base_name())
            .collect();
        table.add_row([
            one.name.clone(),
            one.version.to_string(),
            one.state.clone(),
            topics.join(", "),
            lag(one.lag_events, one.lag_seconds),
            one.parked.to_string(),
            one.skipped.to_string(),
        ]);
    }
    println!("{table}");
    Ok(())
}

fn show(known: &[ProjectionStatus], json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(known)?);
        return Ok(());
    }
    for one in known {
        println!("{}_v{} ({}): {}", one.name, one.version, one.state, lag(one.lag_events, one.lag_seconds));
        if let Some(error) = &one.last_error {
            println!("last error: {error}");
        }
        let mut table = table(&["topic", "partition", "next offset", "end", "lag", "clock"]);
        for partition in &one.partitions {
            table.add_row([
                partition.topic.clone(),
                partition.partition.to_string(),
                partition.next_offset.to_string(),
                partition.end_offset.map_or_else(|| "unknown".to_owned(), |end| end.to_string()),
                lag(partition.lag_events, partition.lag_seconds),
                partition.clock.map_or_else(|| "-".to_owned(), |clock| clock.to_string()),
            ]);
        }
        println!("{table}");
    }
    Ok(())
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(header.iter().copied());
    table
}

fn lag(events: Option<i64>, seconds: Option<f64>) -> String {
    match (events, seconds) {
        (Some(0), _) => "none".to_owned(),
        (Some(events), Some(seconds)) => format!("{events} events, {seconds:.1} s"),
        (Some(events), None) => format!("{events} events"),
        (None, _) => "unknown: Kafka is away".to_owned(),
    }
}
