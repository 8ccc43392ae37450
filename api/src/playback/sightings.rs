//! What servers send of themselves: a licence server's question, and lines of a content delivery network's log.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use pulsegate_domain::account::Verdict;
use pulsegate_domain::event::Question;
use pulsegate_write_side::adapter::{CloudFront, Fate, Intake, LineError, Mapping, Sighting, Thinner};
use pulsegate_write_side::envelope::{self, Origin};
use pulsegate_write_side::request::{INVALID, SignalRequest};
use serde::Serialize;

use super::Playback;
use super::answer::{Answered, CommandError, open};
use super::ingest::{BatchOutcome, Outgoing};
use super::known::Known;

/// Most lines of one log that are told apart in an answer; all are counted.
const TOLD_MAX: usize = 100;

/// What became of a log's lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogOutcome {
    /// How many there were.
    pub lines: usize,
    /// How many stand in the log as signals now.
    pub accepted: usize,
    /// How many say nothing new: their viewing is known to be alive.
    pub thinned: usize,
    /// How many are older than their lease: no sign of life now.
    pub too_old: usize,
    /// How many are of a time that has not come.
    pub ahead: usize,
    /// How many are of something else than manifests and segments.
    pub not_media: usize,
    /// How many are of requests that were not served.
    pub not_served: usize,
    /// How many could not be taken.
    pub refused: usize,
    /// The first of these.
    pub rejected: Vec<LineRejected>,
}

/// A line that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LineRejected {
    /// Its number, from 1.
    pub line: usize,
    /// Why, for a program: `unavailable` and `overloaded` may be sent again as they are.
    pub code: &'static str,
    /// Which field is wrong, where one is.
    pub field: Option<String>,
    /// Why, for a person.
    pub detail: String,
}

impl LogOutcome {
    fn count(&self) {
        for (fate, lines) in [
            ("accepted", self.accepted),
            ("thinned", self.thinned),
            ("too_old", self.too_old),
            ("ahead", self.ahead),
            ("not_media", self.not_media),
            ("not_served", self.not_served),
            ("refused", self.refused),
        ] {
            metrics::counter!("pulsegate_signal_lines_total", "fate" => fate).increment(lines as u64);
        }
    }

    fn refuse(&mut self, line: usize, code: &'static str, field: Option<String>, detail: String) {
        self.refused += 1;
        if self.rejected.len() < TOLD_MAX {
            self.rejected.push(LineRejected { line, code, field, detail });
        }
    }
}

impl Playback {
    /// A licence server asks before it issues. Allowed is `Ok`; blocked and ended are errors with the verdict.
    pub async fn licence(&self, request: SignalRequest) -> Result<Answered, CommandError> {
        let known = self.known(&request.account_id).await;
        let event = self.admit_signal(request, &known)?;
        let origin = Origin::new("/v1/signals/licence", self.now());
        let (answer, _) = self.append_and_hear(&known, Question::Signal, event, &origin).await?;
        let answer = open(answer)?;
        match (answer.session_id, &answer.verdict) {
            (Some(session_id), Some(verdict)) if !verdict.allows() => {
                Err(CommandError::Blocked { session_id, verdict: Verdict::clone(verdict), stamp: answer.stamp })
            }
            _ => Ok(answer),
        }
    }

    /// Takes in lines of a `CloudFront` log; nothing waits for the fold.
    ///
    /// # Errors
    /// If not one could be appended because the log is away: the lines are to be sent again.
    pub async fn cloudfront(
        &self,
        lines: Bytes,
        mapping: Arc<Mapping>,
        thinner: &Mutex<Thinner>,
    ) -> Result<LogOutcome, CommandError> {
        // A body of many lines is too much to be read beside block checks.
        let read = tokio::task::spawn_blocking(move || {
            let mut log = CloudFront::new(&mapping);
            lines_of(&lines).map(|line| log.line(line)).collect::<Vec<_>>()
        });
        let read = read.await.map_err(|_| CommandError::unavailable("the lines could not be read"))?;
        let mut outcome = LogOutcome { lines: read.len(), ..LogOutcome::default() };
        let mut sent = Vec::new();
        {
            let mut thinner = thinner.lock().unwrap_or_else(PoisonError::into_inner);
            let mut intake = Intake::new(&mut thinner, self.now());
            for (index, line) in read.into_iter().enumerate() {
                let fate = line.map(|line| intake.judge(line, |signal| self.lease_of(signal)));
                match fate {
                    Ok(Fate::Sent(sighting)) => sent.push((index + 1, *sighting)),
                    Ok(Fate::Thinned) => outcome.thinned += 1,
                    Ok(Fate::TooOld) => outcome.too_old += 1,
                    Ok(Fate::Ahead) => outcome.ahead += 1,
                    Ok(Fate::NotMedia) => outcome.not_media += 1,
                    Ok(Fate::NotServed) => outcome.not_served += 1,
                    Ok(Fate::Blank) => outcome.lines -= 1,
                    Err(LineError { field, detail }) => outcome.refuse(index + 1, INVALID, Some(field), detail),
                }
            }
        }
        let (not_appended, error) = self.append_sightings(&sent, &mut outcome).await;
        if !not_appended.is_empty() {
            let mut thinner = thinner.lock().unwrap_or_else(PoisonError::into_inner);
            for (_, sighting) in sent.iter().filter(|(line, _)| not_appended.contains(line)) {
                thinner.take_back(&sighting.signal);
            }
        }
        if let Some(error) = error {
            return Err(error);
        }
        outcome.count();
        Ok(outcome)
    }

    /// How long the policy in force for a signal's account keeps its session alive.
    fn lease_of(&self, signal: &SignalRequest) -> u64 {
        self.inner
            .catalog
            .read(|catalog| catalog.policy_in_force(&signal.account_id).terms.leases_ms.signal(signal.kind))
    }

    /// Appends what was seen; gives the lines that are not in the log, and why if that is all of them.
    async fn append_sightings(
        &self,
        sent: &[(usize, Sighting)],
        outcome: &mut LogOutcome,
    ) -> (HashSet<usize>, Option<CommandError>) {
        let mut outgoing = Vec::with_capacity(sent.len());
        let mut not_appended = HashSet::new();
        let cold = self.known_of_all(sent.iter().map(|(_, sighting)| &sighting.signal.account_id)).await;
        for (line, Sighting { at, signal }) in sent {
            let known = cold.get(&signal.account_id).unwrap_or(&Known::View);
            match self.admit_signal(signal.clone(), known) {
                Ok(event) => {
                    let origin = Origin::new("/v1/signals/cloudfront", *at);
                    let record = envelope::playback(&event, &origin);
                    outgoing.push(Outgoing { index: *line, record, own: Some((origin.id, event)) });
                }
                Err(error) => {
                    not_appended.insert(*line);
                    outcome.refuse(*line, error.code(), None, error.to_string());
                }
            }
        }
        if outgoing.is_empty() {
            return (not_appended, None);
        }
        match self.append_batch(outgoing, BatchOutcome::default()).await {
            Ok(appended) => {
                outcome.accepted += appended.accepted;
                for rejected in appended.rejected {
                    not_appended.insert(rejected.index);
                    outcome.refuse(rejected.index, rejected.code, None, rejected.detail);
                }
                (not_appended, None)
            }
            Err(error) => (sent.iter().map(|(line, _)| *line).collect(), Some(error)),
        }
    }
}

/// The lines of a body; what stands behind the last line's end is none.
fn lines_of(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    body.split(|byte| *byte == b'\n')
}
