//! A month of plays in the read model's tables, as its fold would have left them, and whose titles they are.

use std::fmt::Write as _;

use pulsegate_projections::licensing;
use sqlx::{AssertSqlSafe, PgPool};

/// The month.
pub(crate) const MONTH: &str = "2026-10";
/// Rights holders, with equally many titles each.
pub(crate) const HOLDERS: usize = 50;

/// Writes so many plays of twenty minutes over so many titles, spread over the month, three territories and three classes
/// of device.
pub(crate) async fn write(pool: &PgPool, plays: i64, titles: usize) -> anyhow::Result<()> {
    let build = build();
    let facts = format!(
        "insert into {build}.facts
           (partition, first_offset, place, account_id, title_id, day, territory, device_class, before_ms, watched_ms,
            aged_ms, content_ms, played, intervals)
         select 0, n, 0, 'account-' || n % 100000, 'title-' || n % $2, date '2026-10-01' + (n * 31 / $1)::int,
                (array['DE', 'FR', 'AT'])[1 + n / 7 % 3], (array['tv', 'mobile', 'web'])[1 + n / 11 % 3], 0, 1200000, 0,
                1200000, true, int8multirange(int8range(from_ms, from_ms + 1200000))
         from generate_series(0, $1 - 1) as n, lateral (select 1790812800000 + n * 2678400000 / $1 as from_ms) as begins"
    );
    sqlx::query(AssertSqlSafe(facts)).bind(plays).bind(i64::try_from(titles)?).execute(pool).await?;
    sqlx::query(
        "insert into pulsegate.projection_offsets (build, topic, partition, next_offset, clock_ms)
         select build, 'playback', 0, $1, 0 from pulsegate.projection_builds where name in ('licensing', 'active_sessions')",
    )
    .bind(plays)
    .execute(pool)
    .await?;
    sqlx::raw_sql(AssertSqlSafe(format!("analyze {build}.facts"))).execute(pool).await?;
    Ok(())
}

/// The schema of the read model.
pub(crate) fn build() -> String {
    format!("{}_v{}", licensing::REGISTERED.name, licensing::REGISTERED.version)
}

/// The titles, each with an owner, as `pulsegate titles import` reads them.
pub(crate) fn titles_csv(titles: usize) -> String {
    let mut csv = "title_id,name,content_kind,rights_holder_id,runtime_ms\n".to_owned();
    for title in 0..titles {
        writeln!(csv, "title-{title},Title {title},vod,holder-{},5400000", title % HOLDERS).expect("text takes it");
    }
    csv
}

/// The contracts, one an owner, as `pulsegate contracts import` reads them.
pub(crate) fn contracts_csv() -> String {
    let mut csv = "contract_id,rights_holder_id,valid_from,currency,per_view,per_hour,minimum_per_month\n".to_owned();
    for holder in 0..HOLDERS {
        writeln!(csv, "contract-{holder},holder-{holder},2026-01-01,EUR,0.04,0.01,100.00").expect("text takes it");
    }
    csv
}
