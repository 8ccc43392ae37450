//! What is written by binary COPY is what `PostgreSQL` reads.

use pulsegate_domain::time::Timestamp;
use pulsegate_projections::sinks::{Copy, Deltas, Row, Staged};
use uuid::Uuid;

use crate::services::on_a_database;

#[tokio::test(flavor = "multi_thread")]
async fn every_type_arrives_as_it_was_meant() {
    on_a_database(async |pool| {
        let mut tx = pool.begin().await.unwrap();
        sqlx::raw_sql(
            "set local timezone = 'UTC';
             create temporary table kinds (
               a bool, b smallint, c int, d bigint, e double precision, f text, g json, h jsonb, i bytea, j uuid,
               k timestamptz, l timestamptz, m date, n int8multirange, o int8multirange, p text, q text, r date)",
        )
        .execute(&mut *tx)
        .await
        .unwrap();
        let mut rows = Copy::new("copy kinds from stdin (format binary)", 18);
        let mut row = rows.row();
        row.bool(true).int2(-2).int4(3).int8(-4).float8(0.5).text("ü \u{1F600}").json(r#"{"a": [1,  2]}"#);
        row.jsonb(r#"{"b": [1,  2]}"#).bytea(b"\x00\xff").uuid(Uuid::from_u128(7));
        row.timestamptz(Timestamp::from_millis(1_790_000_000_123)).timestamptz_ms(-1).date(20_000);
        row.int8multirange([(20, 30), (0, 10), (5, 12)]).int8multirange([]);
        row.text_or_null(Some("there")).maybe(None::<&str>, Row::text).date(-1);
        drop(row);
        assert_eq!(rows.send(&mut tx).await.unwrap(), 1);
        let text: Vec<Option<String>> = sqlx::query_scalar(
            "select array[a::text, b::text, c::text, d::text, e::text, f, g::text, h::text, i::text, j::text, k::text,
                          l::text, m::text, n::text, o::text, p, q, r::text] from kinds",
        )
        .fetch_one(&mut *tx)
        .await
        .unwrap();
        let text: Vec<_> = text.iter().map(|value| value.as_deref().unwrap_or("null")).collect();
        assert_eq!(
            text,
            [
                "true",
                "-2",
                "3",
                "-4",
                "0.5",
                "ü \u{1F600}",
                r#"{"a": [1,  2]}"#,
                r#"{"b": [1, 2]}"#,
                r"\x00ff",
                "00000000-0000-0000-0000-000000000007",
                "2026-09-21 14:13:20.123+00",
                "1969-12-31 23:59:59.999+00",
                "2024-10-04",
                "{[0,12),[20,30)}",
                "{}",
                "there",
                "null",
                "1969-12-31",
            ]
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_blocks_are_one_copy_and_none_is_no_statement() {
    on_a_database(async |pool| {
        let mut tx = pool.begin().await.unwrap();
        sqlx::query("create temporary table many (n bigint, body text)").execute(&mut *tx).await.unwrap();
        assert_eq!(Copy::new("no statement", 1).send(&mut tx).await.unwrap(), 0);
        let mut rows = Copy::new("copy many (n, body) from stdin (format binary)", 2);
        let body = "x".repeat(1_000);
        for n in 0..5_000 {
            rows.row().int8(n).text(&body);
        }
        assert_eq!(rows.send(&mut tx).await.unwrap(), 5_000);
        let sum: (i64, i64) = sqlx::query_as("select sum(n)::bigint, sum(length(body))::bigint from many")
            .fetch_one(&mut *tx)
            .await
            .unwrap();
        assert_eq!(sum, (12_497_500, 5_000_000));
        // What the server refuses leaves the connection usable.
        tx.commit().await.unwrap();
        let mut tx = pool.begin().await.unwrap();
        let mut rows = Copy::new("copy pg_temp.nowhere (n) from stdin (format binary)", 1);
        rows.row().int8(1);
        assert!(rows.send(&mut tx).await.is_err());
        tx.rollback().await.unwrap();
        assert_eq!(sqlx::query_scalar::<_, i32>("select 1").fetch_one(pool).await.unwrap(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_add_up_over_batches() {
    on_a_database(async |pool| {
        sqlx::query("create table counts (title text primary key, n bigint not null)").execute(pool).await.unwrap();
        for batch in [["dune", "alien", "dune"], ["dune", "blade", "alien"]] {
            let mut deltas = Deltas::default();
            for title in batch {
                deltas.add(title, 2);
            }
            let mut rows = Staged::new(
                "create temporary table if not exists counts_staged (title text, n bigint) on commit delete rows",
                "copy pg_temp.counts_staged (title, n) from stdin (format binary)",
                2,
                "insert into counts (title, n) select title, n from pg_temp.counts_staged order by title
                 on conflict (title) do update set n = counts.n + excluded.n",
            );
            for (title, n) in deltas {
                rows.row().text(title).int8(n);
            }
            let mut tx = pool.begin().await.unwrap();
            rows.send(&mut tx).await.unwrap();
            tx.commit().await.unwrap();
        }
        let counts: Vec<(String, i64)> =
            sqlx::query_as("select title, n from counts order by title").fetch_all(pool).await.unwrap();
        assert_eq!(counts, [("alien".to_owned(), 4), ("blade".to_owned(), 2), ("dune".to_owned(), 6)]);
    })
    .await;
}
