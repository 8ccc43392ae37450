//! How projections and what was done to them are shown.

use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use pulsegate_projections::ProjectionStatus;
use pulsegate_projections::registry::REGISTERED;
use pulsegate_projections::switch::Switched;
use pulsegate_projections::verify::Verdict;

use super::bars::grouped;

/// How much of a row that differs is shown.
const ROW_CHARS_MAX: usize = 300;

pub(super) fn list(known: &[ProjectionStatus], json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(known)?);
        return Ok(());
    }
    let mut table = table(&["projection", "build", "state", "topics", "lag", "rate", "parked", "skipped"]);
    for one in known {
        let registered = REGISTERED.iter().find(|registered| registered.name == one.name);
        let topics: Vec<_> = registered
            .map(|registered| registered.topics)
            .unwrap_or_default()
            .iter()
            .map(|topic| topic.base_name())
            .collect();
        table.add_row([
            one.name.clone(),
            one.build.clone(),
            state(one),
            topics.join(", "),
            lag_of(one),
            format!("{:.0}/s", one.rate),
            one.parked.to_string(),
            one.skipped.to_string(),
        ]);
    }
    println!("{table}");
    Ok(())
}

pub(super) fn status(known: &[ProjectionStatus], json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(known)?);
        return Ok(());
    }
    for one in known {
        println!("{} ({}): lag {}, {:.0} events/s", one.build, state(one), lag_of(one), one.rate);
        if let Some(rebuild) = &one.rebuild {
            let left = rebuild.left_seconds.map_or_else(|| "standing".to_owned(), |left| format!("{left:.0} s left"));
            let (done, total) = (grouped(rebuild.done_events), grouped(rebuild.total_events));
            println!("rebuild: {}, {done} of {total} events, {left}", rebuild.phase.replace('_', " "));
        }
        if one.parked + one.skipped > 0 {
            println!("dead letters: {} parked, {} skipped (`pulsegate dead-letters list`)", one.parked, one.skipped);
        }
        if let Some(error) = &one.last_error {
            let at = one.last_error_at.map_or_else(String::new, |at| format!(" at {}", at.format("%F %T")));
            println!("last error{at}: {error}");
        }
        for entry in &one.history {
            let detail = entry.detail.as_deref().map_or_else(String::new, |detail| format!(" ({detail})"));
            println!("{}  {}{detail}", entry.at.format("%F %T"), entry.what);
        }
        if one.partitions.is_empty() {
            continue;
        }
        let mut table = table(&["topic", "partition", "next offset", "end", "lag", "rate", "clock"]);
        for partition in &one.partitions {
            table.add_row([
                partition.topic.clone(),
                partition.partition.to_string(),
                partition.next_offset.to_string(),
                partition.end_offset.map_or_else(|| "unknown".to_owned(), |end| end.to_string()),
                lag(partition.lag_events, partition.lag_seconds),
                format!("{:.0}/s", partition.rate),
                partition.clock.map_or_else(|| "-".to_owned(), |clock| clock.to_string()),
            ]);
        }
        println!("{table}");
    }
    Ok(())
}

pub(super) fn verdict(verdict: &Verdict, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(verdict)?);
        return Ok(());
    }
    let Verdict { live, shadow, .. } = verdict;
    let mut table = table(&["table", "live rows", "shadow rows", "same"]);
    for one in &verdict.tables {
        let same = if one.same { "yes" } else { "NO" };
        table.add_row([one.table.clone(), grouped(one.live_rows), grouped(one.shadow_rows), same.to_owned()]);
    }
    println!("{table}");
    for one in &verdict.tables {
        if !one.left_out.is_empty() {
            println!("{}: left out, since only one has it: {}", one.table, one.left_out.join(", "));
        }
        for differs in &one.differences {
            println!("{} {}", one.table, differs.key);
            println!("  live:   {}", row(differs.live.as_deref()));
            println!("  shadow: {}", row(differs.shadow.as_deref()));
        }
    }
    let records = grouped(verdict.records);
    if verdict.same {
        println!("{shadow} says the same as {live}, both after {records} events");
    } else {
        println!("{shadow} differs from {live}, both after {records} events");
    }
    Ok(())
}

fn row(row: Option<&str>) -> String {
    row.map_or_else(|| "not there".to_owned(), |row| row.chars().take(ROW_CHARS_MAX).collect())
}

pub(super) fn switched(switched: &Switched, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(switched)?);
        return Ok(());
    }
    let Switched { live, before, took_ms, tries } = switched;
    let tries = if *tries == 1 { String::new() } else { format!(", at the {tries}th try: readers were in the way") };
    println!("readers see {live} now, and saw {before} before ({took_ms:.1} ms{tries})");
    Ok(())
}

fn state(one: &ProjectionStatus) -> String {
    if one.paused_at.is_some() { format!("{}, paused", one.state) } else { one.state.clone() }
}

fn lag_of(one: &ProjectionStatus) -> String {
    match (one.state.as_str(), one.as_of) {
        ("retired", _) => "-".to_owned(),
        (_, Some(as_of)) => format!("as of {as_of}"),
        _ => lag(one.lag_events, one.lag_seconds),
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(header.iter().copied());
    table
}

fn lag(events: Option<i64>, seconds: Option<f64>) -> String {
    match (events, seconds) {
        (Some(0), _) => "none".to_owned(),
        (Some(events), Some(seconds)) => format!("{events} events, {seconds:.1} s"),
        (Some(events), None) => format!("{events} events"),
        (None, _) => "unknown: Kafka is away".to_owned(),
    }
}
