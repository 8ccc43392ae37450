//! `pulsegate dead-letters`: what could not be folded, and what becomes of it.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use pulsegate_projections::dead_letters::{self, DeadLetter, Settled};
use pulsegate_projections::registry::REGISTERED;

use super::{projection, serve};
use crate::config::Config;

/// How much of an error a list shows.
const ERROR_CHARS_MAX: usize = 80;

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// The newest ones
    List {
        /// Only of this projection
        #[arg(long)]
        projection: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: i64,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// One of them: the event, the error, what waits behind it
    Show {
        /// Its number
        id: i64,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Fold what is parked, in order, now that its cause is gone
    Retry {
        /// The number of a parked one: its key's records are folded
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        id: Option<i64>,
        /// All that are parked
        #[arg(long)]
        all: bool,
        /// Of all, only those of this projection
        #[arg(long, requires = "all")]
        projection: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Give a parked one up, and fold what waits behind it
    Skip {
        /// Its number
        id: i64,
        /// Why; it is kept
        #[arg(long)]
        reason: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs one of the commands.
pub(crate) async fn run(config: &Config, command: DeadLettersCommand) -> anyhow::Result<ExitCode> {
    let pool = serve::pool(config)?;
    match command {
        DeadLettersCommand::List { projection, limit, json } => {
            if let Some(name) = &projection {
                projection::find(name)?;
            }
            let letters =
                dead_letters::list(&pool, projection.as_deref(), limit).await.context("failed to list dead letters")?;
            list(&letters, json)?;
        }
        DeadLettersCommand::Show { id, json } => {
            let shown = dead_letters::show(&pool, id).await.context("failed to read the dead letter")?;
            show(&shown.with_context(|| format!("there is no dead letter {id}"))?, json)?;
        }
        DeadLettersCommand::Retry { id, all: _, projection, json } => {
            let ids = match id {
                Some(id) => vec![id],
                None => {
                    dead_letters::parked(&pool, projection.as_deref()).await.context("failed to list dead letters")?
                }
            };
            return settle(config, &ids, None, json).await;
        }
        DeadLettersCommand::Skip { id, reason, json } => {
            if reason.trim().is_empty() {
                anyhow::bail!("--reason must say why");
            }
            return settle(config, &[id], Some(reason.trim()), json).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn settle(config: &Config, ids: &[i64], skip: Option<&str>, json: bool) -> anyhow::Result<ExitCode> {
    let with = projection::dependencies(config).await?;
    let mut all = Vec::new();
    for id in ids {
        let settled = dead_letters::settle(REGISTERED, &with, *id, skip)
            .await
            .with_context(|| format!("failed to settle dead letter {id}"))?;
        if !json {
            said(&settled);
        }
        all.push(settled);
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else if all.is_empty() {
        println!("nothing is parked");
    }
    let done = all.iter().all(|settled| settled.parked == 0);
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn said(settled: &Settled) {
    let Settled { id, folded, parked, error } = settled;
    println!("{id}: {folded} folded, {parked} still parked");
    if let Some(error) = error {
        println!("  the next one can't be folded: {error}");
    }
}

fn list(letters: &[DeadLetter], json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(&letters.iter().map(readable).collect::<Vec<_>>())?);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(["id", "build", "partition", "offset", "key", "kind", "error"]);
    for letter in letters {
        table.add_row([
            letter.id.to_string(),
            letter.build.clone(),
            format!("{}/{}", letter.topic, letter.partition),
            letter.log_offset.to_string(),
            text(letter.key.as_deref()).unwrap_or_default(),
            letter.kind.clone(),
            letter.error.chars().take(ERROR_CHARS_MAX).collect(),
        ]);
    }
    println!("{table}");
    Ok(())
}

fn show(shown: &dead_letters::Shown, json: bool) -> anyhow::Result<()> {
    let letter = &shown.letter;
    if json {
        let mut value = readable(letter);
        value["waiting"] = shown.waiting.into();
        value["waiting_offsets"] = shown.waiting_offsets.clone().into();
        println!("{}", serde_json::to_string_pretty(&value)?);
        return Ok(());
    }
    println!("dead letter {} of {}: {}", letter.id, letter.build, letter.kind);
    println!("where:  {}/{} offset {}", letter.topic, letter.partition, letter.log_offset);
    if let Some(at) = letter.logged_at {
        println!("logged: {}", at.format("%FT%T%.3fZ"));
    }
    println!("key:    {}", text(letter.key.as_deref()).unwrap_or_else(|| "none".to_owned()));
    println!("error:  {}", letter.error);
    if let Some(reason) = &letter.reason {
        println!("reason: {reason}");
    }
    if letter.kind == "parked" {
        match letter.behind {
            Some(head) => println!("it waits behind offset {head}"),
            None => println!("{} records of its key wait behind it, at {:?}", shown.waiting, shown.waiting_offsets),
        }
    }
    println!("event:\n{}", text(letter.value.as_deref()).unwrap_or_else(|| "none".to_owned()));
    Ok(())
}

/// As JSON in which bytes are text.
fn readable(letter: &DeadLetter) -> serde_json::Value {
    let mut value = serde_json::to_value(letter).unwrap_or_default();
    value["key"] = text(letter.key.as_deref()).into();
    value["value"] = text(letter.value.as_deref()).into();
    value
}

/// Bytes as text; what is no UTF-8 is escaped.
fn text(bytes: Option<&[u8]>) -> Option<String> {
    let bytes = bytes?;
    Some(std::str::from_utf8(bytes).map_or_else(|_| bytes.escape_ascii().to_string(), str::to_owned))
}
