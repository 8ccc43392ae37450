//! `pulsegate report clickstream`: counts, and questions about what people did.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use pulsegate_projections::clickstream::question::{Mistake, Question};
use pulsegate_projections::clickstream::{
    self, Answer, Counts, CountsQuestion, EVENTS_MAX, EventRow, EventsQuestion, Resolution, SavedName,
};
use pulsegate_projections::period::Period;
use sqlx::PgPool;

use super::show::{self, table};
use super::{Format, MIGRATED};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct ClickstreamArgs {
    #[command(subcommand)]
    question: Option<QuestionCommand>,
    /// A month, 2026-10, a quarter, 2026-Q4, a day, 2026-10-31, or days, 2026-10-01--2026-10-15 (UTC)
    #[arg(long, required = true)]
    period: Option<Period>,
    /// minute, hour or day; what suits the period where absent
    #[arg(long)]
    by: Option<Resolution>,
    /// Only events of one name
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum QuestionCommand {
    #[command(flatten)]
    Ask(AskCommand),
    /// Ask a question that was saved
    Saved {
        /// Its name; without one, all are listed
        name: Option<SavedName>,
        #[command(flatten)]
        format: Format,
    },
    /// The events themselves, newest first, as lines of JSON or as CSV
    Events {
        /// Only events of this name
        #[arg(long)]
        name: Option<String>,
        /// A SQL/JSON path that must find something in the properties, such as '$.price ? (@ > 10)'
        #[arg(long)]
        path: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 1_000)]
        limit: u64,
        /// As comma-separated values
        #[arg(long)]
        csv: bool,
    },
}

#[derive(Debug, Subcommand)]
enum AskCommand {
    /// How many events of each name over time
    Trend {
        /// hour or day
        #[arg(long)]
        by: Option<String>,
        /// How many names are told apart, 1-100
        #[arg(long)]
        top: Option<String>,
        /// Only events of this name; may be said again
        #[arg(long)]
        name: Vec<String>,
        #[command(flatten)]
        about: AboutArgs,
    },
    /// How many events have which value at a path of their properties
    Breakdown {
        /// Such as `$.player.version`, `$.items[0]` or `$."a key. with dots"`
        path: String,
        /// How many values are told apart, 1-100
        #[arg(long)]
        top: Option<String>,
        /// Only events of this name; may be said again
        #[arg(long)]
        name: Vec<String>,
        #[command(flatten)]
        about: AboutArgs,
    },
    /// How many sessions, how long and how rich
    Sessions {
        /// The longest pause within a session, such as 30m
        #[arg(long, conflicts_with = "by_session_id")]
        gap: Option<String>,
        /// Those that the front ends name, rather than by pauses
        #[arg(long)]
        by_session_id: bool,
        /// Only events of this name; may be said again
        #[arg(long)]
        name: Vec<String>,
        #[command(flatten)]
        about: AboutArgs,
    },
    /// How many people did one thing after another
    Funnel {
        /// The names of the steps' events, in order, 2-8
        #[arg(required = true)]
        steps: Vec<String>,
        /// From the first step to the last, such as 30m, 2h or 7d
        #[arg(long)]
        window: Option<String>,
        /// What must hold for one step: 2:$.title=Dune; may be said again
        #[arg(long)]
        step_where: Vec<StepWhere>,
        #[command(flatten)]
        about: AboutArgs,
    },
    /// How many people came back, week by week
    Retention {
        /// The name of the event that makes a newcomer
        first: String,
        /// The name of the event that is coming back; any where absent
        #[arg(long)]
        back: Option<String>,
        #[command(flatten)]
        about: AboutArgs,
    },
}

/// About which events, as for every question.
#[derive(Debug, Args)]
struct AboutArgs {
    /// The newest days of the log, 7d, or a month, a quarter, a day or days (UTC)
    #[arg(long)]
    period: Option<String>,
    /// Only what this account did
    #[arg(long)]
    account: Option<String>,
    /// Only what this visitor did
    #[arg(long)]
    anonymous: Option<String>,
    /// Only this session
    #[arg(long)]
    session: Option<String>,
    /// What must hold: $.player.version=3.1, or $.error for any value; may be said again
    #[arg(long = "where")]
    having: Vec<String>,
    /// Look into all events rather than into a sample where there are many
    #[arg(long)]
    exact: bool,
    #[command(flatten)]
    format: Format,
}

/// `2:$.title=Dune`
#[derive(Clone, Debug)]
struct StepWhere {
    step: u8,
    having: String,
}

impl std::str::FromStr for StepWhere {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (step, having) = text.split_once(':')?;
            Some(Self { step: step.parse().ok()?, having: having.to_owned() })
        };
        read().ok_or("must be a step's number, a colon and what must hold, such as 2:$.title=Dune")
    }
}

/// Names and values, as a query string has them.
#[derive(Default)]
struct Said(Vec<(String, String)>);

impl Said {
    fn all(&mut self, name: &str, values: impl IntoIterator<Item = String>) {
        self.0.extend(values.into_iter().map(|value| (name.to_owned(), value)));
    }
}

impl AskCommand {
    /// What is asked, and how the answer is written.
    fn said(self) -> (&'static str, Said, Format) {
        let mut said = Said::default();
        let (kind, about) = match self {
            Self::Trend { by, top, name, about } => {
                said.all("by", by);
                said.all("top", top);
                said.all("name", name);
                ("trend", about)
            }
            Self::Breakdown { path, top, name, about } => {
                said.all("path", [path]);
                said.all("top", top);
                said.all("name", name);
                ("breakdown", about)
            }
            Self::Sessions { gap, by_session_id, name, about } => {
                said.all("gap", gap);
                said.all("by", by_session_id.then(|| "session_id".to_owned()));
                said.all("name", name);
                ("sessions", about)
            }
            Self::Funnel { steps, window, step_where, about } => {
                said.all("step", steps);
                said.all("window", window);
                for StepWhere { step, having } in step_where {
                    said.all(&format!("where.{step}"), [having]);
                }
                ("funnel", about)
            }
            Self::Retention { first, back, about } => {
                said.all("first", [first]);
                said.all("back", back);
                ("retention", about)
            }
        };
        said.all("period", about.period);
        said.all("account", about.account);
        said.all("anonymous", about.anonymous);
        said.all("session", about.session);
        said.all("where", about.having);
        said.all("exact", about.exact.then(|| "true".to_owned()));
        (kind, said, about.format)
    }
}

pub(super) async fn run(pool: &PgPool, args: ClickstreamArgs) -> anyhow::Result<ExitCode> {
    let Some(command) = args.question else {
        let period = args.period.context("--period is required")?;
        let by = args.by.unwrap_or_else(|| Resolution::of(&period));
        let question = CountsQuestion { period, by, name: args.name };
        let counts = clickstream::counts(pool, &question).await.context(MIGRATED)?;
        args.format.print(&counts, || counts.to_csv(), || show_counts(&counts))?;
        return Ok(ExitCode::SUCCESS);
    };
    match command {
        QuestionCommand::Ask(command) => {
            let (kind, said, format) = command.said();
            match Question::read(kind, &said.0) {
                Ok(question) => answer(pool, &question, format).await?,
                Err(mistakes) => {
                    wrong(&mistakes);
                    return Ok(ExitCode::from(2));
                }
            }
        }
        QuestionCommand::Saved { name: None, format } => {
            let saved = clickstream::saved(pool).await.context(MIGRATED)?;
            let csv = || clickstream::saved_table(&saved).to_csv();
            format.print(&saved, csv, || show_table(&clickstream::saved_table(&saved)))?;
        }
        QuestionCommand::Saved { name: Some(name), format } => {
            let found = clickstream::find_saved(pool, &name).await.context(MIGRATED)?;
            let found = found.with_context(|| format!("no question is saved as {:?}", name.as_str()))?;
            answer(pool, &found.question()?, format).await?;
        }
        QuestionCommand::Events { name, path, limit, csv } => {
            let question = EventsQuestion { name, path, limit: EVENTS_MAX, ..EventsQuestion::default() };
            events(pool, question, limit, csv).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn wrong(mistakes: &[Mistake]) {
    for Mistake { pointer, detail } in mistakes {
        eprintln!("error: {} {detail}", pointer.trim_start_matches('/'));
    }
}

async fn answer(pool: &PgPool, question: &Question, format: Format) -> anyhow::Result<()> {
    let answer = clickstream::ask(pool, question).await.context(MIGRATED)?;
    format.print(&answer, || answer.table().to_csv(), || show_answer(&answer))
}

/// A page after the other, so that a million need no memory.
async fn events(pool: &PgPool, mut question: EventsQuestion, limit: u64, csv: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if csv {
        out.write_all(EventRow::CSV_HEAD.as_bytes())?;
    }
    let mut left = usize::try_from(limit).unwrap_or(usize::MAX);
    while left > 0 {
        let page = clickstream::events(pool, &question).await.context(MIGRATED)?;
        for event in page.events.iter().take(left) {
            let mut line = String::new();
            if csv {
                event.push_csv(&mut line);
            } else {
                line = serde_json::to_string(event)?.replace(['\n', '\r'], " ");
                line.push('\n');
            }
            out.write_all(line.as_bytes())?;
        }
        left = left.saturating_sub(page.events.len());
        let Some(next) = page.next else { break };
        question.before = Some(next);
    }
    Ok(())
}

fn show_counts(counts: &Counts) {
    let mut table = table(&[counts.by.as_str(), "name"], &["events"]);
    for row in &counts.rows {
        table.add_row([row.at.format("%F %H:%MZ").to_string(), row.name.clone(), row.events.to_string()]);
    }
    println!("{table}");
    println!("{} events", counts.events);
    show::as_of(&counts.period, &counts.as_of);
}

fn show_answer(answer: &Answer) {
    show_table(&answer.table());
    match answer.sample {
        Some(sample) => println!(
            "of {} events what one person in {} did was looked into: each figure is off by at most its error, in 95 of \
             100 samples (--exact looks into all, up to 5 000 000)",
            answer.events, sample.one_in
        ),
        None => println!("of {} events, all of them", answer.events),
    }
    let days = match (answer.first, answer.last) {
        (Some(first), Some(last)) => format!("{first} to {last}"),
        _ => "no days".to_owned(),
    };
    show::as_of(&days, &answer.as_of);
}

fn show_table(told: &clickstream::Table) {
    let (texts, numbers) = told.columns.split_at(told.texts);
    let mut shown = table(texts, numbers);
    for row in &told.rows {
        shown.add_row(row);
    }
    println!("{shown}");
}
