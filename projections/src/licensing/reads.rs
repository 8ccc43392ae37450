//! The report: what is owed for, a row for each contract, title and territory.

mod packed;

use pulsegate_domain::ids::{RightsHolderId, Territory};
use pulsegate_domain::topic::Topic;
use pulsegate_domain::watch_time::VIEW_THRESHOLD_MS;
use serde::Serialize;
use sqlx::{PgPool, PgTransaction};

use super::packs::Packs;
use super::{REGISTERED, Terms};
use crate::csv;
use crate::live::{self, AsOf, ReadError};
use crate::period::Period;

/// Most rows of one report: more than any memory here should hold are asked for by rights holder or territory.
pub const ROWS_MAX: usize = 500_000;

/// What a report is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Which days.
    pub period: Period,
    /// Only what is owed to one.
    pub rights_holder: Option<RightsHolderId>,
    /// Only what was watched in one.
    pub territory: Option<Territory>,
}

/// A report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The period, as it was asked for.
    pub period: String,
    /// In the order of rights holder, contract, title and territory; what has none comes last.
    pub rows: Vec<Row>,
    /// Sums.
    pub totals: Totals,
    /// Sessions of which only servers told, all over the period whatever was asked for: they have no watch time.
    pub inferred_sessions: i64,
    /// What it rests on.
    pub as_of: Vec<AsOf>,
}

/// What is owed for one title in one territory under one contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Row {
    /// The period, as it was asked for.
    pub period: String,
    /// To whom; `null` where the title isn't in the catalog.
    pub rights_holder_id: Option<String>,
    /// Under which contract; `null` where none was in force.
    pub contract_id: Option<String>,
    /// For which title.
    pub title_id: String,
    /// Where.
    pub territory: String,
    /// Sessions that began to play.
    pub plays: i64,
    /// Sessions whose watched time reached the contract's threshold.
    pub qualified_views: i64,
    /// Watched time.
    pub watched_ms: i64,
    /// The part of it that arrived late.
    pub aged_ms: i64,
    /// Content that its session had not seen before.
    pub content_ms: i64,
    /// Accounts that watched or began to play.
    pub distinct_accounts: i64,
    /// Most sessions that watched at one instant.
    pub peak_concurrent: i64,
}

/// Sums of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Over the rows: what two contracts are in force for counts twice.
    pub of_rows: OfRows,
    /// Over what was watched: each play once, however many contracts are in force for it.
    pub of_plays: OfPlays,
}

/// Sums over the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "as in a row")]
pub struct OfRows {
    pub plays: i64,
    pub qualified_views: i64,
    pub watched_ms: i64,
    pub aged_ms: i64,
    pub content_ms: i64,
}

/// Sums over what was watched; when a view is qualified only a contract says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "as in a row")]
pub struct OfPlays {
    pub plays: i64,
    pub watched_ms: i64,
    pub aged_ms: i64,
    pub content_ms: i64,
    pub distinct_accounts: i64,
}

/// Makes a report; `terms` says what was agreed on for titles.
pub async fn report(
    pool: &PgPool,
    question: &Question,
    terms: impl FnOnce(&[String]) -> Terms + Send,
) -> Result<Report, ReadError> {
    let Some((mut tx, mut as_of)) = live::begin(pool, &REGISTERED).await? else {
        return Ok(Report::empty(question));
    };
    let packs = Packs::open(question.period.days(), None, &mut tx).await?;
    let titles = match &packs {
        Some(packs) => packs.title_ids(&mut tx).await?,
        None => titles(&question.period, &mut tx).await?,
    };
    let terms = terms(&titles);
    let (rows, of_plays) = match packs {
        Some(packs) => packed::rows(question, &terms, packs, &mut tx).await?,
        None => (rows(question, &terms, &mut tx).await?, of_plays(question, &terms, &mut tx).await?),
    };
    if rows.len() > ROWS_MAX {
        return Err(ReadError::TooLong("it has more than 500 000 rows; ask for a rights holder, a territory or a day"));
    }
    let inferred_sessions = inferred_sessions(&question.period, &mut tx).await?;
    tx.commit().await?;
    as_of.extend(AsOf::before(Topic::Catalog, 0, terms.next_offset));
    as_of.sort();
    let totals = Totals { of_rows: OfRows::of(&rows), of_plays };
    Ok(Report { period: question.period.to_string(), rows, totals, inferred_sessions, as_of })
}

async fn titles(period: &Period, tx: &mut PgTransaction<'_>) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar("select distinct title_id from facts where day between $1 and $2")
        .bind(period.first)
        .bind(period.last)
        .fetch_all(&mut **tx)
        .await
}

/// The facts that a question is about, each with every contract that is in force for it, or with none.
macro_rules! with_chosen {
    ($then:literal) => {
        concat!(
            "with owned as (select * from unnest($3::text[], $4::text[]) as owned (title_id, rights_holder_id)),
             agreed as (
               select title_id, contract_id, rights_holder_id, valid_from, valid_until, threshold_ms,
                      territories::text[] as territories
               from unnest($5::text[], $6::text[], $7::text[], $8::date[], $9::date[], $10::bigint[], $11::text[])
                 as agreed (title_id, contract_id, rights_holder_id, valid_from, valid_until, threshold_ms,
                            territories)),
             chosen as (
               select facts.*, coalesce(agreed.rights_holder_id, owned.rights_holder_id, '') as rights_holder_id,
                      coalesce(agreed.contract_id, '') as contract_id,
                      greatest(coalesce(agreed.threshold_ms, $12), 1) as threshold_ms
               from facts
               left join owned on owned.title_id = facts.title_id
               left join agreed on agreed.title_id = facts.title_id
                               and facts.day between agreed.valid_from and agreed.valid_until
                               and (agreed.territories is null or facts.territory = any(agreed.territories))
               where facts.day between $1 and $2
                 and ($13::text is null or facts.territory = $13)
                 and ($14::text is null or coalesce(agreed.rights_holder_id, owned.rights_holder_id) = $14)) ",
            $then
        )
    };
}

macro_rules! bound {
    ($query:expr, $question:expr, $terms:expr) => {
        $query
            .bind($question.period.first)
            .bind($question.period.last)
            .bind(&$terms.owned.titles)
            .bind(&$terms.owned.rights_holders)
            .bind(&$terms.agreed.titles)
            .bind(&$terms.agreed.contracts)
            .bind(&$terms.agreed.rights_holders)
            .bind(&$terms.agreed.from)
            .bind(&$terms.agreed.until)
            .bind(&$terms.agreed.thresholds_ms)
            .bind(&$terms.agreed.territories)
            .bind(VIEW_THRESHOLD_MS.cast_signed())
            .bind($question.territory.as_ref().map(|territory| territory.as_str().to_owned()))
            .bind($question.rights_holder.as_ref().map(|holder| holder.as_str().to_owned()))
    };
}

async fn rows(question: &Question, terms: &Terms, tx: &mut PgTransaction<'_>) -> Result<Vec<Row>, sqlx::Error> {
    // An id is never empty, so '' stands for none and the two halves can be joined by equality. An interval's end
    // comes before another's beginning at the same instant: they are half open.
    const ROWS: &str = with_chosen!(
        ", sums as (
           select rights_holder_id, contract_id, title_id, territory, count(*) filter (where played) as plays,
                  count(*) filter (where before_ms < threshold_ms and threshold_ms <= before_ms + watched_ms)
                    as qualified_views,
                  sum(watched_ms)::bigint as watched_ms, sum(aged_ms)::bigint as aged_ms,
                  sum(content_ms)::bigint as content_ms, count(distinct account_id) as distinct_accounts
           from chosen group by rights_holder_id, contract_id, title_id, territory),
         edges as (
           select rights_holder_id, contract_id, title_id, territory, edge.at, edge.step
           from chosen, unnest(intervals) as watched, lateral (values (lower(watched), 1), (upper(watched), -1)) as edge (at, step)),
         running as (
           select rights_holder_id, contract_id, title_id, territory,
                  sum(step) over (partition by rights_holder_id, contract_id, title_id, territory order by at, step
                                  rows unbounded preceding) as concurrent
           from edges),
         peaks as (
           select rights_holder_id, contract_id, title_id, territory, max(concurrent) as peak
           from running group by rights_holder_id, contract_id, title_id, territory)
         select $15::text as period, nullif(rights_holder_id, '') as rights_holder_id,
                nullif(contract_id, '') as contract_id, title_id, territory, plays, qualified_views, watched_ms, aged_ms,
                content_ms, distinct_accounts, coalesce(peak, 0) as peak_concurrent
         from sums left join peaks using (rights_holder_id, contract_id, title_id, territory)
         order by nullif(rights_holder_id, '') collate \"C\", nullif(contract_id, '') collate \"C\",
                  title_id collate \"C\", territory collate \"C\"
         limit $16"
    );
    let limit = i64::try_from(ROWS_MAX).unwrap_or(i64::MAX).saturating_add(1);
    bound!(sqlx::query_as::<_, Row>(ROWS), question, terms)
        .bind(question.period.to_string())
        .bind(limit)
        .fetch_all(&mut **tx)
        .await
}

async fn of_plays(question: &Question, terms: &Terms, tx: &mut PgTransaction<'_>) -> Result<OfPlays, sqlx::Error> {
    const OF_PLAYS: &str = with_chosen!(
        "select count(*) filter (where played) as plays, coalesce(sum(watched_ms), 0)::bigint as watched_ms,
                coalesce(sum(aged_ms), 0)::bigint as aged_ms, coalesce(sum(content_ms), 0)::bigint as content_ms,
                count(distinct account_id) as distinct_accounts
         from (select distinct on (partition, first_offset, place) * from chosen
               order by partition, first_offset, place) as once
         where threshold_ms is not null"
    );
    bound!(sqlx::query_as::<_, OfPlays>(OF_PLAYS), question, terms).fetch_one(&mut **tx).await
}

/// Sessions that nobody but servers told of have a version 5 id, and asked for a slot when they began.
async fn inferred_sessions(period: &Period, tx: &mut PgTransaction<'_>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "select count(distinct (account_id, session_id)) from active_sessions.decisions
         where get_byte(uuid_send(session_id), 6) >> 4 = 5 and decision <> 'end'
           and at >= $1::date::timestamp at time zone 'UTC'
           and at < ($2::date + 1)::timestamp at time zone 'UTC'",
    )
    .bind(period.first)
    .bind(period.last)
    .fetch_one(&mut **tx)
    .await
}

impl Report {
    /// The rows as comma-separated values, with a line of names first.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let mut text = String::new();
        csv::line(
            &mut text,
            [
                "period",
                "rights_holder_id",
                "contract_id",
                "title_id",
                "territory",
                "plays",
                "qualified_views",
                "watched_ms",
                "aged_ms",
                "content_ms",
                "distinct_accounts",
                "peak_concurrent",
            ],
        );
        for row in &self.rows {
            let ids = [
                &row.period,
                row.rights_holder_id.as_deref().unwrap_or_default(),
                row.contract_id.as_deref().unwrap_or_default(),
                &row.title_id,
                &row.territory,
            ];
            let numbers = [
                row.plays,
                row.qualified_views,
                row.watched_ms,
                row.aged_ms,
                row.content_ms,
                row.distinct_accounts,
                row.peak_concurrent,
            ]
            .map(|number| number.to_string());
            csv::line(&mut text, ids.into_iter().chain(numbers.iter().map(String::as_str)));
        }
        text
    }

    fn empty(question: &Question) -> Self {
        Self {
            period: question.period.to_string(),
            rows: Vec::new(),
            totals: Totals::default(),
            inferred_sessions: 0,
            as_of: Vec::new(),
        }
    }
}

impl OfRows {
    fn of(rows: &[Row]) -> Self {
        let sum = |part: fn(&Row) -> i64| rows.iter().map(part).sum();
        Self {
            plays: sum(|row| row.plays),
            qualified_views: sum(|row| row.qualified_views),
            watched_ms: sum(|row| row.watched_ms),
            aged_ms: sum(|row| row.aged_ms),
            content_ms: sum(|row| row.content_ms),
        }
    }
}
