//! Asking for a slot, and granting or refusing it (rules 5, 6 and 7).

use super::session::{End, EndReason, Refusal, Session, Standing, Takeover};
use super::{Account, Decision, DecisionKind, Observe, Place};
use crate::ids::SessionId;
use crate::policy::{OnLimit, PerDevice, Policy, Rule, Scope};
use crate::time::Timestamp;

impl Rule {
    /// Whether this rule limits `asker` at all.
    pub(super) fn limits(self, asker: &Session) -> bool {
        match self.scope {
            Scope::Account | Scope::Title | Scope::Territory => true,
            Scope::DeviceClass(class) => asker.device_class == class,
            Scope::ContentKind(kind) => asker.content_kind == kind,
            Scope::RightsHolder => asker.rights_holder.is_some(),
        }
    }

    /// Whether this rule counts `other` against `asker`, which it limits.
    pub(super) fn counts(self, asker: &Session, other: &Session) -> bool {
        match self.scope {
            Scope::Account => true,
            Scope::Title => asker.title_id == other.title_id,
            Scope::DeviceClass(class) => other.device_class == class,
            Scope::ContentKind(kind) => other.content_kind == kind,
            Scope::Territory => asker.territory == other.territory,
            Scope::RightsHolder => asker.rights_holder == other.rights_holder,
        }
    }

    /// Whether this rule, being full, refuses rather than makes room.
    fn refuses_when_full(self) -> bool {
        self.max == 0 || self.on_limit == OnLimit::BlockNewest
    }
}

/// Whether `other` would end as replaced if `asker` asked (rule 5).
pub(super) fn would_replace(policy: &Policy, asker: &Session, other: &Session) -> bool {
    let replaceable = match policy.terms.per_device {
        PerDevice::One => true,
        PerDevice::Many => other.inferred,
    };
    replaceable && other.id != asker.id && other.device_id == asker.device_id
}

/// The live slot holders that an ask would meet, by rank: the asker is not among them.
pub(super) struct Holders<'a>(Vec<&'a Session>);

impl<'a> Holders<'a> {
    pub(super) fn met_by(account: &'a Account, asker: &Session, policy: &Policy, at: Timestamp) -> Self {
        let mut holders: Vec<_> = account
            .open
            .iter()
            .filter(|other| other.id != asker.id && other.holds_live_slot(at) && !would_replace(policy, asker, other))
            .collect();
        holders.sort_unstable_by_key(|holder| holder.rank());
        Self(holders)
    }

    pub(super) fn without(&self, gone: impl Fn(&Session) -> bool) -> Self {
        Self(self.0.iter().copied().filter(|holder| !gone(holder)).collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'a Session> {
        self.0.iter().copied()
    }

    /// Those that `rule` counts against `asker`, by rank.
    pub(super) fn counted(&self, rule: &Rule, asker: &Session) -> impl Iterator<Item = &'a Session> {
        self.iter().filter(move |holder| rule.counts(asker, holder))
    }

    /// The first full rule that refuses `asker`.
    pub(super) fn refusing(&self, policy: &Policy, asker: &Session) -> Option<Rule> {
        policy.terms.rules.iter().copied().find(|rule| self.are_refusing(*rule, asker))
    }

    /// Whether `rule` is full and refuses `asker`.
    pub(super) fn are_refusing(&self, rule: Rule, asker: &Session) -> bool {
        rule.limits(asker) && rule.refuses_when_full() && self.counted(&rule, asker).count() >= rule.max as usize
    }

    /// The rule that leaves `asker` the least room, once it has its slot; the first on a tie.
    pub(super) fn tightest(&self, policy: &Policy, asker: &Session) -> Option<Rule> {
        policy
            .terms
            .rules
            .iter()
            .filter(|rule| rule.limits(asker))
            .min_by_key(|rule| i64::from(rule.max).saturating_sub_unsigned(self.counted(rule, asker).count() as u64))
            .copied()
    }

    fn ids(&self, rule: Rule, asker: &Session) -> Vec<SessionId> {
        self.counted(&rule, asker).map(Session::id).collect()
    }
}

impl Account {
    /// A session without a slot asks for one.
    pub(super) fn ask(
        &mut self,
        id: SessionId,
        policy: &Policy,
        place: Place,
        evict: &[SessionId],
        observer: &mut impl Observe,
    ) {
        self.replace_others(id, policy, place, observer);
        let Some(asker) = self.open_session(id) else { return };
        let holders = Holders::met_by(self, asker, policy, place.at);
        let refused = holders.without(|holder| evict.contains(&holder.id)).refusing(policy, asker).is_some();
        // Refused even so, `evict` ends nobody: then what counts is everybody.
        if let Some(rule) = holders.refusing(policy, asker).filter(|_| refused) {
            let counted = holders.ids(rule, asker);
            self.refuse(id, rule, counted, place, observer);
        } else {
            self.grant(id, policy, place, evict, observer);
        }
    }

    /// The asker's device goes on: its other sessions end as replaced (rule 5).
    fn replace_others(&mut self, id: SessionId, policy: &Policy, place: Place, observer: &mut impl Observe) {
        let Some(asker) = self.open_session(id) else { return };
        let mut replaced: Vec<_> =
            self.open.iter().filter(|other| would_replace(policy, asker, other)).map(Session::id).collect();
        if replaced.is_empty() {
            return;
        }
        replaced.sort_unstable();
        let end = End {
            reason: EndReason::Replaced,
            at: place.at,
            by: Some(Takeover { session_id: id, device_id: asker.device_id.clone() }),
            rule: None,
        };
        for other in replaced {
            self.end(other, &end, place, observer);
        }
    }

    fn refuse(
        &mut self,
        id: SessionId,
        rule: Rule,
        counted: Vec<SessionId>,
        place: Place,
        observer: &mut impl Observe,
    ) {
        let Some(asker) = self.open.iter_mut().find(|session| session.id == id) else { return };
        let mut in_id_order = counted.clone();
        in_id_order.sort_unstable();
        let news = match &asker.standing {
            Standing::Refused(before) => before.counted != in_id_order,
            Standing::NotAsked | Standing::Holding { .. } | Standing::Lost(_) => true,
        };
        asker.standing = Standing::Refused(Box::new(Refusal { rule, counted: in_id_order }));
        if news {
            observer.decided(|| Decision::ask(DecisionKind::Refuse, asker, Some(rule), counted, place));
        }
    }

    fn grant(
        &mut self,
        id: SessionId,
        policy: &Policy,
        place: Place,
        evict: &[SessionId],
        observer: &mut impl Observe,
    ) {
        let Some(asker) = self.open_session(id).cloned() else { return };
        let by = || Some(Takeover { session_id: id, device_id: asker.device_id.clone() });
        for evicted in evict.iter().filter(|evicted| **evicted != id) {
            let end = End { reason: EndReason::Evicted, at: place.at, by: by(), rule: None };
            self.end(*evicted, &end, place, observer);
        }
        for rule in policy.terms.rules.iter().filter(|rule| rule.limits(&asker)) {
            let holders = Holders::met_by(self, &asker, policy, place.at);
            let counted = holders.ids(*rule, &asker);
            // One more must fit in, so the asker's own place is counted.
            let surplus = (counted.len() + 1).saturating_sub(rule.max as usize);
            for displaced in counted.into_iter().take(surplus) {
                let end = End { reason: EndReason::Displaced, at: place.at, by: by(), rule: Some(*rule) };
                self.end(displaced, &end, place, observer);
            }
        }
        let holders = Holders::met_by(self, &asker, policy, place.at);
        let rule = holders.tightest(policy, &asker);
        let counted = rule.map(|rule| holders.ids(rule, &asker)).unwrap_or_default();
        let Some(session) = self.open.iter_mut().find(|session| session.id == id) else { return };
        session.standing = Standing::Holding { rank: place.offset };
        observer.decided(|| Decision::ask(DecisionKind::Grant, session, rule, counted, place));
    }
}
