//! Rules, dashboard and runbook name only what there is.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::page::Page;
use crate::deployment::root;

/// Labels that Prometheus adds, or that every histogram has.
const GIVEN_LABELS: [&str; 3] = ["job", "instance", "le"];

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A rule, as ops/observe/alerts.yml lays each out: a line a field.
#[derive(Default)]
struct Alert {
    name: String,
    fields: Vec<(String, String)>,
}

impl Alert {
    fn field(&self, field: &str) -> &str {
        let Some((_, value)) = self.fields.iter().find(|(name, _)| name == field) else {
            panic!("{} has no {field}", self.name)
        };
        value
    }
}

fn alerts() -> Vec<Alert> {
    let mut alerts: Vec<Alert> = Vec::new();
    for line in read("ops/observe/alerts.yml").lines() {
        let Some((field, value)) = line.trim_start().trim_start_matches("- ").split_once(':') else { continue };
        let value = value.trim().trim_matches('"').to_owned();
        match (field, alerts.last_mut()) {
            ("alert", _) => alerts.push(Alert { name: value, fields: Vec::new() }),
            ("expr" | "for" | "labels" | "summary" | "runbook_url", Some(alert)) => {
                alert.fields.push((field.to_owned(), value));
            }
            _ => {}
        }
    }
    alerts
}

/// Every query of the dashboard, under its panel's title.
fn queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&read("ops/observe/dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let of = |panel: &Value| {
        let title = panel["title"].as_str().expect("a title").to_owned();
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets
            .into_iter()
            .map(move |target| (title.clone(), target["expr"].as_str().expect("a query").to_owned()))
            .collect::<Vec<_>>()
    };
    panels.iter().flat_map(of).collect()
}

/// What a query names: words and what stands in quotes, in order, and every other character by itself.
#[derive(Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    Text(&'a str),
    Sign(char),
}

fn tokens(query: &str) -> Vec<Token<'_>> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_:.".contains(c);
    let mut tokens = Vec::new();
    let mut rest = query.trim_start();
    while let Some(first) = rest.chars().next() {
        let taken = if first == '"' {
            let end = rest[1..].find('"').unwrap_or_else(|| panic!("an open quote: {query}"));
            tokens.push(Token::Text(&rest[1..=end]));
            end + 2
        } else if is_word(first) {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            tokens.push(Token::Word(&rest[..end]));
            end
        } else {
            tokens.push(Token::Sign(first));
            first.len_utf8()
        };
        rest = rest[taken..].trim_start();
    }
    tokens
}

/// What is wrong with the metrics and labels that a query names.
fn wrong_with(query: &str, page: &Page) -> Vec<String> {
    let mut wrong = Vec::new();
    let tokens = tokens(query);
    let mut labels: BTreeSet<String> = GIVEN_LABELS.iter().map(|label| (*label).to_owned()).collect();
    let mut grouped = Vec::new();
    let mut metrics = 0;
    for (at, token) in tokens.iter().enumerate() {
        let Token::Word(word) = token else { continue };
        if word.starts_with("pulsegate_") {
            metrics += 1;
            let Some(metric) = page.metric(word) else {
                wrong.push(format!("there is no metric {word}"));
                continue;
            };
            labels.extend(metric.labels.iter().cloned());
            if tokens.get(at + 1) == Some(&Token::Sign('{')) {
                let inside = tokens[at + 2..].iter().take_while(|token| **token != Token::Sign('}'));
                for token in inside {
                    if let Token::Word(label) = token
                        && !metric.labels.contains(*label)
                        && !GIVEN_LABELS.contains(label)
                    {
                        wrong.push(format!("{word} has no label {label}"));
                    }
                }
            }
        } else if ["by", "without", "on", "ignoring"].contains(word) && tokens.get(at + 1) == Some(&Token::Sign('(')) {
            let inside = tokens[at + 2..].iter().take_while(|token| **token != Token::Sign(')'));
            grouped.extend(inside.filter_map(|token| if let Token::Word(label) = token { Some(*label) } else { None }));
        }
    }
    if metrics == 0 {
        wrong.push("it names no metric".to_owned());
    }
    wrong.extend(grouped.iter().filter(|label| !labels.contains(**label)).map(|label| format!("nothing has {label}")));
    wrong
}

#[test]
fn a_wrong_name_in_a_query_is_noticed() {
    let page = Page::read();
    let wrong = |query| wrong_with(query, &page);
    assert!(wrong("sum by (topic) (rate(pulsegate_log_appended_total{topic=\"playback\"}[5m])) > 0.01").is_empty());
    assert!(wrong("sum by (le) (rate(pulsegate_log_append_seconds_bucket[5m]))").is_empty());
    assert_eq!(wrong("pulsegate_log_appended"), ["there is no metric pulsegate_log_appended"]);
    assert_eq!(wrong("pulsegate_ready_bucket"), ["there is no metric pulsegate_ready_bucket"]);
    assert_eq!(wrong("pulsegate_log_append_seconds"), ["there is no metric pulsegate_log_append_seconds"]);
    assert_eq!(wrong("pulsegate_ready{topic=~\"a}\"}"), ["pulsegate_ready has no label topic"]);
    assert_eq!(wrong("max by (partition) (pulsegate_ready)"), ["nothing has partition"]);
    assert_eq!(wrong("vector(1)"), ["it names no metric"]);
}

#[test]
fn alerts_and_dashboard_name_what_is_measured() {
    let page = Page::read();
    let (alerts, queries) = (alerts(), queries());
    assert!(alerts.len() > 20 && queries.len() > 20, "{} alerts, {} queries", alerts.len(), queries.len());
    let of_alerts = alerts.iter().map(|alert| (alert.name.clone(), alert.field("expr").to_owned()));
    for (name, query) in of_alerts.chain(queries) {
        assert_eq!(wrong_with(&query, &page), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn each_alert_says_how_bad_it_is_and_what_to_do() {
    let runbook = read("docs/runbook.md");
    let tested = read("ops/observe/alerts.test.yml");
    let headings: BTreeSet<_> = runbook.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let alerts = alerts();
    for alert in &alerts {
        assert!(["{severity: page}", "{severity: ticket}"].contains(&alert.field("labels")), "{}", alert.name);
        assert!(alert.field("for").ends_with(['m', 'h']), "{}", alert.name);
        assert!(alert.field("summary").len() > 20, "{}", alert.name);
        assert_eq!(alert.field("runbook_url"), format!("docs/runbook.md#{}", alert.name.to_lowercase()));
        assert!(headings.contains(alert.name.as_str()), "docs/runbook.md has no {}", alert.name);
        assert!(tested.contains(&format!("alertname: {}", alert.name)), "ops/observe/alerts.test.yml: {}", alert.name);
    }
    let names: BTreeSet<_> = alerts.iter().map(|alert| alert.name.as_str()).collect();
    assert_eq!(headings.difference(&names).collect::<Vec<_>>(), Vec::<&&str>::new(), "nothing fires these");
}

#[test]
fn the_dashboard_asks_whichever_prometheus_is_chosen() {
    let text = read("ops/observe/dashboard.json");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(dashboard["templating"]["list"][0]["name"], "datasource");
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        assert!(ids.insert(panel["id"].as_i64()), "two panels have one id: {}", panel["title"]);
        if panel["type"] != "row" {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
            assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{}", panel["title"]);
        }
    }
}
