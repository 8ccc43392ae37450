//! The clickstream topic: any JSON that a front end sends.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::{Event, unknown_kind};
use crate::ids::{AccountId, AnonymousId, SessionId};

pub(super) const RECORDED: &str = "pulsegate.clickstream.recorded.v1";

/// Something that a person did in a front end; the record's key is its account or visitor.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum ClickstreamEvent {
    /// One thing that was done.
    Recorded(Recorded),
}

/// `recorded.v1`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recorded {
    /// What was done, in the front end's words.
    pub name: String,
    /// By which account, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<AccountId>,
    /// By which visitor, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous_id: Option<AnonymousId>,
    /// In which viewing or visit, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// Any JSON object, kept as it came.
    pub properties: Box<RawValue>,
}

impl Event for ClickstreamEvent {
    fn kind(&self) -> &'static str {
        match self {
            Self::Recorded(_) => RECORDED,
        }
    }

    fn read_data<'de, D: Deserializer<'de>>(kind: &str, data: D) -> Result<Self, D::Error> {
        match kind {
            RECORDED => Recorded::deserialize(data).map(Self::Recorded),
            other => Err(unknown_kind(other)),
        }
    }
}
