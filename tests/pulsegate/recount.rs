//! The recount: what each answer should have been, by the log and the rules alone.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::deployment::Deployment;
use crate::straight_line::StraightLine;

/// An answer as a client got it, with the place in the log that it names.
#[derive(Clone, Debug)]
pub(crate) struct Collected {
    pub(crate) account: String,
    pub(crate) session: String,
    pub(crate) verdict: Value,
    pub(crate) as_of: Value,
    pub(crate) provisional: bool,
}

impl Collected {
    /// From the body of an answer that holds a verdict; `None` where it holds none.
    pub(crate) fn from_body(account: &str, session: &str, body: &Value) -> Option<Self> {
        let verdict = body.get("verdict").filter(|verdict| !verdict.is_null())?;
        Some(Self {
            account: account.to_owned(),
            session: session.to_owned(),
            verdict: verdict.clone(),
            as_of: body["as_of"].clone(),
            provisional: body["provisional"] == true,
        })
    }

    fn place(&self) -> (i64, i64) {
        (self.as_of["partition"].as_i64().expect("a partition"), self.as_of["offset"].as_i64().expect("an offset"))
    }

    fn at_ms(&self) -> i64 {
        let at = self.as_of["at"].as_str().expect("a time");
        chrono::DateTime::parse_from_rfc3339(at).expect("RFC 3339").timestamp_millis()
    }
}

/// A record of the log, as `events tail --json` prints it.
pub(crate) struct LogRecord {
    pub(crate) partition: i64,
    pub(crate) offset: i64,
    timestamp_ms: i64,
    key: Option<String>,
    pub(crate) value: String,
}

/// Reads a topic of the deployment from its beginning to its end.
pub(crate) fn read_log(deployment: &Deployment, topic: &str) -> Vec<LogRecord> {
    let printed = deployment.run(&["events", "tail", topic, "--from-beginning", "--until-end", "--json"]);
    let mut records: Vec<_> = printed
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).expect("a line is JSON");
            let stamp = line["timestamp"].as_str().expect("a timestamp");
            LogRecord {
                partition: line["partition"].as_i64().expect("a partition"),
                offset: line["offset"].as_i64().expect("an offset"),
                timestamp_ms: chrono::DateTime::parse_from_rfc3339(stamp).expect("RFC 3339").timestamp_millis(),
                key: line["key"].as_str().map(str::to_owned),
                value: line
                    .get("value")
                    .map_or_else(|| line["text"].as_str().unwrap_or_default().to_owned(), Value::to_string),
            }
        })
        .collect();
    records.sort_by_key(|record| (record.partition, record.offset));
    records
}

/// What a recount found.
pub(crate) struct Recount {
    pub(crate) compared: usize,
    pub(crate) provisional: usize,
    /// What the rules say where a provisional answer was given for an event of its own: `allow` or `block`.
    pub(crate) settled: Vec<(Collected, Option<String>)>,
    pub(crate) model: StraightLine,
    pub(crate) records: Vec<LogRecord>,
}

/// Feeds the log to the model and compares each answer with what the model says at the answer's own
/// place and instant. Answers that were marked provisional are counted, not compared.
pub(crate) fn recount(deployment: &Deployment, answers: &[Collected]) -> Recount {
    let mut model = StraightLine::new();
    for record in read_log(deployment, "catalog") {
        let event: Value = serde_json::from_str(&record.value).expect("the catalog is JSON");
        if event["type"] == "pulsegate.catalog.policy_published.v1" {
            model.publish(&event["data"]);
        }
    }
    let mut due: BTreeMap<(i64, i64), Vec<&Collected>> = BTreeMap::new();
    for answer in answers {
        due.entry(answer.place()).or_default().push(answer);
    }
    let mut compared = 0;
    let mut wrong = Vec::new();
    let mut settled = Vec::new();
    let mut compare = |model: &StraightLine, answers: Vec<&Collected>| {
        for answer in answers {
            if answer.provisional {
                let word = model.verdict(&answer.account, &answer.session, answer.at_ms());
                settled.push((answer.clone(), word.and_then(|word| word["decision"].as_str().map(str::to_owned))));
                continue;
            }
            compared += 1;
            let expected = model.verdict(&answer.account, &answer.session, answer.at_ms());
            if expected.as_ref() != Some(&answer.verdict) {
                wrong.push(format!("{answer:?}\nby the rules: {expected:?}"));
            }
        }
    };
    let records = read_log(deployment, "playback");
    for record in &records {
        let partition = i32::try_from(record.partition).expect("a partition");
        let key = record.key.as_ref().map(String::as_bytes);
        model.record(partition, record.offset, record.timestamp_ms, key, record.value.as_bytes());
        if let Some(answers) = due.remove(&(record.partition, record.offset)) {
            compare(&model, answers);
        }
    }
    due.retain(|_, answers| answers.iter().any(|answer| !answer.provisional));
    assert!(due.is_empty(), "answers name places that the log does not hold: {:?}", due.keys());
    assert!(wrong.is_empty(), "{} of {compared} answers are wrong:\n{}", wrong.len(), wrong.join("\n"));
    let provisional = answers.iter().filter(|answer| answer.provisional).count();
    Recount { compared, provisional, settled, model, records }
}

/// A decision without what depends on the order within one offset.
fn plain(decision: &Value) -> String {
    let at = decision["at"]
        .as_str()
        .map_or(0, |at| chrono::DateTime::parse_from_rfc3339(at).expect("RFC 3339").timestamp_millis());
    format!(
        "{}/{} {at} {} {} {} {} {} {}",
        decision["partition"],
        decision["offset"],
        decision["decision"],
        decision["session_id"],
        decision["reason"],
        decision["rule"],
        decision["max"],
        decision["counted"],
    )
}

/// Whether the decisions that the read model keeps are those of the rules.
pub(crate) fn same_decisions(model: &StraightLine, account: &str, kept: &[Value]) -> bool {
    let by_rules: BTreeSet<_> = model.decisions(account).iter().map(plain).collect();
    let kept: BTreeSet<_> = kept.iter().map(plain).collect();
    by_rules == kept
}
