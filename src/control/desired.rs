//! The one desired state: what the director shall do, typed and checked. The file, the control socket and whatever
//! changes weights say what they want as [`Edit`]s; a transaction of them is applied whole or not at all.
//!
//! Pure: no socket, no file, no clock. Services are shared between one state and the next, so that a state costs
//! little, and so that what did not change is known to be the same.

mod conditions;
mod edit;
mod plan;

pub use conditions::{
    Condition, Conditions, Drain, Effect, Finding, Maintenance, Rest, ServerState, Wellness,
};
pub use edit::{Applied, Edit, EditError, EditErrors, Zeroed};
pub use plan::{Act, Change, ConditionChange, Plan, PlanFor, ServerPlan, ServicePlan, plan};

use crate::config::{
    Config, Control, Director, Informed, Real, Removed, ServerHistograms, Service, SlowStartKeys,
};
use crate::net::{Endpoint, Proto};
use crate::service::check::{Kind, Script, Via};
use crate::service::{Conduct, Group, SlowStart, Timeouts, VirtualService};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// What makes a service that service, as for ipvsadm; written `tcp 192.0.2.1:80`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    proto: Proto,
    endpoint: Endpoint,
}

impl Key {
    /// The key of the service at an address.
    pub fn new(proto: Proto, endpoint: Endpoint) -> Key {
        Key { proto, endpoint }
    }

    /// TCP, UDP or SCTP.
    pub fn proto(&self) -> Proto {
        self.proto
    }

    /// VIP:vport.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// The key of a service.
    pub fn of(service: &Service) -> Key {
        Key { proto: service.proto, endpoint: service.endpoint }
    }
}

impl From<&VirtualService> for Key {
    fn from(service: &VirtualService) -> Key {
        Key::new(service.proto, service.endpoint)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.proto.word(), self.endpoint)
    }
}

/// How an edit refers to a service: by its key (`tcp 192.0.2.1:80`), or else by its name, or a group by its number
/// (`fwmark 5`, `fwmark 5 IPv6`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServiceRef(pub String);

impl ServiceRef {
    /// Whether it is the service's name, or its number.
    fn names(&self, service: &Service) -> bool {
        let family = if service.endpoint.addr.is_ipv4() { "" } else { " IPv6" };
        let is_number = |group: &Group| self.0 == format!("fwmark {}{family}", group.fwmark);
        service.name == self.0 || service.group.as_ref().is_some_and(is_number)
    }

    /// The key that is written; `None` if it is none, and so perhaps a name.
    fn key(&self) -> Option<Key> {
        let (proto, endpoint) = self.0.split_once(' ')?;
        Some(Key { proto: proto.parse().ok()?, endpoint: endpoint.parse().ok()? })
    }
}

impl fmt::Display for ServiceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Key> for ServiceRef {
    fn from(key: Key) -> ServiceRef {
        ServiceRef(key.to_string())
    }
}

/// The desired state. By default, of a director that knows nothing yet.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// The configuration but for its services, which are below.
    rest: Arc<Config>,
    services: Vec<Arc<Service>>,
    places: Arc<HashMap<Key, usize>>,
    conditions: Conditions,
}

impl PartialEq for Desired {
    fn eq(&self, other: &Desired) -> bool {
        (&self.rest, &self.services, &self.conditions) == (&other.rest, &other.services, &other.conditions)
    }
}

impl From<Config> for Desired {
    fn from(mut config: Config) -> Desired {
        let services = std::mem::take(&mut config.services).into_iter().map(Arc::new).collect();
        Desired::new(Arc::new(config), services, Conditions::default()).with_quorums()
    }
}

impl Desired {
    fn new(rest: Arc<Config>, services: Vec<Arc<Service>>, conditions: Conditions) -> Desired {
        let places = services.iter().enumerate().map(|(place, service)| (Key::of(service), place)).collect();
        Desired { rest, services, places: Arc::new(places), conditions }
    }

    /// The services, in the operator's order.
    pub fn services(&self) -> &[Arc<Service>] {
        &self.services
    }

    /// The service of a key.
    pub fn find(&self, key: Key) -> Option<&Arc<Service>> {
        self.places.get(&key).map(|&place| &self.services[place])
    }

    /// A service's server, and the service.
    pub fn find_server(&self, key: Key, server: Endpoint) -> Option<(&Arc<Service>, &Real)> {
        let service = self.find(key)?;
        Some((service, service.reals.iter().find(|real| real.endpoint == server)?))
    }

    /// Where the service of a key is among [`Desired::services`].
    pub fn place(&self, key: Key) -> Option<usize> {
        self.places.get(&key).copied()
    }

    /// The service that somebody means: by its key, or else by its name.
    pub fn meant_by(&self, by: &ServiceRef) -> Option<&Arc<Service>> {
        let by_key = by.key().and_then(|key| self.find(key));
        by_key.or_else(|| self.services.iter().find(|service| by.names(service)))
    }

    /// `[director]`.
    pub fn director(&self) -> &Director {
        &self.rest.director
    }

    /// How long silence may last, state by state; IPVS's defaults for what nobody has said.
    pub fn timeouts(&self) -> Timeouts {
        self.rest.director.conduct.timeouts.or(&Timeouts::IPVS)
    }

    /// Everything but the services.
    pub fn rest(&self) -> &Config {
        &self.rest
    }

    /// What becomes of the connections of a service's server that is removed.
    pub fn fate(&self, service: &Service) -> Removed {
        service.removed_server.unwrap_or(self.rest.director.removed_server)
    }

    /// How a service's server starts that comes new, or back; `None` if at once.
    pub fn slow_start(&self, service: &Service) -> Option<SlowStart> {
        service.slow_start.or(&self.rest.director.slow_start)
    }

    /// What this has the director do on its own host, in words: programs that it runs, files that it looks at;
    /// and whom elsewhere it tells of changes.
    pub fn doings(&self) -> HashSet<String> {
        let run = |script: &Script| {
            let user = script.user.as_ref().map_or_else(String::new, |user| format!(" as {user}"));
            format!("run {}{user}", script.command.join(" "))
        };
        let of_checks = self.services.iter().flat_map(|service| service.named_checks());
        let of_checks = of_checks.filter_map(|named| match &named.check.kind {
            Kind::Script(script) => Some(run(script)),
            Kind::File(file) => Some(format!("look at {}", file.path)),
            _ => None,
        });
        let told = self.rest.notify.iter().map(|notify| match &notify.informed {
            Informed::Program(script) => run(script),
            Informed::Hook(hook) => format!("post to {}", hook.place()),
        });
        of_checks.chain(told).collect()
    }

    /// How many real servers there are.
    pub fn servers(&self) -> usize {
        self.services.iter().map(|service| service.all_reals().count()).sum()
    }

    /// The whole, as a configuration file has it.
    pub fn config(&self) -> Config {
        let services = self.services.iter().map(|service| Service::clone(service)).collect();
        Config { services, ..Config::clone(&self.rest) }
    }

    /// What it says of the control socket and the metrics.
    pub fn control(&self) -> &Control {
        &self.rest.control
    }

    /// Whether servers are to be probed along the data path.
    pub fn wants_probes(&self) -> bool {
        let mut checks = self.services.iter().flat_map(|service| service.named_checks());
        checks.any(|named| named.check.via == Via::Vip)
    }

    /// What of `new` a running director cannot take up; `None` if it can take up all.
    pub fn needs_restart(&self, new: &Desired) -> Option<&'static str> {
        let (ours, theirs) = (&*self.rest, &*new.rest);
        // VLANs are the kernel's; those written are for a replay.
        let names = |config: &Config| -> Vec<String> {
            let own = config.interfaces.iter().filter(|interface| interface.vlan.is_none());
            own.map(|interface| interface.name.clone()).collect()
        };
        if names(ours) != names(theirs) {
            return Some("the interfaces");
        }
        if ours.director.max_connections != theirs.director.max_connections {
            return Some("max_connections");
        }
        // What may change is made the same; a new key needs a restart until it is known not to.
        let fixed = |director: &Director| Director {
            conduct: Conduct::default(),
            removed_server: Removed::default(),
            slow_start: SlowStartKeys::default(),
            ..director.clone()
        };
        if fixed(&ours.director) != fixed(&theirs.director) {
            return Some("workers, cores, poll, xdp_mode, busy_poll or frames");
        }
        let fixed =
            |control: &Control| Control { server_histograms: ServerHistograms::default(), ..control.clone() };
        (fixed(&ours.control) != fixed(&theirs.control)).then_some("the control section")
    }
}

/// Whether it is the same service, or one just like it.
fn is_same(one: &Arc<Service>, other: &Arc<Service>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

#[cfg(test)]
mod tests;
