//! What holds of servers beside what the operator wrote of them: that one is being drained, and whatever else is asked
//! for or found out while the director runs. What is published is what was written, as its conditions leave it.
//!
//! A condition lasts for as long as its server is there: through edits and reloads, and whether a change that waits for
//! its confirmation gets it or not. No configuration has it, nor does any that is kept.

use super::{Desired, Key};
use crate::config::{Care, OnDown, Real, Service};
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
    /// It gets a part of that, which rises (`slow_start`).
    Starting,
    /// As up, though a check has failed, which is not believed yet.
    Suspect,
    /// It gets nothing new, since its checks fail.
    Down,
    /// It gets nothing new, since somebody wants it empty.
    Draining,
}

impl ServerState {
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
        if self.drain.is_some() {
            return ServerState::Draining;
        }
        match self.wellness() {
            Some(Wellness::Ill) => ServerState::Down,
            Some(Wellness::Suspect) => ServerState::Suspect,
            Some(Wellness::Well) => ServerState::Up,
            None if service.care.alpha && !service.checks_of(real).is_empty() => ServerState::Down,
            None => ServerState::Up,
        }
    }

    fn wellness(&self) -> Option<Wellness> {
        self.finding.as_ref()?.wellness
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
            ServerState::Down => Effect { ends: service.care.on_down == OnDown::Reset, ..shut },
            ServerState::Draining => shut,
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
    static NOTHING: Condition = Condition { drain: None, finding: None };
    of.and_then(|of| of.servers.get(&real.endpoint)).unwrap_or(&NOTHING)
}

/// As [`Conditions::fails_open`]. Drained and quiesced servers do not count; as long as some have not been asked yet,
/// nobody knows; and where there is a sorry server, it is there for that.
fn fails_open(service: &Service, of: Option<&OfService>, states: &[ServerState]) -> bool {
    let (Some(percent), None) = (service.care.fail_open_percent, &service.sorry) else { return false };
    let (mut well, mut down) = (0, 0);
    for (real, state) in service.reals.iter().zip(states).filter(|(real, _)| real.weight > 0) {
        match state {
            ServerState::Up | ServerState::Starting | ServerState::Suspect => well += u64::from(real.weight),
            ServerState::Down if of_real(of, real).wellness().is_none() => return false,
            ServerState::Down => down += u64::from(real.weight),
            ServerState::Draining => {}
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
            desired.conditions().effects(service).iter().map(|effect| effect.weight).collect()
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
        assert!(one.conditions().effects(&one.services()[0])[0].is_shut);
        assert!(one.conditions().of(key, server).unwrap().drain.is_some());
        assert_eq!(one.conditions().states(&one.services()[0]), [ServerState::Draining, ServerState::Up]);
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

    fn finding(wellness: Wellness, weight: Option<u16>) -> Option<Finding> {
        Some(Finding {
            wellness: Some(wellness),
            since: seconds(7),
            cause: "check http: no".into(),
            weight,
            unasked: "".into(),
        })
    }

    /// The two servers of "web" in these conditions, weighing 4 and 2; with these keys of their service.
    fn web(keys: &str, findings: [Option<Finding>; 2]) -> Desired {
        let text = TWO.replace("name = \"web\"", &format!("name = \"web\"\ncheck = \"tcp\"\n{keys}"));
        let two = desired(&text);
        let key = Key::of(&two.services()[0]);
        let servers = ["10.0.0.1:8080", "10.0.0.2:8080"].map(|server| server.parse().unwrap());
        let findings: Vec<_> =
            servers.into_iter().zip(findings).map(|(server, finding)| (key, server, finding)).collect();
        two.with_findings(&findings)
    }

    fn states(desired: &Desired) -> Vec<ServerState> {
        desired.conditions().states(&desired.services()[0])
    }

    #[test]
    fn a_server_that_is_down_gets_nothing_and_one_that_is_suspect_gets_what_it_did() {
        use ServerState::{Down, Draining, Suspect, Up};
        let (well, suspect, ill) = (Wellness::Well, Wellness::Suspect, Wellness::Ill);
        for (one, other, expected, left) in [
            (well, well, [Up, Up], [4, 2]),
            (suspect, well, [Suspect, Up], [4, 2]),
            (ill, well, [Down, Up], [0, 2]),
            (ill, suspect, [Down, Suspect], [0, 2]),
        ] {
            let web = web("", [finding(one, None), finding(other, None)]);
            assert_eq!((states(&web), weights(&web)[0].clone()), (expected.to_vec(), left.to_vec()));
            let effects = web.conditions().effects(&web.services()[0]);
            assert_eq!(
                effects.iter().map(|effect| effect.is_shut).collect::<Vec<_>>(),
                left.map(|left| left == 0)
            );
        }
        // Who is drained and ill is drained, and goes on to be ill afterwards.
        let web = web("", [finding(ill, None), None]);
        let drained = drained(&web, json!({ "edit": "drain", "service": "web", "server": "10.0.0.1" }));
        assert_eq!(states(&drained), [Draining, Up]);
        let undrain = json!({ "edit": "undrain", "server": "10.0.0.1" });
        assert_eq!(apply_at(seconds(9), &drained, json!([undrain])).unwrap(), web);
    }

    #[test]
    fn connections_of_a_server_that_is_down_are_forgotten_if_its_service_says_so() {
        let ends = |keys| {
            let web = web(keys, [finding(Wellness::Ill, None), finding(Wellness::Well, None)]);
            let effects = web.conditions().effects(&web.services()[0]);
            effects.iter().map(|effect| effect.ends).collect::<Vec<_>>()
        };
        assert_eq!((ends(""), ends("on_down = \"reset\"")), (vec![false, false], vec![true, false]));
    }

    #[test]
    fn a_server_whose_checks_have_not_answered_is_up_or_with_alpha_down() {
        let none = || [None, finding(Wellness::Well, None)];
        assert_eq!(states(&web("", none())), [ServerState::Up, ServerState::Up]);
        assert_eq!(states(&web("alpha = true", none())), [ServerState::Down, ServerState::Up]);
        assert_eq!(
            weights(&web("alpha = true", [None, None]))[0],
            [0, 0],
            "nobody has said that all is lost"
        );
        let unchecked = desired(&TWO.replace("name = \"web\"", "name = \"web\"\nalpha = true"));
        assert_eq!(
            states(&unchecked),
            [ServerState::Up, ServerState::Up],
            "nobody would ever say that it is up"
        );
    }

    #[test]
    fn all_are_scheduled_when_too_few_are_well_unless_the_service_would_rather_not() {
        let (well, ill) = (Wellness::Well, Wellness::Ill);
        for (keys, one, other, left, opens) in [
            ("", ill, ill, [4, 2], true),
            ("fail_open = false", ill, ill, [0, 0], false),
            ("", ill, well, [0, 2], false),
            // The second has a third of the weight.
            ("fail_open = 33", ill, well, [0, 2], false),
            ("fail_open = 34", ill, well, [4, 2], true),
            ("fail_open = 34", well, ill, [4, 0], false),
        ] {
            let web = web(keys, [finding(one, None), finding(other, None)]);
            assert_eq!(weights(&web)[0], left, "{keys}");
            assert_eq!(web.conditions().fails_open(&web.services()[0]), opens, "{keys}");
        }
        // Whoever is drained is nobody to count on.
        let web = web("", [finding(ill, None), finding(well, None)]);
        let drained = drained(&web, json!({ "edit": "drain", "service": "web", "server": "10.0.0.2" }));
        assert_eq!(weights(&drained)[0], [4, 0]);
    }

    #[test]
    fn a_check_may_ask_for_a_weight_but_not_for_one_that_the_operator_has_taken_away() {
        let asks = |weight| [finding(Wellness::Well, Some(weight)), finding(Wellness::Well, None)];
        assert_eq!(weights(&web("", asks(9)))[0], [9, 2]);
        assert_eq!(weights(&web("", asks(0)))[0], [0, 2]);
        let quiesce =
            json!({ "edit": "set_weight", "service": "web", "server": "10.0.0.1:8080", "weight": 0 });
        assert_eq!(weights(&drained(&web("", asks(9)), quiesce))[0], [0, 2]);
    }

    #[test]
    fn the_sorry_server_takes_over_when_the_quorum_is_lost_and_gives_back_what_it_took() {
        let (well, ill) = (Wellness::Well, Wellness::Ill);
        // The servers weigh 4 and 2.
        let keys = "quorum = 4\nhysteresis = 1\nsorry_server = { address = \"10.0.0.9:8080\" }";
        let step = |before: &Desired, findings: [Wellness; 2]| {
            let key = Key::of(&before.services()[0]);
            let servers = ["10.0.0.1:8080", "10.0.0.2:8080"].map(|server| server.parse().unwrap());
            let findings: Vec<_> = servers
                .into_iter()
                .zip(findings)
                .map(|(server, is)| (key, server, finding(is, None)))
                .collect();
            before.with_findings(&findings)
        };
        let mut web = web(keys, [finding(well, None), finding(well, None)]);
        assert_eq!(weights(&web)[0], [4, 2, 0]);
        for (findings, left) in [
            ([well, ill], [4, 0, 0]),
            ([ill, well], [0, 0, 1]),
            // Four are enough to keep the quorum, and not to have it back.
            ([well, ill], [0, 0, 1]),
            ([well, well], [4, 2, 0]),
            ([well, ill], [4, 0, 0]),
            ([ill, ill], [0, 0, 1]),
        ] {
            web = step(&web, findings);
            assert_eq!(weights(&web)[0], left, "{findings:?}");
            let service = &web.services()[0];
            assert_eq!(web.conditions().has_lost_quorum(service), left[2] == 1);
            assert!(!web.conditions().fails_open(service));
        }
        // An operator's edit counts as much.
        let edit = json!({ "edit": "edit_service", "service": "web", "table": { "quorum": null, "hysteresis": null } });
        let all_ill = step(&web, [ill, well]);
        assert_eq!(weights(&drained(&all_ill, edit))[0], [0, 2, 0]);
        let removed = json!({ "edit": "edit_service", "service": "web", "table": { "sorry_server": null, "quorum": null,
            "hysteresis": null } });
        assert_eq!(weights(&drained(&web, removed))[0], [4, 2], "it fails open");
    }

    #[test]
    fn a_service_that_begins_with_nobody_well_has_no_quorum() {
        let keys = "alpha = true\nsorry_server = { address = \"10.0.0.9:8080\" }";
        assert_eq!(weights(&web(keys, [None, None]))[0], [0, 0, 1]);
    }
}
