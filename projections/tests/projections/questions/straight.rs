//! What a straight recomputation says to a question.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike as _, Days, NaiveDate};
use pulsegate_domain::time::Timestamp;
use pulsegate_projections::clickstream::funnel::{Moment, Reached, furthest};
use pulsegate_projections::clickstream::path::{Having, Path};
use pulsegate_projections::clickstream::question::{Ask, Bucket, Question, SessionsBy, Step};
use pulsegate_projections::clickstream::{Breakdown, Of, Retained, Rows, Trend, Visits};
use pulsegate_projections::runner::Record;
use serde_json::{Value, json};
use uuid::Uuid;

const DAY_MS: i64 = 86_400_000;

/// An event as it was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) offset: i64,
    pub(super) at_ms: i64,
    pub(super) name: &'static str,
    pub(super) account: Option<u8>,
    pub(super) visitor: Option<u8>,
    pub(super) session: Option<u8>,
    pub(super) properties: Value,
}

impl Sent {
    /// The account, else the visitor.
    fn person(&self) -> String {
        match (self.account, self.visitor) {
            (Some(account), _) => format!("account-{account}"),
            (None, visitor) => format!("visitor-{}", visitor.unwrap_or_default()),
        }
    }

    pub(super) fn record(&self) -> Record {
        let mut data = json!({"name": self.name, "properties": self.properties});
        if let Some(account) = self.account {
            data["account_id"] = json!(format!("account-{account}"));
        }
        if let Some(visitor) = self.visitor {
            data["anonymous_id"] = json!(format!("visitor-{visitor}"));
        }
        if let Some(session) = self.session {
            data["session_id"] = json!(session_id(session));
        }
        let value = json!({"id": self.offset.to_string(), "type": "pulsegate.clickstream.recorded.v1", "data": data});
        raw(self.offset, self.at_ms, value.to_string())
    }

    fn day(&self) -> NaiveDate {
        DateTime::from_timestamp_millis(self.at_ms).unwrap().date_naive()
    }

    /// What stands at a path, as text.
    fn said(&self, path: &Path) -> Option<String> {
        let found = path.steps().iter().try_fold(&self.properties, |value, step| match value {
            Value::Object(members) => members.get(step),
            Value::Array(elements) => elements.get(step.parse::<usize>().ok()?),
            _ => None,
        });
        match found? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    fn has(&self, having: &[Having]) -> bool {
        having.iter().all(|one| match (&one.is, self.said(&one.path)) {
            (Some(wanted), Some(said)) => *wanted == said,
            (None, said) => said.is_some(),
            (Some(_), None) => false,
        })
    }
}

pub(super) fn session_id(session: u8) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001 + u128::from(session))
}

pub(super) fn raw(offset: i64, at_ms: i64, value: String) -> Record {
    Record {
        offset,
        timestamp: Some(Timestamp::from_millis(at_ms)),
        key: Some("a".into()),
        value: Some(value.into()),
        headers: Vec::new(),
    }
}

/// What the question is about, in the order of the log.
pub(super) fn asked<'a>(sent: &'a [Sent], question: &Question) -> Vec<&'a Sent> {
    let newest = sent.last().unwrap().day();
    let text = question.span.to_string();
    let (first, last) = match text.as_str() {
        "2026-11" => (day("2026-11-01"), day("2026-11-30")),
        "2026-11-07" => (day("2026-11-07"), day("2026-11-07")),
        "30d" => (newest - Days::new(29), newest),
        "3d" => (newest - Days::new(2), newest),
        _ => (day("2026-11-05"), day("2026-11-20")),
    };
    let first = if matches!(question.ask, Ask::Retention { .. }) { monday(first) } else { first };
    let filter = &question.filter;
    let is_asked = |one: &&Sent| {
        (first..=last).contains(&one.day())
            && (filter.names.is_empty() || filter.names.iter().any(|name| name == one.name))
            && filter
                .account_id
                .as_ref()
                .is_none_or(|id| one.account.is_some_and(|n| id.as_str() == format!("account-{n}")))
            && filter.session_id.is_none_or(|id| one.session.is_some_and(|n| id.uuid() == session_id(n)))
            && one.has(&filter.having)
    };
    sent.iter().filter(is_asked).collect()
}

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn monday(day: NaiveDate) -> NaiveDate {
    day - Days::new(day.weekday().num_days_from_monday().into())
}

/// The most frequent, then the first in the alphabet.
fn top<'a>(counts: &BTreeMap<&'a str, i64>, top: u32) -> Vec<&'a str> {
    let mut ranked: Vec<_> = counts.iter().map(|(name, n)| (-n, *name)).collect();
    ranked.sort_unstable();
    ranked.into_iter().take(top.try_into().unwrap()).map(|(_, name)| name).collect()
}

pub(super) fn straight(asked: &[&Sent], ask: &Ask) -> Rows {
    match ask {
        Ask::Trend { by, top } => Rows::Trend(straight_trend(asked, *by, *top)),
        Ask::Breakdown { path, top } => Rows::Breakdown(straight_breakdown(asked, path, *top)),
        Ask::Sessions { by } => Rows::Sessions(straight_sessions(asked, *by)),
        Ask::Funnel { steps, window_ms } => Rows::Funnel(straight_funnel(asked, steps, *window_ms)),
        Ask::Retention { first, back } => Rows::Retention(straight_retention(asked, first, back.as_deref())),
    }
}

fn straight_trend(asked: &[&Sent], by: Bucket, told: u32) -> Vec<Trend> {
    let mut counts = BTreeMap::new();
    for one in asked {
        *counts.entry(one.name).or_insert(0) += 1;
    }
    let named = top(&counts, told);
    let step_ms = if by == Bucket::Hour { 3_600_000 } else { DAY_MS };
    // What isn't named comes last.
    let mut rows: BTreeMap<(i64, bool, Option<&str>), i64> = BTreeMap::new();
    for one in asked {
        let name = Some(one.name).filter(|name| named.contains(name));
        *rows.entry((one.at_ms / step_ms * step_ms, name.is_none(), name)).or_default() += 1;
    }
    let row = |((at, _, name), events): ((i64, bool, Option<&str>), i64)| Trend {
        at: DateTime::from_timestamp_millis(at).unwrap(),
        name: name.map(str::to_owned),
        events,
        error: None,
    };
    rows.into_iter().map(row).collect()
}

fn straight_breakdown(asked: &[&Sent], path: &Path, told: u32) -> Vec<Breakdown> {
    let said: Vec<_> = asked.iter().map(|one| one.said(path)).collect();
    let mut counts = BTreeMap::new();
    for value in said.iter().flatten() {
        *counts.entry(value.as_str()).or_insert(0) += 1;
    }
    let named = top(&counts, told);
    let mut rows: BTreeMap<(u8, usize), (i64, BTreeSet<String>)> = BTreeMap::new();
    for (one, value) in asked.iter().zip(&said) {
        let place = value.as_deref().map(|value| named.iter().position(|named| *named == value));
        let key = match place {
            Some(Some(rank)) => (0, rank),
            Some(None) => (1, 0),
            None => (2, 0),
        };
        let row = rows.entry(key).or_default();
        row.0 += 1;
        row.1.insert(one.person());
    }
    let row = |((kind, rank), (events, people)): ((u8, usize), (i64, BTreeSet<String>))| Breakdown {
        of: [Of::Value, Of::Other, Of::Missing][usize::from(kind)],
        value: (kind == 0).then(|| named[rank].to_owned()),
        events,
        error: None,
        people: people.len().try_into().unwrap(),
        people_error: None,
    };
    rows.into_iter().map(row).collect()
}

fn by_person<'a>(asked: &[&'a Sent]) -> BTreeMap<String, Vec<&'a Sent>> {
    let mut people: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for one in asked {
        people.entry(one.person()).or_default().push(*one);
    }
    people
}

fn straight_sessions(asked: &[&Sent], by: SessionsBy) -> Vec<Visits> {
    let mut visits: Vec<(String, Vec<&Sent>)> = Vec::new();
    match by {
        SessionsBy::Gap(gap_ms) => {
            for (person, did) in by_person(asked) {
                for (index, one) in did.iter().enumerate() {
                    if index > 0 && one.at_ms - did[index - 1].at_ms <= gap_ms {
                        visits.last_mut().unwrap().1.push(one);
                    } else {
                        visits.push((person.clone(), vec![one]));
                    }
                }
            }
        }
        SessionsBy::SessionId => {
            let mut sessions: BTreeMap<u8, Vec<&Sent>> = BTreeMap::new();
            for one in asked {
                if let Some(session) = one.session {
                    sessions.entry(session).or_default().push(one);
                }
            }
            for (_, did) in sessions {
                // Of several people who share one the database's least is taken; an account's comes first.
                let person = did.iter().map(|one| one.person()).min().unwrap();
                visits.push((person, did));
            }
        }
    }
    let days: BTreeSet<_> = visits.iter().map(|(_, did)| did[0].day()).collect();
    let groups = days.into_iter().map(Some).chain((!visits.is_empty()).then_some(None));
    groups.map(|day| figures(day, visits.iter().filter(|(_, did)| day.is_none_or(|day| did[0].day() == day)))).collect()
}

fn figures<'a>(day: Option<NaiveDate>, visits: impl Iterator<Item = &'a (String, Vec<&'a Sent>)> + Clone) -> Visits {
    let mut lengths: Vec<_> = visits.clone().map(|(_, did)| did.last().unwrap().at_ms - did[0].at_ms).collect();
    lengths.sort_unstable();
    // The first that so many of a hundred are at most.
    let at = |of_100: usize| lengths[(lengths.len() * of_100).div_ceil(100) - 1];
    Visits {
        day,
        sessions: lengths.len().try_into().unwrap(),
        error: None,
        people: visits.clone().map(|(person, _)| person).collect::<BTreeSet<_>>().len().try_into().unwrap(),
        people_error: None,
        events: visits.clone().map(|(_, did)| i64::try_from(did.len()).unwrap()).sum(),
        single: visits.filter(|(_, did)| did.len() == 1).count().try_into().unwrap(),
        median_ms: at(50),
        p95_ms: at(95),
    }
}

fn straight_funnel(asked: &[&Sent], steps: &[Step], window_ms: i64) -> Vec<Reached> {
    let fits = |one: &Sent| {
        steps
            .iter()
            .enumerate()
            .filter(|(_, step)| step.name == one.name && one.has(&step.having))
            .map(|(n, _)| 1_u8 << n)
            .sum()
    };
    // How one person is walked has a test of its own, against each try by itself.
    let walks: Vec<_> = by_person(asked)
        .into_values()
        .map(|did| {
            let moments = did.iter().map(|one| Moment { at_ms: one.at_ms, steps: fits(one) });
            furthest(moments.filter(|moment| moment.steps > 0), steps.len(), window_ms)
        })
        .collect();
    let reached = |step: usize| i64::try_from(walks.iter().filter(|times| times.len() > step).count()).unwrap();
    let milli = |part: i64, whole: i64| (whole > 0).then(|| (part * 1_000 + whole / 2) / whole);
    let row = |(index, step): (usize, &Step)| {
        let mut took: Vec<_> = walks
            .iter()
            .filter(|times| index > 0 && times.len() > index)
            .map(|times| times[index] - times[index - 1])
            .collect();
        took.sort_unstable();
        Reached {
            step: index + 1,
            name: step.name.clone(),
            people: reached(index),
            error: None,
            of_first_milli: milli(reached(index), reached(0)),
            of_previous_milli: milli(reached(index), reached(index.saturating_sub(1))),
            median_ms: took.get(took.len().saturating_sub(1) / 2).copied(),
        }
    };
    steps.iter().enumerate().map(row).collect()
}

fn straight_retention(asked: &[&Sent], first: &str, back: Option<&str>) -> Vec<Retained> {
    let mut rows: BTreeMap<(NaiveDate, i32), i64> = BTreeMap::new();
    for did in by_person(asked).into_values() {
        let Some(came) = did.iter().find(|one| one.name == first).map(|one| monday(one.day())) else { continue };
        let returned = did.iter().filter(|one| back.is_none_or(|back| one.name == back)).map(|one| monday(one.day()));
        let weeks: BTreeSet<_> = returned.filter(|week| *week > came).chain([came]).collect();
        for week in weeks {
            let after = i32::try_from((week - came).num_days() / 7).unwrap();
            *rows.entry((came, after)).or_default() += 1;
        }
    }
    rows.into_iter().map(|((week, after), people)| Retained { week, after, people, error: None }).collect()
}
