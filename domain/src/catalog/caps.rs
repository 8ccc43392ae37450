//! Caps of contracts: how many streams of one account may show a rights holder's titles at once.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::NaiveDate;

use crate::event::ContractRegistered;
use crate::ids::{ContractId, RightsHolderId, Territory, TitleId};

/// The caps of the newest registration of each contract, found by rights holder: most have none, and each event asks.
#[derive(Clone, Debug, Default)]
pub(super) struct Caps {
    of_holder: HashMap<RightsHolderId, Vec<Cap>>,
    holders: HashMap<ContractId, RightsHolderId>,
}

#[derive(Clone, Debug)]
struct Cap {
    contract: ContractId,
    titles: Option<HashSet<TitleId>>,
    territories: Option<Vec<Territory>>,
    from: NaiveDate,
    until: Option<NaiveDate>,
    max: u32,
}

impl Caps {
    /// Takes up a contract, and forgets what was registered under its id before.
    pub(super) fn register(&mut self, contract: &ContractRegistered) {
        let id = &contract.contract_id;
        if let Some(holder) = self.holders.remove(id)
            && let Some(caps) = self.of_holder.get_mut(&holder)
        {
            caps.retain(|cap| cap.contract != *id);
            if caps.is_empty() {
                self.of_holder.remove(&holder);
            }
        }
        let Some(max) = contract.max_streams_per_account() else { return };
        self.holders.insert(id.clone(), contract.rights_holder_id.clone());
        self.of_holder.entry(contract.rights_holder_id.clone()).or_default().push(Cap {
            contract: id.clone(),
            titles: contract.title_ids.as_ref().map(|titles| titles.iter().cloned().collect()),
            territories: contract.territories.clone(),
            from: contract.valid_from,
            until: contract.valid_until,
            max,
        });
    }

    /// The lowest cap of the contracts in force. A contract caps titles of its own rights holder only: the rule counts
    /// by rights holder.
    pub(super) fn in_force(
        &self,
        holder: &RightsHolderId,
        title: &TitleId,
        territory: Territory,
        day: NaiveDate,
    ) -> Option<u32> {
        let caps = self.of_holder.get(holder)?.iter();
        let in_force = caps.filter(|cap| {
            cap.from <= day
                && cap.until.is_none_or(|until| day <= until)
                && cap.territories.as_ref().is_none_or(|territories| territories.contains(&territory))
                && cap.titles.as_ref().is_none_or(|titles| titles.contains(title))
        });
        in_force.map(|cap| cap.max).min()
    }

    /// Every cap that is in force on `day` or will be.
    pub(super) fn from(&self, day: NaiveDate) -> BTreeSet<u32> {
        let caps = self.of_holder.values().flatten();
        caps.filter(|cap| cap.until.is_none_or(|until| day <= until)).map(|cap| cap.max).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn contract(id: &str, more: &Value) -> ContractRegistered {
        let mut contract = json!({"contract_id": id, "rights_holder_id": "studio", "valid_from": "2026-01-01"});
        contract.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(contract).unwrap()
    }

    fn in_force(caps: &Caps, title: &str, territory: &str, day: &str) -> Option<u32> {
        let holder = "studio".parse().unwrap();
        caps.in_force(&holder, &title.parse().unwrap(), territory.parse().unwrap(), day.parse().unwrap())
    }

    #[test]
    fn the_lowest_cap_in_force_for_title_territory_and_day_counts() {
        let mut caps = Caps::default();
        caps.register(&contract("all", &json!({"max_streams_per_account": 3})));
        caps.register(&contract(
            "some",
            &json!({"max_streams_per_account": 1, "title_ids": ["film"], "territories": ["DE"],
                   "valid_from": "2026-06-01", "valid_until": "2026-06-30"}),
        ));
        for (title, territory, day, cap) in [
            ("film", "DE", "2026-06-01", Some(1)),
            ("film", "DE", "2026-06-30", Some(1)),
            ("film", "DE", "2026-07-01", Some(3)),
            ("film", "FR", "2026-06-15", Some(3)),
            ("other", "DE", "2026-06-15", Some(3)),
            ("film", "DE", "2025-12-31", None),
        ] {
            assert_eq!(in_force(&caps, title, territory, day), cap, "{title} {territory} {day}");
        }
        assert_eq!(caps.in_force(&"else".parse().unwrap(), &"film".parse().unwrap(), Territory::UNKNOWN, day(1)), None);
        assert_eq!(caps.from(day(1)), [1, 3].into());
        assert_eq!(caps.from("2026-07-01".parse().unwrap()), [3].into());
    }

    #[test]
    fn the_newest_registration_counts() {
        let mut caps = Caps::default();
        caps.register(&contract("c", &json!({"max_streams_per_account": 3})));
        caps.register(&contract("c", &json!({"max_streams_per_account": 2})));
        assert_eq!(in_force(&caps, "film", "DE", "2026-06-01"), Some(2));
        caps.register(&contract("c", &json!({"max_streams_per_account": null})));
        assert_eq!(in_force(&caps, "film", "DE", "2026-06-01"), None);
        assert!(caps.of_holder.is_empty() && caps.holders.is_empty());
    }

    #[test]
    fn a_term_of_that_name_that_is_no_count_caps_nothing() {
        for other in [json!("two"), json!(-1), json!(1.5), json!(10_001), json!({})] {
            assert_eq!(contract("c", &json!({ "max_streams_per_account": other })).max_streams_per_account(), None);
        }
    }

    fn day(day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 1, day).unwrap()
    }
}
