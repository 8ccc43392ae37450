//! What is due: from counts and times to amounts, each step of the arithmetic kept as data.
//!
//! Three levels. A *line* is what was used in one territory and on one class of device; views by runtime are counted over
//! a whole *title*; what is paid by the month, a part of a pool and a guarantee belong to the *contract*.

#[cfg(test)]
mod tests;

use std::ops::AddAssign;

use chrono::NaiveDate;
use rust_decimal::Decimal;
use serde::Serialize;
use thiserror::Error;

use super::counting::decimal;
use super::{Agreed, Counting, Month, Payment, RoundedOf};
use crate::money::{Currency, Rounding};

/// Milliseconds of an hour.
const HOUR_MS: u64 = 3_600_000;

/// What was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Qualified views.
    pub views: u64,
    /// Watched time, in milliseconds.
    pub watched_ms: u64,
}

/// Why an amount can't be told.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Missing {
    /// Views are hours divided by the title's length, and it has none.
    #[error("the title has no runtime_ms, by which its views are counted")]
    Runtime,
    /// The part of a pool that nobody has named yet.
    #[error("its revenue_share names no pool for {0}")]
    Pool(Month),
    /// More than any decimal here holds.
    #[error("an amount is too large")]
    TooLarge,
}

/// One step of the arithmetic: what, times or divided by what, makes how much.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// `views` × `rate`
    PerView {
        /// How many.
        views: u64,
        /// For each.
        rate: Decimal,
        /// Makes.
        exact: Decimal,
    },
    /// `watched_ms` ÷ `runtime_ms`, rounded to a multiple of `round_to`, are `views`
    ViewsByRuntime {
        /// Over all rows of the title.
        watched_ms: u64,
        /// How long it is.
        runtime_ms: u64,
        /// To a multiple of this.
        round_to: u64,
        /// Half-way.
        rounding: Rounding,
        /// Makes.
        views: u64,
    },
    /// `watched_ms` × `rate` ÷ 3 600 000
    PerHour {
        /// How long.
        watched_ms: u64,
        /// For each hour.
        rate: Decimal,
        /// Makes.
        exact: Decimal,
    },
    /// `per_month` × `days` ÷ `of_days`
    Fixed {
        /// Which month.
        month: Month,
        /// Its days that are in the period and in the contract's time.
        days: i64,
        /// All of its days.
        of_days: i64,
        /// For a whole month.
        per_month: Decimal,
        /// Makes.
        exact: Decimal,
    },
    /// `pool` × `days` ÷ `of_days` is in the pool
    Pool {
        /// Which month.
        month: Month,
        /// Its days that are in the period.
        days: i64,
        /// All of its days.
        of_days: i64,
        /// For the whole month.
        pool: Decimal,
        /// Makes.
        exact: Decimal,
    },
    /// What is in the pools × `percent` ÷ 100 × `watched_ms` ÷ `of_watched_ms`
    RevenueShare {
        /// The pools.
        pool: Decimal,
        /// Of them.
        percent: Decimal,
        /// Watched under the contract.
        watched_ms: u64,
        /// Watched of everything, by anybody.
        of_watched_ms: u64,
        /// Makes.
        exact: Decimal,
    },
    /// `per_month` × `days` ÷ `of_days`
    Minimum {
        /// Which month.
        month: Month,
        /// Its days that are in the period and in the contract's time.
        days: i64,
        /// All of its days.
        of_days: i64,
        /// For a whole month.
        per_month: Decimal,
        /// Makes.
        exact: Decimal,
    },
    /// The sum of the exact amounts before, rounded
    Round {
        /// Half-way.
        rounding: Rounding,
        /// The currency's.
        decimals: u32,
        /// The sum.
        exact: Decimal,
        /// Makes.
        amount: Decimal,
    },
    /// What lacks to the guarantee
    ToMinimum {
        /// Due without it.
        earned: Decimal,
        /// Guaranteed.
        minimum: Decimal,
        /// Makes.
        amount: Decimal,
    },
}

/// An amount and how it came to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Step by step.
    pub working: Vec<Step>,
    /// Before rounding.
    #[serde(skip)]
    pub exact: Decimal,
    /// Rounded to the currency's smallest unit.
    pub amount: Decimal,
}

/// The amount of a line, or why there is none.
pub type Due<T> = Result<Option<T>, Missing>;

/// What is due for a line; `None` where the contract pays nothing for what lines count.
pub fn of_line(agreed: &Agreed, usage: Usage) -> Due<Line> {
    let Some(payment) = &agreed.payment else { return Ok(None) };
    let mut sum = Sum::default();
    if let (Some(rate), Counting::Qualified) = (payment.per_view, agreed.counting) {
        sum.per_view(usage.views, rate)?;
    }
    if let Some(rate) = payment.per_hour {
        sum.per_hour(usage.watched_ms, rate)?;
    }
    Ok(sum.line(payment))
}

/// What is due for a title over all of its lines: views by runtime. `None` where views are counted by lines.
pub fn of_title(agreed: &Agreed, watched_ms: u64, runtime_ms: Option<u64>) -> Due<Line> {
    let (Some(payment), Counting::HoursByRuntime { round_to, rounding }) = (&agreed.payment, agreed.counting) else {
        return Ok(None);
    };
    let Some(rate) = payment.per_view else { return Ok(None) };
    let runtime_ms = runtime_ms.filter(|runtime_ms| *runtime_ms > 0).ok_or(Missing::Runtime)?;
    let views = Counting::views_by_runtime(round_to, rounding, watched_ms, runtime_ms).ok_or(Missing::TooLarge)?;
    let mut sum = Sum::default();
    sum.steps.push(Step::ViewsByRuntime { watched_ms, runtime_ms, round_to, rounding, views });
    sum.per_view(views, rate)?;
    Ok(sum.line(payment))
}

/// What is due under a contract in a period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ContractDue {
    /// The money.
    pub currency: Currency,
    /// Which of the two sums is due.
    pub rounded: RoundedOf,
    /// The rounded lines, titles and monthly parts, summed.
    pub sum_of_rounded: Decimal,
    /// The exact sum of the same, rounded once.
    pub rounded_sum: Decimal,
    /// What is due, no less than the guarantee.
    pub amount: Decimal,
    /// What belongs to no line and no title, step by step.
    pub working: Vec<Step>,
}

/// What the lines and titles of a contract came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfLines {
    /// Over all lines.
    pub usage: Usage,
    /// Views by runtime, over all titles.
    pub views_by_runtime: u64,
    /// The rounded amounts of lines and titles, summed.
    pub rounded: Decimal,
}

impl AddAssign for OfLines {
    fn add_assign(&mut self, other: Self) {
        self.usage.views += other.usage.views;
        self.usage.watched_ms += other.usage.watched_ms;
        self.views_by_runtime += other.views_by_runtime;
        self.rounded += other.rounded;
    }
}

/// What is due under a contract in the days of `period`, of which it is in force in `in_force`; in the whole service
/// `of_watched_ms` was watched in the period. `None` where the contract says nothing of money.
pub fn of_contract(
    agreed: &Agreed,
    lines: &OfLines,
    period: (NaiveDate, NaiveDate),
    in_force: (NaiveDate, NaiveDate),
    of_watched_ms: u64,
) -> Due<ContractDue> {
    let Some(payment) = &agreed.payment else { return Ok(None) };
    let mut parts = Sum::default();
    let mut sum_of_rounded = lines.rounded;
    if let Some(per_month) = payment.fixed_per_month {
        for (month, days) in months(in_force) {
            let exact = pro_rata(per_month, days, month.days())?;
            parts.add(Step::Fixed { month, days, of_days: month.days(), per_month, exact }, exact)?;
            sum_of_rounded = add(sum_of_rounded, payment.round(exact))?;
        }
    }
    if let Some(share) = &payment.revenue_share {
        let mut pool = Decimal::ZERO;
        for (month, days) in months(period) {
            let of_month = *share.pools.get(&month).ok_or(Missing::Pool(month))?;
            let exact = pro_rata(of_month, days, month.days())?;
            parts.steps.push(Step::Pool { month, days, of_days: month.days(), pool: of_month, exact });
            pool = add(pool, exact)?;
        }
        let watched_ms = lines.usage.watched_ms;
        let exact = share_of(pool, share.percent, watched_ms, of_watched_ms)?;
        parts.add(Step::RevenueShare { pool, percent: share.percent, watched_ms, of_watched_ms, exact }, exact)?;
        sum_of_rounded = add(sum_of_rounded, payment.round(exact))?;
    }
    // The lines once more, over their sums: so nothing is lost by adding what has no end of decimals.
    let mut exact = Sum { steps: Vec::new(), exact: parts.exact };
    let views = match agreed.counting {
        Counting::Qualified => lines.usage.views,
        Counting::HoursByRuntime { .. } => lines.views_by_runtime,
    };
    if let Some(rate) = payment.per_view {
        exact.per_view(views, rate)?;
    }
    if let Some(rate) = payment.per_hour {
        exact.per_hour(lines.usage.watched_ms, rate)?;
    }
    let rounded_sum = payment.round(exact.exact);
    let mut working = parts.steps;
    let earned = match payment.rounded {
        RoundedOf::Lines => sum_of_rounded,
        RoundedOf::Sum => {
            working.append(&mut exact.steps);
            working.push(payment.round_step(exact.exact));
            rounded_sum
        }
    };
    let amount = match payment.minimum_per_month {
        Some(per_month) => {
            let mut guaranteed = Sum::default();
            for (month, days) in months(in_force) {
                let exact = pro_rata(per_month, days, month.days())?;
                guaranteed.add(Step::Minimum { month, days, of_days: month.days(), per_month, exact }, exact)?;
            }
            let minimum = payment.round(guaranteed.exact);
            working.append(&mut guaranteed.steps);
            working.push(Step::ToMinimum { earned, minimum, amount: (minimum - earned).max(Decimal::ZERO) });
            earned.max(minimum)
        }
        None => earned,
    };
    let (currency, rounded) = (payment.currency, payment.rounded);
    Ok(Some(ContractDue {
        currency,
        rounded,
        sum_of_rounded: payment.round(sum_of_rounded),
        rounded_sum,
        amount: payment.round(amount),
        working,
    }))
}

/// The months of some days, with how many of the days are in each.
fn months((first, last): (NaiveDate, NaiveDate)) -> impl Iterator<Item = (Month, i64)> {
    std::iter::successors(Some(Month::of(first)), |month| month.next())
        .take_while(move |month| month.first() <= last)
        .map(move |month| (month, (last.min(month.last()) - first.max(month.first())).num_days() + 1))
        .filter(|(_, days)| *days > 0)
}

fn pro_rata(per_month: Decimal, days: i64, of_days: i64) -> Result<Decimal, Missing> {
    if days == of_days {
        return Ok(per_month);
    }
    let product = per_month.checked_mul(Decimal::from(days)).ok_or(Missing::TooLarge)?;
    product.checked_div(Decimal::from(of_days)).ok_or(Missing::TooLarge)
}

fn share_of(pool: Decimal, percent: Decimal, watched_ms: u64, of_watched_ms: u64) -> Result<Decimal, Missing> {
    if of_watched_ms == 0 {
        return Ok(Decimal::ZERO);
    }
    let product = pool
        .checked_mul(percent)
        .and_then(|product| product.checked_mul(decimal(watched_ms)))
        .ok_or(Missing::TooLarge)?;
    let whole = decimal(of_watched_ms).checked_mul(Decimal::ONE_HUNDRED).ok_or(Missing::TooLarge)?;
    product.checked_div(whole).ok_or(Missing::TooLarge)
}

fn add(a: Decimal, b: Decimal) -> Result<Decimal, Missing> {
    a.checked_add(b).ok_or(Missing::TooLarge)
}

/// A sum with its steps.
#[derive(Default)]
struct Sum {
    steps: Vec<Step>,
    exact: Decimal,
}

impl Sum {
    fn add(&mut self, step: Step, exact: Decimal) -> Result<(), Missing> {
        self.steps.push(step);
        self.exact = add(self.exact, exact)?;
        Ok(())
    }

    fn per_view(&mut self, views: u64, rate: Decimal) -> Result<(), Missing> {
        let exact = decimal(views).checked_mul(rate).ok_or(Missing::TooLarge)?;
        self.add(Step::PerView { views, rate, exact }, exact)
    }

    fn per_hour(&mut self, watched_ms: u64, rate: Decimal) -> Result<(), Missing> {
        let product = decimal(watched_ms).checked_mul(rate).ok_or(Missing::TooLarge)?;
        let exact = product.checked_div(decimal(HOUR_MS)).ok_or(Missing::TooLarge)?.normalize();
        self.add(Step::PerHour { watched_ms, rate, exact }, exact)
    }

    fn line(self, payment: &Payment) -> Option<Line> {
        if self.steps.is_empty() {
            return None;
        }
        let Self { mut steps, exact } = self;
        let step = payment.round_step(exact);
        let amount = payment.round(exact);
        steps.push(step);
        Some(Line { working: steps, exact, amount })
    }
}

impl Payment {
    fn round(&self, exact: Decimal) -> Decimal {
        self.currency.round(exact, self.rounding)
    }

    fn round_step(&self, exact: Decimal) -> Step {
        let (rounding, decimals) = (self.rounding, self.currency.decimals());
        Step::Round { rounding, decimals, exact: exact.normalize(), amount: self.round(exact) }
    }
}
