//! The slot rules written down once more, in the plainest way, to be held against the fold that serves players.
//!
//! It shares no line with the fold: JSON goes in, JSON comes out, and what can be looked up is not remembered. A session
//! keeps all its signs of life, and every question walks over them again. It is slow on purpose. The numbers in the
//! comments are those of the slot rules, the quotes are their words.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};
use uuid::Uuid;

/// Rule 3: a session whose lease ended this long ago has expired.
const EXPIRED_AFTER_MS: i64 = 3_600_000;
/// Rule 3: an ended session is forgotten this long after the last record that was its own.
const FORGOTTEN_AFTER_MS: i64 = 86_400_000;
/// Rule 4: a sequence that jumps further is stale.
const SEQUENCE_JUMP_MAX: u64 = 100_000;
/// Rule 5: for less than this, a device's signals belong to its session that has just ended.
const ENDED_JUST_NOW_MS: i64 = 60_000;

/// The rules written down once more, in the plainest way: a list of records in, everything recomputed from the start.
pub(crate) struct StraightLine {
    policies: BTreeMap<String, Policy>,
    /// The largest timestamp of each partition.
    clocks: BTreeMap<i32, i64>,
    accounts: BTreeMap<String, Account>,
    last_session: Option<String>,
}

impl StraightLine {
    /// Knows `standard@1` and nothing else.
    pub(crate) fn new() -> Self {
        let rules = json!([{"scope": "account", "max": 2, "on_limit": "block_newest"}]);
        let mut model = StraightLine {
            policies: BTreeMap::new(),
            clocks: BTreeMap::new(),
            accounts: BTreeMap::new(),
            last_session: None,
        };
        model.publish(&json!({"name": "standard", "version": 1, "rules": rules}));
        model
    }

    /// Knows these policies and nothing else, whatever stands under `standard@1`.
    pub(crate) fn judging_by(policies: impl IntoIterator<Item = Value>) -> Self {
        let mut model = Self::new();
        model.policies.clear();
        policies.into_iter().for_each(|policy| model.publish(&policy));
        model
    }

    /// How many streams an account wants: the live ones that hold a slot or were told no.
    pub(crate) fn wanted(&self, account: &str, at_ms: i64) -> usize {
        let account = self.account_at(account, at_ms);
        let wants = |s: &&Session| !s.has_ended() && s.is_live(at_ms) && (s.slot.is_some() || s.refused.is_some());
        account.sessions.iter().filter(wants).count()
    }

    /// Makes a policy known, by its `name` and `version`; the first record of a name@version counts.
    pub(crate) fn publish(&mut self, policy: &Value) {
        let policy = Policy::from_json(policy);
        self.policies.entry(policy.name.clone()).or_insert(policy);
    }

    /// One record of a partition, as it lies in the log; `timestamp_ms` is the stamp that the broker gave it.
    pub(crate) fn record(&mut self, partition: i32, offset: i64, timestamp_ms: i64, key: Option<&[u8]>, value: &[u8]) {
        // The clock at an offset is the largest timestamp at or before it, of any record, skipped or not.
        let clock = self.clocks.entry(partition).or_insert(timestamp_ms);
        *clock = timestamp_ms.max(*clock);
        let here = Place { partition, offset, t: *clock };

        // "A record whose key is not its account, that cannot be read, or whose policy doesn't exist is skipped alone".
        self.last_session = None;
        let Some(event) = Event::read(value) else {
            return;
        };
        let account_id = event.says("account_id").expect("each event has one");
        if key != Some(account_id.as_bytes()) {
            return;
        }
        let policy = event.says("policy").map(|name| self.policies.get(name));
        if matches!(policy, Some(None)) {
            return;
        }
        let account = self.accounts.entry(account_id.to_owned()).or_default();
        self.last_session = account.record(&event, policy.flatten(), here);
    }

    /// The verdict of a session at `at_ms`, not before the last record; `None` when the session is unknown.
    pub(crate) fn verdict(&self, account: &str, session: &str, at_ms: i64) -> Option<Value> {
        let account = self.account_at(account, at_ms);
        account.session(session).map(|s| account.verdict(s, at_ms))
    }

    /// The session that the last record was given to.
    pub(crate) fn last_session(&self) -> Option<&str> {
        self.last_session.as_deref()
    }

    /// Each session that is not forgotten and its verdict, in the order in which the account came to know them.
    pub(crate) fn sessions(&self, account: &str, at_ms: i64) -> Vec<(String, Value)> {
        let account = self.account_at(account, at_ms);
        let sessions = account.sessions.iter();
        sessions.map(|s| (s.id.clone(), account.verdict(s, at_ms))).collect()
    }

    /// Each grant, refusal and end of an account, in the order in which they were decided.
    pub(crate) fn decisions(&self, account: &str) -> Vec<Value> {
        self.accounts.get(account).cloned().unwrap_or_default().decisions
    }

    /// A copy of the account as a record at `at_ms` would find it.
    fn account_at(&self, account: &str, at_ms: i64) -> Account {
        let mut account = self.accounts.get(account).cloned().unwrap_or_default();
        account.time_passes(Place { partition: -1, offset: -1, t: at_ms });
        account
    }
}

/// Where a record lies, and the log's time there.
#[derive(Clone, Copy)]
struct Place {
    partition: i32,
    offset: i64,
    t: i64,
}

/// A session that asks at `t`, or would; `left_out` have ended by then, or would have.
struct Ask<'a> {
    policy: &'a Policy,
    asker: &'a Session,
    left_out: &'a [String],
    t: i64,
}

#[derive(Clone, Default)]
struct Account {
    sessions: Vec<Session>,
    decisions: Vec<Value>,
}

impl Account {
    /// One record of this account; the answer is the session that it was given to.
    fn record(&mut self, event: &Event, policy: Option<&Policy>, here: Place) -> Option<String> {
        let t = here.t;

        // "Sessions not live at t lose their slot".
        self.time_passes(here);

        // "The event's session is found". Whatever the record says, it is that session's own (rule 3).
        let said_id = event.says("session_id").map(str::to_owned);
        let inferred = said_id.is_none();
        let id = said_id.unwrap_or_else(|| self.session_of_signal(event, t));
        let known = self.session(&id).is_some();
        if known {
            self.session_mut(&id).last_own_ms = t;
        }

        // "And if it has ended, nothing more happens".
        if self.session(&id).is_some_and(Session::has_ended) {
            return Some(id);
        }

        // Rule 3: a stop or an evict ends its session. "Of an unknown id ends that id".
        if event.what == "stopped" || event.what == "evicted" {
            if !known {
                self.sessions.push(Session::new(&id, false, t));
            }
            self.end(&id, event.what, None, None, here);
            return Some(id);
        }
        let policy = policy.expect("a start, a heartbeat and a signal name their policy");

        // Rule 4: a heartbeat with "age_ms ≥ its lease changes nothing here and opens no session".
        if event.what == "heartbeat" && event.number("age_ms") >= policy.leases_ms["heartbeat"] {
            return known.then_some(id);
        }

        // "A heartbeat or start that names another [device or title] … changes nothing".
        if let Some(session) = self.session(&id) {
            let same_device = session.device() == event.says("device_id");
            let same_title = session.title() == event.says("title_id");
            if event.what != "signal" && !(same_device && same_title) {
                return Some(id);
            }
        }

        // "Its lease, state and territory are taken up". Rule 4: but a stale heartbeat only renews the lease.
        if !known {
            self.sessions.push(Session::new(&id, inferred, t));
        }
        let session = self.session_mut(&id);
        let sequence = event.sequence();
        let stale = event.what == "heartbeat"
            && session.last_sequence().is_some_and(|last| sequence <= last || sequence - last > SEQUENCE_JUMP_MAX);
        session.signs.push(Sign {
            t,
            offset: here.offset,
            until: t + policy.leases_ms[event.lease_kind()],
            stale,
            policy: policy.clone(),
            event: event.clone(),
        });

        // "If it then holds no slot, it may ask". Rule 4 says who does.
        let asks = match event.what {
            "started" => true,
            "signal" => !session.is_paused_too_long(t),
            _ => !stale && event.says_one_of("state", &["playing", "buffering", "seeking"]),
        };
        if session.slot.is_none() && asks {
            self.ask(&id, policy, &event.evict(), here);
        }
        Some(id)
    }

    /// What a record finds done before it is looked at.
    fn time_passes(&mut self, here: Place) {
        // Rule 3: "an ended session is forgotten 24 h … after the last record that was its own", noticed or not.
        self.sessions.retain(|s| {
            let ended = s.has_ended() || s.has_expired(here.t);
            !(ended && here.t >= s.last_own_ms + FORGOTTEN_AFTER_MS)
        });

        // Rule 3: "that instant is its end, whenever the fold notices".
        let mut expired: Vec<&Session> = self.sessions.iter().collect();
        expired.retain(|s| !s.has_ended() && s.has_expired(here.t));
        for id in ids(&expired) {
            let t = self.session_mut(&id).alive_until() + EXPIRED_AFTER_MS;
            self.end(&id, "expired", None, None, Place { t, ..here });
        }

        // Rules 1 and 2: not live, no slot. Rule 8: "whichever took the slot first".
        for session in &mut self.sessions {
            if session.slot.is_some() && !session.is_live(here.t) {
                let pause_first = session.paused_too_long_from().is_some_and(|from| from < session.alive_until());
                session.lost_to = Some(if pause_first { "paused_too_long" } else { "lease_expired" });
                session.slot = None;
            }
        }
    }

    /// Rule 5: whose a signal without `session_id` is. An id that is not known is to be opened.
    fn session_of_signal(&self, event: &Event, t: i64) -> String {
        let device = event.says("device_id");
        let mut of_device: Vec<&Session> = self.sessions.iter().collect();
        of_device.retain(|s| s.device().is_some() && s.device() == device);
        of_device.sort_by_key(|s| s.signs.last().map(|sign| sign.offset));

        // "With the newest sign of life that has not ended and either has the same title or is live and not inferred".
        for session in of_device.iter().rev() {
            let same_title = session.title() == event.says("title_id");
            let live_and_not_inferred = session.is_live(t) && !session.inferred;
            if !session.has_ended() && (same_title || live_and_not_inferred) {
                return session.id.clone();
            }
        }

        // "Else, if the device's session with the newest sign of life ended less than 60 s before t".
        if let Some(newest) = of_device.last()
            && let Some(end) = &newest.ended
            && t - end.at_ms < ENDED_JUST_NOW_MS
        {
            // "Except a drm_licence, unless the end was evicted".
            if event.says("kind") != Some("drm_licence") || end.reason == "evicted" {
                return newest.id.clone();
            }
        }

        // "Else it opens an inferred session".
        let account = event.says("account_id").unwrap_or_default();
        let name = format!("pulsegate/{account}/{}/{}", device.unwrap_or_default(), event.id);
        Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).to_string()
    }

    /// Rules 5, 6 and 7: a session that holds no slot asks for one.
    fn ask(&mut self, id: &str, policy: &Policy, evict: &[String], here: Place) {
        let asker = self.session(id).expect("the asker is known").clone();
        let asker = &asker;
        let ask = Ask { policy, asker, left_out: &[], t: here.t };

        // Rule 5: the others of its device end, whether it gets a slot or not.
        for other in self.replaced_by(policy, asker) {
            self.end(&other, "replaced", Some(asker), None, here);
        }

        // Rule 6: those that it names; not itself, none that is unknown or has ended.
        let mut named = evict.to_vec();
        named.retain(|other| other != id && self.session(other).is_some_and(|s| !s.has_ended()));

        // Rule 7: a full rule refuses, with the named left out. "If it is refused even so, evict[] ends nobody": then
        // they hold their slots and are counted.
        let without_named = Ask { left_out: &named, ..ask };
        if self.refusing(&without_named).is_some() {
            let rule = self.refusing(&ask).expect("no fewer are counted").clone();
            let counted = ids(&self.counted(&rule, &ask));
            let refused_before = asker.refused.as_ref().map(|(_, before)| sorted(before));
            if refused_before != Some(sorted(&counted)) {
                let reason = Some("limit_reached");
                self.decide("refuse", id, reason, Some(&rule), &counted, here);
            }
            self.session_mut(id).refused = Some((rule, counted));
            return;
        }

        // Rule 6: it gets its slot, so they end.
        for other in &named {
            if self.session(other).is_some_and(|s| !s.has_ended()) {
                self.end(other, "evicted", Some(asker), None, here);
            }
        }

        // Rule 7: "rule by rule the lowest ranks in scope end as displaced until there is room".
        for rule in policy.rules_of(asker) {
            while self.counted(rule, &ask).len() >= rule.max {
                let lowest = self.counted(rule, &ask)[0].id.clone();
                self.end(&lowest, "displaced", Some(asker), Some(rule), here);
            }
        }

        // Rule 7: "the asker gets a slot, ranked by this offset".
        let rule = self.least_room(&ask);
        let counted = rule.map(|rule| ids(&self.counted(rule, &ask))).unwrap_or_default();
        self.decide("grant", id, None, rule, &counted, here);
        let session = self.session_mut(id);
        session.slot = Some(here.offset);
        session.refused = None;
    }

    /// Rule 5: "every other session of its `device_id` on this account that has not ended".
    fn replaced_by(&self, policy: &Policy, asker: &Session) -> Vec<String> {
        let mut others: Vec<&Session> = self.sessions.iter().collect();
        others.retain(|other| other.id != asker.id && other.device() == asker.device());
        others.retain(|other| !other.has_ended() && (policy.one_per_device || other.inferred));
        ids(&others)
    }

    /// Rule 7: "the live slot holders in that scope, … the asker not among them", by rank.
    fn counted(&self, rule: &Rule, ask: &Ask) -> Vec<&Session> {
        let mut counted: Vec<&Session> = self.sessions.iter().collect();
        counted.retain(|other| other.slot.is_some() && other.is_live(ask.t));
        counted.retain(|other| rule.counts(ask.asker, other));
        counted.retain(|other| other.id != ask.asker.id && !ask.left_out.contains(&other.id));
        counted.sort_by_key(|other| other.slot);
        counted
    }

    /// Rule 7: the first "full rule [that] is `block_newest` or has max 0".
    fn refusing<'a>(&self, ask: &Ask<'a>) -> Option<&'a Rule> {
        let mut rules = ask.policy.rules_of(ask.asker);
        rules.retain(|rule| self.counted(rule, ask).len() >= rule.max);
        rules.retain(|rule| rule.block_newest || rule.max == 0);
        rules.first().copied()
    }

    /// Rule 8: "the rule with the least room", the first of equals.
    fn least_room<'a>(&self, ask: &Ask<'a>) -> Option<&'a Rule> {
        let rules = ask.policy.rules_of(ask.asker).into_iter();
        rules.min_by_key(|rule| count(rule.max) - count(self.counted(rule, ask).len()))
    }

    /// Rule 3: "ended is for ever" and "the first end wins"; nobody who has ended comes here.
    fn end(&mut self, id: &str, reason: &'static str, by: Option<&Session>, rule: Option<&Rule>, here: Place) {
        let by = by.map(|by| json!({"session_id": by.id, "device_id": by.device()}));
        let session = self.session_mut(id);
        assert!(!session.has_ended(), "the first end wins");
        session.slot = None;
        session.ended = Some(End { reason, at_ms: here.t, by });
        self.decide("end", id, Some(reason), rule, &[], here);
    }

    fn decide(
        &mut self,
        decision: &str,
        id: &str,
        reason: Option<&str>,
        rule: Option<&Rule>,
        counted: &[String],
        here: Place,
    ) {
        self.decisions.push(json!({
            "decision": decision, "session_id": id, "reason": reason,
            "rule": rule.map(|rule| &rule.scope), "max": rule.map(|rule| rule.max), "counted": counted,
            "partition": here.partition, "offset": here.offset, "at": rfc3339(here.t),
        }));
    }

    /// Rule 8, for a session of this account after `time_passes` until `at_ms`.
    fn verdict(&self, session: &Session, at_ms: i64) -> Value {
        let mut verdict = json!({
            "decision": "block", "reason": null, "policy": session.policy().map(|policy| &policy.name),
            "rule": null, "max": null, "in_use": null, "conflicts": [], "frees_in_ms": null,
            "room": false, "by": null,
        });

        // "Ended → block".
        if let Some(end) = &session.ended {
            verdict["reason"] = json!(end.reason);
            verdict["by"] = json!(end.by);
            return verdict;
        }

        // As if it asked now: those that rule 5 would end are not in its way. Who holds a slot doesn't ask.
        let holds = session.slot.is_some();
        let policy = session.policy().expect("a sign of life opened it");
        let left_out = if holds { vec![] } else { self.replaced_by(policy, session) };
        let ask = Ask { policy, asker: session, left_out: &left_out, t: at_ms };

        // "The full rule; on allow the rule with the least room"; after a refusal the one that refused, if the policy has it.
        let refusing = self.refusing(&ask).filter(|_| !holds);
        let refused_last =
            session.refused.as_ref().map(|(rule, _)| rule).filter(|rule| ask.policy.rules.contains(rule));
        if let Some(rule) = refusing.or(refused_last).or(self.least_room(&ask)) {
            let counted = self.counted(rule, &ask);
            verdict["rule"] = json!(rule.scope);
            verdict["max"] = json!(rule.max);
            // "in_use counts this session if it holds".
            verdict["in_use"] = json!(counted.len() + usize::from(holds));
            // "The counted sessions by rank, on limit_reached".
            if session.refused.is_some() {
                verdict["conflicts"] = counted.iter().map(|other| other.as_conflict()).collect();
            }
        }

        // "Holds a slot and is live → allow".
        if holds {
            verdict["decision"] = json!("allow");
            verdict["frees_in_ms"] = json!(0);
            verdict["room"] = json!(true);
            return verdict;
        }

        // "Else block: limit_reached if its last ask was refused, else … whichever took the slot first, or not_asked".
        let refused = session.refused.is_some().then_some("limit_reached");
        verdict["reason"] = json!(refused.or(session.lost_to).unwrap_or("not_asked"));
        verdict["frees_in_ms"] = json!(self.frees_in_ms(&ask));
        verdict["room"] = json!(refusing.is_none());
        verdict
    }

    /// Rule 8: "the first instant at which an ask would succeed by a lease or pause among them ending", if there is one.
    fn frees_in_ms(&self, ask: &Ask) -> Option<i64> {
        let mut instants = vec![ask.t];
        for holder in self.sessions.iter().filter(|s| s.slot.is_some()) {
            instants.push(holder.alive_until());
            instants.extend(holder.paused_too_long_from());
        }
        instants.retain(|&t| t >= ask.t);
        instants.sort_unstable();
        let first = instants.into_iter().find(|&t| self.refusing(&Ask { t, ..*ask }).is_none());
        first.map(|t| t - ask.t)
    }

    fn session(&self, id: &str) -> Option<&Session> {
        self.sessions.iter().find(|s| s.id == id)
    }

    fn session_mut(&mut self, id: &str) -> &mut Session {
        self.sessions.iter_mut().find(|s| s.id == id).expect("the session is known")
    }
}

#[derive(Clone, Default)]
struct Session {
    id: String,
    inferred: bool,
    /// Every sign of life in log order; none for an id that was ended before it began.
    signs: Vec<Sign>,
    /// The log's time at the last record that was its own.
    last_own_ms: i64,
    /// The rank of its slot: the offset of the grant.
    slot: Option<i64>,
    /// What took its last slot without ending it.
    lost_to: Option<&'static str>,
    /// If its last ask was refused: by which rule, and who was counted.
    refused: Option<(Rule, Vec<String>)>,
    ended: Option<End>,
}

/// A sign of life.
#[derive(Clone)]
struct Sign {
    t: i64,
    offset: i64,
    /// Rule 1: the end of its lease.
    until: i64,
    /// Rule 4: renews the lease and changes nothing else.
    stale: bool,
    policy: Policy,
    event: Event,
}

#[derive(Clone)]
struct End {
    reason: &'static str,
    at_ms: i64,
    /// Who took over.
    by: Option<Value>,
}

impl Session {
    fn new(id: &str, inferred: bool, t: i64) -> Self {
        Session { id: id.to_owned(), inferred, last_own_ms: t, ..Session::default() }
    }

    fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Rule 1: "the newest started's or heartbeat's lease [stale or not], or of any signal after it, whichever is latest".
    fn alive_until(&self) -> i64 {
        let newest_talk = self.signs.iter().rposition(|sign| sign.event.what != "signal");
        let from_there_on = self.signs[newest_talk.unwrap_or(0)..].iter();
        from_there_on.map(|sign| sign.until).max().expect("a sign of life opened it")
    }

    /// Rule 2: since when it is paused, if it is.
    fn paused_since(&self) -> Option<i64> {
        let mut since = None;
        for sign in self.taken_up() {
            match (sign.event.what, sign.event.says("state")) {
                ("heartbeat", Some("paused")) => since = since.or(Some(sign.t)),
                ("started", _) | ("heartbeat", Some("playing" | "buffering" | "seeking")) => {
                    since = None;
                }
                _ => {}
            }
        }
        since
    }

    /// Rule 2: the first instant at which it has been "paused for more than `paused_hold_ms`".
    fn paused_too_long_from(&self) -> Option<i64> {
        Some(self.paused_since()? + self.policy()?.paused_hold_ms + 1)
    }

    fn is_paused_too_long(&self, t: i64) -> bool {
        self.paused_too_long_from().is_some_and(|from| t >= from)
    }

    /// Rules 1 and 2.
    fn is_live(&self, t: i64) -> bool {
        t < self.alive_until() && !self.is_paused_too_long(t)
    }

    /// Rule 3, for a session that has not ended otherwise.
    fn has_expired(&self, t: i64) -> bool {
        t >= self.alive_until() + EXPIRED_AFTER_MS
    }

    /// Rule 4: what the next sequence must be above.
    fn last_sequence(&self) -> Option<u64> {
        let heartbeats = self.taken_up().filter(|sign| sign.event.what == "heartbeat");
        heartbeats.last().map(|sign| sign.event.sequence())
    }

    /// The signs of life that changed more than the lease.
    fn taken_up(&self) -> impl Iterator<Item = &Sign> {
        self.signs.iter().filter(|sign| !sign.stale)
    }

    fn policy(&self) -> Option<&Policy> {
        self.taken_up().last().map(|sign| &sign.policy)
    }

    /// "A session has one device and one title, those of its first sign of life".
    fn device(&self) -> Option<&str> {
        self.signs.first()?.event.says("device_id")
    }

    fn title(&self) -> Option<&str> {
        self.signs.first()?.event.says("title_id")
    }

    /// "Territory, `device_class`, `content_kind`, `rights_holder` are those of the newest sign of life that says one".
    fn newest(&self, field: &str) -> Option<&str> {
        let default = match field {
            "device_class" => Some("other"),
            "content_kind" => Some("vod"),
            "territory" => Some("ZZ"),
            _ => None,
        };
        self.taken_up().filter_map(|sign| sign.event.says(field)).last().or(default)
    }

    fn as_conflict(&self) -> Value {
        json!({
            "session_id": self.id, "device_id": self.device(),
            "device_class": self.newest("device_class"), "title_id": self.title(),
            "started_at": self.signs.first().map(|sign| rfc3339(sign.t)),
            "last_seen_at": self.signs.last().map(|sign| rfc3339(sign.t)),
        })
    }
}

#[derive(Clone)]
struct Policy {
    /// `name@version`.
    name: String,
    rules: Vec<Rule>,
    leases_ms: BTreeMap<&'static str, i64>,
    paused_hold_ms: i64,
    one_per_device: bool,
}

#[derive(Clone, PartialEq)]
struct Rule {
    scope: String,
    max: usize,
    /// Or else `displace_oldest`.
    block_newest: bool,
}

impl Policy {
    /// What a policy does not say is as in `standard@1`.
    fn from_json(policy: &Value) -> Self {
        let name = policy["name"].as_str().expect("a policy has a name");
        let version = policy["version"].as_u64().expect("a policy has a version");
        let mut rules = Vec::new();
        for rule in policy["rules"].as_array().expect("a policy has rules") {
            let max = rule["max"].as_u64().expect("a rule has a max");
            rules.push(Rule {
                scope: rule["scope"].as_str().expect("a rule has a scope").to_owned(),
                max: max.try_into().expect("small enough"),
                block_newest: rule["on_limit"] != "displace_oldest",
            });
        }
        let lease_ms = |kind, default_ms| policy["leases_ms"][kind].as_i64().unwrap_or(default_ms);
        Policy {
            name: format!("{name}@{version}"),
            rules,
            leases_ms: BTreeMap::from([
                ("started", lease_ms("started", 25_000)),
                ("heartbeat", lease_ms("heartbeat", 25_000)),
                ("cdn_segment", lease_ms("cdn_segment", 30_000)),
                ("manifest", lease_ms("manifest", 30_000)),
                ("drm_licence", lease_ms("drm_licence", 330_000)),
                ("drm_renewal", lease_ms("drm_renewal", 330_000)),
            ]),
            paused_hold_ms: policy["paused_hold_ms"].as_i64().unwrap_or(600_000),
            one_per_device: policy["per_device"] != "many",
        }
    }

    /// The rules "whose scope the asker is in".
    fn rules_of(&self, asker: &Session) -> Vec<&Rule> {
        self.rules.iter().filter(|rule| rule.counts(asker, asker)).collect()
    }
}

impl Rule {
    /// Whether `other` is in this rule's scope when `asker` asks.
    fn counts(&self, asker: &Session, other: &Session) -> bool {
        match self.scope.split_once(':').unwrap_or((&self.scope, "")) {
            ("account", _) => true,
            ("title", _) => other.title() == asker.title(),
            (field @ ("device_class" | "content_kind"), value) => other.newest(field) == Some(value),
            (field @ ("territory" | "rights_holder"), _) => {
                other.newest(field).is_some() && other.newest(field) == asker.newest(field)
            }
            _ => false,
        }
    }
}

/// A record that can be read.
#[derive(Clone)]
struct Event {
    /// The event's own id, not its session's.
    id: String,
    /// `started`, `heartbeat`, `stopped`, `evicted` or `signal`.
    what: &'static str,
    /// Its session ids are in lower case.
    data: Value,
}

impl Event {
    fn read(value: &[u8]) -> Option<Event> {
        const WHO: &str = "account_id session_id";
        const WHAT: &str = "device_id title_id policy";
        const MORE: &str = "device_class content_kind territory rights_holder";
        let envelope: Value = serde_json::from_slice(value).ok()?;
        let (what, required, optional) = match envelope["type"].as_str()? {
            "pulsegate.playback.started.v1" => ("started", [WHO, WHAT, ""], [MORE, "evict"]),
            "pulsegate.playback.heartbeat.v1" => ("heartbeat", [WHO, WHAT, "sequence state"], [MORE, "age_ms"]),
            "pulsegate.playback.stopped.v1" => ("stopped", [WHO, "", ""], ["", ""]),
            "pulsegate.playback.evicted.v1" => ("evicted", [WHO, "by", ""], ["", ""]),
            "pulsegate.playback.signal.v1" => ("signal", ["account_id", WHAT, "kind"], [MORE, "session_id"]),
            _ => return None,
        };

        // A field is what it should be, or absent, which null is too.
        let mut data = json!({});
        let (required, optional) = (required.join(" "), optional.join(" "));
        for field in required.split_whitespace() {
            data[field] = read_field(field, &envelope["data"][field])?;
        }
        for field in optional.split_whitespace() {
            if !envelope["data"][field].is_null() {
                data[field] = read_field(field, &envelope["data"][field])?;
            }
        }
        let id = envelope["id"].as_str()?.to_owned();
        Some(Event { id, what, data })
    }

    fn says(&self, field: &str) -> Option<&str> {
        self.data[field].as_str()
    }

    fn says_one_of(&self, field: &str, values: &[&str]) -> bool {
        self.says(field).is_some_and(|said| values.contains(&said))
    }

    /// 0 if absent.
    fn number(&self, field: &str) -> i64 {
        self.data[field].as_i64().unwrap_or(0)
    }

    fn sequence(&self) -> u64 {
        self.data["sequence"].as_u64().unwrap_or(0)
    }

    /// Rule 6.
    fn evict(&self) -> Vec<String> {
        let named = self.data["evict"].as_array().into_iter().flatten();
        named.filter_map(|id| id.as_str().map(str::to_owned)).collect()
    }

    /// Rule 1: which of its policy's leases it carries.
    fn lease_kind(&self) -> &str {
        self.says("kind").unwrap_or(self.what)
    }
}

/// The value of a field, its session ids in lower case; `None` if it is not what it should be.
fn read_field(field: &str, said: &Value) -> Option<Value> {
    let one_of = |words: &str| words.split(' ').any(|word| said == word);
    let right = match field {
        "session_id" => return read_session_id(said),
        "evict" => return said.as_array()?.iter().map(read_session_id).collect(),
        "account_id" | "device_id" | "title_id" | "rights_holder" => is_id(said.as_str()?),
        "device_class" => one_of("tv mobile tablet web console other"),
        "content_kind" => one_of("vod live"),
        "state" => one_of("playing paused buffering seeking blocked"),
        "kind" => one_of("drm_licence drm_renewal cdn_segment manifest"),
        "by" => one_of("operator viewer"),
        "sequence" => said.is_u64(),
        "age_ms" => said.is_u64() && said.is_i64(),
        _ => said.is_string(),
    };
    right.then(|| said.clone())
}

/// A UUID in any case, but not nil.
fn read_session_id(said: &Value) -> Option<Value> {
    let id = Uuid::parse_str(said.as_str()?).ok()?;
    (!id.is_nil()).then(|| json!(id.to_string()))
}

/// 1–128 of `A-Z a-z 0-9 . _ : @ -`, the first a letter or digit.
fn is_id(id: &str) -> bool {
    id.len() <= 128
        && id.starts_with(|first: char| first.is_ascii_alphanumeric())
        && id.chars().all(|each| each.is_ascii_alphanumeric() || "._:@-".contains(each))
}

fn ids(sessions: &[&Session]) -> Vec<String> {
    sessions.iter().map(|s| s.id.clone()).collect()
}

fn sorted(ids: &[String]) -> Vec<String> {
    let mut ids = ids.to_vec();
    ids.sort();
    ids
}

fn count(number: usize) -> i64 {
    number.try_into().expect("few enough")
}

fn rfc3339(ms: i64) -> String {
    let time = DateTime::from_timestamp_millis(ms).expect("a time that a calendar has");
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}
