//! What an account wrote, on its way into the log.

use std::collections::HashMap;

use pulsegate_domain::event::{ClickstreamEvent, Recorded, RecordedSealed};
use pulsegate_domain::ids::AccountId;
use serde_json::value::RawValue;

use crate::keys::{AccountKeys, KeyError, Sealing};

/// The keys for some clicks, at hand.
#[derive(Clone, Debug, Default)]
pub struct Seals(Option<HashMap<AccountId, Sealing>>);

impl Seals {
    /// The keys for these clicks. Without any keys at all nothing is sealed.
    pub async fn of<'a>(
        keys: Option<&AccountKeys>,
        clicks: impl Iterator<Item = &'a Recorded>,
    ) -> Result<Self, KeyError> {
        match keys {
            Some(keys) => Ok(Self(Some(keys.of(clicks.filter_map(|click| click.account_id.as_ref())).await?))),
            None => Ok(Self(None)),
        }
    }

    /// A click as it goes into the log: an account's sealed, a visitor's as it is. What somebody who was forgotten
    /// wrote goes nowhere.
    pub fn seal(&self, click: Recorded) -> Result<ClickstreamEvent, KeyError> {
        let Some(sealings) = &self.0 else { return Ok(ClickstreamEvent::Recorded(click)) };
        let Some(account_id) = click.account_id.clone() else { return Ok(ClickstreamEvent::Recorded(click)) };
        match sealings.get(&account_id) {
            Some(Sealing::Under(key)) => {
                let sealed = key.seal(account_id.as_str(), click.properties.get())?;
                let Recorded { name, anonymous_id, session_id, .. } = click;
                Ok(ClickstreamEvent::Sealed(RecordedSealed { name, account_id, anonymous_id, session_id, sealed }))
            }
            Some(Sealing::Forgotten) | None => {
                let none = RawValue::from_string("{}".to_owned()).unwrap_or_else(|_| unreachable!("`{{}}` is JSON"));
                Ok(ClickstreamEvent::Recorded(Recorded { anonymous_id: None, properties: none, ..click }))
            }
        }
    }
}
