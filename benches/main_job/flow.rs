//! The heartbeats that flow while something else is measured: one a request, as players send them.

use crate::load::{Measured, Span, open_loop};
use crate::node::Node;
use crate::report::Row;
use crate::scale::{float, median};
use crate::viewers::{Watching, settle, watching};

/// Heartbeats a second.
pub(crate) const PER_S: u32 = 5_000;
/// Connections that they come over.
const CONNECTIONS: usize = 64;
/// Sessions that send them: each is heard about every ten seconds, as a player is.
pub(crate) const SESSIONS: usize = 781 * CONNECTIONS;

/// The viewers, and what came of their heartbeats.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) crowd: Vec<Watching>,
    per_s: Vec<f64>,
}

impl Flow {
    pub(crate) fn new() -> Self {
        Self { crowd: watching(SESSIONS, CONNECTIONS), per_s: Vec::new() }
    }

    /// Every viewer has its slot, and the read model knows.
    pub(crate) async fn settle(&mut self, node: &Node) -> anyhow::Result<()> {
        settle(node, &mut self.crowd).await
    }

    /// Lets them flow for a span.
    pub(crate) async fn run(&mut self, node: &Node, span: Span) -> anyhow::Result<()> {
        let (Measured { per_s, .. }, crowd) =
            open_loop(node.address, std::mem::take(&mut self.crowd), PER_S, span).await?;
        self.crowd = crowd;
        self.per_s.push(per_s);
        Ok(())
    }

    /// A row that was measured beside a flow that wasn't what it should be has reached nothing.
    pub(crate) fn judge(&self, row: Row) -> Row {
        let per_s = median(self.per_s.clone());
        let note = format!("{per_s:.0} heartbeats/s flowed, one a request");
        row.note(&note).flawed(per_s < 0.97 * float(u64::from(PER_S)))
    }
}
