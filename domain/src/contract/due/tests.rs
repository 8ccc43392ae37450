//! The arithmetic, by small examples.

use serde_json::{Value, json};

use super::*;

fn agreed(terms: &Value) -> Agreed {
    Agreed::read(terms.as_object().unwrap()).unwrap()
}

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

/// What many equal lines come to: the sum of the rounded, the rounded sum, and what is due.
fn sums(payment: &Value, lines: u64, of_each: Usage) -> (String, String, String) {
    let agreed = agreed(&json!({ "payment": payment }));
    let line = of_line(&agreed, of_each).unwrap().unwrap();
    let usage = Usage { views: of_each.views * lines, watched_ms: of_each.watched_ms * lines };
    let rounded = line.amount * Decimal::from(lines);
    let of_lines = OfLines { usage, views_by_runtime: 0, rounded };
    let days = (day("2026-10-01"), day("2026-10-31"));
    let due = of_contract(&agreed, &of_lines, days, days, 0).unwrap().unwrap();
    (due.sum_of_rounded.to_string(), due.rounded_sum.to_string(), due.amount.to_string())
}

#[test]
fn the_sum_of_the_rounded_and_the_rounded_sum_are_both_defined() {
    let one_view = Usage { views: 1, watched_ms: 0 };
    let payment = |rounded| json!({"currency": "EUR", "per_view": "0.005", "rounding": "half_up", "rounded": rounded});
    let sums_of = |rounded| sums(&payment(rounded), 100_000, one_view);
    assert_eq!(sums_of("lines"), ("1000.00".into(), "500.00".into(), "1000.00".into()));
    assert_eq!(sums_of("sum"), ("1000.00".into(), "500.00".into(), "500.00".into()));
}

#[test]
fn a_third_of_an_hour_many_times_is_not_off_by_a_cent() {
    let twenty_minutes = Usage { views: 0, watched_ms: 1_200_000 };
    let payment = json!({"currency": "EUR", "per_hour": "0.10", "rounded": "sum"});
    assert_eq!(sums(&payment, 3_000_000, twenty_minutes).1, "100000.00");
}

#[test]
fn each_step_of_a_line_is_data() {
    let agreed = agreed(&json!({"payment": {"currency": "EUR", "per_view": "0.04", "per_hour": "0.5"}}));
    let line = of_line(&agreed, Usage { views: 3, watched_ms: 5_400_000 }).unwrap().unwrap();
    assert_eq!(
        serde_json::to_value(&line).unwrap(),
        json!({"working": [
            {"step": "per_view", "views": 3, "rate": "0.04", "exact": "0.12"},
            {"step": "per_hour", "watched_ms": 5_400_000, "rate": "0.5", "exact": "0.75"},
            {"step": "round", "rounding": "half_even", "decimals": 2, "exact": "0.87", "amount": "0.87"}
        ], "amount": "0.87"})
    );
}

fn due_in(terms: &Value, period: (&str, &str), in_force: (&str, &str), watched: (u64, u64)) -> Due<ContractDue> {
    let agreed = agreed(&json!({ "payment": terms }));
    let usage = Usage { views: 0, watched_ms: watched.0 };
    let lines = OfLines { usage, ..OfLines::default() };
    let days = |(first, last): (&str, &str)| (day(first), day(last));
    of_contract(&agreed, &lines, days(period), days(in_force), watched.1)
}

#[test]
fn what_is_paid_by_the_month_is_paid_by_its_days() {
    let fixed = json!({"currency": "EUR", "fixed_per_month": "310.00"});
    let due = |period, in_force| due_in(&fixed, period, in_force, (0, 0)).unwrap().unwrap().amount.to_string();
    let quarter = ("2026-10-01", "2026-12-31");
    assert_eq!(due(quarter, quarter), "930.00");
    assert_eq!(due(quarter, ("2026-10-31", "2026-10-31")), "10.00");
    assert_eq!(due(quarter, ("2026-11-16", "2026-11-30")), "155.00");
    assert_eq!(due(("2024-02-01", "2024-02-29"), ("2024-02-01", "2024-02-01")), "10.69");
}

#[test]
fn a_part_of_a_pool_goes_by_hours_and_needs_the_pool() {
    let share = json!({"currency": "EUR", "revenue_share": {"percent": "30", "pools": {"2026-10": "1000.00"}}});
    let october = ("2026-10-01", "2026-10-31");
    let due = due_in(&share, october, october, (1, 3)).unwrap().unwrap();
    assert_eq!(due.amount.to_string(), "100.00");
    assert_eq!(due_in(&share, october, october, (0, 0)).unwrap().unwrap().amount.to_string(), "0.00");
    let quarter = ("2026-10-01", "2026-12-31");
    let missing = due_in(&share, quarter, quarter, (1, 3)).unwrap_err();
    assert_eq!(missing.to_string(), "its revenue_share names no pool for 2026-11");
}

#[test]
fn a_guarantee_tops_up_and_never_takes_away() {
    let october = ("2026-10-01", "2026-10-31");
    let due = |per_hour: &str| {
        let terms = json!({"currency": "EUR", "per_hour": per_hour, "minimum_per_month": "50.00", "rounded": "sum"});
        due_in(&terms, october, october, (36_000_000, 0)).unwrap().unwrap()
    };
    let topped_up = due("1");
    assert_eq!(topped_up.amount.to_string(), "50.00");
    let last = serde_json::to_value(topped_up.working.last()).unwrap();
    assert_eq!(last, json!({"step": "to_minimum", "earned": "10.00", "minimum": "50.00", "amount": "40.00"}));
    assert_eq!(due("7").amount.to_string(), "70.00");
}

#[test]
fn views_by_runtime_are_counted_over_a_title() {
    let agreed = agreed(&json!({
        "counting": {"views": "hours_by_runtime", "round_to": 10}, "payment": {"currency": "EUR", "per_view": "0.1"}
    }));
    let used = Usage { views: 7, watched_ms: 3_600_000 };
    assert_eq!(of_line(&agreed, used), Ok(None));
    let line = of_title(&agreed, 26 * 3_600_000, Some(3_600_000)).unwrap().unwrap();
    assert_eq!(line.amount.to_string(), "3.00");
    assert_eq!(of_title(&agreed, 1, None), Err(Missing::Runtime));
}

#[test]
fn what_no_decimal_holds_is_said() {
    let agreed = agreed(&json!({"payment": {"currency": "EUR", "per_view": "999999999999"}}));
    assert_eq!(of_line(&agreed, Usage { views: u64::MAX, watched_ms: 0 }), Err(Missing::TooLarge));
}
