//! What was agreed on for titles, as one statement takes it: contracts come from the catalog, as of one offset of it.

use std::collections::HashMap;

use chrono::NaiveDate;
use pulsegate_domain::catalog::Catalog;
use pulsegate_domain::event::ContractRegistered;
use pulsegate_domain::ids::{RightsHolderId, Territory, TitleId};
use pulsegate_domain::watch_time::VIEW_THRESHOLD_MS;

use crate::period::Period;

/// The contracts of some titles in a period, and who owns the titles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The offset behind the last record of the catalog that they rest on.
    pub(super) next_offset: i64,
    /// One a title that is in the catalog, with its owner.
    pub(super) owned: Owned,
    /// One a title and contract.
    pub(super) agreed: Agreed,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) titles: Vec<String>,
    pub(super) rights_holders: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Agreed {
    pub(super) titles: Vec<String>,
    pub(super) contracts: Vec<String>,
    pub(super) rights_holders: Vec<String>,
    pub(super) from: Vec<NaiveDate>,
    pub(super) until: Vec<NaiveDate>,
    pub(super) thresholds_ms: Vec<i64>,
    /// Each the text of a `text[]`, since lists of lists of different lengths can't be unnested; `None`: everywhere.
    pub(super) territories: Vec<Option<String>>,
}

impl Terms {
    /// What `catalog`, as of `next_offset`, says of `titles`.
    ///
    /// A contract that names titles is about these, whoever they are registered as owned by; one that names none is
    /// about all of its rights holder's. Of a title that isn't registered nothing is known.
    #[must_use]
    pub fn of(catalog: &Catalog, next_offset: i64, titles: &[String], period: &Period) -> Self {
        let mut of_holder: HashMap<&RightsHolderId, Vec<&ContractRegistered>> = HashMap::new();
        let mut of_title: HashMap<&TitleId, Vec<&ContractRegistered>> = HashMap::new();
        let in_period = |contract: &&ContractRegistered| {
            contract.valid_from <= period.last && contract.valid_until.is_none_or(|until| until >= period.first)
        };
        for contract in catalog.contracts().filter(in_period) {
            match &contract.title_ids {
                None => of_holder.entry(&contract.rights_holder_id).or_default().push(contract),
                Some(named) => named.iter().for_each(|title| of_title.entry(title).or_default().push(contract)),
            }
        }
        let mut terms = Self { next_offset, ..Self::default() };
        let registered = titles.iter().filter_map(|title| catalog.title(&title.parse().ok()?));
        for title in registered {
            terms.owned.titles.push(title.title_id.as_str().to_owned());
            terms.owned.rights_holders.push(title.rights_holder_id.as_str().to_owned());
            let of_its_holder = of_holder.get(&title.rights_holder_id).into_iter().flatten();
            let mut agreed: Vec<_> = of_its_holder.chain(of_title.get(&title.title_id).into_iter().flatten()).collect();
            agreed.sort_by(|a, b| a.contract_id.cmp(&b.contract_id));
            // A contract may name a title twice.
            agreed.dedup_by(|a, b| a.contract_id == b.contract_id);
            for contract in agreed {
                terms.agreed.push(&title.title_id, contract, period);
            }
        }
        terms
    }
}

impl Agreed {
    fn push(&mut self, title: &TitleId, contract: &ContractRegistered, period: &Period) {
        self.titles.push(title.as_str().to_owned());
        self.contracts.push(contract.contract_id.as_str().to_owned());
        self.rights_holders.push(contract.rights_holder_id.as_str().to_owned());
        // Within the period, whose days any calendar holds.
        self.from.push(contract.valid_from.max(period.first));
        self.until.push(contract.valid_until.map_or(period.last, |until| until.min(period.last)));
        let threshold_ms = contract.view_threshold_ms.unwrap_or(VIEW_THRESHOLD_MS);
        self.thresholds_ms.push(i64::try_from(threshold_ms).unwrap_or(i64::MAX));
        self.territories.push(contract.territories.as_ref().map(|territories| {
            // Two upper-case letters each, so that nothing has to be quoted.
            let names: Vec<_> = territories.iter().map(Territory::as_str).collect();
            format!("{{{}}}", names.join(","))
        }));
    }
}
