//! What the parties agreed on beside titles, territories and days: read out of a contract's other members.
//!
//! A contract that was registered before this program read them may say anything there; it stays a fact, and a statement
//! says what it can't make out.

use std::fmt;

use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Counting, Payment};
use crate::money::read_decimal;

/// One thing that is wrong with a contract, with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// JSON pointer into the contract.
    pub pointer: String,
    /// What is wrong, as a phrase behind the place.
    pub detail: String,
}

impl Mistake {
    pub(super) fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pointer, self.detail)
    }
}

/// What is counted and what is paid for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreed {
    /// How views are counted.
    pub counting: Counting,
    /// What is paid; `None`: the contract says nothing of money.
    pub payment: Option<Payment>,
}

impl Agreed {
    /// Reads `counting` and `payment` out of a contract's other members; every mistake at once.
    pub fn read(terms: &Map<String, Value>) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let counting = match member(terms, "counting") {
            Some(value) => Members::all(value, "/counting", &mut mistakes, Counting::read),
            None => Some(Counting::default()),
        };
        let payment = match member(terms, "payment") {
            Some(value) => Members::all(value, "/payment", &mut mistakes, Payment::read).map(Some),
            None => Some(None),
        };
        match (counting, payment) {
            (Some(counting), Some(payment)) if mistakes.is_empty() => Ok(Self { counting, payment }),
            _ => Err(mistakes),
        }
    }
}

/// A member; null is none.
fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

/// The members of an object, each to be asked for once: what nobody asked for is a mistake, since a misspelt rate would
/// cost somebody money.
pub(super) struct Members<'a, 'm> {
    object: &'a Map<String, Value>,
    pointer: String,
    asked: Vec<&'static str>,
    mistakes: &'m mut Vec<Mistake>,
}

impl<'a, 'm> Members<'a, 'm> {
    /// Reads all members of an object.
    pub(super) fn all<T>(
        value: &'a Value,
        pointer: &str,
        mistakes: &'m mut Vec<Mistake>,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let Some(object) = value.as_object() else {
            mistakes.push(Mistake::new(pointer, "must be an object"));
            return None;
        };
        let mut members = Self { object, pointer: pointer.to_owned(), asked: Vec::new(), mistakes };
        let value = read(&mut members);
        members.finish();
        value
    }

    /// A member as it stands there.
    pub(super) fn raw(&mut self, name: &'static str) -> Option<&'a Value> {
        if !self.asked.contains(&name) {
            self.asked.push(name);
        }
        member(self.object, name)
    }

    /// Notes a mistake of a member, or of the object itself where `name` is empty.
    pub(super) fn note(&mut self, name: &str, detail: impl Into<String>) {
        let pointer = if name.is_empty() { self.pointer.clone() } else { format!("{}/{name}", self.pointer) };
        self.mistakes.push(Mistake::new(pointer, detail));
    }

    /// The list of mistakes, for a member that is an object itself, and its pointer.
    pub(super) fn inside(&mut self, name: &str) -> (String, &mut Vec<Mistake>) {
        (format!("{}/{name}", self.pointer), self.mistakes)
    }

    /// A text that `read` can read; a complaint otherwise.
    pub(super) fn word<T>(
        &mut self,
        name: &'static str,
        must_be: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.raw(name)?;
        let word = value.as_str().and_then(read);
        if word.is_none() {
            self.note(name, must_be);
        }
        word
    }

    /// A rate or an amount: text, because a JSON number may be read as a float.
    pub(super) fn decimal(&mut self, name: &'static str) -> Option<Decimal> {
        self.word(name, DECIMAL, read_decimal)
    }

    /// Notes every member that nobody asked for.
    fn finish(self) {
        let is_unknown = |name: &&String| !self.asked.contains(&name.as_str());
        let known = self.asked.join(", ");
        for name in self.object.keys().filter(is_unknown).take(UNKNOWN_TOLD_MAX) {
            let detail = format!("is not known here; known are {known}");
            self.mistakes.push(Mistake::new(format!("{}/{}", self.pointer, escaped(name)), detail));
        }
        let more = self.object.keys().filter(is_unknown).skip(UNKNOWN_TOLD_MAX).count();
        if more > 0 {
            self.mistakes.push(Mistake::new(self.pointer, format!("has {more} members more that are not known here")));
        }
    }
}

/// Most unknown members of one object that are told by name.
const UNKNOWN_TOLD_MAX: usize = 20;

/// What a decimal must be.
pub(super) const DECIMAL: &str =
    "must be a decimal as a string, e.g. \"0.040\": at most 12 digits, and 9 behind the point; no sign";

/// A name in a JSON pointer (RFC 6901).
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(terms: &Value) -> Result<Agreed, String> {
        Agreed::read(terms.as_object().unwrap())
            .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn a_contract_may_say_nothing_of_money() {
        assert_eq!(read(&json!({})), Ok(Agreed::default()));
        assert_eq!(read(&json!({"currency": "EUR", "per_view_minor": 12, "payment": null})), Ok(Agreed::default()));
    }

    #[test]
    fn of_very_many_unknown_members_the_first_are_named() {
        let members: Map<String, Value> = (0..100_000).map(|n| (format!("m{n}"), json!(n))).collect();
        let mistakes = Agreed::read(json!({"counting": members}).as_object().unwrap()).unwrap_err();
        assert_eq!(mistakes.len(), UNKNOWN_TOLD_MAX + 1);
        assert_eq!(mistakes[UNKNOWN_TOLD_MAX].to_string(), "/counting has 99980 members more that are not known here");
    }

    #[test]
    fn every_mistake_is_named_with_its_place() {
        let mistakes = read(&json!({
            "counting": {"views": "hours", "round_to": 0},
            "payment": {
                "currency": "EURO", "rounding": "up", "per_view": 0.04, "per_hour": "1e3", "fixd_per_month": "5",
                "revenue_share": {"percent": "100.1", "pools": {"2026-13": "1", "2026-10": "1.005"}}
            }
        }))
        .unwrap_err();
        let places: Vec<_> = mistakes.lines().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(
            places,
            [
                "/counting/views",
                "/counting/round_to",
                "/payment/currency",
                "/payment/rounding",
                "/payment/per_view",
                "/payment/per_hour",
                "/payment/revenue_share/percent",
                "/payment/revenue_share/pools/2026-13",
                "/payment/fixd_per_month",
            ],
            "{mistakes}"
        );
        assert_eq!(read(&json!({"payment": 1, "counting": []})).unwrap_err().lines().count(), 2);
    }

    #[test]
    fn an_amount_has_no_more_decimals_than_its_currency() {
        let of = |currency: &str, fixed: &str| {
            read(&json!({"payment": {"currency": currency, "fixed_per_month": fixed}})).map(drop)
        };
        assert_eq!(of("EUR", "10.50"), Ok(()));
        assert_eq!(of("TND", "10.505"), Ok(()));
        assert_eq!(of("JPY", "10.5"), Err("/payment/fixed_per_month must have at most 0 decimals in JPY".to_owned()));
        assert_eq!(of("EUR", "10.505"), Err("/payment/fixed_per_month must have at most 2 decimals in EUR".to_owned()));
    }

    #[test]
    fn money_is_said_for_something() {
        let error = read(&json!({"payment": {"currency": "EUR"}})).unwrap_err();
        assert!(error.starts_with("/payment must say for what is paid: "), "{error}");
    }
}
