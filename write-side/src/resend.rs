//! What was refused, read once more: what it becomes when it is sent in again after a fix.
//!
//! Pure. A heartbeat says how long ago it happened (`age_ms`), so that it counts for its own day and takes
//! no slot now; a click keeps its own time. What asks for something *now*, such as a start, is not sent
//! in again: whoever asked has long been told no.
//!
//! **Invariant:** an item has one event id, however often it is sent in again and whoever does it, so that
//! a second copy in the log can be told.

use std::borrow::Cow;

use pulsegate_domain::time::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::problems::{BodyError, FieldProblem, in_one_line};
use crate::rejected::{RejectReason, Rejected, RejectedPlace, Resent};
use crate::request::{
    AGE_MS_MAX, Batch, ClickstreamRequest, HeartbeatRequest, ItemError, parse_clickstream_batch, parse_heartbeat,
    parse_heartbeat_batch,
};

/// What an event says of how it came in.
pub const SOURCE: &str = "/commands/events/resend";

/// Which refusal a record of the topic is: a copy of it in the topic is the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The record by which it was refused the first time.
    pub root: RejectedPlace,
    /// Its index, where it was part of a batch.
    pub item: Option<usize>,
    /// How often it has been sent in again.
    pub attempt: u32,
}

impl Identity {
    /// The identity of the record at `place`.
    #[must_use]
    pub fn of(place: RejectedPlace, rejected: &Rejected) -> Self {
        let item = rejected.index;
        match rejected.resent {
            Some(Resent { from, attempt }) => Self { root: from, item, attempt },
            None => Self { root: place, item, attempt: 0 },
        }
    }

    /// The id of the event that an item becomes: a function of where it was first refused.
    fn event_id(&self, topic: &str, index: usize) -> Uuid {
        let name = format!("pulsegate/{topic}/{}/{}", self.root, self.item.unwrap_or(index));
        Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
    }
}

/// What can be sent in again.
#[derive(Clone, Debug)]
pub enum Request {
    /// A heartbeat, with its age as of now.
    Heartbeat {
        /// What it says.
        heartbeat: HeartbeatRequest,
        /// What goes back to the topic if the account's state refuses it.
        refused: Box<Rejected>,
    },
    /// Something that a person did in a front end.
    Clickstream(ClickstreamRequest),
}

/// An item that is sent in again.
#[derive(Clone, Debug)]
pub struct Again {
    /// The event's id.
    pub id: Uuid,
    /// When it happened.
    pub happened_at: Timestamp,
    /// What it says.
    pub request: Request,
}

/// What becomes of one item of a rejected record.
#[derive(Clone, Debug)]
pub enum Item {
    /// It is sent.
    Send(Box<Again>),
    /// It is refused again.
    Refused(Box<Rejected>),
    /// A heartbeat that happened more than 7 days ago, which is never taken.
    TooOld,
}

/// Why a record is not sent in again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NotSent {
    /// It asked for something then: a start, a stop, an eviction, a signal.
    AboutThen,
    /// It was too long to be kept whole.
    Cut,
    /// Nothing of it was kept.
    Nothing,
    /// It doesn't say by which route it came in, or by one that is not there.
    UnknownRoute,
}

impl NotSent {
    /// One word for programs.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::AboutThen => "about-then",
            Self::Cut => "cut",
            Self::Nothing => "nothing-kept",
            Self::UnknownRoute => "unknown-route",
        }
    }

    /// Why, for a person.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::AboutThen => "asked for something at that moment (a start, a stop, an eviction, a signal)",
            Self::Cut => "was too long to be kept whole",
            Self::Nothing => "nothing of it was kept",
            Self::UnknownRoute => "does not say by which route it came in",
        }
    }
}

/// Reads a record of the topic `topic` once more, as of `now`: each of its items by itself.
pub fn read_again(
    topic: &str,
    place: RejectedPlace,
    rejected: &Rejected,
    now: Timestamp,
) -> Result<Vec<Item>, NotSent> {
    if rejected.cut_from.is_some() {
        return Err(NotSent::Cut);
    }
    let route = Route::of(&rejected.source)?;
    if rejected.original.is_empty() {
        return Err(NotSent::Nothing);
    }
    let reading = Reading { topic, identity: Identity::of(place, rejected), rejected, now };
    Ok(match route {
        Route::Heartbeats => {
            let body = reading.body("heartbeats");
            let originals = serde_json::from_slice::<Originals<'_>>(&body).unwrap_or_default().heartbeats;
            reading.items(parse_heartbeat_batch(&body), |index, heartbeat| {
                let original = originals.get(index).map(|original| original.get().as_bytes());
                reading.heartbeat(index, heartbeat, original.unwrap_or_default(), Some(index))
            })
        }
        Route::Clickstream => {
            reading.items(parse_clickstream_batch(&reading.body("events")), |index, click| reading.click(index, click))
        }
        Route::Heartbeat { account, session } => vec![reading.of_session(account, session)],
    })
}

/// The routes whose requests can be sent in again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route<'a> {
    Heartbeats,
    Clickstream,
    Heartbeat { account: &'a str, session: &'a str },
}

impl<'a> Route<'a> {
    fn of(source: &'a str) -> Result<Self, NotSent> {
        let parts: Vec<_> = source.split('/').collect();
        match parts[..] {
            ["", "v1", "heartbeats"] => Ok(Self::Heartbeats),
            ["", "v1", "clickstream"] => Ok(Self::Clickstream),
            ["", "v1", "accounts", account, "sessions", session, "heartbeats"] => {
                Ok(Self::Heartbeat { account, session })
            }
            ["", "v1", "signals"] | ["", "v1", "accounts", ..] => Err(NotSent::AboutThen),
            _ => Err(NotSent::UnknownRoute),
        }
    }
}

/// The items of a batch as they were received.
#[derive(Default, Deserialize)]
struct Originals<'a> {
    #[serde(borrow)]
    heartbeats: Vec<&'a RawValue>,
}

struct Reading<'a> {
    topic: &'a str,
    identity: Identity,
    rejected: &'a Rejected,
    now: Timestamp,
}

impl Reading<'_> {
    /// The body: of an item, the batch that holds it alone.
    fn body(&self, name: &str) -> Cow<'_, [u8]> {
        if self.rejected.index.is_none() {
            return Cow::Borrowed(&self.rejected.original);
        }
        let mut body = format!("{{\"{name}\":[").into_bytes();
        body.extend_from_slice(&self.rejected.original);
        body.extend_from_slice(b"]}");
        Cow::Owned(body)
    }

    fn items<T>(&self, batch: Result<Batch<T>, BodyError>, send: impl Fn(usize, T) -> Item) -> Vec<Item> {
        match batch {
            Ok(batch) => {
                let refused = batch.rejected.into_iter().map(|error| Item::Refused(Box::new(self.refused_item(error))));
                batch.accepted.into_iter().map(|(index, request)| send(index, request)).chain(refused).collect()
            }
            Err(error) => vec![self.refused_whole(error)],
        }
    }

    fn of_session(&self, account: &str, session: &str) -> Item {
        let account = account.parse();
        let session = session.parse();
        match (account, session) {
            (Ok(account), Ok(session)) => match parse_heartbeat(account, session, &self.rejected.original) {
                Ok(heartbeat) => self.heartbeat(0, heartbeat, &self.rejected.original, None),
                Err(error) => self.refused_whole(error),
            },
            (account, session) => {
                let wrong = [("/account_id", account.err()), ("/session_id", session.err())].into_iter();
                let problems = wrong.filter_map(|(pointer, error)| {
                    error.map(|error| FieldProblem::new(pointer, format!("{error} (in the path)")))
                });
                self.refused_whole(BodyError::Invalid(problems.collect()))
            }
        }
    }

    fn heartbeat(&self, index: usize, mut heartbeat: HeartbeatRequest, original: &[u8], item: Option<usize>) -> Item {
        let since = self.now.ms_since(self.rejected.received_at);
        heartbeat.age_ms = heartbeat.age_ms.saturating_add(since);
        if heartbeat.age_ms > AGE_MS_MAX {
            return Item::TooOld;
        }
        let refused = Rejected {
            key: Some(heartbeat.account_id.as_str().as_bytes().to_vec()),
            index: self.identity.item.or(item),
            ..self.refused(self.rejected.reason, Vec::new(), original.to_vec())
        };
        let happened_at = self.now.minus_ms(heartbeat.age_ms);
        self.send(index, happened_at, Request::Heartbeat { heartbeat, refused: Box::new(refused) })
    }

    fn click(&self, index: usize, click: ClickstreamRequest) -> Item {
        self.send(index, click.occurred_at.unwrap_or(self.rejected.received_at), Request::Clickstream(click))
    }

    fn send(&self, index: usize, happened_at: Timestamp, request: Request) -> Item {
        Item::Send(Box::new(Again { id: self.identity.event_id(self.topic, index), happened_at, request }))
    }

    fn refused_whole(&self, error: BodyError) -> Item {
        let (reason, problems) = match error {
            BodyError::NotJson { detail } => (RejectReason::MalformedJson, vec![FieldProblem::new("", detail)]),
            BodyError::Invalid(problems) => (RejectReason::Invalid, problems),
        };
        Item::Refused(Box::new(self.refused(reason, problems, self.rejected.original.clone())))
    }

    fn refused_item(&self, error: ItemError) -> Rejected {
        Rejected {
            key: error.key.map(String::into_bytes),
            index: Some(self.identity.item.unwrap_or(error.index)),
            ..self.refused(RejectReason::Invalid, error.problems, error.original.into_bytes())
        }
    }

    /// What goes back to the topic: another attempt of the same.
    fn refused(&self, reason: RejectReason, problems: Vec<FieldProblem>, original: Vec<u8>) -> Rejected {
        let Rejected { key, source, index, received_at, .. } = self.rejected;
        Rejected {
            key: key.clone(),
            reason,
            source: source.clone(),
            index: *index,
            detail: in_one_line(&problems),
            problems,
            received_at: *received_at,
            original,
            cut_from: None,
            resent: Some(Resent { from: self.identity.root, attempt: self.identity.attempt.saturating_add(1) }),
        }
    }
}

#[cfg(test)]
mod tests;
