//! What a run comes to: a table for people, JSON for scripts.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Row, Table, presets};
use serde::Serialize;

use super::habits::Habit;
use super::latency::Quantiles;
use super::tally::{Counts, Tally, Violation};

/// What happened in a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Report {
    /// The run's name, part of every account.
    pub(crate) run: String,
    /// The seed of its plan.
    pub(crate) seed: u64,
    /// The service that it met.
    pub(crate) url: String,
    /// Players.
    pub(crate) viewers: usize,
    /// Accounts.
    pub(crate) households: usize,
    /// How long it took, in milliseconds.
    pub(crate) took_ms: u64,
    /// Whether it was ended from outside.
    pub(crate) interrupted: bool,
    /// Calls of the service.
    pub(crate) requests: u64,
    /// What the players of each habit did and were told.
    pub(crate) habits: Vec<HabitRow>,
    /// How long answers took, by call.
    pub(crate) latency: Vec<LatencyRow>,
    /// Things seen that must not happen.
    pub(crate) violations: u64,
    /// The first of them.
    pub(crate) examples: Vec<Violation>,
}

/// The players of one habit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct HabitRow {
    /// Which habit.
    pub(crate) habit: Habit,
    /// How many players have it.
    pub(crate) players: usize,
    /// What they did and were told.
    #[serde(flatten)]
    pub(crate) counts: Counts,
}

/// The answers to one kind of call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct LatencyRow {
    /// Which call.
    pub(crate) call: &'static str,
    /// How long they took.
    #[serde(flatten)]
    pub(crate) quantiles: Quantiles,
}

impl Report {
    /// Whether nothing was seen that must not happen. A run that never got an answer has seen nothing.
    pub(crate) fn is_clean(&self) -> bool {
        self.violations == 0 && !self.latency.is_empty()
    }

    /// The rows of a run, of the habits that somebody had.
    pub(crate) fn habit_rows(tally: &Tally, players: impl Fn(Habit) -> usize) -> Vec<HabitRow> {
        Habit::ALL
            .into_iter()
            .map(|habit| HabitRow { habit, players: players(habit), counts: tally.of(habit) })
            .filter(|row| row.players > 0)
            .collect()
    }

    /// The rows of how long answers took.
    pub(crate) fn latency_rows(tally: &Tally) -> Vec<LatencyRow> {
        tally.latency().into_iter().map(|(call, quantiles)| LatencyRow { call: call.as_str(), quantiles }).collect()
    }

    /// The whole report in words and tables.
    pub(crate) fn in_words(&self) -> String {
        let mut text = format!(
            "run {} (seed {}): {} viewers of {} households, {} requests in {:.1} s{}\n\n{}\n\n{}\n",
            self.run,
            self.seed,
            self.viewers,
            self.households,
            self.requests,
            seconds(self.took_ms),
            if self.interrupted { ", ended early" } else { "" },
            self.habit_table(),
            self.latency_table(),
        );
        text.push_str(&self.notes());
        text.push_str(&self.findings());
        text
    }

    /// The few lines that close a scene.
    pub(crate) fn closing(&self, account: &str) -> String {
        let scene = self.habits.iter().find(|row| row.habit == Habit::Scene).map(|row| row.counts.clone());
        let scene = scene.unwrap_or_default();
        let took = |call: &str| {
            let row = self.latency.iter().find(|row| row.call == call);
            row.map_or_else(|| "-".to_owned(), |row| format!("{:.1} ms", row.quantiles.p50_ms))
        };
        format!(
            "the household: {} starts, {} allowed, {} told no, {} evicted\n\
             with everybody else: {} viewers, {} requests in {:.0} s; half of the starts answered within {}, \
             heartbeats {}, checks {}\n{}\
             each decision with its offset in the log: curl {}/v1/accounts/{account}/decisions\n",
            scene.starts,
            scene.allowed,
            scene.blocked,
            scene.evictions,
            self.viewers,
            self.requests,
            seconds(self.took_ms),
            took("start"),
            took("heartbeat"),
            took("check"),
            self.findings(),
            self.url,
        )
    }

    /// What was seen that must not happen, a line each.
    pub(crate) fn findings(&self) -> String {
        if self.latency.is_empty() {
            return "no answer at all: nothing is known about the limit\n".to_owned();
        }
        if self.violations == 0 {
            return "violations: none; no household held more slots than its limit at any offset\n".to_owned();
        }
        let mut lines = vec![format!("violations: {}\n", self.violations)];
        let line = |Violation { account, about, what }: &Violation| format!("  {account}: {about}: {what}\n");
        lines.extend(self.examples.iter().map(line));
        let kept = u64::try_from(self.examples.len()).unwrap_or(u64::MAX);
        if kept < self.violations {
            lines.push(format!("  … and {} more\n", self.violations - kept));
        }
        lines.concat()
    }

    fn habit_table(&self) -> Table {
        let mut table = plain_table([
            "habit",
            "players",
            "starts",
            "allowed",
            "blocked",
            "beats",
            "accepted",
            "refused",
            "late",
            "stops",
            "evictions",
            "503",
            "lost",
            "ended (410)",
        ]);
        for HabitRow { habit, players, counts } in &self.habits {
            let ended: Vec<_> = counts.ended.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
            let mut row = Row::new();
            row.add_cell(Cell::new(habit.as_str()));
            row.add_cell(Cell::new(players).set_alignment(CellAlignment::Right));
            for count in [
                counts.starts,
                counts.allowed,
                counts.blocked,
                counts.heartbeats,
                counts.accepted,
                counts.refused,
                counts.late,
                counts.stops,
                counts.evictions,
                counts.unavailable,
                counts.lost,
            ] {
                row.add_cell(Cell::new(count).set_alignment(CellAlignment::Right));
            }
            row.add_cell(Cell::new(ended.join(", ")));
            table.add_row(row);
        }
        table
    }

    fn latency_table(&self) -> Table {
        let mut table = plain_table(["call", "answers", "p50 ms", "p95 ms", "p99 ms", "max ms"]);
        for LatencyRow { call, quantiles } in &self.latency {
            let mut row = Row::new();
            row.add_cell(Cell::new(call));
            row.add_cell(Cell::new(quantiles.count).set_alignment(CellAlignment::Right));
            for ms in [quantiles.p50_ms, quantiles.p95_ms, quantiles.p99_ms, quantiles.max_ms] {
                row.add_cell(Cell::new(format!("{ms:.1}")).set_alignment(CellAlignment::Right));
            }
            table.add_row(row);
        }
        table
    }

    /// What doesn't fit into a column and isn't there in most runs.
    fn notes(&self) -> String {
        let sum = |of: fn(&Counts) -> u64| self.habits.iter().map(|row| of(&row.counts)).sum::<u64>();
        let notes = [
            (sum(|counts| counts.ignored_blocks), "heartbeats of players that play on though they were told no"),
            (sum(|counts| counts.mischief_refused), "wrong requests refused, as they should be"),
            (sum(|counts| counts.provisional), "provisional answers"),
            (sum(|counts| counts.signals), "signals"),
        ];
        let mut lines: Vec<_> =
            notes.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{what}: {count}\n")).collect();
        for row in &self.habits {
            for (problem, count) in &row.counts.problems {
                lines.push(format!("refused to {}: {problem}, {count} times\n", row.habit.as_str()));
            }
        }
        lines.concat()
    }
}

fn plain_table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    table
}

fn seconds(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::simulate::tally::Call;

    fn report(violations: usize) -> Report {
        let tally = Tally::default();
        tally.count(Habit::Zapping, |counts| {
            counts.starts = 7;
            counts.ended.insert("replaced", 6);
        });
        tally.called(Call::Start, Some(Duration::from_millis(3)));
        for _ in 0..violations {
            let text = str::to_owned;
            tally.violated(Violation { account: text("a"), about: text("start"), what: text("too many") });
        }
        Report {
            run: "r1".to_owned(),
            seed: 1,
            url: "http://127.0.0.1:8080".to_owned(),
            viewers: 1,
            households: 1,
            took_ms: 1_500,
            interrupted: false,
            requests: 8,
            habits: Report::habit_rows(&tally, |habit| usize::from(habit == Habit::Zapping)),
            latency: Report::latency_rows(&tally),
            violations: tally.violations(),
            examples: tally.examples(),
        }
    }

    #[test]
    fn a_report_has_a_row_for_each_habit_that_somebody_had() {
        let text = report(0).in_words();
        assert!(text.contains("zapping") && text.contains("replaced 6") && !text.contains("autoplay"), "{text}");
        assert!(text.contains("violations: none"), "{text}");
    }

    #[test]
    fn a_violation_makes_a_report_unsound_and_so_does_silence() {
        assert!(report(0).is_clean());
        let broken = report(103);
        assert!(!broken.is_clean() && broken.findings().ends_with("… and 3 more\n"), "{}", broken.findings());
        let mut silent = report(0);
        silent.latency.clear();
        assert!(!silent.is_clean());
    }

    #[test]
    fn as_json_a_habit_is_one_flat_object() {
        let json = serde_json::to_value(report(0)).unwrap();
        assert_eq!(json["habits"][0]["habit"], "zapping");
        assert_eq!(json["habits"][0]["ended"]["replaced"], 6);
        assert_eq!(json["latency"][0]["call"], "start");
    }
}
