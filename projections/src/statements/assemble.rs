//! From what was used to what is due: the same way for what the read models say and for what a fold of the log says.

use std::collections::BTreeMap;

use pulsegate_domain::contract::{Agreed, Counting, OfLines, Usage, of_contract, of_line, of_title};
use rust_decimal::Decimal;

use super::agreements::{Agreement, Agreements};
use super::{About, Figures, Head, Key, OfContract, OfDue, Row, State, Statement, Trouble, canonical};
use crate::live::AsOf;

/// What was used of a title somewhere on something, under a contract or none.
#[derive(Clone, Debug, Default)]
pub(super) struct Used {
    /// Without a currency.
    pub(super) rows: BTreeMap<Key, Figures>,
    pub(super) service_watched_ms: i64,
    pub(super) as_of: Vec<AsOf>,
}

/// Makes the statement, provisional as long as nobody says otherwise.
pub(super) fn assemble(about: &About, used: Used, agreements: &Agreements) -> Statement {
    let mut work = Work { agreements, rows: Vec::new(), lines: BTreeMap::new(), troubles: Vec::new() };
    for (key, figures) in used.rows {
        work.row(key, figures);
    }
    let titles: Vec<_> = work
        .lines
        .iter()
        .flat_map(|(contract, lines)| lines.by_title.iter().map(|(title, ms)| (contract.clone(), title.clone(), *ms)))
        .collect();
    for (contract, title, watched_ms) in titles {
        work.title(&contract, &title, watched_ms);
    }
    let mut contracts = Vec::new();
    let is_asked =
        |one: &&Agreement| about.rights_holder.as_ref().is_none_or(|holder| *holder == one.contract.rights_holder_id);
    for agreement in agreements.in_period(&about.period).filter(is_asked) {
        contracts.push(work.contract(agreement, about, used.service_watched_ms));
    }
    let Work { mut rows, troubles: mut problems, .. } = work;
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    problems.sort();
    problems.dedup();
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
        contracts,
        problems,
    };
    head.sha256 = canonical::hash(&head, &rows);
    Statement { head, rows }
}

/// What the rows of a contract came to so far.
#[derive(Default)]
struct Lines {
    of: OfLines,
    by_title: BTreeMap<String, u64>,
}

struct Work<'a> {
    agreements: &'a Agreements,
    rows: Vec<Row>,
    lines: BTreeMap<String, Lines>,
    troubles: Vec<Trouble>,
}

impl Work<'_> {
    fn agreement(&self, contract: &str) -> Option<&Agreement> {
        self.agreements.contracts.get(contract)
    }

    fn trouble(&mut self, contract: &str, title: Option<&str>, detail: impl std::fmt::Display) {
        self.troubles.push(Trouble {
            contract_id: contract.to_owned(),
            title_id: title.map(str::to_owned),
            detail: detail.to_string(),
        });
    }

    /// A line and what is due for it.
    fn row(&mut self, mut key: Key, mut figures: Figures) {
        figures.runtime_ms = self.runtime_ms(&key.title_id);
        let mut amount = Decimal::ZERO;
        if let Some(Ok(agreed)) = self.agreement(&key.contract_id).map(|one| one.agreed.clone()) {
            let usage =
                Usage { views: figures.qualified_views.unsigned_abs(), watched_ms: figures.watched_ms.unsigned_abs() };
            if agreed.counting == Counting::Qualified {
                figures.views = figures.qualified_views;
            }
            if let Some(payment) = &agreed.payment {
                payment.currency.code().clone_into(&mut key.currency);
                amount = payment.currency.round(Decimal::ZERO, payment.rounding);
            }
            match of_line(&agreed, usage) {
                Ok(line) => amount = line.map_or(amount, |line| line.amount),
                Err(missing) => self.trouble(&key.contract_id, Some(&key.title_id), missing),
            }
            self.count(&key, usage, amount);
        }
        self.rows.push(Row { key, figures, amount });
    }

    fn count(&mut self, key: &Key, usage: Usage, amount: Decimal) {
        let lines = self.lines.entry(key.contract_id.clone()).or_default();
        lines.of.usage.views += usage.views;
        lines.of.usage.watched_ms += usage.watched_ms;
        lines.of.rounded += amount;
        *lines.by_title.entry(key.title_id.clone()).or_default() += usage.watched_ms;
    }

    /// Views that are counted over a whole title are a row of their own.
    fn title(&mut self, contract: &str, title: &str, watched_ms: u64) {
        let Some(agreement) = self.agreements.contracts.get(contract) else { return };
        let (Ok(agreed), runtime_ms) =
            (&agreement.agreed, self.agreements.titles.get(title).and_then(|one| one.runtime_ms))
        else {
            return;
        };
        let Counting::HoursByRuntime { round_to, rounding } = agreed.counting else { return };
        let views = Counting::views_by_runtime(round_to, rounding, watched_ms, runtime_ms.unwrap_or(0));
        let line = match of_title(agreed, watched_ms, runtime_ms) {
            Ok(line) => line,
            Err(missing) => return self.trouble(contract, Some(title), missing),
        };
        let (Some(views), Some(payment)) = (views, &agreed.payment) else { return };
        let amount = line.map_or(Decimal::ZERO, |line| line.amount);
        let lines = self.lines.entry(contract.to_owned()).or_default();
        lines.of.views_by_runtime += views;
        lines.of.rounded += amount;
        let key = Key {
            rights_holder_id: agreement.contract.rights_holder_id.to_string(),
            contract_id: contract.to_owned(),
            title_id: title.to_owned(),
            currency: payment.currency.code().to_owned(),
            ..Key::default()
        };
        let views = i64::try_from(views).unwrap_or(i64::MAX);
        let figures = Figures { views, runtime_ms: self.runtime_ms(title), ..Figures::default() };
        self.rows.push(Row { key, figures, amount });
    }

    fn runtime_ms(&self, title: &str) -> i64 {
        let runtime_ms = self.agreements.titles.get(title).and_then(|title| title.runtime_ms).unwrap_or(0);
        i64::try_from(runtime_ms).unwrap_or(i64::MAX)
    }

    fn contract(&mut self, agreement: &Agreement, about: &About, service_watched_ms: i64) -> OfContract {
        let contract = &agreement.contract;
        let id = contract.contract_id.as_str();
        let due = match (&agreement.agreed, agreement.days_in(&about.period)) {
            (Err(mistakes), _) => {
                for mistake in mistakes {
                    self.trouble(id, None, mistake);
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
        let lines = self.lines.get(contract).map(|lines| lines.of).unwrap_or_default();
        let period = (about.period.first, about.period.last);
        match of_contract(agreed, &lines, period, in_force, service_watched_ms.unsigned_abs()) {
            Ok(due) => due.as_ref().map(OfDue::from),
            Err(missing) => {
                self.trouble(contract, None, missing);
                None
            }
        }
    }
}
