//! Names and values, and what is wrong with them.

use std::fmt::Display;
use std::str::FromStr;

use super::Mistake;

/// Longest name of an event, in characters, and longest value of all, in bytes.
const NAME_CHARS_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 4_096;

/// What was said, and the mistakes found so far.
pub(super) struct Pairs<'a> {
    said: &'a [(String, String)],
    pub(super) mistakes: Vec<Mistake>,
}

impl<'a> Pairs<'a> {
    pub(super) fn of(said: &'a [(String, String)]) -> Self {
        Self { said, mistakes: Vec::new() }
    }

    pub(super) fn wrong(&mut self, name: &str, detail: impl Into<String>) {
        self.mistakes.push(Mistake { pointer: format!("/{name}"), detail: detail.into() });
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.said.iter().any(|(said, _)| said == name)
    }

    /// The one value of a name; `None` where it isn't said, or is wrong.
    pub(super) fn one<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let mut values = self.all(name, 1);
        values.pop()
    }

    pub(super) fn required<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        if !self.has(name) {
            self.wrong(name, "is required");
        }
        self.one(name)
    }

    /// All values of a name, in their order.
    pub(super) fn all<T: FromStr<Err: Display>>(&mut self, name: &str, max: usize) -> Vec<T> {
        let values: Vec<_> = self.said.iter().filter(|(said, _)| said == name).map(|(_, value)| value).collect();
        if values.len() > max {
            self.wrong(
                name,
                if max == 1 { "must stand once".to_owned() } else { format!("must stand at most {max} times") },
            );
            return Vec::new();
        }
        let mut read = Vec::with_capacity(values.len());
        for value in values {
            if value.contains('\0') {
                self.wrong(name, "must not hold a zero character");
            } else if value.len() > VALUE_BYTES_MAX {
                self.wrong(name, format!("must be at most {VALUE_BYTES_MAX} bytes long"));
            } else {
                match value.parse::<T>() {
                    Ok(value) => read.push(value),
                    Err(error) => self.wrong(name, error.to_string()),
                }
            }
        }
        read
    }
}

/// A value as [`query`](super::Question::query) writes it; what isn't written so stays as it is.
pub(super) fn decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, behind @ ..] = rest {
        let hex = behind.get(..2).and_then(|hex| std::str::from_utf8(hex).ok()).filter(|_| *first == b'%');
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(byte);
            rest = &behind[2..];
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The name of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(pub(super) String);

impl FromStr for Name {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if (1..=NAME_CHARS_MAX).contains(&text.chars().count()) {
            Ok(Self(text.to_owned()))
        } else {
            Err("must be the name of an event, 1-256 characters")
        }
    }
}
