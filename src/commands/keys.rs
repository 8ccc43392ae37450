//! `pulsegate keys`: by which servers call.

use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use chrono::{DateTime, Utc};
use clap::Subcommand;
use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use pulsegate_callers::key::{self, Drawn, Listed, Made};
use pulsegate_callers::{Scope, Scopes};
use pulsegate_domain::event::Change;
use serde::Serialize;

use super::when::Length;
use super::{audit, serve};
use crate::config::Config;

const NAME_LEN_MAX: usize = 100;
/// What the notes say that they came in by.
const SOURCE: &str = "keys";

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Draw a key without making it known, where only whoever will use it reads along
    Draw {
        /// The id of a key that there is, which shall have a new secret
        #[arg(long, value_parser = id)]
        id: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a key, and print it: this once
    Create {
        /// What it is for
        name: String,
        /// What `keys draw` said beside the key; then no key is printed
        #[arg(long)]
        drawn: Option<Drawn>,
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
        #[arg(value_parser = id)]
        id: String,
        /// How long the old secret stays good
        #[arg(long, default_value = "24h")]
        keep: Length,
        /// What `keys draw --id` said beside the key; then no key is printed
        #[arg(long)]
        drawn: Option<Drawn>,
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
    if let KeysCommand::Draw { id, json } = command {
        return draw(id.as_deref(), json);
    }
    let pool = serve::pool(config)?;
    match command {
        KeysCommand::Draw { .. } => {}
        KeysCommand::Create { name, drawn, scopes, life, json } => {
            ensure!(!name.is_empty() && name.chars().count() <= NAME_LEN_MAX, "a name has 1-{NAME_LEN_MAX} characters");
            let life = life.map(|Length(life)| life);
            let scopes: Scopes = scopes.into_iter().collect();
            let (key, drawn) = drawn_or_new(drawn, None)?;
            let made = key::create(&pool, &drawn, &name, scopes, life, &super::operator()).await;
            let made = made.context("failed to make a key")?;
            show(&Shown { made: &made, key }, json)?;
            let detail = Some(format!("{name}: {scopes}"));
            audit::note(config, SOURCE, audit::noted(Change::KeyCreated, &made.id, detail)).await;
        }
        KeysCommand::List { json } => list(&key::list(&pool).await.context("failed to list keys")?, json)?,
        KeysCommand::Rotate { id, keep, drawn, json } => {
            let (key, drawn) = drawn_or_new(drawn, Some(&id))?;
            ensure!(drawn.id == id, "this was drawn for the key {}: use `keys draw --id {id}`", drawn.id);
            let made = key::rotate(&pool, &drawn, keep.0).await.context("failed to rotate the key")?;
            show(&Shown { made: &made, key }, json)?;
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

fn id(text: &str) -> Result<String, String> {
    if key::is_id(text) { Ok(text.to_owned()) } else { Err("no key has such an id".to_owned()) }
}

fn draw(id: Option<&str>, json: bool) -> anyhow::Result<ExitCode> {
    let (key, drawn) = key::draw(id)?;
    if json {
        println!("{}", serde_json::json!({"id": drawn.id, "key": key, "drawn": drawn.to_string()}));
        return Ok(ExitCode::SUCCESS);
    }
    println!("{key}");
    let how = id.map_or_else(|| "create NAME --scope …".to_owned(), |id| format!("rotate {id}"));
    eprintln!("This is shown once, and good for nothing yet. To make it known: pulsegate keys {how} --drawn {drawn}");
    Ok(ExitCode::SUCCESS)
}

/// What was drawn elsewhere, or a key that is drawn here.
fn drawn_or_new(drawn: Option<Drawn>, id: Option<&str>) -> anyhow::Result<(Option<String>, Drawn)> {
    Ok(match drawn {
        Some(drawn) => (None, drawn),
        None => key::draw(id).map(|(key, drawn)| (Some(key), drawn))?,
    })
}

/// A key as it was made known, with the key itself where it was drawn here.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    made: &'a Made,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

fn show(shown: &Shown<'_>, json: bool) -> anyhow::Result<()> {
    let Shown { made, key } = shown;
    if json {
        println!("{}", serde_json::to_string_pretty(shown)?);
        return Ok(());
    }
    let end = made.expires_at.map_or_else(|| "for ever".to_owned(), |end| format!("until {}", minute(end)));
    if let Some(key) = key {
        println!("{key}");
        eprint!("This is shown once. ");
    }
    eprintln!("Its id is {}; it is good {end}, on every node in a few seconds.", made.id);
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
