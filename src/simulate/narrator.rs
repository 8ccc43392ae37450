//! Answers in words that a person follows.

use chrono::FixedOffset;
use pulsegate_domain::account::{Reason, Verdict};
use pulsegate_domain::ids::DeviceId;
use pulsegate_domain::policy::Scope;
use pulsegate_domain::time::Timestamp;

use super::client::Answer;
use super::line::verdict;

/// Who tells what happens: knows the devices by name, and what time it is here.
#[derive(Clone, Debug)]
pub(crate) struct Narrator {
    /// Names by device id.
    pub(crate) devices: Vec<(String, &'static str)>,
    /// The offset of the local time.
    pub(crate) zone: FixedOffset,
}

impl Narrator {
    /// A time of day here.
    pub(crate) fn time(&self, at: Timestamp) -> String {
        at.to_utc().with_timezone(&self.zone).format("%H:%M:%S").to_string()
    }

    /// What somebody was told.
    pub(crate) fn told(&self, answer: &Answer) -> String {
        match answer {
            Answer::Told(told) => {
                let said = verdict(answer).map_or_else(|| "done".to_owned(), |verdict| self.said(verdict));
                if told.body.provisional { format!("{said} (provisional)") } else { said }
            }
            Answer::Unavailable { retry_after } => format!("not now: try again in {} s", retry_after.as_secs()),
            Answer::Refused { status, code } => format!("refused with {status} {code}"),
            Answer::Failed { status } => format!("failed with {status}"),
            Answer::Lost => "no answer".to_owned(),
            Answer::Unreadable(why) => format!("answered {why}"),
        }
    }

    /// A verdict.
    pub(crate) fn said(&self, verdict: &Verdict) -> String {
        let Some(reason) = verdict.reason else {
            return match (verdict.in_use, verdict.max) {
                (Some(in_use), Some(max)) => format!("allowed ({in_use} of {max})"),
                _ => "allowed".to_owned(),
            };
        };
        match reason {
            Reason::LimitReached => format!("told NO: {}; {}", limit(verdict), self.watching(verdict)),
            Reason::PausedTooLong => "told NO: it was paused for too long and lost its slot".to_owned(),
            Reason::LeaseExpired => "told NO: nothing was heard of it for longer than its lease".to_owned(),
            Reason::NotAsked => "told NO: it never asked for a slot".to_owned(),
            Reason::Stopped => "told that it was stopped".to_owned(),
            Reason::Evicted => format!("told that it was evicted{}", self.by(verdict)),
            Reason::Replaced => format!("told that it was replaced{}", self.by(verdict)),
            Reason::Displaced => format!("told that it was displaced{}", self.by(verdict)),
            Reason::Expired => "told that it has expired".to_owned(),
        }
    }

    /// The sessions in the way.
    fn watching(&self, verdict: &Verdict) -> String {
        let names: Vec<_> = verdict
            .conflicts
            .iter()
            .map(|conflict| format!("{} (since {})", self.device(&conflict.device_id), self.time(conflict.started_at)))
            .collect();
        if names.is_empty() {
            "nobody else is watching".to_owned()
        } else {
            format!("watching now: {}", names.join(", "))
        }
    }

    fn by(&self, verdict: &Verdict) -> String {
        verdict.by.as_ref().map_or_else(String::new, |by| format!(" by {}", self.device(&by.device_id)))
    }

    fn device<'a>(&'a self, id: &'a DeviceId) -> &'a str {
        self.devices.iter().find(|(known, _)| known == id.as_str()).map_or(id.as_str(), |(_, name)| name)
    }
}

/// The rule that is full.
fn limit(verdict: &Verdict) -> String {
    let (Some(policy), Some(rule), Some(max)) = (&verdict.policy, verdict.rule, verdict.max) else {
        return "the limit is reached".to_owned();
    };
    let streams = if max == 1 { "stream" } else { "streams" };
    let scope = match rule {
        Scope::Account => "an account".to_owned(),
        Scope::Title => "a title".to_owned(),
        Scope::Territory => "a territory".to_owned(),
        Scope::RightsHolder => "a rights holder".to_owned(),
        Scope::DeviceClass(class) => format!("an account on {class} devices"),
        Scope::ContentKind(kind) => format!("an account of {kind} content"),
    };
    format!("{policy} allows {max} {streams} {scope}")
}

#[cfg(test)]
mod tests {
    use chrono::Offset;
    use serde_json::json;

    use super::*;

    fn check(verdict: serde_json::Value, expect: &str) {
        let narrator = Narrator {
            devices: vec![("tv".to_owned(), "living-room TV"), ("ben".to_owned(), "Ben's phone")],
            zone: chrono::Utc.fix(),
        };
        let verdict: Verdict = serde_json::from_value(verdict).unwrap();
        assert_eq!(narrator.said(&verdict), expect);
    }

    fn ended(reason: &str, by: &serde_json::Value) -> serde_json::Value {
        json!({"decision": "block", "reason": reason, "policy": "standard@1", "rule": null, "max": null, "in_use": null,
            "conflicts": [], "frees_in_ms": null, "room": false, "by": by})
    }

    #[test]
    fn an_allow_says_how_many_of_how_many() {
        check(
            json!({"decision": "allow", "reason": null, "policy": "standard@1", "rule": "account", "max": 2, "in_use": 1,
                "conflicts": [], "frees_in_ms": 0, "room": true, "by": null}),
            "allowed (1 of 2)",
        );
    }

    #[test]
    fn a_full_account_names_who_is_watching_and_since_when() {
        let conflict = |device: &str, at: &str| {
            json!({"session_id": "019ab0c4-7e1a-7abc-8def-0123456789ab", "device_id": device, "device_class": "tv",
                "title_id": "t", "started_at": at, "last_seen_at": at})
        };
        check(
            json!({"decision": "block", "reason": "limit_reached", "policy": "standard@1", "rule": "account", "max": 2,
                "in_use": 2, "frees_in_ms": 21_000, "room": false, "by": null, "conflicts": [
                    conflict("tv", "2026-11-22T20:47:03.120Z"), conflict("ben", "2026-11-22T20:47:06Z")]}),
            "told NO: standard@1 allows 2 streams an account; watching now: living-room TV (since 20:47:03), \
             Ben's phone (since 20:47:06)",
        );
    }

    #[test]
    fn an_end_says_by_whom() {
        let by = json!({"session_id": "019ab0c4-7e1a-7abc-8def-0123456789ab", "device_id": "ben"});
        check(ended("evicted", &by), "told that it was evicted by Ben's phone");
        check(ended("evicted", &json!(null)), "told that it was evicted");
        check(ended("stopped", &json!(null)), "told that it was stopped");
    }

    #[test]
    fn every_reason_has_its_words() {
        for reason in Reason::ALL {
            let verdict: Verdict = serde_json::from_value(ended(reason.as_str(), &json!(null))).unwrap();
            let narrator = Narrator { devices: Vec::new(), zone: chrono::Utc.fix() };
            assert!(narrator.said(&verdict).starts_with("told "), "{reason:?}");
        }
    }
}
