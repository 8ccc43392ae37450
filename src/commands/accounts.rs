//! `pulsegate accounts`: forgetting one, and who was forgotten.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use pulsegate_domain::event::Change;
use pulsegate_domain::ids::AccountId;
use pulsegate_privacy::Forgotten;
use pulsegate_projections::forget::{self, Gone, Report};
use pulsegate_projections::registry::REGISTERED;

use super::{EXIT_CONFIGURATION, audit, serve};
use crate::config::Config;

/// Wrong usage.
const EXIT_USAGE: u8 = 2;

#[derive(Debug, Subcommand)]
pub(crate) enum AccountsCommand {
    /// Forget an account: what it wrote can't be read any more, and no read model names it; numbers stay
    Forget {
        /// The account
        id: AccountId,
        /// Without asking
        #[arg(long)]
        yes: bool,
        /// What was done as JSON
        #[arg(long)]
        json: bool,
    },
    /// Who was forgotten and when: what stands in their place, since nobody knows who they were
    Forgotten {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs one of the commands.
pub(crate) async fn run(config: &Config, command: AccountsCommand) -> anyhow::Result<ExitCode> {
    match command {
        AccountsCommand::Forget { id, yes, json } => forget_one(config, id, yes, json).await,
        AccountsCommand::Forgotten { json } => forgotten(config, json).await,
    }
}

async fn forget_one(config: &Config, account: AccountId, yes: bool, json: bool) -> anyhow::Result<ExitCode> {
    let Some(master) = &config.privacy_key else {
        eprintln!(
            "pulsegate: PULSEGATE_PRIVACY_KEY: must be set to forget an account, here and for whoever folds the log; \
             see docs/privacy.md"
        );
        return Ok(ExitCode::from(EXIT_CONFIGURATION));
    };
    if !yes && !confirmed(&account)? {
        eprintln!("pulsegate: nothing was done; `--yes` says that it is meant");
        return Ok(ExitCode::from(EXIT_USAGE));
    }
    let pool = serve::pool(config)?;
    let who = master.who(account.as_str().as_bytes());
    let gone = Gone { account, who };
    let is_new = forget::destroy(&gone, master, &pool).await.context("failed to destroy the account's key")?;
    // A database that is made anew must learn it from the log, so without this it isn't done. Doing it twice is noted
    // twice, which changes nothing.
    let noted = audit::noted(Change::AccountForgotten, who.pseudonym().as_str(), None);
    audit::append(config, "accounts", noted)
        .await
        .context("the account's key is destroyed, but that can't be noted in the log yet: run it again")?;
    let report = forget::clear(REGISTERED, &gone, master, is_new, &pool)
        .await
        .context("the account's key is destroyed, but its rows are not all cleared yet: run it again")?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        show(&report);
    }
    Ok(if report.left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn confirmed(account: &AccountId) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    eprint!("Forget {account}? What it wrote can never be read again. Type its id: ");
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim() == account.as_str())
}

fn show(report: &Report) {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(["of", "table", "rows"]);
    for cleared in &report.cleared {
        table.add_row([&cleared.of, &cleared.table, &cleared.rows.to_string()]);
    }
    println!("{table}");
    let when = if report.is_new { "its key is destroyed" } else { "its key was destroyed before" };
    println!("{when}; in its place stands {}", report.pseudonym);
    for build in &report.left {
        println!(
            "{build} is left as it is: `pulsegate projection rebuild` makes one without the account, `retire` takes this \
             one away"
        );
    }
}

async fn forgotten(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let listed = Forgotten::list(&serve::pool(config)?).await.context("failed to read who was forgotten")?;
    if json {
        println!("{}", serde_json::to_string_pretty(&listed)?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(["in its place", "forgotten"]);
    for one in listed {
        table.add_row([one.pseudonym.to_string(), one.forgotten_at.format("%Y-%m-%d %H:%M:%S").to_string()]);
    }
    println!("{table}");
    Ok(ExitCode::SUCCESS)
}
