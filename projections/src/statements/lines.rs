//! The rows of a statement with what is due for them, made title by title on every core.

use std::collections::BTreeMap;

use compact_str::CompactString;
use pulsegate_domain::contract::{Agreed, Counting, OfLines, Payment, Usage, of_line, of_title};
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};
use rust_decimal::Decimal;

use super::agreements::Agreements;
use super::assemble::Where;
use super::rows::Heading;
use super::{Figures, Key, Row, Trouble, canonical};

/// Rows that follow each other in a statement.
#[derive(Default)]
pub(super) struct Part {
    pub(super) rows: Vec<Row>,
    /// Their lines in what is hashed.
    pub(super) text: String,
    /// What they come to, by contract.
    pub(super) lines: BTreeMap<CompactString, OfLines>,
    pub(super) troubles: Vec<Trouble>,
}

/// Makes the rows of a statement, in their order.
pub(super) fn made(titles: BTreeMap<Heading, Vec<(Where, Figures)>>, agreements: &Agreements) -> Vec<Part> {
    let titles: Vec<_> = titles.into_iter().collect();
    titles
        .into_par_iter()
        .fold(Part::default, |mut part, (heading, used)| {
            part.take_up(&heading, used, agreements);
            part
        })
        .collect()
}

/// Puts what was used of a title in the order of its rows, each place once.
fn in_order(mut used: Vec<(Where, Figures)>) -> Vec<(Where, Figures)> {
    used.sort_by(|((a, on_a), _), ((b, on_b), _)| (a.as_str(), on_a.as_str()).cmp(&(b.as_str(), on_b.as_str())));
    used.dedup_by(|(next, figures), (kept, sum)| {
        let is_same = next == kept;
        if is_same {
            sum.add(figures);
        }
        is_same
    });
    used
}

impl Part {
    /// Takes up the rows of a title under one contract or none.
    fn take_up(&mut self, heading: &Heading, used: Vec<(Where, Figures)>, agreements: &Agreements) {
        let length_ms = agreements.titles.get(heading.title.as_str()).and_then(|title| title.runtime_ms);
        let runtime_ms = i64::try_from(length_ms.unwrap_or(0)).unwrap_or(i64::MAX);
        let used = in_order(used);
        let agreed = agreements.contracts.get(heading.contract.as_str()).and_then(|one| one.agreed.as_ref().ok());
        let Some(agreed) = agreed else {
            for (place, figures) in used {
                let key = key(heading, Some(place), &CompactString::default());
                self.push(Row { key, figures: Figures { runtime_ms, ..figures }, amount: Decimal::ZERO });
            }
            return;
        };
        let mut lines = OfLines::default();
        let money = agreed.payment.as_ref();
        if let (Counting::HoursByRuntime { .. }, Some(payment)) = (agreed.counting, money) {
            let watched_ms = used.iter().map(|(_, figures)| figures.watched_ms.unsigned_abs()).sum();
            self.whole_title(heading, (agreed, payment), (watched_ms, length_ms), &mut lines);
        }
        let currency = money.map_or(CompactString::default(), |payment| payment.currency.code().into());
        for (place, figures) in used {
            let mut figures = Figures { runtime_ms, ..figures };
            let usage =
                Usage { views: figures.qualified_views.unsigned_abs(), watched_ms: figures.watched_ms.unsigned_abs() };
            if agreed.counting == Counting::Qualified {
                figures.views = figures.qualified_views;
            }
            let mut amount = money.map_or(Decimal::ZERO, nothing_due);
            match of_line(agreed, usage) {
                Ok(line) => amount = line.map_or(amount, |line| line.amount),
                Err(missing) => self.trouble(heading, missing),
            }
            lines.usage.views += usage.views;
            lines.usage.watched_ms += usage.watched_ms;
            lines.rounded += amount;
            self.push(Row { key: key(heading, Some(place), &currency), figures, amount });
        }
        *self.lines.entry(heading.contract.clone()).or_default() += lines;
    }

    /// Views that are counted over a whole title are a row of their own, before the others.
    fn whole_title(
        &mut self,
        heading: &Heading,
        (agreed, payment): (&Agreed, &Payment),
        (watched_ms, runtime_ms): (u64, Option<u64>),
        lines: &mut OfLines,
    ) {
        let Counting::HoursByRuntime { round_to, rounding } = agreed.counting else { return };
        let line = match of_title(agreed, watched_ms, runtime_ms) {
            Ok(line) => line,
            Err(missing) => return self.trouble(heading, missing),
        };
        let views = Counting::views_by_runtime(round_to, rounding, watched_ms, runtime_ms.unwrap_or(0));
        let Some(views) = views else { return };
        let amount = line.map_or(Decimal::ZERO, |line| line.amount);
        lines.views_by_runtime += views;
        lines.rounded += amount;
        let figures = Figures {
            views: i64::try_from(views).unwrap_or(i64::MAX),
            runtime_ms: i64::try_from(runtime_ms.unwrap_or(0)).unwrap_or(i64::MAX),
            ..Figures::default()
        };
        self.push(Row { key: key(heading, None, &payment.currency.code().into()), figures, amount });
    }

    fn push(&mut self, row: Row) {
        canonical::line(&row, &mut self.text);
        self.rows.push(row);
    }

    fn trouble(&mut self, heading: &Heading, detail: impl std::fmt::Display) {
        self.troubles.push(Trouble {
            contract_id: heading.contract.to_string(),
            title_id: Some(heading.title.to_string()),
            detail: detail.to_string(),
        });
    }
}

fn key(heading: &Heading, place: Option<Where>, currency: &CompactString) -> Key {
    let Heading { holder, contract, title } = heading.clone();
    let (territory, device_class) =
        place.as_ref().map_or(("", ""), |(territory, on)| (territory.as_str(), on.as_str()));
    Key {
        rights_holder_id: holder,
        contract_id: contract,
        title_id: title,
        territory: territory.into(),
        device_class: device_class.into(),
        currency: currency.clone(),
    }
}

/// As it is written where nothing is due: in the currency's smallest unit.
fn nothing_due(payment: &Payment) -> Decimal {
    payment.currency.round(Decimal::ZERO, payment.rounding)
}
