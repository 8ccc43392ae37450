//! The text that a statement's hash is over: the same for everybody who has the same figures.
//!
//! Lines of fields parted by tabs, which no id holds. docs/statements.md tells its form to whoever checks it without
//! this program.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::{Head, Row};

/// The first line's first field: another form would have another name.
const FORM: &str = "pulsegate-statement-1";

/// The hash of a statement in hexadecimal.
pub(super) fn hash(head: &Head, rows: &[Row]) -> String {
    let mut hasher = Hasher::begin(head);
    for row in rows {
        hasher.row(row);
    }
    hasher.end(head)
}

/// Writes a row's line.
pub(super) fn line(row: &Row, text: &mut String) {
    let key = &row.key;
    text.push_str("row");
    let ids =
        [&key.rights_holder_id, &key.contract_id, &key.title_id, &key.territory, &key.device_class, &key.currency];
    for id in ids {
        text.push('\t');
        text.push_str(id);
    }
    let mut digits = itoa::Buffer::new();
    for figure in row.figures.array() {
        text.push('\t');
        text.push_str(digits.format(figure));
    }
    text.push('\t');
    if !key.currency.is_empty() {
        // Writing to a text can't fail.
        let _ = write!(text, "{}", row.amount);
    }
    text.push('\n');
}

/// Makes the hash while rows pass by, in the order of their keys.
pub(super) struct Hasher {
    hash: Sha256,
    line: String,
}

impl Hasher {
    /// Has hashed the beginning, and rows whose lines are at hand.
    pub(super) fn of_texts(head: &Head, texts: &[String]) -> Self {
        let mut this = Self::begin(head);
        for text in texts {
            this.hash.update(text);
        }
        this
    }

    fn begin(head: &Head) -> Self {
        let mut this = Self { hash: Sha256::new(), line: String::new() };
        let revision = head.revision.to_string();
        let holder = head.rights_holder_id.as_deref().unwrap_or_default();
        this.fields([FORM, &head.period, holder, &revision, head.previous_sha256.as_deref().unwrap_or_default()]);
        for one in &head.as_of {
            this.fields(["as_of", &one.topic, &one.partition.to_string(), &one.offset.to_string()]);
        }
        this.fields(["service_watched_ms", &head.service_watched_ms.to_string()]);
        this
    }

    fn row(&mut self, row: &Row) {
        self.line.clear();
        line(row, &mut self.line);
        self.hash.update(self.line.as_bytes());
    }

    /// Has hashed the contracts as well: the hash in hexadecimal.
    pub(super) fn end(mut self, head: &Head) -> String {
        for one in &head.contracts {
            let version = one.version.to_string();
            let none = String::new();
            let [currency, lines, sum, amount] = match &one.due {
                Some(due) => [&due.currency, &due.sum_of_rounded, &due.rounded_sum, &due.amount],
                None => [&none; 4],
            };
            self.fields(["contract", &one.contract_id, &version, one.contract.get(), currency, lines, sum, amount]);
        }
        let digest = self.hash.finalize();
        digest.iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    fn fields<'a>(&mut self, fields: impl IntoIterator<Item = &'a str>) {
        self.line.clear();
        for (index, field) in fields.into_iter().enumerate() {
            if index > 0 {
                self.line.push('\t');
            }
            self.line.push_str(field);
        }
        self.line.push('\n');
        self.hash.update(self.line.as_bytes());
    }
}
