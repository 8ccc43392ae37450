//! The report counted over packed facts, title by title.

use std::collections::{HashMap, HashSet};

use chrono::NaiveDate;
use pulsegate_domain::watch_time::VIEW_THRESHOLD_MS;
use sqlx::PgTransaction;

use super::{OfPlays, Question, ROWS_MAX, Row, Terms};
use crate::licensing::packs::{Accounts, Counted, Day, Facts, Packs, Tally, day_number};

/// The rows in their order, one more than there may be at most, and the sums over plays.
pub(super) async fn rows(
    question: &Question,
    terms: &Terms,
    packs: Packs,
    tx: &mut PgTransaction<'_>,
) -> Result<(Vec<Row>, OfPlays), sqlx::Error> {
    let mut counting = Counting::of(question, terms);
    packs
        .each(tx, |title, facts| {
            counting.take(title, facts);
            Ok::<_, sqlx::Error>(())
        })
        .await?;
    let Counting { mut rows, mut of_plays, mut accounts, .. } = counting;
    of_plays.distinct_accounts = accounts.count();
    // What has none comes last.
    let last = |id: &Option<String>| (id.is_none(), id.clone());
    rows.sort_by_cached_key(|row| {
        (last(&row.rights_holder_id), last(&row.contract_id), row.title_id.clone(), row.territory.clone())
    });
    Ok((rows, of_plays))
}

/// A contract about a title.
struct InForce<'a> {
    contract: &'a str,
    rights_holder: &'a str,
    days: (Day, Day),
    threshold_ms: i64,
    territories: Option<HashSet<&'a str>>,
}

impl InForce<'_> {
    fn is_on(&self, day: Day) -> bool {
        (self.days.0..=self.days.1).contains(&day)
    }
}

struct Counting<'a> {
    question: &'a Question,
    period: String,
    owned: HashMap<&'a str, &'a str>,
    agreed: HashMap<&'a str, Vec<InForce<'a>>>,
    rows: Vec<Row>,
    tally: Tally,
    of_plays: OfPlays,
    accounts: Accounts,
}

impl<'a> Counting<'a> {
    fn of(question: &'a Question, terms: &'a Terms) -> Self {
        let owned = terms.owned.titles.iter().zip(&terms.owned.rights_holders);
        let agreed = &terms.agreed;
        let mut by_title: HashMap<&str, Vec<InForce<'_>>> = HashMap::new();
        let days = |days: &[NaiveDate], place: usize| days.get(place).copied().map_or(0, day_number);
        for (place, (title, contract)) in agreed.titles.iter().zip(&agreed.contracts).enumerate() {
            let territories = agreed.territories.get(place).and_then(Option::as_deref);
            by_title.entry(title).or_default().push(InForce {
                contract,
                rights_holder: agreed.rights_holders.get(place).map_or("", String::as_str),
                days: (days(&agreed.from, place), days(&agreed.until, place)),
                threshold_ms: agreed.thresholds_ms.get(place).copied().unwrap_or(0).max(1),
                territories: territories.map(|all| all.trim_matches(['{', '}']).split(',').collect()),
            });
        }
        Self {
            question,
            period: question.period.to_string(),
            owned: owned.map(|(title, holder)| (title.as_str(), holder.as_str())).collect(),
            agreed: by_title,
            rows: Vec::new(),
            tally: Tally::default(),
            of_plays: OfPlays::default(),
            accounts: Accounts::default(),
        }
    }

    fn take(&mut self, title: &str, facts: &mut Facts) {
        // One more than there may be says that there are too many.
        if self.rows.len() > ROWS_MAX {
            return;
        }
        let in_force = self.agreed.remove(title).unwrap_or_default();
        let owner = self.owned.get(title).copied();
        let is_asked = |holder: Option<&str>| {
            let wanted = self.question.rights_holder.as_ref();
            wanted.is_none_or(|wanted| Some(wanted.as_str()) == holder)
        };
        facts.facts.sort_unstable_by_key(|fact| fact.place);
        for there in facts.facts.chunk_by(|a, b| a.place.territory() == b.place.territory()) {
            let Some(territory) = there.first().map(|fact| fact.place.territory()) else { continue };
            if self.question.territory.is_some_and(|wanted| wanted != territory) {
                continue;
            }
            let holding = in_force
                .iter()
                .filter(|one| one.territories.as_ref().is_none_or(|all| all.contains(territory.as_str())));
            let holding: Vec<_> = holding.collect();
            let (mut made, mut is_counted) = (Vec::new(), vec![false; there.len()]);
            for one in holding.iter().filter(|one| is_asked(Some(one.rights_holder))) {
                for (fact, is_counted) in there.iter().zip(&mut is_counted) {
                    if one.is_on(fact.day) {
                        self.tally.add(facts, fact, one.threshold_ms);
                        *is_counted = true;
                    }
                }
                made.extend(self.tally.take().map(|counted| (Some(one.rights_holder), Some(one.contract), counted)));
            }
            if is_asked(owner) {
                for (fact, is_counted) in there.iter().zip(&mut is_counted) {
                    if !holding.iter().any(|one| one.is_on(fact.day)) {
                        self.tally.add(facts, fact, VIEW_THRESHOLD_MS.cast_signed());
                        *is_counted = true;
                    }
                }
                made.extend(self.tally.take().map(|counted| (owner, None, counted)));
            }
            for (fact, _) in there.iter().zip(is_counted).filter(|(_, is_counted)| *is_counted) {
                self.of_plays.plays += i64::from(fact.played);
                self.of_plays.watched_ms = self.of_plays.watched_ms.saturating_add(fact.watched_ms);
                self.of_plays.aged_ms = self.of_plays.aged_ms.saturating_add(fact.aged_ms);
                self.of_plays.content_ms = self.of_plays.content_ms.saturating_add(fact.content_ms);
                self.accounts.add(fact.account);
            }
            self.rows.extend(made.into_iter().map(|(holder, contract, counted)| {
                let Counted {
                    plays,
                    qualified_views,
                    watched_ms,
                    aged_ms,
                    content_ms,
                    distinct_accounts,
                    peak_concurrent,
                } = counted;
                Row {
                    period: self.period.clone(),
                    rights_holder_id: holder.map(str::to_owned),
                    contract_id: contract.map(str::to_owned),
                    title_id: title.to_owned(),
                    territory: territory.as_str().to_owned(),
                    plays,
                    qualified_views,
                    watched_ms,
                    aged_ms,
                    content_ms,
                    distinct_accounts,
                    peak_concurrent,
                }
            }));
        }
    }
}
