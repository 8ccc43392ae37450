//! How long a statement takes: made from the read models, closed, and read again as it was closed.
//!
//! `PULSEGATE_BENCH_PLAYS` says how many plays (200 000 where absent) over a five-hundredth as many titles, so that
//! 10 000 000 are the month with 20 000 titles that is meant to be read within 3 s, its first byte within 300 ms. The plays
//! are written as the fold would have left them: what is measured is the statement.

use std::time::{Duration, Instant};

use pulsegate_domain::catalog::Catalog;
use pulsegate_domain::event::{CatalogEvent, ContractRegistered, TitleRegistered};
use pulsegate_domain::ids::ContentKind;
use pulsegate_projections::licensing;
use pulsegate_projections::registry::REGISTERED;
use pulsegate_projections::statements::export::{Format, Writer};
use pulsegate_projections::statements::{self, About, Agreements, Recent, Rows};
use pulsegate_projections::testing::on_a_database;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};

const HOLDERS: usize = 50;

fn main() {
    // `cargo test --benches` only asks whether it compiles.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let plays = std::env::var("PULSEGATE_BENCH_PLAYS").ok().and_then(|plays| plays.parse().ok()).unwrap_or(200_000);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(on_a_database(REGISTERED, async |pool| measure(pool, plays).await));
}

async fn measure(pool: &PgPool, plays: i64) {
    let titles = (plays / 500).max(1);
    let begun = Instant::now();
    fill(pool, plays, titles).await;
    println!("{plays} plays over {titles} titles, written in {:.1} s", begun.elapsed().as_secs_f64());
    let catalog = catalog(usize::try_from(titles).expect("a number of titles"));
    let agreements = async || Some(Agreements::of(&catalog, 1));
    let about = About { period: "2026-10".parse().expect("a month"), rights_holder: None };

    let begun = Instant::now();
    let made = statements::provisional(pool, &about, agreements).await.expect("a statement");
    told("made from the read models", begun.elapsed());
    println!("{} rows", made.rows.len());
    again(pool, &catalog, &about).await;
    let begun = Instant::now();
    statements::close(pool, &about, agreements, chrono::Utc::now(), true, async || Ok(Vec::new()))
        .await
        .expect("it is closed");
    told("closed, with being made", begun.elapsed());
    for format in [Format::Json, Format::Csv, Format::Tsv, Format::Parquet] {
        let begun = Instant::now();
        let (head, mut rows) = statements::find(pool, &about, None).await.expect("it is read").expect("it is there");
        let (mut writer, opening) = Writer::begin(format, &about, &head).expect("a file");
        let (mut bytes, mut first) = (opening.len(), None);
        while let Some(page) = rows.next().await {
            bytes += writer.rows(&head, &page.expect("a page")).expect("rows").len();
            first.get_or_insert_with(|| begun.elapsed());
        }
        bytes += writer.end().expect("an end").len();
        told(&format!("{format:?} of what was closed, its first rows"), first.unwrap_or_default());
        told(&format!("{format:?} of what was closed, the whole, {bytes} bytes"), begun.elapsed());
    }
}

/// How long whoever asks next waits for it, who gets the one that is kept.
async fn again(pool: &PgPool, catalog: &Catalog, about: &About) {
    let recent = Recent::default();
    let make = || {
        let (pool, about, agreements) = (pool.clone(), about.clone(), Agreements::of(catalog, 1));
        move || async move { statements::provisional(&pool, &about, async || Some(agreements)).await }
    };
    if recent.get(about, make()).await.is_err() {
        println!("it takes longer than anybody is kept waiting: asked again until it is there");
        while recent.get(about, make()).await.is_err() {}
    }
    let begun = Instant::now();
    let kept = recent.get(about, make()).await.expect("it is kept");
    let (mut writer, opening) = Writer::begin(Format::Json, about, &kept.head).expect("a file");
    let (head, mut rows) = (kept.head.clone(), Rows::of_shared(kept));
    let (mut bytes, mut first) = (opening.len(), None);
    while let Some(page) = rows.next().await {
        bytes += writer.rows(&head, &page.expect("a page")).expect("rows").len();
        first.get_or_insert_with(|| begun.elapsed());
    }
    told("Json of what is kept, its first rows", first.unwrap_or_default());
    told(&format!("Json of what is kept, the whole, {bytes} bytes"), begun.elapsed());
}

fn told(what: &str, took: Duration) {
    println!("{what}: {:.0} ms", took.as_secs_f64() * 1_000.0);
}

async fn fill(pool: &PgPool, plays: i64, titles: i64) {
    // Three territories and three classes of device; twenty minutes each, spread over the month.
    let build = format!("{}_v{}", licensing::REGISTERED.name, licensing::REGISTERED.version);
    let facts = format!(
        "insert into {build}.facts
           (partition, first_offset, place, account_id, title_id, day, territory, device_class, before_ms, watched_ms,
            aged_ms, content_ms, played, intervals)
         select 0, n, 0, 'account-' || n % 100000, 'title-' || n % $2, date '2026-10-01' + (n * 31 / $1)::int,
                (array['DE', 'FR', 'AT'])[1 + n / 7 % 3], (array['tv', 'mobile', 'web'])[1 + n / 11 % 3], 0, 1200000, 0,
                1200000, true, int8multirange(int8range(from_ms, from_ms + 1200000))
         from generate_series(0, $1 - 1) as n, lateral (select 1790812800000 + n * 2678400000 / $1 as from_ms) as begins",
    );
    sqlx::query(AssertSqlSafe(facts)).bind(plays).bind(titles).execute(pool).await.expect("facts are written");
    sqlx::query(
        "insert into pulsegate.projection_offsets (build, topic, partition, next_offset, clock_ms)
         select build, 'playback', 0, $1, 0 from pulsegate.projection_builds where name in ('licensing', 'active_sessions')",
    )
    .bind(plays)
    .execute(pool)
    .await
    .expect("offsets are written");
    sqlx::query(AssertSqlSafe(format!("analyze {build}.facts"))).execute(pool).await.expect("the planner knows");
}

/// Each title with an owner, each owner with a contract.
fn catalog(titles: usize) -> Catalog {
    let mut catalog = Catalog::default();
    for title in 0..titles {
        catalog.apply(CatalogEvent::TitleRegistered(TitleRegistered {
            title_id: format!("title-{title}").parse().expect("an id"),
            name: String::new(),
            content_kind: ContentKind::Vod,
            rights_holder_id: format!("holder-{}", title % HOLDERS).parse().expect("an id"),
            runtime_ms: Some(5_400_000),
        }));
    }
    for holder in 0..HOLDERS {
        let contract: ContractRegistered = serde_json::from_value(json!({
            "contract_id": format!("contract-{holder}"), "rights_holder_id": format!("holder-{holder}"),
            "valid_from": "2026-01-01",
            "payment": {"currency": "EUR", "per_view": "0.04", "per_hour": "0.01", "minimum_per_month": "100.00"}
        }))
        .expect("a contract");
        catalog.apply(CatalogEvent::ContractRegistered(contract));
    }
    catalog
}
