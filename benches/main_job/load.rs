//! Load on a server: as fast as it answers, or at a rate.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::http::{Answer, Connection};
use crate::latencies::Latencies;
use crate::pacer::Turns;
use crate::scale::{Scale, per_second};

/// Threads of a load that goes as fast as it can: with one it could be the client that is the limit.
const THREADS: usize = 2;
/// How long after the end a request that was due may still be sent; later ones count as not answered.
const OVERTIME: Duration = Duration::from_secs(3);
/// No answer takes longer, unless something is wrong.
const ANSWER_TIME_MAX: Duration = Duration::from_mins(1);

/// What one connection sends.
pub(crate) trait Requests: Send + 'static {
    /// The next request.
    fn next(&mut self) -> &[u8];

    /// Whether its answer is what it should be.
    fn is_right(&self, answer: &Answer<'_>) -> bool;
}

/// From when to when load counts; it begins before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) start: Instant,
    pub(crate) begin: Instant,
    pub(crate) end: Instant,
}

impl Span {
    /// From now on, with a warm-up.
    pub(crate) fn from_now(scale: &Scale) -> Self {
        let start = Instant::now();
        let begin = start + scale.warm_up;
        Self { start, begin, end: begin + scale.measured }
    }

    /// Whether what happens at `at` counts.
    pub(crate) fn counts(&self, at: Instant) -> bool {
        (self.begin..self.end).contains(&at)
    }

    fn length(&self) -> Duration {
        self.end - self.begin
    }
}

/// What a load came to.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// Right answers a second.
    pub(crate) per_s: f64,
    pub(crate) latencies: Latencies,
}

/// What was counted so far.
#[derive(Debug, Default)]
struct Tally {
    right: u64,
    wrong: u64,
    unanswered: u64,
    latencies: Latencies,
    /// The first answer that was wrong.
    example: Option<String>,
}

impl Tally {
    fn note(&mut self, is_right: bool, answer: &Answer<'_>, counts: bool) {
        if !is_right {
            self.wrong += 1;
            self.example.get_or_insert_with(|| {
                let body = String::from_utf8_lossy(&answer.body[..answer.body.len().min(300)]);
                format!("{} {body}", answer.status)
            });
        } else if counts {
            self.right += 1;
        }
    }

    fn merge(&mut self, other: Self) {
        self.right += other.right;
        self.wrong += other.wrong;
        self.unanswered += other.unanswered;
        self.latencies.merge(other.latencies);
        self.example = self.example.take().or(other.example);
    }

    /// A load with a wrong answer is no measure of anything.
    fn measured(self, span: Span) -> anyhow::Result<Measured> {
        anyhow::ensure!(self.wrong == 0, "{} wrong answers, e.g. {}", self.wrong, self.example.unwrap_or_default());
        // Those that were never sent stand among the latencies with the time until then.
        if self.unanswered > 0 {
            eprintln!("  {} requests were due and could not be sent in time", self.unanswered);
        }
        Ok(Measured { per_s: per_second(self.right, span.length()), latencies: self.latencies })
    }
}

type Part<R> = anyhow::Result<(Tally, Vec<R>)>;

/// Each of `requests` on a connection of its own, the next as soon as the last is answered.
pub(crate) async fn closed_loop<R: Requests>(
    address: SocketAddr,
    mut requests: Vec<R>,
    span: Span,
) -> anyhow::Result<(Measured, Vec<R>)> {
    let mut parts = Vec::new();
    for part in (1..=THREADS).rev() {
        let own: Vec<_> = requests.drain(..requests.len() / part).collect();
        parts.push(on_own_thread(move || async move {
            let mut connections = JoinSet::new();
            for requests in own {
                connections.spawn(async move {
                    let overdue = (span.end + ANSWER_TIME_MAX).into();
                    let asked = tokio::time::timeout_at(overdue, ask_until_over(address, requests, span));
                    asked.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
                });
            }
            joined(connections).await
        })?);
    }
    let (mut tally, mut requests) = (Tally::default(), Vec::new());
    for part in parts {
        let (counted, used) = part.await.context("a load ended early")??;
        tally.merge(counted);
        requests.extend(used);
    }
    Ok((tally.measured(span)?, requests))
}

/// `per_s` requests a second, whatever is answered when, over as many connections as there are `requests`.
pub(crate) async fn open_loop<R: Requests>(
    address: SocketAddr,
    requests: Vec<R>,
    per_s: u32,
    span: Span,
) -> anyhow::Result<(Measured, Vec<R>)> {
    let turns = Turns::start(per_s, span.start, span.end)?;
    let part = on_own_thread(move || async move {
        let mut connections = JoinSet::new();
        for requests in requests {
            connections.spawn(ask_in_turn(address, requests, turns.clone(), span));
        }
        joined(connections).await
    })?;
    let (tally, requests) = part.await.context("a load ended early")??;
    Ok((tally.measured(span)?, requests))
}

async fn joined<R: Requests>(mut connections: JoinSet<io::Result<(Tally, R)>>) -> Part<R> {
    let (mut tally, mut requests) = (Tally::default(), Vec::new());
    while let Some(ended) = connections.join_next().await {
        let (counted, used) = ended?.context("a connection broke")?;
        tally.merge(counted);
        requests.push(used);
    }
    Ok((tally, requests))
}

async fn ask_until_over<R: Requests>(address: SocketAddr, mut requests: R, span: Span) -> io::Result<(Tally, R)> {
    let mut connection = Connection::open(address).await?;
    let mut tally = Tally::default();
    let mut asked_at = Instant::now();
    while asked_at < span.end {
        let answer = connection.ask(requests.next()).await?;
        let answered_at = Instant::now();
        let counts = span.counts(answered_at);
        tally.note(requests.is_right(&answer), &answer, counts);
        if counts {
            tally.latencies.add(answered_at - asked_at);
        }
        asked_at = answered_at;
    }
    Ok((tally, requests))
}

async fn ask_in_turn<R: Requests>(
    address: SocketAddr,
    mut requests: R,
    turns: Turns,
    span: Span,
) -> io::Result<(Tally, R)> {
    let mut connection = Connection::open(address).await?;
    let mut tally = Tally::default();
    while let Some(due) = turns.next().await {
        if Instant::now() < span.end + OVERTIME {
            let asked = tokio::time::timeout(ANSWER_TIME_MAX, connection.ask(requests.next()));
            let answer = asked.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            tally.note(requests.is_right(&answer), &answer, span.counts(Instant::now()));
        } else {
            tally.unanswered += 1;
        }
        if span.counts(due) {
            tally.latencies.add(due.elapsed());
        }
    }
    Ok((tally, requests))
}

/// Runs a load on a thread of its own, with a runtime that shares nothing: no task is ever handed from one
/// core to the other. It begins at once; what it comes to can be waited for.
pub(crate) fn on_own_thread<T, F>(load: impl FnOnce() -> F + Send + 'static) -> anyhow::Result<oneshot::Receiver<T>>
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (told, tell) = oneshot::channel();
    thread::Builder::new().name("load".into()).spawn(move || {
        // Nobody waits any more where another part of the measure failed.
        drop(told.send(runtime.block_on(load())));
    })?;
    Ok(tell)
}

/// Counts up; shared by connections that each need what nobody had before.
pub(crate) type Counter = Arc<AtomicUsize>;
