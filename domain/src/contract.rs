//! A contract with a rights holder: what was agreed on, in versions that are all kept.
//!
//! The log is the arbiter here too. An amendment says which version it was made from; the fold takes it up only if that
//! is the version there. So of two amendments of one version the first in the log counts, on every node.

mod aggregate;
mod counting;
mod due;
mod payment;
mod reading;

use std::sync::Arc;

use chrono::NaiveDate;
use thiserror::Error;

pub use aggregate::ContractAggregate;
pub use counting::Counting;
pub use due::{ContractDue, Due, Line, Missing, OfLines, Step, Usage, of_contract, of_line, of_title};
pub use payment::{Month, Payment, RevenueShare, RoundedOf};
pub use reading::{Agreed, Mistake};

use crate::event::{CatalogEvent, ContractAmended, ContractEnded, ContractRegistered};
use crate::ids::{ContractId, RightsHolderId, Territory, TitleId};

/// Most versions of one contract: who changes one more often writes a new one.
pub const VERSIONS_MAX: usize = 10_000;

/// A contract, as every one of its versions was. Without a version there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contract {
    versions: Vec<Arc<ContractRegistered>>,
}

/// What is asked of a contract.
#[derive(Clone, Debug, PartialEq)]
pub enum ContractCommand {
    /// This is what was agreed on, whatever was before.
    Register(ContractRegistered),
    /// This is what was agreed on instead of that version; version 0: there is none yet.
    Amend {
        /// The version that it was made from.
        expected: u32,
        /// What holds now.
        contract: ContractRegistered,
    },
    /// It ends.
    End {
        /// Which contract.
        contract_id: ContractId,
        /// Its last day, UTC.
        last_day: NaiveDate,
        /// The version that was looked at, where that matters.
        expected: Option<u32>,
    },
}

/// Why a contract is not changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ContractRejection {
    /// Somebody else changed it meanwhile.
    #[error("contract {contract_id} is at version {actual}, not {expected}")]
    Conflict {
        /// Which contract.
        contract_id: ContractId,
        /// The version that was expected.
        expected: u32,
        /// The version that it has.
        actual: u32,
    },
    /// There is none to end.
    #[error("there is no contract {0}")]
    Unknown(ContractId),
    /// It would end before it begins.
    #[error("contract {contract_id} begins on {valid_from} and can't end before that")]
    EndsBeforeItBegins {
        /// Which contract.
        contract_id: ContractId,
        /// Its first day.
        valid_from: NaiveDate,
    },
    /// It was changed too often.
    #[error("contract {0} has 10 000 versions; what changes more often is a new contract")]
    TooManyVersions(ContractId),
}

impl Contract {
    /// How often it was registered, amended or ended; 0 where there is none.
    #[must_use]
    pub fn version(&self) -> u32 {
        u32::try_from(self.versions.len()).unwrap_or(u32::MAX)
    }

    /// What holds now.
    #[must_use]
    pub fn current(&self) -> Option<&ContractRegistered> {
        self.versions.last().map(Arc::as_ref)
    }

    /// Every version, the first one first.
    pub fn versions(&self) -> impl ExactSizeIterator<Item = &ContractRegistered> {
        self.versions.iter().map(Arc::as_ref)
    }

    /// Whether it may be changed so, and the event that says so; `None` where nothing would change.
    pub fn decide(&self, command: ContractCommand) -> Result<Option<CatalogEvent>, ContractRejection> {
        let event = match command {
            ContractCommand::Register(contract) => {
                if self.current() == Some(&contract) {
                    return Ok(None);
                }
                CatalogEvent::ContractRegistered(contract)
            }
            ContractCommand::Amend { expected, contract } => {
                self.check_version(&contract.contract_id, expected)?;
                if self.current() == Some(&contract) {
                    return Ok(None);
                }
                CatalogEvent::ContractAmended(ContractAmended { expected_version: expected, contract })
            }
            ContractCommand::End { contract_id, last_day, expected } => {
                let Some(current) = self.current() else { return Err(ContractRejection::Unknown(contract_id)) };
                if let Some(expected) = expected {
                    self.check_version(&contract_id, expected)?;
                }
                if last_day < current.valid_from {
                    let valid_from = current.valid_from;
                    return Err(ContractRejection::EndsBeforeItBegins { contract_id, valid_from });
                }
                if current.valid_until == Some(last_day) {
                    return Ok(None);
                }
                CatalogEvent::ContractEnded(ContractEnded { contract_id, last_day, expected_version: expected })
            }
        };
        match &event {
            CatalogEvent::ContractRegistered(ContractRegistered { contract_id, .. })
            | CatalogEvent::ContractAmended(ContractAmended {
                contract: ContractRegistered { contract_id, .. }, ..
            })
            | CatalogEvent::ContractEnded(ContractEnded { contract_id, .. })
                if self.versions.len() >= VERSIONS_MAX =>
            {
                Err(ContractRejection::TooManyVersions(contract_id.clone()))
            }
            _ => Ok(Some(event)),
        }
    }

    /// Takes up an event. A fact can't be refused: what is about no contract, or comes too late, changes nothing.
    pub fn apply(&mut self, event: CatalogEvent) {
        match event {
            CatalogEvent::ContractRegistered(registered) => self.register(registered),
            CatalogEvent::ContractAmended(amended) => self.amend(amended),
            CatalogEvent::ContractEnded(ended) => self.end(&ended),
            CatalogEvent::TitleRegistered(_)
            | CatalogEvent::RightsHolderRegistered(_)
            | CatalogEvent::PolicyPublished(_)
            | CatalogEvent::EntitlementChanged(_)
            | CatalogEvent::ChangeNoted(_) => {}
        }
    }

    /// Takes up what was registered.
    pub(crate) fn register(&mut self, registered: ContractRegistered) {
        self.push(registered);
    }

    /// Takes up an amendment, if it was made from the version that is here.
    pub(crate) fn amend(&mut self, amended: ContractAmended) {
        if self.version() == amended.expected_version {
            self.push(amended.contract);
        }
    }

    /// Takes up an end, if the contract is there, begins before it, and is at the version that was looked at.
    pub(crate) fn end(&mut self, ended: &ContractEnded) {
        let Some(current) = self.current() else { return };
        let is_expected = ended.expected_version.is_none_or(|expected| expected == self.version());
        if is_expected && current.valid_from <= ended.last_day {
            let ended = ContractRegistered { valid_until: Some(ended.last_day), ..current.clone() };
            self.push(ended);
        }
    }

    fn push(&mut self, version: ContractRegistered) {
        // A foreign writer's flood must not fill the memory of every node: the oldest goes, the count stays bounded.
        if self.versions.len() >= VERSIONS_MAX {
            self.versions.remove(0);
        }
        self.versions.push(Arc::new(version));
    }

    fn check_version(&self, contract_id: &ContractId, expected: u32) -> Result<(), ContractRejection> {
        let actual = self.version();
        if actual == expected {
            Ok(())
        } else {
            Err(ContractRejection::Conflict { contract_id: contract_id.clone(), expected, actual })
        }
    }
}

impl ContractRegistered {
    /// Whether it is about a title of this owner, wherever and whenever.
    #[must_use]
    pub fn is_about(&self, title: &TitleId, owner: &RightsHolderId) -> bool {
        match &self.title_ids {
            Some(titles) => titles.contains(title),
            None => self.rights_holder_id == *owner,
        }
    }

    /// Whether it is in force on a day.
    #[must_use]
    pub fn is_in_force_on(&self, day: NaiveDate) -> bool {
        self.valid_from <= day && self.valid_until.is_none_or(|until| day <= until)
    }

    /// Whether it holds in a territory.
    #[must_use]
    pub fn holds_in(&self, territory: Territory) -> bool {
        self.territories.as_ref().is_none_or(|territories| territories.contains(&territory))
    }
}

#[cfg(test)]
mod tests {
    use eventually::aggregate::Aggregate as _;

    use super::*;

    fn contract(until: Option<&str>) -> ContractRegistered {
        ContractRegistered {
            contract_id: "c".parse().unwrap(),
            rights_holder_id: "r".parse().unwrap(),
            title_ids: None,
            territories: None,
            valid_from: "2026-01-01".parse().unwrap(),
            valid_until: until.map(|day| day.parse().unwrap()),
            view_threshold_ms: None,
            terms: serde_json::Map::new(),
        }
    }

    fn after(events: impl IntoIterator<Item = CatalogEvent>) -> Contract {
        let mut contract = Contract::default();
        for event in events {
            contract = ContractAggregate::apply(contract, event).unwrap();
        }
        contract
    }

    fn registered(until: Option<&str>) -> CatalogEvent {
        CatalogEvent::ContractRegistered(contract(until))
    }

    fn amended(expected_version: u32, until: &str) -> CatalogEvent {
        CatalogEvent::ContractAmended(ContractAmended { expected_version, contract: contract(Some(until)) })
    }

    fn amend(expected: u32, until: &str) -> ContractCommand {
        ContractCommand::Amend { expected, contract: contract(Some(until)) }
    }

    fn end(last_day: &str, expected: Option<u32>) -> ContractCommand {
        ContractCommand::End { contract_id: "c".parse().unwrap(), last_day: last_day.parse().unwrap(), expected }
    }

    #[test]
    fn of_two_amendments_of_one_version_the_first_in_the_log_counts() {
        let contract = after([registered(None), amended(1, "2026-06-30"), amended(1, "2026-09-30")]);
        assert_eq!(contract.version(), 2);
        assert_eq!(contract.current().unwrap().valid_until, Some("2026-06-30".parse().unwrap()));
    }

    #[test]
    fn every_version_is_kept() {
        let contract = after([registered(None), amended(1, "2026-06-30"), registered(Some("2026-12-31"))]);
        let until: Vec<_> = contract.versions().map(|version| version.valid_until.map(|day| day.to_string())).collect();
        assert_eq!(until, [None, Some("2026-06-30".into()), Some("2026-12-31".into())]);
    }

    #[test]
    fn who_expects_another_version_is_told_which_there_is() {
        let there = after([registered(None), amended(1, "2026-06-30")]);
        let conflict = there.decide(amend(1, "2026-09-30")).unwrap_err();
        assert_eq!(conflict.to_string(), "contract c is at version 2, not 1");
        assert!(matches!(there.decide(end("2026-09-30", Some(1))), Err(ContractRejection::Conflict { .. })));
        assert!(matches!(there.decide(amend(2, "2026-09-30")), Ok(Some(CatalogEvent::ContractAmended(_)))));
        assert_eq!(there.decide(amend(2, "2026-06-30")), Ok(None));
        assert!(matches!(Contract::default().decide(amend(0, "2026-06-30")), Ok(Some(_))));
    }

    #[test]
    fn an_end_is_a_last_day() {
        let there = after([registered(None)]);
        let Ok(Some(event)) = there.decide(end("2026-03-31", None)) else { panic!("it may end") };
        let ended = after([registered(None), event]);
        assert_eq!((ended.version(), ended.current().unwrap().valid_until), (2, "2026-03-31".parse().ok()));
        assert_eq!(ended.decide(end("2026-03-31", None)), Ok(None));
        assert_eq!(
            there.decide(end("2025-12-31", None)).unwrap_err().to_string(),
            "contract c begins on 2026-01-01 and can't end before that"
        );
        assert_eq!(
            Contract::default().decide(end("2026-03-31", None)),
            Err(ContractRejection::Unknown("c".parse().unwrap()))
        );
    }

    #[test]
    fn an_end_that_makes_no_sense_in_the_log_changes_nothing() {
        let too_early = ContractEnded {
            contract_id: "c".parse().unwrap(),
            last_day: "2025-01-01".parse().unwrap(),
            expected_version: None,
        };
        let of_none = after([CatalogEvent::ContractEnded(too_early.clone())]);
        assert_eq!(of_none, Contract::default());
        assert_eq!(after([registered(None), CatalogEvent::ContractEnded(too_early)]), after([registered(None)]));
    }
}
