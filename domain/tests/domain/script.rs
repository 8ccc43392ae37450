//! Situations as they are told: a line a record, what is expected behind the arrow.
//!
//! ```text
//! policy family@1: account 3, device_class:tv 1 displaces    known from here on; also `many`, `hold 5m`, `lease 10s`
//! plan family@1                                               what events are stamped with from here on
//! 0s    A starts on sofa of film as tv                        device, title and class of A
//! 10s   A beats                -> A allowed account 1/3       the next heartbeat; or `pauses`, `buffers`, `seeks`, `waits`
//! 12s   licence on sofa        -> for A                       what a server saw; or `renewal`, `segment`, `manifest`
//! 20s   B starts evict A       -> B allowed; A evicted by B
//! 24s   check                  -> A evicted                   no record: a question between two
//! ```
//!
//! A session is a name with a device of its own, unless `on` says another, and shows `film`, unless `of` says another.
//! The fold reads each record as bytes, and so does the straight-line model: after each line both give the same verdict
//! on every session and have decided the same.

use std::collections::{BTreeMap, BTreeSet};

use pulsegate_domain::account::Applied;
use pulsegate_domain::event::PlaybackEvent;
use pulsegate_domain::ids::{PlayerState, SessionId, SignalKind};
use pulsegate_domain::policy::{OnLimit, PerDevice, Policy, PolicyRef, Rule};
use pulsegate_domain::time::Timestamp;
use serde_json::{Value, json};

use crate::agree::{assert_agree, assert_decided_alike};
use crate::player::{Player, read, session_id};
use crate::reader::{Reader, Record};
use crate::straight_line::StraightLine;

const ACCOUNT: &str = "acc-1";
/// 2026-11-22T20:00:00Z, when every situation begins.
const BEGIN_MS: i64 = 1_795_377_600_000;

/// Plays a situation.
pub(crate) fn play(script: &str) {
    let mut stage = Stage {
        reader: Reader::default(),
        model: StraightLine::new(),
        players: BTreeMap::new(),
        sequences: BTreeMap::new(),
        plan: read("standard@1"),
        now: Timestamp::from_millis(BEGIN_MS),
        offset: 0,
        last: None,
        told: 0,
    };
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(policy) = line.strip_prefix("policy ") {
            stage.publish(policy);
        } else if let Some(plan) = line.strip_prefix("plan ") {
            stage.plan = read(plan);
        } else {
            stage.line(line);
        }
    }
}

struct Stage {
    reader: Reader,
    model: StraightLine,
    players: BTreeMap<String, Player>,
    /// The next heartbeat's sequence.
    sequences: BTreeMap<SessionId, u64>,
    plan: PolicyRef,
    now: Timestamp,
    offset: i64,
    last: Option<Applied>,
    /// How many decisions there were before the line.
    told: usize,
}

impl Stage {
    fn publish(&mut self, text: &str) {
        let (reference, terms) = text.split_once(':').expect("a policy is `name@version: terms`");
        let reference: PolicyRef = read(reference);
        let mut policy = Policy { name: reference.name().clone(), version: reference.version(), ..Policy::standard() };
        policy.terms.rules.clear();
        for item in terms.split(',') {
            match *item.split_whitespace().collect::<Vec<_>>() {
                ["many"] => policy.terms.per_device = PerDevice::Many,
                ["hold", time] => policy.terms.paused_hold_ms = ms(time),
                ["lease", time] => {
                    policy.terms.leases_ms.started = ms(time);
                    policy.terms.leases_ms.heartbeat = ms(time);
                }
                [scope, max] => policy.terms.rules.push(rule(scope, max, OnLimit::BlockNewest)),
                [scope, max, "displaces"] => policy.terms.rules.push(rule(scope, max, OnLimit::DisplaceOldest)),
                _ => panic!("{item:?} is no term of a policy"),
            }
        }
        self.reader.publish(&policy);
        self.model.publish(&serde_json::to_value(&policy).unwrap());
    }

    fn line(&mut self, line: &str) {
        let (when, rest) = line.split_once(' ').expect("a line is `time what -> expected`");
        let (what, expected) = rest.split_once("->").unwrap_or((rest, ""));
        self.now = Timestamp::from_millis(BEGIN_MS).plus_ms(ms(when));
        self.told = self.reader.decisions(ACCOUNT).len();
        let words: Vec<_> = what.split_whitespace().collect();
        if words != ["check"] {
            let event = self.event(&words);
            let ahead_ms = words.windows(2).find(|pair| pair[0] == "clock").map_or(0, |pair| ms(pair[1]));
            let record = Record::told_at(&event, self.offset, self.now, self.now.plus_ms(ahead_ms));
            self.last = self.reader.read(&record);
            self.model.record(0, self.offset, self.now.millis(), Some(&record.key), &record.value);
            self.offset += 1;
        }
        let named = self.players.values().map(|player| player.session);
        let sessions: BTreeSet<_> = named.chain(self.last.map(|applied| applied.session)).collect();
        assert_agree(&self.reader, &self.model, ACCOUNT, &sessions, self.now, line);
        assert_decided_alike(&self.reader, &self.model, ACCOUNT, line);
        for expected in expected.split(';').filter(|expected| !expected.is_empty()) {
            self.expect(&expected.split_whitespace().collect::<Vec<_>>(), line);
        }
    }

    fn event(&mut self, words: &[&str]) -> PlaybackEvent {
        if let Some(kind) = match words[0] {
            "licence" => Some(SignalKind::DrmLicence),
            "renewal" => Some(SignalKind::DrmRenewal),
            "segment" => Some(SignalKind::CdnSegment),
            "manifest" => Some(SignalKind::Manifest),
            _ => None,
        } {
            let said = Said::of(&words[1..]);
            let known = said.session.and_then(|name| self.players.get(name).cloned());
            let player = known.unwrap_or_else(|| Player::new(ACCOUNT, session_id(u64::MAX >> 8), "nowhere", "film"));
            return said.by(player, &self.plan).signals(kind, said.session.is_some());
        }

        let (name, verb, said) = (words[0], words[1], Said::of(&words[2..]));
        let id = id_of(name);
        let known = self.players.get(name).cloned();
        let player =
            said.by(known.unwrap_or_else(|| Player::new(ACCOUNT, id, &format!("{name}-device"), "film")), &self.plan);
        self.players.entry(name.to_owned()).or_insert_with(|| player.clone());
        let state = match verb {
            "starts" => return player.starts(said.evict.iter().map(|name| self.session(name)).collect()),
            "stops" => return player.stops(),
            "evicted" => return player.is_evicted(),
            "beats" => PlayerState::Playing,
            "pauses" => PlayerState::Paused,
            "buffers" => PlayerState::Buffering,
            "seeks" => PlayerState::Seeking,
            "waits" => PlayerState::Blocked,
            _ => panic!("{verb:?} is nothing that a session does"),
        };
        let next = self.sequences.entry(id).or_default();
        let sequence = said.sequence.unwrap_or(*next);
        *next = sequence + 1;
        player.beats(state, sequence, said.age_ms)
    }

    fn expect(&mut self, words: &[&str], line: &str) {
        match *words {
            ["skipped"] => assert_eq!(self.last, None, "{line}"),
            ["for", name] => assert_eq!(self.name(self.last.expect(line).session), name, "{line}"),
            ["opens", name] => {
                let session = self.last.expect(line).session;
                assert!(self.players.values().all(|known| known.session != session), "{line}: it is known");
                self.players.insert(name.to_owned(), Player::new(ACCOUNT, session, "nowhere", "film"));
            }
            ["decided", ref decisions @ ..] => {
                let told = self.reader.decisions(ACCOUNT).split_off(self.told);
                let told: Vec<_> = told.iter().map(|decision| self.decision(decision)).collect();
                assert_eq!(told, decisions, "{line}");
            }
            [name, ref expected @ ..] => {
                let verdict = self.reader.verdict(ACCOUNT, self.session(name), self.now);
                self.expect_verdict(verdict.as_ref(), expected, line);
            }
            [] => {}
        }
    }

    fn expect_verdict(&self, verdict: Option<&Value>, words: &[&str], line: &str) {
        if let ["unknown"] = words {
            assert_eq!(verdict, None, "{line}");
            return;
        }
        let verdict = verdict.unwrap_or_else(|| panic!("{line}: it is unknown"));
        let names = |ids: &Value| {
            let ids = ids.as_array().unwrap().iter();
            ids.map(|conflict| self.name_in(&conflict["session_id"])).collect::<Vec<_>>().join(",")
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut next = || *words.next().unwrap_or_else(|| panic!("{line}: {word} what?"));
            match *word {
                "allowed" => assert_eq!(verdict["decision"], "allow", "{line}: {verdict}"),
                "with" => assert_eq!(names(&verdict["conflicts"]), next(), "{line}"),
                "by" => assert_eq!(self.name_in(&verdict["by"]["session_id"]), next(), "{line}"),
                "room" => assert_eq!(verdict["room"], true, "{line}: {verdict}"),
                "full" => assert_eq!(verdict["room"], false, "{line}: {verdict}"),
                "frees" => match next() {
                    "never" => assert_eq!(verdict["frees_in_ms"], Value::Null, "{line}"),
                    time => assert_eq!(verdict["frees_in_ms"], ms(time), "{line}"),
                },
                scope if scope.parse::<pulsegate_domain::policy::Scope>().is_ok() => {
                    assert_eq!(verdict["rule"], scope, "{line}: {verdict}");
                }
                used if used.contains('/') => {
                    assert_eq!(format!("{}/{}", verdict["in_use"], verdict["max"]), used, "{line}: {verdict}");
                }
                reason => {
                    assert_eq!(verdict["decision"], "block", "{line}: {verdict}");
                    assert_eq!(verdict["reason"], reason, "{line}: {verdict}");
                }
            }
        }
    }

    /// A decision as `grant:A`, `refuse:B` or `end:C:displaced`.
    fn decision(&self, decision: &Value) -> String {
        let what = format!("{}:{}", decision["decision"].as_str().unwrap(), self.name_in(&decision["session_id"]));
        match decision["reason"].as_str() {
            Some(reason) if decision["decision"] == "end" => format!("{what}:{reason}"),
            _ => what,
        }
    }

    fn session(&self, name: &str) -> SessionId {
        self.players.get(name).map_or_else(|| id_of(name), |player| player.session)
    }

    fn name(&self, session: SessionId) -> String {
        let named = self.players.iter().find(|(_, player)| player.session == session);
        named.map_or_else(|| session.to_string(), |(name, _)| name.clone())
    }

    fn name_in(&self, session: &Value) -> String {
        session.as_str().map_or_else(|| json!(session).to_string(), |text| self.name(read(text)))
    }
}

/// What a line says beside who and what.
#[derive(Default)]
struct Said<'a> {
    words: Vec<(&'a str, &'a str)>,
    session: Option<&'a str>,
    evict: Vec<&'a str>,
    sequence: Option<u64>,
    age_ms: u64,
}

impl<'a> Said<'a> {
    fn of(words: &[&'a str]) -> Self {
        let mut said = Self::default();
        for pair in words.chunks(2) {
            let &[word, value] = pair else { panic!("{pair:?} lacks its value") };
            match word {
                "for" => said.session = Some(value),
                "evict" => said.evict = value.split(',').collect(),
                "seq" => said.sequence = Some(read(value)),
                "aged" => said.age_ms = ms(value),
                // What its sender believes the time to be stands in the envelope.
                "clock" => {}
                _ => said.words.push((word, value)),
            }
        }
        said
    }

    /// The player as it says that it is, this once.
    fn by(&self, player: Player, plan: &PolicyRef) -> Player {
        let mut player = Player { policy: plan.clone(), ..player };
        for (word, value) in &self.words {
            match *word {
                "on" => player.device = read(value),
                "of" => player.title = read(value),
                "as" => player.device_class = Some(read(value)),
                "kind" => player.content_kind = Some(read(value)),
                "in" => player.territory = Some(read(value)),
                "owned-by" => player.rights_holder = Some(read(value)),
                "under" => player.policy = read(value),
                word => panic!("{word:?} is nothing that a player says"),
            }
        }
        player
    }
}

/// Each name's own session: as many letters as there are bits for count.
fn id_of(name: &str) -> SessionId {
    session_id(name.bytes().take(7).fold(0, |id, letter| id << 8 | u64::from(letter)))
}

fn rule(scope: &str, max: &str, on_limit: OnLimit) -> Rule {
    Rule { scope: scope.parse().unwrap(), max: read(max), on_limit }
}

/// `1h0m25s`, `90ms`, `24.999s`.
fn ms(text: &str) -> u64 {
    let mut rest = text;
    let mut total = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c.is_ascii_alphabetic()).expect("a time has units");
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |length| digits + length);
        let unit_ms = match &rest[digits..unit] {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            unit => panic!("{unit:?} is no unit of time"),
        };
        let (whole, thousandths) = rest[..digits].split_once('.').unwrap_or((&rest[..digits], "0"));
        total += read::<u64>(whole) * unit_ms
            + read::<u64>(thousandths) * unit_ms / 10_u64.pow(u32::try_from(thousandths.len()).unwrap());
        rest = &rest[unit..];
    }
    total
}
