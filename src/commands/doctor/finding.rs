//! What was found, and how it is shown.

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

/// How wide the table is, in characters, where no terminal says how wide it may be.
const WIDTH: u16 = 120;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing is broken by it.
    Note,
    /// It must be mended.
    Wrong,
    /// It could not be looked at, because of something else that is wrong, or here.
    Unknown,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    check: &'static str,
    of: String,
    state: State,
    says: String,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

/// Everything that was found, in the order in which it was looked at.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<Finding>);

#[derive(Serialize)]
struct Shown<'a> {
    sound: bool,
    findings: &'a [Finding],
}

impl Report {
    pub(super) fn ok(&mut self, check: &'static str, of: impl Into<String>, says: impl Into<String>) {
        self.add(check, of, State::Ok, says, None);
    }

    pub(super) fn unknown(&mut self, check: &'static str, of: impl Into<String>, says: impl Into<String>) {
        self.add(check, of, State::Unknown, says, None);
    }

    pub(super) fn note(
        &mut self,
        check: &'static str,
        of: impl Into<String>,
        says: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.add(check, of, State::Note, says, Some(fix.into()));
    }

    pub(super) fn wrong(
        &mut self,
        check: &'static str,
        of: impl Into<String>,
        says: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.add(check, of, State::Wrong, says, Some(fix.into()));
    }

    fn add(
        &mut self,
        check: &'static str,
        of: impl Into<String>,
        state: State,
        says: impl Into<String>,
        fix: Option<String>,
    ) {
        self.0.push(Finding { check, of: of.into(), state, says: says.into(), fix });
    }

    /// Whether nothing is wrong.
    pub(super) fn is_sound(&self) -> bool {
        self.0.iter().all(|finding| finding.state != State::Wrong)
    }

    pub(super) fn show(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string_pretty(&Shown { sound: self.is_sound(), findings: &self.0 })?);
            return Ok(());
        }
        let mut table = Table::new();
        table.load_style(UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
        if table.width().is_none() {
            table.set_width(WIDTH);
        }
        table.set_header(["", "check", "of", "what was found", "how to mend it"]);
        for Finding { check, of, state, says, fix } in &self.0 {
            let mark = match state {
                State::Ok => "ok",
                State::Note => "note",
                State::Wrong => "WRONG",
                State::Unknown => "?",
            };
            table.add_row([mark, *check, of, says, fix.as_deref().unwrap_or_default()]);
        }
        println!("{table}");
        let count = |state| self.0.iter().filter(|finding| finding.state == state).count();
        let (wrong, notes, unknown) = (count(State::Wrong), count(State::Note), count(State::Unknown));
        println!("wrong: {wrong}, notes: {notes}, could not be looked at: {unknown}");
        Ok(())
    }
}
