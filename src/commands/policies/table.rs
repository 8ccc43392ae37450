//! What came of trying a draft, as tables for a terminal.

use std::fmt::Write as _;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};
use pulsegate_projections::policy_try::{STREAMS_MAX, Sessions, Tried};

/// Longest bar, in characters.
const BAR_MAX: u64 = 40;

pub(super) fn of(tried: &Tried) -> String {
    let of_what = tried.policy.as_ref().map_or_else(|| "every policy".to_owned(), ToString::to_string);
    let until = tried.until.map_or_else(|| "now".to_owned(), |until| until.to_string());
    let mut text = format!(
        "The draft in place of {of_what}, from {} to {until} (UTC)\n{} events of {} accounts; {} accounts would have been told something else\n\n",
        tried.since, tried.events, tried.accounts, tried.accounts_affected
    );
    let mut sessions = table(&["sessions"], &["before", "with the draft", "added", "removed"]);
    for (name, Sessions { before, after, added, removed }) in
        [("told no", tried.told_no), ("had to make room", tried.displaced)]
    {
        sessions.add_row([
            name.to_owned(),
            before.to_string(),
            after.to_string(),
            added.to_string(),
            removed.to_string(),
        ]);
    }
    let _ = writeln!(text, "{sessions}");
    if !tried.most_affected.is_empty() {
        let mut most = table(&["most affected"], &["no added", "no removed", "room added", "room removed"]);
        for one in &tried.most_affected {
            most.add_row([
                one.account_id.to_string(),
                one.told_no.added.to_string(),
                one.told_no.removed.to_string(),
                one.displaced.added.to_string(),
                one.displaced.removed.to_string(),
            ]);
        }
        let _ = writeln!(text, "\n{most}");
    }
    let most = tried.hours.iter().map(|hour| hour.before.max(hour.after)).max().unwrap_or_default();
    if most > 0 {
        let mut hours = table(&["hour, UTC"], &["told no before", "with the draft"]);
        for hour in tried.hours.iter().filter(|hour| hour.before + hour.after > 0) {
            hours.add_row([format!("{:02}", hour.hour), hour.before.to_string(), hour.after.to_string()]);
        }
        let _ = writeln!(text, "\n{hours}");
    }
    let mut streams = Table::new();
    streams.load_style(UTF8_BORDERS_ONLY).set_header(["streams wanted at once", "accounts", "a limit of it hits", ""]);
    let largest = tried.concurrency.iter().map(|row| row.accounts).max().unwrap_or_default();
    for row in tried.concurrency.iter().filter(|row| row.accounts + row.a_limit_of_it_hits > 0) {
        let or_more = if row.streams == STREAMS_MAX { " or more" } else { "" };
        let bar = (row.accounts * BAR_MAX).checked_div(largest).unwrap_or_default();
        streams.add_row([
            format!("{}{or_more}", row.streams),
            row.accounts.to_string(),
            row.a_limit_of_it_hits.to_string(),
            "█".repeat(usize::try_from(bar).unwrap_or_default()),
        ]);
    }
    let _ = writeln!(text, "\n{streams}");
    let places: Vec<_> = tried.as_of.iter().map(|one| format!("{}@{}", one.partition, one.next_offset)).collect();
    let rate = u128::from(tried.records) * 1_000 / u128::from(tried.took_ms.max(1));
    let _ = writeln!(
        text,
        "{} records in {}.{} s, {rate}/s, {} of them passed over; as of {}",
        tried.records,
        tried.took_ms / 1_000,
        tried.took_ms % 1_000 / 100,
        tried.skipped,
        places.join(" ")
    );
    text
}

fn table(names: &[&str], numbers: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(names.iter().chain(numbers).copied());
    for column in table.column_iter_mut().skip(names.len()) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
