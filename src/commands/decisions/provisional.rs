//! `pulsegate decisions provisional`: provisional answers, settled against the log.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use pulsegate_domain::account::{Reason, VerdictDecision};
use pulsegate_domain::ids::AccountId;
use pulsegate_domain::time::Timestamp;
use pulsegate_projections::catalog_view::CatalogView;
use pulsegate_projections::provisional::{self, Settled, Wanted, Wrongly};
use serde::Serialize;

use super::super::serve;
use crate::config::Config;

/// How long the catalog may take to be read.
const CATALOG_WAIT: Duration = Duration::from_secs(30);
/// How long the log may take.
const TIME_MAX: Duration = Duration::from_hours(1);

#[derive(Debug, Args)]
pub(crate) struct ProvisionalArgs {
    /// Given at this time or later, e.g. 2026-11-22T20:00:00Z; an hour ago where absent
    #[arg(long, value_name = "TIME")]
    since: Option<DateTime<Utc>>,
    /// Given before this time
    #[arg(long, value_name = "TIME")]
    until: Option<DateTime<Utc>>,
    /// Only of this account
    #[arg(long)]
    account: Option<AccountId>,
    /// Only those that were wrong
    #[arg(long)]
    wrong: bool,
    /// At most so many, the newest
    #[arg(long, default_value_t = 1_000_000)]
    limit: usize,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What there was, in all.
#[derive(Serialize)]
struct Listing {
    given: usize,
    let_through: usize,
    refused: usize,
    answers: Vec<Settled>,
}

impl Listing {
    fn of(answers: Vec<Settled>, only_wrong: bool) -> Self {
        let count = |wrongly| answers.iter().filter(|answer| answer.wrongly == Some(wrongly)).count();
        Self {
            given: answers.len(),
            let_through: count(Wrongly::LetThrough),
            refused: count(Wrongly::Refused),
            answers: answers.into_iter().filter(|answer| !only_wrong || answer.wrongly.is_some()).collect(),
        }
    }
}

pub(super) async fn run(config: &Config, args: ProvisionalArgs) -> anyhow::Result<ExitCode> {
    let since = args.since.unwrap_or_else(|| Utc::now() - TimeDelta::hours(1));
    if args.until.is_some_and(|until| until <= since) {
        bail!("--until must be later than --since");
    }
    let readers = serve::reader_settings(config);
    let catalog = CatalogView::start(&readers).context("failed to read the catalog")?;
    if !catalog.caught_up(CATALOG_WAIT).await {
        bail!("failed to read the catalog within {} s: is Kafka there?", CATALOG_WAIT.as_secs());
    }
    let wanted = Wanted {
        since: Timestamp::from(since),
        until: args.until.map(Timestamp::from),
        account: args.account,
        limit: args.limit,
        time_max: TIME_MAX,
    };
    let policies = catalog.policies();
    let listed = tokio::task::spawn_blocking(move || {
        let listed = provisional::list(&readers, &policies, &wanted);
        catalog.stop();
        listed
    });
    let answers = listed.await?.context("failed to settle provisional answers")?;
    let listing = Listing::of(answers, args.wrong);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&listing)?);
    } else {
        print(&listing);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(listing: &Listing) {
    if !listing.answers.is_empty() {
        println!("{}", table(&listing.answers));
    }
    println!(
        "{} given; by the log {} let through and {} refused wrongly",
        listing.given, listing.let_through, listing.refused
    );
}

fn table(answers: &[Settled]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_header(["given at", "account", "session", "asked", "at", "given", "the log", "behind", "because"]);
    for answer in answers {
        let session = answer.session_id.map(|id| id.to_string()).unwrap_or_default();
        let place = answer.offset.map_or_else(|| answer.at.to_string(), |at| format!("{}/{at}", answer.partition));
        let log = answer.log.map_or_else(|| "unknown".to_owned(), |word| words(word.decision, word.reason));
        let behind = match (answer.behind_events, answer.behind_ms) {
            (Some(events), Some(ms)) => format!("{events} events, {ms} ms"),
            (None, Some(ms)) => format!("{ms} ms"),
            (_, None) => "nothing known".to_owned(),
        };
        table.add_row([
            answer.given_at.to_string(),
            answer.account_id.to_string(),
            session,
            word(&answer.question),
            place,
            words(answer.given.decision, answer.given.reason),
            log,
            behind,
            word(&answer.because),
        ]);
    }
    table
}

fn words(decision: VerdictDecision, reason: Option<Reason>) -> String {
    match reason {
        Some(reason) => format!("{}: {}", word(&decision), word(&reason)),
        None => word(&decision),
    }
}

/// A word of a closed vocabulary, as it stands in JSON, for people.
fn word(value: &impl Serialize) -> String {
    let word = serde_json::to_value(value).ok();
    word.as_ref().and_then(|word| word.as_str()).unwrap_or_default().replace('_', " ")
}

#[cfg(test)]
mod tests {
    use pulsegate_domain::event::{Because, Question};
    use pulsegate_projections::provisional::Given;

    use super::*;

    fn answer(given: VerdictDecision, wrongly: Option<Wrongly>) -> Settled {
        Settled {
            given_at: Timestamp::from_millis(1_795_380_423_120),
            account_id: "acc".parse().unwrap(),
            session_id: None,
            question: Question::Start,
            because: Because::PartitionMoving,
            node: "10.0.0.5:8080".to_owned(),
            partition: 3,
            offset: Some(1_042),
            at: Timestamp::from_millis(1_795_380_423_100),
            given: Given { decision: given, reason: None },
            log: None,
            wrongly,
            behind_events: Some(2),
            behind_ms: Some(310),
        }
    }

    #[test]
    fn what_was_wrong_is_counted_before_the_rest_is_left_out() {
        let answers = vec![
            answer(VerdictDecision::Allow, None),
            answer(VerdictDecision::Allow, Some(Wrongly::LetThrough)),
            answer(VerdictDecision::Block, Some(Wrongly::Refused)),
        ];
        let listing = Listing::of(answers, true);
        assert_eq!((listing.given, listing.let_through, listing.refused, listing.answers.len()), (3, 1, 1, 2));
        let shown = table(&listing.answers).to_string();
        for said in ["2026-11-22T20:47:03.120Z", "3/1042", "2 events, 310 ms", "partition moving", "unknown"] {
            assert!(shown.contains(said), "{said} is missing in\n{shown}");
        }
    }
}
