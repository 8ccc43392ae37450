//! Seeded viewers, who play and remember what they were told, while something is done to the nodes that they ask.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::deployment::{Answer, Node};
use crate::recount::{Collected, Recount};

/// What an account does before its viewer goes on as another: what the read model keeps of it then fits one page.
const DEEDS_AN_ACCOUNT: usize = 80;
const DEVICES: usize = 3;
/// How long one try may take.
const TRY_MAX: Duration = Duration::from_secs(20);
/// By how much an answer's instant may be ahead of the time: nodes believe a clock that is a second off.
const AHEAD_MAX: chrono::TimeDelta = chrono::TimeDelta::seconds(3);

/// What viewers put up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Some requests may have no answer after this many tries: what they need is broken on purpose.
    Tries(usize),
    /// Each request is answered within this time, and no try hangs: something else can always be asked.
    Answered(Duration),
}

/// Viewers, and the nodes that they know of.
pub(crate) struct Crowd {
    nodes: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
    viewers: Vec<JoinHandle<Heard>>,
}

impl Crowd {
    /// So many viewers begin to watch.
    pub(crate) fn start(name: &str, count: u64, nodes: Vec<String>, seed: u64, patience: Patience) -> Self {
        let (nodes, over) = (Arc::new(Mutex::new(nodes)), Arc::new(AtomicBool::new(false)));
        let viewers = (0..count).map(|viewer| {
            let viewer = Viewer {
                client: reqwest::Client::builder().timeout(TRY_MAX).build().expect("a client"),
                nodes: Arc::clone(&nodes),
                over: Arc::clone(&over),
                rng: ChaCha8Rng::seed_from_u64(seed.wrapping_add(1 + viewer)),
                name: format!("{name}-{viewer}"),
                patience,
                heard: Heard::default(),
            };
            tokio::spawn(viewer.watch())
        });
        let viewers = viewers.collect();
        Self { nodes, over, viewers }
    }

    /// Another node takes a node's place.
    pub(crate) fn replace(&self, index: usize, url: &str) {
        url.clone_into(&mut self.nodes.lock().unwrap_or_else(PoisonError::into_inner)[index]);
    }

    /// Ends it; what all of them have heard.
    pub(crate) async fn end(self) -> Heard {
        self.over.store(true, Ordering::Relaxed);
        let mut heard = Heard::default();
        for viewer in self.viewers {
            let one = viewer.await.expect("a viewer saw nothing but answers and 503");
            heard.collected.extend(one.collected);
            heard.acknowledged.extend(one.acknowledged);
            heard.started.extend(one.started);
            heard.accounts.extend(one.accounts);
            heard.answered += one.answered;
            heard.unanswered += one.unanswered;
        }
        heard
    }
}

/// What was heard and what must stand in the log.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) collected: Vec<Collected>,
    pub(crate) acknowledged: BTreeSet<(String, u64)>,
    pub(crate) started: BTreeSet<String>,
    pub(crate) accounts: BTreeSet<String>,
    pub(crate) answered: usize,
    pub(crate) unanswered: usize,
}

/// Somebody with three devices and a limit of two.
struct Viewer {
    client: reqwest::Client,
    nodes: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
    rng: ChaCha8Rng,
    name: String,
    patience: Patience,
    heard: Heard,
}

impl Viewer {
    async fn watch(mut self) -> Heard {
        let mut account = String::new();
        let mut playing: [Option<(Uuid, u64)>; DEVICES] = [None; DEVICES];
        for deed in 0.. {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            if deed % DEEDS_AN_ACCOUNT == 0 {
                account = format!("{}-{}", self.name, deed / DEEDS_AN_ACCOUNT);
                self.heard.accounts.insert(account.clone());
                playing = [None; DEVICES];
            }
            let device = self.rng.random_range(0..DEVICES);
            let next = match playing[device] {
                None => self.start(&account, device).await,
                Some(session) => self.go_on(&account, device, session, &playing).await,
            };
            playing[device] = next;
            tokio::time::sleep(Duration::from_millis(self.rng.random_range(20..150))).await;
        }
        self.heard
    }

    async fn start(&mut self, account: &str, device: usize) -> Option<(Uuid, u64)> {
        let session = Uuid::now_v7();
        let body = json!({"session_id": session, "device_id": format!("device-{device}"), "title_id": "t"});
        let answer = self.ask("POST", &format!("/v1/accounts/{account}/sessions"), Some(&body)).await?;
        self.note(account, session, &answer);
        if answer.status != 201 {
            return None;
        }
        self.heard.started.insert(session.to_string());
        Some((session, 0))
    }

    async fn go_on(
        &mut self,
        account: &str,
        device: usize,
        (session, sequence): (Uuid, u64),
        playing: &[Option<(Uuid, u64)>],
    ) -> Option<(Uuid, u64)> {
        let path = format!("/v1/accounts/{account}/sessions/{session}");
        match self.rng.random_range(0..100) {
            0..70 => {
                let body = json!({"device_id": format!("device-{device}"), "title_id": "t", "sequence": sequence,
                    "elapsed_ms": sequence * 100, "position_ms": sequence * 100, "state": "playing"});
                // The same heartbeat may be sent again until it is answered; a few tries, as a player has.
                let answer = self.ask("POST", &format!("{path}/heartbeats"), Some(&body)).await?;
                if answer.status == 200 || answer.status == 410 {
                    self.heard.acknowledged.insert((session.to_string(), sequence));
                }
                self.note(account, session, &answer);
                (answer.status == 200).then_some((session, sequence + 1))
            }
            70..85 => {
                if let Some(answer) = self.ask("GET", &format!("{path}/verdict"), None).await {
                    self.note(account, session, &answer);
                }
                Some((session, sequence))
            }
            85..95 => {
                self.ask("POST", &format!("{path}/stop"), Some(&json!({}))).await;
                None
            }
            _ => {
                let others: Vec<_> = playing.iter().flatten().filter(|(other, _)| *other != session).collect();
                if let Some((other, _)) = others.first() {
                    let path = format!("/v1/accounts/{account}/sessions/{other}/evict");
                    if let Some(answer) = self.ask("POST", &path, Some(&json!({"by": "viewer"}))).await {
                        self.note(account, *other, &answer);
                    }
                }
                Some((session, sequence))
            }
        }
    }

    fn note(&mut self, account: &str, session: Uuid, answer: &Answer) {
        let collected = Collected::from_body(account, &session.to_string(), &answer.body);
        let at = |answer: &Collected| chrono::DateTime::parse_from_rfc3339(answer.as_of["at"].as_str()?).ok();
        if let Some(at) = collected.as_ref().filter(|answer| !answer.provisional).and_then(at) {
            // Else leases would end before their time.
            assert!(at - AHEAD_MAX <= chrono::Utc::now(), "an answer of the future: {answer:?}");
        }
        self.heard.collected.extend(collected);
    }

    /// Asks a node, and another one where there is no answer or it says to come again.
    async fn ask(&mut self, method: &str, path: &str, body: Option<&Value>) -> Option<Answer> {
        let begun = Instant::now();
        for tried in 0.. {
            match self.patience {
                Patience::Tries(tries) if tried < tries && !(tried > 0 && self.over.load(Ordering::Relaxed)) => {}
                Patience::Tries(_) => break,
                Patience::Answered(within) => {
                    assert!(begun.elapsed() < within, "{method} {path} has no answer after {tried} tries");
                }
            }
            let url = {
                let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
                nodes[self.rng.random_range(0..nodes.len())].clone()
            };
            let tried_at = Instant::now();
            let answer = Node::ask(&self.client, &url, method, path, body).await;
            let mut pause = Duration::from_millis(200);
            match answer {
                Some(answer) if answer.status < 500 => {
                    self.heard.answered += 1;
                    return Some(answer);
                }
                Some(answer) => {
                    // Anything else is a mistake of ours, not of what was broken.
                    assert_eq!(answer.status, 503, "{method} {path}: {answer:?}");
                    if let Patience::Answered(_) = self.patience {
                        let after =
                            answer.headers.get("retry-after").and_then(|after| after.to_str().ok()?.parse().ok());
                        pause = Duration::from_secs(after.unwrap_or_else(|| panic!("no Retry-After: {answer:?}")));
                    }
                }
                // Refused, or cut off: as a player does, at once somewhere else.
                None if matches!(self.patience, Patience::Answered(_)) => {
                    assert!(tried_at.elapsed() < TRY_MAX, "{method} {path} hung");
                    pause = Duration::from_millis(20);
                }
                None => {}
            }
            tokio::time::sleep(pause).await;
        }
        self.heard.unanswered += 1;
        None
    }
}

/// Asserts that what was acknowledged stands in the log, and nothing stands there twice.
pub(crate) fn nothing_is_lost(found: &Recount, heard: &Heard) {
    let events: Vec<Value> =
        found.records.iter().filter_map(|record| serde_json::from_str(&record.value).ok()).collect();
    let of = |kind: &str| {
        let kind = format!("pulsegate.playback.{kind}.v1");
        events.iter().filter(move |event| event["type"] == *kind).map(|event| &event["data"])
    };
    let beats: BTreeSet<_> = of("heartbeat")
        .filter_map(|data| Some((data["session_id"].as_str()?.to_owned(), data["sequence"].as_u64()?)))
        .collect();
    let lost: Vec<_> = heard.acknowledged.difference(&beats).collect();
    assert!(lost.is_empty(), "{} acknowledged heartbeats are not in the log: {lost:?}", lost.len());
    let starts: BTreeSet<_> = of("started").filter_map(|data| data["session_id"].as_str().map(str::to_owned)).collect();
    let lost: Vec<_> = heard.started.difference(&starts).collect();
    assert!(lost.is_empty(), "{} acknowledged starts are not in the log: {lost:?}", lost.len());
    let mut places: BTreeMap<String, Vec<(i64, i64)>> = BTreeMap::new();
    for record in &found.records {
        let event: Value = serde_json::from_str(&record.value).unwrap_or_default();
        if let Some(id) = event["id"].as_str() {
            places.entry(id.to_owned()).or_default().push((record.partition, record.offset));
        }
    }
    places.retain(|_, places| places.len() > 1);
    assert!(places.is_empty(), "events stand in the log twice, at these partitions and offsets: {places:?}");
}
