//! JSON as it is read at the door: strictly, and with every problem at once.
//!
//! A body is first read straight into its type, which knows each field and refuses what it doesn't know,
//! so that a key that stands twice can't hide. Only if that fails is the whole text checked and read
//! field by field. Both ways use the same `Deserialize` of each field, so they agree.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::problems::{BodyError, FieldProblem, bounded};

pub(crate) mod field;
pub(crate) mod wire;

/// Most objects and arrays inside each other.
pub(crate) const DEPTH_MAX: usize = 64;

/// The body as text.
pub(crate) fn text(body: &[u8]) -> Result<&str, BodyError> {
    std::str::from_utf8(body).map_err(|error| BodyError::NotJson { detail: format!("not UTF-8: {error}") })
}

/// Checks a whole text: one JSON value that any reader reads alike. `depth` is how deep it stands in a
/// body already.
pub(crate) fn check(text: &str, depth: usize) -> Result<(), serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    Checked { depth }.deserialize(&mut json)?;
    json.end()
}

/// A value that is looked at and forgotten.
#[derive(Clone, Copy)]
struct Checked {
    depth: usize,
}

impl Checked {
    fn inside<E: de::Error>(self) -> Result<Self, E> {
        if self.depth >= DEPTH_MAX {
            return Err(E::custom(format_args!("more than {DEPTH_MAX} levels")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Checked {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let inside = self.inside()?;
        while seq.next_element_seed(inside)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inside = self.inside()?;
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<Text<'de>>()? {
            if seen.contains(&key.0) {
                return Err(de::Error::custom(format_args!("duplicate key {:?}", key.0)));
            }
            seen.insert(key.0);
            map.next_value_seed(inside)?;
        }
        Ok(())
    }
}

/// A text that is copied only where it holds an escape.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The fields of an object whose text was checked.
struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;

        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    fields.push((key.0, map.next_value()?));
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(ObjectVisitor).map(Object)
    }
}

/// A field as [`Reader`] reads it.
pub(crate) trait Field: Sized {
    /// Reads the field that stands at `pointer`, or notes why it can't be.
    fn read(raw: &str, pointer: &str, problems: &mut Vec<FieldProblem>) -> Option<Self>;
}

/// Reads by `Deserialize`; where that fails, notes `complaint`.
pub(crate) fn read_or<T: DeserializeOwned>(
    raw: &str,
    pointer: &str,
    problems: &mut Vec<FieldProblem>,
    complaint: impl FnOnce() -> String,
) -> Option<T> {
    let read = serde_json::from_str(raw).ok();
    if read.is_none() {
        problems.push(FieldProblem::new(pointer, complaint()));
    }
    read
}

/// A field can't be read; why was noted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noted;

/// Reads an object field by field and notes every problem.
pub(crate) struct Reader<'a, 'p> {
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
    pointer: String,
    problems: &'p mut Vec<FieldProblem>,
}

impl<'a, 'p> Reader<'a, 'p> {
    /// Opens the object `raw` at `pointer`; its text was checked.
    pub(crate) fn open(raw: &'a str, pointer: &str, problems: &'p mut Vec<FieldProblem>) -> Option<Self> {
        if let Ok(Object(fields)) = serde_json::from_str(raw) {
            return Some(Self { fields, pointer: pointer.to_owned(), problems });
        }
        problems.push(FieldProblem::new(pointer, "must be an object"));
        None
    }

    /// A field's text; none where it is absent or null.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a str> {
        let (_, raw) = self.fields.iter().find(|(field, _)| field == name)?;
        Some(raw.get()).filter(|raw| *raw != "null")
    }

    /// A field that must be there.
    pub(crate) fn required<T: Field>(&mut self, name: &str) -> Option<T> {
        if self.raw(name).is_none() {
            self.note(name, "is required");
        }
        self.optional(name).ok().flatten()
    }

    /// A field that may be absent or null.
    pub(crate) fn optional<T: Field>(&mut self, name: &str) -> Result<Option<T>, Noted> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        T::read(raw, &format!("{}/{name}", self.pointer), self.problems).map(Some).ok_or(Noted)
    }

    /// Notes a problem of a field, or of the object itself where `name` is empty.
    pub(crate) fn note(&mut self, name: &str, detail: impl Into<String>) {
        let pointer = if name.is_empty() { self.pointer.clone() } else { format!("{}/{name}", self.pointer) };
        self.problems.push(FieldProblem::new(pointer, detail));
    }

    /// The other problems' list, for a field that is an object itself.
    pub(crate) fn problems(&mut self) -> &mut Vec<FieldProblem> {
        self.problems
    }
    /// All fields but those of these names.
    pub(crate) fn others(&self, names: &[&str]) -> impl Iterator<Item = (&str, &'a str)> {
        self.fields
            .iter()
            .filter(move |(field, _)| !names.contains(&field.as_ref()))
            .map(|(field, raw)| (field.as_ref(), raw.get()))
    }
}

/// Reads a whole body field by field.
pub(crate) fn read_body<'a, T>(
    body: &'a [u8],
    read: impl FnOnce(&mut Reader<'a, '_>) -> Option<T>,
) -> Result<T, BodyError> {
    let text = text(body)?;
    check(text, 0).map_err(|error| BodyError::NotJson { detail: error.to_string() })?;
    let mut problems = Vec::new();
    let value = Reader::open(text, "", &mut problems).and_then(|mut reader| read(&mut reader));
    match value {
        Some(value) if problems.is_empty() => Ok(value),
        _ => Err(BodyError::Invalid(bounded(problems))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_readers_may_read_differently_is_no_json() {
        for (text, says) in [
            (r#"{"a":1,"a":2}"#, "duplicate key \"a\""),
            (r#"{"a":1,"\u0061":2}"#, "duplicate key \"a\""),
            (r#"{"x":[{"b":{"c":1,"d":2,"c":3}}]}"#, "duplicate key \"c\""),
            ("{} {}", "trailing characters"),
            ("", "EOF"),
            ("[1,]", "trailing comma"),
            (r#"["\ud800"]"#, "escape"),
            ("1e999", "out of range"),
        ] {
            let error = check(text, 0).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn sixty_four_levels_are_deep_enough() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(check(&nested(DEPTH_MAX), 0).is_ok());
        assert!(check(&nested(DEPTH_MAX + 1), 0).is_err());
        assert!(check(&nested(DEPTH_MAX - 3), 3).is_ok());
        assert!(check(&nested(DEPTH_MAX - 2), 3).is_err());
        // Deep enough to end a reader that recurses without a limit.
        assert!(check(&nested(500_000), 0).is_err());
    }
}
