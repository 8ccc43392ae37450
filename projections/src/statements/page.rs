//! A part of a statement for somebody who looks at it: the rows that were chosen, the largest first, and their sums.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use compact_str::CompactString;
use pulsegate_domain::ids::{ContractId, DeviceClass, Territory, TitleId};
use rust_decimal::Decimal;
use serde::Serialize;

use super::{Figures, Head, Key, Row, Rows, StatementError};

/// Which rows of a statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Under this contract.
    pub contract_id: Option<ContractId>,
    /// Of this title.
    pub title_id: Option<TitleId>,
    /// In this territory.
    pub territory: Option<Territory>,
    /// On such devices.
    pub device_class: Option<DeviceClass>,
}

impl Selection {
    fn holds(&self, key: &Key) -> bool {
        let is = |wanted: Option<&str>, value: &str| wanted.is_none_or(|wanted| wanted == value);
        is(self.contract_id.as_ref().map(ContractId::as_str), &key.contract_id)
            && is(self.title_id.as_ref().map(TitleId::as_str), &key.title_id)
            && is(self.territory.as_ref().map(Territory::as_str), &key.territory)
            && is(self.device_class.map(DeviceClass::as_str), &key.device_class)
    }
}

/// Which rows come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Largest {
    /// Those for which the most is due; by currency.
    #[default]
    Amount,
    /// Those that were watched longest.
    Watched,
    /// Those with the most plays.
    Plays,
}

impl FromStr for Largest {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "amount" => Ok(Self::Amount),
            "watched_ms" => Ok(Self::Watched),
            "plays" => Ok(Self::Plays),
            _ => Err("must be one of amount, watched_ms, plays"),
        }
    }
}

/// A part of a statement.
#[derive(Clone, Debug, Serialize)]
pub struct StatementPage {
    /// The statement, all but its rows.
    pub statement: Head,
    /// The largest of the chosen rows.
    pub rows: Vec<Row>,
    /// How many were chosen.
    pub rows_in_all: usize,
    /// Sums over all that were chosen. What can't be summed, such as accounts, isn't here.
    pub totals: RowTotals,
    /// What is due under all contracts of the statement, guarantees and shares with it, a currency an entry.
    pub due: BTreeMap<String, String>,
    /// Where anything of the statement was watched, chosen or not.
    pub territories: BTreeSet<String>,
}

/// Sums over rows: what two contracts are in force for counts under each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RowTotals {
    /// Sessions that began to play.
    pub plays: i64,
    /// Sessions whose watched time reached the contract's threshold.
    pub qualified_views: i64,
    /// Views as the contracts count them.
    pub views: i64,
    /// Watched time.
    pub watched_ms: i64,
    /// The part of it that arrived late.
    pub aged_ms: i64,
    /// Content that its session had not seen before.
    pub content_ms: i64,
    /// Sessions that were told no.
    pub blocked_attempts: i64,
    /// Watched while no contract of the title was in force.
    pub outside_window_ms: i64,
    /// Watched where no contract of the title that was in force holds.
    pub outside_territory_ms: i64,
    /// What is due for the rows themselves, each rounded, a currency an entry; what belongs to no row stands with its
    /// contract.
    pub amounts: BTreeMap<String, String>,
}

/// Picks a part, while the rows pass by.
pub async fn page(
    head: Head,
    mut rows: Rows,
    selection: &Selection,
    largest: Largest,
    limit: usize,
) -> Result<StatementPage, StatementError> {
    let mut page = StatementPage {
        due: due(&head)?,
        statement: head,
        rows: Vec::new(),
        rows_in_all: 0,
        totals: RowTotals::default(),
        territories: BTreeSet::new(),
    };
    let mut amounts: BTreeMap<CompactString, Decimal> = BTreeMap::new();
    while let Some(next) = rows.next().await {
        for row in next? {
            if !row.key.territory.is_empty() && !page.territories.contains(row.key.territory.as_str()) {
                page.territories.insert(row.key.territory.to_string());
            }
            if !selection.holds(&row.key) {
                continue;
            }
            page.rows_in_all += 1;
            page.totals.add(&row.figures);
            if !row.key.currency.is_empty() {
                *amounts.entry(row.key.currency.clone()).or_default() += row.amount;
            }
            page.rows.push(row);
        }
        keep(&mut page.rows, largest, limit);
    }
    page.totals.amounts = amounts.into_iter().map(|(currency, amount)| (currency.into(), amount.to_string())).collect();
    Ok(page)
}

fn due(head: &Head) -> Result<BTreeMap<String, String>, StatementError> {
    let mut sums: BTreeMap<&str, Decimal> = BTreeMap::new();
    for due in head.contracts.iter().filter_map(|contract| contract.due.as_ref()) {
        let amount = due.amount.parse::<Decimal>();
        *sums.entry(&due.currency).or_default() +=
            amount.map_err(|_| StatementError::Kept(format!("no amount is {}", due.amount)))?;
    }
    Ok(sums.into_iter().map(|(currency, amount)| (currency.to_owned(), amount.to_string())).collect())
}

/// Keeps the largest; in a restatement what fell by as much is as large as what rose.
fn keep(rows: &mut Vec<Row>, largest: Largest, limit: usize) {
    rows.sort_by(|a, b| {
        let by =
            match largest {
                Largest::Amount => a.key.currency.is_empty().cmp(&b.key.currency.is_empty()).then_with(|| {
                    a.key.currency.cmp(&b.key.currency).then_with(|| b.amount.abs().cmp(&a.amount.abs()))
                }),
                Largest::Watched => b.figures.watched_ms.abs().cmp(&a.figures.watched_ms.abs()),
                Largest::Plays => b.figures.plays.abs().cmp(&a.figures.plays.abs()),
            };
        by.then_with(|| a.key.cmp(&b.key))
    });
    rows.truncate(limit);
}

impl RowTotals {
    fn add(&mut self, figures: &Figures) {
        self.plays += figures.plays;
        self.qualified_views += figures.qualified_views;
        self.views += figures.views;
        self.watched_ms += figures.watched_ms;
        self.aged_ms += figures.aged_ms;
        self.content_ms += figures.content_ms;
        self.blocked_attempts += figures.blocked_attempts;
        self.outside_window_ms += figures.outside_window_ms;
        self.outside_territory_ms += figures.outside_territory_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(title: &str, territory: &str, plays: i64, amount: &str) -> Row {
        let currency = if amount.is_empty() { CompactString::default() } else { "EUR".into() };
        let key = Key {
            title_id: title.into(),
            territory: territory.into(),
            device_class: "tv".into(),
            currency,
            ..Key::default()
        };
        let amount = if amount.is_empty() { Decimal::ZERO } else { amount.parse().unwrap() };
        Row { key, figures: Figures { plays, watched_ms: plays * 10, ..Figures::default() }, amount }
    }

    fn head() -> Head {
        serde_json::from_value(serde_json::json!({
            "period": "2026-10", "rights_holder_id": null, "revision": 0, "state": "provisional", "closed_at": null,
            "sha256": "", "previous_sha256": null, "as_of": [], "service_watched_ms": 0, "contracts": [], "problems": []
        }))
        .unwrap()
    }

    async fn picked(selection: Selection, largest: Largest, limit: usize) -> StatementPage {
        let rows = vec![
            row("a", "DE", 9, ""),
            row("b", "DE", 2, "0.08"),
            row("c", "AT", 5, "0.20"),
            row("d", "FR", 1, "-0.90"),
        ];
        page(head(), Rows::of(rows), &selection, largest, limit).await.unwrap()
    }

    fn titles(page: &StatementPage) -> Vec<&str> {
        page.rows.iter().map(|row| row.key.title_id.as_str()).collect()
    }

    #[tokio::test]
    async fn the_largest_rows_are_shown_and_all_are_summed() {
        let page = picked(Selection::default(), Largest::Amount, 3).await;
        assert_eq!((titles(&page), page.rows_in_all), (vec!["d", "c", "b"], 4));
        assert_eq!((page.totals.plays, page.totals.watched_ms), (17, 170));
        assert_eq!(page.totals.amounts, BTreeMap::from([("EUR".to_owned(), "-0.62".to_owned())]));
        assert_eq!(titles(&picked(Selection::default(), Largest::Plays, 1).await), ["a"]);
    }

    #[tokio::test]
    async fn what_was_not_chosen_is_not_summed_but_its_territory_can_be_chosen() {
        let selection = Selection { territory: Some("DE".parse().unwrap()), ..Selection::default() };
        let page = picked(selection, Largest::Watched, 9).await;
        assert_eq!((titles(&page), page.totals.plays), (vec!["a", "b"], 11));
        assert_eq!(page.territories.iter().map(String::as_str).collect::<Vec<_>>(), ["AT", "DE", "FR"]);
        let on_phones = Selection { device_class: Some("mobile".parse().unwrap()), ..Selection::default() };
        assert_eq!(picked(on_phones, Largest::Watched, 9).await.rows_in_all, 0);
    }
}
