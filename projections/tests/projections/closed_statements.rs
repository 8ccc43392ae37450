//! Statements: what the read models make of a random history is what a fold of the log makes of it, through closing, late
//! events, restatement and closing again; and what was closed stands.

use pulsegate_projections::licensing;
use pulsegate_projections::statements::export::{Format, Writer};
use pulsegate_projections::statements::{self, About, Figures, Head, Row, StatementError};
use serde_json::json;

use crate::desk::{Desk, at_a_desk, catalog, contract, title};
use crate::viewers::Viewers;

fn about(holder: Option<&str>) -> About {
    About { period: "2026-Q4".parse().unwrap(), rights_holder: holder.map(|id| id.parse().unwrap()) }
}

fn sum(rows: &[Row], part: fn(&Figures) -> i64) -> i64 {
    rows.iter().map(|row| part(&row.figures)).sum()
}

fn due<'a>(head: &'a Head, contract: &str) -> &'a str {
    let found = head.contracts.iter().find(|one| one.contract_id == contract).unwrap();
    &found.due.as_ref().unwrap().amount
}

async fn exported(desk: &Desk<'_>, about: &About, revision: u32, format: Format) -> String {
    let (head, mut rows) = statements::find(&desk.bench.pool, about, Some(revision)).await.unwrap().unwrap();
    let (mut writer, mut bytes) = Writer::begin(format, about, &head).unwrap();
    while let Some(page) = rows.next().await {
        bytes.extend(writer.rows(&head, &page.unwrap()).unwrap());
    }
    bytes.extend(writer.end().unwrap());
    String::from_utf8(bytes).unwrap()
}

async fn received(desk: &Desk<'_>, all: &About) {
    // Who receives it can check it, and nothing in it can be changed unnoticed.
    let text = exported(desk, all, 3, Format::Json).await;
    let (_, read, verdict) = statements::verify_file(&text).unwrap();
    assert!(verdict.same && read.rows.len() == verdict.rows, "{verdict:?}");
    let paid = read.rows.iter().find(|row| row.key.currency == "EUR" && !row.amount.is_zero()).unwrap();
    let amount = format!("\"amount\":\"{}\"}}", paid.amount);
    for (what, from, to) in [
        ("a figure", "\"plays\":1,", "\"plays\":2,"),
        ("an amount", amount.as_str(), "\"amount\":\"77.77\"}"),
        (
            "an offset",
            "\"topic\":\"playback\",\"partition\":0,\"offset\":",
            "\"topic\":\"playback\",\"partition\":0,\"offset\":1",
        ),
        ("a contract", "12.345", "12.346"),
    ] {
        assert!(text.contains(from), "{what}: {from} is not in the file");
        let (_, _, verdict) = statements::verify_file(&text.replacen(from, to, 1)).unwrap();
        assert!(!verdict.same, "{what} was changed and nobody noticed");
    }
    let (_, _, verdict) = statements::verify_file(&text.replacen(&amount, "\"amount\":\"77.77\"}", 1)).unwrap();
    assert!(verdict.differences.iter().any(|one| one.figure == "amount" && one.said == "77.77"), "{verdict:?}");

    let csv = exported(desk, all, 3, Format::Csv).await;
    assert_eq!(csv.lines().count(), read.rows.len() + 1);
    let table = exported(desk, all, 3, Format::Tsv).await;
    let of = |kind: &str| table.lines().filter(|line| line.split('\t').next() == Some(kind)).count();
    assert_eq!((of("HEAD"), of("SU01"), of("FOOT")), (1, read.rows.len(), 1));
    assert!(of("AS01") > 3 && of("SY01") == read.head.contracts.len());
    let foot = format!("FOOT\t{}\t{}", table.lines().count(), read.rows.len());
    assert_eq!(table.lines().last(), Some(foot.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_closed_stands_and_what_arrives_later_is_a_restatement() {
    at_a_desk(async |desk| {
        desk.register(&catalog()).await;
        let mut viewers = Viewers::new(77, 6);
        desk.append(&viewers.events(3_000)).await;
        desk.folded().await;
        let all = about(None);

        // Every kind of row is there, and each is what the log says.
        let now = desk.provisional(&all).await;
        let folded = desk.recount(&all, &now.head).await;
        let verdict = statements::compare(&now, &folded);
        assert!(verdict.same && verdict.rows > 30, "{verdict:?}");
        assert_eq!(now.head.sha256, folded.head.sha256);
        assert_eq!(now.head.problems, []);
        for (what, part) in [
            ("plays", (|row| row.plays) as fn(&Figures) -> i64),
            ("views", |row| row.views),
            ("late", |row| row.aged_ms),
            ("blocked", |row| row.blocked_attempts),
            ("outside the window", |row| row.outside_window_ms),
            ("outside the territory", |row| row.outside_territory_ms),
        ] {
            assert!(sum(&now.rows, part) > 0, "nothing is {what}");
        }
        assert!(now.rows.iter().any(|row| row.key.rights_holder_id.is_empty()), "no row without an owner");
        assert!(now.rows.iter().any(|row| row.key.device_class == "tv"), "no row of a class of device");
        assert!(now.rows.iter().any(|row| row.key.territory.is_empty() && row.figures.views > 0), "no row of a title");
        assert_ne!(due(&now.head, "bob-1"), "71");
        assert_ne!(due(&now.head, "ada-2"), "0.00");

        // Packed or not, it says the same; and from here on it is made from packs and what they lack.
        let middle = "select min(day) + (max(day) - min(day)) / 2 from licensing.facts";
        let middle = sqlx::query_scalar(middle).fetch_one(&desk.bench.pool).await.unwrap();
        assert!(licensing::pack(&desk.bench.pool, middle).await.unwrap().unwrap().facts > 0);
        assert_eq!(desk.provisional(&all).await.rows, now.rows);

        // Closed, it stands: whoever tries to change it is told no.
        let closed = desk.close(&all).await.unwrap();
        assert_eq!((closed.head.revision, closed.rows), (1, now.rows.len()));
        assert!(matches!(desk.close(&all).await, Err(StatementError::ClosedAlready(_))));
        for sql in [
            "update pulsegate.statement_rows set plays = plays + 1",
            "delete from pulsegate.statement_rows",
            "update pulsegate.statements set sha256 = ''",
            "truncate pulsegate.statements cascade",
        ] {
            let error = sqlx::query(sql).execute(&desk.bench.pool).await.unwrap_err().to_string();
            assert!(error.contains("a closed statement stands"), "{sql}: {error}");
        }
        let first = desk.verified(&all, 1).await;
        assert_eq!(first.rows, now.rows);
        assert!(desk.restate(&all).await.is_none(), "nothing had changed");

        // What arrives later is signed, and the sum is what the log says then.
        desk.append(&viewers.events(700)).await;
        desk.folded().await;
        let restated = desk.restate(&all).await.unwrap();
        assert_eq!((restated.head.revision, restated.head.previous_sha256.as_ref()), (2, Some(&first.head.sha256)));
        let (_, added) = statements::added(&desk.bench.pool, &all, 2).await.unwrap().unwrap();
        let added = added.all().await.unwrap();
        let second = desk.verified(&all, 2).await;
        for part in
            [(|row| row.watched_ms) as fn(&Figures) -> i64, |row| row.distinct_accounts, |row| row.peak_concurrent]
        {
            assert_eq!(sum(&first.rows, part) + sum(&added, part), sum(&second.rows, part));
        }
        assert!(sum(&added, |row| row.watched_ms) > 0);
        assert_eq!(desk.verified(&all, 1).await.rows, first.rows, "what was closed has changed");

        // A contract that is mended later takes money back.
        let cheaper = json!({"rights_holder_id": "ada", "title_ids": ["film-0"], "valid_from": "2020-01-01",
                             "payment": {"currency": "EUR", "per_view": "0.01", "rounding": "half_up"}});
        desk.register(&[contract("ada-1", &cheaper)]).await;
        let third = desk.restate(&all).await.unwrap();
        assert_eq!(third.head.revision, 3);
        let (_, added) = statements::added(&desk.bench.pool, &all, 3).await.unwrap().unwrap();
        assert!(added.all().await.unwrap().iter().any(|row| row.amount.is_sign_negative() && row.figures.plays == 0));
        desk.verified(&all, 3).await;
        let listed = statements::list(&desk.bench.pool).await.unwrap();
        assert_eq!(listed.iter().map(|one| one.revision).collect::<Vec<_>>(), [3, 2, 1]);

        // One rights holder's, which has nothing of anybody else's.
        let ada = about(Some("ada"));
        desk.close(&ada).await.unwrap();
        let of_ada = desk.verified(&ada, 1).await;
        assert!(of_ada.rows.iter().all(|row| row.key.rights_holder_id == "ada") && !of_ada.rows.is_empty());
        assert!(of_ada.head.contracts.iter().all(|one| one.rights_holder_id == "ada"));

        received(desk, &all).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_closed_while_an_amount_cannot_be_told() {
    at_a_desk(async |desk| {
        let no_length = json!({"rights_holder_id": "ada", "title_ids": ["film-1"], "valid_from": "2026-10-01",
                               "counting": {"views": "hours_by_runtime"}, "payment": {"currency": "EUR", "per_view": "1"}});
        let no_pool = json!({"rights_holder_id": "bob", "valid_from": "2026-10-01",
                             "payment": {"currency": "EUR", "revenue_share": {"percent": "1"}}});
        let old = json!({"rights_holder_id": "bob", "valid_from": "2026-10-01", "payment": "as usual"});
        desk.register(&[title("film-1", "ada", None), title("film-2", "bob", None)]).await;
        desk.register(&[contract("a", &no_length), contract("b", &no_pool), contract("c", &old)]).await;
        desk.append(&Viewers::new(3, 4).events(400)).await;
        desk.folded().await;
        let all = about(None);
        let error = desk.close(&all).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "3 amounts can't be told: contract a: title film-1: the title has no runtime_ms, by which its views are counted; \
             contract b: its revenue_share names no pool for 2026-10; contract c: /payment must be an object"
        );
        assert!(matches!(
            statements::restate(&desk.bench.pool, &all, async || desk.agreements().await, chrono::Utc::now()).await,
            Err(StatementError::NotClosed(_))
        ));
        let soon = About { period: "2026-10".parse().unwrap(), rights_holder: None };
        let on_the_7th = chrono::DateTime::parse_from_rfc3339("2026-11-07T23:59:59Z").unwrap().to_utc();
        let agreements = async || desk.agreements().await;
        let early = statements::close(&desk.bench.pool, &soon, agreements, on_the_7th, false, async || Ok(Vec::new())).await.unwrap_err();
        assert_eq!(
            early.to_string(),
            "heartbeats of 2026-10 may come until 2026-11-08; closed earlier, they would be a restatement"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_closed_while_a_record_of_it_is_parked() {
    at_a_desk(async |desk| {
        desk.register(&catalog()).await;
        desk.append(&Viewers::new(5, 4).events(300)).await;
        desk.folded().await;
        let all = about(None);
        let park = async |build: &str, offset: i64, at: &str| {
            sqlx::query(
                "insert into pulsegate.dead_letters (build, topic, partition, log_offset, logged_at, error, kind)
                 values ($1, 'playback', 0, $2, $3::text::timestamptz, 'a bug', 'parked')",
            )
            .bind(build.to_owned())
            .bind(offset)
            .bind(at.to_owned())
            .execute(&desk.bench.pool)
            .await
            .unwrap();
        };
        // Of another time, of what isn't in it yet, and of another read model.
        park("licensing_v4", 1, "2026-09-30T23:59:59Z").await;
        park("licensing_v4", 2, "2027-01-08T00:00:00Z").await;
        park("licensing_v4", 1_000_000, "2026-10-31T12:00:00Z").await;
        park("clickstream_v2", 3, "2026-10-31T12:00:00Z").await;
        let in_it = [("licensing_v4", 7, "2026-10-31T12:00:00Z"), ("active_sessions_v1", 9, "2027-01-07T23:59:59Z")];
        for (build, offset, at) in in_it {
            park(build, offset, at).await;
        }
        let error = desk.close(&all).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "2 records that may belong to it are parked: active_sessions playback/0@9; licensing playback/0@7; settle them \
             with `pulsegate dead-letters retry` or `skip`"
        );
        let settle = "update pulsegate.dead_letters set kind = 'retried', settled_at = now() where log_offset in (7, 9)";
        sqlx::query(settle).execute(&desk.bench.pool).await.unwrap();
        desk.close(&all).await.unwrap();
        park("licensing_v4", 8, "2026-11-01T00:00:00Z").await;
        desk.append(&Viewers::new(6, 4).events(50)).await;
        desk.folded().await;
        let restated = statements::restate(&desk.bench.pool, &all, async || desk.agreements().await, chrono::Utc::now());
        assert!(matches!(restated.await, Err(StatementError::Parked(parked)) if parked == ["licensing playback/0@8"]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_figure_leads_to_its_sessions_and_these_to_their_records() {
    at_a_desk(async |desk| {
        desk.register(&catalog()).await;
        desk.append(&Viewers::new(9, 4).events(800)).await;
        desk.folded().await;
        let all = about(None);
        let now = desk.provisional(&all).await;
        let row =
            now.rows.iter().filter(|row| row.key.contract_id == "ada-1").max_by_key(|row| row.figures.plays).unwrap();
        let agreements = desk.agreements().await.unwrap();
        let mut question = statements::SessionsQuestion {
            about: all.clone(),
            contract_id: Some("ada-1".parse().unwrap()),
            title_id: row.key.title_id.parse().unwrap(),
            territory: Some(row.key.territory.parse().unwrap()),
            device_class: Some(row.key.device_class.parse().unwrap()),
            after: None,
            limit: 2,
        };
        let mut behind = Vec::new();
        loop {
            let (page, _) = statements::sessions_behind(&desk.bench.pool, &question, &agreements).await.unwrap();
            let Some(last) = page.last() else { break };
            question.after = Some((last.partition, last.first_offset));
            behind.extend(page);
        }
        let count =
            |is: fn(&statements::SessionBehind) -> bool| i64::try_from(behind.iter().filter(|one| is(one)).count());
        assert_eq!(count(|one| one.played), Ok(row.figures.plays));
        assert_eq!(count(|one| one.qualified), Ok(row.figures.qualified_views));
        assert_eq!(behind.iter().map(|one| one.watched_ms).sum::<i64>(), row.figures.watched_ms);
        assert!(behind.len() > 2, "only {} sessions", behind.len());

        let one = &behind[0];
        let session = pulsegate_domain::ids::SessionId::new(one.session_id).unwrap();
        let account = one.account_id.parse().unwrap();
        let beats = statements::beats(&desk.bench.pool, &desk.settings, &account, session).await.unwrap().unwrap();
        assert!(beats.is_whole && beats.partition == one.partition && beats.records[0].offset == one.first_offset);
        let watched: i64 = sqlx::query_scalar(
            "select sum(watched_ms)::bigint from licensing.facts where partition = $1 and first_offset = $2",
        )
        .bind(one.partition)
        .bind(one.first_offset)
        .fetch_one(&desk.bench.pool)
        .await
        .unwrap();
        assert_eq!(beats.records.iter().map(|beat| beat.watched_ms).sum::<u64>(), watched.unsigned_abs());
        let unknown = statements::beats(&desk.bench.pool, &desk.settings, &"nobody".parse().unwrap(), session).await;
        assert_eq!(unknown.unwrap(), None);
    })
    .await;
}
