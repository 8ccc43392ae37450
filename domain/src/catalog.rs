//! The catalog: what the service offers and to whom, folded from the one-partition `catalog` topic.

mod caps;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use chrono::NaiveDate;

use caps::Caps;

use crate::contract::Contract;
use crate::event::{CatalogEvent, Change, ContractRegistered, RightsHolderRegistered, TitleRegistered};
use crate::ids::{AccountId, ContractId, PolicyName, RightsHolderId, Territory, TitleId};
use crate::policy::{Policy, PolicySet};

/// The catalog as of an offset of its topic.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    policies: Arc<PolicySet>,
    entitlements: HashMap<AccountId, PolicyName>,
    titles: HashMap<TitleId, TitleRegistered>,
    rights_holders: HashMap<RightsHolderId, RightsHolderRegistered>,
    contracts: HashMap<ContractId, Contract>,
    caps: Caps,
    forgotten: BTreeSet<String>,
}

impl Catalog {
    /// Takes up the next event. The newest registration of an entity is in force; of a policy's version
    /// the first.
    pub fn apply(&mut self, event: CatalogEvent) {
        match event {
            CatalogEvent::TitleRegistered(title) => {
                self.titles.insert(title.title_id.clone(), title);
            }
            CatalogEvent::RightsHolderRegistered(holder) => {
                self.rights_holders.insert(holder.rights_holder_id.clone(), holder);
            }
            CatalogEvent::ContractRegistered(contract) => {
                let id = contract.contract_id.clone();
                self.contracts.entry(id.clone()).or_default().register(contract);
                self.cap_by(&id);
            }
            CatalogEvent::ContractAmended(amended) => {
                let id = amended.contract.contract_id.clone();
                self.contracts.entry(id.clone()).or_default().amend(amended);
                self.cap_by(&id);
            }
            CatalogEvent::ContractEnded(ended) => {
                if let Some(contract) = self.contracts.get_mut(&ended.contract_id) {
                    contract.end(&ended);
                    self.cap_by(&ended.contract_id);
                }
            }
            CatalogEvent::PolicyPublished(policy) => {
                // Cloned only when a fold still holds the set: publishing is rare, looking up is not.
                Arc::make_mut(&mut self.policies).publish(policy);
            }
            CatalogEvent::EntitlementChanged(change) => {
                self.entitlements.insert(change.account_id, change.policy);
            }
            CatalogEvent::ChangeNoted(noted) if noted.change == Change::AccountForgotten => {
                self.forgotten.insert(noted.subject);
            }
            // For people who ask who changed what; nothing here rests on it.
            CatalogEvent::ChangeNoted(_) => {}
        }
    }

    /// Takes up what a contract says now of how many may watch.
    fn cap_by(&mut self, id: &ContractId) {
        if let Some(current) = self.contracts.get(id).and_then(Contract::current) {
            self.caps.register(current);
        }
    }

    /// Every version of every policy.
    #[must_use]
    pub const fn policies(&self) -> &Arc<PolicySet> {
        &self.policies
    }

    /// The policy in force for an account: the newest version of the one that it was given, else the
    /// newest `standard`.
    #[must_use]
    pub fn policy_in_force(&self, account: &AccountId) -> &Arc<Policy> {
        self.entitlements
            .get(account)
            .and_then(|name| self.policies.newest(name))
            .unwrap_or_else(|| self.policies.standard())
    }

    /// The policy that an event of an account is judged by: the one in force for it, and where a contract that is in
    /// force for the title, the territory and the day caps its rights holder, what was derived from it.
    #[must_use]
    pub fn policy_for(
        &self,
        account: &AccountId,
        title: &TitleId,
        territory: Territory,
        day: NaiveDate,
    ) -> &Arc<Policy> {
        let base = self.policy_in_force(account);
        let holder = self.titles.get(title).map(|title| &title.rights_holder_id);
        match holder.and_then(|holder| self.caps.in_force(holder, title, territory, day)) {
            Some(cap) => self.policies.under_cap(base, cap),
            None => base,
        }
    }

    /// The caps of every contract that isn't over on `day`.
    #[must_use]
    pub fn caps_from(&self, day: NaiveDate) -> BTreeSet<u32> {
        self.caps.from(day)
    }

    /// The policy that an account was given by name.
    #[must_use]
    pub fn entitlement(&self, account: &AccountId) -> Option<&PolicyName> {
        self.entitlements.get(account)
    }

    /// A title.
    #[must_use]
    pub fn title(&self, id: &TitleId) -> Option<&TitleRegistered> {
        self.titles.get(id)
    }

    /// Every title, in no order.
    pub fn titles(&self) -> impl Iterator<Item = &TitleRegistered> {
        self.titles.values()
    }

    /// A rights holder.
    #[must_use]
    pub fn rights_holder(&self, id: &RightsHolderId) -> Option<&RightsHolderRegistered> {
        self.rights_holders.get(id)
    }

    /// Every rights holder, in no order.
    pub fn rights_holders(&self) -> impl Iterator<Item = &RightsHolderRegistered> {
        self.rights_holders.values()
    }

    /// A contract, as it is now.
    #[must_use]
    pub fn contract(&self, id: &ContractId) -> Option<&ContractRegistered> {
        self.contracts.get(id)?.current()
    }

    /// A contract with all of its versions.
    #[must_use]
    pub fn contract_versions(&self, id: &ContractId) -> Option<&Contract> {
        self.contracts.get(id).filter(|contract| contract.version() > 0)
    }

    /// What stands in the place of each account that was forgotten.
    #[must_use]
    pub const fn forgotten(&self) -> &BTreeSet<String> {
        &self.forgotten
    }

    /// Every contract as it is now, in no order.
    pub fn contracts(&self) -> impl Iterator<Item = &ContractRegistered> {
        self.contracts.values().filter_map(Contract::current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ContractAmended, ContractEnded, EntitlementChanged};

    #[test]
    fn an_account_has_the_newest_version_of_what_it_was_given() {
        let account: AccountId = "a".parse().unwrap();
        let premium = |version| Policy { name: "premium".parse().unwrap(), version, ..Policy::standard() };
        let mut catalog = Catalog::default();
        assert_eq!(catalog.policy_in_force(&account).reference().to_string(), "standard@1");
        catalog.apply(CatalogEvent::EntitlementChanged(EntitlementChanged {
            account_id: account.clone(),
            policy: "premium".parse().unwrap(),
        }));
        // Entitled to what nobody has published yet: the standard holds on.
        assert_eq!(catalog.policy_in_force(&account).reference().to_string(), "standard@1");
        catalog.apply(CatalogEvent::PolicyPublished(premium(1)));
        catalog.apply(CatalogEvent::PolicyPublished(premium(2)));
        assert_eq!(catalog.policy_in_force(&account).reference().to_string(), "premium@2");
    }

    #[test]
    fn an_amended_contract_caps_anew_and_an_ended_one_no_more() {
        let read = |json: serde_json::Value| serde_json::from_value::<ContractRegistered>(json).unwrap();
        let contract = |cap: u32| {
            read(serde_json::json!({"contract_id": "c", "rights_holder_id": "studio", "valid_from": "2026-01-01",
                                    "max_streams_per_account": cap}))
        };
        let mut catalog = Catalog::default();
        catalog.apply(CatalogEvent::TitleRegistered(
            serde_json::from_value(serde_json::json!({"title_id": "film", "name": "Film", "content_kind": "vod",
                                                      "rights_holder_id": "studio"}))
            .unwrap(),
        ));
        for policy in catalog.policies.missing_under(&[1, 2].into()) {
            catalog.apply(CatalogEvent::PolicyPublished(policy));
        }
        let stamped = |catalog: &Catalog, day: &str| {
            let (account, title) = ("a".parse().unwrap(), "film".parse().unwrap());
            let policy = catalog.policy_for(&account, &title, Territory::UNKNOWN, day.parse().unwrap());
            policy.reference().to_string()
        };
        catalog.apply(CatalogEvent::ContractRegistered(contract(2)));
        assert_eq!(stamped(&catalog, "2026-06-01"), "standard:1:cap:2@1");
        let amended = |expected_version| ContractAmended { expected_version, contract: contract(1) };
        catalog.apply(CatalogEvent::ContractAmended(amended(7)));
        assert_eq!(stamped(&catalog, "2026-06-01"), "standard:1:cap:2@1", "another was first");
        catalog.apply(CatalogEvent::ContractAmended(amended(1)));
        assert_eq!(stamped(&catalog, "2026-06-01"), "standard:1:cap:1@1");
        let last_day = "2026-06-30".parse().unwrap();
        let ended = ContractEnded { contract_id: "c".parse().unwrap(), last_day, expected_version: None };
        catalog.apply(CatalogEvent::ContractEnded(ended));
        assert_eq!(stamped(&catalog, "2026-06-30"), "standard:1:cap:1@1");
        assert_eq!(stamped(&catalog, "2026-07-01"), "standard@1");
    }
}
