//! Making packs: sealing days, and packing what isn't packed or has changed.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{Months, NaiveDate};
use futures_util::TryStreamExt as _;
use pulsegate_domain::watch_time::VIEW_THRESHOLD_MS;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgPool, PgTransaction, Postgres, Row as _, Transaction};

use super::form::{Counted, Day, Facts, Place, day_number, day_of, write_sums};
use super::read::{fact_columns, read_fact};
use super::tally::Tally;
use crate::licensing::REGISTERED;

/// Titles that are written together.
const TITLES: usize = 500;
/// Facts that are written together, roughly.
const FACTS: usize = 200_000;

/// What a pass packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// How many months of titles.
    pub titles: usize,
    /// How many facts were read for it.
    pub facts: usize,
}

/// Packs the days up to `until`, and again what has changed of those that were packed, of the live build and of those
/// beside it; `None` if somebody else does.
pub async fn pack(pool: &PgPool, until: NaiveDate) -> Result<Option<Packed>, sqlx::Error> {
    // Held until the end: of all who pack, one does.
    let mut alone = pool.begin().await?;
    let is_alone: bool = sqlx::query_scalar(
        "select pg_try_advisory_xact_lock(hashtext('pulsegate.packs'))
         from (select set_config('idle_in_transaction_session_timeout', '0', true)) as patient",
    )
    .fetch_one(&mut *alone)
    .await?;
    if !is_alone {
        return Ok(None);
    }
    let mut packed = Packed::default();
    for build in builds(pool).await? {
        let until = seal(pool, &build, until).await?;
        let mut of_build = Packed::default();
        for month in months(pool, &build, until).await? {
            let Packed { titles, facts } = pack_month(pool, &build, month, until).await?;
            of_build = Packed { titles: of_build.titles + titles, facts: of_build.facts + facts };
        }
        if of_build.titles > 0 {
            // The planner should know. The name was read from the database.
            let sql = format!("analyze {build}.packs, {build}.accounts, {build}.packed_months, {build}.changed");
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await?;
        }
        packed = Packed { titles: packed.titles + of_build.titles, facts: packed.facts + of_build.facts };
    }
    alone.commit().await?;
    Ok(Some(packed))
}

/// The builds with packs that are kept current, the live one first; one beside it has its packs when it is switched to.
async fn builds(pool: &PgPool) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select build from pulsegate.projection_builds
         where name = $1 and state in ('live', 'shadow', 'verified') and to_regclass(build || '.packs') is not null
         order by state <> 'live', build",
    )
    .bind(REGISTERED.name)
    .fetch_all(pool)
    .await
}

/// Longest that one statement may take here, as the server reads it.
const STATEMENT_MAX: &str = "1h";
/// What one sort may take of the server's memory.
const SORT_MEMORY: &str = "128MB";

/// Begins a transaction in which tables are the build's.
async fn begin(pool: &PgPool, build: &str) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    name_tables(&mut tx, build).await?;
    Ok(tx)
}

/// The same, which sees one moment.
async fn begin_snapshot(pool: &PgPool, build: &str) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    sqlx::query("set transaction isolation level repeatable read").execute(&mut *tx).await?;
    name_tables(&mut tx, build).await?;
    Ok(tx)
}

async fn name_tables(tx: &mut PgTransaction<'_>, build: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "select set_config('search_path', $1, true), set_config('work_mem', $2, true),
                set_config('statement_timeout', $3, true), set_config('idle_in_transaction_session_timeout', '0', true)",
    )
    .bind(build)
    .bind(SORT_MEMORY)
    .bind(STATEMENT_MAX)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Seals the days up to `until`, if they aren't, and says up to where days are sealed.
async fn seal(pool: &PgPool, build: &str, until: NaiveDate) -> Result<NaiveDate, sqlx::Error> {
    let mut tx = begin(pool, build).await?;
    let sealed = sqlx::query_scalar::<_, NaiveDate>("select until from sealed").fetch_optional(&mut *tx).await?;
    if let Some(sealed) = sealed.filter(|sealed| *sealed >= until) {
        return Ok(sealed);
    }
    // Waits for whoever has written facts, and nobody writes any until this is done: then they see the seal.
    sqlx::raw_sql("set local lock_timeout = '5s'; lock table facts in share mode; delete from sealed")
        .execute(&mut *tx)
        .await?;
    sqlx::query("insert into sealed (until) values ($1)").bind(until).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(until)
}

/// The months in which something is to be packed.
async fn months(pool: &PgPool, build: &str, until: NaiveDate) -> Result<Vec<NaiveDate>, sqlx::Error> {
    let mut tx = begin(pool, build).await?;
    // From month to month by the index: there are few months, and very many facts.
    let months = sqlx::query_scalar(
        "with recursive months (month) as (
           select date_trunc('month', min(day))::date from facts where day <= $1
           union all
           select (select date_trunc('month', min(day))::date from facts
                   where day >= (months.month + interval '1 month')::date and day <= $1)
           from months where months.month is not null)
         select month from months left join packed_months using (month)
         where month is not null
           and (until is null or until < least($1, (month + interval '1 month')::date - 1)
                or exists (select from changed where day >= month and day < (month + interval '1 month')::date))
         order by month",
    )
    .bind(until)
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(months)
}

/// The facts to be packed: those of days that aren't, and of what has changed.
macro_rules! with_wanted {
    ($then:expr) => {
        concat!(
            "with wanted as (
               select * from facts where day between $1 and $2
               union all
               select facts.* from facts
               join unnest($3::date[], $4::text[]) as changed (day, title_id) using (day, title_id)
               where facts.day < $1) ",
            $then
        )
    };
}

async fn pack_month(pool: &PgPool, build: &str, month: NaiveDate, until: NaiveDate) -> Result<Packed, sqlx::Error> {
    let next = month.checked_add_months(Months::new(1)).unwrap_or(NaiveDate::MAX);
    let last = next.pred_opt().unwrap_or(next).min(until);
    // What is read and what is written are of two transactions, since the one is read while the other is written.
    let mut from = begin_snapshot(pool, build).await?;
    let packed_until =
        sqlx::query_scalar::<_, NaiveDate>("select until from packed_months where month = $1").bind(month);
    let packed_until = packed_until.fetch_optional(&mut *from).await?;
    let first = packed_until.and_then(|until| until.succ_opt()).unwrap_or(month);
    let changed = Changed::read(&mut from, month, last).await?;
    let (days, titles) = changed.keys();
    sqlx::query(with_wanted!(
        "insert into accounts (account_id)
         select distinct account_id from wanted
         where not exists (select from accounts where accounts.account_id = wanted.account_id)"
    ))
    .bind(first)
    .bind(last)
    .bind(&days)
    .bind(&titles)
    .execute(&mut *from)
    .await?;
    let mut to = begin(pool, build).await?;
    let mut packing = Packing { month, is_begun: packed_until.is_some(), changed, pending: Vec::new(), facts: 0 };
    let mut packed = Packed::default();
    {
        let wanted = with_wanted!(concat!(
            "select ",
            fact_columns!(),
            " from wanted as facts join accounts using (account_id) order by title_id collate \"C\""
        ));
        let mut rows = sqlx::query(wanted).bind(first).bind(last).bind(&days).bind(&titles).fetch(&mut *from);
        while let Some(row) = rows.try_next().await? {
            packed.facts += 1;
            packing.take(&row)?;
            if packing.is_full() {
                packed.titles += packing.write_whole(&mut to).await?;
            }
        }
    }
    packed.titles += packing.write_rest(&mut to).await?;
    packing.changed.settle(&mut to).await?;
    sqlx::query(
        "insert into packed_months (month, until) values ($1, $2)
         on conflict on constraint packed_months_pk do update set until = excluded.until",
    )
    .bind(month)
    .bind(last)
    .execute(&mut *to)
    .await?;
    // The accounts' numbers first: packs that name them without them would be wrong.
    from.commit().await?;
    to.commit().await?;
    Ok(packed)
}

/// What was noted as changed in a month.
struct Changed {
    ids: Vec<i64>,
    by_title: BTreeMap<String, HashSet<Day>>,
}

impl Changed {
    async fn read(tx: &mut PgTransaction<'_>, first: NaiveDate, last: NaiveDate) -> Result<Self, sqlx::Error> {
        let noted = sqlx::query_as::<_, (i64, NaiveDate, String)>(
            "select id, day, title_id from changed where day between $1 and $2",
        );
        let noted = noted.bind(first).bind(last).fetch_all(&mut **tx).await?;
        let mut changed = Self { ids: Vec::with_capacity(noted.len()), by_title: BTreeMap::new() };
        for (id, day, title) in noted {
            changed.ids.push(id);
            changed.by_title.entry(title).or_default().insert(day_number(day));
        }
        Ok(changed)
    }

    fn keys(&self) -> (Vec<NaiveDate>, Vec<String>) {
        let keys = self.by_title.iter().flat_map(|(title, days)| days.iter().map(move |day| (title, day)));
        keys.map(|(title, day)| (day_of(*day), title.clone())).unzip()
    }

    /// What was noted meanwhile has another id.
    async fn settle(&self, tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
        sqlx::query("delete from changed where id = any($1)").bind(&self.ids).execute(&mut **tx).await?;
        Ok(())
    }
}

/// Titles on their way into packs.
struct Packing {
    month: NaiveDate,
    /// There are packs of the month already.
    is_begun: bool,
    changed: Changed,
    pending: Vec<(String, Facts)>,
    facts: usize,
}

impl Packing {
    /// Takes a fact up; they come in the order of titles.
    fn take(&mut self, row: &PgRow) -> Result<(), sqlx::Error> {
        let account: i32 = row.try_get("number")?;
        let title: &str = row.try_get("title_id")?;
        if self.pending.last().is_none_or(|(last, _)| last != title) {
            self.pending.push((title.to_owned(), Facts::default()));
        }
        if let Some((_, facts)) = self.pending.last_mut() {
            read_fact(row, account.cast_unsigned(), facts)?;
            self.facts += 1;
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.pending.len() > TITLES || self.facts > FACTS && self.pending.len() > 1
    }

    /// Writes all but the last title, of which there may be more.
    async fn write_whole(&mut self, tx: &mut PgTransaction<'_>) -> Result<usize, sqlx::Error> {
        let Some(last) = self.pending.pop() else { return Ok(0) };
        let whole = std::mem::replace(&mut self.pending, vec![last]);
        self.facts = 0;
        self.write(whole, tx).await
    }

    /// Writes what is left, also those titles whose changed days have no facts any more.
    async fn write_rest(&mut self, tx: &mut PgTransaction<'_>) -> Result<usize, sqlx::Error> {
        let mut rest = std::mem::take(&mut self.pending);
        let is_pending: HashSet<_> = rest.iter().map(|(title, _)| title.clone()).collect();
        let emptied = self.changed.by_title.keys().filter(|title| !is_pending.contains(*title));
        rest.extend(emptied.map(|title| (title.clone(), Facts::default())));
        self.write(rest, tx).await
    }

    async fn write(
        &mut self,
        mut titles: Vec<(String, Facts)>,
        tx: &mut PgTransaction<'_>,
    ) -> Result<usize, sqlx::Error> {
        if self.is_begun {
            self.put_in_what_stands(&mut titles, tx).await?;
        }
        let count = titles.len();
        let (mut ids, mut days, mut sums, mut facts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (title, mut of_title) in titles {
            self.changed.by_title.remove(&title);
            ids.push(title);
            facts.push(of_title.write());
            days.push(of_title.write_days());
            sums.push(write_sums(&sums_of(&mut of_title)));
        }
        sqlx::query(
            "insert into packs (month, title_id, days, sums, facts)
             select $1, * from unnest($2::text[], $3::bytea[], $4::bytea[], $5::bytea[])
             on conflict on constraint packs_pk
               do update set days = excluded.days, sums = excluded.sums, facts = excluded.facts",
        )
        .bind(self.month)
        .bind(ids)
        .bind(days)
        .bind(sums)
        .bind(facts)
        .execute(&mut **tx)
        .await?;
        Ok(count)
    }

    /// What was packed before stays, but for the days that have changed.
    async fn put_in_what_stands(
        &self,
        titles: &mut [(String, Facts)],
        tx: &mut PgTransaction<'_>,
    ) -> Result<(), sqlx::Error> {
        let mut places: HashMap<String, &mut Facts> =
            titles.iter_mut().map(|(title, facts)| (title.clone(), facts)).collect();
        let stand = sqlx::query_as::<_, (String, Vec<u8>)>(
            "select title_id, facts from packs where month = $1 and title_id = any($2)",
        );
        let wanted: Vec<_> = places.keys().cloned().collect();
        for (title, bytes) in stand.bind(self.month).bind(wanted).fetch_all(&mut **tx).await? {
            let changed = self.changed.by_title.get(&title);
            if let Some(facts) = places.get_mut(&title) {
                facts.read(self.month, &bytes, |day| changed.is_none_or(|days| !days.contains(&day)))?;
            }
        }
        Ok(())
    }
}

/// The figures of a month by place, with the threshold that holds where a contract names none.
fn sums_of(facts: &mut Facts) -> Vec<(Place, Counted)> {
    facts.facts.sort_unstable_by_key(|fact| fact.place);
    let mut tally = Tally::default();
    let mut sums = Vec::new();
    for of_place in facts.facts.chunk_by(|a, b| a.place == b.place) {
        for fact in of_place {
            tally.add(facts, fact, VIEW_THRESHOLD_MS.cast_signed());
        }
        let place = of_place.first().map(|fact| fact.place);
        sums.extend(place.and_then(|place| Some((place, tally.take()?))));
    }
    sums
}
