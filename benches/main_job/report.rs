//! What was measured, for people and for scripts.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Row as TableRow, Table, presets};
use serde_json::{Value, json};

/// What must be reached.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// Nothing: it is shown for orientation.
    None,
    /// So much of the limit, and so much besides.
    AtLeast { ratio: f64, value: f64 },
    /// Less than so much.
    Below(f64),
    /// No more than so many times the limit.
    Times(f64),
}

/// One figure.
#[derive(Debug)]
pub(crate) struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    limit: Option<f64>,
    target: Target,
    notes: Vec<String>,
    /// Measured beside less load than it should have been.
    is_flawed: bool,
}

impl Row {
    pub(crate) fn new(name: &str, value: f64, unit: &'static str, target: Target) -> Self {
        Self { name: name.to_owned(), value, unit, limit: None, target, notes: Vec::new(), is_flawed: false }
    }

    /// Measured beside less load than it should have been: it reaches nothing.
    pub(crate) const fn flawed(mut self, is_flawed: bool) -> Self {
        self.is_flawed |= is_flawed;
        self
    }

    /// Beside the raw limit of its parts.
    pub(crate) fn limit(mut self, limit: f64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// With how it was measured.
    pub(crate) fn note(mut self, note: &str) -> Self {
        self.notes.push(note.to_owned());
        self
    }

    /// The value as a part, or a multiple, of the limit.
    fn ratio(&self) -> Option<f64> {
        self.limit.map(|limit| self.value / limit)
    }

    /// `None` where nothing must be reached. What is no number reaches nothing.
    fn is_reached(&self) -> Option<bool> {
        let reached = match self.target {
            Target::None => return None,
            Target::AtLeast { ratio, value } => {
                self.value >= value && self.ratio().is_some_and(|reached| reached >= ratio)
            }
            Target::Below(most) => self.value < most,
            Target::Times(most) => self.ratio().is_some_and(|reached| reached <= most),
        };
        Some(reached && !self.is_flawed)
    }

    fn target_text(&self) -> String {
        match self.target {
            Target::None => String::new(),
            Target::AtLeast { ratio, value } if value > 0.0 => format!("≥ {ratio} ×, ≥ {}", number(value)),
            Target::AtLeast { ratio, .. } => format!("≥ {ratio} ×"),
            Target::Below(most) => format!("< {}", number(most)),
            Target::Times(most) => format!("≤ {most} ×"),
        }
    }

    fn json(&self) -> Value {
        json!({"name": self.name, "value": self.value, "unit": self.unit, "limit": self.limit, "ratio": self.ratio()})
    }
}

/// What was measured.
#[derive(Debug)]
pub(crate) struct Report {
    machine: String,
    rows: Vec<Row>,
    failures: Vec<String>,
}

impl Report {
    pub(crate) const fn new(machine: String) -> Self {
        Self { machine, rows: Vec::new(), failures: Vec::new() }
    }

    pub(crate) fn add(&mut self, rows: Vec<Row>) {
        self.rows.extend(rows);
    }

    /// A measure that came to nothing.
    pub(crate) fn fail(&mut self, name: &str, error: &anyhow::Error) {
        self.failures.push(format!("{name} failed: {error:#}"));
    }

    /// Whether everything could be measured, whatever it came to.
    pub(crate) const fn is_whole(&self) -> bool {
        self.failures.is_empty()
    }

    /// Writes the rows for scripts; says where.
    pub(crate) fn write_json(&self) -> anyhow::Result<PathBuf> {
        // The executable lies in `target/<profile>/deps`, wherever the target folder was put.
        let executable = std::env::current_exe()?;
        let target = executable.ancestors().nth(3).context("the executable lies in no target folder")?;
        let path = target.join("bench.json");
        let rows: Vec<_> = self.rows.iter().map(Row::json).collect();
        fs::write(&path, format!("{:#}\n", Value::from(rows)))?;
        Ok(path)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table
            .load_style(presets::UTF8_HORIZONTAL_ONLY)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(["row", "value", "unit", "limit", "ratio", "target", "reached"]);
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        for row in &self.rows {
            let reached = row.is_reached().map_or("", |reached| if reached { "yes" } else { "NO" });
            let mut cells = TableRow::new();
            cells.add_cell(Cell::new(&row.name));
            cells.add_cell(right(number(row.value)));
            cells.add_cell(Cell::new(row.unit));
            cells.add_cell(right(row.limit.map(number).unwrap_or_default()));
            cells.add_cell(right(row.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default()));
            cells.add_cell(Cell::new(row.target_text()));
            cells.add_cell(Cell::new(reached));
            table.add_row(cells);
        }
        writeln!(f, "\n{}\n{table}", self.machine)?;
        for row in self.rows.iter().filter(|row| !row.notes.is_empty()) {
            let flaw = if row.is_flawed { " (less than it should be)" } else { "" };
            writeln!(f, "{}: {}{flaw}", row.name, row.notes.join("; "))?;
        }
        for failure in &self.failures {
            writeln!(f, "{failure}")?;
        }
        Ok(())
    }
}

/// Large numbers in groups of three, small ones with decimals.
fn number(value: f64) -> String {
    if value < 1_000.0 || !value.is_finite() {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}
