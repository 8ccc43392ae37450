//! Random viewers, and players that count badly, repeat themselves, send late and travel: the same seed gives the same
//! events.

use pulsegate_domain::event::{Attributes, Evicted, Heartbeat, PlaybackEvent, Signal, Started, Stopped, encode};
use pulsegate_domain::ids::{
    AccountId, DeviceClass, DeviceId, EvictedBy, PlayerState, SessionId, SignalKind, Territory, TitleId,
};
use pulsegate_domain::time::Timestamp;
use uuid::Uuid;

use crate::households::Event;

/// Shortly before a month's last midnight: 2026-10-31T23:30:00Z.
const BEGIN_MS: i64 = 1_793_489_400_000;
/// Positions are multiples of this, so that a plain set of them can be counted.
pub(crate) const GRAIN_MS: u64 = 500;

#[derive(Clone)]
struct Viewing {
    account: AccountId,
    session: SessionId,
    device: DeviceId,
    title: TitleId,
    territory: Option<Territory>,
    state: PlayerState,
    sequence: u64,
    elapsed_ms: u64,
    position: u64,
}

impl Viewing {
    /// What the player says of its device; some change their mind.
    fn class(&self) -> Option<DeviceClass> {
        [None, Some(DeviceClass::Tv), Some(DeviceClass::Tv), Some(DeviceClass::Mobile)]
            [usize::try_from(self.sequence / 5 % 4).unwrap()]
    }
}

/// Some accounts, each with some sessions at a time.
pub(crate) struct Viewers {
    dice: u64,
    now: i64,
    accounts: u64,
    viewings: Vec<Viewing>,
    /// What was sent lately, to be sent again.
    sent: Vec<PlaybackEvent>,
    made: u64,
}

impl Viewers {
    pub(crate) fn new(seed: u64, accounts: u64) -> Self {
        let dice = seed.wrapping_mul(2) + 1;
        Self { dice, now: BEGIN_MS, accounts, viewings: Vec::new(), sent: Vec::new(), made: 0 }
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

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        let chosen = self.roll(choices.len() as u64);
        choices[usize::try_from(chosen).unwrap()].clone()
    }

    fn uuid(&mut self) -> Uuid {
        let (high, low) = (self.roll(1 << 31), self.roll(1 << 31));
        uuid::Builder::from_random_bytes((u128::from(high) << 64 | u128::from(low)).to_be_bytes()).into_uuid()
    }

    fn event(&mut self) -> Event {
        self.now += i64::try_from(match self.roll(300) {
            0 => 40_000_000,
            1..6 => 700_000,
            _ => self.roll(4_000),
        })
        .unwrap();
        let event = if self.roll(25) == 0 && !self.sent.is_empty() {
            let sent = self.sent.clone();
            self.of(&sent)
        } else {
            let place = self.viewing();
            self.speak(place)
        };
        self.sent.push(event.clone());
        if self.sent.len() > 30 {
            self.sent.remove(0);
        }
        let account = event.account_id().clone();
        let attributes = Attributes {
            id: self.uuid(),
            source: "/test",
            subject: "test",
            time: Timestamp::from_millis(self.now),
            partition_key: account.as_str(),
        };
        // A broker's clock may be set back; the log's never is.
        let set_back = if self.roll(20) == 0 { 5_000 } else { 0 };
        Event { value: encode(&attributes, &event), at: Timestamp::from_millis(self.now - set_back), account }
    }

    /// A viewing that goes on, or a new one.
    fn viewing(&mut self) -> usize {
        let places = self.viewings.len() as u64;
        if places > 0 && self.roll(10) > 0 {
            // Mostly one of the newest.
            let back = if self.roll(10) == 0 { self.roll(places) } else { self.roll(places.min(8)) };
            return usize::try_from(places - 1 - back).unwrap();
        }
        self.made += 1;
        let session = if self.roll(12) == 0 && places > 0 {
            // An id that somebody else has as well.
            let other = usize::try_from(self.roll(places)).unwrap();
            self.viewings[other].session
        } else {
            SessionId::new(self.uuid()).unwrap()
        };
        let viewing = Viewing {
            account: format!("account-{}", self.roll(self.accounts)).parse().unwrap(),
            session,
            device: format!("device-{}", self.roll(3)).parse().unwrap(),
            title: format!("film-{}", self.roll(4)).parse().unwrap(),
            territory: self.of(&[Some("DE"), Some("FR"), None]).map(|two| two.parse().unwrap()),
            state: PlayerState::Playing,
            sequence: self.roll(3),
            elapsed_ms: self.roll(20_000),
            position: self.roll(100),
        };
        // Two of one account may have one id: then they are one session, of which one tells lies.
        self.viewings.push(viewing);
        self.viewings.len() - 1
    }

    fn speak(&mut self, place: usize) -> PlaybackEvent {
        let mut one = self.viewings[place].clone();
        let step_ms = self.of(&[10_000, 10_000, 10_000, 10_000, 3_000, 24_999, 25_000, 40_000, 0]);
        one.sequence += self.of(&[1, 1, 1, 1, 1, 1, 1, 1, 2, 0, 100_000, 100_001]);
        one.elapsed_ms += step_ms;
        one.position += match self.roll(12) {
            0 => self.roll(200),
            1 => 0,
            _ => step_ms / GRAIN_MS,
        };
        if self.roll(15) == 0 {
            one.position = one.position.saturating_sub(60);
        }
        if self.roll(10) == 0 {
            one.state = self.of(PlayerState::ALL);
        } else if self.roll(3) == 0 {
            one.state = PlayerState::Playing;
        }
        if self.roll(25) == 0 {
            one.territory = self.of(&[Some("DE"), Some("FR"), None]).map(|two| two.parse().unwrap());
        }
        let event = self.say(&one);
        // What was far ahead of the others isn't gone on from: it would be ignored from then on.
        if one.sequence < self.viewings[place].sequence + 100_001 {
            self.viewings[place] = one;
        }
        event
    }

    fn say(&mut self, one: &Viewing) -> PlaybackEvent {
        let Viewing { account, session, device, title, .. } = one.clone();
        let policy: pulsegate_domain::policy::PolicyRef = "standard@1".parse().unwrap();
        match self.roll(100) {
            0..5 => PlaybackEvent::Started(Started {
                account_id: account,
                session_id: session,
                device_id: device,
                device_class: one.class(),
                title_id: title,
                content_kind: None,
                territory: one.territory,
                rights_holder: None,
                policy,
                evict: Vec::new(),
            }),
            5..8 => PlaybackEvent::Stopped(Stopped {
                account_id: account,
                session_id: session,
                sequence: None,
                elapsed_ms: (self.roll(4) > 0).then_some(one.elapsed_ms),
                position_ms: (self.roll(3) > 0).then_some(one.position * GRAIN_MS),
            }),
            8 => PlaybackEvent::Evicted(Evicted { account_id: account, session_id: session, by: EvictedBy::Operator }),
            9..12 => PlaybackEvent::Signal(Signal {
                account_id: account,
                session_id: (self.roll(2) == 0).then_some(session),
                device_id: device,
                device_class: one.class(),
                title_id: title,
                content_kind: None,
                territory: one.territory,
                rights_holder: None,
                kind: SignalKind::Manifest,
                // What no catalog holds counts here all the same.
                policy: "nobody@9".parse().unwrap(),
            }),
            rolled => PlaybackEvent::Heartbeat(Heartbeat {
                account_id: account,
                session_id: session,
                device_id: if rolled == 12 { "another".parse().unwrap() } else { device },
                device_class: one.class(),
                title_id: if rolled == 13 { "another".parse().unwrap() } else { title },
                content_kind: None,
                territory: one.territory,
                rights_holder: None,
                sequence: one.sequence,
                elapsed_ms: one.elapsed_ms,
                age_ms: self.of(&[0, 0, 0, 0, 0, 24_999, 25_000, 3_000_000, 600_000_000]),
                position_ms: one.position * GRAIN_MS,
                state: one.state,
                rate_milli: self.of(&[1_000, 1_000, 500, 2_000]),
                policy,
            }),
        }
    }
}
