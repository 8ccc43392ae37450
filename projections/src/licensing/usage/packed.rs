//! Usage counted over packed facts, title by title.

use std::collections::HashMap;

use pulsegate_domain::ids::{DeviceClass, Territory};
use sqlx::PgTransaction;

use super::{MostBy, Sums, UsageBy, UsageQuestion};
use crate::licensing::packs::{Accounts, Day, Facts, Packs, day_of};

/// The total and then the first rows, as SQL over the facts has them; `None` if packs can't say it.
pub(super) async fn sums(
    question: &UsageQuestion,
    tx: &mut PgTransaction<'_>,
) -> Result<Option<Vec<Sums>>, sqlx::Error> {
    let titles = question.title.as_ref().map(|title| vec![title.as_str().to_owned()]);
    let Some(packs) = Packs::open(question.period.days(), titles, tx).await? else { return Ok(None) };
    let mut counting = Counting::default();
    packs
        .each(tx, |title, facts| {
            counting.take(question, title, facts);
            Ok::<_, sqlx::Error>(())
        })
        .await?;
    Ok(Some(counting.sums(question)))
}

/// What was watched of something, so far.
#[derive(Debug, Default)]
struct Group {
    plays: i64,
    watched_ms: i64,
    aged_ms: i64,
    content_ms: i64,
    accounts: Accounts,
}

impl Group {
    fn sums(mut self, of: String) -> Sums {
        let Self { plays, watched_ms, aged_ms, content_ms, .. } = self;
        let distinct_accounts = self.accounts.count();
        Sums { is_total: false, of, plays, watched_ms, aged_ms, content_ms, distinct_accounts, rows_in_all: 0 }
    }
}

/// By what facts are told apart, beside their title.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Of {
    Day(Day),
    Title,
    Territory(Territory),
    DeviceClass(DeviceClass),
}

#[derive(Default)]
struct Counting {
    groups: HashMap<Of, Group>,
    of_titles: Vec<Sums>,
    total: Group,
}

impl Counting {
    fn take(&mut self, question: &UsageQuestion, title: &str, facts: &Facts) {
        for fact in &facts.facts {
            let (territory, class) = (fact.place.territory(), fact.place.device_class());
            if question.territory.is_some_and(|wanted| wanted != territory)
                || question.device_class.is_some_and(|wanted| wanted != class)
            {
                continue;
            }
            let of = match question.by {
                UsageBy::Day => Of::Day(fact.day),
                UsageBy::Title => Of::Title,
                UsageBy::Territory => Of::Territory(territory),
                UsageBy::DeviceClass => Of::DeviceClass(class),
            };
            for group in [self.groups.entry(of).or_default(), &mut self.total] {
                group.plays += i64::from(fact.played);
                group.watched_ms = group.watched_ms.saturating_add(fact.watched_ms);
                group.aged_ms = group.aged_ms.saturating_add(fact.aged_ms);
                group.content_ms = group.content_ms.saturating_add(fact.content_ms);
                group.accounts.add(fact.account);
            }
        }
        // A title comes once: of what it was made nothing need be kept.
        if let Some(group) = self.groups.remove(&Of::Title) {
            self.of_titles.push(group.sums(title.to_owned()));
        }
    }

    fn sums(self, question: &UsageQuestion) -> Vec<Sums> {
        let mut rows = self.of_titles;
        rows.extend(self.groups.into_iter().map(|(of, group)| {
            group.sums(match of {
                Of::Day(day) => day_of(day).to_string(),
                Of::Title => String::new(),
                Of::Territory(territory) => territory.as_str().to_owned(),
                Of::DeviceClass(class) => class.as_str().to_owned(),
            })
        }));
        let most = |sums: &Sums| match question.most_by {
            MostBy::Watched => sums.watched_ms,
            MostBy::Plays => sums.plays,
            MostBy::Accounts => sums.distinct_accounts,
        };
        if question.by == UsageBy::Day {
            rows.sort_unstable_by(|a, b| a.of.cmp(&b.of));
        } else {
            rows.sort_unstable_by(|a, b| most(b).cmp(&most(a)).then_with(|| a.of.cmp(&b.of)));
        }
        let rows_in_all = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        rows.truncate(usize::try_from(question.limit).unwrap_or(usize::MAX));
        let total = Sums { is_total: true, rows_in_all, ..self.total.sums(String::new()) };
        std::iter::once(total).chain(rows).collect()
    }
}
