//! Bodies with known fields, and batches of them.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::field::elements;
use super::{Reader, read_body, text};
use crate::problems::{BodyError, in_one_line};
use crate::request::{Batch, ItemError};

/// A body, or an item of a batch. [`wire!`] makes both ways to read it out of one list of fields.
pub(crate) trait Wire: DeserializeOwned {
    /// Reads it field by field. `None` if there was a problem, which was noted.
    fn collect(reader: &mut Reader<'_, '_>) -> Option<Self>;

    /// What is wrong between its fields.
    fn conflict(&self) -> Option<&'static str> {
        None
    }
}

/// A struct whose fields are read at once, refusing what it doesn't know, or one by one.
macro_rules! wire {
    (
        $(#[$meta:meta])*
        $name:ident {
            required { $($field:ident: $type:ty),* $(,)? }
            optional { $($maybe:ident: $maybe_type:ty),* $(,)? }
            $(conflict = $conflict:expr)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name {
            $(pub(crate) $field: $type,)*
            $(pub(crate) $maybe: Option<$maybe_type>,)*
        }

        impl $crate::json::wire::Wire for $name {
            fn collect(reader: &mut $crate::json::Reader<'_, '_>) -> Option<Self> {
                $(let $field = reader.required::<$type>(stringify!($field));)*
                $(let $maybe = reader.optional::<$maybe_type>(stringify!($maybe));)*
                Some(Self { $($field: $field?,)* $($maybe: $maybe.ok()?,)* })
            }

            $(fn conflict(&self) -> Option<&'static str> {
                let conflict: fn(&Self) -> Option<&'static str> = $conflict;
                conflict(self)
            })?
        }
    };
}
pub(crate) use wire;

fn collect<W: Wire>(reader: &mut Reader<'_, '_>) -> Option<W> {
    let value = W::collect(reader)?;
    match value.conflict() {
        None => Some(value),
        Some(conflict) => {
            reader.note("", conflict);
            None
        }
    }
}

/// Reads at once; any problem is `None`.
pub(crate) fn fast<W: Wire>(text: &str) -> Option<W> {
    serde_json::from_str::<W>(text).ok().filter(|value| value.conflict().is_none())
}

/// Reads field by field.
pub(crate) fn slow<W: Wire>(body: &[u8]) -> Result<W, BodyError> {
    read_body(body, collect)
}

/// Reads a body.
pub(crate) fn read<W: Wire>(body: &[u8]) -> Result<W, BodyError> {
    match fast(text(body)?) {
        Some(value) => Ok(value),
        None => slow(body),
    }
}

/// Reads a body that may be left out.
pub(crate) fn read_or_empty<W: Wire>(body: &[u8]) -> Result<W, BodyError> {
    read(if body.trim_ascii().is_empty() { b"{}" } else { body })
}

/// Most items of a batch.
pub(crate) const BATCH_MAX: usize = 1_000;

/// Reads `{"<field>": [item, …]}`.
pub(crate) fn read_batch<W: Wire, T>(
    body: &[u8],
    field: &'static str,
    into: impl Fn(W) -> T,
) -> Result<Batch<T>, BodyError> {
    if let Some(items) = fast_batch::<W>(text(body)?, field) {
        let accepted = items.into_iter().map(into).enumerate().collect();
        return Ok(Batch { accepted, rejected: Vec::new() });
    }
    slow_batch(body, field, into)
}

pub(crate) fn fast_batch<W: Wire>(text: &str, field: &'static str) -> Option<Vec<W>> {
    let mut json = serde_json::Deserializer::from_str(text);
    let items: Vec<W> = BatchSeed { field, item: PhantomData }.deserialize(&mut json).ok()?;
    json.end().ok()?;
    let fits = (1..=BATCH_MAX).contains(&items.len()) && items.iter().all(|item| item.conflict().is_none());
    fits.then_some(items)
}

pub(crate) fn slow_batch<W: Wire, T>(
    body: &[u8],
    field: &'static str,
    into: impl Fn(W) -> T,
) -> Result<Batch<T>, BodyError> {
    let items = read_body(body, |reader| {
        let Some(raw) = reader.raw(field) else {
            reader.note(field, "is required");
            return None;
        };
        let items = elements(raw, &format!("/{field}"), reader.problems())?;
        if !(1..=BATCH_MAX).contains(&items.len()) {
            reader.note(field, format!("must hold 1-{BATCH_MAX} {field}"));
        }
        Some(items)
    })?;
    let mut batch = Batch { accepted: Vec::with_capacity(items.len()), rejected: Vec::new() };
    for (index, raw) in items.into_iter().enumerate() {
        match read_item(raw, index) {
            Ok(item) => batch.accepted.push((index, into(item))),
            Err(error) => batch.rejected.push(error),
        }
    }
    Ok(batch)
}

/// Reads one item; its text was checked as part of the body.
fn read_item<W: Wire>(raw: &RawValue, index: usize) -> Result<W, ItemError> {
    if let Some(item) = fast(raw.get()) {
        return Ok(item);
    }
    let mut problems = Vec::new();
    let mut key = None;
    let item = Reader::open(raw.get(), "", &mut problems).and_then(|mut reader| {
        key = ["account_id", "anonymous_id"]
            .into_iter()
            .filter_map(|name| serde_json::from_str::<String>(reader.raw(name)?).ok())
            .find(|key| (1..=KEY_LEN_MAX).contains(&key.len()));
        collect(&mut reader)
    });
    match item {
        Some(item) if problems.is_empty() => Ok(item),
        _ => Err(ItemError { index, detail: in_one_line(&problems), problems, key, original: raw.get().to_owned() }),
    }
}

/// Longest key that is kept of an item that is refused, in bytes.
const KEY_LEN_MAX: usize = 512;

/// An object with one field, a list.
struct BatchSeed<W> {
    field: &'static str,
    item: PhantomData<W>,
}

impl<'de, W: Wire> DeserializeSeed<'de> for BatchSeed<W> {
    type Value = Vec<W>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<W>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, W: Wire> Visitor<'de> for BatchSeed<W> {
    type Value = Vec<W>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with {}", self.field)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<W>, A::Error> {
        if map.next_key::<super::Text<'de>>()?.is_none_or(|key| key.0 != self.field) {
            return Err(de::Error::custom("another field"));
        }
        let items = map.next_value()?;
        match map.next_key::<de::IgnoredAny>()? {
            None => Ok(items),
            Some(_) => Err(de::Error::custom("another field")),
        }
    }
}
