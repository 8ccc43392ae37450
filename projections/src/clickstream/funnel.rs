//! How many people did one thing after another.
//!
//! A try begins with each event of the first step; from it on each step is the first fitting event after the one before,
//! all within the window. Of a person the try counts that got furthest; of those that got there the one that was there
//! first, and of these, if one event ended several, the one that began last.

use futures_util::TryStreamExt as _;
use serde::Serialize;
use sqlx::{PgTransaction, Postgres, QueryBuilder};

use super::question::{Question, Step};
use super::source::{Source, error_of, push_having};
use super::table::{Table, maybe};
use crate::live::ReadError;

/// The people who got to a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reached {
    /// Which, from 1.
    pub step: usize,
    /// Its event's name.
    pub name: String,
    /// How many got there.
    pub people: i64,
    /// The most that this is off, in 95 of 100 samples; `None` where it is exact.
    pub error: Option<i64>,
    /// In thousandths of those who began.
    pub of_first_milli: Option<i64>,
    /// In thousandths of those who got to the step before.
    pub of_previous_milli: Option<i64>,
    /// From the step before to this one, for half of them at most so long; `None` of the first step, and of nobody.
    pub median_ms: Option<i64>,
}

/// An event that fits some steps: when, and which, the first in the lowest bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// By the log's time, in milliseconds.
    pub at_ms: i64,
    /// Which steps.
    pub steps: u8,
}

/// A try: which, and when it was at each step so far.
#[derive(Clone, Debug, Default)]
struct Try {
    number: usize,
    times: Vec<i64>,
}

/// When a person was at each step of the try that counts; empty of somebody who never began. The moments are in order.
#[must_use]
pub fn furthest(moments: impl IntoIterator<Item = Moment>, steps: usize, window_ms: i64) -> Vec<i64> {
    // Of each step the newest try that got there: it has the most time left.
    let mut tries: Vec<Try> = vec![Try::default(); steps];
    let (mut furthest, mut begun) = (Vec::new(), 0);
    for Moment { at_ms, steps: fits } in moments {
        // From the last step down, so that no event is two steps of one try.
        for step in (0..steps).rev().filter(|step| fits & 1 << step != 0) {
            let next = if let Some(before) = step.checked_sub(1).map(|before| &tries[before]) {
                let is_in_time = before.times.first().is_some_and(|begun_ms| at_ms - begun_ms <= window_ms);
                // A try that was here already was so sooner: its first fitting event counts.
                if !is_in_time || tries[step].number >= before.number {
                    continue;
                }
                Try { number: before.number, times: before.times.iter().copied().chain([at_ms]).collect() }
            } else {
                begun += 1;
                Try { number: begun, times: vec![at_ms] }
            };
            if next.times.len() > furthest.len() {
                furthest.clone_from(&next.times);
            }
            tries[step] = next;
        }
    }
    furthest
}

pub(super) async fn rows(
    question: &Question,
    steps: &[Step],
    window_ms: i64,
    source: &Source,
    tx: &mut PgTransaction<'_>,
) -> Result<Vec<Reached>, ReadError> {
    let mut sql = QueryBuilder::<Postgres>::new(
        "select array_agg((date_part('epoch', logged_at) * 1000)::bigint << 8 | fits
                          order by logged_at, partition, log_offset)
         from (select person, logged_at, partition, log_offset, 0",
    );
    for (index, step) in steps.iter().enumerate() {
        sql.push(" | case when name = ").push_bind(step.name.clone());
        for having in &step.having {
            sql.push(" and ");
            push_having(&mut sql, having);
        }
        sql.push(format_args!(" then {} else 0 end", 1 << index));
    }
    sql.push(" as fits from ");
    source.push(&mut sql, question);
    sql.push(" offset 0) as fitting where fits > 0 group by person having bit_or(fits) & 1 = 1");
    let mut reached = vec![0_i64; steps.len()];
    let mut took: Vec<Vec<i64>> = vec![Vec::new(); steps.len()];
    let mut people = sql.build_query_scalar::<Vec<i64>>().fetch(&mut **tx);
    while let Some(packed) = people.try_next().await? {
        let moments = packed
            .iter()
            .map(|packed| Moment { at_ms: packed >> 8, steps: u8::try_from(packed & 0xff).unwrap_or_default() });
        let times = furthest(moments, steps.len(), window_ms);
        for (step, at_ms) in times.iter().enumerate() {
            reached[step] += 1;
            if let Some(before) = step.checked_sub(1) {
                took[step].push(at_ms - times[before]);
            }
        }
    }
    drop(people);
    let medians: Vec<_> = took.iter_mut().map(|took| median(took)).collect();
    let one_in = source.one_in();
    let row = |(index, step): (usize, &Step)| Reached {
        step: index + 1,
        name: step.name.clone(),
        people: reached[index] * one_in,
        error: error_of(reached[index], one_in),
        of_first_milli: milli(reached[index], reached[0]),
        of_previous_milli: milli(reached[index], reached[index.saturating_sub(1)]),
        median_ms: medians[index],
    };
    Ok(steps.iter().enumerate().map(row).collect())
}

fn milli(part: i64, whole: i64) -> Option<i64> {
    (whole > 0).then(|| (part * 1_000 + whole / 2) / whole)
}

/// The middle one; of an even number the lower of the two.
fn median(values: &mut [i64]) -> Option<i64> {
    let middle = values.len().checked_sub(1)? / 2;
    Some(*values.select_nth_unstable(middle).1)
}

pub(super) fn table(rows: &[Reached]) -> Table {
    let cells = |row: &Reached| {
        vec![
            row.step.to_string(),
            row.name.clone(),
            row.people.to_string(),
            maybe(row.error),
            maybe(row.of_first_milli),
            maybe(row.of_previous_milli),
            maybe(row.median_ms),
        ]
    };
    Table {
        columns: &["step", "name", "people", "error", "of_first_milli", "of_previous_milli", "median_ms"],
        texts: 2,
        rows: rows.iter().map(cells).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each try by itself, as the rule says it.
    fn one_by_one(moments: &[Moment], steps: usize, window_ms: i64) -> Vec<i64> {
        let mut best: Option<(usize, Vec<i64>)> = None;
        for (begin, first) in moments.iter().enumerate().filter(|(_, moment)| moment.steps & 1 != 0) {
            let (mut place, mut times) = (begin, vec![first.at_ms]);
            for step in 1..steps {
                let fits = |moment: &Moment| moment.steps & 1 << step != 0 && moment.at_ms - first.at_ms <= window_ms;
                let Some(next) = (place + 1..moments.len()).find(|next| fits(&moments[*next])) else { break };
                place = next;
                times.push(moments[next].at_ms);
            }
            let is_better = best.as_ref().is_none_or(|(best_place, best_times)| {
                times.len() > best_times.len()
                    // Only of the first step alone is each ended by an event of its own.
                    || times.len() == best_times.len() && place <= *best_place
            });
            if is_better {
                best = Some((place, times));
            }
        }
        best.map(|(_, times)| times).unwrap_or_default()
    }

    fn moments(told: &[(i64, u8)]) -> Vec<Moment> {
        told.iter().map(|(at_ms, steps)| Moment { at_ms: *at_ms, steps: *steps }).collect()
    }

    #[test]
    fn a_funnel_is_walked_as_people_would_tell_it() {
        let walk = |told: &[(i64, u8)]| furthest(moments(told), 3, 100);
        assert_eq!(walk(&[]), Vec::<i64>::new());
        assert_eq!(walk(&[(1, 2), (2, 4)]), Vec::<i64>::new());
        assert_eq!(walk(&[(1, 1), (2, 2), (3, 4)]), [1, 2, 3]);
        // Out of order.
        assert_eq!(walk(&[(1, 1), (2, 4), (3, 2)]), [1, 3]);
        // Too late, and begun anew.
        assert_eq!(walk(&[(0, 1), (50, 2), (101, 4)]), [0, 50]);
        assert_eq!(walk(&[(0, 1), (40, 1), (50, 2), (101, 4)]), [40, 50, 101]);
        // Twice the same step: the first counts.
        assert_eq!(walk(&[(0, 1), (1, 2), (5, 2), (6, 4)]), [0, 1, 6]);
        // One event isn't two steps of a try.
        assert_eq!(walk(&[(0, 3)]), [0]);
        assert_eq!(walk(&[(0, 7), (0, 7), (0, 7)]), [0, 0, 0]);
    }

    #[test]
    fn the_middle_is_one_that_there_was() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3, 1, 2]), Some(2));
        assert_eq!(median(&mut [4, 1, 2, 3]), Some(2));
        assert_eq!((milli(1, 3), milli(2, 3), milli(0, 0)), (Some(333), Some(667), None));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn one_walk_finds_what_each_try_by_itself_does(
            told in prop::collection::vec((0_i64..12, 0_u8..16), 0..24), steps in 2_usize..5, window_ms in 0_i64..60,
        ) {
            let mut at_ms = 0;
            let moments: Vec<_> = told.iter().map(|(after, steps)| {
                at_ms += after;
                Moment { at_ms, steps: *steps }
            }).collect();
            prop_assert_eq!(furthest(moments.clone(), steps, window_ms), one_by_one(&moments, steps, window_ms));
        }
    }
}
