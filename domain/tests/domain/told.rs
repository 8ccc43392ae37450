//! The situations of `docs/situations.md`: the page is the table, and each of them is played.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::script::play;

const PAGE: &str = include_str!("../../../docs/situations.md");

/// What the page must tell, whatever else it tells.
const TOLD: [&str; 11] = [
    "Cast hand-over",
    "Next episode",
    "Reload of the page",
    "Two tabs",
    "Plane mode",
    "TV crash",
    "Shared password",
    "Downgrade while watching",
    "Licence-only TV",
    "CDN-only player",
    "A clock an hour wrong",
];

/// Each situation's name, and its lines.
fn situations() -> Vec<(&'static str, String)> {
    let told = PAGE.split("\n## ").skip(1);
    told.map(|section| {
        let (name, text) = section.split_once('\n').expect("a heading has a text");
        let lines: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("    ")).collect();
        (name, lines.join("\n"))
    })
    .collect()
}

#[test]
fn every_situation_of_the_page_is_so() {
    let wrong: Vec<_> = situations()
        .into_iter()
        .filter(|(name, lines)| {
            assert!(lines.contains("->"), "{name} expects nothing");
            catch_unwind(AssertUnwindSafe(|| play(lines))).is_err()
        })
        .map(|(name, _)| name)
        .collect();
    assert!(wrong.is_empty(), "not so: {wrong:?} (each one's line stands above)");
}

#[test]
fn the_page_tells_what_people_ask_about() {
    let told: Vec<_> = situations().into_iter().map(|(name, _)| name).collect();
    for name in TOLD {
        assert!(told.contains(&name), "{name} is not told");
    }
    let mut once = told.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), told.len(), "a name stands twice");
}
