//! What a caller may say in a body: a player speaks of its own account alone, and as its token binds it.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::request::Parts;
use pulsegate_callers::token::Player;
use pulsegate_domain::ids::{AccountId, DeviceId, EvictedBy, SessionId};
use pulsegate_write_side::request::{Batch, ClickstreamRequest, EvictRequest, HeartbeatRequest, StartRequest};

use super::Caller;
use super::admit::forbidden;
use crate::playback::Playback;
use crate::problem::Problem;
use crate::state::ApiState;

/// Who makes this request.
pub(crate) struct By(pub(crate) Caller);

impl FromRequestParts<ApiState> for By {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &ApiState) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get::<Caller>().cloned().unwrap_or_default()))
    }
}

impl By {
    fn player(&self) -> Option<&Player> {
        match &self.0 {
            Caller::Player(player) => Some(player),
            Caller::Anyone | Caller::Server(_) | Caller::Person(_) | Caller::Node => None,
        }
    }

    /// The application, changing the catalog in its caller's name.
    pub(crate) fn playback(&self, api: &ApiState) -> Playback {
        api.playback().by(match &self.0 {
            Caller::Anyone | Caller::Node => None,
            Caller::Player(player) => Some(format!("player:{}", player.account_id)),
            Caller::Server(server) => Some(format!("key:{} {}", server.id, server.name)),
            Caller::Person(person) => Some(format!("person:{} {}", person.subject, person.name)),
        })
    }

    /// A start that its caller may make. One that names no session is of the token's.
    pub(crate) fn start(&self, mut request: StartRequest) -> Result<StartRequest, Problem> {
        if let Some(player) = self.player() {
            request.session_id = request.session_id.or(player.session_id);
            bound(player, None, request.session_id, Some(&request.device_id))?;
        }
        Ok(request)
    }

    /// Whether a heartbeat is its caller's to send.
    pub(crate) fn heartbeat(&self, request: &HeartbeatRequest) -> Result<(), Problem> {
        let Some(player) = self.player() else { return Ok(()) };
        bound(player, Some(&request.account_id), Some(request.session_id), Some(&request.device_id))
    }

    /// Whether all of these are. One that isn't is no mistake of a player's, so none of them is taken.
    pub(crate) fn heartbeats(&self, batch: &Batch<HeartbeatRequest>) -> Result<(), Problem> {
        let Some(player) = self.player() else { return Ok(()) };
        batch.accepted.iter().try_for_each(|(_, request)| self.heartbeat(request))?;
        // What can't be read is kept, to be sent in again after a fix: then it must be the player's own, too.
        let own = player.account_id.as_str();
        let is_others = |key: &String| key != own;
        if batch.rejected.iter().filter_map(|item| item.key.as_ref()).any(is_others) {
            return Err(not_own(player));
        }
        Ok(())
    }

    /// The same of what people did; a visitor without account is nobody else.
    pub(crate) fn clickstream(&self, batch: &Batch<ClickstreamRequest>) -> Result<(), Problem> {
        let Some(player) = self.player() else { return Ok(()) };
        let mut clicks = batch.accepted.iter().map(|(_, request)| &request.recorded);
        clicks.try_for_each(|click| bound(player, click.account_id.as_ref(), click.session_id, None))
    }

    /// An eviction as its caller may make it: a player's is its viewer's.
    pub(crate) fn evict(&self, request: EvictRequest) -> EvictRequest {
        let by = if self.player().is_some() { EvictedBy::Viewer } else { request.by };
        EvictRequest { by, ..request }
    }

    /// Whether its caller may have the log read from its beginning.
    pub(crate) fn replay(&self) -> Result<(), Problem> {
        if self.player().is_some() { Err(forbidden("a player's token is not for what was")) } else { Ok(()) }
    }
}

fn bound(
    player: &Player,
    account: Option<&AccountId>,
    session: Option<SessionId>,
    device: Option<&DeviceId>,
) -> Result<(), Problem> {
    if account.is_some_and(|account| *account != player.account_id) {
        return Err(not_own(player));
    }
    if player.session_id.is_some() && session.is_some() && session != player.session_id {
        return Err(forbidden("the token is of another session"));
    }
    let is_another = |bound: &DeviceId| device.is_some_and(|device| device != bound);
    match &player.device_id {
        Some(bound) if is_another(bound) => Err(forbidden(format!("the token is of device {bound}, and of no other"))),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn not_own(player: &Player) -> Problem {
    forbidden(format!("the token is of account {}, and of no other", player.account_id))
}
