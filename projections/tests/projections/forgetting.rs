//! Forgetting: whenever it happens, whatever was in memory, and however often it was broken off, the read models are what
//! one who folds the log afterwards makes, and name nobody who was forgotten.

use std::sync::Arc;

use chrono::NaiveDate;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use pulsegate_domain::event::{ClickstreamEvent, Recorded};
use pulsegate_domain::ids::AccountId;
use pulsegate_domain::topic::Topic;
use pulsegate_privacy::{AccountKeys, Forgotten, MasterKey, Seals};
use pulsegate_projections::active_sessions::{ActiveSessions, FixedPolicies};
use pulsegate_projections::clickstream::Clickstream;
use pulsegate_projections::forget::{self, Gone};
use pulsegate_projections::licensing::{self, Licensing};
use pulsegate_projections::registry::REGISTERED;
use pulsegate_projections::runner::{Projection, Record, Source, Worker};
use pulsegate_projections::testing::{Log, noon};
use sqlx::{AssertSqlSafe, PgPool};

use crate::households::{Households, policies};
use crate::licensing::records_of;
use crate::services::on_a_database;
use crate::splits::records;

const MASTER: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn master() -> MasterKey {
    MASTER.parse().unwrap()
}

fn gone(account: &str) -> Gone {
    let account: AccountId = account.parse().unwrap();
    Gone { who: master().who(account.as_str().as_bytes()), account }
}

/// How a log is folded: in which batches, and when somebody is forgotten meanwhile.
#[derive(Clone, Debug)]
struct Way {
    batches: Vec<(usize, bool)>,
    /// Before which batches the key is destroyed, and the rows are cleared.
    destroyed: usize,
    cleared: usize,
    cleared_again: bool,
}

fn ways() -> impl Strategy<Value = Way> {
    let batches = prop::collection::vec((1_usize..150, any::<bool>()), 2..9);
    (batches, any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(batches, one, other, cleared_again)| {
            let (one, other) = (one.index(batches.len()), other.index(batches.len()));
            Way { batches, destroyed: one.min(other), cleared: one.max(other), cleared_again }
        },
    )
}

async fn empty(pool: &PgPool) {
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', schemaname, tablename) from pg_tables
         where schemaname in ('active_sessions_v1', 'clickstream_v2', 'licensing_v4')",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    for sql in [
        format!("truncate {}", tables.join(", ")),
        "truncate pulsegate.dead_letters".to_owned(),
        "delete from pulsegate.projection_offsets".to_owned(),
    ] {
        sqlx::query(AssertSqlSafe(sql)).execute(pool).await.unwrap();
    }
}

/// Folds a log while somebody is forgotten, with one worker that keeps in memory what it has.
async fn live<P: Projection>(projection: P, pool: &PgPool, log: &[Record], source: Source, way: &Way, gone: &Gone) {
    let worker = Worker::new(projection, pool.clone()).knowing(&Forgotten::new(Some(master())));
    let mut partition = worker.take(source).await.unwrap();
    let mut rest = log;
    for (number, (length, restarted)) in way.batches.iter().enumerate() {
        if number == way.destroyed {
            forget::destroy(gone, &master(), pool).await.unwrap();
        }
        if number == way.cleared {
            let report = forget::clear(REGISTERED, gone, &master(), true, pool).await.unwrap();
            assert_eq!(report.left, Vec::<String>::new());
            if way.cleared_again {
                let again = forget::clear(REGISTERED, gone, &master(), false, pool).await.unwrap();
                let changed = again.cleared.iter().filter(|one| one.table != "samples").map(|one| one.rows);
                assert_eq!(changed.sum::<u64>(), 0, "{again:?}");
            }
        }
        let (batch, after) = rest.split_at((*length).min(rest.len()));
        worker.commit(&mut partition, batch).await.unwrap();
        // Packs name accounts in a table of their own, and all days are sealed from here on.
        licensing::pack(pool, NaiveDate::from_ymd_opt(2_100, 1, 1).unwrap()).await.unwrap();
        if *restarted {
            partition = worker.take(source).await.unwrap();
        }
        rest = after;
    }
    worker.commit(&mut partition, rest).await.unwrap();
    licensing::pack(pool, NaiveDate::from_ymd_opt(2_100, 1, 1).unwrap()).await.unwrap();
    let named = sqlx::query_scalar::<_, i64>("select count(*) from licensing_v4.accounts where account_id = $1");
    assert_eq!(named.bind(gone.account.as_str()).fetch_one(pool).await.unwrap(), 0, "packs name {}", gone.account);
}

/// Folds a log at once, when somebody was forgotten long ago.
async fn later<P: Projection>(projection: P, pool: &PgPool, log: &[Record], source: Source) {
    let worker = Worker::new(projection, pool.clone()).knowing(&Forgotten::new(Some(master())));
    let mut partition = worker.take(source).await.unwrap();
    worker.commit(&mut partition, log).await.unwrap();
}

async fn rows(pool: &PgPool, queries: &[&'static str]) -> Vec<String> {
    let mut all = Vec::new();
    for query in queries {
        all.extend(sqlx::query_scalar::<_, String>(*query).fetch_all(pool).await.unwrap());
    }
    let letters = "select (topic, partition, log_offset, encode(coalesce(key, ''), 'escape'),
                           encode(coalesce(value, ''), 'escape'), error, kind)::text
                   from pulsegate.dead_letters order by 1";
    all.extend(sqlx::query_scalar::<_, String>(letters).fetch_all(pool).await.unwrap());
    all
}

/// Compares both ways, and looks for what should be nowhere.
async fn agree<P: Projection>(
    projection: impl Fn() -> P,
    pool: &PgPool,
    log: &[Record],
    topic: Topic,
    (way, gone, absent): (&Way, &Gone, &[&str]),
    queries: &[&'static str],
) {
    let source = Source { topic, partition: 0 };
    empty(pool).await;
    for sql in [
        "create table if not exists public.keys_before as select who, wrapped from pulsegate.account_keys",
        "delete from pulsegate.account_keys",
        "delete from pulsegate.forgetting",
        "insert into pulsegate.account_keys (who, wrapped) select who, wrapped from public.keys_before",
    ] {
        sqlx::query(sql).execute(pool).await.unwrap();
    }
    live(projection(), pool, log, source, way, gone).await;
    let as_it_was_live = rows(pool, queries).await;
    empty(pool).await;
    later(projection(), pool, log, source).await;
    let made_later = rows(pool, queries).await;
    assert_eq!(as_it_was_live, made_later);
    assert!(made_later.iter().any(|row| row.contains(&gone.who.to_string())), "nothing of it is left");
    for row in &made_later {
        assert!(!absent.iter().any(|word| row.contains(word)), "{row}");
    }
}

fn checked<S: Strategy>(cases: u32, strategy: &S, check: impl Fn(S::Value)) {
    tokio::task::block_in_place(|| {
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        let outcome = TestRunner::new(config).run(strategy, |value| {
            check(value);
            Ok(())
        });
        outcome.unwrap();
    });
}

/// Whose records are the most in a log.
fn most_heard_of(log: &[Record]) -> String {
    let mut heard = std::collections::BTreeMap::<_, u32>::new();
    for key in log.iter().filter_map(|record| record.key.as_ref()) {
        *heard.entry(String::from_utf8(key.to_vec()).unwrap()).or_default() += 1;
    }
    heard.into_iter().max_by_key(|(_, count)| *count).unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_decisions_are_those_of_nobody() {
    on_a_database(async |pool| {
        let runtime = tokio::runtime::Handle::current();
        checked(8, &(any::<u32>(), ways()), |(seed, way)| {
            let mut log = records(&Households::new(seed.into(), 4).events(500));
            // A session that is inferred from a signal has an id made of its account's: another one in a fold from the
            // beginning, as docs/privacy.md says.
            log.retain(|record| {
                !String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).contains(".signal.v1")
            });
            let gone = gone(&most_heard_of(&log));
            let absent = format!("\"{}\"", gone.account);
            let in_a_row = format!("({},", gone.account);
            runtime.block_on(agree(
                || ActiveSessions::new(Arc::new(FixedPolicies::new(policies()))),
                pool,
                &log,
                Topic::Playback,
                (&way, &gone, &[&absent, &in_a_row]),
                &[
                    "select sessions::text from active_sessions_v1.sessions
                     where forget_hour > (select to_timestamp(clock_ms / 1000.0) from pulsegate.projection_offsets
                                          where build = 'active_sessions_v1')
                     order by 1",
                    "select decisions::text from active_sessions_v1.decisions order by 1",
                ],
            ));
        });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_watched_was_watched_by_nobody() {
    on_a_database(async |pool| {
        let runtime = tokio::runtime::Handle::current();
        checked(8, &(any::<u32>(), ways()), |(seed, way)| {
            let mut log = records_of(seed.into(), 500);
            let gone = gone(&most_heard_of(&log));
            // What can't be folded is kept, and names nobody either.
            for (place, value) in [(17, "garbage"), (40, r#"{"id":"1","type":"nonsense","data":{}}"#)] {
                log[place].key = Some(gone.account.as_str().as_bytes().to_vec().into());
                log[place].value = Some(format!("{value} {}", gone.account).into_bytes().into());
            }
            log[60].key = Some(b"somebody-else".to_vec().into());
            let (absent, in_a_row) = (format!("\"{}\"", gone.account), format!(",{},", gone.account));
            runtime.block_on(agree(
                || Licensing,
                pool,
                &log,
                Topic::Playback,
                (&way, &gone, &[&absent, &in_a_row, &format!("account, {}", gone.account)]),
                &[
                    "select sessions::text from licensing_v4.sessions order by 1",
                    "select facts::text from licensing_v4.facts order by 1",
                ],
            ));
        });
    })
    .await;
}

fn clicks(count: u32) -> Vec<Recorded> {
    let one = |n: u32| {
        let account = [Some("ada"), Some("bob"), None][usize::try_from(n % 3).unwrap()];
        let properties = format!(r#"{{"query":"words of {}","n":{n}}}"#, account.unwrap_or("a visitor"));
        Recorded {
            name: ["search", "play"][usize::try_from(n / 2 % 2).unwrap()].to_owned(),
            account_id: account.map(|account| account.parse().unwrap()),
            anonymous_id: (n % 4 < 2).then(|| format!("cookie-{}", account.unwrap_or("none")).parse().unwrap()),
            session_id: None,
            properties: serde_json::value::RawValue::from_string(properties).unwrap(),
        }
    };
    (0..count).map(one).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_read_until_its_key_is_destroyed_and_never_again() {
    on_a_database(async |pool| {
        let keys = AccountKeys::new(master(), pool.clone());
        let clicks = clicks(600);
        let seals = Seals::of(Some(&keys), clicks.iter()).await.unwrap();
        let mut log = Log::of(Topic::Clickstream);
        for (n, click) in (0_u64..).zip(clicks) {
            let key = click.account_id.as_ref().map_or("visitor", AccountId::as_str).to_owned();
            // From before anything was sealed there are others.
            let event = if n < 150 { ClickstreamEvent::Recorded(click) } else { seals.seal(click).unwrap() };
            log = log.event(&key, noon(n), &event);
        }
        let in_the_log: Vec<_> = log.records()[150..]
            .iter()
            .map(|record| String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap())
            .collect();
        assert!(in_the_log.iter().all(|value| !value.contains("words of ada") && !value.contains("words of bob")));
        assert!(in_the_log.iter().any(|value| value.contains("words of a visitor")));

        let events = &["select (log_offset, account_id, anonymous_id, name, properties)::text
                        from clickstream_v2.events order by 1"];
        later(Clickstream, pool, log.records(), log.source()).await;
        let open = rows(pool, events).await;
        assert_eq!(open.iter().filter(|row| row.contains("words of ada")).count(), 200);

        let gone = gone("ada");
        // The samples have whoever was there before, and whoever stands in the place.
        let runtime = tokio::runtime::Handle::current();
        checked(5, &ways(), |way| {
            runtime.block_on(agree(
                || Clickstream,
                pool,
                log.records(),
                Topic::Clickstream,
                (&way, &gone, &["words of ada", "cookie-ada", "ada,"]),
                &[
                    "select events::text from clickstream_v2.events order by 1",
                    "select counts::text from clickstream_v2.counts order by 1",
                    "select sample_16::text from clickstream_v2.sample_16 order by 1",
                    "select sample_256::text from clickstream_v2.sample_256 order by 1",
                ],
            ));
        });
        let shut = rows(pool, events).await;
        assert_eq!(shut.iter().filter(|row| row.contains("words of bob")).count(), 200);
        let nobody = shut.iter().filter(|row| row.contains(&gone.who.to_string()));
        assert_eq!(nobody.filter(|row| row.contains("{}")).count(), 200);

        // Whoever writes for it later writes nothing, also where it is in memory still.
        let fresh = AccountKeys::new(master(), pool.clone());
        let late = Seals::of(Some(&fresh), self::clicks(1).iter()).await.unwrap();
        let late = serde_json::to_string(&late.seal(self::clicks(1).remove(0)).unwrap()).unwrap();
        assert!(late.contains("\"properties\":{}") && !late.contains("cookie"), "{late}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_key_nothing_is_folded_that_it_takes_to_read_and_the_error_says_so() {
    on_a_database(async |pool| {
        let keys = AccountKeys::new(master(), pool.clone());
        let clicks = clicks(3);
        let seals = Seals::of(Some(&keys), clicks.iter()).await.unwrap();
        let mut log = Log::of(Topic::Clickstream);
        for (n, click) in (0_u64..).zip(clicks) {
            log = log.event("a", noon(n), &seals.seal(click).unwrap());
        }
        let says = async |worker: Worker<Clickstream>| {
            let mut partition = worker.take(log.source()).await?;
            worker.commit(&mut partition, log.records()).await
        };
        let worker = || Worker::new(Clickstream, pool.clone());
        let error = says(worker()).await.unwrap_err();
        assert!(error.to_string().contains("PULSEGATE_PRIVACY_KEY is not set"), "{error}");
        let ada = gone("ada");
        forget::destroy(&ada, &master(), pool).await.unwrap();
        forget::clear(REGISTERED, &ada, &master(), true, pool).await.unwrap();
        let error = says(worker()).await.unwrap_err();
        assert!(error.to_string().contains("PULSEGATE_PRIVACY_KEY is not set"), "{error}");
        assert!(!error.may_be_a_records_fault() && !error.is_outage());
        // Another key finds nobody's: nothing is folded with it rather than everything without words.
        let other: MasterKey = MASTER.replace('0', "f").parse().unwrap();
        let error = says(worker().knowing(&Forgotten::new(Some(other.clone())))).await.unwrap_err();
        assert!(error.to_string().contains("is not the one that this database's keys"), "{error}");
        assert!(forget::destroy(&gone("bob"), &other, pool).await.is_err());
        says(worker().knowing(&Forgotten::new(Some(master())))).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_made_anew_learns_from_the_log_who_was_forgotten() {
    on_a_database(async |pool| {
        let ada = gone("ada");
        let noted = [ada.who.pseudonym().to_string(), "not a pseudonym".to_owned()].into();
        assert_eq!(forget::restore(&noted, pool).await.unwrap(), 1);
        assert_eq!(forget::restore(&noted, pool).await.unwrap(), 0);
        let listed = Forgotten::list(pool).await.unwrap();
        assert_eq!(listed.iter().map(|one| one.pseudonym.clone()).collect::<Vec<_>>(), [ada.who.pseudonym()]);
        assert!(!forget::destroy(&ada, &master(), pool).await.unwrap());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_and_every_column_that_can_name_somebody_is_in_the_docs() {
    on_a_database(async |pool| {
        let docs = include_str!("../../../docs/privacy.md");
        let tables: Vec<(String, Vec<String>)> = sqlx::query_as(
            "select regexp_replace(table_schema, '_v[0-9]+$', '') || '.' || table_name,
                    coalesce(array_agg(column_name::text) filter (
                      where data_type in ('text', 'bytea', 'json', 'jsonb') and column_name ~ $1), '{}')
             from information_schema.columns join information_schema.tables using (table_schema, table_name)
             where table_schema ~ '^(pulsegate|(active_sessions|clickstream|licensing)_v[0-9]+)$'
               and table_type = 'BASE TABLE' and table_name !~ '^events_[0-9]'
             group by 1 order by 1",
        )
        .bind("account|anonymous|device_id|by_device|properties|^key$|value|error|state$|query|detail|who|reason$|headers")
        .fetch_all(pool)
        .await
        .unwrap();
        assert!(tables.len() > 15, "{tables:?}");
        for (table, columns) in tables {
            let row = docs.lines().find(|line| line.starts_with(&format!("| `{table}`")));
            let row = row.unwrap_or_else(|| panic!("docs/privacy.md doesn't say what becomes of {table}"));
            for column in columns {
                assert!(row.contains(&format!("`{column}`")), "docs/privacy.md doesn't say what becomes of {table}.{column}");
            }
        }
    })
    .await;
}
