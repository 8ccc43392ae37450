//! Viewers: one session each, of an account each, and what they send.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pulsegate_domain::topic::partition_of;
use uuid::Uuid;

use crate::deployment::PARTITIONS;
use crate::http::{Answer, Connection, request};
use crate::load::Requests;
use crate::node::{Node, SOON, wait_until};
use crate::numbered::{FIRST, Numbered};

/// Heartbeats of one batch.
pub(crate) const BATCH: usize = 500;
/// How an answer to somebody who may play begins.
pub(crate) const ALLOWED: &[u8] = br#"{"verdict":{"decision":"allow","#;
/// A lease is 25 s; what is measured after so much of it is over before it ends.
const FRESH: Duration = Duration::from_secs(10);
const SETTLE_TRIES: usize = 5;

/// One session, the only one of its account.
#[derive(Debug)]
pub(crate) struct Viewer {
    number: usize,
    session: Uuid,
    heartbeat: Numbered,
}

impl Viewer {
    pub(crate) fn new(number: usize) -> Self {
        // Of now, because an old id of version 7 is refused.
        let session = Uuid::now_v7();
        let path = format!("/v1/accounts/{}/sessions/{session}/heartbeats", account(number));
        let body = format!("{{{}}}", heartbeat(number, FIRST));
        Self { number, session, heartbeat: Numbered::new(request("POST", &path, &body), &[]) }
    }

    /// The block check of its session.
    pub(crate) fn check(&self) -> Vec<u8> {
        request("GET", &format!("/v1/accounts/{}/sessions/{}/verdict", account(self.number), self.session), "")
    }

    /// A start of its session.
    pub(crate) fn start(&self) -> Vec<u8> {
        let body = format!(
            r#"{{"session_id":"{}","device_id":"device-{:08}","device_class":"tv","title_id":"title-{:05}","content_kind":"vod","territory":"DE"}}"#,
            self.session,
            self.number,
            self.number % 10_000
        );
        request("POST", &format!("/v1/accounts/{}/sessions", account(self.number)), &body)
    }

    /// Its next heartbeat, as a request.
    pub(crate) fn heartbeat(&mut self) -> &[u8] {
        self.heartbeat.next()
    }

    /// Its next heartbeat, as an item of a batch.
    fn item(&mut self) -> String {
        self.item_with(|viewer| viewer.heartbeat.take_number())
    }

    fn item_with(&mut self, number: impl FnOnce(&mut Self) -> u64) -> String {
        let sequence = number(self);
        let (account, session) = (account(self.number), self.session);
        format!(r#"{{"account_id":"{account}","session_id":"{session}",{}}}"#, heartbeat(self.number, sequence))
    }
}

/// The account of a number; all have one length.
pub(crate) fn account(number: usize) -> String {
    format!("acc-{number:08}")
}

fn heartbeat(number: usize, sequence: u64) -> String {
    format!(
        r#""device_id":"device-{number:08}","device_class":"tv","title_id":"title-{:05}","content_kind":"vod","territory":"DE","sequence":{sequence},"elapsed_ms":{sequence},"position_ms":{sequence},"state":"playing""#,
        number % 10_000
    )
}

/// So many viewers, from a number on.
pub(crate) fn viewers(from: usize, count: usize) -> Vec<Viewer> {
    (from..from + count).map(Viewer::new).collect()
}

/// Viewers that send their heartbeats over one connection, in turns.
#[derive(Debug)]
pub(crate) struct Watching {
    pub(crate) viewers: Vec<Viewer>,
    turn: usize,
}

/// `count` viewers, spread over connections.
pub(crate) fn watching(count: usize, connections: usize) -> Vec<Watching> {
    let each = count / connections;
    (0..connections).map(|index| Watching { viewers: viewers(index * each, each), turn: 0 }).collect()
}

impl Requests for Watching {
    fn next(&mut self) -> &[u8] {
        self.turn = (self.turn + 1) % self.viewers.len();
        self.viewers[self.turn].heartbeat()
    }

    fn is_right(&self, answer: &Answer<'_>) -> bool {
        answer.status == 200 && answer.body.starts_with(ALLOWED)
    }
}

/// Block checks over one connection, in turns.
#[derive(Debug)]
pub(crate) struct Checking {
    requests: Vec<Vec<u8>>,
    turn: usize,
}

/// Checks of all viewers' sessions, spread over connections.
pub(crate) fn checking(crowd: &[Watching], connections: usize) -> Vec<Checking> {
    let requests: Vec<_> = crowd.iter().flat_map(|watching| &watching.viewers).map(Viewer::check).collect();
    let each = requests.len() / connections;
    requests.chunks(each).take(connections).map(|part| Checking { requests: part.to_vec(), turn: 0 }).collect()
}

impl Requests for Checking {
    fn next(&mut self) -> &[u8] {
        self.turn = (self.turn + 1) % self.requests.len();
        &self.requests[self.turn]
    }

    fn is_right(&self, answer: &Answer<'_>) -> bool {
        answer.status == 200 && answer.body.starts_with(ALLOWED)
    }
}

/// Batches of viewers' heartbeats over one connection, in turns.
#[derive(Debug)]
pub(crate) struct Batching {
    batches: Vec<Numbered>,
    turn: usize,
}

/// `batches` of [`BATCH`] viewers each for each of the connections.
pub(crate) fn batching(connections: usize, batches: usize) -> Vec<Batching> {
    let batch = |index: usize| {
        let mut viewers = viewers(index * BATCH, BATCH);
        let items: Vec<_> = viewers.iter_mut().map(|viewer| viewer.item_with(|_| FIRST)).collect();
        Numbered::new(batch_of(&items), &[])
    };
    (0..connections)
        .map(|index| Batching { batches: (index * batches..(index + 1) * batches).map(batch).collect(), turn: 0 })
        .collect()
}

impl Batching {
    /// How many of them make a round of all viewers.
    pub(crate) fn len(&self) -> usize {
        self.batches.len()
    }
}

impl Requests for Batching {
    fn next(&mut self) -> &[u8] {
        self.turn = (self.turn + 1) % self.batches.len();
        self.batches[self.turn].next()
    }

    fn is_right(&self, answer: &Answer<'_>) -> bool {
        is_all_accepted(answer, BATCH)
    }
}

/// The request that sends these items together.
pub(crate) fn batch_of(items: &[String]) -> Vec<u8> {
    request("POST", "/v1/heartbeats", &format!(r#"{{"heartbeats":[{}]}}"#, items.join(",")))
}

/// A batch that holds one heartbeat of a viewer.
pub(crate) fn batch_of_one(viewer: &mut Viewer) -> Vec<u8> {
    batch_of(&[viewer.item()])
}

/// Whether every item of a batch was accepted.
pub(crate) fn is_all_accepted(answer: &Answer<'_>, count: usize) -> bool {
    answer.status == 200 && answer.body.starts_with(format!(r#"{{"accepted":{count},"#).as_bytes())
}

/// Every viewer of a crowd.
fn all(crowd: &mut [Watching]) -> impl Iterator<Item = &mut Viewer> {
    crowd.iter_mut().flat_map(|watching| &mut watching.viewers)
}

/// Lets each viewer take a slot, or keep it, by a heartbeat in a batch, and waits until checks say so.
pub(crate) async fn take_slots<'a>(
    node: &Node,
    viewers: impl IntoIterator<Item = &'a mut Viewer>,
) -> anyhow::Result<()> {
    let mut connection = Connection::open(node.address).await?;
    let mut items = Vec::with_capacity(BATCH);
    // A partition is folded in order: who is last in it is seen last.
    let mut last = BTreeMap::new();
    let mut viewers = viewers.into_iter().peekable();
    while let Some(viewer) = viewers.next() {
        items.push(viewer.item());
        last.insert(partition_of(account(viewer.number).as_bytes(), PARTITIONS), viewer.check());
        if items.len() == BATCH || viewers.peek().is_none() {
            let answer = connection.ask(&batch_of(&items)).await?;
            let body = || String::from_utf8_lossy(answer.body);
            anyhow::ensure!(is_all_accepted(&answer, items.len()), "a batch was answered {} {}", answer.status, body());
            items.clear();
        }
    }
    let is_allowed = |status: u16, body: &[u8]| status == 200 && body.starts_with(ALLOWED);
    for check in last.values() {
        wait_until(&mut connection, "a check to see its slot", check, is_allowed, SOON).await?;
    }
    Ok(())
}

/// Every viewer of a crowd has a slot, and the read model knows; none of them is about to lose it because
/// that took long.
pub(crate) async fn settle(node: &Node, crowd: &mut [Watching]) -> anyhow::Result<()> {
    for _ in 0..SETTLE_TRIES {
        let begun = Instant::now();
        take_slots(node, all(crowd)).await?;
        node.projected().await?;
        if begun.elapsed() < FRESH {
            return Ok(());
        }
    }
    anyhow::bail!("the read model folds so slowly that viewers lose their slots before anything is measured");
}
