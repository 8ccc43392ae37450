//! Where in a request something is looked up.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Most fields that are hashed together.
const HASHED_MAX: usize = 8;

/// A place in a request, and where in a token that stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) place: Place,
    /// A JSON pointer into the payload of a JSON web token.
    pub(super) claim: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A parameter of the query.
    Query(String),
    /// A cookie.
    Cookie(String),
    /// A request header.
    Header(String),
    /// A key of the common media client data.
    Cmcd(String),
    /// A named part of the path.
    Path(String),
    /// A field of the log.
    Field(String),
    /// Fields of the log, hashed: who says nothing is told apart by these.
    Hash(Vec<String>),
}

/// A text that names no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "must be query:<name>, cookie:<name>, header:<name>, cmcd:<key>, path:<name>, field:<name> or \
     hash:<field>,<field>; #/<pointer> behind it looks into a token"
)]
pub(super) struct InvalidSource;

impl FromStr for Source {
    type Err = InvalidSource;

    fn from_str(text: &str) -> Result<Self, InvalidSource> {
        let (kind, rest) = text.split_once(':').ok_or(InvalidSource)?;
        let (name, claim) = match rest.split_once('#') {
            Some((name, pointer)) if pointer.starts_with('/') => (name, Some(pointer.to_owned())),
            Some(_) => return Err(InvalidSource),
            None => (rest, None),
        };
        if name.is_empty() {
            return Err(InvalidSource);
        }
        let name = name.to_owned();
        let place = match kind {
            "query" => Place::Query(name),
            "cookie" => Place::Cookie(name),
            "header" => Place::Header(name),
            "cmcd" => Place::Cmcd(name),
            "path" => Place::Path(name),
            "field" => Place::Field(name),
            "hash" => {
                let fields: Vec<_> = name.split(',').map(|field| field.trim().to_owned()).collect();
                if fields.len() > HASHED_MAX || fields.iter().any(String::is_empty) {
                    return Err(InvalidSource);
                }
                Place::Hash(fields)
            }
            _ => return Err(InvalidSource),
        };
        Ok(Self { place, claim })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Query(name) => write!(f, "query:{name}"),
            Place::Cookie(name) => write!(f, "cookie:{name}"),
            Place::Header(name) => write!(f, "header:{name}"),
            Place::Cmcd(name) => write!(f, "cmcd:{name}"),
            Place::Path(name) => write!(f, "path:{name}"),
            Place::Field(name) => write!(f, "field:{name}"),
            Place::Hash(fields) => write!(f, "hash:{}", fields.join(",")),
        }?;
        self.claim.iter().try_for_each(|pointer| write!(f, "#{pointer}"))
    }
}

/// A path with named parts: `/vod/{title}/*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// These letters.
    Exactly(String),
    /// Anything, by a name.
    Named(String),
    /// Anything; at the end, also nothing or many parts.
    Any,
}

/// A text that is no path with named parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be a path like /vod/{{title}}/*, each part a word, {{name}} or *")]
pub(super) struct InvalidPattern;

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let parts = text.strip_prefix('/').ok_or(InvalidPattern)?;
        let parts = parts.split('/').map(|part| match part.strip_prefix('{') {
            Some(rest) => match rest.strip_suffix('}') {
                Some(name) if !name.is_empty() && !name.contains(['{', '}']) => Ok(Part::Named(name.to_owned())),
                _ => Err(InvalidPattern),
            },
            None if part == "*" => Ok(Part::Any),
            None if part.contains(['{', '}', '*']) => Err(InvalidPattern),
            None => Ok(Part::Exactly(part.to_owned())),
        });
        parts.collect::<Result<_, _>>().map(Self)
    }
}

impl Pattern {
    /// Whether it has a part of this name.
    pub(super) fn names(&self, name: &str) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Named(own) if own == name))
    }

    /// What stands in `path` where this has `name`; `None` if the path doesn't fit.
    pub(super) fn find<'a>(&self, path: &'a str, name: &str) -> Option<&'a str> {
        let mut found = None;
        let mut given = path.strip_prefix('/')?.split('/');
        for (index, part) in self.0.iter().enumerate() {
            if matches!(part, Part::Any) && index + 1 == self.0.len() {
                return found;
            }
            let text = given.next()?;
            match part {
                Part::Exactly(word) if word != text => return None,
                Part::Named(own) if own == name => found = Some(text),
                Part::Exactly(_) | Part::Named(_) | Part::Any => {}
            }
        }
        if given.next().is_none() { found } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_written_as_it_is_read() {
        for text in
            ["query:uid", "cookie:a-b", "header:X-Device", "cmcd:sid", "path:title", "field:c-ip", "hash:c-ip,cs-host"]
        {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
        assert_eq!("query:token#/sub".parse::<Source>().unwrap().to_string(), "query:token#/sub");
        for bad in ["", "query", "query:", "token:a", "query:t#sub", "hash:a,,b", "hash:1,2,3,4,5,6,7,8,9"] {
            assert!(bad.parse::<Source>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_gives_its_named_parts() {
        let pattern: Pattern = "/vod/{account}/{title}/*".parse().unwrap();
        assert_eq!(pattern.find("/vod/a/t/1080p/7.ts", "title"), Some("t"));
        assert_eq!(pattern.find("/vod/a/t", "account"), Some("a"));
        assert_eq!(pattern.find("/live/a/t/7.ts", "title"), None);
        assert_eq!(pattern.find("/vod/a", "title"), None);
        let whole: Pattern = "/{title}/*/index.m3u8".parse().unwrap();
        assert_eq!(whole.find("/t/hd/index.m3u8", "title"), Some("t"));
        assert_eq!(whole.find("/t/hd/index.m3u8/x", "title"), None);
        for bad in ["vod", "/{", "/{}", "/a*b", "/{a}b"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
    }
}
