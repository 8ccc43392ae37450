//! A row: what it is about, its figures, its amount.

use std::collections::BTreeMap;

use compact_str::CompactString;
use rust_decimal::Decimal;
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Serialize, Serializer};

use crate::licensing::completion_per_mille;

/// The figures, in the order in which they are written everywhere.
pub const FIGURES: [&str; 12] = [
    "plays",
    "qualified_views",
    "views",
    "watched_ms",
    "aged_ms",
    "content_ms",
    "distinct_accounts",
    "peak_concurrent",
    "blocked_attempts",
    "outside_window_ms",
    "outside_territory_ms",
    "runtime_ms",
];

/// What the rows of one title under one contract have in common. Empty: none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Heading {
    /// To whom.
    pub(super) holder: CompactString,
    /// Under which contract.
    pub(super) contract: CompactString,
    /// For which title.
    pub(super) title: CompactString,
}

/// What a row is about. Empty: none. A statement may have a million of them, so short ids take no room elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// To whom; empty where the title isn't in the catalog.
    pub rights_holder_id: CompactString,
    /// Under which contract; empty where none was in force.
    pub contract_id: CompactString,
    /// For which title.
    pub title_id: CompactString,
    /// Where; empty in the row of views that are counted over a whole title.
    pub territory: CompactString,
    /// On what; empty as well.
    pub device_class: CompactString,
    /// The money; empty where the contract says nothing of it.
    pub currency: CompactString,
}

/// The figures of a row. In a restatement each is what it is more, or less, than before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Sessions that began to play.
    pub plays: i64,
    /// Sessions whose watched time reached the contract's threshold.
    pub qualified_views: i64,
    /// Views as the contract counts them.
    pub views: i64,
    /// Watched time.
    pub watched_ms: i64,
    /// The part of it that arrived late.
    pub aged_ms: i64,
    /// Content that its session had not seen before.
    pub content_ms: i64,
    /// Accounts that watched or began to play.
    pub distinct_accounts: i64,
    /// Most sessions that watched at one instant.
    pub peak_concurrent: i64,
    /// Sessions that were told no.
    pub blocked_attempts: i64,
    /// Watched while no contract of the title was in force.
    pub outside_window_ms: i64,
    /// Watched where no contract of the title that was in force holds.
    pub outside_territory_ms: i64,
    /// How long the title is; 0 where it has no length.
    pub runtime_ms: i64,
}

impl Figures {
    /// Takes up more of the same.
    pub(super) fn add(&mut self, more: &Self) {
        let (mut sum, more) = (self.array(), more.array());
        for (sum, more) in sum.iter_mut().zip(more) {
            *sum += more;
        }
        *self = Self::of(sum);
    }

    /// In the order of [`FIGURES`].
    #[must_use]
    pub const fn array(&self) -> [i64; 12] {
        [
            self.plays,
            self.qualified_views,
            self.views,
            self.watched_ms,
            self.aged_ms,
            self.content_ms,
            self.distinct_accounts,
            self.peak_concurrent,
            self.blocked_attempts,
            self.outside_window_ms,
            self.outside_territory_ms,
            self.runtime_ms,
        ]
    }

    /// From the order of [`FIGURES`].
    #[must_use]
    pub const fn of(array: [i64; 12]) -> Self {
        let [
            plays,
            qualified_views,
            views,
            watched_ms,
            aged_ms,
            content_ms,
            distinct_accounts,
            peak_concurrent,
            blocked_attempts,
            outside_window_ms,
            outside_territory_ms,
            runtime_ms,
        ] = array;
        Self {
            plays,
            qualified_views,
            views,
            watched_ms,
            aged_ms,
            content_ms,
            distinct_accounts,
            peak_concurrent,
            blocked_attempts,
            outside_window_ms,
            outside_territory_ms,
            runtime_ms,
        }
    }
}

/// A row of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What it is about.
    pub key: Key,
    /// What was used.
    pub figures: Figures,
    /// What is due for it, in its currency; 0 without one.
    pub amount: Decimal,
}

impl Row {
    /// How much of the title a play saw, on average: content ÷ (plays × runtime), in thousandths; `None` where the title
    /// has no length or nobody began to play.
    #[must_use]
    pub fn completion_per_mille(&self) -> Option<i64> {
        completion_per_mille(self.figures.plays, self.figures.runtime_ms, self.figures.content_ms)
    }

    /// Whether it says anything.
    pub(crate) fn is_any(&self) -> bool {
        self.figures.array() != [0; 12] || !self.amount.is_zero()
    }
}

fn known(text: &CompactString) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// A row as JSON has it: nulls for what there is none of.
impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Key { rights_holder_id, contract_id, title_id, territory, device_class, currency } = &self.key;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("rights_holder_id", &known(rights_holder_id))?;
        map.serialize_entry("contract_id", &known(contract_id))?;
        map.serialize_entry("title_id", title_id)?;
        map.serialize_entry("territory", &known(territory))?;
        map.serialize_entry("device_class", &known(device_class))?;
        for (name, figure) in FIGURES.into_iter().zip(self.figures.array()) {
            map.serialize_entry(name, &figure)?;
        }
        map.serialize_entry("completion_per_mille", &self.completion_per_mille())?;
        map.serialize_entry("currency", &known(currency))?;
        map.serialize_entry("amount", &(!currency.is_empty()).then(|| self.amount.to_string()))?;
        map.end()
    }
}

/// A row as a file of JSON has it.
#[derive(Deserialize)]
pub(super) struct Written {
    rights_holder_id: Option<CompactString>,
    contract_id: Option<CompactString>,
    title_id: CompactString,
    territory: Option<CompactString>,
    device_class: Option<CompactString>,
    currency: Option<CompactString>,
    amount: Option<String>,
    #[serde(flatten)]
    rest: BTreeMap<String, serde_json::Value>,
}

impl TryFrom<Written> for Row {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let mut figures = [0; 12];
        for (name, figure) in FIGURES.into_iter().zip(&mut figures) {
            let value = written.rest.get(name).and_then(serde_json::Value::as_i64);
            *figure = value.ok_or_else(|| format!("a row has no {name}"))?;
        }
        let amount = match &written.amount {
            Some(amount) => amount.parse().map_err(|_| format!("no amount is {amount:?}"))?,
            None => Decimal::ZERO,
        };
        let key = Key {
            rights_holder_id: written.rights_holder_id.unwrap_or_default(),
            contract_id: written.contract_id.unwrap_or_default(),
            title_id: written.title_id,
            territory: written.territory.unwrap_or_default(),
            device_class: written.device_class.unwrap_or_default(),
            currency: written.currency.unwrap_or_default(),
        };
        Ok(Self { key, figures: Figures::of(figures), amount })
    }
}

/// What `now` is more, or less, than `before`, row by row; what is the same is left out.
pub(super) fn difference(before: Vec<Row>, now: &[Row]) -> Vec<Row> {
    let mut rows: BTreeMap<Key, ([i64; 12], Decimal)> =
        before.into_iter().map(|row| (row.key, (row.figures.array().map(|figure| -figure), -row.amount))).collect();
    for row in now {
        let (figures, amount) = rows.entry(row.key.clone()).or_default();
        for (sum, figure) in figures.iter_mut().zip(row.figures.array()) {
            *sum += figure;
        }
        *amount += row.amount;
    }
    let rows = rows.into_iter().map(|(key, (figures, amount))| Row { key, figures: Figures::of(figures), amount });
    rows.filter(Row::is_any).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(title: &str, plays: i64, amount: &str) -> Row {
        let key = Key { title_id: title.into(), currency: "EUR".into(), ..Key::default() };
        Row { key, figures: Figures { plays, ..Figures::default() }, amount: amount.parse().unwrap() }
    }

    #[test]
    fn a_difference_is_signed_and_brings_one_to_the_other() {
        let before = vec![row("a", 2, "0.08"), row("b", 1, "0.04"), row("c", 5, "0.20")];
        let now = [row("a", 3, "0.12"), row("c", 5, "0.20"), row("d", 1, "0.04")];
        let difference = difference(before, &now);
        assert_eq!(difference, [row("a", 1, "0.04"), row("b", -1, "-0.04"), row("d", 1, "0.04")]);
    }

    #[test]
    fn a_row_is_read_as_it_is_written() {
        let mut row = row("a", 2, "0.08");
        row.figures.runtime_ms = 1_000;
        row.figures.content_ms = 1_500;
        let json = serde_json::to_value(&row).unwrap();
        assert_eq!((&json["territory"], &json["completion_per_mille"]), (&serde_json::Value::Null, &750.into()));
        let read: Written = serde_json::from_value(json).unwrap();
        assert_eq!(Row::try_from(read), Ok(row));
    }
}
