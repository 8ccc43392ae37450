//! `pulsegate decisions`: what was decided, and what had to be answered before it could be.

mod provisional;

use std::process::ExitCode;

use clap::Subcommand;

use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(crate) enum DecisionsCommand {
    /// Answers that were given from less than the whole log, beside the log's word
    Provisional(provisional::ProvisionalArgs),
}

/// Runs one of the commands.
pub(crate) async fn run(config: &Config, command: DecisionsCommand) -> anyhow::Result<ExitCode> {
    match command {
        DecisionsCommand::Provisional(args) => provisional::run(config, args).await,
    }
}
