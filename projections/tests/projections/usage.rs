//! What people look at: the same figures as the facts that they are of, in every part and order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use pulsegate_projections::licensing::{self, KnownTitle, MostBy, Terms, UsageBy, UsageFigures, UsageQuestion};
use pulsegate_projections::statements::{self, About, Figures, Largest, Row, Rows, Selection, StatementError};
use sqlx::postgres::PgPoolOptions;

use crate::desk::{Desk, at_a_desk, catalog};
use crate::viewers::Viewers;

#[derive(Clone, sqlx::FromRow)]
struct Fact {
    account_id: String,
    title_id: String,
    day: chrono::NaiveDate,
    territory: String,
    device_class: String,
    played: bool,
    watched_ms: i64,
    aged_ms: i64,
    content_ms: i64,
}

/// The sums over facts, one by one.
fn naive<'a>(facts: impl Iterator<Item = &'a Fact>) -> UsageFigures {
    let mut accounts = BTreeSet::new();
    let mut figures = UsageFigures::default();
    for fact in facts {
        figures.plays += i64::from(fact.played);
        figures.watched_ms += fact.watched_ms;
        figures.aged_ms += fact.aged_ms;
        figures.content_ms += fact.content_ms;
        accounts.insert(&fact.account_id);
    }
    figures.distinct_accounts = i64::try_from(accounts.len()).unwrap();
    figures
}

fn question(by: UsageBy) -> UsageQuestion {
    UsageQuestion {
        period: "2026-Q4".parse().unwrap(),
        by,
        title: None,
        territory: None,
        device_class: None,
        most_by: MostBy::Watched,
        limit: 1_000,
    }
}

/// What a report is apart by, and how a fact says it.
type Part = (UsageBy, fn(&Fact) -> String);

/// The catalog knows the length of one film.
fn look(titles: &[String]) -> (HashMap<String, KnownTitle>, i64) {
    let known = KnownTitle { name: "A film".to_owned(), runtime_ms: Some(60_000) };
    (titles.iter().filter(|title| *title == "film-0").map(|title| (title.clone(), known.clone())).collect(), 3)
}

async fn usage_is_the_sum_of_its_facts(desk: &Desk<'_>) {
    let pool = &desk.bench.pool;
    let facts: Vec<Fact> = sqlx::query_as(
        "select account_id, title_id, day, territory, device_class, played, watched_ms, aged_ms, content_ms
         from licensing.facts",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let parts: [Part; 4] = [
        (UsageBy::Day, |fact| fact.day.to_string()),
        (UsageBy::Title, |fact| fact.title_id.clone()),
        (UsageBy::Territory, |fact| fact.territory.clone()),
        (UsageBy::DeviceClass, |fact| fact.device_class.clone()),
    ];
    for (by, of) in parts {
        let report = licensing::usage(pool, &question(by), look).await.unwrap();
        let mut expected: BTreeMap<String, Vec<Fact>> = BTreeMap::new();
        for fact in &facts {
            expected.entry(of(fact)).or_default().push(fact.clone());
        }
        assert_eq!(report.rows.len(), expected.len(), "{by:?}");
        assert_eq!(report.rows_in_all, i64::try_from(expected.len()).unwrap());
        for row in &report.rows {
            let figures = UsageFigures { completion_per_mille: None, ..row.figures };
            assert_eq!(figures, naive(expected[&row.of].iter()), "{by:?}, {}", row.of);
            let is_known = by == UsageBy::Title && row.of == "film-0";
            assert_eq!(row.name.is_some(), is_known, "{}", row.of);
            let completion = licensing::completion_per_mille(figures.plays, 60_000, figures.content_ms);
            assert_eq!(row.figures.completion_per_mille, completion.filter(|_| is_known));
        }
        assert_eq!(report.total, naive(facts.iter()), "{by:?}");
        let in_order = match by {
            UsageBy::Day => report.rows.is_sorted_by(|a, b| a.of < b.of),
            _ => report.rows.is_sorted_by(|a, b| a.figures.watched_ms >= b.figures.watched_ms),
        };
        assert!(in_order, "{by:?}: {:?}", report.rows);
    }
    let some = facts.iter().find(|fact| fact.title_id == "film-0" && fact.played).expect("somebody played it");
    let wanted = UsageQuestion {
        title: Some("film-0".parse().unwrap()),
        territory: Some(some.territory.parse().unwrap()),
        device_class: Some(some.device_class.parse().unwrap()),
        most_by: MostBy::Plays,
        limit: 1,
        ..question(UsageBy::Territory)
    };
    let part = licensing::usage(pool, &wanted, look).await.unwrap();
    let part_of = |fact: &Fact| (fact.title_id.clone(), fact.territory.clone(), fact.device_class.clone());
    let is_part = |fact: &&Fact| part_of(fact) == part_of(some);
    let total = UsageFigures { completion_per_mille: None, ..part.total };
    assert_eq!(total, naive(facts.iter().filter(is_part)));
    assert!(total.plays > 0 && part.total.completion_per_mille.is_some() && part.rows.len() == 1);
    assert_eq!(part.as_of.first().map(|one| (one.topic.as_str(), one.offset)), Some(("catalog", 2)));
    let first = licensing::usage(pool, &UsageQuestion { limit: 1, ..question(UsageBy::Title) }, look).await.unwrap();
    assert!(first.rows.len() == 1 && first.rows_in_all > 1 && first.total == naive(facts.iter()));

    // What is owed for is reckoned from the same plays.
    let asked = licensing::Question { period: "2026-Q4".parse().unwrap(), rights_holder: None, territory: None };
    let owed = licensing::report(pool, &asked, |_| Terms::default()).await.unwrap().totals.of_plays;
    let all = first.total;
    let of_plays = (owed.plays, owed.watched_ms, owed.aged_ms, owed.content_ms, owed.distinct_accounts);
    assert_eq!(of_plays, (all.plays, all.watched_ms, all.aged_ms, all.content_ms, all.distinct_accounts));
}

/// Whoever gives a question up as it begins leaves a connection within a transaction.
async fn who_went_away_is_in_nobodys_way(desk: &Desk<'_>) {
    let options = desk.bench.pool.connect_options().as_ref().clone();
    let pool = PgPoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
    let mut connection = pool.acquire().await.unwrap();
    sqlx::raw_sql("begin; select 1").execute(&mut *connection).await.unwrap();
    drop(connection);
    let report = licensing::usage(&pool, &question(UsageBy::Day), look).await.unwrap();
    assert!(!report.rows.is_empty());
    pool.close().await;
}

async fn a_page_is_a_part_of_the_statement(desk: &Desk<'_>, about: &About) {
    let whole = desk.provisional(about).await;
    for selection in [
        Selection::default(),
        Selection { territory: Some("DE".parse().unwrap()), ..Selection::default() },
        Selection {
            contract_id: Some("ada-2".parse().unwrap()),
            device_class: Some("mobile".parse().unwrap()),
            ..Selection::default()
        },
    ] {
        let rows = Rows::of(whole.rows.clone());
        let page = statements::page(whole.head.clone(), rows, &selection, Largest::Watched, 3).await.unwrap();
        let is_chosen = |row: &&Row| {
            selection.territory.is_none_or(|territory| territory.as_str() == row.key.territory)
                && selection.contract_id.as_ref().is_none_or(|contract| contract.as_str() == row.key.contract_id)
                && selection.device_class.is_none_or(|class| class.as_str() == row.key.device_class)
        };
        let mut chosen: Vec<_> = whole.rows.iter().filter(is_chosen).cloned().collect();
        let sum = |part: fn(&Figures) -> i64| chosen.iter().map(|row| part(&row.figures)).sum::<i64>();
        assert_eq!(page.totals.watched_ms, sum(|one| one.watched_ms));
        assert_eq!((page.totals.plays, page.totals.views), (sum(|one| one.plays), sum(|one| one.views)));
        assert!(page.rows_in_all == chosen.len() && page.rows_in_all > 0);
        chosen.sort_by_key(|row| (-row.figures.watched_ms, row.key.clone()));
        chosen.truncate(3);
        assert_eq!(page.rows, chosen);
        assert!(page.due.contains_key("EUR") && page.due.contains_key("JPY"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_looked_at_is_what_is_there() {
    at_a_desk(async |desk| {
        desk.register(&catalog()).await;
        desk.append(&Viewers::new(33, 5).events(1_200)).await;
        let about = About { period: "2026-Q4".parse().unwrap(), rights_holder: None };
        // What isn't folded yet is waited for.
        let pool = &desk.bench.pool;
        let deadline = Duration::from_mins(1);
        let needed = statements::caught_up(pool, &desk.settings, &about.period, deadline).await.unwrap();
        let ends = desk.bench.ends().await;
        assert_eq!(needed.iter().map(|one| (one.partition, one.offset + 1)).collect::<BTreeMap<_, _>>(), ends);
        desk.folded().await;
        usage_is_the_sum_of_its_facts(desk).await;
        who_went_away_is_in_nobodys_way(desk).await;
        a_page_is_a_part_of_the_statement(desk, &about).await;

        // A read model that stands still lets nothing be closed but what no late heartbeat can belong to any more.
        let held =
            "update pulsegate.projection_offsets set next_offset = next_offset - 1 where build like 'licensing%'";
        sqlx::query(held).execute(pool).await.unwrap();
        let lagging = statements::caught_up(pool, &desk.settings, &about.period, Duration::ZERO).await;
        assert!(matches!(lagging, Err(StatementError::Lagging { records: 2, partitions: 2 })), "{lagging:?}");
        let long_ago = "2020-01".parse().unwrap();
        let settled = statements::caught_up(pool, &desk.settings, &long_ago, Duration::ZERO).await.unwrap();
        let agreements = async || desk.agreements().await;
        let closed = statements::close(pool, &about, agreements, chrono::Utc::now(), true, async || Ok(needed)).await;
        assert!(matches!(closed, Err(StatementError::Backwards)), "{closed:?}");
        let about = About { period: long_ago, ..about };
        statements::close(pool, &about, agreements, chrono::Utc::now(), false, async || Ok(settled)).await.unwrap();
        let back =
            "update pulsegate.projection_offsets set next_offset = next_offset + 1 where build like 'licensing%'";
        sqlx::query(back).execute(pool).await.unwrap();
    })
    .await;
}
