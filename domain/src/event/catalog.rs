//! The catalog topic: titles, rights holders, contracts, policies, entitlements; and who changed what is kept elsewhere.

use chrono::NaiveDate;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Event, unknown_kind};
use crate::ids::{AccountId, ContentKind, ContractId, PolicyName, RightsHolderId, Territory, TitleId};
use crate::policy::{LIMIT_MAX, Policy};

pub(super) const TITLE_REGISTERED: &str = "pulsegate.catalog.title_registered.v1";
pub(super) const RIGHTS_HOLDER_REGISTERED: &str = "pulsegate.catalog.rights_holder_registered.v1";
pub(super) const CONTRACT_REGISTERED: &str = "pulsegate.catalog.contract_registered.v1";
pub(super) const CONTRACT_AMENDED: &str = "pulsegate.catalog.contract_amended.v1";
pub(super) const CONTRACT_ENDED: &str = "pulsegate.catalog.contract_ended.v1";
pub(super) const POLICY_PUBLISHED: &str = "pulsegate.catalog.policy_published.v1";
pub(super) const ENTITLEMENT_CHANGED: &str = "pulsegate.catalog.entitlement_changed.v1";
pub(super) const CHANGE_NOTED: &str = "pulsegate.catalog.change_noted.v1";

/// The term of a contract that caps streams.
pub const MAX_STREAMS_PER_ACCOUNT: &str = "max_streams_per_account";

/// A change of what the service offers and to whom; the record's key is the entity's id.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum CatalogEvent {
    /// A title was registered, or registered anew.
    TitleRegistered(TitleRegistered),
    /// A rights holder was registered, or registered anew.
    RightsHolderRegistered(RightsHolderRegistered),
    /// A contract was registered, or registered anew.
    ContractRegistered(ContractRegistered),
    /// A contract was changed by somebody who said which version of it was looked at.
    ContractAmended(ContractAmended),
    /// A contract was given a last day.
    ContractEnded(ContractEnded),
    /// A version of a policy was published.
    PolicyPublished(Policy),
    /// An account was given a policy.
    EntitlementChanged(EntitlementChanged),
    /// Something that the catalog doesn't hold was changed by somebody.
    ChangeNoted(ChangeNoted),
}

/// `title_registered.v1`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TitleRegistered {
    /// Which title.
    pub title_id: TitleId,
    /// What people call it.
    pub name: String,
    /// Recorded or live.
    pub content_kind: ContentKind,
    /// Who owns it.
    pub rights_holder_id: RightsHolderId,
    /// How long it is, in milliseconds, where it has a length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_ms: Option<u64>,
}

/// `rights_holder_registered.v1`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RightsHolderRegistered {
    /// Which rights holder.
    pub rights_holder_id: RightsHolderId,
    /// What it calls itself.
    pub name: String,
}

/// `contract_registered.v1`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContractRegistered {
    /// Which contract.
    pub contract_id: ContractId,
    /// With whom.
    pub rights_holder_id: RightsHolderId,
    /// For which titles; all of the rights holder's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title_ids: Option<Vec<TitleId>>,
    /// For where; everywhere where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub territories: Option<Vec<Territory>>,
    /// The first day, UTC.
    pub valid_from: NaiveDate,
    /// The last day, UTC, inclusive; open where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<NaiveDate>,
    /// From how much watched time on a play is a qualified view, in milliseconds; 30 000 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view_threshold_ms: Option<u64>,
    /// Everything else that the parties agreed on, kept as it came.
    #[serde(flatten)]
    pub terms: serde_json::Map<String, serde_json::Value>,
}

impl ContractRegistered {
    /// How many streams of one account may show this rights holder's titles at once, where the parties agreed on that.
    ///
    /// It stands among the other terms, where contracts have always kept what this service didn't know: of one that
    /// says something else by that name nothing is enforced.
    #[must_use]
    pub fn max_streams_per_account(&self) -> Option<u32> {
        let cap = self.terms.get(MAX_STREAMS_PER_ACCOUNT)?.as_u64()?;
        u32::try_from(cap).ok().filter(|cap| *cap <= LIMIT_MAX)
    }
}

/// `contract_amended.v1`: counts only if the contract is at that version where this stands in the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContractAmended {
    /// How often the contract had been changed when it was looked at; 0: there was none.
    pub expected_version: u32,
    /// What holds now.
    pub contract: ContractRegistered,
}

/// `contract_ended.v1`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContractEnded {
    /// Which contract.
    pub contract_id: ContractId,
    /// Its last day, UTC.
    pub last_day: NaiveDate,
    /// Counts only at this version, where it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_version: Option<u32>,
}

/// `entitlement_changed.v1`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntitlementChanged {
    /// Whose limits.
    pub account_id: AccountId,
    /// The name of the policy; its newest version is in force.
    pub policy: PolicyName,
}

/// What was changed elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A server's key was made.
    KeyCreated,
    /// It was given a new secret.
    KeyRotated,
    /// It was ended.
    KeyRevoked,
    /// A statement was closed.
    StatementClosed,
    /// It was restated.
    StatementRestated,
    /// Readers were shown another build of a projection.
    ProjectionSwitched,
    /// They were shown the build before again.
    ProjectionRolledBack,
    /// An account was forgotten; it is named by what stands in its place.
    AccountForgotten,
}

/// `change_noted.v1`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeNoted {
    /// What was done.
    pub change: Change,
    /// To what: a key's id, a statement's period, a projection.
    pub subject: String,
    /// More of it, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Event for CatalogEvent {
    fn kind(&self) -> &'static str {
        match self {
            Self::TitleRegistered(_) => TITLE_REGISTERED,
            Self::RightsHolderRegistered(_) => RIGHTS_HOLDER_REGISTERED,
            Self::ContractRegistered(_) => CONTRACT_REGISTERED,
            Self::ContractAmended(_) => CONTRACT_AMENDED,
            Self::ContractEnded(_) => CONTRACT_ENDED,
            Self::PolicyPublished(_) => POLICY_PUBLISHED,
            Self::EntitlementChanged(_) => ENTITLEMENT_CHANGED,
            Self::ChangeNoted(_) => CHANGE_NOTED,
        }
    }

    fn read_data<'de, D: Deserializer<'de>>(kind: &str, data: D) -> Result<Self, D::Error> {
        match kind {
            TITLE_REGISTERED => TitleRegistered::deserialize(data).map(Self::TitleRegistered),
            RIGHTS_HOLDER_REGISTERED => RightsHolderRegistered::deserialize(data).map(Self::RightsHolderRegistered),
            CONTRACT_REGISTERED => ContractRegistered::deserialize(data).map(Self::ContractRegistered),
            CONTRACT_AMENDED => ContractAmended::deserialize(data).map(Self::ContractAmended),
            CONTRACT_ENDED => ContractEnded::deserialize(data).map(Self::ContractEnded),
            POLICY_PUBLISHED => Policy::deserialize(data).map(Self::PolicyPublished),
            ENTITLEMENT_CHANGED => EntitlementChanged::deserialize(data).map(Self::EntitlementChanged),
            CHANGE_NOTED => ChangeNoted::deserialize(data).map(Self::ChangeNoted),
            other => Err(unknown_kind(other)),
        }
    }
}
