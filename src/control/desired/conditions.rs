//! What holds of servers beside what the operator wrote of them: that one is being drained or in maintenance, and
//! whatever else is found out while the director runs. What is published is what was written, as its conditions leave it.
//!
//! A condition lasts for as long as its server is there: through edits and reloads, and whether a change that waits for
//! its confirmation gets it or not. No configuration has it, nor does any that is kept.

use super::{Desired, Key};
use crate::config::{Care, OnDown, Real, Service};
use crate::control::cause::Cause;
use crate::net::Endpoint;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What holds of a server. By default, nothing does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// If it is being drained, how.
    pub drain: Option<Drain>,
    /// If somebody works on it, how.
    pub maintenance: Option<Maintenance>,
    /// What its checks have found out, as soon as they have.
    pub finding: Option<Finding>,
}

/// What its checks have found out about a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it is; `None` if nobody knows yet.
    pub wellness: Option<Wellness>,
    /// Since when, after the director's start.
    pub since: Duration,
    /// Why it is not well, in one line; empty if it is.
    pub cause: Arc<str>,
    /// The weight that it asks for, if it does.
    pub weight: Option<u16>,
    /// Why it cannot be asked now, so that what was found stays; empty if it can.
    pub unasked: Arc<str>,
}

/// How a server is, as its checks have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wellness {
    /// All of them are answered.
    Well,
    /// Some have failed since, though not often enough.
    Suspect,
    /// Some fail.
    Ill,
    /// It is in maintenance, or was, and not all of them have been answered since.
    Awaited,
}

/// The server gets nothing new; its connections go on until they end, or until the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// When it began, after the director's start.
    pub since: Duration,
    /// When it is over, after the director's start.
    pub deadline: Option<Duration>,
    /// What becomes of the connections that are left then.
    pub rest: Rest,
}

/// Somebody works on the server: it gets nothing new, its checks are not made, and nobody misses it. Whether it is drained
/// besides does not matter, and holds afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintenance {
    /// When it began, and what becomes of the connections that it has.
    pub leave: Drain,
    /// Who has begun it.
    pub by: Cause,
    /// What for, in the operator's words; empty if there are none.
    pub reason: Arc<str>,
}

/// What becomes of the connections that are left at a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub enum Rest {
    /// Both ends of a TCP connection are reset if its replies pass here (NAT); of others, nobody is told.
    #[default]
    Reset,
    /// They are forgotten, and nobody is told.
    Drop,
    /// They go on until they end.
    Keep,
}

/// How a server is, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub enum ServerState {
    /// It gets what its weight says.
    Up,
    /// It gets a part of that, which rises (`slow_start`).
    Starting,
    /// As up, though a check has failed, which is not believed yet.
    Suspect,
    /// It gets nothing new, since its checks fail.
    Down,
    /// It gets nothing new, since somebody wants it empty.
    Draining,
    /// It gets nothing new, and its checks are not made, since somebody works on it.
    Maintenance,
}

impl ServerState {
    /// Every state.
    pub const ALL: [ServerState; 6] = [
        ServerState::Up,
        ServerState::Starting,
        ServerState::Suspect,
        ServerState::Down,
        ServerState::Draining,
        ServerState::Maintenance,
    ];

    /// Whether a server that is so gets connections.
    fn takes_connections(self) -> bool {
        matches!(self, ServerState::Up | ServerState::Starting | ServerState::Suspect)
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            ServerState::Up => "up",
            ServerState::Starting => "starting",
            ServerState::Suspect => "suspect",
            ServerState::Down => "down",
            ServerState::Draining => "draining",
            ServerState::Maintenance => "maintenance",
        }
    }
}

impl fmt::Display for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What is published of a server in the place of what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effect {
    /// Its weight.
    pub weight: u16,
    /// Whether not even a persistence template leads to it.
    pub is_shut: bool,
    /// Whether its connections are to be reset.
    pub ends: bool,
}

impl Condition {
    /// How a server of this service is, as far as its conditions go.
    pub fn state(&self, real: &Real, service: &Service) -> ServerState {
        if self.maintenance.is_some() {
            return ServerState::Maintenance;
        }
        if self.drain.is_some() {
            return ServerState::Draining;
        }
        match self.wellness() {
            Some(Wellness::Ill | Wellness::Awaited) => ServerState::Down,
            Some(Wellness::Suspect) => ServerState::Suspect,
            Some(Wellness::Well) => ServerState::Up,
            None if service.care.alpha && !service.checks_of(real).is_empty() => ServerState::Down,
            None => ServerState::Up,
        }
    }

    fn wellness(&self) -> Option<Wellness> {
        self.finding.as_ref()?.wellness
    }

    /// How its connections leave it, if it gets nothing new by somebody's word.
    pub fn leave(&self) -> Option<Drain> {
        self.maintenance.as_ref().map(|maintenance| maintenance.leave).or(self.drain)
    }

    /// What becomes of a server of this service, whose state this is: what all conditions together amount to is decided
    /// here alone.
    fn effect(&self, state: ServerState, real: &Real, service: &Service) -> Effect {
        let asked = self.finding.as_ref().and_then(|finding| finding.weight);
        // Whom the operator has quiesced no check wakes up.
        let weight = asked.filter(|_| real.weight > 0).unwrap_or(real.weight);
        let shut = Effect { weight: 0, is_shut: true, ends: false };
        match state {
            ServerState::Up | ServerState::Starting | ServerState::Suspect => {
                Effect { weight, is_shut: false, ends: false }
            }
            ServerState::Down => {
                // Of whom nothing is known the connections may well go on.
                let is_ill = self.wellness() == Some(Wellness::Ill);
                Effect { ends: is_ill && service.care.on_down == OnDown::Reset, ..shut }
            }
            ServerState::Draining | ServerState::Maintenance => shut,
        }
    }
}

/// What holds of a service and of its servers.
#[derive(Debug, Clone, Default, PartialEq)]
struct OfService {
    servers: HashMap<Endpoint, Condition>,
    /// Whether too little weight is well, and has been since it last was enough.
    has_lost_quorum: bool,
}

/// The conditions of all servers of which anything holds. Shared between one state and the next, service by service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conditions(Arc<HashMap<Key, Arc<OfService>>>);

impl Conditions {
    /// What holds of a server.
    pub fn of(&self, key: Key, server: Endpoint) -> Option<&Condition> {
        self.0.get(&key)?.servers.get(&server)
    }

    /// Each server of which anything holds.
    pub fn iter(&self) -> impl Iterator<Item = (Key, Endpoint, &Condition)> {
        self.0.iter().flat_map(|(&key, of)| {
            of.servers.iter().map(move |(&server, condition)| (key, server, condition))
        })
    }

    /// How each of a service's servers is.
    pub fn states(&self, service: &Service) -> Vec<ServerState> {
        let of = self.of_service(service);
        service.reals.iter().map(|real| of_real(of, real).state(real, service)).collect()
    }

    /// What is published of each of a service's servers, and of its sorry server behind them, if it has one.
    pub fn effects(&self, service: &Service) -> Vec<Effect> {
        let (of, mut states) = (self.of_service(service), self.states(service));
        if fails_open(service, of, &states) {
            states
                .iter_mut()
                .filter(|state| **state == ServerState::Down)
                .for_each(|state| *state = ServerState::Up);
        }
        let effect = |(real, state)| of_real(of, real).effect(state, real, service);
        let mut effects: Vec<Effect> = service.reals.iter().zip(states).map(effect).collect();
        if let Some(sorry) = &service.sorry {
            let takes_over = self.has_lost_quorum(service);
            if takes_over {
                effects.iter_mut().for_each(|effect| (effect.weight, effect.is_shut) = (0, true));
            }
            let weight = if takes_over { sorry.weight } else { 0 };
            effects.push(Effect { weight, is_shut: !takes_over, ends: false });
        }
        effects
    }

    /// Whether less than the quorum of a service is well. With a sorry server, that has taken over.
    pub fn has_lost_quorum(&self, service: &Service) -> bool {
        self.of_service(service).is_some_and(|of| of.has_lost_quorum)
    }

    /// Finds out whether a service has its quorum.
    fn count_quorum(&mut self, service: &Service) {
        let Care { quorum, hysteresis, .. } = service.care;
        let well: u64 = service
            .reals
            .iter()
            .zip(self.states(service))
            .filter(|(_, state)| state.takes_connections())
            .map(|(real, _)| u64::from(real.weight))
            .sum();
        let had_lost = self.has_lost_quorum(service);
        let wanted = if had_lost { quorum + hysteresis } else { quorum - hysteresis };
        let has_lost = well < u64::from(wanted);
        if has_lost != had_lost {
            self.change_service(Key::of(service), |of| of.has_lost_quorum = has_lost);
        }
    }

    fn of_service(&self, service: &Service) -> Option<&OfService> {
        self.0.get(&Key::of(service)).map(Arc::as_ref)
    }

    /// Whether so many of a service's servers seem down that checks are not believed, and all are scheduled.
    pub fn fails_open(&self, service: &Service) -> bool {
        fails_open(service, self.of_service(service), &self.states(service))
    }

    /// Whether as much is published of the service under these conditions as under those.
    pub fn same_effect(&self, other: &Conditions, service: &Service) -> bool {
        if Arc::ptr_eq(&self.0, &other.0) {
            return true;
        }
        let key = Key::of(service);
        match (self.0.get(&key), other.0.get(&key)) {
            (None, None) => true,
            (Some(one), Some(other)) if Arc::ptr_eq(one, other) => true,
            _ => self.effects(service) == other.effects(service),
        }
    }

    /// The services of whose servers not the same holds under these and those.
    pub(super) fn unlike(&self, other: &Conditions) -> HashSet<Key> {
        let differs = |key: &&Key| match (self.0.get(key), other.0.get(key)) {
            (Some(one), Some(other)) => !Arc::ptr_eq(one, other),
            _ => true,
        };
        if Arc::ptr_eq(&self.0, &other.0) {
            return HashSet::new();
        }
        self.0.keys().chain(other.0.keys()).filter(differs).copied().collect()
    }

    /// Whether a server is in maintenance.
    pub fn is_maintained(&self, key: Key, server: Endpoint) -> bool {
        self.of(key, server).is_some_and(|condition| condition.maintenance.is_some())
    }

    /// Whether the same servers are in maintenance under these and those.
    pub fn same_maintenance(&self, other: &Conditions) -> bool {
        let of = |conditions: &Conditions, key: Key| -> Vec<Endpoint> {
            conditions.0.get(&key).map(|of| of.servers.keys().copied().collect()).unwrap_or_default()
        };
        self.unlike(other).into_iter().all(|key| {
            let servers = of(self, key).into_iter().chain(of(other, key));
            servers
                .into_iter()
                .all(|server| self.is_maintained(key, server) == other.is_maintained(key, server))
        })
    }

    /// Changes what holds of a server.
    pub(super) fn change(&mut self, key: Key, server: Endpoint, change: impl FnOnce(&mut Condition)) {
        let mut condition = self.of(key, server).cloned().unwrap_or_default();
        change(&mut condition);
        self.set(key, server, condition);
    }

    fn set(&mut self, key: Key, server: Endpoint, condition: Condition) {
        self.change_service(key, |of| match condition == Condition::default() {
            true => drop(of.servers.remove(&server)),
            false => drop(of.servers.insert(server, condition)),
        });
    }

    fn change_service(&mut self, key: Key, change: impl FnOnce(&mut OfService)) {
        let all = Arc::make_mut(&mut self.0);
        let of = Arc::make_mut(all.entry(key).or_default());
        change(of);
        if *of == OfService::default() {
            all.remove(&key);
        }
    }
}

/// What holds of a server, of whose service this holds.
fn of_real<'a>(of: Option<&'a OfService>, real: &Real) -> &'a Condition {
    static NOTHING: Condition = Condition { drain: None, maintenance: None, finding: None };
    of.and_then(|of| of.servers.get(&real.endpoint)).unwrap_or(&NOTHING)
}

/// As [`Conditions::fails_open`]. Servers that are drained, quiesced or in maintenance do not count; as long as some
/// have not been asked yet, nobody knows; and where there is a sorry server, it is there for that.
fn fails_open(service: &Service, of: Option<&OfService>, states: &[ServerState]) -> bool {
    let (Some(percent), None) = (service.care.fail_open_percent, &service.sorry) else { return false };
    let (mut well, mut down) = (0, 0);
    for (real, state) in service.reals.iter().zip(states).filter(|(real, _)| real.weight > 0) {
        match state {
            ServerState::Up | ServerState::Starting | ServerState::Suspect => well += u64::from(real.weight),
            ServerState::Down if of_real(of, real).wellness() != Some(Wellness::Ill) => return false,
            ServerState::Down => down += u64::from(real.weight),
            ServerState::Draining | ServerState::Maintenance => {}
        }
    }
    down > 0 && well * 100 <= (well + down) * u64::from(percent)
}

impl Desired {
    /// This state with what checks have found out about servers, as far as these are there; `None` is nothing any more.
    #[must_use]
    pub fn with_findings(&self, findings: &[(Key, Endpoint, Option<Finding>)]) -> Desired {
        let mut conditions = self.conditions.clone();
        for (key, server, finding) in findings {
            if self.has(*key, *server) {
                conditions.change(*key, *server, |condition| condition.finding = finding.clone());
            }
        }
        Desired { conditions, ..self.clone() }.with_quorums()
    }

    /// This state, in which each service knows whether it has its quorum.
    pub(super) fn with_quorums(mut self) -> Desired {
        for service in self.services.iter().filter(|service| service.wants_quorum()) {
            self.conditions.count_quorum(service);
        }
        self
    }

    /// What holds of servers beside what the operator wrote of them.
    pub fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// This state, which `before` has become, without conditions of servers that are not there any more.
    pub(super) fn without_the_gone(mut self, before: &Desired) -> Desired {
        let is_as_it_was = |key| match (before.find(key), self.find(key)) {
            (Some(before), Some(after)) => Arc::ptr_eq(before, after),
            _ => false,
        };
        let changed = self.conditions.0.iter().filter(|&(&key, _)| !is_as_it_was(key));
        let servers = changed.flat_map(|(&key, of)| of.servers.keys().map(move |&server| (key, server)));
        let gone: Vec<(Key, Endpoint)> = servers.filter(|&(key, server)| !self.has(key, server)).collect();
        for (key, server) in gone {
            self.conditions.set(key, server, Condition::default());
        }
        let services_gone: Vec<Key> = self
            .conditions
            .0
            .keys()
            .filter(|key| self.find(**key).is_none_or(|of| !of.wants_quorum()))
            .copied()
            .collect();
        for key in services_gone {
            self.conditions.change_service(key, |of| of.has_lost_quorum = false);
        }
        self.with_quorums()
    }

    /// Whether the service of this key has this server.
    fn has(&self, key: Key, server: Endpoint) -> bool {
        self.find(key).is_some_and(|service| service.reals.iter().any(|real| real.endpoint == server))
    }

    /// This state, which `now` shall go back to, under the conditions of now. Servers that were not there meanwhile have
    /// those that they had.
    #[must_use]
    pub fn under_conditions_of(&self, now: &Desired) -> Desired {
        let missed = self.conditions.iter().filter(|&(key, server, _)| !now.has(key, server));
        let shared = now.conditions.iter().filter(|&(key, server, _)| self.has(key, server));
        let mut conditions = Conditions::default();
        for (key, server, condition) in missed.chain(shared) {
            conditions.set(key, server, condition.clone());
        }
        Desired { conditions, ..self.clone() }.with_quorums()
    }
}

#[cfg(test)]
mod tests;
