//! `pulsegate doctor`: looks at a deployment from where it runs, and says what is wrong and how to mend it.
//!
//! It changes nothing: it makes no topic and no table, commits no offset and appends nothing.

mod around;
mod certificate;
mod clocks;
mod database;
mod finding;
mod folding;
mod log;
mod privacy;

use std::process::ExitCode;

use clap::Args;
use pulsegate_projections::status;

use self::finding::Report;
use super::serve;
use crate::config::Config;

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Looks at everything, says what it found, and fails if anything is wrong.
pub(crate) async fn run(config: &Config, args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let mut report = Report::default();
    around::settings(config, &mut report);
    let kafka = log::look(config, &mut report).await;
    let pool = serve::pool(config)?;
    let database = database::look(config, &pool, &mut report).await;
    clocks::look(config, kafka, database.is_reachable.then_some(&pool), &mut report).await;
    if database.is_usable {
        privacy::look(config, &pool, &mut report).await;
        match status(&pool, &config.kafka, &config.topics).await {
            Ok(builds) => folding::look(config, builds, kafka, &mut report).await,
            Err(error) => report.unknown("read models", "", format!("the database does not say: {error}")),
        }
    } else {
        report.unknown("read models", "", "the database must be in order first");
    }
    around::certificates(config, &mut report);
    around::processes(config, &mut report).await;
    report.show(args.json)?;
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
