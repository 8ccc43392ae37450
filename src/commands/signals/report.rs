//! What a run did, and a table of what was refused and why.

use std::collections::BTreeMap;
use std::path::PathBuf;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};
use pulsegate_write_side::adapter::Sighting;
use serde::Serialize;

/// Lines of each kind of refusal that are told.
const LINES_TOLD_MAX: usize = 5;

/// Sightings that are shown of what would be done.
const EXAMPLES_MAX: usize = 3;

/// Where a line stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) file: usize,
    pub(super) line: u64,
}

/// What a run did, or would do.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) dry_run: bool,
    pub(super) interrupted: bool,
    /// Lines that say something.
    pub(super) lines: u64,
    /// Signals that stand in the log now.
    pub(super) sent: u64,
    /// Lines that say nothing new.
    pub(super) thinned: u64,
    /// Lines that are older than their lease.
    pub(super) too_old: u64,
    /// Lines from before what was asked for.
    pub(super) before: u64,
    /// Lines of a time that has not come.
    pub(super) ahead: u64,
    pub(super) not_media: u64,
    pub(super) not_served: u64,
    /// Lines that could not be taken, by the field that is wrong.
    refused: BTreeMap<String, Refused>,
    /// What the first lines say by the mapping; only where nothing is sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    examples: Vec<Example>,
    #[serde(skip)]
    files: Vec<String>,
}

/// What a line says by the mapping.
#[derive(Clone, Debug, Serialize)]
struct Example {
    line: String,
    at: String,
    account_id: String,
    device_id: String,
    title_id: String,
    session_id: Option<String>,
    kind: &'static str,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Refused {
    count: u64,
    /// The first of them, `file:line`.
    first: Vec<String>,
    /// What is wrong with the first.
    detail: String,
}

impl Report {
    pub(super) fn new(dry_run: bool, files: &[PathBuf]) -> Self {
        let name =
            |file: &PathBuf| if file.as_os_str() == "-" { "stdin".to_owned() } else { file.display().to_string() };
        Self { dry_run, files: files.iter().map(name).collect(), ..Self::default() }
    }

    /// `file:line`
    pub(super) fn name(&self, place: Place) -> String {
        format!("{}:{}", self.files.get(place.file).map_or("?", String::as_str), place.line)
    }

    pub(super) fn refuse(&mut self, field: &str, place: Place, detail: String) {
        let name = self.name(place);
        let refused = self.refused.entry(field.to_owned()).or_default();
        refused.count += 1;
        if refused.first.is_empty() {
            refused.detail = detail;
        }
        if refused.first.len() < LINES_TOLD_MAX {
            refused.first.push(name);
        }
    }

    /// Notes what one of the first lines says, for whoever tries a mapping.
    pub(super) fn found(&mut self, place: Place, Sighting { at, signal }: &Sighting) {
        if !self.dry_run || self.examples.len() >= EXAMPLES_MAX {
            return;
        }
        self.examples.push(Example {
            line: self.name(place),
            at: at.to_string(),
            account_id: signal.account_id.to_string(),
            device_id: signal.device_id.to_string(),
            title_id: signal.title_id.to_string(),
            session_id: signal.session_id.map(|session| session.to_string()),
            kind: signal.kind.as_str(),
        });
    }

    pub(super) fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string_pretty(self)?);
            return Ok(());
        }
        println!("{} lines", self.lines);
        println!("{:>9}  signals {}", self.sent, if self.dry_run { "would be sent" } else { "sent" });
        for (count, what) in [
            (self.thinned, "say nothing new of a viewing that is known to be alive"),
            (self.too_old, "are older than their lease: no sign of life now"),
            (self.before, "are from before --since"),
            (self.ahead, "are of a time that has not come: a wrong clock"),
            (self.not_media, "are of something else than manifests and segments"),
            (self.not_served, "are of requests that were not served"),
            (self.refused.values().map(|refused| refused.count).sum(), "could not be taken"),
        ] {
            if count > 0 {
                println!("{count:>9}  {what}");
            }
        }
        for Example { line, at, account_id, device_id, title_id, session_id, kind } in &self.examples {
            let session = session_id.as_ref().map(|session| format!(", session {session}")).unwrap_or_default();
            println!("{line}: {kind} at {at}, account {account_id}, device {device_id}, title {title_id}{session}");
        }
        if !self.refused.is_empty() {
            let mut table = Table::new();
            table.load_style(UTF8_BORDERS_ONLY).set_header(["field", "lines", "first", "why"]);
            for (field, refused) in &self.refused {
                table.add_row([field, &refused.count.to_string(), &refused.first.join("\n"), &refused.detail]);
            }
            if let Some(column) = table.column_mut(1) {
                column.set_cell_alignment(CellAlignment::Right);
            }
            println!("{table}");
        }
        Ok(())
    }
}
