//! Reading `PULSEGATE_…` variables: once, every mistake noted, none shown with its secrets.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// One setting as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// Its value, without secrets.
    pub value: String,
    /// `environment` or `default`.
    pub from: &'static str,
}

/// Every setting by its variable.
pub type AllShown = BTreeMap<&'static str, Shown>;

/// A mistake in one variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    variable: &'static str,
    detail: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variable, self.detail)
    }
}

/// Where traces go, as OpenTelemetry's own variable says it: the only one that isn't ours.
pub const OTLP_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// The variables of this process that are read here.
#[must_use]
pub fn of_environment() -> BTreeMap<String, String> {
    std::env::vars().filter(|(name, _)| name.starts_with("PULSEGATE_") || name == OTLP_ENDPOINT).collect()
}

/// Reads variables and notes what is wrong with them.
pub struct Reader<'a> {
    variables: &'a BTreeMap<String, String>,
    mistakes: Vec<Mistake>,
    shown: AllShown,
}

impl<'a> Reader<'a> {
    /// A reader of `variables`; an empty one counts as not set.
    #[must_use]
    pub const fn new(variables: &'a BTreeMap<String, String>) -> Self {
        Self { variables, mistakes: Vec::new(), shown: BTreeMap::new() }
    }

    /// A text.
    pub fn text(&mut self, variable: &'static str, default: &str) -> String {
        let given = self.variables.get(variable).filter(|value| !value.is_empty());
        let value = given.map_or(default, String::as_str).to_owned();
        let from = if given.is_some() { "environment" } else { "default" };
        self.shown.insert(variable, Shown { value: without_secrets(variable, &value), from });
        value
    }

    /// Something that is parsed; `fallback` where that fails, which is noted.
    pub fn parsed<T>(&mut self, variable: &'static str, default: &str, fallback: T) -> T
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let text = self.text(variable, default);
        text.parse().unwrap_or_else(|error| {
            self.mistake(variable, format!("{text:?} {}", phrase(&error)));
            fallback
        })
    }

    /// A number of `min` to `max`.
    pub fn within(&mut self, variable: &'static str, default: u64, min: u64, max: u64) -> u64 {
        let value = self.parsed(variable, &default.to_string(), default);
        if !(min..=max).contains(&value) {
            self.mistake(variable, format!("{value} must be {min}-{max}"));
        }
        value
    }

    /// Notes a mistake; `detail` is a phrase that begins with "must", or with the value.
    pub fn mistake(&mut self, variable: &'static str, detail: String) {
        self.mistakes.push(Mistake { variable, detail });
    }

    /// Every setting that was read, or every mistake.
    pub fn finish(self) -> Result<AllShown, Vec<Mistake>> {
        if self.mistakes.is_empty() { Ok(self.shown) } else { Err(self.mistakes) }
    }
}

/// An error as a phrase behind a value.
pub fn phrase(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    if text.starts_with("must") { text } else { format!("is not usable: {text}") }
}

/// Passwords don't belong on a screen.
fn without_secrets(variable: &str, value: &str) -> String {
    if ["PASSWORD", "SECRET", "PRIVACY_KEY"].iter().any(|word| variable.contains(word)) && !value.is_empty() {
        return "***".to_owned();
    }
    let (address, query) = value.split_once('?').map_or((value, None), |(address, query)| (address, Some(query)));
    let address = match (address.find("://"), address.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme + 3 => {
            let credentials = &address[scheme + 3..at];
            let user = credentials.split(':').next().unwrap_or_default();
            format!("{}://{user}:***{}", &address[..scheme], &address[at..])
        }
        _ => address.to_owned(),
    };
    match query {
        Some(query) => format!("{address}?{}", query.split('&').map(without_secret).collect::<Vec<_>>().join("&")),
        None => address,
    }
}

/// A database takes its password from the query, too.
fn without_secret(pair: &str) -> String {
    match pair.split_once('=') {
        Some((name, _)) if name.to_ascii_lowercase().contains("password") => format!("{name}=***"),
        _ => pair.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(
            without_secrets("PULSEGATE_DATABASE_URL", "postgres://user:secret@db/x"),
            "postgres://user:***@db/x"
        );
        assert_eq!(
            without_secrets("PULSEGATE_DATABASE_URL", "postgres://db/x?user=u&password=sec@ret&sslmode=require"),
            "postgres://db/x?user=u&password=***&sslmode=require"
        );
        assert_eq!(without_secrets("PULSEGATE_KAFKA_PASSWORD", "secret"), "***");
        assert_eq!(without_secrets("PULSEGATE_KAFKA_PASSWORD", ""), "");
        assert_eq!(without_secrets("PULSEGATE_PRIVACY_KEY", "AAEC"), "***");
    }

    #[test]
    fn every_mistake_is_noted_and_an_empty_variable_is_not_set() {
        let variables =
            BTreeMap::from([("PULSEGATE_A".to_owned(), "x".to_owned()), ("PULSEGATE_B".into(), String::new())]);
        let mut reader = Reader::new(&variables);
        assert_eq!(reader.within("PULSEGATE_A", 5, 1, 9), 5);
        assert_eq!(reader.within("PULSEGATE_B", 20, 1, 9), 20);
        let mistakes: Vec<_> = reader.finish().unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(
            mistakes,
            ["PULSEGATE_A: \"x\" is not usable: invalid digit found in string", "PULSEGATE_B: 20 must be 1-9"]
        );
    }
}
