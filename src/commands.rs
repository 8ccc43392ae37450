//! The command line: one binary, a subcommand a role or a task.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 64 wrong configuration.

mod accounts;
mod audit;
mod dead_letters;
mod decisions;
mod doctor;
mod events;
mod history;
mod import;
mod keys;
mod new;
mod policies;
mod projection;
mod report;
mod resend;
mod serve;
mod signals;
mod token;
mod topic_reader;
mod when;

pub(crate) use when::Length;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use pulsegate_service::{health, logs as telemetry, variables};

use crate::config::Config;
use crate::simulate::{self, SimulateArgs};

/// Wrong configuration (`EX_USAGE` of sysexits).
const EXIT_CONFIGURATION: u8 = 64;

/// Playback backend of a media streaming service: who may watch, decided by the order of one log.
#[derive(Debug, Parser)]
#[command(
    name = "pulsegate",
    version,
    about,
    after_help = "Settings are PULSEGATE_… variables; `pulsegate config` prints what is in force."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// All roles in one process
    Up,
    /// The HTTP role alone
    Api,
    /// The projections alone: all, or those named
    Project {
        /// Projections to run
        names: Vec<String>,
    },
    /// Look at projections, build them anew, switch between builds
    #[command(subcommand)]
    Projection(projection::ProjectionCommand),
    /// What could not be folded, and what becomes of it
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLettersCommand),
    /// Look at the log, and send in again what was refused
    #[command(subcommand)]
    Events(events::EventsCommand),
    /// What servers saw of players
    #[command(subcommand)]
    Signals(signals::SignalsCommand),
    /// Why an account was told what it was told, and what it was told before that was known
    #[command(subcommand)]
    Decisions(decisions::DecisionsCommand),
    /// Try a policy on what has happened
    #[command(subcommand)]
    Policies(policies::PoliciesCommand),
    /// Reports: what is owed for, what people did
    #[command(subcommand)]
    Report(report::ReportCommand),
    /// Titles
    #[command(subcommand)]
    Titles(import::TitlesCommand),
    /// Contracts with rights holders
    #[command(subcommand)]
    Contracts(import::ContractsCommand),
    /// Accounts: forgetting one, and who was forgotten
    #[command(subcommand)]
    Accounts(accounts::AccountsCommand),
    /// Who changed what
    Audit(audit::AuditArgs),
    /// Keys by which servers call
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Players' tokens, as a login service issues them: for a laptop
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Viewers over HTTP, seeded, with misbehaving players
    Simulate(SimulateArgs),
    /// A new projection, or a new service
    #[command(subcommand)]
    New(new::NewCommand),
    /// Bring the database's schema up to date
    Migrate,
    /// Look at the deployment from here, and say what is wrong and how to mend it
    Doctor(doctor::DoctorArgs),
    /// Ask the process that runs here, by its admin port, whether it lives: a container's health check
    Health,
    /// Print what is in force, without secrets
    Config {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command that was asked for.
pub(crate) fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    // These need no settings, and wrong ones are no reason not to make it.
    match cli.command {
        Command::New(command) => return new::run(command),
        Command::Token(command) => return token::run(command),
        _ => {}
    }
    let config = match Config::read(&variables::of_environment()) {
        Ok(config) => config,
        Err(problems) => {
            for problem in problems {
                eprintln!("pulsegate: {problem}");
            }
            return Ok(ExitCode::from(EXIT_CONFIGURATION));
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("failed to start tokio")?;
    let code = runtime.block_on(dispatch(cli.command, config));
    // A librdkafka call in a blocking task has its own bound; a stop does not wait for it for long.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    code
}

async fn dispatch(command: Command, config: Config) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up => serve::run(config, serve::Roles { api: true, project: Some(Vec::new()) }).await,
        Command::Api => serve::run(config, serve::Roles { api: true, project: None }).await,
        Command::Project { names } => serve::run(config, serve::Roles { api: false, project: Some(names) }).await,
        Command::Projection(command) => projection::run(&config, command).await,
        Command::DeadLetters(command) => dead_letters::run(&config, command).await,
        Command::Events(command) => events::run(&config, command).await,
        Command::Signals(command) => signals::run(&config, command).await,
        Command::Decisions(command) => decisions::run(&config, command).await,
        Command::Policies(command) => policies::run(&config, command).await,
        Command::Report(command) => report::run(&config, command).await,
        Command::Titles(command) => import::titles(&config, command).await,
        Command::Contracts(command) => import::contracts(&config, command).await,
        Command::Simulate(args) if let Some(back) = args.history => {
            let settings = serve::log_settings(&config);
            simulate::make_history(&args, back, &settings, telemetry::stop_signal()).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Simulate(args) => {
            let report = simulate::run(args, telemetry::stop_signal()).await?;
            Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Accounts(command) => accounts::run(&config, command).await,
        Command::Audit(args) => audit::run(&config, args).await,
        Command::Keys(command) => keys::run(&config, command).await,
        Command::New(command) => new::run(command),
        Command::Token(command) => token::run(command),
        Command::Migrate => {
            let pool = serve::pool(&config)?;
            pulsegate_projections::migrate(&pool).await.context("failed to migrate the database")?;
            println!("the database is up to date");
            Ok(ExitCode::SUCCESS)
        }
        Command::Doctor(args) => doctor::run(&config, &args).await,
        Command::Health => {
            health::check(config.admin_listen)
                .with_context(|| format!("failed to ask PULSEGATE_ADMIN_LISTEN={}", config.admin_listen))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Config { json } => {
            if json {
                println!("{}", serde_json::to_string_pretty(config.shown())?);
            } else {
                for (variable, shown) in config.shown() {
                    println!("{variable}={}  # {}", shown.value, shown.from);
                }
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Who runs this command, as far as this machine says: what stands beside a change that they make.
fn operator() -> String {
    let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok()).unwrap_or_else(|| "?".to_owned());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let plain = |text: &str| text.trim().chars().filter(|letter| !letter.is_control()).take(100).collect::<String>();
    format!("command:{}@{}", plain(&user), plain(&host))
}
