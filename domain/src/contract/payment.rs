//! What is paid, for what, in which money, and how it is rounded.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use chrono::{Datelike as _, Months, NaiveDate};
use rust_decimal::Decimal;
use serde::{Serialize, Serializer};

use super::counting::rounding;
use super::reading::{DECIMAL, Members, Mistake, escaped};
use crate::money::{Currency, Rounding, read_decimal};

/// Most months that one contract names a pool for.
const POOLS_MAX: usize = 1_200;

/// What a contract pays. What is absent isn't paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Payment {
    /// The money.
    pub currency: Currency,
    /// What becomes of what lies between two smallest units.
    pub rounding: Rounding,
    /// What is rounded.
    pub rounded: RoundedOf,
    /// For each view, as the contract counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_view: Option<Decimal>,
    /// For each hour watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_hour: Option<Decimal>,
    /// For each month, whatever was watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed_per_month: Option<Decimal>,
    /// A part of a pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revenue_share: Option<RevenueShare>,
    /// No less than this for each month.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_per_month: Option<Decimal>,
}

/// Which amounts are rounded, and so what a sum is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RoundedOf {
    /// Each line; due is the sum of what was rounded.
    #[default]
    Lines,
    /// The sum of the exact lines, once.
    Sum,
}

/// A part of a pool, in proportion to the hours watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RevenueShare {
    /// Of the pool, before it is divided by hours.
    pub percent: Decimal,
    /// What is in the pool, by month. A month without one can't be paid yet.
    pub pools: BTreeMap<Month, Decimal>,
}

/// A calendar month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month(NaiveDate);

impl Month {
    /// The month of a day.
    #[must_use]
    pub fn of(day: NaiveDate) -> Self {
        Self(day.with_day(1).unwrap_or(day))
    }

    /// Its first day.
    #[must_use]
    pub const fn first(self) -> NaiveDate {
        self.0
    }

    /// Its last day.
    #[must_use]
    pub fn last(self) -> NaiveDate {
        self.next().and_then(|next| next.0.pred_opt()).unwrap_or(self.0)
    }

    /// The month behind it.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        self.0.checked_add_months(Months::new(1)).map(Self)
    }

    /// How many days it has.
    #[must_use]
    pub fn days(self) -> i64 {
        (self.last() - self.0).num_days() + 1
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.0.year(), self.0.month())
    }
}

impl FromStr for Month {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let month = format!("{text}-01").parse().map(Self).map_err(|_| "must be a month, YYYY-MM")?;
        if month.to_string() == text { Ok(month) } else { Err("must be a month, YYYY-MM") }
    }
}

impl Serialize for Month {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Payment {
    pub(super) fn read(members: &mut Members<'_, '_>) -> Option<Self> {
        let currency =
            members.word("currency", "must be an ISO 4217 currency that has a smallest unit, e.g. EUR", |code| {
                code.parse::<Currency>().ok()
            });
        if members.raw("currency").is_none() {
            members.note("currency", "is required");
        }
        let rounding = match members.raw("rounding") {
            None => Some(Rounding::default()),
            Some(value) => rounding(value),
        };
        if rounding.is_none() {
            members.note("rounding", "must be half_even or half_up");
        }
        let rounded = match members.raw("rounded") {
            None => Some(RoundedOf::default()),
            Some(_) => members.word("rounded", "must be lines or sum", |word| match word {
                "lines" => Some(RoundedOf::Lines),
                "sum" => Some(RoundedOf::Sum),
                _ => None,
            }),
        };
        let per_view = members.decimal("per_view");
        let per_hour = members.decimal("per_hour");
        let fixed_per_month = members.amount("fixed_per_month", currency);
        let revenue_share = members.raw("revenue_share").and_then(|value| {
            let (pointer, mistakes) = members.inside("revenue_share");
            Members::all(value, &pointer, mistakes, |share| RevenueShare::read(share, currency))
        });
        let minimum_per_month = members.amount("minimum_per_month", currency);
        let known = ["per_view", "per_hour", "fixed_per_month", "revenue_share", "minimum_per_month"];
        if known.into_iter().all(|name| members.raw(name).is_none()) {
            members.note("", format!("must say for what is paid: {}", known.join(", ")));
        }
        Some(Self {
            currency: currency?,
            rounding: rounding?,
            rounded: rounded?,
            per_view,
            per_hour,
            fixed_per_month,
            revenue_share,
            minimum_per_month,
        })
    }
}

impl RevenueShare {
    fn read(members: &mut Members<'_, '_>, currency: Option<Currency>) -> Option<Self> {
        let percent = members.word("percent", "must be a decimal of 0-100 as a string, e.g. \"12.5\"", |text| {
            read_decimal(text).filter(|percent| *percent <= Decimal::ONE_HUNDRED)
        });
        if members.raw("percent").is_none() {
            members.note("percent", "is required");
        }
        let mut pools = BTreeMap::new();
        if let Some(value) = members.raw("pools") {
            let (pointer, mistakes) = members.inside("pools");
            match value.as_object() {
                Some(object) if object.len() <= POOLS_MAX => {
                    for (name, amount) in object {
                        let place = format!("{pointer}/{}", escaped(name));
                        let amount = amount.as_str().and_then(read_decimal);
                        match (name.parse::<Month>(), amount) {
                            (Err(error), _) => mistakes.push(Mistake::new(place, error)),
                            (Ok(_), None) => mistakes.push(Mistake::new(place, DECIMAL)),
                            (Ok(month), Some(amount)) => {
                                note_decimals(mistakes, place, amount, currency);
                                pools.insert(month, amount);
                            }
                        }
                    }
                }
                Some(_) => mistakes.push(Mistake::new(pointer, format!("must hold at most {POOLS_MAX} months"))),
                None => mistakes.push(Mistake::new(pointer, "must be an object of months, YYYY-MM, and amounts")),
            }
        }
        Some(Self { percent: percent?, pools })
    }
}

impl Members<'_, '_> {
    /// An amount of money, in whole smallest units.
    fn amount(&mut self, name: &'static str, currency: Option<Currency>) -> Option<Decimal> {
        let amount = self.decimal(name)?;
        let (place, mistakes) = self.inside(name);
        note_decimals(mistakes, place, amount, currency);
        Some(amount)
    }
}

fn note_decimals(mistakes: &mut Vec<Mistake>, place: String, amount: Decimal, currency: Option<Currency>) {
    if let Some(currency) = currency.filter(|currency| amount.normalize().scale() > currency.decimals()) {
        let detail = format!("must have at most {} decimals in {currency}", currency.decimals());
        mistakes.push(Mistake::new(place, detail));
    }
}
