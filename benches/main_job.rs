//! The main job and the projections, measured: `cargo bench -p pulsegate --bench main_job [-- NAME] [--quick]`.
//!
//! Starts deployments of its own over the services that `PULSEGATE_KAFKA_BOOTSTRAP` and `PULSEGATE_DATABASE_URL` name,
//! and the real `pulsegate up` on them. A figure says nothing without the machine it was taken on, so each stands beside
//! the raw limit of its parts, taken in the same run, in turns, medians of three. Prints a table and writes
//! `target/bench.json`.
//!
//! Client, server, broker and database share the machine: what the client spends, the others lack. So it is raw HTTP/1.1
//! over sockets, with requests that were built before.

#[path = "main_job/appended.rs"]
mod appended;
#[path = "main_job/bare_copy.rs"]
mod bare_copy;
#[path = "main_job/checks.rs"]
mod checks;
#[path = "main_job/cluster.rs"]
mod cluster;
#[path = "main_job/deployment.rs"]
mod deployment;
#[path = "main_job/events.rs"]
mod events;
#[path = "main_job/flow.rs"]
mod flow;
#[path = "main_job/heartbeats.rs"]
mod heartbeats;
#[path = "main_job/history.rs"]
mod history;
#[path = "main_job/http.rs"]
mod http;
#[path = "main_job/lag.rs"]
mod lag;
#[path = "main_job/latencies.rs"]
mod latencies;
#[path = "main_job/load.rs"]
mod load;
#[path = "main_job/machine.rs"]
mod machine;
#[path = "main_job/memory.rs"]
mod memory;
#[path = "main_job/month_of_plays.rs"]
mod month_of_plays;
#[path = "main_job/node.rs"]
mod node;
#[path = "main_job/numbered.rs"]
mod numbered;
#[path = "main_job/pacer.rs"]
mod pacer;
#[path = "main_job/pages.rs"]
mod pages;
#[path = "main_job/past_clicks.rs"]
mod past_clicks;
#[path = "main_job/plain.rs"]
mod plain;
#[path = "main_job/policy_try.rs"]
mod policy_try;
#[path = "main_job/producer.rs"]
mod producer;
#[path = "main_job/raw_server.rs"]
mod raw_server;
#[path = "main_job/reading.rs"]
mod reading;
#[path = "main_job/rebuilds.rs"]
mod rebuilds;
#[path = "main_job/recount.rs"]
mod recount;
#[path = "main_job/report.rs"]
mod report;
#[path = "main_job/restart.rs"]
mod restart;
#[path = "main_job/scale.rs"]
mod scale;
#[path = "main_job/soak.rs"]
mod soak;
#[path = "main_job/starts.rs"]
mod starts;
#[path = "main_job/statement.rs"]
mod statement;
#[path = "main_job/switches.rs"]
mod switches;
#[path = "main_job/ten_rules.rs"]
mod ten_rules;
#[path = "main_job/traced.rs"]
mod traced;
#[path = "main_job/viewers.rs"]
mod viewers;
#[path = "main_job/visible.rs"]
mod visible;
#[path = "main_job/waiting.rs"]
mod waiting;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use clap::Parser;

use crate::report::{Report, Row};
use crate::scale::Scale;

/// What the product allocates with, so that no limit has a worse one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the main job and the projections against the raw limits of their parts.
#[derive(Debug, Parser)]
#[command(name = "main_job")]
struct Args {
    /// Only the measures whose name holds this
    name: Option<String>,
    /// Few, short rounds: to try the bench, not to read its figures
    #[arg(long)]
    quick: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// What can be measured by itself; each makes one row or a few.
#[derive(Clone, Copy, Debug)]
enum Measure {
    HeartbeatsSingle,
    HeartbeatsBatched,
    BlockCheck,
    BlockCheckTenRules,
    StartOwnOffset,
    Visible,
    FoldHistory,
    RestartReady,
    Memory,
    RebuildAppend,
    RebuildKeyed,
    LiveLag,
    Switch,
    Waiting,
    PolicyTry,
    Cluster,
    NodeLoss,
    Traced,
    Pages,
    Statement,
    Soak,
}

impl Measure {
    const ALL: [Self; 21] = [
        Self::HeartbeatsSingle,
        Self::HeartbeatsBatched,
        Self::BlockCheck,
        Self::BlockCheckTenRules,
        Self::StartOwnOffset,
        Self::Visible,
        Self::FoldHistory,
        Self::RestartReady,
        Self::Memory,
        Self::RebuildAppend,
        Self::RebuildKeyed,
        Self::LiveLag,
        Self::Switch,
        Self::Waiting,
        Self::PolicyTry,
        Self::Cluster,
        Self::NodeLoss,
        Self::Traced,
        Self::Pages,
        Self::Statement,
        Self::Soak,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::HeartbeatsSingle => "heartbeats_single",
            Self::HeartbeatsBatched => "heartbeats_batched",
            Self::BlockCheck => "block_check",
            Self::BlockCheckTenRules => "block_check_ten_rules",
            Self::StartOwnOffset => "start_own_offset",
            Self::Visible => "visible",
            Self::FoldHistory => "fold_history",
            Self::RestartReady => "restart_ready",
            Self::Memory => "memory",
            Self::RebuildAppend => "rebuild_append",
            Self::RebuildKeyed => "rebuild_keyed",
            Self::LiveLag => "live_lag",
            Self::Switch => "switch",
            Self::Waiting => "waiting",
            Self::PolicyTry => "policy_try",
            Self::Cluster => "cluster",
            Self::NodeLoss => "node_loss",
            Self::Traced => "traced",
            Self::Pages => "pages",
            Self::Statement => "statement",
            Self::Soak => "soak",
        }
    }

    async fn take(self, scale: &Scale) -> anyhow::Result<Vec<Row>> {
        match self {
            Self::HeartbeatsSingle => heartbeats::single(scale).await,
            Self::HeartbeatsBatched => heartbeats::batched(scale).await,
            Self::BlockCheck => checks::measure(scale).await,
            Self::BlockCheckTenRules => ten_rules::measure(scale).await,
            Self::StartOwnOffset => starts::measure(scale).await,
            Self::Visible => visible::measure(scale).await,
            Self::FoldHistory => history::measure(scale).await,
            Self::RestartReady => restart::measure(scale).await,
            Self::Memory => memory::measure(scale).await,
            Self::RebuildAppend => rebuilds::append(scale).await,
            Self::RebuildKeyed => rebuilds::keyed(scale).await,
            Self::LiveLag => lag::measure(scale).await,
            Self::Switch => switches::measure(scale).await,
            Self::Waiting => waiting::measure(scale).await,
            Self::PolicyTry => policy_try::measure(scale).await,
            Self::Cluster => cluster::measure(scale).await,
            Self::NodeLoss => cluster::node_loss(scale).await,
            Self::Traced => traced::measure(scale).await,
            Self::Pages => pages::measure(scale).await,
            Self::Statement => statement::measure(scale).await,
            Self::Soak => soak::measure(scale).await,
        }
    }
}

fn main() -> ExitCode {
    // The limits that serve HTTP are processes of their own, as the server is: this executable again.
    if std::env::args().nth(1).as_deref() == Some(raw_server::COMMAND) {
        return outcome(raw_server::run());
    }
    let args = Args::parse();
    if !args.bench {
        // `cargo test --all-targets` runs every target: minutes of load are not what it asks for.
        println!("main_job: nothing measured; run it by `cargo bench --bench main_job`");
        return ExitCode::SUCCESS;
    }
    // Load has threads of its own; this one only waits for it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.context("failed to start tokio").and_then(|runtime| runtime.block_on(run(&args)));
    outcome(done)
}

fn outcome(done: anyhow::Result<ExitCode>) -> ExitCode {
    done.unwrap_or_else(|error| {
        eprintln!("main_job: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let wanted = args.name.as_deref().unwrap_or_default();
    // One that takes an hour is only taken where it is asked for.
    let is_wanted = |measure: &Measure| match measure {
        Measure::Soak => wanted == measure.name(),
        _ => measure.name().contains(wanted),
    };
    let measures: Vec<_> = Measure::ALL.into_iter().filter(is_wanted).collect();
    if measures.is_empty() {
        let known: Vec<_> = Measure::ALL.iter().map(|measure| measure.name()).collect();
        anyhow::bail!("no measure's name holds {wanted:?}; there are: {}", known.join(", "));
    }
    let scale = if args.quick { Scale::QUICK } else { Scale::FULL };
    let mut report = Report::new(machine::describe());
    for measure in measures {
        let begun = Instant::now();
        eprintln!("{} …", measure.name());
        match measure.take(&scale).await {
            Ok(rows) => report.add(rows),
            Err(error) => report.fail(measure.name(), &error),
        }
        eprintln!("{} took {:.0} s", measure.name(), begun.elapsed().as_secs_f64());
    }
    print!("{report}");
    let path = report.write_json().context("failed to write the rows")?;
    println!("rows: {}", path.display());
    Ok(if report.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
