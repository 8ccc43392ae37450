//! Streams at once over packed facts.

use std::collections::HashMap;

use chrono::Days;
use sqlx::PgTransaction;

use super::{LATE_DAYS, Level, Per, Question, bucket_ms, instants};
use crate::licensing::packs::{Facts, Packs};

/// Most beginnings and ends that are held in memory.
const EDGES_MAX: usize = 30_000_000;

/// Levels as SQL over the facts has them; `None` if packs can't say it.
pub(super) async fn levels(question: &Question, tx: &mut PgTransaction<'_>) -> Result<Option<Vec<Level>>, sqlx::Error> {
    let late = Days::new(LATE_DAYS.unsigned_abs().into());
    let period = &question.period;
    let days = (period.first.checked_sub_days(late).unwrap_or(period.first), period.last);
    let titles = question.title.as_ref().map(|title| vec![title.as_str().to_owned()]);
    let Some(packs) = Packs::open(days, titles, tx).await? else { return Ok(None) };
    let mut sweeping = Sweeping::of(question);
    packs
        .each(tx, |title, facts| {
            sweeping.take(title, facts);
            Ok::<_, sqlx::Error>(())
        })
        .await?;
    Ok(sweeping.levels())
}

/// Beginnings and ends, by what they are of: an end is even and comes before a beginning at the same instant.
struct Sweeping<'a> {
    question: &'a Question,
    within: (i64, i64),
    edges: HashMap<String, Vec<i64>>,
    count: usize,
}

impl<'a> Sweeping<'a> {
    fn of(question: &'a Question) -> Self {
        Self { question, within: instants(&question.period), edges: HashMap::new(), count: 0 }
    }

    fn take(&mut self, title: &str, facts: &Facts) {
        if self.count > EDGES_MAX {
            return;
        }
        let Question { per, territory, device_class, .. } = self.question;
        for fact in &facts.facts {
            let (there, class) = (fact.place.territory(), fact.place.device_class());
            if territory.is_some_and(|wanted| wanted != there) || device_class.is_some_and(|wanted| wanted != class) {
                continue;
            }
            let of = match per {
                Per::Everything => "",
                Per::DeviceClass => class.as_str(),
                Per::Title => title,
                Per::Territory => there.as_str(),
            };
            for (from, to) in facts.intervals(fact) {
                let (from, to) = ((*from).max(self.within.0), (*to).min(self.within.1));
                if from < to {
                    let edges = match self.edges.get_mut(of) {
                        Some(edges) => edges,
                        None => self.edges.entry(of.to_owned()).or_default(),
                    };
                    edges.extend([from * 2 + 1, to * 2]);
                    self.count += 2;
                }
            }
        }
    }

    /// By bucket, in the order of what they are of and of time; `None` if there were too many.
    fn levels(self) -> Option<Vec<Level>> {
        if self.count > EDGES_MAX {
            return None;
        }
        let bucket_ms = bucket_ms(self.question.by);
        let mut of_each: Vec<(i64, String, Vec<Level>)> = Vec::with_capacity(self.edges.len());
        for (of, mut edges) in self.edges {
            edges.sort_unstable();
            let (mut level, mut levels) = (0, Vec::<Level>::new());
            for edge in edges {
                let (at, step) = (edge >> 1, if edge & 1 == 1 { 1 } else { -1 });
                level += step;
                // What ends with a bucket ends in it.
                let bucket = (at - i64::from(step < 0)) / bucket_ms;
                match levels.last_mut().filter(|last| last.bucket == bucket) {
                    Some(last) => (last.peak, last.last) = (last.peak.max(level), level),
                    None => levels.push(Level { of: of.clone(), bucket, peak: level, last: level }),
                }
            }
            let highest = levels.iter().map(|level| level.peak).max().unwrap_or(0);
            of_each.push((highest, of, levels));
        }
        of_each.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        if let Some(top) = self.question.top {
            of_each.truncate(usize::try_from(top).unwrap_or(usize::MAX));
        }
        of_each.sort_unstable_by(|a, b| a.1.cmp(&b.1));
        Some(of_each.into_iter().flat_map(|(_, _, levels)| levels).collect())
    }
}
