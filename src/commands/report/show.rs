//! Reports as people read them.

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};
use indicatif::{ProgressBar, ProgressStyle};
use pulsegate_projections::concurrency::Concurrency;
use pulsegate_projections::live::AsOf;
use pulsegate_projections::statements::{About, Head, Listed, Row};

/// A table whose last columns are numbers.
pub(super) fn table(names: &[&str], numbers: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(names.iter().chain(numbers).copied());
    for column in table.column_iter_mut().skip(names.len()) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Milliseconds as hours, minutes and seconds; less than nothing in a restatement.
pub(super) fn hours(ms: i64) -> String {
    let seconds = ms.unsigned_abs() / 1_000;
    let sign = if ms < 0 { "-" } else { "" };
    format!("{sign}{}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

pub(super) fn as_of(period: &str, as_of: &[AsOf]) {
    let places: Vec<_> = as_of.iter().map(|one| format!("{}/{}@{}", one.topic, one.partition, one.offset)).collect();
    let places = if places.is_empty() { "nothing folded yet".to_owned() } else { places.join(" ") };
    println!("{period} (UTC), as of {places}");
}

pub(super) fn statement(about: &About, head: &Head, rows: &[Row], shown_max: usize) {
    let names = ["rights holder", "contract", "title", "territory", "device"];
    let numbers = ["plays", "views", "watched", "accounts", "peak", "blocked", "outside", "amount"];
    let mut table = table(&names, &numbers);
    let id = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    for Row { key, figures, amount } in rows.iter().take(shown_max) {
        let money = if key.currency.is_empty() { "-".to_owned() } else { format!("{amount} {}", key.currency) };
        table.add_row([
            id(&key.rights_holder_id),
            id(&key.contract_id),
            key.title_id.to_string(),
            id(&key.territory),
            id(&key.device_class),
            figures.plays.to_string(),
            figures.views.to_string(),
            hours(figures.watched_ms),
            figures.distinct_accounts.to_string(),
            figures.peak_concurrent.to_string(),
            figures.blocked_attempts.to_string(),
            hours(figures.outside_window_ms + figures.outside_territory_ms),
            money,
        ]);
    }
    println!("{table}");
    if rows.len() > shown_max {
        println!("… and {} more rows (--format csv has all)", rows.len() - shown_max);
    }
    due(head);
    for problem in &head.problems {
        println!("can't be told: {problem}");
    }
    println!("{}, revision {}, sha256 {}", head.state.as_str(), head.revision, head.sha256);
    as_of(&about.period.to_string(), &head.as_of);
}

/// What is due under each contract.
pub(super) fn due(head: &Head) {
    for contract in &head.contracts {
        if let Some(due) = &contract.due {
            println!(
                "{} {} is due to {} under contract {} (version {}): rounded lines {}, rounded sum {}",
                due.amount,
                due.currency,
                contract.rights_holder_id,
                contract.contract_id,
                contract.version,
                due.sum_of_rounded,
                due.rounded_sum
            );
        }
    }
}

pub(super) fn list(listed: &[Listed]) {
    let mut table = table(&["period", "rights holder", "revision", "closed at", "sha256"], &["rows added"]);
    for one in listed {
        table.add_row([
            one.period.clone(),
            one.rights_holder_id.clone().unwrap_or_else(|| "everybody".to_owned()),
            one.revision.to_string(),
            one.closed_at.format("%F %H:%M:%SZ").to_string(),
            one.sha256.clone(),
            one.rows.to_string(),
        ]);
    }
    println!("{table}");
}

pub(super) fn concurrency(report: &Concurrency) {
    let mut streams = table(&["from", "of"], &["peak"]);
    for row in &report.streams {
        streams.add_row([row.at.format("%F %H:%MZ").to_string(), row.of.clone(), row.peak.to_string()]);
    }
    println!("{streams}");
    let blocked = &report.blocked;
    println!(
        "told no: {} times, {} sessions of {} accounts; {} of the sessions got a slot later",
        blocked.attempts, blocked.sessions, blocked.accounts, blocked.let_in
    );
    if let (Some(median), Some(p95)) = (blocked.waited_ms_median, blocked.waited_ms_p95) {
        println!("these waited {:.1} s (median), {:.1} s (95 of 100)", median / 1_000.0, p95 / 1_000.0);
    }
    for rule in &blocked.by_rule {
        let id = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let max = rule.max.map_or_else(|| "-".to_owned(), |max| max.to_string());
        println!("  {} times by {} of {}, at most {max}", rule.attempts, id(&rule.rule), id(&rule.policy));
    }
    as_of(&report.period, &report.as_of);
}

/// Of a fold of the log; hidden where stderr is no terminal.
pub(super) fn progress(records: i64) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(records).unwrap_or(0));
    let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} records, {per_sec}, {eta} left");
    // The template is a constant that a test of its own would only repeat.
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_shown_as_people_read_it() {
        assert_eq!(hours(0), "0:00:00");
        assert_eq!(hours(3_725_999), "1:02:05");
        assert_eq!(hours(360_000_000), "100:00:00");
        assert_eq!(hours(-61_000), "-0:01:01");
    }
}
