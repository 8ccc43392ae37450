//! An explanation in words that can be read out to whoever asks.

use pulsegate_domain::account::explain::{Evidence, ExplainedDecision, Said, SessionThen, Step, StepOutcome};
use pulsegate_domain::account::{DecisionKind, Reason, Verdict};
use pulsegate_domain::ids::SessionId;
use pulsegate_domain::time::Timestamp;

use super::Explained;

/// The whole explanation; `session` is whom it is about.
pub(super) fn of(explained: &Explained<'_>, session: Option<SessionId>) -> String {
    let Explained { account_id, partition, offset, skipped, explanation } = explained;
    let mut text = String::new();
    let mut line = |words: String| {
        text.push_str(&words);
        text.push('\n');
    };
    line(format!("{account_id} as of {} UTC: partition {partition} up to offset {offset}", moment(explanation.at)));
    let first = explanation.first_at.map_or_else(String::new, |first| format!(", the first of {}", moment(first)));
    let passed_over = if *skipped == 0 { String::new() } else { format!("; {skipped} records passed over") };
    line(format!("{} events of it{first}{passed_over}", explanation.events));

    line(String::new());
    match explanation.last_no(session) {
        Some(step) => {
            let what = step.verdict.as_ref().map_or_else(String::new, verdict);
            let whose = whose(step.device_id.as_ref(), step.session_id, step.title_id.as_ref());
            line(format!("{} {whose}: {what}", moment(step.at)));
            line(format!("  at record {partition}/{}: {}", step.offset, said(step.said)));
            for (rank, evidence) in step.counted.iter().enumerate() {
                line(format!("  {}. {}", rank + 1, counted(evidence, *partition)));
            }
        }
        None => line(match session {
            Some(session) => format!("session {session} was not told no within the steps below"),
            None => "nobody was told no within the steps below".to_owned(),
        }),
    }

    line(String::new());
    line("sessions then".to_owned());
    for then in &explanation.sessions {
        line(format!("  {}", session_then(then, *partition)));
    }
    if explanation.sessions.is_empty() {
        line("  none".to_owned());
    }

    line(String::new());
    line("step by step".to_owned());
    if explanation.steps_before > 0 {
        line(format!("  … {} steps before (--steps)", explanation.steps_before));
    }
    for step in &explanation.steps {
        line(format!("  {}", words_of_step(step, *partition)));
        for decided in &step.decisions {
            line(format!("      {}", decision(decided)));
        }
    }
    text
}

fn words_of_step(step: &Step, partition: i32) -> String {
    let whose = whose(step.device_id.as_ref(), step.session_id, step.title_id.as_ref());
    let times = if step.count > 1 { format!(" × {} since {}", step.count, clock(step.since)) } else { String::new() };
    let place = match step.said {
        Said::Silence => "no record".to_owned(),
        _ => format!("{partition}/{}", step.offset),
    };
    let came = match step.outcome {
        StepOutcome::TakenUp => step.verdict.as_ref().map_or_else(String::new, |then| format!(" → {}", verdict(then))),
        StepOutcome::Stale => " → renewed its lease, nothing else: its sequence is not above the last".to_owned(),
        StepOutcome::Aged => " → changed nothing: it is older than its lease".to_owned(),
        StepOutcome::Mismatch => " → changed nothing: it names another device or title than its session's".to_owned(),
        StepOutcome::AlreadyEnded => " → changed nothing: its session had ended".to_owned(),
        StepOutcome::Lapsed => " → its slot is free".to_owned(),
    };
    format!("{} {place} {whose}: {}{times}{came}", moment(step.at), said(step.said))
}

fn said(said: Said) -> String {
    match said {
        Said::Started => "asked to play".to_owned(),
        Said::Heartbeat { state, sequence, late_ms } => {
            let late = if late_ms == 0 { String::new() } else { format!(", sent {} late", length(late_ms)) };
            format!("heartbeat {sequence}, {state}{late}")
        }
        Said::Stopped => "stopped".to_owned(),
        Said::Evicted => "evicted".to_owned(),
        Said::Signal { signal, named } => {
            let by = if named { "" } else { ", by its device" };
            format!("signal {signal}{by}")
        }
        Said::Silence => "not heard of for too long".to_owned(),
    }
}

fn verdict(verdict: &Verdict) -> String {
    let used = match (verdict.in_use, verdict.max, verdict.rule, &verdict.policy) {
        (Some(in_use), Some(max), Some(rule), Some(policy)) => format!("{in_use} of {max} in {rule} by {policy}"),
        _ => String::new(),
    };
    let Some(reason) = verdict.reason else { return format!("may play, {used}") };
    let by = verdict.by.as_ref().map_or_else(String::new, |by| format!(" by {}", by.device_id));
    match reason {
        Reason::LimitReached if verdict.room => format!("was told no and may ask again now, {used}"),
        Reason::LimitReached => {
            let frees =
                verdict.frees_in_ms.map_or_else(String::new, |ms| format!(", the next frees in {}", length(ms)));
            format!("told no, {used}{frees}")
        }
        Reason::PausedTooLong => "gave its slot up: paused for too long".to_owned(),
        Reason::LeaseExpired => "gave its slot up: not heard of for too long".to_owned(),
        Reason::NotAsked => "holds no slot and has not asked for one".to_owned(),
        Reason::Stopped => "ended: its player stopped".to_owned(),
        Reason::Evicted => format!("ended: evicted{by}"),
        Reason::Replaced => format!("ended: its device went on to another stream{by}"),
        Reason::Displaced => format!("ended: a newer stream took its slot{by}"),
        Reason::Expired => "ended: not heard of for an hour".to_owned(),
    }
}

fn decision(decided: &ExplainedDecision) -> String {
    let decision = &decided.decision;
    let rule = match (decision.rule, decision.max, &decision.policy) {
        (Some(rule), Some(max), Some(policy)) => format!(" ({rule} {max} by {policy})"),
        _ => String::new(),
    };
    let device = decision.device_id.as_ref().map_or_else(|| short(decision.session_id), ToString::to_string);
    match decision.decision {
        DecisionKind::Grant => format!("{device} got a slot{rule}, beside {} others", decision.counted.len()),
        DecisionKind::Refuse => format!("{device} was refused{rule}, counting {}", decision.counted.len()),
        DecisionKind::End => {
            let reason = decision.reason.map_or("", Reason::as_str);
            let by = decision.by.as_ref().map_or_else(String::new, |by| format!(" by {}", by.device_id));
            format!("{device} ended: {reason}{by}{rule}")
        }
    }
}

fn counted(evidence: &Evidence, partition: i32) -> String {
    let whose = whose(Some(&evidence.device_id), evidence.session_id, Some(&evidence.title_id));
    format!(
        "{whose} counted: {} {} before, at {partition}/{} by {}; alive until {}",
        said(evidence.said),
        length(evidence.age_ms),
        evidence.offset,
        evidence.source,
        clock(evidence.alive_until),
    )
}

fn session_then(then: &SessionThen, partition: i32) -> String {
    let whose = whose(then.device_id.as_ref(), then.session_id, then.title_id.as_ref());
    let heard = then.evidence.as_ref().map_or_else(String::new, |evidence| {
        let (what, ago) = (said(evidence.said), length(evidence.age_ms));
        format!("; last heard of {ago} before: {what} at {partition}/{} by {}", evidence.offset, evidence.source)
    });
    format!("{whose}: {}{heard}", verdict(&then.verdict))
}

fn whose(device: Option<&impl ToString>, session: SessionId, title: Option<&impl ToString>) -> String {
    let device = device.map_or_else(|| "unknown device".to_owned(), ToString::to_string);
    let title = title.map_or_else(String::new, |title| format!(" with {}", title.to_string()));
    format!("{device} [{}]{title}", short(session))
}

/// The end of an id: the beginnings of those made at one time are alike.
fn short(session: SessionId) -> String {
    let id = session.to_string();
    id.get(id.len() - 12..).unwrap_or(&id).to_owned()
}

fn moment(at: Timestamp) -> String {
    at.to_utc().format("%F %H:%M:%S%.3f").to_string()
}

fn clock(at: Timestamp) -> String {
    at.to_utc().format("%H:%M:%S%.3f").to_string()
}

fn length(ms: u64) -> String {
    match ms {
        0..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms / 1_000 % 60),
        _ => format!("{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pulsegate_domain::account::explain::Explainer;
    use pulsegate_domain::account::{Place, PlacedEvent};
    use pulsegate_domain::event::{PlaybackEvent, decode};
    use pulsegate_domain::ids::AccountId;
    use pulsegate_domain::policy::PolicySet;
    use serde_json::{Value, json};

    use super::*;

    /// An evening of one household: after so many seconds, which device, what.
    const EVENING: [(i64, &str, &str); 12] = [
        (0, "tv", "started"),
        (1, "phone", "started"),
        (10, "tv", "playing"),
        (11, "phone", "playing"),
        (20, "tv", "playing"),
        (21, "phone", "paused"),
        (23, "tablet", "started"),
        (30, "tv", "playing"),
        (31, "tablet", "blocked"),
        (35, "phone", "stopped"),
        (36, "tablet", "started"),
        (37, "tv", "manifest"),
    ];

    fn data((device, what): (&str, &str), sequence: i64) -> (String, Value) {
        let number = ["tv", "phone", "tablet"].iter().position(|known| *known == device).unwrap();
        let mut data = json!({
            "account_id": "acc-1", "session_id": format!("00000000-0000-4000-8000-00000000000{number}"),
            "device_id": device, "title_id": "the-long-tide", "policy": "standard@1",
        });
        let kind = match what {
            "started" | "stopped" => what,
            "manifest" => {
                data["kind"] = json!(what);
                "signal"
            }
            state => {
                let more = json!({"sequence": sequence, "elapsed_ms": 0, "position_ms": 0, "state": state});
                data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                "heartbeat"
            }
        };
        (kind.to_owned(), data)
    }

    fn words_at(seconds: i64, session: Option<&str>) -> String {
        let policies = Arc::new(PolicySet::default());
        let at = |seconds: i64| Timestamp::from_millis(1_795_380_400_000 + seconds * 1_000);
        let mut fold = Explainer::new(40);
        let until_then = EVENING.iter().zip(0..).filter(|((after, ..), _)| *after <= seconds);
        for ((after, device, what), offset) in until_then {
            let (kind, data) = data((device, what), offset);
            let source = if kind == "signal" { "/v1/signals" } else { "/v1/accounts/sessions" };
            let value = json!({"id": "1", "type": format!("pulsegate.playback.{kind}.v1"), "data": data});
            let value = serde_json::to_vec(&value).unwrap();
            let event = decode::<PlaybackEvent>(&value).unwrap().event;
            let place = Place { offset, at: at(*after) };
            let (id, source) = (offset.to_string(), source.to_owned());
            fold.apply(&PlacedEvent { id, source, event, place, policies: Arc::clone(&policies) }).unwrap();
        }
        let explanation = fold.explanation(at(seconds), &policies);
        let account_id: AccountId = "acc-1".parse().unwrap();
        let told =
            Explained { account_id: &account_id, partition: 7, offset: 11, skipped: 0, explanation: &explanation };
        of(&told, session.map(|id| id.parse().unwrap()))
    }

    #[test]
    fn why_the_tablet_was_told_no() {
        insta::assert_snapshot!(words_at(32, None), @r"
        acc-1 as of 2026-11-22 20:47:12.000 UTC: partition 7 up to offset 11
        9 events of it, the first of 2026-11-22 20:46:40.000

        2026-11-22 20:47:11.000 tablet [000000000002] with the-long-tide: told no, 2 of 2 in account by standard@1, the next frees in 15.0 s
          at record 7/8: heartbeat 8, blocked
          1. tv [000000000000] with the-long-tide counted: heartbeat 7, playing 1.0 s before, at 7/7 by /v1/accounts/sessions; alive until 20:47:35.000
          2. phone [000000000001] with the-long-tide counted: heartbeat 5, paused 10.0 s before, at 7/5 by /v1/accounts/sessions; alive until 20:47:26.000

        sessions then
          tv [000000000000] with the-long-tide: may play, 2 of 2 in account by standard@1; last heard of 2.0 s before: heartbeat 7, playing at 7/7 by /v1/accounts/sessions
          phone [000000000001] with the-long-tide: may play, 2 of 2 in account by standard@1; last heard of 11.0 s before: heartbeat 5, paused at 7/5 by /v1/accounts/sessions
          tablet [000000000002] with the-long-tide: told no, 2 of 2 in account by standard@1, the next frees in 14.0 s; last heard of 1.0 s before: heartbeat 8, blocked at 7/8 by /v1/accounts/sessions

        step by step
          2026-11-22 20:46:40.000 7/0 tv [000000000000] with the-long-tide: asked to play → may play, 1 of 2 in account by standard@1
              tv got a slot (account 2 by standard@1), beside 0 others
          2026-11-22 20:46:41.000 7/1 phone [000000000001] with the-long-tide: asked to play → may play, 2 of 2 in account by standard@1
              phone got a slot (account 2 by standard@1), beside 1 others
          2026-11-22 20:46:51.000 7/3 phone [000000000001] with the-long-tide: heartbeat 3, playing → may play, 2 of 2 in account by standard@1
          2026-11-22 20:47:00.000 7/4 tv [000000000000] with the-long-tide: heartbeat 4, playing × 2 since 20:46:50.000 → may play, 2 of 2 in account by standard@1
          2026-11-22 20:47:01.000 7/5 phone [000000000001] with the-long-tide: heartbeat 5, paused → may play, 2 of 2 in account by standard@1
          2026-11-22 20:47:03.000 7/6 tablet [000000000002] with the-long-tide: asked to play → told no, 2 of 2 in account by standard@1, the next frees in 22.0 s
              tablet was refused (account 2 by standard@1), counting 2
          2026-11-22 20:47:10.000 7/7 tv [000000000000] with the-long-tide: heartbeat 7, playing → may play, 2 of 2 in account by standard@1
          2026-11-22 20:47:11.000 7/8 tablet [000000000002] with the-long-tide: heartbeat 8, blocked → told no, 2 of 2 in account by standard@1, the next frees in 15.0 s
        ");
    }

    #[test]
    fn how_the_phone_ended_and_who_plays_now() {
        insta::assert_snapshot!(words_at(70, Some("00000000-0000-4000-8000-000000000001")), @r"
        acc-1 as of 2026-11-22 20:47:50.000 UTC: partition 7 up to offset 11
        12 events of it, the first of 2026-11-22 20:46:40.000

        2026-11-22 20:47:15.000 phone [000000000001] with the-long-tide: ended: its player stopped
          at record 7/9: stopped

        sessions then
          tv [000000000000] with the-long-tide: gave its slot up: not heard of for too long; last heard of 33.0 s before: signal manifest at 7/11 by /v1/signals
          tablet [000000000002] with the-long-tide: gave its slot up: not heard of for too long; last heard of 34.0 s before: asked to play at 7/10 by /v1/accounts/sessions
          phone [000000000001]: ended: its player stopped

        step by step
          2026-11-22 20:46:40.000 7/0 tv [000000000000] with the-long-tide: asked to play → may play, 1 of 2 in account by standard@1
              tv got a slot (account 2 by standard@1), beside 0 others
          2026-11-22 20:46:41.000 7/1 phone [000000000001] with the-long-tide: asked to play → may play, 2 of 2 in account by standard@1
              phone got a slot (account 2 by standard@1), beside 1 others
          2026-11-22 20:46:51.000 7/3 phone [000000000001] with the-long-tide: heartbeat 3, playing → may play, 2 of 2 in account by standard@1
          2026-11-22 20:47:00.000 7/4 tv [000000000000] with the-long-tide: heartbeat 4, playing × 2 since 20:46:50.000 → may play, 2 of 2 in account by standard@1
          2026-11-22 20:47:01.000 7/5 phone [000000000001] with the-long-tide: heartbeat 5, paused → may play, 2 of 2 in account by standard@1
          2026-11-22 20:47:03.000 7/6 tablet [000000000002] with the-long-tide: asked to play → told no, 2 of 2 in account by standard@1, the next frees in 22.0 s
              tablet was refused (account 2 by standard@1), counting 2
          2026-11-22 20:47:10.000 7/7 tv [000000000000] with the-long-tide: heartbeat 7, playing → may play, 2 of 2 in account by standard@1
          2026-11-22 20:47:11.000 7/8 tablet [000000000002] with the-long-tide: heartbeat 8, blocked → told no, 2 of 2 in account by standard@1, the next frees in 15.0 s
          2026-11-22 20:47:15.000 7/9 phone [000000000001] with the-long-tide: stopped → ended: its player stopped
              phone ended: stopped
          2026-11-22 20:47:16.000 7/10 tablet [000000000002] with the-long-tide: asked to play → may play, 2 of 2 in account by standard@1
              tablet got a slot (account 2 by standard@1), beside 1 others
          2026-11-22 20:47:17.000 7/11 tv [000000000000] with the-long-tide: signal manifest → may play, 2 of 2 in account by standard@1
          2026-11-22 20:47:41.000 no record tablet [000000000002] with the-long-tide: not heard of for too long → its slot is free
          2026-11-22 20:47:47.000 no record tv [000000000000] with the-long-tide: not heard of for too long → its slot is free
        ");
    }
}
