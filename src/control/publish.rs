//! The only writer of snapshots: turns the desired services and the network around into what workers read.
//!
//! A real server keeps its [`RealId`] for as long as a connection may name it: a server taken out of its service
//! departs, its connections go on, and it comes back under the same id if it is put in again before they end.

use super::report::Traffic;
use crate::config::{Config, Service};
use crate::conntrack::Table;
use crate::dataplane::counters::Counters;
use crate::dataplane::nexthop::{NextHops, Rib};
use crate::dataplane::snapshot::{self, Published, Services, Snapshot};
use crate::net::{Endpoint, Proto};
use crate::service::{Conduct, Live, Method, RealId, RealServer, ServiceTable, Timeouts, VirtualService};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a departed server without connections keeps its id: by then every worker has taken up a snapshot
/// that does not name it.
const GRACE: Duration = Duration::from_secs(5);

/// What makes a server the same server.
type Identity = (Proto, Endpoint, Endpoint, Method);

/// The writer.
#[derive(Debug)]
pub struct Publisher {
    table: Arc<Table>,
    published: Arc<Published>,
    ids: Ids,
    services: Arc<Services>,
    hops: Arc<NextHops>,
    departed: HashMap<Identity, Departed>,
    /// What servers that are gone for good have counted, by service.
    retired: HashMap<(Proto, Endpoint), Traffic>,
    conduct: Conduct,
    partial_checksums: Vec<bool>,
    /// Snapshots that workers may just be leaving: freed here, not on the packet path.
    left: Vec<Arc<Snapshot>>,
}

#[derive(Debug)]
struct Departed {
    real: RealServer,
    /// What its service said of its own, when it last named the server.
    timeouts: Timeouts,
    idle_since: Option<Instant>,
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
            services: Arc::default(),
            hops: Arc::default(),
            departed: HashMap::new(),
            retired: HashMap::new(),
            conduct: Conduct::default(),
            partial_checksums,
            left: Vec::new(),
        }
    }

    /// Makes these services the desired ones, and publishes them.
    ///
    /// # Errors
    /// [`TooManyServers`]; then everything stays as it was.
    pub fn set_services(&mut self, config: &Config) -> Result<(), TooManyServers> {
        let mut known = self.known();
        let fresh = config.services.iter().flat_map(identities).filter(|id| !known.contains_key(id)).count();
        if fresh > self.ids.available() {
            return Err(TooManyServers);
        }
        let mut service = |service: &Service| VirtualService {
            name: service.name.as_str().into(),
            proto: service.proto,
            endpoint: service.endpoint,
            scheduler: service.scheduler,
            options: service.options,
            policy: service.policy,
            reals: service
                .reals
                .iter()
                .zip(identities(service))
                .map(|(real, identity)| {
                    let known = known.remove(&identity);
                    let (id, live) = known.map_or_else(|| self.ids.take(), |real| (real.id, real.live));
                    self.table.set_endpoint(id, real.endpoint);
                    RealServer {
                        id,
                        endpoint: real.endpoint,
                        weight: real.weight,
                        method: real.method,
                        thresholds: real.thresholds,
                        live,
                    }
                })
                .collect(),
        };
        let services: Vec<VirtualService> = config.services.iter().map(&mut service).collect();
        let table = ServiceTable::new(services);
        // Whoever was known and is not named any more departs.
        let depart = |(identity, real)| {
            let timeouts = self.timeouts_of(&identity);
            (identity, Departed { real, timeouts, idle_since: None })
        };
        self.departed = known.into_iter().map(depart).collect();
        self.services = Arc::new(Services::new(table, Some(&self.services)));
        self.conduct = config.director.conduct;
        if config.services.iter().any(|service| service.policy.persistence.is_some()) {
            if let Err(error) = self.table.note_leaders() {
                tracing::warn!("persistent clients are forgotten while their connections last: {error}");
            }
        }
        self.publish();
        Ok(())
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
        let (ids, retired, before) = (&mut self.ids, &mut self.retired, self.departed.len());
        self.departed.retain(|&(proto, vip, ..), departed| {
            if departed.real.live.is_named() {
                departed.idle_since = None;
                return true;
            }
            let idle_since = *departed.idle_since.get_or_insert(now);
            let keep = now.saturating_duration_since(idle_since) < GRACE;
            if !keep {
                let sum = retired.entry((proto, vip)).or_default();
                *sum = sum.plus(ids.traffic(departed.real.id));
                ids.give(departed.real.id);
            }
            keep
        });
        self.departed.len() < before
    }

    /// The services as they are published.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// The snapshot as it is published.
    pub fn current(&self) -> Arc<Snapshot> {
        self.published.current()
    }

    /// Servers taken out of a service that still have an id.
    pub fn departed_from(&self, proto: Proto, vip: Endpoint) -> impl Iterator<Item = &RealServer> {
        let of_service = move |identity: &Identity| (identity.0, identity.1) == (proto, vip);
        self.departed
            .iter()
            .filter(move |(identity, _)| of_service(identity))
            .map(|(_, departed)| &departed.real)
    }

    /// Connections that there are now, those of services that were removed included.
    pub fn connections(&self) -> u64 {
        let current = self.services.table().services().iter().flat_map(|service| &service.reals);
        let departed = self.departed.values().map(|departed| &departed.real);
        current
            .chain(departed)
            .map(|real| u64::from(real.live.active()) + u64::from(real.live.inactive()))
            .sum()
    }

    /// Persistence templates that there are now, those of services that were removed included.
    pub fn templates(&self) -> u64 {
        let current = self.services.table().services().iter().flat_map(|service| &service.reals);
        let departed = self.departed.values().map(|departed| &departed.real);
        current.chain(departed).map(|real| u64::from(real.live.templates())).sum()
    }

    /// What servers of a service counted that are gone for good.
    pub fn retired_from(&self, proto: Proto, vip: Endpoint) -> Traffic {
        self.retired.get(&(proto, vip)).copied().unwrap_or_default()
    }

    /// What a server has counted, all workers together.
    pub fn traffic(&self, id: RealId) -> Traffic {
        self.ids.traffic(id)
    }

    /// Every server that has an id, by identity.
    fn known(&self) -> HashMap<Identity, RealServer> {
        let current = self.services.table().services().iter().flat_map(|service| {
            let identity = |real: &RealServer| (service.proto, service.endpoint, real.endpoint, real.method);
            service.reals.iter().map(move |real| (identity(real), real.clone()))
        });
        let departed = self.departed.iter().map(|(identity, departed)| (*identity, departed.real.clone()));
        departed.chain(current).collect()
    }

    /// What the service that a server is of says of its own about timeouts, or said when it named the server.
    fn timeouts_of(&self, identity: &Identity) -> Timeouts {
        let departed = self.departed.get(identity).map(|departed| departed.timeouts);
        departed.or_else(|| self.services.timeouts(identity.0, identity.1)).unwrap_or_default()
    }

    fn publish(&mut self) {
        let of_service = |(&(_, vip, ..), departed): (&Identity, &Departed)| {
            let Departed { real, timeouts, .. } = departed;
            snapshot::Departed { vip, real: real.clone(), timeouts: *timeouts }
        };
        let departed: Vec<snapshot::Departed> = self.departed.iter().map(of_service).collect();
        let (services, hops) = (self.services.clone(), self.hops.clone());
        let snapshot =
            Snapshot::new(services, &departed, hops, &self.conduct, self.partial_checksums.clone());
        self.left.push(self.published.current());
        self.published.publish(Arc::new(snapshot));
        self.free_what_was_left();
    }

    /// Frees the snapshots that no worker decides by any more.
    fn free_what_was_left(&mut self) {
        self.left.retain(|snapshot| Arc::strong_count(snapshot) > 1);
    }
}

fn identities(service: &Service) -> impl Iterator<Item = Identity> + '_ {
    service.reals.iter().map(|real| (service.proto, service.endpoint, real.endpoint, real.method))
}

/// Ids never used, and those given back, the longest ago first.
#[derive(Debug)]
struct Ids {
    unused: u32,
    free: VecDeque<RealId>,
    baselines: HashMap<RealId, Traffic>,
    counters: Vec<Arc<Counters>>,
}

impl Ids {
    fn new(counters: Vec<Arc<Counters>>) -> Ids {
        Ids { unused: 0, free: VecDeque::new(), baselines: HashMap::new(), counters }
    }

    fn available(&self) -> usize {
        RealId::LIMIT - self.unused as usize + self.free.len()
    }

    /// An id with fresh live counts; there must be one available.
    fn take(&mut self) -> (RealId, Arc<Live>) {
        let id = if (self.unused as usize) < RealId::LIMIT {
            self.unused += 1;
            RealId(self.unused - 1)
        } else {
            let id = self.free.pop_front().expect("the caller has seen that an id is available");
            self.baselines.insert(id, Traffic::of(id, &self.counters));
            id
        };
        (id, Arc::default())
    }

    /// What an id's present server has counted.
    fn traffic(&self, id: RealId) -> Traffic {
        Traffic::of(id, &self.counters).since(self.baseline(id))
    }

    /// What the counters of an id stood at when its server got it.
    fn baseline(&self, id: RealId) -> Traffic {
        self.baselines.get(&id).copied().unwrap_or_default()
    }

    fn give(&mut self, id: RealId) {
        self.free.push_back(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::conntrack::Seed;
    use crate::net::Tick;
    use crate::service::{Standing, State};

    const SERVER: &str = "10.0.0.11:8080";

    fn publisher() -> (Publisher, Arc<Counters>) {
        let counters: Arc<Counters> = Arc::default();
        let table = Arc::new(Table::new(8, Seed::new(1, 2)).unwrap());
        (Publisher::new(table, Arc::default(), vec![counters.clone()], Vec::new()), counters)
    }

    /// A service at each VIP, with these servers behind it.
    fn services(vips: &[&str], servers: &[&str]) -> Config {
        let real = |rip: &&str| format!("[[virtual_service.real_server]]\naddress = \"{rip}\"\n");
        let reals: String = servers.iter().map(real).collect();
        let service = |vip| format!("[[virtual_service]]\naddress = \"{vip}\"\nforward = \"nat\"\n{reals}");
        let text: String = vips.iter().map(service).collect();
        config::parse("f", &format!("[[interface]]\nname = \"eth0\"\n{text}")).unwrap()
    }

    fn vip(text: &str) -> Endpoint {
        text.parse().unwrap()
    }

    /// The server of this address in the first service.
    fn server(publisher: &Publisher, address: &str) -> Option<RealServer> {
        let first = publisher.services().table().services().first()?;
        first.reals.iter().find(|real| real.endpoint == vip(address)).cloned()
    }

    #[test]
    fn a_removed_server_keeps_its_id_its_counts_and_its_decision_and_comes_back_with_them() {
        let (mut publisher, _) = publisher();
        let both = services(&["10.0.0.1:80"], &[SERVER, "10.0.0.12:8080"]);
        publisher.set_services(&both).unwrap();
        let before = server(&publisher, SERVER).unwrap();
        before.live.opened(Standing::Active);

        publisher.set_services(&services(&["10.0.0.1:80"], &["10.0.0.12:8080"])).unwrap();
        assert!(server(&publisher, SERVER).is_none());
        let departed = publisher.departed_from(Proto::Tcp, vip("10.0.0.1:80")).next().unwrap();
        assert_eq!(departed.id, before.id);
        assert!(publisher.current().decisions[before.id.index()].is_some(), "its connections go on");

        publisher.set_services(&both).unwrap();
        let back = server(&publisher, SERVER).unwrap();
        assert_eq!((back.id, back.live.active()), (before.id, 1));
    }

    #[test]
    fn a_removed_server_keeps_the_timeouts_that_its_service_had_of_its_own() {
        let (mut publisher, _) = publisher();
        let mut with_own = services(&["10.0.0.1:80"], &[SERVER]);
        with_own.services[0].policy.timeouts.set(State::Close, Duration::from_secs(77));
        publisher.set_services(&with_own).unwrap();
        let id = server(&publisher, SERVER).unwrap().id;
        let seconds =
            |publisher: &Publisher, state| publisher.current().expiry.of(id, state) / Tick::PER_SECOND;
        let mut without = services(&[], &[]);
        without.director.conduct.timeouts.set(State::Udp, Duration::from_secs(5));
        for config in [&with_own, &without, &without] {
            publisher.set_services(config).unwrap();
            assert_eq!(seconds(&publisher, State::Close), 77);
        }
        assert_eq!(seconds(&publisher, State::Udp), 5, "what it did not say is the director's");
    }

    #[test]
    fn an_id_is_given_back_only_after_its_last_connection_and_a_while() {
        let (mut publisher, counters) = publisher();
        publisher.set_services(&services(&["10.0.0.1:80"], &[SERVER])).unwrap();
        let real = server(&publisher, SERVER).unwrap();
        real.live.opened(Standing::Inactive);
        counters.real(real.id).connections.add(3);
        publisher.set_services(&services(&["10.0.0.1:80"], &[])).unwrap();

        let start = Instant::now();
        assert!(!publisher.retire(start) && !publisher.retire(start + 2 * GRACE), "a connection is left");
        real.live.closed(Standing::Inactive);
        assert!(!publisher.retire(start + 2 * GRACE), "a worker may yet open one");
        assert!(!publisher.retire(start + 3 * GRACE - Duration::from_millis(1)));
        assert!(publisher.retire(start + 3 * GRACE));
        assert!(publisher.departed_from(Proto::Tcp, vip("10.0.0.1:80")).next().is_none());
        assert_eq!(publisher.retired_from(Proto::Tcp, vip("10.0.0.1:80")).connections, 3);
        assert!(!publisher.retire(start + 4 * GRACE), "once");
    }

    #[test]
    fn connections_of_a_removed_service_are_counted_while_they_last() {
        let (mut publisher, _) = publisher();
        publisher.set_services(&services(&["10.0.0.1:80", "10.0.0.2:80"], &[SERVER])).unwrap();
        for service in publisher.services().table().services() {
            service.reals[0].live.opened(Standing::Active);
        }
        publisher.set_services(&services(&["10.0.0.2:80"], &[SERVER])).unwrap();
        assert_eq!(publisher.connections(), 2);
    }

    #[test]
    fn more_servers_than_there_are_ids_change_nothing() {
        let (mut publisher, _) = publisher();
        publisher.set_services(&services(&["10.0.0.1:80"], &[SERVER])).unwrap();
        publisher.ids.unused = RealId::LIMIT as u32;
        let more = services(&["10.0.0.1:80"], &[SERVER, "10.0.0.12:8080"]);
        assert_eq!(publisher.set_services(&more), Err(TooManyServers));
        assert_eq!(publisher.services().table().services()[0].reals.len(), 1);
    }

    #[test]
    fn an_id_used_again_counts_from_zero() {
        let (mut publisher, counters) = publisher();
        publisher.ids.unused = RealId::LIMIT as u32;
        publisher.ids.give(RealId(7));
        counters.real(RealId(7)).in_packets.add(5);
        publisher.set_services(&services(&["10.0.0.1:80"], &[SERVER])).unwrap();
        let real = server(&publisher, SERVER).unwrap();
        assert_eq!((real.id, publisher.ids.baseline(real.id).in_packets), (RealId(7), 5));
    }
}
