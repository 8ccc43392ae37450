//! What was watched in a period, under each contract: sums over the facts of the read model.
//!
//! A month may have tens of millions of facts. So what they are grouped by is a number, which sorts several times as fast as
//! the five texts that it stands for; where they are turned into one, and back, is here.

use std::collections::HashMap;

use chrono::NaiveDate;
use futures_util::TryStreamExt as _;
use pulsegate_domain::ids::{DeviceClass, Territory};
use pulsegate_domain::watch_time::VIEW_THRESHOLD_MS;
use sqlx::PgTransaction;

use super::agreements::Agreements;
use super::assemble::{Used, Where};
use super::rows::Heading;
use super::{About, Figures, ROWS_MAX, StatementError};

/// Letters of a territory's code.
const LETTERS: i64 = 26;
/// Numbers of a title or contract: for each territory eight, which are more than there are classes of device.
const NUMBERS: i64 = LETTERS * LETTERS * 8;

/// What a row is about, before its territory and class of device.
struct Place {
    holder: String,
    contract: String,
    title: String,
}

/// The catalog as one statement takes it: lists side by side, from which facts get the numbers of their rows.
#[derive(Default)]
struct Lists {
    titles: Vec<String>,
    has_contracts: Vec<bool>,
    /// Whether it is asked for where no contract is in force.
    is_title_asked: Vec<bool>,
    agreed: Vec<String>,
    from: Vec<NaiveDate>,
    until: Vec<NaiveDate>,
    thresholds_ms: Vec<i64>,
    territories: Vec<Option<String>>,
    is_agreed_asked: Vec<bool>,
    /// The agreed in their order, then the titles in theirs.
    about: Vec<Place>,
}

impl Lists {
    fn of(agreements: &Agreements, about: &About, unknown: Vec<String>) -> Self {
        let mut lists = Self::default();
        let is_asked = |holder: &str| about.holder().is_empty() || about.holder() == holder;
        let mut of_titles = Vec::new();
        for (title, of_title) in &agreements.titles {
            let owner = of_title.owner.to_string();
            let contracts = || of_title.contracts.iter().filter_map(|id| agreements.contracts.get(id));
            let is_title_asked = is_asked(&owner);
            // What is neither the one's nor under a contract with it need not be looked for.
            if !is_title_asked && !contracts().any(|one| is_asked(one.contract.rights_holder_id.as_str())) {
                continue;
            }
            for agreement in contracts() {
                // Within the period, whose days any calendar holds.
                let Some((from, until)) = agreement.days_in(&about.period) else { continue };
                let holder = agreement.contract.rights_holder_id.to_string();
                lists.agreed.push(title.clone());
                lists.from.push(from);
                lists.until.push(until);
                lists.thresholds_ms.push(i64::try_from(agreement.threshold_ms()).unwrap_or(i64::MAX).max(1));
                // Two upper-case letters each, so that nothing has to be quoted.
                lists.territories.push(agreement.contract.territories.as_ref().map(|territories| {
                    format!("{{{}}}", territories.iter().map(Territory::as_str).collect::<Vec<_>>().join(","))
                }));
                lists.is_agreed_asked.push(is_asked(&holder));
                let contract = agreement.contract.contract_id.to_string();
                lists.about.push(Place { holder, contract, title: title.clone() });
            }
            lists.titles.push(title.clone());
            lists.has_contracts.push(!of_title.contracts.is_empty());
            lists.is_title_asked.push(is_title_asked);
            of_titles.push(Place { holder: owner, contract: String::new(), title: title.clone() });
        }
        for title in unknown {
            lists.titles.push(title.clone());
            lists.has_contracts.push(false);
            lists.is_title_asked.push(about.holder().is_empty());
            of_titles.push(Place { holder: String::new(), contract: String::new(), title });
        }
        lists.about.append(&mut of_titles);
        lists
    }

    /// The row of a number.
    fn row(&self, number: i64) -> Option<(Heading, Where)> {
        let about = self.about.get(usize::try_from(number / NUMBERS).ok()?.checked_sub(1)?)?;
        let (territory, class) = (number % NUMBERS / 8, usize::try_from(number % 8).ok()?);
        let letter = |place: i64| char::from_u32(u32::from(b'A') + u32::try_from(place).ok()?);
        let territory: String = [letter(territory / LETTERS)?, letter(territory % LETTERS)?].iter().collect();
        let heading = Heading {
            holder: about.holder.as_str().into(),
            contract: about.contract.as_str().into(),
            title: about.title.as_str().into(),
        };
        Some((heading, (territory.parse().ok()?, *DeviceClass::ALL.get(class.checked_sub(1)?)?)))
    }
}

/// The facts that a statement is about, each with every contract that is in force for it, or with none, and the number of
/// its row.
macro_rules! with_chosen {
    ($columns:literal, $then:literal) => {
        concat!(
            "with titles as (
               select title_id, has_contracts, is_asked, place
               from unnest($3::text[], $4::boolean[], $5::boolean[]) with ordinality
                 as titles (title_id, has_contracts, is_asked, place)),
             agreed as (
               select title_id, valid_from, valid_until, threshold_ms, territories::text[] as territories, is_asked, place
               from unnest($6::text[], $7::date[], $8::date[], $9::bigint[], $10::text[], $11::boolean[]) with ordinality
                 as agreed (title_id, valid_from, valid_until, threshold_ms, territories, is_asked, place)),
             days as (
               select title_id, range_agg(daterange(valid_from, valid_until, '[]')) as days from agreed group by title_id),
             chosen as (
               select coalesce(agreed.place, cardinality($6::text[]) + titles.place) * 5408
                        + ((ascii(facts.territory) - 65) * 26 + ascii(right(facts.territory, 1)) - 65) * 8
                        + coalesce(array_position($12::text[], facts.device_class), 0) as number, ",
            $columns,
            "  from facts
               join titles on titles.title_id = facts.title_id
               left join agreed on agreed.title_id = facts.title_id
                               and facts.day between agreed.valid_from and agreed.valid_until
                               and (agreed.territories is null or facts.territory = any(agreed.territories))
               left join days on days.title_id = facts.title_id
               where facts.day between $1 and $2 and coalesce(agreed.is_asked, titles.is_asked)) ",
            $then
        )
    };
}

macro_rules! bound {
    ($query:expr, $about:expr, $lists:expr) => {
        $query
            .bind($about.period.first)
            .bind($about.period.last)
            .bind(&$lists.titles)
            .bind(&$lists.has_contracts)
            .bind(&$lists.is_title_asked)
            .bind(&$lists.agreed)
            .bind(&$lists.from)
            .bind(&$lists.until)
            .bind(&$lists.thresholds_ms)
            .bind(&$lists.territories)
            .bind(&$lists.is_agreed_asked)
            // Their numbers are their places, from 1.
            .bind(DeviceClass::ALL.iter().map(|class| class.as_str()).collect::<Vec<_>>())
    };
}

#[derive(sqlx::FromRow)]
struct Sums {
    number: i64,
    plays: i64,
    qualified_views: i64,
    watched_ms: i64,
    aged_ms: i64,
    content_ms: i64,
    distinct_accounts: i64,
    outside_window_ms: i64,
    outside_territory_ms: i64,
}

/// Adds what was watched to what a statement is made from.
pub(super) async fn watched(
    about: &About,
    agreements: &Agreements,
    used: &mut Used,
    tx: &mut PgTransaction<'_>,
) -> Result<(), StatementError> {
    const SUMS: &str = with_chosen!(
        "facts.account_id, facts.played, facts.before_ms, facts.watched_ms, facts.aged_ms, facts.content_ms,
         coalesce(agreed.threshold_ms, $13) as threshold_ms,
         case when agreed.place is not null or not titles.has_contracts then 'inside'
              when coalesce(days.days @> facts.day, false) then 'territory'
              else 'window' end as outside",
        "select number, count(*) filter (where played) as plays,
                count(*) filter (where before_ms < threshold_ms and threshold_ms <= before_ms + watched_ms)
                  as qualified_views,
                sum(watched_ms)::bigint as watched_ms, sum(aged_ms)::bigint as aged_ms,
                sum(content_ms)::bigint as content_ms, count(distinct account_id) as distinct_accounts,
                coalesce(sum(watched_ms) filter (where outside = 'window'), 0)::bigint as outside_window_ms,
                coalesce(sum(watched_ms) filter (where outside = 'territory'), 0)::bigint as outside_territory_ms
         from chosen group by number"
    );
    let lists = Lists::of(agreements, about, unknown(about, agreements, tx).await?);
    let peaks = peaks(about, &lists, tx).await?;
    let mut sums =
        bound!(sqlx::query_as::<_, Sums>(SUMS), about, lists).bind(VIEW_THRESHOLD_MS.cast_signed()).fetch(&mut **tx);
    while let Some(sums) = sums.try_next().await? {
        if used.rows() >= ROWS_MAX {
            return Err(StatementError::TooLong);
        }
        let stranger = || StatementError::Kept(format!("no row has the number {}", sums.number));
        let figures = Figures {
            plays: sums.plays,
            qualified_views: sums.qualified_views,
            watched_ms: sums.watched_ms,
            aged_ms: sums.aged_ms,
            content_ms: sums.content_ms,
            distinct_accounts: sums.distinct_accounts,
            peak_concurrent: peaks.get(&sums.number).copied().unwrap_or(0),
            outside_window_ms: sums.outside_window_ms,
            outside_territory_ms: sums.outside_territory_ms,
            ..Figures::default()
        };
        let (heading, place) = lists.row(sums.number).ok_or_else(stranger)?;
        used.add(heading, place, figures);
    }
    Ok(())
}

/// Titles that were watched and aren't in the catalog; of one rights holder there are none.
async fn unknown(
    about: &About,
    agreements: &Agreements,
    tx: &mut PgTransaction<'_>,
) -> Result<Vec<String>, StatementError> {
    if about.rights_holder.is_some() {
        return Ok(Vec::new());
    }
    let mut titles: Vec<String> = sqlx::query_scalar("select distinct title_id from facts where day between $1 and $2")
        .bind(about.period.first)
        .bind(about.period.last)
        .fetch_all(&mut **tx)
        .await?;
    titles.retain(|title| !agreements.titles.contains_key(title));
    Ok(titles)
}

/// The most sessions of each row that watched at one instant.
async fn peaks(about: &About, lists: &Lists, tx: &mut PgTransaction<'_>) -> Result<HashMap<i64, i64>, StatementError> {
    // Intervals are half open: at one instant the ends, which are even, come before the beginnings.
    const PEAKS: &str = with_chosen!(
        "unnest(facts.intervals) as piece",
        ", edges as (
           select number, unnest(array[lower(piece) * 2 + 1, upper(piece) * 2]) as edge from chosen),
         running as (
           select number, sum(case edge & 1 when 1 then 1 else -1 end)
                            over (partition by number order by edge rows unbounded preceding) as concurrent
           from edges)
         select number, max(concurrent) as peak from running group by number"
    );
    Ok(bound!(sqlx::query_as::<_, (i64, i64)>(PEAKS), about, lists)
        .fetch(&mut **tx)
        .try_collect::<HashMap<_, _>>()
        .await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_for_a_row() {
        let about = |contract: &str| Place { holder: "h".into(), contract: contract.into(), title: "t".into() };
        let lists = Lists { about: vec![about("c"), about("")], ..Lists::default() };
        // As the statement makes it: of the second, in DE, on a tablet.
        let number = 2 * 5_408 + ((3 * 26) + 4) * 8 + 3;
        let (heading, (territory, class)) = lists.row(number).unwrap();
        assert_eq!((heading.contract.as_str(), territory.as_str(), class.as_str()), ("", "DE", "tablet"));
        assert_eq!(lists.row(5_408 + 675 * 8 + 6).map(|(_, (territory, _))| territory), Some(Territory::UNKNOWN));
        assert!([0, 5_408, 5_408 + 7, 3 * 5_408 + 1, -1].iter().all(|number| lists.row(*number).is_none()));
    }
}
