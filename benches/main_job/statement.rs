//! `statement`: how long a month's statement takes, and what else is added up over the same plays.

use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use pulsegate_projections::licensing;
use reqwest::Method;
use sqlx::PgPool;

use crate::deployment::Deployment;
use crate::http::{Connection, request};
use crate::month_of_plays::{self, HOLDERS, MONTH};
use crate::node::{Beside, Node, SOON, wait_until};
use crate::report::{Row, Target};
use crate::scale::{Scale, median};

/// A title has so many plays.
const PLAYS_OF_A_TITLE: i64 = 500;
/// So many plays are meant to be answered for within the two that follow.
const PLAYS_MEANT: i64 = 10_000_000;
const FIRST_BYTE_MAX_MS: f64 = 300.0;
const WHOLE_MAX_MS: f64 = 3_000.0;

/// What is asked beside, of a node that has been asked before.
const ALSO: [&str; 11] = [
    "/v1/statements/2026-10",
    "/v1/statements/2026-10?format=csv",
    "/v1/statements/2026-10?format=tsv",
    "/v1/statements/2026-10?format=parquet",
    "/v1/statements/2026-10?rights_holder=holder-7",
    "/v1/statements/2026-Q4",
    "/v1/reports/usage?period=2026-10&by=day",
    "/v1/reports/usage?period=2026-10&by=title",
    "/v1/reports/usage?period=2026-10&by=territory",
    "/v1/reports/usage?period=2026-10&by=device_class",
    "/v1/reports/licensing?period=2026-10",
];

/// The month's statement as JSON over HTTP, as the first who asks a node gets it: made for them, nothing kept.
pub(crate) async fn measure(scale: &Scale) -> anyhow::Result<Vec<Row>> {
    let plays = scale.plays()?;
    let titles = usize::try_from(plays / PLAYS_OF_A_TITLE)?.max(HOLDERS);
    Deployment::scoped(async |deployment| {
        import(deployment, "titles", &month_of_plays::titles_csv(titles))?;
        import(deployment, "contracts", &month_of_plays::contracts_csv())?;
        // One a round: each has never been asked. They read the log before the plays are written, which no log holds.
        let mut nodes = Vec::new();
        for _ in 0..scale.rounds {
            let node = Node::serving(deployment, Beside::Nothing).await?;
            knows_the_catalog(&node, titles).await?;
            nodes.push(node);
        }
        let pool = deployment.pool(4)?;
        let begun = Instant::now();
        month_of_plays::write(&pool, plays, titles).await?;
        let (written, begun) = (begun.elapsed(), Instant::now());
        let packed = licensing::pack(&pool, "2026-10-31".parse()?).await?;
        eprintln!(
            "  {plays} plays over {titles} titles written in {:.0} s, packed in {:.0} s: {packed:?}",
            written.as_secs_f64(),
            begun.elapsed().as_secs_f64()
        );
        sizes(&pool).await?;
        let client = reqwest::Client::new();
        let (mut first_ms, mut whole_ms, mut bytes) = (Vec::new(), Vec::new(), 0);
        for node in &nodes {
            let answered = ask(&client, node, Method::GET, &format!("/v1/statements/{MONTH}")).await?;
            eprintln!("  the month, made: {answered}");
            first_ms.push(answered.first_ms);
            whole_ms.push(answered.whole_ms);
            bytes = answered.bytes;
        }
        let node = nodes.first().context("there is a round")?;
        for path in ALSO {
            eprintln!("  {path}: {}", ask(&client, node, Method::GET, path).await?);
        }
        let closed = ask(&client, node, Method::POST, &format!("/v1/statements/{MONTH}/close")).await?;
        eprintln!("  closed: {closed}");
        for path in &ALSO[..4] {
            eprintln!("  {path} as it was closed: {}", ask(&client, node, Method::GET, path).await?);
        }
        for node in nodes {
            node.stop().await?;
        }
        let target = |most| if plays < PLAYS_MEANT { Target::None } else { Target::Below(most) };
        let how = format!("JSON over HTTP, {bytes} bytes, of {plays} plays over {titles} titles, from packed days");
        Ok(vec![
            Row::new("statement_first_byte", median(first_ms), "ms", target(FIRST_BYTE_MAX_MS)).note(&how),
            Row::new("statement_whole", median(whole_ms), "ms", target(WHOLE_MAX_MS)),
        ])
    })
    .await
}

/// How long the first byte of a body took, and the last.
#[derive(Debug)]
struct Answered {
    first_ms: f64,
    whole_ms: f64,
    bytes: usize,
}

impl std::fmt::Display for Answered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "first byte {:.0} ms, all {} bytes {:.0} ms", self.first_ms, self.bytes, self.whole_ms)
    }
}

async fn ask(client: &reqwest::Client, node: &Node, method: Method, path: &str) -> anyhow::Result<Answered> {
    let begun = Instant::now();
    let asked = client.request(method, format!("http://{}{path}", node.address)).send().await?;
    let status = asked.status();
    anyhow::ensure!(status.is_success(), "{path} was answered {status} {}", asked.text().await?);
    let mut answer = asked;
    let (mut first, mut bytes) = (None, 0);
    while let Some(piece) = answer.chunk().await? {
        first.get_or_insert_with(|| begun.elapsed());
        bytes += piece.len();
    }
    let ms = |took: Duration| took.as_secs_f64() * 1_000.0;
    let whole = begun.elapsed();
    Ok(Answered { first_ms: ms(first.unwrap_or(whole)), whole_ms: ms(whole), bytes })
}

fn import(deployment: &Deployment, what: &str, csv: &str) -> anyhow::Result<()> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(csv.as_bytes())?;
    let imported = deployment.command(what).arg("import").arg(file.path()).stdout(Stdio::null()).status()?;
    anyhow::ensure!(imported.success(), "pulsegate {what} import ended with {imported}");
    Ok(())
}

async fn knows_the_catalog(node: &Node, titles: usize) -> anyhow::Result<()> {
    let mut connection = Connection::open(node.address).await?;
    for path in [format!("/v1/titles/title-{}", titles - 1), format!("/v1/contracts/contract-{}/versions", HOLDERS - 1)]
    {
        let asked = request("GET", &path, "");
        wait_until(&mut connection, &path, &asked, |status, _| status == 200, SOON).await?;
    }
    Ok(())
}

async fn sizes(pool: &PgPool) -> sqlx::Result<()> {
    let sizes: Vec<(String, i64)> = sqlx::query_as(
        "select relname::text, pg_total_relation_size(oid) from pg_class
         where relnamespace = $1::regnamespace and relkind = 'r' order by 1",
    )
    .bind(month_of_plays::build())
    .fetch_all(pool)
    .await?;
    for (table, bytes) in sizes {
        eprintln!("  {table}: {} MB with its indexes", bytes / 1_000_000);
    }
    Ok(())
}
