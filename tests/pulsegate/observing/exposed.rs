//! What `/metrics` says, read.

use std::collections::BTreeMap;

type Labels = Vec<(String, String)>;

/// The samples of one metric.
#[derive(Debug, Default)]
pub(crate) struct Family {
    pub(crate) kind: String,
    /// Each with its labels.
    pub(crate) samples: Vec<(Labels, f64)>,
}

/// Every metric by its name; a histogram's counts stand under the histogram's.
#[derive(Debug, Default)]
pub(crate) struct Exposed(pub(crate) BTreeMap<String, Family>);

impl Exposed {
    pub(crate) fn read(text: &str) -> Self {
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let mut current = String::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(declared) = line.strip_prefix("# TYPE ") {
                let (name, kind) = declared.split_once(' ').expect("a name and a type");
                name.clone_into(&mut current);
                kind.clone_into(&mut families.entry(name.to_owned()).or_default().kind);
            } else if !line.starts_with('#') {
                let (sample, value) = line.rsplit_once(' ').expect("a value");
                let (name, labels) = sample.split_once('{').unwrap_or((sample, "}"));
                let part = name.strip_prefix(current.as_str()).unwrap_or_else(|| panic!("{name} has no type"));
                let family = families.get_mut(&current).expect("declared");
                // Of a histogram its count is enough.
                if family.kind == "histogram" && part != "_count" {
                    continue;
                }
                let labels = read_labels(labels.trim_end_matches('}'));
                family.samples.push((labels, value.parse().expect("a number")));
            }
        }
        Self(families)
    }

    /// The value of the first sample with these labels; of a histogram, `name_count`.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let family = self.0.get(name).or_else(|| self.0.get(name.strip_suffix("_count")?))?;
        let has = |of: &Labels| labels.iter().all(|(label, value)| of.iter().any(|(l, v)| l == label && v == value));
        family.samples.iter().find(|(of, _)| has(of)).map(|(_, value)| *value)
    }
}

fn read_labels(text: &str) -> Labels {
    // No value of ours holds a quote or a comma within quotes.
    let pairs = text.split("\",").filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (label, value) = pair.split_once("=\"").expect("a label and its value");
        (label.to_owned(), value.trim_end_matches('"').to_owned())
    };
    pairs.map(pair).collect()
}
