//! What a run did.

use std::collections::BTreeMap;

use pulsegate_write_side::resend::Item;
use serde::Serialize;

/// What a run did, or would do.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Report {
    /// Its number; none where nothing was to be sent.
    pub(super) resend: Option<i64>,
    pub(super) dry_run: bool,
    pub(super) interrupted: bool,
    /// Records of the topic that were read.
    pub(super) looked_at: u64,
    /// Records of the reasons and the time that were asked for.
    pub(super) matching: u64,
    /// Matching records that were sent in again before.
    pub(super) known: u64,
    /// Events that were sent.
    pub(super) sent: u64,
    /// Events that a run which was cut short had sent already.
    pub(super) sent_before: u64,
    /// Items that went back to the topic.
    pub(super) refused: u64,
    /// Heartbeats of more than 7 days ago.
    pub(super) too_old: u64,
    /// Items that are larger than the log takes.
    pub(super) too_large: u64,
    /// Matching records that can't be sent in again, by why.
    pub(super) not_sent: BTreeMap<&'static str, u64>,
    /// Records of which it isn't known whether they arrived; a next run looks them up.
    pub(super) unsettled: i64,
}

impl Report {
    /// Counts what would be done with these, as far as can be told without their accounts.
    pub(super) fn would_do(&mut self, items: &[Item]) {
        for item in items {
            match item {
                Item::Send(_) => self.sent += 1,
                Item::Refused(_) => self.refused += 1,
                Item::TooOld => self.too_old += 1,
            }
        }
    }

    pub(super) fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string_pretty(self)?);
            return Ok(());
        }
        let (sent, refused) =
            if self.dry_run { ("would be sent", "would be refused again") } else { ("sent", "refused again") };
        println!("{} records looked at, {} match", self.looked_at, self.matching);
        println!("{:>9}  {sent}", self.sent);
        for (count, what) in [
            (self.refused, refused),
            (self.known, "were sent in again before"),
            (self.sent_before, "were sent by a run that was cut short"),
            (self.too_old, "happened more than 7 days ago"),
            (self.too_large, "are larger than the log takes"),
        ] {
            if count > 0 {
                println!("{count:>9}  {what}");
            }
        }
        for (why, count) in &self.not_sent {
            println!("{count:>9}  not sent: {why}");
        }
        if self.unsettled > 0 {
            println!("{:>9}  may have arrived or not; run the same command again", self.unsettled);
        }
        Ok(())
    }
}
