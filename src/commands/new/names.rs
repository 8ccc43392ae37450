//! Names that can be a folder, a Rust module and a schema at once.

use std::str::FromStr;

use thiserror::Error;

/// Longest name: with a version and a build's number it still is a schema.
const LEN_MAX: usize = 40;

/// What can't be a module, or is one of the language's own crates.
const TAKEN_BY_RUST: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];
/// Schemas that are somebody else's.
const TAKEN_BY_THE_DATABASE: &[&str] = &["information_schema", "public", "pulsegate"];

/// A text that is no name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum BadName {
    #[error("must be 1-{LEN_MAX} of a-z 0-9 {0}, the first a letter, no two {0} in a row and none at the end")]
    NotPlain(char),
    #[error("is a word of Rust")]
    Rust,
    #[error("is a schema of the database's or pulsegate's own")]
    Schema,
}

/// A projection's name: `viewing_by_genre`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProjectionName(String);

impl ProjectionName {
    /// As modules, tables and schemas have it.
    pub(super) fn snake(&self) -> &str {
        &self.0
    }

    /// As documents have it.
    pub(super) fn dashed(&self) -> String {
        self.0.replace('_', "-")
    }

    /// As types have it.
    pub(super) fn pascal(&self) -> String {
        let words = self.0.split('_').map(|word| {
            let (first, rest) = word.split_at(1);
            first.to_ascii_uppercase() + rest
        });
        words.collect()
    }
}

impl FromStr for ProjectionName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        plain(text, '_')?;
        if TAKEN_BY_RUST.contains(&text) {
            return Err(BadName::Rust);
        }
        if TAKEN_BY_THE_DATABASE.contains(&text) || text.starts_with("pg_") {
            return Err(BadName::Schema);
        }
        Ok(Self(text.to_owned()))
    }
}

/// A service's name: `churn-signals`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceName {
    dashed: String,
    projection: ProjectionName,
}

impl ServiceName {
    pub(super) fn dashed(&self) -> &str {
        &self.dashed
    }

    /// Its projection's.
    pub(super) const fn projection(&self) -> &ProjectionName {
        &self.projection
    }
}

impl FromStr for ServiceName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        plain(text, '-')?;
        Ok(Self { dashed: text.to_owned(), projection: text.replace('-', "_").parse()? })
    }
}

fn plain(text: &str, joint: char) -> Result<(), BadName> {
    let is_plain = text.len() <= LEN_MAX
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == joint)
        && text.split(joint).all(|word| !word.is_empty());
    if is_plain { Ok(()) } else { Err(BadName::NotPlain(joint)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_all_its_spellings() {
        let name: ProjectionName = "viewing_by_2nd_genre".parse().unwrap();
        assert_eq!((name.pascal().as_str(), name.dashed().as_str()), ("ViewingBy2ndGenre", "viewing-by-2nd-genre"));
        let service: ServiceName = "churn-signals".parse().unwrap();
        assert_eq!((service.dashed(), service.projection().snake()), ("churn-signals", "churn_signals"));
    }

    #[test]
    fn what_cannot_be_a_module_and_a_schema_is_no_name() {
        let too_long = "x".repeat(LEN_MAX + 1);
        for bad in ["", "Views", "2nd", "a__b", "a_", "_a", "a-b", "a b", "ä", &too_long, "../x"] {
            assert_eq!(bad.parse::<ProjectionName>(), Err(BadName::NotPlain('_')), "{bad:?}");
        }
        for bad in ["match", "self", "std", "gen"] {
            assert_eq!(bad.parse::<ProjectionName>(), Err(BadName::Rust), "{bad}");
        }
        for bad in ["pulsegate", "public", "pg_stats"] {
            assert_eq!(bad.parse::<ProjectionName>(), Err(BadName::Schema), "{bad}");
        }
        for bad in ["churn_signals", "churn--signals", "-churn", "Churn"] {
            assert_eq!(bad.parse::<ServiceName>(), Err(BadName::NotPlain('-')), "{bad}");
        }
        assert_eq!("type".parse::<ServiceName>(), Err(BadName::Rust));
    }
}
