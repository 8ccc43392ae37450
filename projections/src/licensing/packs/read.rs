//! Reading the facts of a period: packs, and beside them what they lack.

use std::collections::{HashMap, HashSet};

use chrono::{Datelike as _, NaiveDate};
use futures_util::TryStreamExt as _;
use sqlx::postgres::PgRow;
use sqlx::{PgTransaction, Row as _};

use super::form::{Counted, Day, Facts, Numbers, Place, day_number, day_of, read_days, read_sums, sent_intervals};

/// Most facts that are read beside packs; who has more of them reads the facts instead.
const BESIDE_MAX: usize = 2_000_000;

/// The columns of a fact as `read_fact` takes them, of `facts` and `accounts`.
macro_rules! fact_columns {
    () => {
        "facts.title_id, facts.day, facts.territory, facts.device_class, facts.before_ms, facts.watched_ms, facts.aged_ms,
         facts.content_ms, facts.played, multirange_send(facts.intervals) as intervals, accounts.number"
    };
}
pub(super) use fact_columns;

/// Takes up a fact out of its columns.
pub(super) fn read_fact(row: &PgRow, account: u32, facts: &mut Facts) -> Result<(), sqlx::Error> {
    let times =
        [row.try_get("before_ms")?, row.try_get("watched_ms")?, row.try_get("aged_ms")?, row.try_get("content_ms")?];
    let numbers = Numbers {
        day: day_number(row.try_get("day")?),
        place: Place::of(row.try_get("territory")?, row.try_get("device_class")?)?,
        played: row.try_get("played")?,
        account,
        times,
    };
    facts.push(&numbers, sent_intervals(row.try_get("intervals")?)?.into_iter());
    Ok(())
}

/// The facts of a period, title by title, as of one snapshot.
#[derive(Debug)]
pub(crate) struct Packs {
    period: (Day, Day),
    /// The first days of the months that may have packs.
    months: Vec<NaiveDate>,
    /// Days that aren't packed.
    unpacked: Vec<NaiveDate>,
    /// Days that are packed and have changed since.
    changed: HashMap<String, HashSet<Day>>,
    /// What is read from the facts themselves, of the titles that are asked for.
    beside: HashMap<String, Facts>,
    /// Only these titles; all where absent.
    titles: Option<Vec<String>>,
    /// What the figures of whole months say was watched, and the titles that they say nothing of.
    summed: Option<(i64, Vec<String>)>,
}

impl Packs {
    /// Opens what there is of a period from its first to its last day, perhaps only of some titles; `None` where facts must be read themselves: a build
    /// without packs, or one of which too much is not packed.
    pub(crate) async fn open(
        (first, last): (NaiveDate, NaiveDate),
        titles: Option<Vec<String>>,
        tx: &mut PgTransaction<'_>,
    ) -> Result<Option<Self>, sqlx::Error> {
        let has_packs: bool =
            sqlx::query_scalar("select to_regclass('packs') is not null").fetch_one(&mut **tx).await?;
        if !has_packs {
            return Ok(None);
        }
        let packed: HashMap<NaiveDate, NaiveDate> =
            sqlx::query_as::<_, (NaiveDate, NaiveDate)>("select month, until from packed_months where month <= $1")
                .bind(last)
                .fetch_all(&mut **tx)
                .await?
                .into_iter()
                .collect();
        let mut packs = Self {
            period: (day_number(first), day_number(last)),
            months: Vec::new(),
            unpacked: Vec::new(),
            changed: HashMap::new(),
            beside: HashMap::new(),
            titles,
            summed: None,
        };
        for day in first.iter_days().take_while(|day| *day <= last) {
            let month = day.with_day(1).unwrap_or(day);
            match packed.get(&month) {
                Some(until) if day <= *until => {
                    if packs.months.last() != Some(&month) {
                        packs.months.push(month);
                    }
                }
                _ => packs.unpacked.push(day),
            }
        }
        let changed = sqlx::query_as::<_, (String, NaiveDate)>(
            "select distinct title_id, day from changed where day between $1 and $2 and day <> all($3)",
        );
        let changed = changed.bind(first).bind(last).bind(&packs.unpacked).fetch_all(&mut **tx).await?;
        for (title, day) in changed {
            packs.changed.entry(title).or_default().insert(day_number(day));
        }
        Ok(if packs.read_beside(tx).await? { Some(packs) } else { None })
    }

    /// Days and titles that have changed.
    fn changed_keys(&self) -> (Vec<NaiveDate>, Vec<String>) {
        let keys = self.changed.iter().flat_map(|(title, days)| days.iter().map(move |day| (title, day)));
        keys.map(|(title, day)| (day_of(*day), title.clone())).unzip()
    }

    /// Reads what packs lack; `false` if that is too much.
    async fn read_beside(&mut self, tx: &mut PgTransaction<'_>) -> Result<bool, sqlx::Error> {
        const BESIDE: &str = concat!(
            "select ",
            fact_columns!(),
            ", case when accounts.number is null then facts.account_id end as stranger
             from (
               select * from facts where day = any($1) and ($4::text[] is null or title_id = any($4))
               union all
               select facts.* from facts
               join unnest($2::date[], $3::text[]) as changed (day, title_id) using (day, title_id)
               where $4::text[] is null or title_id = any($4)) as facts
             left join accounts using (account_id)"
        );
        let numbers = sqlx::query_scalar::<_, i32>("select coalesce(max(number), 0) from accounts");
        let mut next = numbers.fetch_one(&mut **tx).await?.cast_unsigned();
        let mut strangers: HashMap<String, u32> = HashMap::new();
        let (days, titles) = self.changed_keys();
        let beside = sqlx::query(BESIDE).bind(self.unpacked.clone()).bind(days).bind(titles);
        let beside = beside.bind(self.titles.clone());
        let mut rows = beside.fetch(&mut **tx);
        let mut count = 0;
        while let Some(row) = rows.try_next().await? {
            count += 1;
            if count > BESIDE_MAX {
                return Ok(false);
            }
            // Who is not among the accounts yet gets a number behind them, for this reader alone.
            let account = match row.try_get::<Option<i32>, _>("number")? {
                Some(number) => number.cast_unsigned(),
                None => *strangers.entry(row.try_get("stranger")?).or_insert_with(|| {
                    next += 1;
                    next
                }),
            };
            let title: &str = row.try_get("title_id")?;
            if let Some(facts) = self.beside.get_mut(title) {
                read_fact(&row, account, facts)?;
            } else {
                read_fact(&row, account, self.beside.entry(title.to_owned()).or_default())?;
            }
        }
        Ok(true)
    }

    /// Hands each title's facts of the period to `take`, once.
    pub(crate) async fn each<E: From<sqlx::Error>>(
        self,
        tx: &mut PgTransaction<'_>,
        mut take: impl FnMut(&str, &mut Facts) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { period: (first, last), months, changed, mut beside, titles, .. } = self;
        let (mut title, mut facts) = (String::new(), Facts::default());
        let mut hand_on = |title: &str, facts: &mut Facts| {
            if let Some(beside) = beside.remove(title) {
                facts.append(&beside);
            }
            if !facts.facts.is_empty() {
                take(title, facts)?;
            }
            facts.clear();
            Ok::<_, E>(())
        };
        let packs = sqlx::query(
            "select title_id, month, facts from packs
             where month = any($1) and ($2::text[] is null or title_id = any($2))
             order by title_id collate \"C\", month",
        );
        let mut rows = packs.bind(months).bind(titles).fetch(&mut **tx);
        while let Some(row) = rows.try_next().await? {
            let next: &str = row.try_get("title_id")?;
            if next != title {
                hand_on(&title, &mut facts)?;
                next.clone_into(&mut title);
            }
            let changed = changed.get(next);
            let is_wanted = |day: Day| (first..=last).contains(&day) && changed.is_none_or(|days| !days.contains(&day));
            let read = facts.read(row.try_get("month")?, row.try_get("facts")?, is_wanted);
            read.map_err(sqlx::Error::from)?;
        }
        hand_on(&title, &mut facts)?;
        for (title, mut facts) in beside {
            take(&title, &mut facts)?;
        }
        Ok(())
    }

    /// Hands the figures of each title by place to `take`, where they stand for the whole period; what `take` won't have,
    /// and every other title, is left to be read fact by fact.
    pub(crate) async fn sums(
        &mut self,
        tx: &mut PgTransaction<'_>,
        mut take: impl FnMut(&str, &[(Place, Counted)]) -> bool,
    ) -> Result<(), sqlx::Error> {
        let [month] = self.months[..] else { return Ok(()) };
        let days = month.iter_days().take_while(|day| day.month() == month.month()).count();
        let is_whole_month = self.period.0 == day_number(month)
            && usize::try_from(self.period.1 - self.period.0 + 1).is_ok_and(|asked| asked == days);
        if !is_whole_month {
            return Ok(());
        }
        let (mut left, mut summed_ms, mut not_summed) = (Vec::new(), 0_i64, Vec::new());
        {
            let packs = sqlx::query(
                "select title_id, sums from packs where month = $1 and ($2::text[] is null or title_id = any($2))",
            );
            let mut rows = packs.bind(month).bind(self.titles.clone()).fetch(&mut **tx);
            while let Some(row) = rows.try_next().await? {
                let title: &str = row.try_get("title_id")?;
                let is_whole = !self.changed.contains_key(title) && !self.beside.contains_key(title);
                if !is_whole {
                    not_summed.push(title.to_owned());
                    left.push(title.to_owned());
                    continue;
                }
                let sums = read_sums(row.try_get("sums")?)?;
                summed_ms = sums.iter().fold(summed_ms, |sum, (_, counted)| sum.saturating_add(counted.watched_ms));
                if !take(title, &sums) {
                    left.push(title.to_owned());
                }
            }
        }
        // Of some titles alone, it says nothing of the whole service.
        self.summed = self.titles.is_none().then_some((summed_ms, not_summed));
        self.titles = Some(left);
        Ok(())
    }

    /// The titles of which something may have been watched in the period, and more.
    pub(crate) async fn title_ids(&self, tx: &mut PgTransaction<'_>) -> Result<Vec<String>, sqlx::Error> {
        let packed = sqlx::query_scalar::<_, String>("select distinct title_id from packs where month = any($1)");
        let mut titles = packed.bind(&self.months).fetch_all(&mut **tx).await?;
        let packed: HashSet<_> = titles.iter().cloned().collect();
        titles.extend(self.beside.keys().filter(|title| !packed.contains(*title)).cloned());
        Ok(titles)
    }

    /// Watched of everything in the period, whatever titles are asked for; cheap behind [`sums`](Self::sums) of all.
    pub(crate) async fn watched_ms(&self, tx: &mut PgTransaction<'_>) -> Result<i64, sqlx::Error> {
        let (days, titles) = self.changed_keys();
        let mut watched_ms: i64 = sqlx::query_scalar(
            "select coalesce(sum(watched_ms), 0)::bigint from (
               select watched_ms from facts where day = any($1)
               union all
               select facts.watched_ms from facts
               join unnest($2::date[], $3::text[]) as changed (day, title_id) using (day, title_id)) as beside",
        )
        .bind(&self.unpacked)
        .bind(days)
        .bind(titles)
        .fetch_one(&mut **tx)
        .await?;
        let not_summed = self.summed.as_ref().map(|(summed_ms, not_summed)| {
            watched_ms = watched_ms.saturating_add(*summed_ms);
            not_summed
        });
        let packs = sqlx::query(
            "select title_id, month, days from packs
             where month = any($1) and ($2::text[] is null or title_id = any($2))",
        );
        let mut rows = packs.bind(&self.months).bind(not_summed).fetch(&mut **tx);
        while let Some(row) = rows.try_next().await? {
            let changed = self.changed.get(row.try_get::<&str, _>("title_id")?);
            for (day, of_day_ms) in read_days(row.try_get("month")?, row.try_get("days")?)? {
                let is_packed = changed.is_none_or(|days| !days.contains(&day));
                if is_packed && (self.period.0..=self.period.1).contains(&day) {
                    watched_ms = watched_ms.saturating_add(of_day_ms);
                }
            }
        }
        Ok(watched_ms)
    }
}
