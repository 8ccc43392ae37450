//! What came of trying a draft, as one page with charts: a file that is sent to whoever decides, and needs no node.

use std::fmt::Write as _;

use pulsegate_projections::policy_try::{STREAMS_MAX, Sessions, Tried};

/// The size of a chart, in the units of its drawing.
const WIDTH: usize = 720;
const HEIGHT: usize = 180;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1b1f24; --faint: #6a737d; --paper: #fff; --before: #9aa5b1; --after: #2f6fde; --line: #d9dee4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --faint: #98a2ae; --paper: #14171b; --before: #667281; --after: #6ea0ff; --line: #333a43; } }
body { margin: 0 auto; padding: 2rem 1rem; max-width: 48rem; background: var(--paper); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; } p, figcaption { color: var(--faint); margin: .3rem 0; }
.figures { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; margin: 1.5rem 0; } .figures b { display: block; font-size: 1.8rem; line-height: 1.2; }
table { border-collapse: collapse; width: 100%; } th, td { padding: .25rem .5rem; border-bottom: 1px solid var(--line); text-align: right; } th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; }
figure { margin: 0; } svg { width: 100%; height: auto; } svg text { fill: var(--faint); font-size: 11px; } .before { fill: var(--before); } .after { fill: var(--after); }
.key span { display: inline-block; width: .8em; height: .8em; margin: 0 .4em 0 1em; } .key .b { background: var(--before); } .key .a { background: var(--after); }
pre { overflow-x: auto; padding: 1rem; border: 1px solid var(--line); }
";

/// The page: styles and charts within, nothing to be loaded.
pub(super) fn of(tried: &Tried) -> String {
    let of_what = tried.policy.as_ref().map_or_else(|| "every policy".to_owned(), |name| escaped(name.as_str()));
    let until = tried.until.map_or_else(|| "now".to_owned(), |until| until.to_string());
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>A draft in place of {of_what}</title><style>{STYLE}</style></head><body>\n\
         <h1>A draft in place of {of_what}</h1>\n<p>What happened from {} to {until}, UTC</p>\n",
        tried.since
    );
    let signed = |more: u64, less: u64| {
        if more >= less { format!("+{}", grouped(more - less)) } else { format!("−{}", grouped(less - more)) }
    };
    let figures = [
        (
            grouped(tried.accounts_affected),
            format!("of {} accounts would have been told something else", grouped(tried.accounts)),
        ),
        (signed(tried.told_no.after, tried.told_no.before), "sessions told no".to_owned()),
        (signed(tried.displaced.after, tried.displaced.before), "sessions that had to make room".to_owned()),
    ];
    page.push_str("<div class=\"figures\">");
    for (figure, what) in figures {
        let _ = write!(page, "<div><b>{figure}</b>{what}</div>");
    }
    page.push_str("</div>\n<table><thead><tr><th>Sessions</th><th>before</th><th>with the draft</th><th>added</th><th>removed</th></tr></thead><tbody>");
    for (name, sessions) in [("told no", tried.told_no), ("had to make room", tried.displaced)] {
        let Sessions { before, after, added, removed } = sessions;
        row(&mut page, name, &[before, after, added, removed]);
    }
    page.push_str("</tbody></table>\n<h2>When in the day</h2>\n");
    let hours: Vec<_> =
        tried.hours.iter().map(|hour| (format!("{:02}", hour.hour), vec![hour.before, hour.after])).collect();
    chart(&mut page, "Sessions by the hour, UTC, in which they were first told no", &hours);
    page.push_str("<p class=\"key\"><span class=\"b\"></span>before<span class=\"a\"></span>with the draft</p>\n");
    page.push_str("<h2>How many would a limit hit?</h2>\n");
    let last = tried.concurrency.iter().rposition(|row| row.accounts > 0).unwrap_or_default().max(4);
    let rows = &tried.concurrency[..=last.min(STREAMS_MAX)];
    let or_more = |streams: usize| if streams == STREAMS_MAX { format!("{streams}+") } else { streams.to_string() };
    let streams: Vec<_> = rows.iter().map(|row| (or_more(row.streams), vec![row.accounts])).collect();
    chart(&mut page, "Accounts by the most streams that they wanted at once", &streams);
    page.push_str("<table><thead><tr><th>A limit of</th><th>accounts that wanted just so many</th><th>accounts that it would hit</th></tr></thead><tbody>");
    for one in rows {
        row(&mut page, &or_more(one.streams), &[one.accounts, one.a_limit_of_it_hits]);
    }
    page.push_str("</tbody></table>\n");
    if !tried.most_affected.is_empty() {
        page.push_str("<h2>The most affected accounts</h2>\n<table><thead><tr><th>Account</th><th>no added</th><th>no removed</th><th>room added</th><th>room removed</th></tr></thead><tbody>");
        for one in &tried.most_affected {
            let (no, room) = (one.told_no, one.displaced);
            row(&mut page, one.account_id.as_str(), &[no.added, no.removed, room.added, room.removed]);
        }
        page.push_str("</tbody></table>\n");
    }
    let draft = serde_json::to_string_pretty(&tried.draft).unwrap_or_default();
    let places: Vec<_> = tried.as_of.iter().map(|one| format!("{}@{}", one.partition, one.next_offset)).collect();
    let _ = write!(
        page,
        "<h2>The draft</h2>\n<pre>{}</pre>\n<p>Players were not asked: one that was told no stays told no in what \
         happened, and one that the draft would have told no goes on in it. {} records, those of {} h \
         before the first day to warm up among them, {} passed over; as of {}.</p>\n</body></html>\n",
        escaped(&draft),
        grouped(tried.records),
        grouped(tried.warm_up_ms / 3_600_000),
        grouped(tried.skipped),
        places.join(" ")
    );
    page
}

fn row(page: &mut String, name: &str, numbers: &[u64]) {
    let _ = write!(page, "<tr><td>{}</td>", escaped(name));
    for number in numbers {
        let _ = write!(page, "<td>{}</td>", grouped(*number));
    }
    page.push_str("</tr>");
}

/// Bars: for each label one with the draft, behind one before where there are two.
fn chart(page: &mut String, caption: &str, bars: &[(String, Vec<u64>)]) {
    let largest = bars.iter().flat_map(|(_, values)| values).copied().max().unwrap_or_default().max(1);
    let step = WIDTH / bars.len().max(1);
    let _ = write!(
        page,
        "<figure><svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{}\"><text x=\"0\" y=\"11\">{}</text>",
        HEIGHT + 20,
        escaped(caption),
        grouped(largest)
    );
    for (index, (label, values)) in bars.iter().enumerate() {
        let width = (step * 4 / 5) / values.len().max(1);
        for (place, value) in values.iter().enumerate() {
            let room = (HEIGHT - 16) as u128;
            let height = usize::try_from(u128::from(*value) * room / u128::from(largest)).unwrap_or_default();
            let height = if *value > 0 { height.max(1) } else { 0 };
            let class = if place + 1 < values.len() { "before" } else { "after" };
            let _ = write!(
                page,
                "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{width}\" height=\"{height}\"><title>{}: {}</title></rect>",
                index * step + place * width,
                HEIGHT - height,
                escaped(label),
                grouped(*value)
            );
        }
        let _ = write!(page, "<text x=\"{}\" y=\"{}\">{}</text>", index * step, HEIGHT + 15, escaped(label));
    }
    let _ = writeln!(page, "</svg><figcaption>{}</figcaption></figure>", escaped(caption));
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_page_cannot_leave_its_place() {
        assert_eq!(escaped("<b a=\"1\">&"), "&lt;b a=&quot;1&quot;&gt;&amp;");
        let mut page = String::new();
        chart(&mut page, "a", &[("0".into(), vec![0, 5]), ("1".into(), vec![10, 1])]);
        assert_eq!(page.matches("<rect").count(), 4);
        assert!(page.contains("height=\"164\""), "the largest is as high as the chart: {page}");
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
    }
}
