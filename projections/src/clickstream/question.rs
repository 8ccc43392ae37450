//! Questions as values: one parser for the URL, the command line and what is saved.
//!
//! A question is its kind and a list of names and values, as they stand in a query string. What is read is typed; what
//! is wrong is told all at once, each with the name that it stands at; and [`Question::query`] writes it back in one way
//! only, so that two that mean the same are the same text.

mod pairs;
mod span;

use std::fmt::Write as _;
use std::str::FromStr;

use pulsegate_domain::ids::{AccountId, AnonymousId, SessionId};
use thiserror::Error;

use super::path::{Having, Path};
use pairs::{Name, Pairs};
pub use span::{InvalidSpan, Span};

/// Most names that one question picks.
pub const NAMES_MAX: usize = 20;
/// Most conditions on properties, of a question and of each step.
pub const HAVING_MAX: usize = 4;
/// Fewest and most steps of a funnel.
pub const STEPS: std::ops::RangeInclusive<usize> = 2..=8;
/// Most groups that a breakdown or a trend tells apart; the others are one.
pub const TOP_MAX: u32 = 100;
/// How many it tells apart where nothing is said.
const TOP: u32 = 10;
/// Longest time that a funnel may take, and what holds where nothing is said.
const WINDOW_MS_MAX: i64 = 31 * DAY_MS;
const DAY_MS: i64 = 86_400_000;
/// A session ends where nothing was done for so long.
const GAP_MS: i64 = 30 * 60_000;
const GAP_MS_MAX: i64 = DAY_MS;
/// Longest time by the hour, and longest in which people are followed.
const HOURLY_DAYS_MAX: i64 = 31;
const PEOPLE_DAYS_MAX: i64 = 92;
const RETENTION_DAYS_MAX: i64 = 183;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// About which days.
    pub span: Span,
    /// About which events only.
    pub filter: Filter,
    /// All events are looked into, however many; otherwise many are answered from a sample.
    pub exact: bool,
    /// What is asked.
    pub ask: Ask,
}

/// Which events; what is empty or `None` is any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of one of these names.
    pub names: Vec<String>,
    /// Of this account.
    pub account_id: Option<AccountId>,
    /// Of this visitor.
    pub anonymous_id: Option<AnonymousId>,
    /// Of this session.
    pub session_id: Option<SessionId>,
    /// Whose properties say all of this.
    pub having: Vec<Having>,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// How many events of each name over time.
    Trend {
        /// Hours or days.
        by: Bucket,
        /// How many names are told apart.
        top: u32,
    },
    /// How many events have which value at a path.
    Breakdown {
        /// Where.
        path: Path,
        /// How many values are told apart.
        top: u32,
    },
    /// How many visits, how long and how rich.
    Sessions {
        /// What makes a session.
        by: SessionsBy,
    },
    /// How many people did one thing after another.
    Funnel {
        /// What, in order.
        steps: Vec<Step>,
        /// From the first to the last within so many milliseconds.
        window_ms: i64,
    },
    /// How many people came back, week by week.
    Retention {
        /// Doing this first makes somebody one of a week's newcomers.
        first: String,
        /// Doing this is coming back; anything where `None`.
        back: Option<String>,
    },
}

/// How finely time is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bucket {
    /// Hours.
    Hour,
    /// Days, UTC.
    Day,
}

/// What makes a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionsBy {
    /// A person's events, none of them later after the one before than so many milliseconds.
    Gap(i64),
    /// The events of one `session_id`; those without are left out.
    SessionId,
}

/// A step of a funnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The event's name.
    pub name: String,
    /// What its properties say.
    pub having: Vec<Having>,
}

/// What is wrong with a question.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{pointer} {detail}")]
pub struct Mistake {
    /// At which name, as `/window`.
    pub pointer: String,
    /// What, as a sentence that begins with its verb.
    pub detail: String,
}

/// Most names with values of a question that is read from its text.
const PAIRS_MAX: usize = 100;

/// The kinds of questions, as they stand in paths and commands.
pub const KINDS: [&str; 5] = ["trend", "breakdown", "sessions", "funnel", "retention"];

impl Question {
    /// Reads a question of one of [`KINDS`]. Names that it doesn't know it leaves alone.
    pub fn read(kind: &str, pairs: &[(String, String)]) -> Result<Self, Vec<Mistake>> {
        let mut pairs = Pairs::of(pairs);
        let ask = match kind {
            "trend" => Some(Ask::Trend { by: pairs.one("by").unwrap_or(Bucket::Day), top: top(&mut pairs) }),
            "breakdown" => {
                let path = pairs.required("path");
                let top = top(&mut pairs);
                path.map(|path| Ask::Breakdown { path, top })
            }
            "sessions" => Some(Ask::Sessions { by: sessions_by(&mut pairs) }),
            "funnel" => Some(funnel(&mut pairs)),
            "retention" => {
                let first = pairs.required("first");
                let back = pairs.one("back").map(|Name(name)| name);
                first.map(|Name(first)| Ask::Retention { first, back })
            }
            _ => {
                pairs.wrong("kind", format!("must be one of {}", KINDS.join(", ")));
                None
            }
        };
        let span: Option<Span> = pairs.one("period");
        let days = if kind == "retention" { 56 } else { 7 };
        let span = span.unwrap_or(Span::Newest(days));
        let filter = Filter {
            names: pairs.all("name", NAMES_MAX).into_iter().map(|Name(name)| name).collect(),
            account_id: pairs.one("account"),
            anonymous_id: pairs.one("anonymous"),
            session_id: pairs.one("session"),
            having: pairs.all("where", HAVING_MAX),
        };
        if matches!(kind, "funnel" | "retention") && !filter.names.is_empty() {
            pairs.wrong("name", "is for other questions: here the steps name their events");
        }
        let exact = pairs.one("exact").unwrap_or(false);
        if let Some(why) = ask.as_ref().and_then(|ask| too_long(ask, &span)) {
            pairs.wrong("period", why);
        }
        match (ask, pairs.mistakes) {
            (Some(ask), mistakes) if mistakes.is_empty() => Ok(Self { span, filter, exact, ask }),
            (_, mistakes) => Err(mistakes),
        }
    }

    /// Reads what [`query`](Self::query) wrote.
    pub fn read_query(kind: &str, query: &str) -> Result<Self, Vec<Mistake>> {
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), pairs::decoded(value))
        };
        let pairs: Vec<_> = query.split('&').take(PAIRS_MAX + 1).map(pair).collect();
        if pairs.len() > PAIRS_MAX {
            let detail = format!("must have at most {PAIRS_MAX} names and values");
            return Err(vec![Mistake { pointer: "/".to_owned(), detail }]);
        }
        Self::read(kind, &pairs)
    }

    /// Its kind, one of [`KINDS`].
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self.ask {
            Ask::Trend { .. } => "trend",
            Ask::Breakdown { .. } => "breakdown",
            Ask::Sessions { .. } => "sessions",
            Ask::Funnel { .. } => "funnel",
            Ask::Retention { .. } => "retention",
        }
    }

    /// Names and values, from which [`read`](Self::read) makes the same question. What goes without saying is left out.
    #[must_use]
    pub fn pairs(&self) -> Vec<(String, String)> {
        let mut pairs = vec![("period".to_owned(), self.span.to_string())];
        let mut say = |name: &str, value: String| pairs.push((name.to_owned(), value));
        match &self.ask {
            Ask::Trend { by, top } => {
                say("by", if *by == Bucket::Hour { "hour" } else { "day" }.to_owned());
                say("top", top.to_string());
            }
            Ask::Breakdown { path, top } => {
                say("path", path.to_string());
                say("top", top.to_string());
            }
            Ask::Sessions { by: SessionsBy::Gap(ms) } => say("gap", Window(*ms).to_string()),
            Ask::Sessions { by: SessionsBy::SessionId } => say("by", "session_id".to_owned()),
            Ask::Funnel { steps, window_ms } => {
                for (number, step) in (1..).zip(steps) {
                    say("step", step.name.clone());
                    for having in &step.having {
                        say(&format!("where.{number}"), having.to_string());
                    }
                }
                say("window", Window(*window_ms).to_string());
            }
            Ask::Retention { first, back } => {
                say("first", first.clone());
                if let Some(back) = back {
                    say("back", back.clone());
                }
            }
        }
        for name in &self.filter.names {
            say("name", name.clone());
        }
        let Filter { account_id, anonymous_id, session_id, .. } = &self.filter;
        for (name, value) in [
            ("account", account_id.as_ref().map(ToString::to_string)),
            ("anonymous", anonymous_id.as_ref().map(ToString::to_string)),
            ("session", session_id.map(|id| id.to_string())),
        ] {
            if let Some(value) = value {
                say(name, value);
            }
        }
        for having in &self.filter.having {
            say("where", having.to_string());
        }
        if self.exact {
            say("exact", "true".to_owned());
        }
        pairs
    }

    /// The same as a query string.
    #[must_use]
    pub fn query(&self) -> String {
        let mut query = String::new();
        for (name, value) in self.pairs() {
            if !query.is_empty() {
                query.push('&');
            }
            query.push_str(&name);
            query.push('=');
            for byte in value.bytes() {
                if byte.is_ascii_alphanumeric() || b"-._~$:".contains(&byte) {
                    query.push(char::from(byte));
                } else {
                    // Writing to a string doesn't fail.
                    let _ = write!(query, "%{byte:02X}");
                }
            }
        }
        query
    }
}

fn top(pairs: &mut Pairs<'_>) -> u32 {
    let top = pairs.one::<u32>("top").unwrap_or(TOP);
    if !(1..=TOP_MAX).contains(&top) {
        pairs.wrong("top", format!("must be an integer of 1-{TOP_MAX}"));
    }
    top
}

fn sessions_by(pairs: &mut Pairs<'_>) -> SessionsBy {
    let gap = pairs.one::<Window>("gap");
    match pairs.one::<String>("by").as_deref() {
        Some("session_id") if gap.is_some() => {
            pairs.wrong("gap", "must not stand beside by=session_id");
            SessionsBy::SessionId
        }
        Some("session_id") => SessionsBy::SessionId,
        None | Some("gap") => {
            let Window(ms) = gap.unwrap_or(Window(GAP_MS));
            if ms > GAP_MS_MAX {
                pairs.wrong("gap", "must be at most 1d");
            }
            SessionsBy::Gap(ms)
        }
        Some(_) => {
            pairs.wrong("by", "must be gap or session_id");
            SessionsBy::SessionId
        }
    }
}

fn funnel(pairs: &mut Pairs<'_>) -> Ask {
    let names = pairs.all::<Name>("step", *STEPS.end());
    let is_told = pairs.mistakes.iter().any(|mistake| mistake.pointer == "/step");
    if names.len() < *STEPS.start() && !is_told {
        pairs.wrong("step", format!("must stand {}-{} times: a funnel's steps in order", STEPS.start(), STEPS.end()));
    }
    let count = names.len();
    let mut steps = Vec::new();
    for (number, Name(name)) in (1..).zip(names) {
        steps.push(Step { name, having: pairs.all(&format!("where.{number}"), HAVING_MAX) });
    }
    for number in count + 1..=*STEPS.end() {
        let name = format!("where.{number}");
        if pairs.has(&name) {
            pairs.wrong(&name, "is about a step that there isn't");
        }
    }
    let Window(window_ms) = pairs.one("window").unwrap_or(Window(DAY_MS));
    if window_ms > WINDOW_MS_MAX {
        pairs.wrong("window", "must be at most 31d");
    }
    Ask::Funnel { steps, window_ms }
}

fn too_long(ask: &Ask, span: &Span) -> Option<&'static str> {
    let days = span.days();
    match ask {
        Ask::Trend { by: Bucket::Hour, .. } if days > HOURLY_DAYS_MAX => Some("must be at most 31 days by the hour"),
        Ask::Sessions { .. } | Ask::Funnel { .. } if days > PEOPLE_DAYS_MAX => {
            Some("must be at most 92 days for this question")
        }
        Ask::Retention { .. } if days > RETENTION_DAYS_MAX => Some("must be at most 183 days for this question"),
        _ => None,
    }
}

impl FromStr for Bucket {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "hour" => Ok(Self::Hour),
            "day" => Ok(Self::Day),
            _ => Err("must be hour or day"),
        }
    }
}

/// A length of time as people write it, `30m`, `2h`, `7d`, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window(i64);

const UNITS: [(char, i64); 4] = [('d', DAY_MS), ('h', 3_600_000), ('m', 60_000), ('s', 1_000)];

impl FromStr for Window {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let unit = text.chars().last()?;
            let (_, unit_ms) = UNITS.iter().find(|(letter, _)| *letter == unit)?;
            let count = text.strip_suffix(unit)?;
            let count: i64 = count.bytes().all(|byte| byte.is_ascii_digit()).then(|| count.parse().ok())??;
            count.checked_mul(*unit_ms).filter(|ms| *ms > 0).map(Self)
        };
        read().ok_or("must be a length of time such as 30m, 2h or 7d")
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whole = UNITS.iter().find(|(_, unit_ms)| self.0 % unit_ms == 0);
        let (letter, unit_ms) = whole.copied().unwrap_or(('s', 1_000));
        write!(f, "{}{letter}", self.0 / unit_ms)
    }
}

#[cfg(test)]
mod tests;
