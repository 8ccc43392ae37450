//! `pages`: how long a page of the dashboard waits for its data, over a month of clickstream.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future::try_join_all;
use sqlx::PgPool;

use crate::deployment::Deployment;
use crate::node::{Beside, Node};
use crate::past_clicks;
use crate::report::{Row, Target};
use crate::scale::Scale;

/// What the explorer asks whenever it is opened, beside its question.
const BESIDE: [&str; 5] =
    ["/v1/clickstream/names", "/v1/clickstream/paths", "/v1/clickstream/questions", "/v1/projections", "/v1/me"];
/// What people ask, as they would.
const QUESTIONS: [&str; 12] = [
    "trend?period=30d&by=hour",
    "trend?period=30d&by=day&where=$.player.version=3.1",
    "trend?period=30d&account=account-7&where=$.player.version=3.1",
    "breakdown?period=30d&path=$.player.version",
    "breakdown?period=30d&path=$.title&name=play",
    "breakdown?period=1d&path=$.title",
    "sessions?period=30d",
    "sessions?period=7d&by=session_id",
    "funnel?period=30d&step=search&step=play&step=finish&window=1d",
    "funnel?period=30d&step=open&step=search&step=play&where.3=$.player.version=3.1&window=2h",
    "retention?period=30d&first=open",
    "retention?period=30d&first=open&back=play",
];
/// Somebody's day, and events as they came in.
const LISTS: [&str; 4] =
    ["?limit=100", "?name=share&limit=100", "?path=$.player.version ? (@ == \"4.0\")", "?account=account-7"];
/// So many events are meant to be answered for within [`P95_MAX_MS`].
const EVENTS_MEANT: i64 = 50_000_000;
const P95_MAX_MS: f64 = 1_000.0;

/// All that a page asks, at once, over HTTP, until the last byte of the last answer.
pub(crate) async fn measure(scale: &Scale) -> anyhow::Result<Vec<Row>> {
    let events = scale.clicks()?;
    Deployment::scoped(async |deployment| {
        let node = Node::serving(deployment, Beside::Nothing).await?;
        let pool = deployment.pool(4)?;
        let begun = Instant::now();
        past_clicks::write(&pool, events).await?;
        eprintln!("  {events} events over 30 days, written in {:.0} s", begun.elapsed().as_secs_f64());
        sizes(&pool).await?;
        let mut pages: Vec<_> = QUESTIONS
            .map(|question| {
                let mut asked = vec![format!("/v1/clickstream/{question}")];
                asked.extend(BESIDE.map(str::to_owned));
                (question.to_owned(), asked)
            })
            .into();
        pages.extend(LISTS.map(|list| (format!("events{list}"), vec![format!("/v1/clickstream{list}")])));
        let session = a_session(&pool).await?;
        for whose in ["account=account-7".to_owned(), format!("session={session}")] {
            pages.push((format!("timeline?{whose}"), vec![format!("/v1/clickstream/timeline?{whose}")]));
        }
        let client = reqwest::Client::new();
        let (mut slowest, mut slowest_ms) = (String::new(), 0.0);
        for (what, asked) in pages {
            let mut took = Vec::new();
            for _ in 0..scale.pages {
                took.push(opened(&client, &node, &asked).await.with_context(|| what.clone())?);
            }
            let first_ms = ms(took[0]);
            took.sort_unstable();
            let at = |percent: usize| ms(took[(took.len() * percent / 100).min(took.len() - 1)]);
            eprintln!("  {what}: p50 {:.0} ms, p95 {:.0} ms, the first {first_ms:.0} ms", at(50), at(95));
            if at(95) > slowest_ms {
                (slowest, slowest_ms) = (what, at(95));
            }
        }
        node.stop().await?;
        let target = if events < EVENTS_MEANT { Target::None } else { Target::Below(P95_MAX_MS) };
        let how = format!(
            "over HTTP, all that a page asks at once, of {events} events, {} times each; the slowest of {} pages: {slowest}",
            scale.pages,
            QUESTIONS.len() + LISTS.len() + 2
        );
        Ok(vec![Row::new("pages_p95", slowest_ms, "ms", target).note(&how)])
    })
    .await
}

async fn opened(client: &reqwest::Client, node: &Node, asked: &[String]) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let answers = asked.iter().map(async |path| {
        let answer = client.get(format!("http://{}{path}", node.address)).send().await?.error_for_status()?;
        anyhow::Ok(answer.bytes().await?)
    });
    try_join_all(answers).await?;
    Ok(begun.elapsed())
}

async fn a_session(pool: &PgPool) -> sqlx::Result<String> {
    sqlx::query_scalar("select session_id::text from clickstream_v2.sample_256 limit 1").fetch_one(pool).await
}

async fn sizes(pool: &PgPool) -> sqlx::Result<()> {
    let sizes: Vec<(String, i64)> = sqlx::query_as(
        "select regexp_replace(relname, '_[0-9]{8}$', ''), sum(pg_total_relation_size(oid))::bigint from pg_class
         where relnamespace = 'clickstream_v2'::regnamespace and relkind = 'r' group by 1 order by 1",
    )
    .fetch_all(pool)
    .await?;
    for (table, bytes) in sizes {
        eprintln!("  {table}: {} MB with its indexes", bytes / 1_000_000);
    }
    Ok(())
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1_000.0
}
