//! The types of fields: each is read the same whether a body is read at once or field by field.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike as _, NaiveDate, Utc};
use pulsegate_domain::ids::InvalidId;
use pulsegate_domain::time::Timestamp;
use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use serde_json::value::RawValue;

use super::{Field, check, read_or};
use crate::problems::{FieldProblem, PROBLEMS_TOLD_MAX};

/// The largest integer that every JSON reader reads exactly.
pub(crate) const INTEGER_MAX: u64 = (1 << 53) - 1;

/// Ids and the words of closed vocabularies say themselves what they must be.
impl<T: FromStr<Err = InvalidId> + DeserializeOwned> Field for T {
    fn read(raw: &str, pointer: &str, problems: &mut Vec<FieldProblem>) -> Option<Self> {
        read_or(raw, pointer, problems, || match serde_json::from_str::<String>(raw).map(|text| text.parse::<Self>()) {
            Ok(Err(error)) => error.to_string(),
            Ok(Ok(_)) | Err(_) => "must be a string".to_owned(),
        })
    }
}

/// An integer of 0 to `MAX`, written as one: `1.0` isn't.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Integer<const MAX: u64 = INTEGER_MAX>(pub(crate) u64);

impl<'de, const MAX: u64> Deserialize<'de> for Integer<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = u64::deserialize(deserializer)?;
        if value <= MAX { Ok(Self(value)) } else { Err(de::Error::custom("too large")) }
    }
}

impl<const MAX: u64> Field for Integer<MAX> {
    fn read(raw: &str, pointer: &str, problems: &mut Vec<FieldProblem>) -> Option<Self> {
        read_or(raw, pointer, problems, || format!("must be an integer of 0-{MAX}"))
    }
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Flag(pub(crate) bool);

impl Field for Flag {
    fn read(raw: &str, pointer: &str, problems: &mut Vec<FieldProblem>) -> Option<Self> {
        read_or(raw, pointer, problems, || "must be true or false".to_owned())
    }
}

/// Speed of playback: a number of 0 to 16, kept in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) milli: u32,
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rate = f64::deserialize(deserializer)?;
        if !(0.0..=16.0).contains(&rate) {
            return Err(de::Error::custom("out of range"));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
        let milli = (rate * 1_000.0).round() as u32;
        Ok(Self { milli })
    }
}

impl Field for Rate {
    fn read(raw: &str, pointer: &str, problems: &mut Vec<FieldProblem>) -> Option<Self> {
        read_or(raw, pointer, problems, || "must be a number of 0-16".to_owned())
    }
}

/// Longest name, in characters.
pub(crate) const NAME_LEN_MAX: usize = 256;

/// A name for people: not blank, no control characters.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Name(pub(crate) String);

impl TryFrom<String> for Name {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = text.len() <= NAME_LEN_MAX || text.chars().count() <= NAME_LEN_MAX;
        if fits && !text.trim().is_empty() && !text.chars().any(char::is_control) {
            Ok(Self(text))
        } else {
            Err("not a name")
        }
    }
}

impl Field for Name {
    fn read(raw: &str, pointer: &str, problems: &mut Vec<FieldProblem>) -> Option<Self> {
        read_or(raw, pointer, problems, || {
            format!("must be a string of 1-{NAME_LEN_MAX} characters, not blank, none of them a control character")
        })
    }
}

/// A calendar day, `YYYY-MM-DD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Day(pub(crate) NaiveDate);

impl TryFrom<String> for Day {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        // chrono reads other spellings too, and years of more digits; one of each day is enough.
        let day: Option<NaiveDate> = text.parse().ok();
        day.filter(|day| text.len() == 10 && day.to_string() == text).map(Self).ok_or("not a day")
    }
}

impl Field for Day {
    fn read(raw: &str, pointer: &str, problems: &mut Vec<FieldProblem>) -> Option<Self> {
        read_or(raw, pointer, problems, || "must be a date, YYYY-MM-DD".to_owned())
    }
}

/// An instant, RFC 3339, of the years 1970 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Instant(pub(crate) Timestamp);

impl TryFrom<String> for Instant {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let time = DateTime::parse_from_rfc3339(&text).map_err(|_| "not RFC 3339")?.with_timezone(&Utc);
        if (1970..=9999).contains(&time.year()) { Ok(Self(time.into())) } else { Err("out of range") }
    }
}

impl Field for Instant {
    fn read(raw: &str, pointer: &str, problems: &mut Vec<FieldProblem>) -> Option<Self> {
        read_or(raw, pointer, problems, || "must be an RFC 3339 time of the years 1970-9999".to_owned())
    }
}

/// A list of `MIN` to `MAX` elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct List<T, const MIN: usize, const MAX: usize>(pub(crate) Vec<T>);

impl<'de, T: Deserialize<'de>, const MIN: usize, const MAX: usize> Deserialize<'de> for List<T, MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let list = Vec::deserialize(deserializer)?;
        if (MIN..=MAX).contains(&list.len()) { Ok(Self(list)) } else { Err(de::Error::custom("length")) }
    }
}

impl<T: Field, const MIN: usize, const MAX: usize> Field for List<T, MIN, MAX> {
    fn read(raw: &str, pointer: &str, problems: &mut Vec<FieldProblem>) -> Option<Self> {
        let elements = elements(raw, pointer, problems)?;
        let known = problems.len();
        if !(MIN..=MAX).contains(&elements.len()) {
            problems.push(FieldProblem::new(pointer, format!("must hold {MIN}-{MAX} elements")));
        }
        // A list that is far too long isn't worth a complaint for each of its elements.
        let mut list = Vec::new();
        for (index, element) in elements.iter().take(MAX).enumerate() {
            list.extend(T::read(element.get(), &format!("{pointer}/{index}"), problems));
            // One more than are told, so that it is told that there are more.
            if problems.len() - known > PROBLEMS_TOLD_MAX {
                break;
            }
        }
        if problems.len() > known { None } else { Some(Self(list)) }
    }
}

/// The texts of an array's elements.
pub(crate) fn elements<'a>(raw: &'a str, pointer: &str, problems: &mut Vec<FieldProblem>) -> Option<Vec<&'a RawValue>> {
    let elements = serde_json::from_str(raw).ok();
    if elements.is_none() {
        problems.push(FieldProblem::new(pointer, "must be an array"));
    }
    elements
}

/// Any JSON object, kept as it came.
#[derive(Clone, Debug)]
pub(crate) struct Properties(pub(crate) Box<RawValue>);

/// How deep properties stand in a body: in an event, in the list of events, in the body.
const PROPERTIES_DEPTH: usize = 3;

impl PartialEq for Properties {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        if !raw.get().starts_with('{') {
            return Err(de::Error::custom("not an object"));
        }
        // A raw value was only skipped so far: a key may stand twice in it.
        check(raw.get(), PROPERTIES_DEPTH).map_err(de::Error::custom)?;
        Ok(Self(raw))
    }
}

impl Field for Properties {
    fn read(raw: &str, pointer: &str, problems: &mut Vec<FieldProblem>) -> Option<Self> {
        read_or(raw, pointer, problems, || "must be an object".to_owned())
    }
}

/// A word or phrase with a `FromStr` of its own kind of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Phrase<T>(pub(crate) T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Phrase<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PhraseVisitor<T>(std::marker::PhantomData<T>);

        impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for PhraseVisitor<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(PhraseVisitor(std::marker::PhantomData)).map(Self)
    }
}

impl<T: FromStr<Err: fmt::Display>> Field for Phrase<T> {
    fn read(raw: &str, pointer: &str, problems: &mut Vec<FieldProblem>) -> Option<Self> {
        read_or(raw, pointer, problems, || match serde_json::from_str::<String>(raw).map(|text| text.parse::<T>()) {
            Ok(Err(error)) => error.to_string(),
            Ok(Ok(_)) | Err(_) => "must be a string".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Field>(raw: &str) -> Result<T, String> {
        let mut problems = Vec::new();
        T::read(raw, "/x", &mut problems).ok_or_else(|| crate::problems::in_one_line(&problems))
    }

    #[test]
    fn an_integer_is_written_as_one_and_exact_everywhere() {
        assert_eq!(read::<Integer>("9007199254740991"), Ok(Integer(INTEGER_MAX)));
        for bad in ["9007199254740992", "-1", "-0", "1.0", "1e3", "\"1\"", "true", "[]"] {
            assert_eq!(read::<Integer>(bad), Err("/x must be an integer of 0-9007199254740991".to_owned()), "{bad}");
        }
    }

    #[test]
    fn a_rate_is_kept_in_thousandths() {
        for (raw, milli) in [("0", 0), ("-0.0", 0), ("1", 1_000), ("1.25", 1_250), ("0.3334", 333), ("16", 16_000)] {
            assert_eq!(read::<Rate>(raw), Ok(Rate { milli }), "{raw}");
        }
        for bad in ["16.0001", "-0.1", "1e999", "\"1\"", "{}"] {
            assert_eq!(read::<Rate>(bad), Err("/x must be a number of 0-16".to_owned()), "{bad}");
        }
    }

    #[test]
    fn a_name_is_for_people() {
        for good in ["\"a\"", "\"Das Boot – Teil 2\"", &format!("\"{}\"", "ä".repeat(256))] {
            assert!(read::<Name>(good).is_ok(), "{good}");
        }
        for bad in ["\"\"", "\"  \"", "\"a\\u0000\"", "\"a\\n\"", &format!("\"{}\"", "ä".repeat(257)), "1"] {
            assert!(read::<Name>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_day_has_one_spelling_and_an_instant_an_offset() {
        assert!(read::<Day>("\"2026-10-01\"").is_ok());
        for bad in ["\"2026-10-1\"", "\" 2026-10-01\"", "\"2026-02-30\"", "\"+12026-01-01\"", "20261001"] {
            assert!(read::<Day>(bad).is_err(), "{bad}");
        }
        assert_eq!(
            read::<Instant>("\"2026-11-22T21:47:03.12+01:00\"").unwrap().0.to_string(),
            "2026-11-22T20:47:03.120Z"
        );
        for bad in ["\"2026-11-22T20:47:03\"", "\"2026-11-22\"", "1795380423120", "\"1969-12-31T23:59:59Z\""] {
            assert!(read::<Instant>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_element_of_a_list_has_its_place() {
        type Letters = List<pulsegate_domain::ids::Territory, 1, 3>;
        assert_eq!(read::<Letters>(r#"["DE","xx",7]"#).unwrap_err().matches("/x/").count(), 2);
        assert_eq!(read::<Letters>("[]"), Err("/x must hold 1-3 elements".to_owned()));
        assert_eq!(read::<Letters>(r#"["DE","DE","DE","DE"]"#), Err("/x must hold 1-3 elements".to_owned()));
        assert_eq!(read::<Letters>("{}"), Err("/x must be an array".to_owned()));
    }

    #[test]
    fn of_very_many_mistakes_the_first_are_told() {
        type Many = List<pulsegate_domain::ids::Territory, 1, 10_000>;
        let body = format!(r#"{{"x":[{}1]}}"#, "1,".repeat(9_999));
        let read = crate::json::read_body(body.as_bytes(), |reader| reader.optional::<Many>("x").ok());
        let Err(crate::problems::BodyError::Invalid(problems)) = read else { panic!("no territory") };
        assert_eq!(problems.len(), PROBLEMS_TOLD_MAX + 1);
        assert_eq!(problems[PROBLEMS_TOLD_MAX].detail, "has at least 1 mistakes more");
    }
}
