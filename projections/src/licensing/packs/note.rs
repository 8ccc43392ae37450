//! Noting what packs lack, in the transaction that changes it.

use chrono::NaiveDate;
use pulsegate_domain::ids::TitleId;
use sqlx::PgTransaction;

/// The days and titles of which a batch changes facts.
pub(in crate::licensing) type Noted = Vec<(NaiveDate, TitleId)>;

/// Notes those of days that are sealed.
///
/// To be called when facts were written: who seals a day waits for all who have, and lets none write meanwhile. So either
/// this sees the seal, or whoever packs the day sees the facts.
pub(in crate::licensing) async fn note(mut noted: Noted, tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
    let Some(first) = noted.iter().map(|(day, _)| *day).min() else { return Ok(()) };
    let sealed = sqlx::query_scalar::<_, NaiveDate>("select until from sealed where until >= $1")
        .bind(first)
        .fetch_optional(&mut **tx)
        .await?;
    let Some(until) = sealed else { return Ok(()) };
    noted.retain(|(day, _)| *day <= until);
    noted.sort_unstable();
    noted.dedup();
    let (days, titles): (Vec<_>, Vec<_>) =
        noted.into_iter().map(|(day, title)| (day, title.as_str().to_owned())).unzip();
    sqlx::query("insert into changed (day, title_id) select * from unnest($1::date[], $2::text[])")
        .bind(days)
        .bind(titles)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
