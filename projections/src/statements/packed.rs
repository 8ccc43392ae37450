//! What was watched in a period, under each contract: counted over packed facts, title by title.
//!
//! SQL over the facts themselves says the same ([`watched`](super::watched)), and is asked where there are no packs.

use pulsegate_domain::watch_time::VIEW_THRESHOLD_MS;
use sqlx::PgTransaction;

use super::agreements::{Agreement, Agreements};
use super::assemble::Used;
use super::rows::Heading;
use super::{About, Figures, ROWS_MAX, StatementError};
use crate::licensing::packs::{Counted, Day, Facts, Packs, Place, Tally, day_number};

/// Adds what was watched to what a statement is made from; `false` if packs can't say it.
pub(super) async fn watched(
    about: &About,
    agreements: &Agreements,
    used: &mut Used,
    tx: &mut PgTransaction<'_>,
) -> Result<bool, StatementError> {
    let Some(mut packs) = Packs::open(about.period.days(), asked_titles(about, agreements), tx).await? else {
        return Ok(false);
    };
    let mut counting = Counting { about, agreements, used, tally: Tally::default() };
    packs.sums(tx, |title, sums| counting.take_sums(title, sums)).await?;
    counting.used.service_watched_ms = packs.watched_ms(tx).await?;
    packs.each(tx, |title, facts| counting.take_facts(title, facts)).await?;
    Ok(true)
}

/// The titles that a rights holder may be owed for; all where everybody is asked about.
fn asked_titles(about: &About, agreements: &Agreements) -> Option<Vec<String>> {
    let holder = about.rights_holder.as_ref()?;
    let is_asked = |id| agreements.contracts.get(id).is_some_and(|one| one.contract.rights_holder_id == *holder);
    let titles = agreements.titles.iter();
    let asked = titles.filter(|(_, title)| title.owner == *holder || title.contracts.iter().any(is_asked));
    Some(asked.map(|(title, _)| title.clone()).collect())
}

/// A contract as one title and period take it.
struct InForce<'a> {
    agreement: &'a Agreement,
    days: (Day, Day),
    threshold_ms: i64,
    is_asked: bool,
}

impl InForce<'_> {
    fn is_on(&self, day: Day) -> bool {
        (self.days.0..=self.days.1).contains(&day)
    }
}

/// What is agreed on for a title in the period.
struct Terms<'a> {
    owner: &'a str,
    /// Whether it is asked for where no contract is in force.
    is_asked: bool,
    has_contracts: bool,
    /// Those in force on some day of the period.
    in_force: Vec<InForce<'a>>,
}

struct Counting<'a> {
    about: &'a About,
    agreements: &'a Agreements,
    used: &'a mut Used,
    tally: Tally,
}

impl<'a> Counting<'a> {
    fn terms(&self, title: &str) -> Terms<'a> {
        let (about, agreements) = (self.about, self.agreements);
        let is_asked = |holder: &str| about.holder().is_empty() || about.holder() == holder;
        let known = agreements.titles.get(title);
        let owner = known.map_or("", |title| title.owner.as_str());
        let about_it = known.into_iter().flat_map(|title| &title.contracts);
        let in_force = about_it.filter_map(|id| agreements.contracts.get(id)).filter_map(|agreement| {
            let (from, until) = agreement.days_in(&about.period)?;
            let threshold_ms = i64::try_from(agreement.threshold_ms()).unwrap_or(i64::MAX).max(1);
            let is_asked = is_asked(agreement.contract.rights_holder_id.as_str());
            Some(InForce { agreement, days: (day_number(from), day_number(until)), threshold_ms, is_asked })
        });
        Terms {
            owner,
            is_asked: is_asked(owner),
            has_contracts: known.is_some_and(|title| !title.contracts.is_empty()),
            in_force: in_force.collect(),
        }
    }

    /// Takes the figures of a whole period, if these are the figures under each contract: if each is in force on every day
    /// of it, and counts views from the same threshold on.
    fn take_sums(&mut self, title: &str, sums: &[(Place, Counted)]) -> bool {
        let terms = self.terms(title);
        let period = (day_number(self.about.period.first), day_number(self.about.period.last));
        let is_plain = |one: &InForce<'_>| one.days == period && one.threshold_ms == VIEW_THRESHOLD_MS.cast_signed();
        // Rows that don't fit are refused where rows are counted.
        if self.used.rows() >= ROWS_MAX || !terms.in_force.iter().all(is_plain) {
            return false;
        }
        let holds = |one: &InForce<'_>, place: Place| one.agreement.contract.holds_in(place.territory());
        for one in terms.in_force.iter().filter(|one| one.is_asked) {
            let held = sums.iter().filter(|(place, _)| holds(one, *place));
            let used = held.map(|(place, counted)| (place.pair(), figures(*counted, (0, 0))));
            self.used.extend(heading(&terms, Some(one.agreement), title), used);
        }
        if terms.is_asked {
            let uncovered = sums.iter().filter(|(place, _)| !terms.in_force.iter().any(|one| holds(one, *place)));
            let used = uncovered.map(|(place, counted)| {
                let outside_ms = match (terms.in_force.is_empty(), terms.has_contracts) {
                    (false, _) => (0, counted.watched_ms),
                    (true, true) => (counted.watched_ms, 0),
                    (true, false) => (0, 0),
                };
                (place.pair(), figures(*counted, outside_ms))
            });
            self.used.extend(heading(&terms, None, title), used);
        }
        true
    }

    /// Takes facts, one by one.
    fn take_facts(&mut self, title: &str, facts: &mut Facts) -> Result<(), StatementError> {
        let terms = self.terms(title);
        facts.facts.sort_unstable_by_key(|fact| fact.place);
        for of_place in facts.facts.chunk_by(|a, b| a.place == b.place) {
            if self.used.rows() >= ROWS_MAX {
                return Err(StatementError::TooLong);
            }
            let Some(place) = of_place.first().map(|fact| fact.place) else { continue };
            let territory = place.territory();
            let holding: Vec<_> =
                terms.in_force.iter().filter(|one| one.agreement.contract.holds_in(territory)).collect();
            for one in holding.iter().filter(|one| one.is_asked) {
                for fact in of_place.iter().filter(|fact| one.is_on(fact.day)) {
                    self.tally.add(facts, fact, one.threshold_ms);
                }
                if let Some(counted) = self.tally.take() {
                    let heading = heading(&terms, Some(one.agreement), title);
                    self.used.add(heading, place.pair(), figures(counted, (0, 0)));
                }
            }
            if !terms.is_asked {
                continue;
            }
            let mut outside_ms = (0, 0);
            for fact in of_place.iter().filter(|fact| !holding.iter().any(|one| one.is_on(fact.day))) {
                self.tally.add(facts, fact, VIEW_THRESHOLD_MS.cast_signed());
                if terms.in_force.iter().any(|one| one.is_on(fact.day)) {
                    outside_ms.1 += fact.watched_ms;
                } else if terms.has_contracts {
                    outside_ms.0 += fact.watched_ms;
                }
            }
            if let Some(counted) = self.tally.take() {
                self.used.add(heading(&terms, None, title), place.pair(), figures(counted, outside_ms));
            }
        }
        Ok(())
    }
}

fn figures(counted: Counted, (outside_window_ms, outside_territory_ms): (i64, i64)) -> Figures {
    let Counted { plays, qualified_views, watched_ms, aged_ms, content_ms, distinct_accounts, peak_concurrent } =
        counted;
    Figures {
        plays,
        qualified_views,
        watched_ms,
        aged_ms,
        content_ms,
        distinct_accounts,
        peak_concurrent,
        outside_window_ms,
        outside_territory_ms,
        ..Figures::default()
    }
}

/// What the rows of a title under a contract, or none, stand under.
fn heading(terms: &Terms<'_>, under: Option<&Agreement>, title: &str) -> Heading {
    let contract = under.map(|one| &one.contract);
    Heading {
        holder: contract.map_or(terms.owner, |one| one.rights_holder_id.as_str()).into(),
        contract: contract.map_or("", |one| one.contract_id.as_str()).into(),
        title: title.into(),
    }
}
