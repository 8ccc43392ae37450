//! The fold of a batch: rows as they go into the tables, and how many of each name a minute has.

use bytes::Bytes;
use chrono::{DateTime, NaiveDate};
use pulsegate_domain::event::RecordedRef;
use pulsegate_domain::ids::{AccountId, AnonymousId, SessionId};
use pulsegate_domain::time::Timestamp;
use sqlx::PgTransaction;

use super::person;
use crate::column_time;
use crate::runner::{Batch, Poison, Record};
use crate::sinks::{Copy, Deltas, Row, Staged};

const DAY_MS: i64 = 86_400_000;
const MINUTE_MS: i64 = 60_000;
/// Longest name, in bytes: four for each of the characters that the API takes. An index holds no text of any length.
const NAME_BYTES_MAX: usize = 1_024;

/// A clickstream event as read from a record; what is long lies where it was read.
#[derive(Clone, Debug)]
pub struct Click {
    event_id: Text,
    occurred_at: Option<Timestamp>,
    name: Text,
    account_id: Option<AccountId>,
    anonymous_id: Option<AnonymousId>,
    session_id: Option<SessionId>,
    properties: Text,
}

/// Text that `PostgreSQL` takes, shared with the record that it stands in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Text(Bytes);

impl Text {
    fn of(text: &str, value: &Bytes) -> Self {
        // PostgreSQL's text holds no zero byte; and what was escaped doesn't stand in the record as it is read.
        let lies_within = value.as_ptr_range().contains(&text.as_ptr());
        match (text.contains('\0'), lies_within) {
            (false, true) => Self(value.slice_ref(text.as_bytes())),
            (false, false) => Self(Bytes::copy_from_slice(text.as_bytes())),
            (true, _) => Self(text.replace('\0', "\u{fffd}").into()),
        }
    }
}

impl Click {
    pub(super) fn read(record: &Record) -> Result<Self, Poison> {
        let value = record.value.as_ref().ok_or_else(|| Poison::skip("it has no value"))?;
        let read = RecordedRef::read(value).map_err(Poison::skip)?;
        if read.name.len() > NAME_BYTES_MAX {
            return Err(Poison::skip(format_args!("its name is longer than {NAME_BYTES_MAX} bytes")));
        }
        Ok(Self {
            event_id: Text::of(&read.id, value),
            occurred_at: read.time,
            name: Text::of(&read.name, value),
            account_id: read.account_id,
            anonymous_id: read.anonymous_id,
            session_id: read.session_id,
            properties: Text::of(read.properties, value),
        })
    }

    fn write(&self, row: &mut Row<'_>) {
        row.maybe(self.occurred_at, |row, at| row.timestamptz_ms(at.millis()));
        row.utf8(&self.event_id.0).utf8(&self.name.0);
        row.text_or_null(self.account_id.as_ref().map(AccountId::as_str));
        row.text_or_null(self.anonymous_id.as_ref().map(AnonymousId::as_str));
        row.maybe(self.session_id, |row, id| row.uuid(id.uuid()));
        row.utf8(&self.properties.0);
    }
}

/// The log's time as a column holds it, in milliseconds since the Unix epoch.
fn column_ms(at: Timestamp) -> i64 {
    at.millis().clamp(0, 253_402_300_799_999)
}

/// The days on which a batch's records were taken in, UTC. The log's clock makes them, which goes forward only: so few.
pub(super) fn days(batch: &Batch<Click>) -> Vec<NaiveDate> {
    let mut days: Vec<_> = batch.events.iter().map(|placed| column_ms(placed.place.at) / DAY_MS).collect();
    days.dedup();
    let day = |day: i64| DateTime::from_timestamp_millis(day * DAY_MS).unwrap_or_default().date_naive();
    days.into_iter().map(day).collect()
}

/// What a batch adds to the tables.
#[derive(Debug)]
pub struct Changes {
    events: Copy,
    /// By minute, name and partition.
    counts: Deltas<(i64, Text, i32)>,
    /// The events of the people who are in a sample.
    sampled: Staged,
}

impl Changes {
    pub(super) fn fold(batch: &Batch<Click>) -> Self {
        let partition = batch.source.partition;
        let mut events = Copy::new(
            "copy events (partition, log_offset, logged_at, occurred_at, event_id, name, account_id, anonymous_id,
                          session_id, properties)
             from stdin (format binary)",
            10,
        );
        let mut counts = Deltas::default();
        let mut sampled = staged_sample();
        for placed in &batch.events {
            let logged_ms = column_ms(placed.place.at);
            let mut row = events.row();
            row.int4(partition).int8(placed.place.offset).timestamptz_ms(logged_ms);
            placed.event.write(&mut row);
            counts.add((logged_ms / MINUTE_MS, placed.event.name.clone(), partition), 1);
            let Click { account_id, anonymous_id, .. } = &placed.event;
            let person = person::of(account_id.as_ref(), anonymous_id.as_ref(), partition, placed.place.offset);
            if person::is_sampled(person) {
                let mut row = sampled.row();
                row.int4(partition).int8(placed.place.offset).timestamptz_ms(logged_ms);
                row.utf8(&placed.event.name.0).int8(person);
                row.maybe(placed.event.session_id, |row, id| row.uuid(id.uuid()));
                row.utf8(&placed.event.properties.0).bool(is_surely_jsonb(&placed.event.properties.0));
            }
        }
        Self { events, counts, sampled }
    }

    /// How many rows there are.
    pub(super) const fn rows(&self) -> u64 {
        self.events.rows()
    }

    /// Takes what another partition adds, or the next batch.
    pub(super) fn append(&mut self, other: Self) {
        self.events.append(other.events);
        for (key, added) in other.counts {
            self.counts.add(key, added);
        }
        self.sampled.append(other.sampled);
    }

    pub(super) async fn flush(self, tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
        self.events.send(tx).await?;
        self.sampled.send(tx).await?;
        add(self.counts, tx).await
    }
}

/// Adds to the counts of minutes, and of their hours and days. They are few: as arrays they are one question, where a COPY
/// would be several, and the end of a short one can wait for the network.
async fn add(counts: Deltas<(i64, Text, i32)>, tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
    if counts.is_empty() {
        return Ok(());
    }
    let (mut minutes, mut names, mut partitions, mut added) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for ((minute, name, partition), count) in counts {
        minutes.push(column_time(Timestamp::from_millis(minute * MINUTE_MS)));
        names.push(String::from_utf8_lossy(&name.0).into_owned());
        partitions.push(partition);
        added.push(count);
    }
    sqlx::query(
        "with added as (
           select minute, name, partition, events
           from unnest($1::timestamptz[], $2::text[], $3::int[], $4::bigint[]) as of (minute, name, partition, events)
         ), by_minute as (
           insert into counts (minute, name, partition, events)
           select minute, name, partition, events from added order by minute, name
           on conflict on constraint counts_pk do update set events = counts.events + excluded.events
         ), by_hour as (
           insert into counts_by_hour (hour, name, partition, events)
           select date_trunc('hour', minute, 'UTC') as hour, name, partition, sum(events)::bigint
           from added group by 1, 2, 3 order by 1, 2
           on conflict on constraint counts_by_hour_pk do update set events = counts_by_hour.events + excluded.events
         )
         insert into counts_by_day (day, name, partition, events)
         select (minute at time zone 'UTC')::date as day, name, partition, sum(events)::bigint
         from added group by 1, 2, 3 order by 1, 2
         on conflict on constraint counts_by_day_pk do update set events = counts_by_day.events + excluded.events",
    )
    .bind(minutes)
    .bind(names)
    .bind(partitions)
    .bind(added)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Whether `PostgreSQL` surely takes this JSON as `jsonb`; most is like that. What may be beyond its limits (an escaped
/// zero or half a surrogate pair, a number with an exponent or thousands of digits, great depth) is tried in a transaction
/// of its own, which costs more than reading it.
fn is_surely_jsonb(json: &[u8]) -> bool {
    /// A number of fewer digits is within the limits of `numeric`.
    const LEN_MAX: usize = 8_192;
    /// So many levels need little of a server's stack.
    const BRACKETS_MAX: usize = 256;

    if json.len() > LEN_MAX {
        return false;
    }
    let (mut brackets, mut before, mut within_text, mut is_escaped) = (0, 0_u8, false, false);
    for byte in json.iter().copied() {
        match (within_text, byte) {
            (true, b'u') if is_escaped => return false,
            (true, b'"') if !is_escaped => within_text = false,
            (true, b'\\') => is_escaped = !is_escaped,
            (true, _) => is_escaped = false,
            (false, b'"') => within_text = true,
            (false, b'e' | b'E') if before.is_ascii_digit() => return false,
            (false, b'{' | b'[') => brackets += 1,
            (false, _) => {}
        }
        before = byte;
    }
    brackets <= BRACKETS_MAX
}

/// Read as JSON here and not while folding: one row in sixteen may cost that. What may not be `jsonb` is read by the same
/// function that reads the properties of all others when they are asked for.
const fn staged_sample() -> Staged {
    Staged::new(
        "create temporary table if not exists clickstream_v2_sampled
           (partition int, log_offset bigint, logged_at timestamptz, name text, person bigint, session_id uuid,
            properties text, is_jsonb boolean) on commit delete rows",
        "copy pg_temp.clickstream_v2_sampled from stdin (format binary)",
        8,
        "insert into sample_16 (partition, log_offset, logged_at, name, person, session_id, properties)
         select partition, log_offset, logged_at, name, person, session_id,
                case when is_jsonb then properties::jsonb else properties_of(properties) end
         from pg_temp.clickstream_v2_sampled;
         insert into sample_256 (partition, log_offset, logged_at, name, person, session_id, properties)
         select partition, log_offset, logged_at, name, person, session_id,
                case when is_jsonb then properties::jsonb else properties_of(properties) end
         from pg_temp.clickstream_v2_sampled where person & 255 = 0",
    )
}

#[cfg(test)]
mod tests {
    use pulsegate_domain::account::Place;
    use pulsegate_domain::topic::Topic;

    use super::*;
    use crate::runner::{Placed, Position, Source};

    fn record(name: &str, more: &str) -> Record {
        let value = format!(
            r#"{{"id":"1","type":"pulsegate.clickstream.recorded.v1","data":{{"name":"{name}"{more},"properties":{{"a":1}}}}}}"#
        );
        Record { value: Some(value.into()), ..Record::default() }
    }

    #[test]
    fn what_is_long_lies_in_the_record_and_what_was_escaped_beside_it() {
        let plain = record("play", "");
        let click = Click::read(&plain).unwrap();
        let within = plain.value.as_ref().unwrap().as_ptr_range();
        assert!(within.contains(&click.properties.0.as_ptr()) && within.contains(&click.name.0.as_ptr()));
        assert_eq!((&click.name.0[..], &click.properties.0[..]), (&b"play"[..], &b"{\"a\":1}"[..]));
        assert_eq!(Click::read(&record(r"\u0041\u0000", "")).unwrap().name.0, "A\u{fffd}".as_bytes());
    }

    #[test]
    fn a_name_without_end_is_left_out() {
        assert!(Click::read(&record(&"x".repeat(NAME_BYTES_MAX), "")).is_ok());
        let poison = Click::read(&record(&"x".repeat(NAME_BYTES_MAX + 1), "")).unwrap_err();
        assert_eq!(poison, Poison::skip("its name is longer than 1024 bytes"));
    }

    #[test]
    fn days_are_those_of_the_log() {
        let events = [0, 5, DAY_MS - 1, DAY_MS, i64::MAX].map(|millis| Placed {
            place: Place { offset: 0, at: Timestamp::from_millis(millis) },
            event: Click::read(&record("n", "")).unwrap(),
        });
        let batch = Batch {
            source: Source { topic: Topic::Clickstream, partition: 0 },
            ends_at: Position::START,
            events: events.into(),
        };
        let days: Vec<_> = days(&batch).iter().map(ToString::to_string).collect();
        assert_eq!(days, ["1970-01-01", "1970-01-02", "9999-12-31"]);
    }
}
