//! Reports of licensing: what a second calculation from the raw events says, to the unit.

use std::collections::{BTreeMap, BTreeSet};

use chrono::DateTime;
use pulsegate_domain::catalog::Catalog;
use pulsegate_domain::event::{CatalogEvent, ContractRegistered, TitleRegistered};
use pulsegate_domain::ids::ContentKind;
use pulsegate_projections::licensing::{self, Licensing, Question, Row, Terms};
use pulsegate_projections::runner::{Source, Worker};

use crate::licensing::{PARTITION, records_of};
use crate::section_five::{Step, tell};
use crate::services::on_a_database;

fn catalog() -> Catalog {
    let mut catalog = Catalog::default();
    for (title, holder) in [("film-0", "ada"), ("film-1", "ada"), ("film-2", "bob")] {
        catalog.apply(CatalogEvent::TitleRegistered(TitleRegistered {
            title_id: title.parse().unwrap(),
            name: title.into(),
            content_kind: ContentKind::Vod,
            rights_holder_id: holder.parse().unwrap(),
            runtime_ms: None,
        }));
    }
    for contract in contracts() {
        catalog.apply(CatalogEvent::ContractRegistered(contract));
    }
    catalog
}

/// Everything of Ada's; a second one for one film in Germany; one of Bob's that ends in the month; one of Cleo's for a
/// film of Bob's, for everybody who saw a moment of it; one that has nothing to do with the month.
fn contracts() -> Vec<ContractRegistered> {
    let contract = |id: &str, holder: &str, titles: Option<&[&str]>, territories: Option<&[&str]>, from: &str| {
        ContractRegistered {
            contract_id: id.parse().unwrap(),
            rights_holder_id: holder.parse().unwrap(),
            title_ids: titles.map(|titles| titles.iter().map(|title| title.parse().unwrap()).collect()),
            territories: territories.map(|all| all.iter().map(|one| one.parse().unwrap()).collect()),
            valid_from: from.parse().unwrap(),
            valid_until: None,
            view_threshold_ms: None,
            terms: serde_json::Map::new(),
        }
    };
    let until = |day: &str| Some(day.parse().unwrap());
    vec![
        contract("ada-1", "ada", None, None, "2020-01-01"),
        ContractRegistered {
            view_threshold_ms: Some(60_000),
            ..contract("ada-2", "ada", Some(&["film-0", "film-0"]), Some(&["DE", "AT"]), "2026-10-25")
        },
        ContractRegistered {
            valid_until: until("2026-10-31"),
            ..contract("bob-1", "bob", None, Some(&["FR"]), "2026-10-25")
        },
        ContractRegistered {
            view_threshold_ms: Some(0),
            ..contract("cleo-1", "cleo", Some(&["film-2", "film-3"]), None, "2026-10-01")
        },
        ContractRegistered { valid_until: until("2026-09-30"), ..contract("ada-0", "ada", None, None, "2020-01-01") },
    ]
}

/// Rights holder, contract, title, territory.
type RowKey = (Option<String>, Option<String>, String, String);

/// The report once more, from the steps of every session: nothing of it is the report's own way.
fn recount(steps: &[Step], question: &Question) -> Vec<Row> {
    let owners = BTreeMap::from([("film-0", "ada"), ("film-1", "ada"), ("film-2", "bob")]);
    let mut rows: BTreeMap<RowKey, Vec<(&Step, i128)>> = BTreeMap::new();
    for step in steps.iter().filter(|step| (question.period.first()..=question.period.last()).contains(&step.day)) {
        let (title, territory) = (step.title.as_str(), step.territory.as_str());
        let owner = owners.get(title).copied();
        let in_force = |contract: &ContractRegistered| {
            let of_title = match &contract.title_ids {
                Some(titles) => titles.iter().any(|one| one.as_str() == title),
                None => owner == Some(contract.rights_holder_id.as_str()),
            };
            let there = contract.territories.as_ref().is_none_or(|all| all.contains(&step.territory));
            let then = contract.valid_from <= step.day && contract.valid_until.is_none_or(|until| step.day <= until);
            owner.is_some() && of_title && there && then
        };
        let in_force: Vec<_> = contracts().into_iter().filter(in_force).collect();
        let mut add = |holder: Option<&str>, contract: Option<&str>, threshold: i128| {
            let key = (holder.map(Into::into), contract.map(Into::into), title.into(), territory.into());
            rows.entry(key).or_default().push((step, threshold));
        };
        if in_force.is_empty() {
            add(owner, None, 30_000);
        }
        for contract in in_force {
            let threshold = contract.view_threshold_ms.unwrap_or(30_000).max(1).into();
            add(Some(contract.rights_holder_id.as_str()), Some(contract.contract_id.as_str()), threshold);
        }
    }
    let mut rows: Vec<_> = rows.into_iter().map(|(key, steps)| row(key, &steps, question)).collect();
    let wanted = |row: &Row| {
        question.territory.as_ref().is_none_or(|territory| territory.as_str() == row.territory)
            && question
                .rights_holder
                .as_ref()
                .is_none_or(|holder| Some(holder.as_str()) == row.rights_holder_id.as_deref())
    };
    rows.retain(wanted);
    // What has none comes last.
    let last = |id: &Option<String>| (id.is_none(), id.clone());
    rows.sort_by_key(|row| {
        (last(&row.rights_holder_id), last(&row.contract_id), row.title_id.clone(), row.territory.clone())
    });
    rows
}

fn row(
    (rights_holder_id, contract_id, title_id, territory): RowKey,
    steps: &[(&Step, i128)],
    question: &Question,
) -> Row {
    let sum = |part: fn(&Step) -> i128| i64::try_from(steps.iter().map(|(step, _)| part(step)).sum::<i128>()).unwrap();
    let reached =
        steps.iter().filter(|(step, from)| step.before < *from && *from <= step.before + step.watched).count();
    let instants = steps.iter().filter_map(|(step, _)| step.interval).map(|(from, _)| from);
    let watching = |at: i64| {
        let covering = steps.iter().filter(|(step, _)| step.interval.is_some_and(|(from, to)| from <= at && at < to));
        covering.map(|(step, _)| (&step.account, step.session)).collect::<BTreeSet<_>>().len()
    };
    let accounts: BTreeSet<_> = steps.iter().map(|(step, _)| &step.account).collect();
    Row {
        period: question.period.to_string(),
        rights_holder_id,
        contract_id,
        title_id,
        territory,
        plays: sum(|step| i128::from(step.plays)),
        qualified_views: i64::try_from(reached).unwrap(),
        watched_ms: sum(|step| step.watched),
        aged_ms: sum(|step| step.aged),
        content_ms: sum(|step| step.content),
        distinct_accounts: i64::try_from(accounts.len()).unwrap(),
        peak_concurrent: i64::try_from(instants.map(watching).max().unwrap_or(0)).unwrap(),
    }
}

fn asked(period: &str, rights_holder: Option<&str>, territory: Option<&str>) -> Question {
    Question {
        period: period.parse().unwrap(),
        rights_holder: rights_holder.map(|id| id.parse().unwrap()),
        territory: territory.map(|two| two.parse().unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_what_the_raw_events_say_to_the_unit() {
    on_a_database(async |pool| {
        let worker = Worker::new(Licensing, pool.clone());
        let mut steps = Vec::new();
        for partition in 0..3_i32 {
            let log = records_of(100 + u64::from(partition.unsigned_abs()), 3_000);
            let source = Source { partition, ..PARTITION };
            let mut held = worker.take(source).await.unwrap();
            for batch in log.chunks(700) {
                worker.commit(&mut held, batch).await.unwrap();
            }
            steps.extend(tell(&log).into_values().flat_map(|told| told.steps));
        }
        let catalog = catalog();
        let mut rows_in_all = 0;
        for question in [
            asked("2026-10", None, None),
            asked("2026-11", None, None),
            asked("2026-10-31", None, None),
            asked("2026-10-24", Some("ada"), None),
            asked("2026-11", Some("cleo"), Some("DE")),
            asked("2026-10", None, Some("FR")),
            asked("2026-10", Some("nobody"), None),
            asked("2025-10", None, None),
        ] {
            let terms = |titles: &[String]| Terms::of(&catalog, 9, titles, &question.period);
            let report = licensing::report(pool, &question, terms).await.unwrap();
            assert_eq!(report.rows, recount(&steps, &question), "{question:?}");
            rows_in_all += report.rows.len();
            let once: Vec<_> = report.rows.iter().map(|row| row.watched_ms).collect();
            assert_eq!(report.totals.of_rows.watched_ms, once.iter().sum::<i64>());
            assert!(report.totals.of_plays.watched_ms <= report.totals.of_rows.watched_ms);
            let as_of: Vec<_> =
                report.as_of.iter().map(|one| (one.topic.as_str(), one.partition, one.offset)).collect();
            assert_eq!(
                as_of,
                [("catalog", 0, 8), ("playback", 0, 2_999), ("playback", 1, 2_999), ("playback", 2, 2_999)]
            );
        }
        assert!(rows_in_all > 40, "only {rows_in_all} rows");

        let october = asked("2026-10", None, None);
        let terms = |titles: &[String]| Terms::of(&catalog, 9, titles, &october.period);
        let report = licensing::report(pool, &october, terms).await.unwrap();
        let in_october: Vec<_> = steps.iter().filter(|step| step.day <= october.period.last()).collect();
        let watched: i128 = in_october.iter().map(|step| step.watched).sum();
        assert_eq!(i128::from(report.totals.of_plays.watched_ms), watched);
        assert!(report.totals.of_rows.watched_ms > report.totals.of_plays.watched_ms, "nothing has two contracts");
        assert!(report.rows.iter().any(|row| row.rights_holder_id.is_none() && row.title_id == "film-3"));
        assert!(report.rows.iter().any(|row| row.qualified_views > 0 && row.peak_concurrent > 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_only_servers_tell_of_are_counted_and_have_no_watch_time() {
    on_a_database(async |pool| {
        let at = DateTime::from_timestamp_millis(1_793_489_400_000).unwrap();
        for (offset, session, decision) in [
            (0, "74738ff5-5367-5958-9aee-98fffdcd1876", "grant"),
            (1, "74738ff5-5367-5958-9aee-98fffdcd1876", "end"),
            (2, "019ab0c4-7e1a-7abc-8def-0123456789ab", "grant"),
        ] {
            sqlx::query(
                "insert into active_sessions_v1.decisions
                   (account_id, partition, log_offset, ordinal, decision, session_id, counted, at)
                 values ('a', 0, $1, 0, $2, $3::text::uuid, '{}', $4)",
            )
            .bind(offset)
            .bind(decision)
            .bind(session)
            .bind(at)
            .execute(pool)
            .await
            .unwrap();
        }
        for (period, inferred) in [("2026-10", 1), ("2026-10-31", 1), ("2026-11", 0), ("2026-10-30", 0)] {
            let question = asked(period, None, None);
            let report = licensing::report(pool, &question, |_| Terms::default()).await.unwrap();
            assert_eq!((report.inferred_sessions, report.rows.len()), (inferred, 0), "{period}");
        }
    })
    .await;
}
