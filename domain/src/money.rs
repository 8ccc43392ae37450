//! Money: exact decimal amounts of a currency, and how they are rounded.
//!
//! Nothing here is a float. An amount is rounded when it is said to be due and never before.

use std::fmt;
use std::str::FromStr;

use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Most digits before the point of a rate or an amount that somebody writes.
const WHOLE_DIGITS_MAX: usize = 12;
/// Most digits behind it.
const FRACTION_DIGITS_MAX: usize = 9;

/// A currency that has a smallest unit, by its ISO 4217 code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Currency(iso_currency::Currency);

/// No currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be an ISO 4217 currency that has a smallest unit, e.g. EUR")]
pub struct InvalidCurrency;

impl Currency {
    /// Its code, e.g. `EUR`.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// How many decimals its smallest unit has: 2 for EUR, 0 for JPY, 3 for TND.
    #[must_use]
    pub fn decimals(self) -> u32 {
        u32::from(self.0.exponent().unwrap_or_default())
    }

    /// An amount in whole smallest units, written with all of its decimals.
    #[must_use]
    pub fn round(self, exact: Decimal, rounding: Rounding) -> Decimal {
        let mut rounded = exact.round_dp_with_strategy(self.decimals(), rounding.into());
        rounded.rescale(self.decimals());
        rounded
    }
}

impl FromStr for Currency {
    type Err = InvalidCurrency;

    fn from_str(code: &str) -> Result<Self, InvalidCurrency> {
        iso_currency::Currency::from_code(code)
            .filter(|currency| currency.exponent().is_some())
            .map(Self)
            .ok_or(InvalidCurrency)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl PartialOrd for Currency {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Currency {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.code().cmp(other.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        code.parse().map_err(serde::de::Error::custom)
    }
}

/// What becomes of an amount that lies between two smallest units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// To the nearer one; half-way to the even one, so that many halves cancel out.
    #[default]
    HalfEven,
    /// To the nearer one; half-way to the larger one.
    HalfUp,
}

impl From<Rounding> for RoundingStrategy {
    fn from(rounding: Rounding) -> Self {
        match rounding {
            Rounding::HalfEven => Self::MidpointNearestEven,
            Rounding::HalfUp => Self::MidpointAwayFromZero,
        }
    }
}

/// Reads a rate or an amount as people write it: digits, and perhaps a point and digits; no sign, no exponent.
#[must_use]
pub fn read_decimal(text: &str) -> Option<Decimal> {
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let digits = |part: &str, max: usize| (1..=max).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    let fits = digits(whole, WHOLE_DIGITS_MAX) && fraction.is_none_or(|fraction| digits(fraction, FRACTION_DIGITS_MAX));
    if fits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn an_amount_is_rounded_to_the_currencys_smallest_unit() {
        for (code, exact, even, up) in [
            ("EUR", "1.005", "1.00", "1.01"),
            ("EUR", "1.015", "1.02", "1.02"),
            ("EUR", "1.0150001", "1.02", "1.02"),
            ("EUR", "2", "2.00", "2.00"),
            ("JPY", "2.5", "2", "3"),
            ("TND", "0.0005", "0.000", "0.001"),
            ("EUR", "-1.005", "-1.00", "-1.01"),
        ] {
            let currency: Currency = code.parse().unwrap();
            assert_eq!(currency.round(decimal(exact), Rounding::HalfEven).to_string(), even, "{code} {exact}");
            assert_eq!(currency.round(decimal(exact), Rounding::HalfUp).to_string(), up, "{code} {exact}");
        }
    }

    #[test]
    fn a_currency_has_a_smallest_unit() {
        for bad in ["", "eur", "EURO", "ABC", "XAU", "XXX"] {
            assert_eq!(bad.parse::<Currency>(), Err(InvalidCurrency), "{bad}");
        }
    }

    #[test]
    fn a_decimal_has_one_way_to_be_written() {
        assert_eq!(read_decimal("0.040"), Some(decimal("0.040")));
        assert_eq!(read_decimal("999999999999.999999999"), Some(decimal("999999999999.999999999")));
        for bad in ["", ".5", "5.", "-1", "+1", "1e3", "1,5", "1_0", "0.0000000001", "1000000000000", "1.2.3"] {
            assert_eq!(read_decimal(bad), None, "{bad}");
        }
    }
}
