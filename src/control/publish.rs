//! The only writer of snapshots: turns the desired services and the network around into what workers read.
//!
//! A real server keeps its [`RealId`] for as long as a connection may name it: a server taken out of its service
//! departs, its connections go on, and it comes back under the same id if it is put in again before they end.

mod ids;
mod ramps;
#[cfg(test)]
mod tests;

pub use ids::{Baselines, Counted};

use super::desired::{Desired, Effect, Key};
use crate::config::{Config, OnDown, Real, Removed, Service};
use crate::conntrack::Table;
use crate::dataplane::counters::Counters;
use crate::dataplane::nexthop::{NextHops, Rib};
use crate::dataplane::snapshot::{self, Published, Services, Snapshot};
use crate::net::{Endpoint, Tick};
use crate::service::{Conduct, Method, PortMap, RealId, RealServer, ServiceTable, Timeouts, VirtualService};
use hashbrown::HashMap;
use ids::Ids;
use ramps::CatchingUp;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a departed server without connections keeps its id: by then every worker has taken up a snapshot
/// that does not name it.
const GRACE: Duration = Duration::from_secs(5);

/// What makes a server the same server of a service: its address, and how packets get there.
type Identity = (Endpoint, Method, PortMap);

/// The writer.
#[derive(Debug)]
pub struct Publisher {
    table: Arc<Table>,
    published: Arc<Published>,
    ids: Ids,
    /// What was asked for last.
    desired: Option<Desired>,
    services: Arc<Services>,
    hops: Arc<NextHops>,
    departed: HashMap<Key, HashMap<Identity, Departed>>,
    /// What servers that are gone for good have counted, by service.
    retired: HashMap<Key, Counted>,
    conduct: Conduct,
    partial_checksums: Vec<bool>,
    /// Whether some servers ramp.
    any_ramps: bool,
    catching_up: CatchingUp,
    /// Whether services or servers came or went since somebody asked.
    has_moved: bool,
    /// Snapshots that workers may just be leaving: freed here, not on the packet path.
    left: Vec<Arc<Snapshot>>,
}

#[derive(Debug)]
struct Departed {
    real: RealServer,
    /// What its service said of its own, when it last named the server.
    timeouts: Timeouts,
    idle_since: Option<Instant>,
    /// Whether its connections are to be forgotten.
    expires: bool,
}

/// There are more servers than ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyServers;

impl std::fmt::Display for TooManyServers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "more than {} real servers, those that left but still have connections included",
            RealId::LIMIT
        )
    }
}

impl std::error::Error for TooManyServers {}

impl Publisher {
    /// A writer for the workers that read `published` and share `table`; their counters give a reused id its
    /// starting point. Interfaces that may carry partial checksums are marked in `partial_checksums`.
    pub fn new(
        table: Arc<Table>,
        published: Arc<Published>,
        counters: Vec<Arc<Counters>>,
        partial_checksums: Vec<bool>,
    ) -> Publisher {
        Publisher {
            table,
            published,
            ids: Ids::new(counters),
            desired: None,
            services: Arc::default(),
            hops: Arc::default(),
            departed: HashMap::new(),
            retired: HashMap::new(),
            conduct: Conduct::default(),
            partial_checksums,
            any_ramps: false,
            catching_up: CatchingUp::default(),
            has_moved: false,
            left: Vec::new(),
        }
    }

    /// Makes the services of a configuration the desired ones at tick 0, and publishes them.
    ///
    /// # Errors
    /// [`TooManyServers`]; then everything stays as it was.
    pub fn set_services(&mut self, config: &Config) -> Result<(), TooManyServers> {
        self.set_desired(&Desired::from(config.clone()), Tick(0))
    }

    /// Makes this state the one that workers decide by from now on. Only services that are not the very same as before, or
    /// whose servers' conditions have another effect, are compiled.
    ///
    /// # Errors
    /// [`TooManyServers`]; then everything stays as it was.
    pub fn set_desired(&mut self, desired: &Desired, now: Tick) -> Result<(), TooManyServers> {
        let mut known = self.loosened_by(desired);
        let is_known = |key: &Key, identity: &Identity| {
            let departed = || self.departed.get(key).is_some_and(|of| of.contains_key(identity));
            known.get(key).is_some_and(|of| of.contains_key(identity)) || departed()
        };
        let changed = desired.services().iter().filter(|service| !self.has(service, desired));
        let fresh = changed.flat_map(|service| {
            let ports = noun(service).port_map();
            service.all_reals().map(move |real| (Key::of(service), identity(real, ports)))
        });
        if fresh.filter(|(key, identity)| !is_known(key, identity)).count() > self.ids.available() {
            return Err(TooManyServers);
        }
        let services = desired.services().iter().map(|service| match self.compiled(service, desired) {
            Some(same) => same,
            None => Arc::new(self.compile(service, desired, &mut known, now)),
        });
        let services: Vec<Arc<VirtualService>> = services.collect();
        let timeouts_before = |key: Key| {
            let before = self.desired.as_ref().and_then(|desired| desired.find(key));
            before.map(|service| service.policy.timeouts).unwrap_or_default()
        };
        let timeouts: HashMap<Key, Timeouts> = known.keys().map(|&key| (key, timeouts_before(key))).collect();
        self.set_compiled(services);
        let before = self.desired.as_ref();
        self.has_moved |= before.is_none_or(|before| {
            before.services().len() != desired.services().len()
                || desired.services().iter().any(|service| before.find(Key::of(service)).is_none())
        });
        // Whoever was known and is not named any more departs.
        for (key, reals) in known {
            self.has_moved |= !reals.is_empty();
            let old = self.desired.as_ref().and_then(|old| Some(old.fate(old.find(key)?)));
            let expires = old == Some(Removed::ExpireNodest);
            let timeouts = timeouts.get(&key).copied().unwrap_or_default();
            let depart =
                |(identity, real)| (identity, Departed { real, timeouts, idle_since: None, expires });
            self.departed.entry(key).or_default().extend(reals.into_iter().map(depart));
        }
        self.departed.retain(|_, of| !of.is_empty());
        self.conduct = desired.director().conduct;
        let is_persistent = |service: &Arc<Service>| service.policy.persistence.is_some();
        if desired.services().iter().any(is_persistent)
            && let Err(error) = self.table.note_leaders()
        {
            tracing::warn!("persistent clients are forgotten while their connections last: {error}");
        }
        self.desired = Some(desired.clone());
        self.publish();
        Ok(())
    }

    fn set_compiled(&mut self, services: Vec<Arc<VirtualService>>) {
        let ramps = |service: &Arc<VirtualService>| service.reals.iter().any(|real| real.ramp.is_some());
        self.any_ramps = services.iter().any(ramps);
        self.services = Arc::new(Services::new(ServiceTable::new(services), Some(&self.services)));
    }

    /// Ends the ramps of servers that have started, and no longer holds newcomers that were not met. Call it now and then.
    pub fn settle(&mut self, now: Tick) {
        self.welcome(now);
        if self.any_ramps {
            let ended = self.catching_up.ended(&self.services, &self.ids, now);
            self.replace(ended);
        }
    }

    /// Lets newcomers have connections who were held since nobody knew how to reach them. Call it when the network has
    /// changed.
    pub fn welcome(&mut self, now: Tick) {
        let Some(desired) = self.desired.as_ref().filter(|_| self.any_ramps) else { return };
        let both = desired.services().iter().zip(self.services.table().services()).enumerate();
        let released = both.filter_map(|(place, (service, compiled))| {
            let slow_start = desired.slow_start(service);
            Some((place, ramps::released(compiled, slow_start, &self.hops, now)?))
        });
        let released = released.collect();
        self.replace(released);
    }

    /// Publishes these in their places.
    fn replace(&mut self, others: Vec<(usize, Arc<VirtualService>)>) {
        if !others.is_empty() {
            let mut services = self.services.table().services().to_vec();
            others.into_iter().for_each(|(place, service)| services[place] = service);
            self.set_compiled(services);
            self.publish();
        }
    }

    /// Whether services or servers came or went since this was asked last: then other packets are to be steered here, and
    /// other neighbours to be known.
    pub fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.has_moved)
    }

    /// Whether this very service was asked for before, and its servers were to be as in `desired`.
    fn has(&self, service: &Arc<Service>, desired: &Desired) -> bool {
        self.desired.as_ref().is_some_and(|before| {
            before.find(Key::of(service)).is_some_and(|before| Arc::ptr_eq(before, service))
                && before.conditions().same_effect(desired.conditions(), service)
        })
    }

    /// What was made of this very service before.
    fn compiled(&self, service: &Arc<Service>, desired: &Desired) -> Option<Arc<VirtualService>> {
        let at = self.desired.as_ref().filter(|_| self.has(service, desired))?.place(Key::of(service))?;
        self.services.table().services().get(at).cloned()
    }

    /// The servers of services that are changed or removed.
    fn loosened_by(&self, desired: &Desired) -> HashMap<Key, HashMap<Identity, RealServer>> {
        let mut loosened = HashMap::new();
        let current = self.services.table().services();
        for (before, compiled) in self.desired.iter().flat_map(Desired::services).zip(current) {
            let key = Key::of(before);
            if !desired.find(key).is_some_and(|after| self.has(after, desired)) {
                let ports = compiled.port_map();
                let reals =
                    compiled.reals.iter().map(|real| ((real.endpoint, real.method, ports), real.clone()));
                loosened.insert(key, reals.collect());
            }
        }
        loosened
    }

    fn compile(
        &mut self,
        service: &Service,
        desired: &Desired,
        known: &mut HashMap<Key, HashMap<Identity, RealServer>>,
        now: Tick,
    ) -> VirtualService {
        let (key, noun) = (Key::of(service), noun(service));
        let ports = noun.port_map();
        let mut known = known.get_mut(&key);
        let mut departed = self.departed.get_mut(&key);
        let (table, ids, has_moved) = (&self.table, &mut self.ids, &mut self.has_moved);
        let mut took = Vec::with_capacity(service.reals.len() + 1);
        let mut compile = |(real, effect): (&Real, Effect)| {
            let known = known.as_mut().and_then(|of| of.remove(&identity(real, ports)));
            let back = || {
                departed
                    .as_mut()
                    .and_then(|of| of.remove(&identity(real, ports)))
                    .map(|departed| departed.real)
            };
            *has_moved |= known.is_none();
            took.push(known.as_ref().is_some_and(|real| real.weight > 0));
            let ramp = known.as_ref().and_then(|real| real.ramp);
            let (id, live) = known.or_else(back).map_or_else(|| ids.take(), |real| (real.id, real.live));
            table.set_endpoint_of(id, real.endpoint, ports);
            let Effect { weight, is_shut, .. } = effect;
            RealServer {
                id,
                endpoint: real.endpoint,
                weight,
                is_shut,
                method: real.method,
                thresholds: real.thresholds,
                ramp,
                live,
            }
        };
        let effects = desired.conditions().effects(service);
        let mut reals: Vec<RealServer> = service.all_reals().zip(effects).map(&mut compile).collect();
        ramps::begin(&mut reals, &took, desired.slow_start(service), &self.hops, now);
        VirtualService { reals, ..noun }
    }

    /// Takes up what is known of the network now, and publishes it.
    pub fn set_rib(&mut self, rib: &Rib) {
        self.hops = Arc::new(NextHops::new(rib, Some(&self.hops)));
        self.publish();
    }

    /// Gives back the ids of servers that departed and have had no connection for a while. Call it now and then.
    /// Says whether there were any: packets from them are nobody's business any more.
    pub fn retire(&mut self, now: Instant) -> bool {
        self.free_what_was_left();
        let (ids, retired, mut gone) = (&mut self.ids, &mut self.retired, false);
        self.departed.retain(|key, of| {
            of.retain(|_, departed| {
                if departed.real.live.is_named() {
                    departed.idle_since = None;
                    return true;
                }
                let idle_since = *departed.idle_since.get_or_insert(now);
                let keep = now.saturating_duration_since(idle_since) < GRACE;
                if !keep {
                    let sum = retired.entry(*key).or_default();
                    *sum = sum.plus(&ids.counted(departed.real.id));
                    ids.give(departed.real.id);
                    gone = true;
                }
                keep
            });
            !of.is_empty()
        });
        gone
    }

    /// Servers that departed, whose connections are to be forgotten, and that have some.
    pub fn expiring(&self) -> Vec<RealId> {
        let departed = self.departed.values().flat_map(HashMap::values).filter(|departed| departed.expires);
        let named = departed.map(|departed| &departed.real).filter(|real| real.live.is_named());
        named.map(|real| real.id).collect()
    }

    /// Servers that are down, whose connections are to be reset, and that have some.
    pub fn down(&self) -> Vec<RealId> {
        let Some(desired) = &self.desired else { return Vec::new() };
        let both = desired.services().iter().zip(self.services.table().services());
        let resetting = both.filter(|(service, _)| service.care.on_down == OnDown::Reset);
        let of = |(service, compiled): (&Arc<Service>, &Arc<VirtualService>)| {
            let reals = compiled.reals.iter().zip(desired.conditions().effects(service));
            let named = reals.filter(|(real, effect)| effect.ends && real.live.is_named());
            named.map(|(real, _)| real.id).collect::<Vec<_>>()
        };
        resetting.flat_map(of).collect()
    }

    /// Counts the traffic of a service from 0 again.
    pub fn zero(&mut self, key: Key) {
        let at = self.desired.as_ref().and_then(|desired| desired.place(key));
        let current =
            at.and_then(|at| self.services.table().services().get(at)).map_or(&[][..], |s| &s.reals[..]);
        let departed =
            self.departed.get(&key).into_iter().flat_map(HashMap::values).map(|departed| &departed.real);
        let ids: Vec<RealId> = current.iter().chain(departed).map(|real| real.id).collect();
        ids.into_iter().for_each(|id| self.ids.zero(id));
        self.retired.remove(&key);
    }

    /// The services as they are published.
    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// The state that was asked for last.
    pub fn desired(&self) -> Option<&Desired> {
        self.desired.as_ref()
    }

    /// The snapshot as it is published.
    pub fn current(&self) -> Arc<Snapshot> {
        self.published.current()
    }

    /// Servers taken out of a service that still have an id.
    pub fn departed_from(&self, key: Key) -> impl Iterator<Item = &RealServer> {
        self.departed.get(&key).into_iter().flat_map(HashMap::values).map(|departed| &departed.real)
    }

    /// All of them, by service.
    pub fn departed(&self) -> HashMap<Key, Vec<RealServer>> {
        self.departed.keys().map(|&key| (key, self.departed_from(key).cloned().collect())).collect()
    }

    /// What servers counted that are gone for good, by service.
    pub fn retired(&self) -> &HashMap<Key, Counted> {
        &self.retired
    }

    /// From where each server's counts are counted.
    pub fn baselines(&self) -> Baselines {
        self.ids.baselines.clone()
    }

    fn publish(&mut self) {
        let departed = self.departed.iter().flat_map(|(key, of)| {
            of.iter().map(|(&(.., ports), &Departed { ref real, timeouts, .. })| snapshot::Departed {
                proto: key.proto(),
                ports,
                vip: key.endpoint(),
                real: real.clone(),
                timeouts,
            })
        });
        let departed: Vec<snapshot::Departed> = departed.collect();
        let (services, hops, before) = (self.services.clone(), self.hops.clone(), self.published.current());
        let partial_checksums = self.partial_checksums.clone();
        let snapshot =
            Snapshot::after(Some(&before), services, &departed, hops, &self.conduct, partial_checksums);
        self.left.push(before);
        self.published.publish(Arc::new(snapshot));
        self.free_what_was_left();
    }

    /// Frees the snapshots that no worker decides by any more.
    fn free_what_was_left(&mut self) {
        self.left.retain(|snapshot| Arc::strong_count(snapshot) > 1);
    }
}

fn identity(real: &Real, ports: PortMap) -> Identity {
    (real.endpoint, real.method, ports)
}

/// The service that the operator described, still without its servers.
fn noun(service: &Service) -> VirtualService {
    VirtualService {
        name: service.name.as_str().into(),
        proto: service.proto,
        endpoint: service.endpoint,
        group: service.group.clone(),
        scheduler: service.scheduler,
        options: service.options,
        policy: service.policy,
        reals: Vec::new(),
    }
}
