//! Does a statement say what the log says, and does its own arithmetic come out?

use std::collections::{BTreeMap, HashMap};

use pulsegate_domain::contract::Agreed;
use pulsegate_domain::event::ContractRegistered;
use pulsegate_domain::ids::{ContractId, RightsHolderId};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

use super::agreements::{Agreement, Agreements, OfTitle};
use super::assemble::{Used, assemble};
use super::rows::{Heading, Written};
use super::{About, FIGURES, Figures, Head, Key, OfDue, Row, Statement, StatementError, canonical, stored};

/// Most differences that a verdict tells one by one.
const TOLD_MAX: usize = 1_000;

/// One thing that a statement says and that is not so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Of which contract; empty: none.
    pub contract_id: String,
    /// Of which title; empty: of the contract as a whole, or of the statement.
    pub title_id: String,
    /// Where.
    pub territory: String,
    /// On what.
    pub device_class: String,
    /// What.
    pub figure: String,
    /// As the statement has it.
    pub said: String,
    /// As it is.
    pub found: String,
}

/// What came of checking a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Nothing differs.
    pub same: bool,
    /// How many rows were compared.
    pub rows: usize,
    /// What differs: the first 1 000.
    pub differences: Vec<Difference>,
}

impl Verdict {
    fn of(rows: usize, mut differences: Vec<Difference>) -> Self {
        differences.truncate(TOLD_MAX);
        Self { same: differences.is_empty(), rows, differences }
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let rows = self.rows.max(other.rows);
        Self::of(rows, self.differences.into_iter().chain(other.differences).collect())
    }
}

/// A closed statement as it is kept, and whether what is kept is what was hashed.
pub async fn verify(
    pool: &PgPool,
    about: &About,
    revision: Option<u32>,
) -> Result<Option<(Statement, Verdict)>, StatementError> {
    let Some((head, rows)) = stored::find(pool, about, revision).await? else { return Ok(None) };
    let statement = Statement { head, rows: rows.all().await? };
    let verdict = Verdict::of(statement.rows.len(), of_hash(&statement).into_iter().collect());
    Ok(Some((statement, verdict)))
}

/// A statement out of a file of JSON.
#[derive(Deserialize)]
struct File {
    statement: Head,
    rows: Vec<Written>,
}

/// Reads a statement that was exported as JSON, and checks what can be checked without the log: the hash over figures and
/// offsets, and every amount from figures and contracts.
pub fn verify_file(text: &str) -> Result<(About, Statement, Verdict), String> {
    let File { statement: head, rows } =
        serde_json::from_str(text).map_err(|error| format!("it is no statement as JSON: {error}"))?;
    let rows = rows.into_iter().map(Row::try_from).collect::<Result<Vec<_>, _>>()?;
    let about = About {
        period: head.period.parse().map_err(|error| format!("its period {error}"))?,
        rights_holder: head
            .rights_holder_id
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(|error| format!("its rights holder {error}"))?,
    };
    let statement = Statement { head, rows };
    let again = assemble_again(&about, &statement)?;
    let mut differences: Vec<_> = of_hash(&statement).into_iter().collect();
    differences.extend(differences_of(&statement, &again));
    let verdict = Verdict::of(statement.rows.len(), differences);
    Ok((about, statement, verdict))
}

/// Compares a statement with another of the same period and offsets.
#[must_use]
pub fn compare(said: &Statement, found: &Statement) -> Verdict {
    Verdict::of(said.rows.len(), differences_of(said, found))
}

fn of_hash(statement: &Statement) -> Option<Difference> {
    let found = canonical::hash(&statement.head, &statement.rows);
    let said = statement.head.sha256.clone();
    (said != found).then(|| of_statement("sha256", said, found))
}

fn of_statement(figure: &str, said: String, found: String) -> Difference {
    Difference {
        contract_id: String::new(),
        title_id: String::new(),
        territory: String::new(),
        device_class: String::new(),
        figure: figure.to_owned(),
        said,
        found,
    }
}

/// The money once more, from the figures and the contracts that the statement names.
fn assemble_again(about: &About, statement: &Statement) -> Result<Statement, String> {
    let mut agreements = Agreements::default();
    for one in &statement.head.contracts {
        let contract: ContractRegistered = serde_json::from_str(one.contract.get())
            .map_err(|error| format!("contract {} can't be read: {error}", one.contract_id))?;
        let agreed = Agreed::read(&contract.terms);
        agreements.contracts.insert(contract.contract_id.clone(), Agreement { version: one.version, contract, agreed });
    }
    let mut used = Used::of(statement.head.service_watched_ms, statement.head.as_of.clone());
    let mut titles: HashMap<String, OfTitle> = HashMap::new();
    for row in &statement.rows {
        if let Ok(owner) = row.key.rights_holder_id.parse::<RightsHolderId>() {
            let runtime_ms = u64::try_from(row.figures.runtime_ms).ok().filter(|runtime_ms| *runtime_ms > 0);
            let contracts = Vec::<ContractId>::new();
            titles.entry(row.key.title_id.to_string()).or_insert(OfTitle { owner, runtime_ms, contracts });
        }
        // A whole title's row is made again from the others.
        if !row.key.territory.is_empty() {
            let Key { rights_holder_id, contract_id, title_id, territory, device_class, .. } = row.key.clone();
            let place = (
                territory.parse().map_err(|error| format!("the territory {territory:?} {error}"))?,
                device_class.parse().map_err(|error| format!("the class of device {device_class:?} {error}"))?,
            );
            let heading = Heading { holder: rights_holder_id, contract: contract_id, title: title_id };
            used.add(heading, place, Figures { views: 0, runtime_ms: 0, ..row.figures });
        }
    }
    agreements.titles = titles;
    Ok(assemble(about, used, &agreements))
}

fn differences_of(said: &Statement, found: &Statement) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut note = |key: &Key, figure: &str, said: String, found: String| {
        if said != found && differences.len() < TOLD_MAX {
            differences.push(Difference {
                contract_id: key.contract_id.to_string(),
                title_id: key.title_id.to_string(),
                territory: key.territory.to_string(),
                device_class: key.device_class.to_string(),
                figure: figure.to_owned(),
                said,
                found,
            });
        }
    };
    let by_key = |statement: &Statement| -> BTreeMap<Key, Row> {
        statement.rows.iter().map(|row| (row.key.clone(), row.clone())).collect()
    };
    let (of_said, of_found) = (by_key(said), by_key(found));
    let keys = of_said.keys().chain(of_found.keys().filter(|key| !of_said.contains_key(key)));
    for key in keys {
        match (of_said.get(key), of_found.get(key)) {
            (Some(said), Some(found)) => {
                for (name, (said, found)) in
                    FIGURES.into_iter().zip(said.figures.array().into_iter().zip(found.figures.array()))
                {
                    note(key, name, said.to_string(), found.to_string());
                }
                note(key, "amount", said.amount.to_string(), found.amount.to_string());
            }
            (said, found) => {
                let word = |row: Option<&Row>| if row.is_some() { "a row" } else { "no row" };
                note(key, "row", word(said).to_owned(), word(found).to_owned());
            }
        }
    }
    if of_said.len() != said.rows.len() {
        note(&Key::default(), "rows", said.rows.len().to_string(), of_said.len().to_string());
    }
    let service = |statement: &Statement| statement.head.service_watched_ms.to_string();
    note(&Key::default(), "service_watched_ms", service(said), service(found));
    let due = |statement: &Statement| -> BTreeMap<String, (u32, String, Option<OfDue>)> {
        let contracts = statement.head.contracts.iter();
        contracts
            .map(|one| (one.contract_id.clone(), (one.version, one.contract.get().to_owned(), one.due.clone())))
            .collect()
    };
    let (of_said, of_found) = (due(said), due(found));
    let contracts = of_said.keys().chain(of_found.keys().filter(|id| !of_said.contains_key(*id)));
    for id in contracts {
        let key = Key { contract_id: id.as_str().into(), ..Key::default() };
        let (said, found) = (of_said.get(id), of_found.get(id));
        note(&key, "contract", told(said), told(found));
        let due = |one: Option<&(u32, String, Option<OfDue>)>| one.and_then(|(.., due)| due.clone());
        let (said, found) = (due(said), due(found));
        for (name, part) in PARTS {
            let of = |due: &Option<OfDue>| due.as_ref().map_or_else(|| "none".to_owned(), part);
            note(&key, name, of(&said), of(&found));
        }
    }
    differences
}

/// A contract in a word: its version and its words.
fn told(contract: Option<&(u32, String, Option<OfDue>)>) -> String {
    contract.map_or_else(|| "none".to_owned(), |(version, words, _)| format!("version {version}: {words}"))
}

/// A part of what is due, by its name.
type Part = (&'static str, fn(&OfDue) -> String);

/// What is due under a contract, part by part.
const PARTS: [Part; 5] = [
    ("currency", |due| due.currency.clone()),
    ("sum_of_rounded", |due| due.sum_of_rounded.clone()),
    ("rounded_sum", |due| due.rounded_sum.clone()),
    ("amount", |due| due.amount.clone()),
    ("working", |due| due.working.to_string()),
];
