//! What holds of servers beside what the operator wrote of them: that one is being drained, and whatever else is asked
//! for or found out while the director runs. What is published is what was written, as its conditions leave it.
//!
//! A condition lasts for as long as its server is there: through edits and reloads, and whether a change that waits for
//! its confirmation gets it or not. No configuration has it, nor does any that is kept.

use super::{Desired, Key};
use crate::config::{Real, Service};
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
    /// It gets nothing new, since somebody wants it empty.
    Draining,
}

impl fmt::Display for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ServerState::Up => "up",
            ServerState::Draining => "draining",
        })
    }
}

/// What is published of a server in the place of what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effect {
    /// Its weight.
    pub weight: u16,
    /// Whether not even a persistence template leads to it.
    pub is_shut: bool,
}

impl Condition {
    /// What becomes of a server of this written weight: what all conditions together amount to is decided here alone.
    pub fn effect(&self, weight: u16) -> Effect {
        match self.state() {
            ServerState::Up => Effect { weight, is_shut: false },
            ServerState::Draining => Effect { weight: 0, is_shut: true },
        }
    }

    /// How the server is.
    pub fn state(&self) -> ServerState {
        if self.drain.is_some() { ServerState::Draining } else { ServerState::Up }
    }
}

/// The conditions of a service's servers.
type OfService = Arc<HashMap<Endpoint, Condition>>;

/// The conditions of all servers of which anything holds. Shared between one state and the next, service by service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conditions(Arc<HashMap<Key, OfService>>);

impl Conditions {
    /// What holds of a server.
    pub fn of(&self, key: Key, server: Endpoint) -> Option<&Condition> {
        self.0.get(&key)?.get(&server)
    }

    /// Each server of which anything holds.
    pub fn iter(&self) -> impl Iterator<Item = (Key, Endpoint, &Condition)> {
        self.0
            .iter()
            .flat_map(|(&key, of)| of.iter().map(move |(&server, condition)| (key, server, condition)))
    }

    /// What is published of a service's server.
    pub fn effect(&self, key: Key, real: &Real) -> Effect {
        self.of(key, real.endpoint).unwrap_or(&Condition::default()).effect(real.weight)
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
            _ => service.reals.iter().all(|real| self.effect(key, real) == other.effect(key, real)),
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

    /// Changes what holds of a server.
    pub(super) fn change(&mut self, key: Key, server: Endpoint, change: impl FnOnce(&mut Condition)) {
        let mut condition = self.of(key, server).cloned().unwrap_or_default();
        change(&mut condition);
        self.set(key, server, condition);
    }

    fn set(&mut self, key: Key, server: Endpoint, condition: Condition) {
        let all = Arc::make_mut(&mut self.0);
        let of = Arc::make_mut(all.entry(key).or_default());
        match condition == Condition::default() {
            true => drop(of.remove(&server)),
            false => drop(of.insert(server, condition)),
        }
        if of.is_empty() {
            all.remove(&key);
        }
    }
}

impl Desired {
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
        let servers = changed.flat_map(|(&key, of)| of.keys().map(move |&server| (key, server)));
        let gone: Vec<(Key, Endpoint)> = servers.filter(|&(key, server)| !self.has(key, server)).collect();
        for (key, server) in gone {
            self.conditions.set(key, server, Condition::default());
        }
        self
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
        Desired { conditions, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{apply_at, desired};
    use super::*;
    use crate::config;
    use crate::control::desired::Edit;
    use serde_json::{Value, json};

    const TWO: &str = "[[virtual_service]]\nname = \"web\"\naddress = \"192.0.2.1:80\"\nforward = \"nat\"\n\
        [[virtual_service.real_server]]\naddress = \"10.0.0.1:8080\"\nweight = 4\n\
        [[virtual_service.real_server]]\naddress = \"10.0.0.2:8080\"\nweight = 2\n\
        [[virtual_service]]\nname = \"tls\"\naddress = \"192.0.2.1:443\"\nforward = \"nat\"\n\
        [[virtual_service.real_server]]\naddress = \"10.0.0.1:8443\"\nweight = 3\n";

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// The weights that are published, service by service.
    fn weights(desired: &Desired) -> Vec<Vec<u16>> {
        let of = |service: &Arc<Service>| {
            let weight = |real| desired.conditions().effect(Key::of(service), real).weight;
            service.reals.iter().map(weight).collect()
        };
        desired.services().iter().map(of).collect()
    }

    fn drained(desired: &Desired, edit: Value) -> Desired {
        apply_at(seconds(100), desired, json!([edit])).unwrap()
    }

    #[test]
    fn a_drained_server_is_published_with_weight_0_and_written_as_before() {
        let two = desired(TWO);
        let one = drained(&two, json!({ "edit": "drain", "service": "web", "server": "10.0.0.1:8080" }));
        assert_eq!(weights(&one), [vec![0, 2], vec![3]]);
        let (key, server) = (Key::of(&one.services()[0]), "10.0.0.1:8080".parse().unwrap());
        assert!(one.conditions().effect(key, &one.services()[0].reals[0]).is_shut);
        assert_eq!(one.conditions().of(key, server).unwrap().state(), ServerState::Draining);
        assert_eq!(one.config(), two.config());
        assert!((0..2).all(|place| Arc::ptr_eq(&one.services()[place], &two.services()[place])));
        assert!(one != two && one.services() == two.services());
    }

    #[test]
    fn a_server_is_drained_in_one_service_or_wherever_its_address_is() {
        let two = desired(TWO);
        for (edit, left) in [
            (json!({ "edit": "drain", "server": "10.0.0.1" }), [vec![0, 2], vec![0]]),
            (json!({ "edit": "drain", "server": "10.0.0.1:8443" }), [vec![4, 2], vec![0]]),
            (json!({ "edit": "drain", "service": "web", "server": "10.0.0.1" }), [vec![0, 2], vec![3]]),
        ] {
            let draining = drained(&two, edit.clone());
            assert_eq!(weights(&draining), left, "{edit}");
            let undrain = json!({ "edit": "undrain", "server": "10.0.0.1" });
            assert_eq!(drained(&draining, undrain), two, "{edit}");
        }
        let none = |edit: Value| apply_at(seconds(0), &two, json!([edit])).unwrap_err();
        for (edit, error) in [
            (json!({ "edit": "drain", "server": "10.0.0.9" }), "edit 1: real server \"10.0.0.9\" is unknown"),
            (
                json!({ "edit": "drain", "service": "tls", "server": "10.0.0.2" }),
                "edit 1: virtual service \"tls\": real server \"10.0.0.2\" is unknown",
            ),
            (
                json!({ "edit": "undrain", "server": "10.0.0.1" }),
                "edit 1: real server \"10.0.0.1\" is not being drained",
            ),
            (
                json!({ "edit": "drain", "server": "10.0.0.1", "deadline_seconds": 0 }),
                "edit 1: real server \"10.0.0.1\": deadline_seconds 0 is out of range (allowed: 1 to 86400)",
            ),
        ] {
            assert_eq!(none(edit), error);
        }
    }

    #[test]
    fn a_drain_asked_for_again_began_when_it_began_and_has_the_deadline_said_last() {
        let first = json!([{ "edit": "drain", "server": "10.0.0.2", "deadline_seconds": 60 }]);
        let again =
            json!([{ "edit": "drain", "server": "10.0.0.2", "deadline_seconds": 5, "at_deadline": "drop" }]);
        let draining = apply_at(seconds(100), &desired(TWO), first).unwrap();
        let draining = apply_at(seconds(130), &draining, again).unwrap();
        let all: Vec<_> = draining.conditions().iter().map(|(.., condition)| condition.drain).collect();
        let drain = Drain { since: seconds(100), deadline: Some(seconds(135)), rest: Rest::Drop };
        assert_eq!(all, [Some(drain)]);
    }

    #[test]
    fn a_condition_outlives_edits_and_reloads_and_goes_with_its_server() {
        let draining = drained(&desired(TWO), json!({ "edit": "drain", "server": "10.0.0.1" }));
        let reload = |text: &str| {
            let text = format!("interface = [{{ name = \"eth0\" }}]\n{text}");
            let new = Edit::Replace(Arc::new(config::parse("f", &text).unwrap()));
            draining.apply(&[new], seconds(0)).unwrap().desired
        };
        assert_eq!(weights(&reload(&TWO.replace("weight = 4", "weight = 9"))), [vec![0, 2], vec![0]]);
        let weight =
            json!({ "edit": "set_weight", "service": "tls", "server": "10.0.0.1:8443", "weight": 8 });
        let edited = drained(&draining, weight);
        assert_eq!((weights(&edited)[1].clone(), edited.services()[1].reals[0].weight), (vec![0], 8));

        let gone = reload(&TWO.replace("10.0.0.1:8080", "10.0.0.3:8080"));
        assert_eq!(weights(&gone), [vec![4, 2], vec![0]]);
        assert_eq!(gone.conditions().iter().count(), 1);
        let removed = drained(&gone, json!({ "edit": "delete_service", "service": "tls" }));
        assert_eq!(removed.conditions(), &Conditions::default());
    }

    #[test]
    fn whoever_goes_back_does_so_under_the_conditions_of_now() {
        let before = drained(&desired(TWO), json!({ "edit": "drain", "server": "10.0.0.1" }));
        let steps = [
            json!({ "edit": "delete_service", "service": "tls" }),
            json!({ "edit": "undrain", "server": "10.0.0.1" }),
            json!({ "edit": "drain", "server": "10.0.0.2" }),
        ];
        let now = steps.into_iter().fold(before.clone(), |state, edit| drained(&state, edit));
        assert_eq!(weights(&now), [vec![4, 0]]);
        let back = before.under_conditions_of(&now);
        assert_eq!(weights(&back), [vec![4, 0], vec![0]], "the server of tls was not there to be undrained");
        assert_eq!(back.services(), before.services());
    }

    #[test]
    fn only_services_whose_servers_are_published_otherwise_are_told_apart() {
        let two = desired(TWO);
        let draining = drained(&two, json!({ "edit": "drain", "service": "web", "server": "10.0.0.1" }));
        let longer = json!({ "edit": "drain", "server": "10.0.0.1:8080", "deadline_seconds": 60 });
        let longer = drained(&draining, longer);
        let same = |one: &Desired, other: &Desired| {
            let of = |service: &Arc<Service>| one.conditions().same_effect(other.conditions(), service);
            one.services().iter().map(of).collect::<Vec<_>>()
        };
        assert_eq!(same(&two, &draining), [false, true]);
        assert!(draining != longer);
        assert_eq!(same(&draining, &longer), [true, true]);
    }
}
