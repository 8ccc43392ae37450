//! `pulsegate signals`: what servers saw of players, from their logs.

mod import;
mod progress;
mod reading;
mod report;

use std::process::ExitCode;

use clap::Subcommand;

use self::import::ImportArgs;
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(crate) enum SignalsCommand {
    Import(ImportArgs),
}

/// Runs one of the commands.
pub(crate) async fn run(config: &Config, command: SignalsCommand) -> anyhow::Result<ExitCode> {
    match command {
        SignalsCommand::Import(args) => import::run(config, args).await,
    }
}
