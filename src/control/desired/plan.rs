//! What a change would do: services and servers added, removed and changed, and the live connections of each.

use super::{Desired, Key, ServerState, is_same};
use crate::config::{Notify, Real, Removed, Service, Written};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

/// What becomes of a service or a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub enum Act {
    /// It is new.
    Added,
    /// It goes.
    Removed,
    /// It stays, but not as it is.
    Changed,
}

/// A key whose value changes. Null is a key that is not there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct Change {
    /// The key, as the configuration file has it; `order` is the order of services or of servers.
    pub key: String,
    /// What it is.
    pub from: Value,
    /// What it becomes.
    pub to: Value,
}

/// A server that is added, removed or changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct ServerPlan {
    /// RIP:rport.
    pub server: String,
    /// What becomes of it.
    pub act: Act,
    /// What changes; of an added one, all it has.
    pub changes: Vec<Change>,
    /// Connections it has now.
    pub connections: u64,
    /// Whether these are forgotten; otherwise they go on.
    pub expires: bool,
}

/// A service that is added, removed or changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct ServicePlan {
    /// Its key, such as `tcp 192.0.2.1:80`.
    pub service: String,
    /// The operator's name for it.
    pub name: String,
    /// What becomes of it.
    pub act: Act,
    /// What changes of itself; of an added one, all it has.
    pub changes: Vec<Change>,
    /// The servers that are added, removed or changed.
    pub servers: Vec<ServerPlan>,
    /// Connections that it has now.
    pub connections: u64,
}

/// A server that stays as it is written, of which something else holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct ConditionChange {
    /// Its service's key.
    pub service: String,
    /// RIP:rport.
    pub server: String,
    /// How it will be.
    pub state: ServerState,
    /// What it is in maintenance for, if it is and somebody has said so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Connections it has now, which go on.
    pub connections: u64,
}

/// What a change would do. Empty if nothing.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct Plan {
    /// Keys of `[director]`, `[director.timeouts]` and the order of services.
    pub director: Vec<Change>,
    /// Services that are added, removed or changed.
    pub services: Vec<ServicePlan>,
    /// Servers of which something else holds; no configuration says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<ConditionChange>,
}

/// Who a plan asks for live connections.
pub trait PlanFor {
    /// Connections of this server of this service.
    fn connections(&self, service: &Service, real: &Real) -> u64;
}

impl<F: Fn(&Service, &Real) -> u64> PlanFor for F {
    fn connections(&self, service: &Service, real: &Real) -> u64 {
        self(service, real)
    }
}

/// What it would do to put `new` in the place of `old`.
pub fn plan(old: &Desired, new: &Desired, live: &impl PlanFor) -> Plan {
    let mut director = changes(&Table::of_director(old), &Table::of_director(new));
    let gone = old.services.iter().filter(|service| new.find(Key::of(service)).is_none());
    let mut services: Vec<ServicePlan> = gone.map(|service| removed(old, service, live)).collect();
    for service in &new.services {
        match old.find(Key::of(service)) {
            None => services.push(added(service)),
            Some(before) if is_same(before, service) => {}
            Some(before) => services.push(changed(old, before, service, live)),
        }
    }
    let keys = |desired: &Desired| desired.services.iter().map(|s| Key::of(s)).collect::<Vec<_>>();
    director.extend(reordered(&keys(old), &keys(new)));
    Plan { director, services, conditions: conditions(old, new, live) }
}

fn conditions(old: &Desired, new: &Desired, live: &impl PlanFor) -> Vec<ConditionChange> {
    let mut places: Vec<usize> =
        old.conditions.unlike(&new.conditions).into_iter().filter_map(|key| new.place(key)).collect();
    places.sort_unstable();
    let of = |service: &Service| {
        let key = Key::of(service);
        let change = |real: &Real| {
            let [was, is] =
                [old, new].map(|state| state.conditions.of(key, real.endpoint).cloned().unwrap_or_default());
            (was != is).then(|| ConditionChange {
                service: key.to_string(),
                server: real.endpoint.to_string(),
                state: is.state(real, service),
                reason: is.maintenance.map(|maintenance| maintenance.reason.to_string()).unwrap_or_default(),
                connections: live.connections(service, real),
            })
        };
        service.reals.iter().filter_map(change).collect::<Vec<_>>()
    };
    places.into_iter().flat_map(|place| of(&new.services[place])).collect()
}

/// A table, and what is shown of it.
#[derive(Default)]
struct Table {
    own: Written,
    shown: Written,
}

impl Table {
    fn of_director(desired: &Desired) -> Table {
        let shown: Vec<Notify> = desired.rest.notify.iter().map(Notify::without_secrets).collect();
        Table { own: director(desired, &desired.rest.notify), shown: director(desired, &shown) }
    }

    fn of_service(service: &Service) -> Table {
        Table { own: service.own_table(), shown: service.shown_table() }
    }

    fn of_server(real: &Real) -> Table {
        Table { own: Written::of(real), shown: Written::of(&real.without_secrets()) }
    }
}

fn director(desired: &Desired, notify: &[Notify]) -> Written {
    let mut director = desired.director().clone();
    director.conduct.timeouts = desired.timeouts();
    let mut written = Written::of(&director);
    if let Some(Value::Object(timeouts)) = written.0.remove("timeouts") {
        written.0.extend(timeouts.into_iter().map(|(key, value)| (format!("timeouts.{key}"), value)));
    }
    if !notify.is_empty() {
        written.0.insert("notify".to_owned(), serde_json::json!(notify));
    }
    written
}

fn removed(old: &Desired, service: &Service, live: &impl PlanFor) -> ServicePlan {
    let servers: Vec<ServerPlan> =
        service.reals.iter().map(|real| removed_server(old, service, real, live)).collect();
    ServicePlan {
        service: Key::of(service).to_string(),
        name: service.name.clone(),
        act: Act::Removed,
        changes: Vec::new(),
        connections: servers.iter().map(|server| server.connections).sum(),
        servers,
    }
}

fn removed_server(old: &Desired, service: &Service, real: &Real, live: &impl PlanFor) -> ServerPlan {
    ServerPlan {
        server: real.endpoint.to_string(),
        act: Act::Removed,
        changes: Vec::new(),
        connections: live.connections(service, real),
        expires: old.fate(service) == Removed::ExpireNodest,
    }
}

fn added(service: &Service) -> ServicePlan {
    ServicePlan {
        service: Key::of(service).to_string(),
        name: service.name.clone(),
        act: Act::Added,
        changes: changes(&Table::default(), &Table::of_service(service)),
        servers: service.reals.iter().map(added_server).collect(),
        connections: 0,
    }
}

fn added_server(real: &Real) -> ServerPlan {
    ServerPlan {
        server: real.endpoint.to_string(),
        act: Act::Added,
        changes: changes(&Table::default(), &Table::of_server(real)),
        connections: 0,
        expires: false,
    }
}

fn changed(old: &Desired, before: &Service, after: &Service, live: &impl PlanFor) -> ServicePlan {
    let of = |service: &Service| -> HashMap<_, Real> {
        service.reals.iter().map(|real| (real.endpoint, real.clone())).collect()
    };
    let (had, has) = (of(before), of(after));
    let gone = before.reals.iter().filter(|real| !has.contains_key(&real.endpoint));
    let mut servers: Vec<ServerPlan> = gone.map(|real| removed_server(old, before, real, live)).collect();
    for real in &after.reals {
        match had.get(&real.endpoint) {
            None => servers.push(added_server(real)),
            Some(was) if was == real => {}
            Some(was) => servers.push(ServerPlan {
                server: real.endpoint.to_string(),
                act: Act::Changed,
                changes: changes(&Table::of_server(was), &Table::of_server(real)),
                connections: live.connections(before, was),
                // To another method it is another server, and that one goes.
                expires: was.method != real.method && old.fate(before) == Removed::ExpireNodest,
            }),
        }
    }
    let endpoints = |service: &Service| service.reals.iter().map(|real| real.endpoint).collect::<Vec<_>>();
    let mut own = changes(&Table::of_service(before), &Table::of_service(after));
    own.extend(reordered(&endpoints(before), &endpoints(after)));
    ServicePlan {
        service: Key::of(after).to_string(),
        name: after.name.clone(),
        act: Act::Changed,
        changes: own,
        servers,
        connections: before.reals.iter().map(|real| live.connections(before, real)).sum(),
    }
}

/// Another secret is a change, too, though it shows as the same.
fn changes(from: &Table, to: &Table) -> Vec<Change> {
    let value = |written: &Written, key: &str| written.0.get(key).cloned().unwrap_or(Value::Null);
    let keys: BTreeSet<&String> = from.own.0.keys().chain(to.own.0.keys()).collect();
    keys.into_iter()
        .filter(|key| value(&from.own, key) != value(&to.own, key))
        .map(|key| Change { key: key.clone(), from: value(&from.shown, key), to: value(&to.shown, key) })
        .collect()
}

/// The order of things, if it is another than that in which those that stay come first and the new ones behind.
fn reordered<T: Copy + Eq + std::hash::Hash + fmt::Display>(from: &[T], to: &[T]) -> Option<Change> {
    let (had, has): (HashSet<T>, HashSet<T>) = (from.iter().copied().collect(), to.iter().copied().collect());
    let stay = from.iter().filter(|one| has.contains(one));
    let expected = stay.chain(to.iter().filter(|one| !had.contains(one)));
    let names = |of: &[T]| of.iter().map(|one| Value::String(one.to_string())).collect();
    (!expected.eq(to.iter())).then(|| Change { key: "order".to_owned(), from: names(from), to: names(to) })
}

impl Plan {
    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.leaves_configuration() && self.conditions.is_empty()
    }

    /// Whether all that is written would stay as it is.
    pub fn leaves_configuration(&self) -> bool {
        self.director.is_empty() && self.services.is_empty()
    }

    /// All of it in a line.
    pub fn summary(&self) -> String {
        let count = |act| self.services.iter().filter(|service| service.act == act).count();
        let servers = |act| {
            let servers = self.services.iter().flat_map(|service| &service.servers);
            servers.filter(|server| server.act == act).count()
        };
        format!(
            "services: {} added, {} changed, {} removed; servers: {} added, {} changed, {} removed; {} forgotten",
            count(Act::Added),
            count(Act::Changed),
            count(Act::Removed),
            servers(Act::Added),
            servers(Act::Changed),
            servers(Act::Removed),
            counted(self.expiring())
        )
    }

    /// Connections that would be forgotten.
    pub fn expiring(&self) -> u64 {
        let servers = self.services.iter().flat_map(|service| &service.servers);
        servers.filter(|server| server.expires).map(|server| server.connections).sum()
    }
}

impl fmt::Display for Plan {
    /// For people: `+` is added, `-` removed, `~` changed; without a line feed at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing changes");
        }
        for (index, change) in self.conditions.iter().enumerate() {
            let line = if index > 0 { "\n" } else { "" };
            write!(f, "{line}~ {change}")?;
        }
        if self.leaves_configuration() {
            return Ok(());
        }
        if !self.conditions.is_empty() {
            writeln!(f)?;
        }
        for change in &self.director {
            writeln!(f, "~ director: {change}")?;
        }
        for service in &self.services {
            let name =
                if service.name == service.service { String::new() } else { format!(" {:?}", service.name) };
            write!(f, "{} {}{name}", service.act, service.service)?;
            if service.act != Act::Added {
                write!(f, ", {}", counted(service.connections))?;
            }
            writeln!(f)?;
            for change in
                service.changes.iter().filter(|change| service.act == Act::Changed || !change.is_identity())
            {
                writeln!(f, "    {change}")?;
            }
            for server in &service.servers {
                write!(f, "  {} {}", server.act, server.server)?;
                let shown = server.changes.iter().filter(|change| !change.is_identity());
                for (index, change) in shown.enumerate() {
                    write!(f, "{} {change}", if index == 0 { ":" } else { "," })?;
                }
                match server.act {
                    Act::Added => {}
                    _ if server.expires => write!(f, "; {} forgotten", counted(server.connections))?,
                    _ => write!(f, "; {} kept", counted(server.connections))?,
                }
                writeln!(f)?;
            }
        }
        f.write_str(&self.summary())
    }
}

impl fmt::Display for ConditionChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConditionChange { service, server, state, reason, connections } = self;
        write!(f, "{service}: {server} is ")?;
        match (state, &reason[..]) {
            (ServerState::Maintenance, "") => f.write_str("in maintenance")?,
            (ServerState::Maintenance, reason) => write!(f, "in maintenance ({reason})")?,
            (state, _) => write!(f, "{state}")?,
        }
        write!(f, "; {} go on", counted(*connections))
    }
}

fn counted(connections: u64) -> String {
    format!("{connections} connection{}", if connections == 1 { "" } else { "s" })
}

impl Change {
    /// Whether it says what stands in the heading already.
    fn is_identity(&self) -> bool {
        matches!(self.key.as_str(), "address" | "protocol" | "name")
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.from, &self.to) {
            (Value::Null, to) => write!(f, "{} {to}", self.key),
            (from, Value::Null) => write!(f, "{} {from} by default", self.key),
            (from, to) => write!(f, "{} {from} -> {to}", self.key),
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Act::Added => "+",
            Act::Removed => "-",
            Act::Changed => "~",
        })
    }
}
