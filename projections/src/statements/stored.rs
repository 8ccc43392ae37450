//! Statements that were closed, as they are kept.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use compact_str::CompactString;
use futures_util::TryStreamExt as _;
use pulsegate_domain::money::Currency;
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::{FromRow as _, PgPool, Row as _};
use tokio::sync::mpsc;

use super::{About, FIGURES, Figures, Head, Key, Row, Statement, StatementError};

/// Rows that are handed on together.
const PAGE_ROWS: usize = 1_000;
/// Pages that wait for a slow reader.
const PAGES_WAITING: usize = 4;
/// Most statements that one list tells.
const LISTED_MAX: i64 = 1_000;

/// A revision of a statement, in a list.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct Listed {
    /// The period.
    pub period: String,
    /// To whom; `null`: everybody.
    pub rights_holder_id: Option<String>,
    /// Which revision.
    pub revision: i32,
    /// When it was closed or restated.
    pub closed_at: DateTime<Utc>,
    /// How many rows it added.
    pub rows: i64,
    /// Its hash.
    pub sha256: String,
}

/// The newest statements and their revisions, the newest first.
pub async fn list(pool: &PgPool) -> Result<Vec<Listed>, StatementError> {
    let listed = sqlx::query_as(
        "select period, nullif(rights_holder_id, '') as rights_holder_id, revision, closed_at, row_count as rows, sha256
         from pulsegate.statements order by id desc limit $1",
    )
    .bind(LISTED_MAX)
    .fetch_all(pool)
    .await?;
    Ok(listed)
}

/// The rows of a statement, page by page: as many are in memory as are on their way.
#[derive(Debug)]
pub struct Rows {
    pages: mpsc::Receiver<Result<Vec<Row>, StatementError>>,
}

impl Rows {
    /// Rows that are all at hand.
    #[must_use]
    pub fn of(rows: Vec<Row>) -> Self {
        let (sender, pages) = mpsc::channel(1);
        // There is room for one page.
        drop(sender.try_send(Ok(rows)));
        Self { pages }
    }

    /// The rows of a statement that others read as well.
    #[must_use]
    pub fn of_shared(statement: Arc<Statement>) -> Self {
        let (sender, pages) = mpsc::channel(PAGES_WAITING);
        tokio::spawn(async move {
            for page in statement.rows.chunks(PAGE_ROWS) {
                if sender.send(Ok(page.to_vec())).await.is_err() {
                    // Nobody reads on.
                    return;
                }
            }
        });
        Self { pages }
    }

    /// The next page; `None` behind the last.
    pub async fn next(&mut self) -> Option<Result<Vec<Row>, StatementError>> {
        self.pages.recv().await
    }

    /// All of them.
    pub async fn all(mut self) -> Result<Vec<Row>, StatementError> {
        let mut rows = Vec::new();
        while let Some(page) = self.next().await {
            rows.append(&mut page?);
        }
        Ok(rows)
    }
}

/// A closed statement with all that it says, as of a revision or the newest; `None` where it isn't closed.
pub async fn find(pool: &PgPool, about: &About, revision: Option<u32>) -> Result<Option<(Head, Rows)>, StatementError> {
    let Some((head, ids)) = revisions(pool, about, revision).await? else { return Ok(None) };
    Ok(Some((head, rows(pool.clone(), ids))))
}

/// What one revision added.
pub async fn added(pool: &PgPool, about: &About, revision: u32) -> Result<Option<(Head, Rows)>, StatementError> {
    let Some((head, mut ids)) = revisions(pool, about, Some(revision)).await? else { return Ok(None) };
    let newest = ids.pop().into_iter().collect();
    Ok(Some((head, rows(pool.clone(), newest))))
}

/// The head of a revision, and the numbers of all revisions up to it.
async fn revisions(
    pool: &PgPool,
    about: &About,
    revision: Option<u32>,
) -> Result<Option<(Head, Vec<i64>)>, StatementError> {
    let kept = sqlx::query_as::<_, (i64, i32, String)>(
        "select id, revision, head from pulsegate.statements
         where period = $1 and rights_holder_id = $2 and revision <= coalesce($3, revision) order by revision",
    )
    .bind(about.period.to_string())
    .bind(about.holder().to_owned())
    .bind(revision.map(|revision| i32::try_from(revision).unwrap_or(i32::MAX)))
    .fetch_all(pool)
    .await?;
    let Some((_, newest, head)) = kept.last() else { return Ok(None) };
    if let Some(wanted) = revision.filter(|wanted| u32::try_from(*newest) != Ok(*wanted)) {
        return Err(StatementError::NoRevision(about.period.to_string(), wanted));
    }
    let head = serde_json::from_str(head).map_err(|error| StatementError::Kept(error.to_string()))?;
    Ok(Some((head, kept.iter().map(|(id, ..)| *id).collect())))
}

/// Reads the rows of these revisions, summed, on a task of its own.
fn rows(pool: PgPool, ids: Vec<i64>) -> Rows {
    let (sender, pages) = mpsc::channel(PAGES_WAITING);
    tokio::spawn(async move {
        if let Err(error) = send_rows(&pool, ids, &sender).await {
            drop(sender.send(Err(error)).await);
        }
    });
    Rows { pages }
}

async fn send_rows(
    pool: &PgPool,
    ids: Vec<i64>,
    sender: &mpsc::Sender<Result<Vec<Row>, StatementError>>,
) -> Result<(), StatementError> {
    // Of one revision the rows stand in their order already.
    const ONE: &str = "
        select rights_holder_id, contract_id, title_id, territory, device_class, currency, plays, qualified_views, views,
               watched_ms, aged_ms, content_ms, distinct_accounts, peak_concurrent, blocked_attempts, outside_window_ms,
               outside_territory_ms, runtime_ms, amount_minor
        from pulsegate.statement_rows where statement_id = any($1) order by statement_id, ordinal";
    const MANY: &str = "
        select rights_holder_id, contract_id, title_id, territory, device_class, currency, sum(plays)::bigint as plays,
               sum(qualified_views)::bigint as qualified_views, sum(views)::bigint as views,
               sum(watched_ms)::bigint as watched_ms, sum(aged_ms)::bigint as aged_ms,
               sum(content_ms)::bigint as content_ms, sum(distinct_accounts)::bigint as distinct_accounts,
               sum(peak_concurrent)::bigint as peak_concurrent, sum(blocked_attempts)::bigint as blocked_attempts,
               sum(outside_window_ms)::bigint as outside_window_ms,
               sum(outside_territory_ms)::bigint as outside_territory_ms, sum(runtime_ms)::bigint as runtime_ms,
               sum(amount_minor)::bigint as amount_minor
        from pulsegate.statement_rows where statement_id = any($1)
        group by rights_holder_id, contract_id, title_id, territory, device_class, currency
        order by rights_holder_id, contract_id, title_id, territory, device_class, currency";
    let mut stored = sqlx::query(if ids.len() > 1 { MANY } else { ONE }).bind(ids).fetch(pool);
    let mut page = Vec::with_capacity(PAGE_ROWS);
    while let Some(row) = stored.try_next().await? {
        let Stored(row) = Stored::from_row(&row)?;
        if row.is_any() {
            page.push(row);
        }
        if page.len() >= PAGE_ROWS && sender.send(Ok(std::mem::take(&mut page))).await.is_err() {
            // Nobody reads on.
            return Ok(());
        }
    }
    drop(sender.send(Ok(page)).await);
    Ok(())
}

/// A row as its columns have it.
struct Stored(Row);

impl sqlx::FromRow<'_, sqlx::postgres::PgRow> for Stored {
    fn from_row(row: &sqlx::postgres::PgRow) -> Result<Self, sqlx::Error> {
        let mut figures = [0; 12];
        for (name, figure) in FIGURES.into_iter().zip(&mut figures) {
            *figure = row.try_get(name)?;
        }
        let text = |name| row.try_get::<&str, _>(name).map(CompactString::from);
        let key = Key {
            rights_holder_id: text("rights_holder_id")?,
            contract_id: text("contract_id")?,
            title_id: text("title_id")?,
            territory: text("territory")?,
            device_class: text("device_class")?,
            currency: text("currency")?,
        };
        let minor: i64 = row.try_get("amount_minor")?;
        let amount = amount_of(minor, &key.currency)?;
        Ok(Self(Row { key, figures: Figures::of(figures), amount }))
    }
}

fn amount_of(minor: i64, currency: &str) -> Result<Decimal, sqlx::Error> {
    if currency.is_empty() {
        return Ok(Decimal::ZERO);
    }
    let currency: Currency = currency.parse().map_err(|error: pulsegate_domain::money::InvalidCurrency| {
        sqlx::Error::Decode(format!("{currency}: {error}").into())
    })?;
    Ok(Decimal::new(minor, currency.decimals()))
}

/// An amount in its currency's smallest unit; an amount that was rounded to it has no more.
pub(super) fn minor_of(row: &Row) -> Option<i64> {
    let decimals = row.key.currency.parse::<Currency>().map_or(0, Currency::decimals);
    let mut minor = row.amount;
    minor.rescale(decimals);
    i64::try_from(minor.mantissa()).ok()
}
