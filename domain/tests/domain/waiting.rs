//! Whoever waits as the fold says misses nothing: between two looks no verdict says anything else.

use std::collections::BTreeSet;

use proptest::prelude::*;
use pulsegate_domain::account::{Account, Verdict};
use pulsegate_domain::ids::SessionId;
use pulsegate_domain::policy::PolicySet;
use pulsegate_domain::time::Timestamp;

use crate::logs::{Writer, policies, steps};
use crate::reader::Reader;

/// How much later an account is looked at again.
const LATER_MS: [u64; 7] = [1, 9_999, 15_000, 25_000, 30_000, 330_000, 600_001];

/// Whether an account says something else of a session than before. That a session is forgotten is no news.
fn is_news(
    session: SessionId,
    before: (&Account, Timestamp),
    after: (&Account, Timestamp),
    policies: &PolicySet,
) -> bool {
    let verdict = |(account, at): (&Account, Timestamp)| account.verdict(session, at, policies);
    match (verdict(before), verdict(after)) {
        (Some(before), Some(after)) => after.says_other_than(&before),
        (None, Some(_)) => true,
        (_, None) => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_wakes_nobody_changes_no_verdict(steps in steps(60)) {
        let (mut reader, mut writer) = (Reader::default(), Writer::new(policies()));
        for policy in &policies() {
            reader.publish(policy);
        }
        let mut known = BTreeSet::new();
        for step in &steps {
            let record = writer.write(step);
            let id = String::from_utf8(record.key.clone()).unwrap();
            let before = reader.account(&id).cloned().unwrap_or_default();
            let (bearings, decided) = (before.bearings(), reader.decided_len(&id));
            let Some(applied) = reader.read(&record) else { continue };
            known.insert(applied.session);
            let (after, at) = (reader.account(&id).unwrap(), reader.clock());
            if reader.decided_len(&id) == decided && !after.has_news_since(&bearings) {
                for session in &known {
                    prop_assert!(!is_news(*session, (&before, at), (after, at), reader.policies()), "{session}");
                }
            }
            let next = after.changes_by_itself_at(at);
            let until_then = LATER_MS.map(|later_ms| at.plus_ms(later_ms));
            for later in until_then.into_iter().filter(|later| next.is_none_or(|next| *later < next)) {
                for session in &known {
                    prop_assert!(!is_news(*session, (after, at), (after, later), reader.policies()), "{session}");
                }
            }
        }
    }
}

#[test]
fn a_renewed_lease_is_no_news_and_a_word_says_what_a_player_does() {
    let verdict = |json: serde_json::Value| serde_json::from_value::<Verdict>(json).unwrap();
    let blocked = |frees_in_ms: u64, room: bool| {
        verdict(serde_json::json!({
            "decision": "block", "reason": "limit_reached", "policy": "standard@1", "rule": "account", "max": 1,
            "in_use": 1, "conflicts": [], "frees_in_ms": frees_in_ms, "room": room, "by": null
        }))
    };
    assert!(!blocked(5, false).says_other_than(&blocked(25_000, false)));
    assert!(blocked(0, true).says_other_than(&blocked(5, false)));
    assert_eq!((blocked(5, false).word(), blocked(0, true).word()), ("limit_reached", "room"));
}
