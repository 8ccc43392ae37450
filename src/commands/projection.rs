//! `pulsegate projection`: which read models there are, how far they are, and building them anew.

mod bars;
mod rebuild;
mod show;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Subcommand;
use pulsegate_domain::event::Change;
use pulsegate_privacy::Forgotten;
use pulsegate_projections::catalog_view::CatalogView;
use pulsegate_projections::registry::{self, Dependencies, Registered};
use pulsegate_projections::{builds, forget, status, switch, verify};
use sqlx::PgPool;

use super::{audit, serve};
use crate::config::Config;

/// How long a command waits until it knows the catalog.
const CATALOG_WAIT: std::time::Duration = std::time::Duration::from_secs(20);

#[derive(Debug, Subcommand)]
pub(crate) enum ProjectionCommand {
    /// Every projection, with its builds and what it folds
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// How far each partition is, and what was done to the projection
    Status {
        /// Only this projection
        name: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Fold all of history into new tables beside the live ones; stopped, it goes on where it was
    Rebuild(rebuild::RebuildArgs),
    /// Compare a shadow with the live build, row for row, at one offset vector
    Verify {
        /// The projection
        name: String,
        /// This shadow; else the newest one
        #[arg(long)]
        build: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show readers the verified shadow, in one transaction
    Switch {
        /// The projection
        name: String,
        /// This shadow; else the newest one
        #[arg(long)]
        build: Option<String>,
        /// Even if it lags or was not verified, because of this; kept in the history
        #[arg(long, value_name = "REASON")]
        force: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show readers the build again that was live before, in one transaction
    Rollback {
        /// The projection
        name: String,
        /// Even if it lags, because of this; kept in the history
        #[arg(long, value_name = "REASON")]
        force: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Let nobody fold it until it is resumed
    Pause {
        /// The projection
        name: String,
    },
    /// Let it be folded again
    Resume {
        /// The projection
        name: String,
    },
    /// Take a build's tables away for good: a shadow, a copy, or what was live long ago
    Retire {
        /// The projection
        name: String,
        /// The build
        build: String,
    },
}

/// Runs one of the commands.
pub(crate) async fn run(config: &Config, command: ProjectionCommand) -> anyhow::Result<ExitCode> {
    let pool = serve::pool(config)?;
    match command {
        ProjectionCommand::List { json } => show::list(&known(config, &pool).await?, json)?,
        ProjectionCommand::Status { name, json } => {
            if let Some(name) = &name {
                find(name)?;
            }
            let mut known = known(config, &pool).await?;
            known.retain(|one| name.as_ref().is_none_or(|name| *name == one.name));
            show::status(&known, json)?;
        }
        ProjectionCommand::Rebuild(args) => return rebuild::run(config, args).await,
        ProjectionCommand::Verify { name, build, json } => {
            let registered = find(&name)?;
            let with = dependencies(config).await?;
            let verdict = verify::verify(registered, build.as_deref(), &with)
                .await
                .with_context(|| format!("failed to verify {name}"))?;
            show::verdict(&verdict, json)?;
            return Ok(if verdict.same { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        ProjectionCommand::Switch { name, build, force, json } => {
            let switched = switch::switch(&pool, find(&name)?, build.as_deref(), force.as_deref())
                .await
                .with_context(|| format!("failed to switch {name}"))?;
            note(config, Change::ProjectionSwitched, &name, &switched).await;
            show::switched(&switched, json)?;
        }
        ProjectionCommand::Rollback { name, force, json } => {
            let switched = switch::rollback(&pool, find(&name)?, force.as_deref())
                .await
                .with_context(|| format!("failed to roll {name} back"))?;
            note(config, Change::ProjectionRolledBack, &name, &switched).await;
            show::switched(&switched, json)?;
        }
        ProjectionCommand::Pause { name } => match builds::pause(&pool, find(&name)?).await? {
            0 => println!("{name} was paused already"),
            _ => println!("{name} is paused: runners stop within seconds"),
        },
        ProjectionCommand::Resume { name } => match builds::resume(&pool, find(&name)?).await? {
            0 => println!("{name} was not paused"),
            _ => println!("{name} is folded again"),
        },
        ProjectionCommand::Retire { name, build } => {
            builds::retire(&pool, find(&name)?, &build).await.with_context(|| format!("failed to retire {build}"))?;
            println!("{build} is gone");
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn note(config: &Config, change: Change, name: &str, switched: &switch::Switched) {
    let detail = Some(format!("{} in the place of {}", switched.live, switched.before));
    audit::note(config, "projection", audit::noted(change, name, detail)).await;
}

async fn known(config: &Config, pool: &PgPool) -> anyhow::Result<Vec<pulsegate_projections::ProjectionStatus>> {
    status(pool, &config.kafka, &config.topics)
        .await
        .context("failed to read the projections (is the database migrated? `pulsegate migrate`)")
}

/// The projection of a name.
pub(super) fn find(name: &str) -> anyhow::Result<&'static Registered> {
    registry::find(name).with_context(|| {
        let known: Vec<_> = registry::REGISTERED.iter().map(|known| known.name).collect();
        format!("there is no projection {name:?}; there are: {}", known.join(", "))
    })
}

/// What a command needs that folds: it reads the catalog to its end.
pub(super) async fn dependencies(config: &Config) -> anyhow::Result<Dependencies> {
    let catalog = CatalogView::start(&serve::reader_settings(config)).context("failed to read the catalog")?;
    if !catalog.caught_up(CATALOG_WAIT).await {
        anyhow::bail!(
            "failed to read the catalog: Kafka does not answer, or the deployment's topics are not there yet \
             (`pulsegate up` makes them)"
        );
    }
    let (pool, kafka, topics) = (serve::pool(config)?, config.kafka.clone(), config.topics.clone());
    let known = catalog.read(|catalog| catalog.forgotten().clone());
    forget::restore(&known, &pool).await.context("failed to bring who was forgotten into the database")?;
    let forgotten = Forgotten::new(config.privacy_key.clone());
    Ok(Dependencies { forgotten, ..Dependencies::new(pool, kafka, topics, Arc::new(catalog)) })
}
