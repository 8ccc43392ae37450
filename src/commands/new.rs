//! `pulsegate new`: a folder that compiles, to be filled in.

mod names;
mod projection;
mod service;
mod writing;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use self::names::{ProjectionName, ServiceName};

#[derive(Debug, Subcommand)]
pub(crate) enum NewCommand {
    /// A projection in this pulsegate checkout: tables, fold, flush, reads, tests, its line in the registry
    ///
    /// It compiles at once; its tests fail, and say where, until its fold is written.
    Projection {
        /// Its name, e.g. `viewing_by_genre`: also the schema of its views
        name: ProjectionName,
    },
    /// A stream-processing service of its own on pulsegate's crates: a projection, its tests, settings, health, metrics,
    /// container file, CI script
    Service(ServiceArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ServiceArgs {
    /// Its name, e.g. `churn-signals`: also that of its folder and binary
    name: ServiceName,
    /// The pulsegate checkout that it builds on; where it is left out, the one around this folder
    #[arg(long, value_name = "PULSEGATE_CHECKOUT", conflicts_with = "git")]
    path: Option<PathBuf>,
    /// The git repository of pulsegate that it builds on
    #[arg(long, value_name = "URL")]
    git: Option<String>,
    /// The folder to make it in
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    into: PathBuf,
}

/// Runs one of the commands; no setting matters to them.
pub(crate) fn run(command: NewCommand) -> anyhow::Result<ExitCode> {
    let here = std::env::current_dir().context("failed to read the current folder")?;
    match command {
        NewCommand::Projection { name } => projection::make(&checkout_around(&here)?, &name)?,
        NewCommand::Service(args) => {
            let source = match (args.git, args.path) {
                (Some(url), _) => service::Source::Git(url),
                (None, Some(path)) => service::Source::Path(checkout(&path)?),
                (None, None) => service::Source::Path(
                    checkout_around(&here).context("failed to find what it builds on; say --path or --git")?,
                ),
            };
            service::make(&here.join(args.into), &args.name, &source)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What every checkout has, and nothing else does.
const REGISTRY: &str = "projections/src/registry.rs";

fn checkout(path: &std::path::Path) -> anyhow::Result<PathBuf> {
    let path = path.canonicalize().with_context(|| format!("failed to find {}", path.display()))?;
    anyhow::ensure!(path.join(REGISTRY).is_file(), "{} is no pulsegate checkout: it lacks {REGISTRY}", path.display());
    Ok(path)
}

fn checkout_around(here: &std::path::Path) -> anyhow::Result<PathBuf> {
    let found = here.ancestors().find(|folder| folder.join(REGISTRY).is_file());
    found
        .map(std::path::Path::to_path_buf)
        .with_context(|| format!("neither {} nor a folder above it is a pulsegate checkout", here.display()))
}
