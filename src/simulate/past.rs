//! `simulate --history`: evenings of viewing before now, straight into an empty log, in the log's own time.
//!
//! Nobody answers these players. So the rules are asked themselves, event by event in the order of the log: who is told no
//! here stops, as a player does, and is told the same by everybody who folds the log later.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Write as _;

use anyhow::{Context as _, ensure};
use chrono::{DateTime, Days, NaiveTime, Utc};
use pulsegate_domain::account::{Account, Place};
use pulsegate_domain::event::{
    CatalogEvent, ClickstreamEvent, ContractRegistered, Heartbeat, PlaybackEvent, Recorded, RightsHolderRegistered,
    Started, Stopped, TitleRegistered,
};
use pulsegate_domain::ids::{AccountId, ContentKind, DeviceId, PlayerState, RightsHolderId, SessionId, Territory};
use pulsegate_domain::policy::{Policy, PolicyRef, PolicySet};
use pulsegate_domain::time::Timestamp;
use pulsegate_write_side::envelope::{self, Origin};
use pulsegate_write_side::history::{History, PastRecord};
use pulsegate_write_side::{LogSettings, Record};
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::{Builder, Uuid};

use super::SimulateArgs;
use super::catalogue::{SERIES, TITLES, Title};
use super::habits::Pace;
use super::household::{Draw, PlayerPlan, STANDARD, plan};

const SOURCE: &str = "/commands/simulate";
/// Longest history, in days.
const DAYS_MAX: u64 = 400;
const BEAT_MS: i64 = 10_000;
/// When evenings begin, in minutes of the day, UTC; most in the middle of it.
const EVENING: std::ops::Range<i64> = 18 * 60 + 30..21 * 60 + 30;
/// Who owns titles: id, name, and what is due for a view.
const HOLDERS: [(&str, &str, &str); 2] =
    [("orvessa-pictures", "Orvessa Pictures", "0.04"), ("tarnwick-media", "Tarnwick Media", "0.025")];

/// What was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Made {
    days: u64,
    viewers: usize,
    plays: u64,
    told_no: u64,
    heartbeats: u64,
    clicks: u64,
    records: u64,
}

/// Fills the empty log with what `args` draw, up to now, and says how much that was. Ends early, with an error, if `stop`
/// resolves: half a history is none.
pub(crate) async fn make(
    args: &SimulateArgs,
    days: u64,
    run: &str,
    settings: &LogSettings,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<Made> {
    ensure!((1..=DAYS_MAX).contains(&days), "--history must be 1d to {DAYS_MAX}d");
    let mut past = Past::draw(args, days, run, Timestamp::from(Utc::now()))?;
    let history = History::begin(settings).await.context("failed to make an empty log")?;
    let broken_off = "the history is not whole; remove its topics before another one is made";
    let mut stop = std::pin::pin!(stop);
    while past.goes_on()? {
        for (record, at) in past.records.drain(..) {
            let key = record.key.as_deref().unwrap_or_default();
            let headers: Vec<_> = record
                .headers
                .iter()
                .filter_map(|(name, value)| Some((*name, std::str::from_utf8(value).ok()?)))
                .collect();
            let record = PastRecord { topic: record.topic, key, value: &record.value, at };
            history.append(&record, &headers).context(broken_off)?;
        }
        let is_stopped = futures_util::future::poll_immediate(&mut stop).await.is_some();
        ensure!(!is_stopped, broken_off);
    }
    past.made.records = history.end().await.context(broken_off)?;
    let mut out = std::io::stdout().lock();
    let Made { viewers, plays, told_no, heartbeats, clicks, records, .. } = past.made;
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&past.made)?)?;
    } else if !args.quiet {
        writeln!(
            out,
            "{days} days of {viewers} viewers: {plays} plays with {heartbeats} heartbeats, {told_no} told no, {clicks} \
             clicks; the log has {records} records"
        )?;
    }
    Ok(past.made)
}

/// What is drawn so far.
struct Past {
    rng: ChaCha8Rng,
    ends_at: i64,
    policies: PolicySet,
    policy: PolicyRef,
    homes: Vec<Home>,
    /// What happens next: when, and in which order of those at once, to whom.
    queue: BinaryHeap<Reverse<(i64, u64, usize, usize)>>,
    turns: u64,
    offset: i64,
    records: Vec<(Record, Timestamp)>,
    made: Made,
}

struct Home {
    account: AccountId,
    fold: Account,
    players: Vec<Viewer>,
}

struct Viewer {
    device: DeviceId,
    plan: PlayerPlan,
    watching: Option<Watching>,
}

/// A title that is being watched.
struct Watching {
    session: SessionId,
    title: &'static Title,
    began_at: i64,
    /// For how long the viewer means to.
    for_ms: i64,
    /// How long the pause in its middle takes.
    pause_ms: i64,
    sequence: u64,
    position_ms: i64,
    state: PlayerState,
}

impl Past {
    fn draw(args: &SimulateArgs, days: u64, run: &str, now: Timestamp) -> anyhow::Result<Self> {
        let pace = Pace { beat_ms: BEAT_MS.unsigned_abs(), run_ms: 60_000, lease_ms: STANDARD.lease_ms };
        let viewers = usize::try_from(args.viewers)?;
        let households = plan(Draw { seed: args.seed, run, viewers, pace, ordinary_only: false });
        let mut homes = Vec::new();
        for home in households {
            let viewer = |plan: PlayerPlan| {
                let device = plan.device_id.parse().context("a drawn device")?;
                Ok(Viewer { device, plan, watching: None })
            };
            homes.push(Home {
                account: home.account.parse().context("a drawn account")?,
                fold: Account::default(),
                players: home.players.into_iter().map(viewer).collect::<anyhow::Result<_>>()?,
            });
        }
        let first = now.to_utc().checked_sub_days(Days::new(days)).context("so far back there are no days")?;
        let standard = Policy::standard();
        let mut past = Self {
            rng: ChaCha8Rng::seed_from_u64(args.seed),
            ends_at: now.millis(),
            policy: standard.reference(),
            policies: PolicySet::default(),
            homes,
            queue: BinaryHeap::new(),
            turns: 0,
            offset: 0,
            records: Vec::new(),
            made: Made { days, viewers, ..Made::default() },
        };
        past.register(first)?;
        for home in 0..past.homes.len() {
            for player in 0..past.homes[home].players.len() {
                past.evening(home, player, first);
            }
        }
        Ok(past)
    }

    /// Lets the next things happen, and leaves their records; `false` once it is now.
    fn goes_on(&mut self) -> anyhow::Result<bool> {
        const RECORDS: usize = 1_000;

        while self.records.len() < RECORDS {
            let Some(Reverse((at, _, home, player))) = self.queue.pop().filter(|Reverse(next)| next.0 < self.ends_at)
            else {
                self.queue.clear();
                return Ok(!self.records.is_empty());
            };
            match self.homes[home].players[player].watching.take() {
                None => self.begin(home, player, at)?,
                Some(watching) if at - watching.began_at < watching.for_ms => self.beat(home, player, at, watching)?,
                Some(watching) => self.stop(home, player, at, &watching)?,
            }
        }
        Ok(true)
    }

    fn register(&mut self, first: DateTime<Utc>) -> anyhow::Result<()> {
        let mut events = Vec::new();
        for (id, name, per_view) in HOLDERS {
            let rights_holder_id: RightsHolderId = id.parse()?;
            events.push(CatalogEvent::RightsHolderRegistered(RightsHolderRegistered {
                rights_holder_id: rights_holder_id.clone(),
                name: name.to_owned(),
            }));
            let payment = serde_json::json!({"currency": "EUR", "per_view": per_view});
            events.push(CatalogEvent::ContractRegistered(ContractRegistered {
                contract_id: format!("{id}-views").parse()?,
                rights_holder_id,
                title_ids: None,
                territories: None,
                valid_from: first.date_naive(),
                valid_until: None,
                view_threshold_ms: None,
                terms: [("payment".to_owned(), payment)].into_iter().collect(),
            }));
        }
        for title in TITLES.iter().chain(&SERIES) {
            events.push(CatalogEvent::TitleRegistered(TitleRegistered {
                title_id: title.id.parse()?,
                name: title.name.to_owned(),
                content_kind: title.kind,
                rights_holder_id: holder_of(title).parse()?,
                runtime_ms: Some(title.runtime_ms),
            }));
        }
        let at = Timestamp::from(first);
        for event in events {
            let id = self.id_at(at);
            self.records.push((envelope::catalog(&event, &Origin { id, source: SOURCE, time: at }), at));
        }
        Ok(())
    }

    /// Draws when a viewer sits down next, from a day on.
    fn evening(&mut self, home: usize, player: usize, from: DateTime<Utc>) {
        let mut day = from.date_naive();
        while self.rng.random_bool(0.3) {
            day = day.checked_add_days(Days::new(1)).unwrap_or(day);
        }
        let minute = i64::midpoint(self.rng.random_range(EVENING), self.rng.random_range(EVENING));
        let at = day.and_time(NaiveTime::MIN).and_utc().timestamp_millis() + minute * 60_000;
        let at = at + self.rng.random_range(0..60_000);
        let begins = if at < from.timestamp_millis() { at + 86_400_000 } else { at };
        self.next(begins, home, player);
    }

    fn next(&mut self, at: i64, home: usize, player: usize) {
        self.turns += 1;
        self.queue.push(Reverse((at, self.turns, home, player)));
    }

    /// Looks around, chooses a title and starts it.
    fn begin(&mut self, home: usize, player: usize, at: i64) -> anyhow::Result<()> {
        let title = if self.rng.random_bool(0.4) { SERIES.choose(&mut self.rng) } else { TITLES.choose(&mut self.rng) };
        let title = title.unwrap_or(&TITLES[0]);
        let session = SessionId::new(self.id_at(Timestamp::from_millis(at)))?;
        self.look_around(home, session, title, at)?;
        let Viewer { device, plan, .. } = &self.homes[home].players[player];
        let started = Started {
            account_id: self.homes[home].account.clone(),
            session_id: session,
            device_id: device.clone(),
            device_class: Some(plan.device_class),
            title_id: title.id.parse()?,
            content_kind: Some(title.kind),
            territory: Some(plan.territory.parse()?),
            rights_holder: Some(holder_of(title).parse()?),
            policy: self.policy.clone(),
            evict: Vec::new(),
        };
        self.made.plays += 1;
        let runtime_ms = i64::try_from(title.runtime_ms)?.min(3 * 3_600_000);
        // Some leave soon, most see it to its end or nearly.
        let part =
            if self.rng.random_bool(0.25) { self.rng.random_range(1..20) } else { self.rng.random_range(70..=100) };
        let pause_ms = if self.rng.random_bool(0.3) { self.rng.random_range(20_000..400_000) } else { 0 };
        let watching = Watching {
            session,
            title,
            began_at: at,
            for_ms: runtime_ms * part / 100 + pause_ms,
            pause_ms,
            sequence: 0,
            position_ms: 0,
            state: PlayerState::Paused,
        };
        if self.happens(home, &PlaybackEvent::Started(started), at)? {
            return self.beat(home, player, at, watching);
        }
        self.made.told_no += 1;
        self.homes[home].players[player].watching = Some(Watching { for_ms: 0, ..watching });
        // As long as it takes to read why.
        let reads_ms = self.rng.random_range(1_500..6_000);
        self.next(at + reads_ms, home, player);
        Ok(())
    }

    fn look_around(&mut self, home: usize, session: SessionId, title: &Title, at: i64) -> anyhow::Result<()> {
        let mut clicks = vec![("page_viewed", serde_json::json!({"page": "/browse"}), 45_000)];
        if self.rng.random_bool(0.3) {
            let query = title.name.split(' ').next_back().unwrap_or_default().to_lowercase();
            clicks.push(("search_typed", serde_json::json!({"query": query}), 30_000));
        }
        clicks.push(("title_opened", serde_json::json!({"title": title.id, "kind": title.kind}), 12_000));
        clicks.push(("play_clicked", serde_json::json!({"title": title.id, "from": "title page"}), 1_000));
        for (name, properties, before_ms) in clicks {
            let click = Recorded {
                name: name.to_owned(),
                account_id: Some(self.homes[home].account.clone()),
                anonymous_id: None,
                session_id: Some(session),
                properties: RawValue::from_string(properties.to_string())?,
            };
            let id = self.id_at(Timestamp::from_millis(at));
            let origin = Origin { id, source: SOURCE, time: Timestamp::from_millis(at - before_ms) };
            let record = envelope::clickstream(&ClickstreamEvent::Recorded(click), &origin);
            self.records.push((record, Timestamp::from_millis(at)));
            self.made.clicks += 1;
        }
        Ok(())
    }

    /// A heartbeat, and when the next one is due.
    fn beat(&mut self, home: usize, player: usize, at: i64, mut watching: Watching) -> anyhow::Result<()> {
        let elapsed_ms = at - watching.began_at;
        let played_ms = if watching.state == PlayerState::Playing { BEAT_MS.min(elapsed_ms) } else { 0 };
        watching.position_ms += if watching.sequence == 0 { 0 } else { played_ms };
        // The pause stands a third into what is watched.
        let pause_from = (watching.for_ms - watching.pause_ms) / 3;
        let is_paused = (pause_from..pause_from + watching.pause_ms).contains(&elapsed_ms);
        watching.state = if is_paused { PlayerState::Paused } else { PlayerState::Playing };
        let Viewer { device, plan, .. } = &self.homes[home].players[player];
        let heartbeat = Heartbeat {
            account_id: self.homes[home].account.clone(),
            session_id: watching.session,
            device_id: device.clone(),
            device_class: Some(plan.device_class),
            title_id: watching.title.id.parse()?,
            content_kind: Some(watching.title.kind),
            territory: Some(plan.territory.parse::<Territory>()?),
            rights_holder: Some(holder_of(watching.title).parse()?),
            sequence: watching.sequence,
            elapsed_ms: elapsed_ms.unsigned_abs(),
            age_ms: 0,
            position_ms: watching.position_ms.unsigned_abs(),
            state: watching.state,
            rate_milli: 1_000,
            policy: self.policy.clone(),
        };
        self.happens(home, &PlaybackEvent::Heartbeat(heartbeat), at)?;
        self.made.heartbeats += 1;
        watching.sequence += 1;
        self.homes[home].players[player].watching = Some(watching);
        self.next(at + BEAT_MS, home, player);
        Ok(())
    }

    fn stop(&mut self, home: usize, player: usize, at: i64, watching: &Watching) -> anyhow::Result<()> {
        let has_played = watching.sequence > 0;
        let stopped = Stopped {
            account_id: self.homes[home].account.clone(),
            session_id: watching.session,
            sequence: has_played.then_some(watching.sequence),
            elapsed_ms: has_played.then_some((at - watching.began_at).unsigned_abs()),
            position_ms: has_played.then_some((watching.position_ms + BEAT_MS).unsigned_abs()),
        };
        self.happens(home, &PlaybackEvent::Stopped(stopped), at)?;
        if self.rng.random_bool(0.35) {
            let pause_ms = self.rng.random_range(30_000..900_000);
            self.next(at + pause_ms, home, player);
            return Ok(());
        }
        let tomorrow = Timestamp::from_millis(at).to_utc().date_naive().and_time(NaiveTime::MIN).and_utc();
        self.evening(home, player, tomorrow.checked_add_days(Days::new(1)).unwrap_or(tomorrow));
        Ok(())
    }

    /// Puts an event into the log; whether its session may run after it.
    fn happens(&mut self, home: usize, event: &PlaybackEvent, at: i64) -> anyhow::Result<bool> {
        let at = Timestamp::from_millis(at);
        let id = self.id_at(at);
        let fold = &mut self.homes[home].fold;
        fold.forget(at, &mut ());
        self.offset += 1;
        fold.apply(&id.to_string(), event, Place { offset: self.offset, at }, &self.policies, &mut ())?;
        let verdict = event.session_id().and_then(|session| fold.verdict(session, at, &self.policies));
        self.records.push((envelope::playback(event, &Origin { id, source: SOURCE, time: at }), at));
        Ok(verdict.is_some_and(|verdict| verdict.allows()))
    }

    /// A version 7 id of that time.
    fn id_at(&mut self, at: Timestamp) -> Uuid {
        let mut random = [0; 10];
        self.rng.fill_bytes(&mut random);
        Builder::from_unix_timestamp_millis(at.millis().unsigned_abs(), &random).into_uuid()
    }
}

/// Films are the first one's, the series and the channels the other's.
fn holder_of(title: &Title) -> &'static str {
    let is_of_the_series = SERIES.iter().any(|episode| episode == title);
    if is_of_the_series || title.kind == ContentKind::Live { HOLDERS[1].0 } else { HOLDERS[0].0 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn all_of(seed: u64) -> (Vec<(Record, Timestamp)>, Made) {
        let args = SimulateArgs { viewers: 24, seed, ..SimulateArgs::for_tests() };
        let mut past = Past::draw(&args, 3, "past", Timestamp::from_millis(1_795_380_423_120)).unwrap();
        let mut records = Vec::new();
        while past.goes_on().unwrap() {
            records.append(&mut past.records);
        }
        (records, past.made)
    }

    #[test]
    fn a_seed_makes_one_past_in_the_order_of_time_with_some_told_no() {
        let (records, made) = all_of(5);
        assert!(records.is_sorted_by_key(|(_, at)| *at));
        assert!(made.told_no > 0 && made.plays > 24 && made.heartbeats > 100 * made.plays, "{made:?}");
        let (again, _) = all_of(5);
        assert!(records.iter().zip(&again).all(|(one, other)| one.0.value == other.0.value && one.1 == other.1));
        assert_ne!(all_of(6).1, made);
        let mut topics = BTreeMap::<_, usize>::new();
        for (record, _) in &records {
            *topics.entry(record.topic.base_name()).or_default() += 1;
        }
        assert_eq!(topics["catalog"], 20, "two holders, two contracts, sixteen titles");
        assert_eq!(topics["clickstream"], usize::try_from(made.clicks).unwrap());
    }
}
