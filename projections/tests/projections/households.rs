//! Random households: the same seed gives the same events.

use pulsegate_domain::event::{Attributes, Evicted, Heartbeat, PlaybackEvent, Signal, Started, Stopped, encode};
use pulsegate_domain::ids::{AccountId, DeviceId, EvictedBy, PlayerState, SessionId, SignalKind, TitleId};
use pulsegate_domain::policy::{OnLimit, PerDevice, Policy, PolicyRef, PolicySet, Rule, Scope};
use pulsegate_domain::time::Timestamp;
use uuid::Uuid;

/// An event as it is appended.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) account: AccountId,
    /// The log's time, where the test sets it.
    pub(crate) at: Timestamp,
    pub(crate) value: Vec<u8>,
}

/// The policies that the households' events name: the built-in one, and one that displaces.
pub(crate) fn policies() -> PolicySet {
    let mut set = PolicySet::default();
    let mut family = Policy::standard();
    family.name = "family".parse().unwrap();
    family.terms.rules = vec![Rule { scope: Scope::Account, max: 1, on_limit: OnLimit::DisplaceOldest }];
    family.terms.per_device = PerDevice::Many;
    set.publish(family);
    set
}

/// A few accounts whose members zap, pause, crash and come back; hours and days pass between.
pub(crate) struct Households {
    dice: u64,
    now: i64,
    accounts: u64,
    sessions: Vec<Vec<(SessionId, DeviceId, TitleId)>>,
}

impl Households {
    pub(crate) fn new(seed: u64, accounts: u64) -> Self {
        let sessions = (0..accounts).map(|_| Vec::new()).collect();
        Self { dice: seed.wrapping_mul(2) + 1, now: 1_790_000_000_000, accounts, sessions }
    }

    pub(crate) fn events(&mut self, count: usize) -> Vec<Event> {
        (0..count).map(|_| self.event()).collect()
    }

    /// Below `n`, by xorshift64*.
    fn roll(&mut self, n: u64) -> u64 {
        self.dice ^= self.dice >> 12;
        self.dice ^= self.dice << 25;
        self.dice ^= self.dice >> 27;
        (self.dice.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }

    fn uuid(&mut self) -> Uuid {
        let (high, low) = (self.roll(1 << 31), self.roll(1 << 31));
        uuid::Builder::from_random_bytes((u128::from(high) << 64 | u128::from(low)).to_be_bytes()).into_uuid()
    }

    fn event(&mut self) -> Event {
        self.now += i64::try_from(match self.roll(400) {
            0 => 100_000_000,
            1..4 => 4_000_000,
            4..20 => self.roll(700_000),
            _ => self.roll(3_000),
        })
        .unwrap();
        let index = self.roll(self.accounts);
        let account: AccountId = format!("account-{index}").parse().unwrap();
        let known = self.sessions[usize::try_from(index).unwrap()].len() as u64;
        let fresh = known == 0 || self.roll(8) == 0;
        let (session_id, device_id, title_id) = if fresh {
            let device = format!("device-{}", self.roll(3)).parse().unwrap();
            let title = format!("title-{}", self.roll(3)).parse().unwrap();
            let made = (SessionId::new(self.uuid()).unwrap(), device, title);
            self.sessions[usize::try_from(index).unwrap()].push(made.clone());
            made
        } else {
            // Mostly the newest few, sometimes one of long ago.
            let back = if self.roll(10) == 0 { self.roll(known) } else { self.roll(known.min(4)) };
            self.sessions[usize::try_from(index).unwrap()][usize::try_from(known - 1 - back).unwrap()].clone()
        };
        let policy: PolicyRef = if index % 3 == 2 { "family@1" } else { "standard@1" }.parse().unwrap();
        let event = self.of_a_kind(account.clone(), session_id, device_id, title_id, policy, fresh);
        let attributes = Attributes {
            id: self.uuid(),
            source: "/test",
            subject: "test",
            time: Timestamp::from_millis(self.now),
            partition_key: account.as_str(),
        };
        Event { value: encode(&attributes, &event), at: Timestamp::from_millis(self.now), account }
    }

    fn of_a_kind(
        &mut self,
        account_id: AccountId,
        session_id: SessionId,
        device_id: DeviceId,
        title_id: TitleId,
        policy: PolicyRef,
        fresh: bool,
    ) -> PlaybackEvent {
        match if fresh { self.roll(50) } else { self.roll(100) } {
            0..30 => PlaybackEvent::Started(Started {
                account_id,
                session_id,
                device_id,
                device_class: None,
                title_id,
                content_kind: None,
                territory: None,
                rights_holder: None,
                policy,
                evict: Vec::new(),
            }),
            30..75 => PlaybackEvent::Heartbeat(Heartbeat {
                account_id,
                session_id,
                device_id,
                device_class: None,
                title_id,
                content_kind: None,
                territory: None,
                rights_holder: None,
                sequence: self.roll(50),
                elapsed_ms: 10_000,
                age_ms: if self.roll(20) == 0 { 60_000 } else { 0 },
                position_ms: 10_000,
                state: PlayerState::ALL[usize::try_from(self.roll(5)).unwrap()],
                rate_milli: 1_000,
                policy,
            }),
            75..83 => PlaybackEvent::Stopped(Stopped {
                account_id,
                session_id,
                sequence: None,
                elapsed_ms: None,
                position_ms: None,
            }),
            83..87 => PlaybackEvent::Evicted(Evicted { account_id, session_id, by: EvictedBy::Operator }),
            _ => PlaybackEvent::Signal(Signal {
                account_id,
                session_id: (self.roll(2) == 0).then_some(session_id),
                device_id,
                device_class: None,
                title_id,
                content_kind: None,
                territory: None,
                rights_holder: None,
                kind: SignalKind::ALL[usize::try_from(self.roll(4)).unwrap()],
                policy,
            }),
        }
    }
}
