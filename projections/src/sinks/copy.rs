//! Rows in `PostgreSQL`'s binary COPY format: the fastest way in.

use pulsegate_domain::time::Timestamp;
use sqlx::PgTransaction;
use uuid::Uuid;

/// Rows are sent in pieces of about this size.
const BLOCK_BYTES: usize = 1 << 20;
/// Signature, flags, length of the header's extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// No further row.
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
/// A column without a value.
const NULL: [u8; 4] = (-1_i32).to_be_bytes();
/// The Unix epoch as `PostgreSQL` counts: microseconds since 2000-01-01, and days.
const EPOCH_US: i64 = -946_684_800_000_000;
const EPOCH_DAYS: i32 = -10_957;
/// `[lower, upper)`, as a range's flags say it.
const LOWER_INCLUSIVE: u8 = 0x02;

/// Rows on their way into one table by binary COPY.
///
/// Encode while folding or in the flush, then [`send`](Self::send) once:
///
/// ```no_run
/// # use pulsegate_projections::sinks::Copy;
/// # async fn flush(tx: &mut sqlx::PgTransaction<'_>) -> Result<(), sqlx::Error> {
/// let mut rows = Copy::new("copy visits (account_id, at, seen) from stdin (format binary)", 3);
/// for account in ["ada", "bob"] {
///     let mut row = rows.row();
///     row.text(account).timestamptz_ms(1_790_000_000_000).int8multirange([(0, 10), (20, 30)]);
/// }
/// rows.send(tx).await?;
/// # Ok(())
/// # }
/// ```
///
/// The statement is the author's own, so that the SQL stays in sight; the values of a row follow in the
/// order of its columns and **must have exactly their types**: the server casts nothing here (`int8` into
/// an `int` column is refused). `PostgreSQL`'s `text` and `json` hold no zero byte, and `jsonb` refuses
/// `\u0000` and some numbers besides: whoever encodes foreign text replaces or refuses it before.
#[derive(Debug)]
pub struct Copy {
    statement: &'static str,
    columns: i16,
    rows: u64,
    full: Vec<Vec<u8>>,
    last: Vec<u8>,
}

impl Copy {
    /// No rows yet of `statement`, `copy … (…) from stdin (format binary)`, whose list has `columns`.
    #[must_use]
    pub const fn new(statement: &'static str, columns: i16) -> Self {
        Self { statement, columns, rows: 0, full: Vec::new(), last: Vec::new() }
    }

    /// How many rows there are.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Begins a row; as many values as there are columns follow.
    pub fn row(&mut self) -> Row<'_> {
        if self.last.len() >= BLOCK_BYTES {
            let next = Vec::with_capacity(BLOCK_BYTES + BLOCK_BYTES / 8);
            self.full.push(std::mem::replace(&mut self.last, next));
        }
        if self.rows == 0 {
            self.last.extend_from_slice(HEADER);
        }
        self.rows += 1;
        self.last.extend_from_slice(&self.columns.to_be_bytes());
        Row { bytes: &mut self.last, missing: self.columns }
    }

    /// Takes another's rows of the same statement behind its own.
    pub fn append(&mut self, other: Self) {
        debug_assert_eq!(self.statement, other.statement);
        if self.rows == 0 {
            *self = other;
            return;
        }
        let mut blocks = other.full;
        blocks.push(other.last);
        for (index, block) in blocks.into_iter().enumerate() {
            // A header stands at the beginning alone.
            let rows = if index == 0 { block.get(HEADER.len()..).unwrap_or_default() } else { &block };
            if self.last.len() + rows.len() > BLOCK_BYTES {
                self.full.push(std::mem::take(&mut self.last));
            }
            self.last.extend_from_slice(rows);
        }
        self.rows += other.rows;
    }

    /// Sends all rows; without any, nothing. The statement's names are looked for in the build's own schema.
    pub async fn send(mut self, tx: &mut PgTransaction<'_>) -> Result<u64, sqlx::Error> {
        if self.rows == 0 {
            return Ok(0);
        }
        self.last.extend_from_slice(&TRAILER);
        self.full.push(self.last);
        let mut copy = tx.copy_in_raw(self.statement).await?;
        for block in self.full {
            // Whatever goes wrong, the COPY must be ended, or the connection's next statement fails.
            if let Err(error) = copy.send(block).await {
                drop(copy.abort("it could not be sent").await);
                return Err(error);
            }
        }
        copy.finish().await
    }
}

/// One row that is being written. Each method writes the next column.
///
/// A method `x` writes a value; `x_or_null` where there is one.
#[derive(Debug)]
pub struct Row<'a> {
    bytes: &'a mut Vec<u8>,
    missing: i16,
}

impl Drop for Row<'_> {
    fn drop(&mut self) {
        debug_assert!(self.missing == 0 || std::thread::panicking(), "{} columns of a row are missing", self.missing);
    }
}

impl Row<'_> {
    fn value(&mut self, value: &[u8]) -> &mut Self {
        // A value of 2 GiB is refused by the server whatever its length says.
        let length = i32::try_from(value.len()).unwrap_or(i32::MAX);
        self.missing -= 1;
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(value);
        self
    }

    /// No value.
    pub fn null(&mut self) -> &mut Self {
        self.missing -= 1;
        self.bytes.extend_from_slice(&NULL);
        self
    }

    /// A value if there is one: `row.maybe(name, Row::text)`.
    pub fn maybe<T>(
        &mut self,
        value: Option<T>,
        write: impl for<'r> FnOnce(&'r mut Self, T) -> &'r mut Self,
    ) -> &mut Self {
        match value {
            Some(value) => write(self, value),
            None => self.null(),
        }
    }

    /// A `boolean`.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.value(&[u8::from(value)])
    }

    /// A `smallint`.
    pub fn int2(&mut self, value: i16) -> &mut Self {
        self.value(&value.to_be_bytes())
    }

    /// An `int`.
    pub fn int4(&mut self, value: i32) -> &mut Self {
        self.value(&value.to_be_bytes())
    }

    /// A `bigint`.
    pub fn int8(&mut self, value: i64) -> &mut Self {
        self.value(&value.to_be_bytes())
    }

    /// A `double precision`.
    pub fn float8(&mut self, value: f64) -> &mut Self {
        self.value(&value.to_be_bytes())
    }

    /// A `text`, `varchar` or `json`: the same bytes.
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.value(value.as_bytes())
    }

    /// A `text` of bytes that are UTF-8. The server checks that again, so it needn't be checked here each time.
    pub fn utf8(&mut self, value: &[u8]) -> &mut Self {
        debug_assert!(std::str::from_utf8(value).is_ok());
        self.value(value)
    }

    /// A `text`, or none.
    pub fn text_or_null(&mut self, value: Option<&str>) -> &mut Self {
        self.maybe(value, |row, value| row.text(value))
    }

    /// A `json`: kept as it is written, read when it is asked for.
    pub fn json(&mut self, value: &str) -> &mut Self {
        self.value(value.as_bytes())
    }

    /// A `jsonb`: read by the server now, which costs two to three times as much as `json`.
    pub fn jsonb(&mut self, value: &str) -> &mut Self {
        let length = i32::try_from(value.len() + 1).unwrap_or(i32::MAX);
        self.missing -= 1;
        self.bytes.extend_from_slice(&length.to_be_bytes());
        // The only version there is of its format.
        self.bytes.push(1);
        self.bytes.extend_from_slice(value.as_bytes());
        self
    }

    /// A `bytea`.
    pub fn bytea(&mut self, value: &[u8]) -> &mut Self {
        self.value(value)
    }

    /// A `uuid`.
    pub fn uuid(&mut self, value: Uuid) -> &mut Self {
        self.value(value.as_bytes())
    }

    /// A `timestamptz`, from milliseconds since the Unix epoch; what the calendar can't hold is clamped.
    pub fn timestamptz_ms(&mut self, millis: i64) -> &mut Self {
        // From 4714 BC, where PostgreSQL's calendar begins, to the year 9999.
        let clamped = millis.clamp(-210_866_803_200_000, 253_402_300_799_999);
        self.value(&(clamped * 1_000 + EPOCH_US).to_be_bytes())
    }

    /// A `timestamptz`, from log time; before 1970 there is no stamp, as everywhere in the tables.
    pub fn timestamptz(&mut self, at: Timestamp) -> &mut Self {
        self.timestamptz_ms(at.millis().max(0))
    }

    /// A `date`, from days since the Unix epoch.
    pub fn date(&mut self, days: i32) -> &mut Self {
        self.value(&days.clamp(-700_000, 2_932_896).saturating_add(EPOCH_DAYS).to_be_bytes())
    }

    /// An `int8multirange` of `[lower, upper)`; the server sorts and joins them.
    ///
    /// # Panics
    /// In debug builds, if one has nothing in it: the server would refuse `upper < lower`.
    pub fn int8multirange(&mut self, ranges: impl IntoIterator<Item = (i64, i64)>) -> &mut Self {
        self.missing -= 1;
        let begins = self.bytes.len();
        // Length and count are known at the end.
        self.bytes.extend_from_slice(&[0; 8]);
        let mut count = 0_i32;
        for (lower, upper) in ranges {
            debug_assert!(lower < upper, "[{lower}, {upper}) holds nothing");
            count += 1;
            // Flags, and two bounds of 8 bytes, each behind its length.
            self.bytes.extend_from_slice(&25_i32.to_be_bytes());
            self.bytes.push(LOWER_INCLUSIVE);
            for bound in [lower, upper] {
                self.bytes.extend_from_slice(&8_i32.to_be_bytes());
                self.bytes.extend_from_slice(&bound.to_be_bytes());
            }
        }
        let length = i32::try_from(self.bytes.len() - begins - 4).unwrap_or(i32::MAX);
        self.bytes[begins..begins + 4].copy_from_slice(&length.to_be_bytes());
        self.bytes[begins + 4..begins + 8].copy_from_slice(&count.to_be_bytes());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_split_into_blocks_only_between_rows() {
        let mut rows = Copy::new("copy t (a) from stdin (format binary)", 1);
        let text = "x".repeat(400_000);
        for _ in 0..10 {
            rows.row().text(&text);
        }
        assert_eq!(rows.rows(), 10);
        assert!(rows.full.len() >= 2, "{} blocks", rows.full.len());
        let bytes: usize = rows.full.iter().map(Vec::len).sum::<usize>() + rows.last.len();
        assert_eq!(bytes, HEADER.len() + 10 * (2 + 4 + text.len()));
    }

    #[test]
    fn joined_rows_are_what_one_would_have_written() {
        let rows = |texts: &[&str]| {
            let mut rows = Copy::new("copy t (a) from stdin (format binary)", 1);
            for text in texts {
                rows.row().text(text);
            }
            rows
        };
        let bytes = |rows: &Copy| rows.full.iter().chain([&rows.last]).flatten().copied().collect::<Vec<_>>();
        let long = "x".repeat(BLOCK_BYTES);
        let all = ["a", "b", &long, "c", "d"];
        for split in 0..=all.len() {
            let mut joined = rows(&all[..split]);
            joined.append(rows(&[]));
            joined.append(rows(&all[split..]));
            assert_eq!((joined.rows(), bytes(&joined)), (5, bytes(&rows(&all))), "split at {split}");
        }
    }

    #[test]
    #[cfg(debug_assertions)]
    fn a_row_that_lacks_a_column_is_a_mistake_of_the_author() {
        let short = std::panic::catch_unwind(|| {
            Copy::new("copy t (a, b) from stdin (format binary)", 2).row().int8(1);
        });
        assert!(short.is_err());
    }
}
