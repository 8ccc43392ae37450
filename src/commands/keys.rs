//! `pulsegate keys`: by which servers call.

use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use chrono::{DateTime, Utc};
use clap::Subcommand;
use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use pulsegate_callers::key::{self, Listed, NewKey};
use pulsegate_callers::{Scope, Scopes};
use pulsegate_domain::event::Change;

use super::when::Length;
use super::{audit, serve};
use crate::config::Config;

const NAME_LEN_MAX: usize = 100;
/// What the notes say that they came in by.
const SOURCE: &str = "keys";

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key, and print it: this once
    Create {
        /// What it is for
        name: String,
        /// What it may do, by comma: signals, ingest, reports:read, reports:close, policies:write, operate
        #[arg(long = "scope", value_delimiter = ',', required = true)]
        scopes: Vec<Scope>,
        /// How long it is good; for ever where this is left out
        #[arg(long = "for")]
        life: Option<Length>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Every key, without its secret
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Give a key a new secret, and print it; the old one is good for a while
    Rotate {
        /// Its id
        id: String,
        /// How long the old secret stays good
        #[arg(long, default_value = "24h")]
        keep: Length,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// End a key, for good
    Revoke {
        /// Its id
        id: String,
    },
}

/// Runs one of the commands.
pub(crate) async fn run(config: &Config, command: KeysCommand) -> anyhow::Result<ExitCode> {
    let pool = serve::pool(config)?;
    match command {
        KeysCommand::Create { name, scopes, life, json } => {
            ensure!(!name.is_empty() && name.chars().count() <= NAME_LEN_MAX, "a name has 1-{NAME_LEN_MAX} characters");
            let life = life.map(|Length(life)| life);
            let scopes: Scopes = scopes.into_iter().collect();
            let made =
                key::create(&pool, &name, scopes, life, &super::operator()).await.context("failed to make a key")?;
            show(&made, json)?;
            let detail = Some(format!("{name}: {scopes}"));
            audit::note(config, SOURCE, audit::noted(Change::KeyCreated, &made.id, detail)).await;
        }
        KeysCommand::List { json } => list(&key::list(&pool).await.context("failed to list keys")?, json)?,
        KeysCommand::Rotate { id, keep, json } => {
            let made = key::rotate(&pool, &id, keep.0).await.context("failed to rotate the key")?;
            show(&made, json)?;
            audit::note(config, SOURCE, audit::noted(Change::KeyRotated, &made.id, None)).await;
        }
        KeysCommand::Revoke { id } => {
            key::revoke(&pool, &id).await.context("failed to revoke the key")?;
            audit::note(config, SOURCE, audit::noted(Change::KeyRevoked, &id, None)).await;
            eprintln!("{id} is revoked; no node takes it any more in {} s", key::READ_AGAIN.as_secs() + 1);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(made: &NewKey, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(made)?);
        return Ok(());
    }
    println!("{}", made.key);
    let end = made.expires_at.map_or_else(|| "for ever".to_owned(), |end| format!("until {}", minute(end)));
    eprintln!("This is shown once. Its id is {}; it is good {end}, on every node in a few seconds.", made.id);
    if let Some(until) = made.old_until {
        eprintln!("The secret before it is good until {}.", minute(until));
    }
    Ok(())
}

fn list(keys: &[Listed], json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(keys)?);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(["id", "name", "scopes", "made", "by", "good until", "last used"]);
    let now = Utc::now();
    for key in keys {
        let good = match (key.revoked_at, key.expires_at) {
            (Some(at), _) => format!("revoked {}", minute(at)),
            (None, Some(end)) if end <= now => format!("ran out {}", minute(end)),
            (None, Some(end)) => minute(end),
            (None, None) => "for ever".to_owned(),
        };
        let used = key.last_used_at.map_or_else(|| "never".to_owned(), |at| format!("{}h", at.format("%Y-%m-%d %H")));
        let scopes = key.scopes.join(" ");
        table.add_row([&key.id, &key.name, &scopes, &minute(key.created_at), &key.created_by, &good, &used]);
    }
    println!("{table}");
    Ok(())
}

fn minute(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M").to_string()
}
