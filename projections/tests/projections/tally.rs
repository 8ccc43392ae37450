//! A projection for tests, whose records say what goes wrong with them; and a straight-line model of it.
//!
//! A value is `add N`, `skip`, `park` (decoding refuses it), `hold` (the fold refuses it), `panic`, or `add 666`, which
//! the database refuses. What a key's row holds depends on the order of its records.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};

use pulsegate_domain::topic::{Topic, partition_of};
use pulsegate_projections::registry::Registered;
use pulsegate_projections::runner::{Batch, Poison, Poisoned, Projection, Record};
use pulsegate_projections::sinks::{Copy, Staged};
use sqlx::{AssertSqlSafe, PgPool, PgTransaction};

/// Whether the cause of all that goes wrong is gone, for keys that begin with `mend`: only the one test that mends
/// things has those, and others run beside it.
pub(crate) static MENDED: AtomicBool = AtomicBool::new(false);

pub(crate) static TALLY: Registered = Registered {
    name: "tally",
    version: 1,
    topics: &[Topic::Playback],
    ddl: "create table tallies (
            key text not null, n bigint not null, sum bigint not null, constraint tallies_pk primary key (key));
          create table entries (
            partition int not null, log_offset bigint not null, key text not null, n bigint not null,
            at timestamptz not null,
            constraint entries_pk primary key (partition, log_offset),
            constraint entries_n_is_believable check (n <> 666)
          ) partition by range (log_offset);
          create table entries_first partition of entries for values from (0) to (1000);
          create table entries_rest partition of entries default;",
    indexes: "create index entries_of_key on entries (key, log_offset);",
    tables: &["tallies", "entries"],
    compared: &[],
    forget: None,
    run: |job| job.with(Tally),
};

pub(crate) struct Tally;

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    key: String,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Add(i64),
    Hold,
    Panic,
}

/// What is remembered of a key: how many records, and a sum that depends on their order.
type Sums = HashMap<String, (i64, i64)>;

pub(crate) fn next((n, sum): (i64, i64), add: i64) -> (i64, i64) {
    (n + 1, (sum * 31 + add) % 1_000_000_007)
}

impl Projection for Tally {
    type Event = Entry;
    type Context = ();
    type Memory = Sums;
    type Changes = (Sums, Copy);

    const REBUILD_RECORDS: usize = 25;

    fn registered(&self) -> &'static Registered {
        &TALLY
    }

    fn decode(&self, record: &Record) -> Result<Entry, Poison> {
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        let (key, value) = (text(record.key.as_deref()), text(record.value.as_deref()));
        let mended = key.starts_with("mend") && MENDED.load(Ordering::Relaxed);
        let what = match value.as_str() {
            "skip" => return Err(Poison::skip("it says so")),
            "park" | "hold" | "panic" | "add 666" if mended => What::Add(1),
            "park" => return Err(Poison::park("it says so")),
            "hold" => What::Hold,
            "panic" => What::Panic,
            add => What::Add(add.strip_prefix("add ").and_then(|n| n.parse().ok()).expect("a test's value")),
        };
        Ok(Entry { key, what })
    }

    async fn prepare(&self, _: &Batch<Entry>) {}

    async fn load(&self, batch: &Batch<Entry>, sums: &mut Sums, tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
        let keys: BTreeSet<_> = batch.events.iter().map(|placed| &placed.event.key).collect();
        let missing: Vec<_> = keys.into_iter().filter(|key| !sums.contains_key(*key)).cloned().collect();
        let rows = sqlx::query_as::<_, (String, i64, i64)>("select key, n, sum from tallies where key = any($1)")
            .bind(missing)
            .fetch_all(&mut **tx)
            .await?;
        sums.extend(rows.into_iter().map(|(key, n, sum)| (key, (n, sum))));
        Ok(())
    }

    fn fold(&self, batch: &Batch<Entry>, (): &(), sums: &mut Sums, poisoned: &mut Poisoned) -> (Sums, Copy) {
        let mut entries = Copy::new("copy entries (partition, log_offset, key, n, at) from stdin (format binary)", 5);
        let mut changed = Sums::new();
        for placed in &batch.events {
            let Entry { key, what } = &placed.event;
            match what {
                What::Add(n) => {
                    let sum = sums.entry(key.clone()).or_default();
                    *sum = next(*sum, *n);
                    changed.insert(key.clone(), *sum);
                    let mut row = entries.row();
                    row.int4(batch.source.partition).int8(placed.place.offset).text(key).int8(*n);
                    row.timestamptz(placed.place.at);
                }
                What::Hold => poisoned.note(placed, Poison::park("the fold says so")),
                What::Panic => panic!("it says so"),
            }
        }
        (changed, entries)
    }

    /// Up to some three batches.
    fn gathers(&self, _: &Sums, (_, entries): &(Sums, Copy)) -> bool {
        entries.rows() < 60
    }

    fn join(&self, (changed, entries): &mut (Sums, Copy), next: (Sums, Copy)) -> Option<(Sums, Copy)> {
        changed.extend(next.0);
        entries.append(next.1);
        None
    }

    async fn flush(&self, (changed, entries): (Sums, Copy), tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
        let mut tallies = Staged::new(
            "create temporary table if not exists tally_v1_staged (key text, n bigint, sum bigint)
             on commit delete rows",
            "copy pg_temp.tally_v1_staged (key, n, sum) from stdin (format binary)",
            3,
            "insert into tallies (key, n, sum) select key, n, sum from pg_temp.tally_v1_staged order by key
             on conflict on constraint tallies_pk do update set n = excluded.n, sum = excluded.sum",
        );
        for (key, (n, sum)) in changed {
            tallies.row().text(&key).int8(n).int8(sum);
        }
        tallies.send(tx).await?;
        entries.send(tx).await?;
        Ok(())
    }
}

/// What the tables must say after these records, given in the order in which they were appended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tallied {
    tallies: BTreeMap<String, (i64, i64)>,
    entries: BTreeMap<(i32, i64), (String, i64)>,
    /// Each with the offset of what it waits behind.
    pub(crate) parked: BTreeMap<(i32, i64), Option<i64>>,
    pub(crate) skipped: BTreeSet<(i32, i64)>,
}

impl Tallied {
    /// `mended`: whether what goes wrong goes well.
    pub(crate) fn of(appended: &[(String, String)], partitions: i32, mended: bool) -> Self {
        let mut offsets: BTreeMap<i32, i64> = BTreeMap::new();
        let mut heads: BTreeMap<&str, i64> = BTreeMap::new();
        let mut model = Self::default();
        for (key, value) in appended {
            let partition = partition_of(key.as_bytes(), partitions);
            let offset = offsets.entry(partition).or_default();
            let place = (partition, *offset);
            *offset += 1;
            if let Some(head) = heads.get(key.as_str()) {
                model.parked.insert(place, Some(*head));
                continue;
            }
            match value.as_str() {
                "skip" => _ = model.skipped.insert(place),
                "park" | "hold" | "panic" | "add 666" if !mended => {
                    heads.insert(key, place.1);
                    model.parked.insert(place, None);
                }
                value => {
                    let n = value.strip_prefix("add ").filter(|n| *n != "666").map_or(1, |n| n.parse().unwrap());
                    let sum = model.tallies.entry(key.clone()).or_default();
                    *sum = next(*sum, n);
                    model.entries.insert(place, (key.clone(), n));
                }
            }
        }
        model
    }

    /// What a build's tables say.
    pub(crate) async fn read(pool: &PgPool, build: &str) -> Self {
        let tallies =
            sqlx::query_as::<_, (String, i64, i64)>(AssertSqlSafe(format!("select key, n, sum from {build}.tallies")))
                .fetch_all(pool)
                .await
                .unwrap();
        let entries = sqlx::query_as::<_, (i32, i64, String, i64)>(AssertSqlSafe(format!(
            "select partition, log_offset, key, n from {build}.entries"
        )))
        .fetch_all(pool)
        .await
        .unwrap();
        let letters = sqlx::query_as::<_, (i32, i64, Option<i64>, String)>(
            "select partition, log_offset, behind, kind from pulsegate.dead_letters where build = $1",
        )
        .bind(build)
        .fetch_all(pool)
        .await
        .unwrap();
        let kind = |kind: &'static str| letters.iter().filter(move |(_, _, _, found)| found == kind);
        Self {
            tallies: tallies.into_iter().map(|(key, n, sum)| (key, (n, sum))).collect(),
            entries: entries.into_iter().map(|(partition, offset, key, n)| ((partition, offset), (key, n))).collect(),
            parked: kind("parked").map(|(partition, offset, behind, _)| ((*partition, *offset), *behind)).collect(),
            skipped: kind("skipped").map(|(partition, offset, ..)| (*partition, *offset)).collect(),
        }
    }
}

/// Random records of a few keys, as they are appended; of a hundred about `poison` go wrong.
pub(crate) fn records(seed: u64, count: usize, keys: u64, poison: u64) -> Vec<(String, String)> {
    let mut dice = seed.wrapping_mul(2) + 1;
    let mut roll = move |n: u64| {
        dice ^= dice >> 12;
        dice ^= dice << 25;
        dice ^= dice >> 27;
        (dice.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    };
    let record = |_| {
        let key = format!("key-{}", roll(keys));
        let value = if roll(100) < poison {
            ["skip", "park", "hold", "panic", "add 666"][usize::try_from(roll(5)).unwrap()].to_owned()
        } else {
            format!("add {}", roll(600))
        };
        (key, value)
    };
    (0..count).map(record).collect()
}
