//! Packs: whatever is packed, whenever, what is read from them is what is read from the facts themselves.

use std::cell::Cell;

use chrono::NaiveDate;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use pulsegate_domain::catalog::Catalog;
use pulsegate_projections::clickstream::Resolution;
use pulsegate_projections::concurrency::{self, Per};
use pulsegate_projections::licensing::{self, Licensing, Packed, Question, Terms, UsageBy, UsageQuestion};
use pulsegate_projections::runner::{Source, Worker};
use pulsegate_projections::statements::{self, About, Agreements};
use sqlx::PgPool;

use crate::desk;
use crate::licensing::{PARTITION, records_of};
use crate::services::on_a_database;

/// The first day of which anything is told, and some after it.
fn day(after: u64) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 10, 31).unwrap().checked_add_days(chrono::Days::new(after)).unwrap()
}

/// Who asks for statements wants to know that the other read model is as far.
async fn let_the_other_be_far(pool: &PgPool) {
    sqlx::query(
        "insert into pulsegate.projection_offsets (build, topic, partition, next_offset, clock_ms)
         select 'active_sessions_v1', 'playback', partition, 1000000, 0 from generate_series(0, 2) as partition",
    )
    .execute(pool)
    .await
    .unwrap();
}

/// Every answer that is read from packs, as text.
async fn answers(pool: &PgPool, catalog: &Catalog) -> Vec<String> {
    let mut answers = Vec::new();
    for (period, holder) in [
        ("2026-Q4", None),
        ("2026-10", None),
        ("2026-11", None),
        ("2026-11", Some("ada")),
        ("2026-Q4", Some("cleo")),
        ("2026-10-31--2026-11-02", None),
        ("2026-11-03", Some("bob")),
    ] {
        let about = About { period: period.parse().unwrap(), rights_holder: holder.map(|id| id.parse().unwrap()) };
        let agreements = async || Some(Agreements::of(catalog, 9));
        let statement = statements::provisional(pool, &about, agreements).await.unwrap();
        answers.push(format!("{period} {holder:?}: {} {:#?}", statement.head.service_watched_ms, statement.rows));
        let territory = holder.map(|_| "DE".parse().unwrap());
        let asked = Question { period: about.period.clone(), rights_holder: about.rights_holder.clone(), territory };
        let terms = |titles: &[String]| Terms::of(catalog, 9, titles, &asked.period);
        let report = licensing::report(pool, &asked, terms).await.unwrap();
        answers.push(format!("{:#?} {:#?}", report.rows, report.totals));
    }
    for by in [UsageBy::Day, UsageBy::Title, UsageBy::Territory, UsageBy::DeviceClass] {
        for limit in [1, 1_000] {
            let of_some = by == UsageBy::Day && limit == 1;
            let asked = UsageQuestion {
                period: "2026-Q4".parse().unwrap(),
                by,
                title: of_some.then(|| "film-1".parse().unwrap()),
                territory: (by == UsageBy::DeviceClass).then(|| "DE".parse().unwrap()),
                device_class: None,
                most_by: licensing::MostBy::Accounts,
                limit,
            };
            let usage = licensing::usage(pool, &asked, |_| Default::default()).await.unwrap();
            answers.push(format!("{:#?} {} {:#?}", usage.rows, usage.rows_in_all, usage.total));
        }
    }
    for (period, per) in [
        ("2026-11", Per::Everything),
        ("2026-Q4", Per::Title),
        ("2026-10-31", Per::Territory),
        ("2026-11-02", Per::DeviceClass),
    ] {
        for by in [Resolution::Minute, Resolution::Day] {
            let top = (per == Per::Title).then_some(2);
            let asked = concurrency::Question { top, ..concurrency::Question::of(period.parse().unwrap(), by, per) };
            let found = concurrency::concurrency(pool, &asked).await;
            answers.push(format!("{:#?}", found.map(|found| found.streams).map_err(|error| error.to_string())));
        }
    }
    answers
}

/// Fails unless packs say what the facts say.
async fn agrees(pool: &PgPool, catalog: &Catalog) {
    let of_packs = answers(pool, catalog).await;
    let rename = |sql| sqlx::query(sql).execute(pool);
    rename("alter table licensing_v4.packs rename to packs_aside").await.unwrap();
    let of_facts = answers(pool, catalog).await;
    rename("alter table licensing_v4.packs_aside rename to packs").await.unwrap();
    for (of_packs, of_facts) in of_packs.iter().zip(&of_facts) {
        assert_eq!(of_packs, of_facts);
    }
}

fn catalog() -> Catalog {
    let mut catalog = Catalog::default();
    for event in desk::catalog() {
        catalog.apply(event);
    }
    catalog
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_packed_whenever_the_figures_are_those_of_the_facts() {
    on_a_database(async |pool| {
        let_the_other_be_far(pool).await;
        let (runtime, catalog) = (tokio::runtime::Handle::current(), catalog());
        let worker = Worker::new(Licensing, pool.clone());
        let steps = prop::collection::vec((1_usize..220, prop::option::of(0_u64..9)), 2..5);
        let again = Cell::new(0);
        let check = |(seed, steps): (u32, Vec<(usize, Option<u64>)>)| {
            runtime.block_on(async {
                for sql in [
                    "truncate licensing_v4.sessions, licensing_v4.facts, licensing_v4.accounts, licensing_v4.packs,
                              licensing_v4.packed_months, licensing_v4.sealed, licensing_v4.changed",
                    "delete from pulsegate.projection_offsets where build = 'licensing_v4'",
                ] {
                    sqlx::query(sql).execute(pool).await.unwrap();
                }
                let log = records_of(seed.into(), 600);
                let mut partition = worker.take(PARTITION).await.unwrap();
                let mut stands = 0;
                for (length, until) in steps {
                    let end = (stands + length).min(log.len());
                    worker.commit(&mut partition, &log[stands..end]).await.unwrap();
                    stands = end;
                    if let Some(until) = until {
                        licensing::pack(pool, day(until)).await.unwrap().unwrap();
                    }
                }
                worker.commit(&mut partition, &log[stands..]).await.unwrap();
                agrees(pool, &catalog).await;
                let late = sqlx::query_scalar::<_, i64>("select count(*) from licensing_v4.changed");
                let late = late.fetch_one(pool).await.unwrap();
                let packed = licensing::pack(pool, day(2)).await.unwrap().unwrap();
                again.set(again.get() + i32::from(late > 0 && packed.facts > 0));
                agrees(pool, &catalog).await;
                let nothing_new = licensing::pack(pool, day(0)).await.unwrap();
                assert_eq!(nothing_new, Some(Packed::default()));
            });
            Ok(())
        };
        tokio::task::block_in_place(|| {
            let config = Config { cases: 6, failure_persistence: None, ..Config::default() };
            TestRunner::new(config).run(&(any::<u32>(), steps), check).unwrap();
        });
        assert!(again.get() > 0, "nothing came late");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missed_by_packing_beside_the_fold() {
    on_a_database(async |pool| {
        let_the_other_be_far(pool).await;
        let catalog = catalog();
        let folding = async {
            let folds = (0..3_i32).map(|partition| async move {
                let worker = Worker::new(Licensing, pool.clone());
                let mut held = worker.take(Source { partition, ..PARTITION }).await.unwrap();
                for batch in records_of(40 + u64::from(partition.unsigned_abs()), 1_200).chunks(23) {
                    worker.commit(&mut held, batch).await.unwrap();
                }
            });
            futures_util::future::join_all(folds).await;
        };
        let mut passes = 0;
        let packing = async {
            // A day further each time, and then over again what has changed.
            loop {
                licensing::pack(pool, day(passes % 40)).await.unwrap();
                passes += 1;
            }
        };
        tokio::select! {
            () = folding => {}
            () = packing => {}
        }
        assert!(passes > 3, "only {passes} passes");
        agrees(pool, &catalog).await;
        // A pass that was cut short held on to nothing.
        assert!(licensing::pack(pool, day(60)).await.unwrap().is_some());
        agrees(pool, &catalog).await;
        let left: i64 = sqlx::query_scalar("select count(*) from licensing_v4.changed").fetch_one(pool).await.unwrap();
        assert_eq!(left, 0);
    })
    .await;
}
