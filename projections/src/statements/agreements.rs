//! What was agreed on for titles, as one offset of the catalog says.

use std::collections::{BTreeMap, HashMap};

use chrono::NaiveDate;
use pulsegate_domain::catalog::Catalog;
use pulsegate_domain::contract::{Agreed, Contract, Mistake};
use pulsegate_domain::event::ContractRegistered;
use pulsegate_domain::ids::{ContractId, RightsHolderId, Territory, TitleId};
use pulsegate_domain::watch_time::VIEW_THRESHOLD_MS;

use crate::period::Period;

/// The contracts that a statement may rest on, and the titles that they are about.
#[derive(Clone, Debug, Default)]
pub struct Agreements {
    /// The offset behind the last record of the catalog that they rest on.
    pub(super) next_offset: i64,
    pub(super) titles: HashMap<String, OfTitle>,
    /// All there are, whenever they are in force.
    pub(super) contracts: BTreeMap<ContractId, Agreement>,
}

/// A title in the catalog.
#[derive(Clone, Debug)]
pub(super) struct OfTitle {
    pub(super) owner: RightsHolderId,
    pub(super) runtime_ms: Option<u64>,
    /// The contracts that are about it, whenever and wherever.
    pub(super) contracts: Vec<ContractId>,
}

/// A contract, read.
#[derive(Clone, Debug)]
pub(super) struct Agreement {
    pub(super) version: u32,
    pub(super) contract: ContractRegistered,
    pub(super) agreed: Result<Agreed, Vec<Mistake>>,
}

/// Why a title was watched under no contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outside {
    /// Its contracts were not in force.
    Window,
    /// One was in force, and holds elsewhere.
    Territory,
}

impl Agreements {
    /// What `catalog`, as of `next_offset`, says.
    #[must_use]
    pub fn of(catalog: &Catalog, next_offset: i64) -> Self {
        let contracts: BTreeMap<_, _> = catalog
            .contracts()
            .map(|contract| {
                let version = catalog.contract_versions(&contract.contract_id).map_or(0, Contract::version);
                let agreed = Agreed::read(&contract.terms);
                (contract.contract_id.clone(), Agreement { version, contract: contract.clone(), agreed })
            })
            .collect();
        let mut of_holder: HashMap<&RightsHolderId, Vec<&ContractId>> = HashMap::new();
        let mut of_title: HashMap<&TitleId, Vec<&ContractId>> = HashMap::new();
        for (id, agreement) in &contracts {
            match &agreement.contract.title_ids {
                None => of_holder.entry(&agreement.contract.rights_holder_id).or_default().push(id),
                Some(titles) => titles.iter().for_each(|title| of_title.entry(title).or_default().push(id)),
            }
        }
        let titles = catalog.titles().map(|title| {
            let of_its_holder = of_holder.get(&title.rights_holder_id).into_iter().flatten();
            let named = of_title.get(&title.title_id).into_iter().flatten();
            let mut about: Vec<_> = of_its_holder.chain(named).map(|id| (*id).clone()).collect();
            about.sort();
            // A contract may name a title twice.
            about.dedup();
            let (owner, runtime_ms) = (title.rights_holder_id.clone(), title.runtime_ms);
            (title.title_id.as_str().to_owned(), OfTitle { owner, runtime_ms, contracts: about })
        });
        Self { next_offset, titles: titles.collect(), contracts }
    }

    /// The contracts in force for a title, somewhere, on a day.
    pub(super) fn in_force(&self, title: &str, territory: Territory, day: NaiveDate) -> Vec<&Agreement> {
        let about = self.titles.get(title).into_iter().flat_map(|title| &title.contracts);
        about
            .filter_map(|id| self.contracts.get(id))
            .filter(|one| one.contract.is_in_force_on(day) && one.contract.holds_in(territory))
            .collect()
    }

    /// Why none is in force; `None` where there is nothing to be outside of.
    pub(super) fn outside(&self, title: &str, day: NaiveDate) -> Option<Outside> {
        let about = &self.titles.get(title)?.contracts;
        if about.is_empty() {
            return None;
        }
        let is_then = about
            .iter()
            .filter_map(|id| self.contracts.get(id))
            .any(|agreement| agreement.contract.is_in_force_on(day));
        Some(if is_then { Outside::Territory } else { Outside::Window })
    }

    /// Those in force on some day of a period.
    pub(super) fn in_period(&self, period: &Period) -> impl Iterator<Item = &Agreement> {
        self.contracts.values().filter(|one| one.days_in(period).is_some())
    }
}

impl Agreement {
    /// From how much watched time on a play is a qualified view.
    pub(super) fn threshold_ms(&self) -> u64 {
        self.contract.view_threshold_ms.unwrap_or(VIEW_THRESHOLD_MS)
    }

    /// The first and the last day of a period on which it is in force.
    pub(super) fn days_in(&self, period: &Period) -> Option<(NaiveDate, NaiveDate)> {
        let first = self.contract.valid_from.max(period.first);
        let last = self.contract.valid_until.map_or(period.last, |until| until.min(period.last));
        (first <= last).then_some((first, last))
    }
}
