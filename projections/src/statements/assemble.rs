//! From what was used to what is due: the same way for what the read models say and for what a fold of the log says.

use std::collections::BTreeMap;

use compact_str::CompactString;
use pulsegate_domain::contract::{Agreed, OfLines, of_contract};
use pulsegate_domain::ids::{DeviceClass, Territory};

use super::agreements::{Agreement, Agreements};
use super::canonical::Hasher;
use super::lines::{self, Part};
use super::rows::Heading;
use super::{About, Figures, Head, OfContract, OfDue, Row, State, Statement, Trouble};
use crate::live::AsOf;

/// What was used somewhere on something.
pub(super) type Where = (Territory, DeviceClass);

/// What was used of each title, under a contract or none.
#[derive(Clone, Debug, Default)]
pub(super) struct Used {
    /// In no order; what stands here of one place adds up.
    titles: BTreeMap<Heading, Vec<(Where, Figures)>>,
    rows: usize,
    pub(super) service_watched_ms: i64,
    pub(super) as_of: Vec<AsOf>,
}

impl Used {
    /// Nothing yet, of what the whole service watched, as of these offsets.
    pub(super) const fn of(service_watched_ms: i64, as_of: Vec<AsOf>) -> Self {
        Self { titles: BTreeMap::new(), rows: 0, service_watched_ms, as_of }
    }

    /// Takes up what was used somewhere.
    pub(super) fn add(&mut self, heading: Heading, place: Where, figures: Figures) {
        self.extend(heading, [(place, figures)]);
    }

    /// Takes up what was used of a title.
    pub(super) fn extend(&mut self, heading: Heading, used: impl IntoIterator<Item = (Where, Figures)>) {
        let mut used = used.into_iter().peekable();
        // A title that nobody used has no rows.
        if used.peek().is_some() {
            let of_title = self.titles.entry(heading).or_default();
            let before = of_title.len();
            of_title.extend(used);
            self.rows += of_title.len() - before;
        }
    }

    /// No fewer than the rows that it makes.
    pub(super) const fn rows(&self) -> usize {
        self.rows
    }
}

/// Makes the statement, provisional as long as nobody says otherwise. Takes a while, on every core.
pub(super) fn assemble(about: &About, mut used: Used, agreements: &Agreements) -> Statement {
    let mut parts = lines::made(std::mem::take(&mut used.titles), agreements);
    let texts: Vec<_> = parts.iter_mut().map(|part| std::mem::take(&mut part.text)).collect();
    let mut head = Head {
        period: about.period.to_string(),
        rights_holder_id: about.rights_holder.as_ref().map(ToString::to_string),
        revision: 0,
        state: State::Provisional,
        closed_at: None,
        sha256: String::new(),
        previous_sha256: None,
        as_of: used.as_of,
        service_watched_ms: used.service_watched_ms,
        contracts: Vec::new(),
        problems: Vec::new(),
    };
    // The longer the statement, the longer both take.
    let (hasher, (rows, contracts, problems)) =
        rayon::join(|| Hasher::of_texts(&head, &texts), || gathered(parts, about, agreements, head.service_watched_ms));
    (head.contracts, head.problems) = (contracts, problems);
    head.sha256 = hasher.end(&head);
    Statement { head, rows }
}

/// The rows of all parts, and what they come to by contract.
fn gathered(
    parts: Vec<Part>,
    about: &About,
    agreements: &Agreements,
    service_watched_ms: i64,
) -> (Vec<Row>, Vec<OfContract>, Vec<Trouble>) {
    let mut work = Work { lines: BTreeMap::new(), troubles: Vec::new() };
    let mut rows = Vec::with_capacity(parts.iter().map(|part| part.rows.len()).sum());
    for Part { rows: of_part, lines, troubles, .. } in parts {
        rows.extend(of_part);
        for (contract, of_part) in lines {
            *work.lines.entry(contract).or_default() += of_part;
        }
        work.troubles.extend(troubles);
    }
    let mut contracts = Vec::new();
    let is_asked =
        |one: &&Agreement| about.rights_holder.as_ref().is_none_or(|holder| *holder == one.contract.rights_holder_id);
    for agreement in agreements.in_period(&about.period).filter(is_asked) {
        contracts.push(work.contract(agreement, about, service_watched_ms));
    }
    let mut problems = work.troubles;
    problems.sort();
    problems.dedup();
    (rows, contracts, problems)
}

/// What is due under each contract, for lines that are counted.
struct Work {
    lines: BTreeMap<CompactString, OfLines>,
    troubles: Vec<Trouble>,
}

impl Work {
    fn trouble(&mut self, contract: &str, detail: impl std::fmt::Display) {
        self.troubles.push(Trouble { contract_id: contract.to_owned(), title_id: None, detail: detail.to_string() });
    }

    fn contract(&mut self, agreement: &Agreement, about: &About, service_watched_ms: i64) -> OfContract {
        let contract = &agreement.contract;
        let id = contract.contract_id.as_str();
        let due = match (&agreement.agreed, agreement.days_in(&about.period)) {
            (Err(mistakes), _) => {
                for mistake in mistakes {
                    self.trouble(id, mistake);
                }
                None
            }
            (Ok(agreed), Some(in_force)) => self.due(agreed, id, about, in_force, service_watched_ms),
            (Ok(_), None) => None,
        };
        OfContract {
            contract_id: id.to_owned(),
            rights_holder_id: contract.rights_holder_id.to_string(),
            version: agreement.version,
            // A contract that was read from JSON is JSON.
            contract: serde_json::value::to_raw_value(contract).unwrap_or_default(),
            due,
        }
    }

    fn due(
        &mut self,
        agreed: &Agreed,
        contract: &str,
        about: &About,
        in_force: (chrono::NaiveDate, chrono::NaiveDate),
        service_watched_ms: i64,
    ) -> Option<OfDue> {
        let lines = self.lines.get(contract).copied().unwrap_or_default();
        let period = (about.period.first, about.period.last);
        match of_contract(agreed, &lines, period, in_force, service_watched_ms.unsigned_abs()) {
            Ok(due) => due.as_ref().map(OfDue::from),
            Err(missing) => {
                self.trouble(contract, missing);
                None
            }
        }
    }
}
