//! Where in an event's properties something stands: `$.player.version`, `$.items[0]`, `$."a key. with dots"`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Most steps of one path.
const STEPS_MAX: usize = 16;
/// Most characters of one step.
const STEP_CHARS_MAX: usize = 200;

/// A path to one value. It only ever goes to the database as a list of steps, never as text of a statement.
///
/// A step is the name of an object's member, or the place of an array's element, from 0; `.0` and `[0]` are the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Path(Vec<String>);

/// Not a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "must be a path of 1-16 steps such as $.player.version, $.items[0] or $.\"a key. with dots\", without conditions"
)]
pub struct InvalidPath;

impl Path {
    /// Its steps.
    #[must_use]
    pub fn steps(&self) -> &[String] {
        &self.0
    }

    /// One more step.
    #[must_use]
    pub fn join(&self, step: impl Into<String>) -> Self {
        Self(self.0.iter().cloned().chain([step.into()]).collect())
    }

    /// Only the member of that name of the properties themselves.
    #[must_use]
    pub fn member(name: impl Into<String>) -> Self {
        Self(vec![name.into()])
    }

    /// Reads a path at the beginning of `text`, and gives what stands behind it.
    pub fn read(text: &str) -> Result<(Self, &str), InvalidPath> {
        let mut rest = text.strip_prefix('$').ok_or(InvalidPath)?;
        let mut steps = Vec::new();
        loop {
            let (step, behind) = if let Some(quoted) = rest.strip_prefix('.').filter(|rest| rest.starts_with('"')) {
                read_quoted(quoted)?
            } else if let Some(bare) = rest.strip_prefix('.') {
                let end = bare.find(|c| !is_bare(c)).unwrap_or(bare.len());
                // Only in quotes can a name be empty.
                if end == 0 {
                    return Err(InvalidPath);
                }
                (bare[..end].to_owned(), &bare[end..])
            } else if let Some(inside) = rest.strip_prefix('[') {
                let (step, behind) = if inside.starts_with('"') {
                    read_quoted(inside)?
                } else {
                    let end = inside.find(|c: char| !c.is_ascii_digit()).unwrap_or(inside.len());
                    // What isn't 32 bits is no place in an array.
                    let place: i32 = inside[..end].parse().map_err(|_| InvalidPath)?;
                    (place.to_string(), &inside[end..])
                };
                (step, behind.strip_prefix(']').ok_or(InvalidPath)?)
            } else {
                break;
            };
            if step.chars().count() > STEP_CHARS_MAX || step.contains('\0') {
                return Err(InvalidPath);
            }
            steps.push(step);
            rest = behind;
        }
        if steps.is_empty() || steps.len() > STEPS_MAX { Err(InvalidPath) } else { Ok((Self(steps), rest)) }
    }
}

/// A JSON string at the beginning of `text`, and what stands behind it.
fn read_quoted(text: &str) -> Result<(String, &str), InvalidPath> {
    let mut read = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let step = read.next().and_then(Result::ok).ok_or(InvalidPath)?;
    Ok((step, text.get(read.byte_offset()..).ok_or(InvalidPath)?))
}

fn is_bare(c: char) -> bool {
    !matches!(c, '.' | '[' | ']' | '"' | '=' | '?' | '(' | ')' | '*' | '\\') && !c.is_whitespace() && !c.is_control()
}

impl FromStr for Path {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        match Self::read(text)? {
            (path, "") => Ok(path),
            _ => Err(InvalidPath),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        for step in &self.0 {
            let is_place = step.parse::<i32>().is_ok_and(|place| place >= 0 && place.to_string() == *step);
            if is_place {
                write!(f, "[{step}]")?;
            } else if !step.is_empty() && step.chars().all(is_bare) {
                write!(f, ".{step}")?;
            } else {
                write!(f, ".{}", serde_json::Value::from(step.as_str()))?;
            }
        }
        Ok(())
    }
}

/// A value that must stand at a path: `$.title=Dune`. Without one, anything but nothing: `$.title`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Having {
    /// Where.
    pub path: Path,
    /// As text: of a string its characters, of all else its JSON. `None` is any.
    pub is: Option<String>,
}

/// Not a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be a path and its value, such as $.player.version=3.1, or a path alone")]
pub struct InvalidHaving;

impl FromStr for Having {
    type Err = InvalidHaving;

    fn from_str(text: &str) -> Result<Self, InvalidHaving> {
        let (path, rest) = Path::read(text).map_err(|_| InvalidHaving)?;
        match rest.strip_prefix('=') {
            Some(value) => Ok(Self { path, is: Some(value.to_owned()) }),
            None if rest.is_empty() => Ok(Self { path, is: None }),
            None => Err(InvalidHaving),
        }
    }
}

impl fmt::Display for Having {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.is {
            Some(value) => write!(f, "{}={value}", self.path),
            None => self.path.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_is_read_as_people_write_it() {
        for (text, steps) in [
            ("$.player.version", vec!["player", "version"]),
            ("$.items[0].id", vec!["items", "0", "id"]),
            (r#"$."a key. with \"dots\"".x"#, vec!["a key. with \"dots\"", "x"]),
            (r#"$["a=b"][12]"#, vec!["a=b", "12"]),
            ("$.größe.日本", vec!["größe", "日本"]),
            (r#"$."""#, vec![""]),
        ] {
            let path: Path = text.parse().unwrap();
            assert_eq!(path.steps(), steps, "{text}");
            assert_eq!(path.to_string().parse(), Ok(path), "{text}");
        }
        for bad in [
            "",
            "$",
            "a.b",
            "$.",
            "$.a.",
            "$.a[",
            "$.a[x]",
            "$.a[-1]",
            "$.a[99999999999]",
            "$.a b",
            r#"$."a"#,
            "$.*",
            "$.a ? (@ > 1)",
            "$.a=1",
            r#"$."\u0000""#,
            "$..a",
            "$.a''); drop table events; --",
        ] {
            assert_eq!(bad.parse::<Path>(), Err(InvalidPath), "{bad}");
        }
        let long = format!("${}", ".a".repeat(17));
        assert_eq!(long.parse::<Path>(), Err(InvalidPath));
    }

    #[test]
    fn a_condition_is_a_path_and_what_follows() {
        let having = |text: &str| text.parse::<Having>().map(|Having { path, is }| (path.to_string(), is));
        assert_eq!(having("$.a.b=3.1"), Ok(("$.a.b".into(), Some("3.1".into()))));
        assert_eq!(having(r#"$."x=y"=a=b"#), Ok((r#"$."x=y""#.into(), Some("a=b".into()))));
        assert_eq!(having("$.a="), Ok(("$.a".into(), Some(String::new()))));
        assert_eq!(having("$.a"), Ok(("$.a".into(), None)));
        assert!(["", "=", "a=1", "$=1", "$.a 1"].iter().all(|bad| having(bad) == Err(InvalidHaving)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn what_is_written_is_read_again(steps in prop::collection::vec("[^\0]{0,12}", 1..6), value in ".{0,12}") {
            let path = Path(steps);
            prop_assert_eq!(path.to_string().parse::<Path>(), Ok(path.clone()));
            let having = Having { path, is: Some(value) };
            prop_assert_eq!(having.to_string().parse::<Having>(), Ok(having));
        }
    }
}
