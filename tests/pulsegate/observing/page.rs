//! docs/metrics.md, read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::deployment::root;

/// What the page says of a metric.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) kind: String,
    pub(crate) labels: BTreeSet<String>,
    /// It is there only from its first case on.
    pub(crate) is_born_late: bool,
}

/// The page: every metric by its name.
pub(crate) struct Page {
    pub(crate) metrics: BTreeMap<String, Metric>,
}

impl Page {
    pub(crate) fn read() -> Self {
        let text = fs::read_to_string(root().join("docs/metrics.md")).expect("the page of metrics");
        let mut metrics = BTreeMap::new();
        for line in text.lines().filter(|line| line.starts_with("| `pulsegate_")) {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let ["", name, kind, labels, _unit, says, ""] = cells[..] else { panic!("not five columns: {line}") };
            assert!(!says.is_empty(), "{name} says nothing");
            let labels = labels.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            let metric = Metric { kind: kind.to_owned(), labels, is_born_late: name.ends_with('†') };
            let name = name.trim_end_matches('†').trim().trim_matches('`').to_owned();
            assert!(metrics.insert(name.clone(), metric).is_none(), "{name} stands there twice");
        }
        Self { metrics }
    }

    /// The metric that a name in a query means, a histogram's parts among them.
    pub(crate) fn metric(&self, name: &str) -> Option<&Metric> {
        self.metrics.get(name).filter(|metric| metric.kind != "histogram").or_else(|| {
            let whole = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part))?;
            self.metrics.get(whole).filter(|metric| metric.kind == "histogram")
        })
    }
}
