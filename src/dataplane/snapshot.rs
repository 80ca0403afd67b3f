//! What workers decide by: services with their schedulers, the way to every server, timeouts. Immutable; a change
//! is a new snapshot, which each worker takes up between two batches.

use super::decision::Decision;
use super::nexthop::{Hop, Missing, NextHops};
use super::suspect::Suspects;
use super::verdict::DropReason;
use crate::conntrack::Expiry;
use crate::net::{Endpoint, FlowKey, InterfaceId, Proto, SctpEvent, TcpFlags, Tick};
use crate::sched::{self, Scheduler};
use crate::service::{
    Conduct, Policy, PortMap, RealId, RealServer, ServiceTable, Timeouts, VirtualService, WhenFull,
};
use arc_swap::ArcSwap;
use hashbrown::{HashMap, HashSet};
use std::cmp::Ordering;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};

/// The services and the schedulers built for them.
#[derive(Debug, Default)]
pub struct Services {
    table: ServiceTable,
    schedulers: Vec<Arc<dyn Scheduler>>,
    /// By [`RealId`]: the place of the server's service, and the server's in it.
    places: Vec<Option<(u32, u32)>>,
}

impl Services {
    /// Builds a scheduler for every service, and tells servers their thresholds. A service whose scheduler and servers
    /// (with order, weights and ramps) are as they were in `before` keeps its scheduler, and with it its place in the round;
    /// one whose servers changed inherits what its scheduler remembers.
    pub fn new(table: ServiceTable, before: Option<&Services>) -> Services {
        let is_same = |service: &Arc<VirtualService>| before.is_some_and(|b| b.has_same(service));
        let changed = table.services().iter().filter(|service| !is_same(service));
        for real in changed.flat_map(|service| &service.reals) {
            real.live.limit(real.thresholds);
        }
        let build = |service: &Arc<VirtualService>| {
            let kept = before.and_then(|b| b.scheduler_of_same(service));
            kept.unwrap_or_else(|| sched::build(service.scheduler, &service.options, &service.reals).into())
        };
        let mut places = Vec::new();
        for (service, of) in table.services().iter().zip(0..) {
            for (real, at) in service.reals.iter().zip(0..) {
                if places.len() <= real.id.index() {
                    places.resize(real.id.index() + 1, None);
                }
                places[real.id.index()] = Some((of, at));
            }
        }
        Services { schedulers: table.services().iter().map(build).collect(), table, places }
    }

    /// A server of the service at this place of the table; `None` if it is not, or no longer, one of its.
    pub fn real(&self, service: usize, id: RealId) -> Option<&RealServer> {
        let (of, at) = (*self.places.get(id.index())?)?;
        let reals = &self.table.services().get(service).filter(|_| of as usize == service)?.reals;
        reals.get(at as usize)
    }

    /// Whether this very service is among these.
    fn has_same(&self, service: &Arc<VirtualService>) -> bool {
        let at = self.table.find(service.proto, service.endpoint);
        at.is_some_and(|at| Arc::ptr_eq(&self.table.services()[at], service))
    }

    fn scheduler_of_same(&self, service: &Arc<VirtualService>) -> Option<Arc<dyn Scheduler>> {
        let at = self.table.find(service.proto, service.endpoint)?;
        let old = &self.table.services()[at];
        if Arc::ptr_eq(old, service) {
            return Some(self.schedulers[at].clone());
        }
        let same_name = (old.proto, old.endpoint) == (service.proto, service.endpoint);
        if !same_name || (old.scheduler, old.options) != (service.scheduler, service.options) {
            return None;
        }
        let same = |(a, b): (&RealServer, &RealServer)| (a.id, a.weight, a.ramp) == (b.id, b.weight, b.ramp);
        let as_it_was =
            old.reals.len() == service.reals.len() && old.reals.iter().zip(&service.reals).all(same);
        match as_it_was {
            true => Some(self.schedulers[at].clone()),
            false => self.schedulers[at].for_changed(&service.reals).map(Arc::from),
        }
    }

    /// The services, by address.
    pub fn table(&self) -> &ServiceTable {
        &self.table
    }

    /// How the packets of the service that this key addresses are treated.
    pub fn policy(&self, key: &FlowKey) -> Policy {
        let service = self.table.addressed_by(key).and_then(|at| self.table.services().get(at));
        service.map_or_else(Policy::default, |service| service.policy)
    }

    /// What the service at `vip` says of its own about timeouts; `None` if there is no such service.
    pub fn timeouts(&self, proto: Proto, vip: Endpoint) -> Option<Timeouts> {
        let service = self.table.services().get(self.table.find(proto, vip)?)?;
        Some(service.policy.timeouts)
    }

    /// Whether each packet to the service at this place of the table gets its server anew.
    pub fn is_one_packet(&self, service: usize) -> bool {
        self.table.services().get(service).is_some_and(|service| service.policy.one_packet)
    }

    /// Whether any server of the service that this key addresses may take a new connection, whatever the scheduler says.
    pub fn is_available(&self, key: &FlowKey) -> bool {
        let service = self.table.addressed_by(key).and_then(|at| self.table.services().get(at));
        service.is_some_and(|service| service.reals.iter().any(RealServer::is_available))
    }

    /// Whether this server of the service at this place, which ramps, has less load for its weight than all that do not,
    /// and the scheduler would send it whatever comes.
    pub fn would_flood(&self, service: usize, real: &RealServer) -> bool {
        let compared = self.schedulers.get(service).and_then(|scheduler| scheduler.compare(real));
        compared == Some(Ordering::Less)
    }

    /// The server for a new connection, which a packet of this key opens, to the service at this place of the table.
    pub fn pick(&self, service: usize, key: &FlowKey, now: Tick) -> Option<&RealServer> {
        let reals = &self.table.services().get(service)?.reals;
        reals.get(self.schedulers.get(service)?.pick(reals, key, now)?)
    }
}

/// A server that no service names any more, but connections may.
#[derive(Debug, Clone)]
pub struct Departed {
    /// The protocol of the service that it was of.
    pub proto: Proto,
    /// Its address.
    pub vip: Endpoint,
    /// Where that service's ports led.
    pub ports: PortMap,
    /// The server.
    pub real: RealServer,
    /// What the service said of its own about timeouts.
    pub timeouts: Timeouts,
}

/// Everything a worker decides by.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Services and schedulers.
    pub services: Arc<Services>,
    /// Routes and neighbours.
    pub hops: Arc<NextHops>,
    /// By [`crate::service::RealId`]; servers that left, but have connections, included.
    pub decisions: Vec<Option<Decision>>,
    /// Addresses of services and of masqueraded servers: fragments to the ones, and from the others, are looked at.
    ends: Arc<HashSet<IpAddr>>,
    /// Addresses of services, those included whose servers have all departed.
    vips: Vec<IpAddr>,
    /// Where the servers are, and whether replies come back from there.
    servers: Vec<(IpAddr, bool)>,
    /// When connections are over.
    pub expiry: Expiry,
    /// Masqueraded servers of services of one-packet scheduling, by RIP:rport; `None` where several have the same.
    once: HashMap<Endpoint, Option<RealId>>,
    /// Whether TCP flows are picked up in their midst, where a service says nothing of its own.
    sloppy_tcp: bool,
    /// The same for SCTP.
    sloppy_sctp: bool,
    /// What becomes of a new connection when the table is full.
    pub when_full: WhenFull,
    /// Whether templates keep leading to a quiesced server (IPVS: `expire_quiescent_template = 0`).
    pub keeps_quiesced_templates: bool,
    /// Interfaces whose senders may leave checksums partial, by [`InterfaceId`].
    partial_checksums: Vec<bool>,
    /// Whether there is such an interface at all.
    pub any_partial: bool,
    /// Who opens no connection.
    pub suspects: Suspects,
}

impl Snapshot {
    /// Compiles a snapshot.
    pub fn new(
        services: Arc<Services>,
        departed: &[Departed],
        hops: Arc<NextHops>,
        conduct: &Conduct,
        partial_checksums: Vec<bool>,
    ) -> Snapshot {
        Snapshot::after(None, services, departed, hops, conduct, partial_checksums)
    }

    /// The same; what is as it was in `before` is taken from there.
    pub fn after(
        before: Option<&Snapshot>,
        services: Arc<Services>,
        departed: &[Departed],
        hops: Arc<NextHops>,
        conduct: &Conduct,
        mut partial_checksums: Vec<bool>,
    ) -> Snapshot {
        let most = before.map_or(0, |before| before.decisions.len());
        let (mut decisions, mut servers) = (Vec::with_capacity(most), Vec::with_capacity(most));
        let mut own = Vec::with_capacity(most);
        let mut decide = |proto, vip, ports, real: &RealServer, timeouts, before: Option<&Snapshot>| {
            own.push((real.id, timeouts));
            if decisions.len() <= real.id.index() {
                decisions.resize_with(real.id.index() + 1, || None);
            }
            let same = before.and_then(|before| before.decision(real.id).cloned());
            decisions[real.id.index()] =
                Some(same.unwrap_or_else(|| Decision::new(proto, vip, ports, real, &hops)));
            servers.push((real.endpoint.addr, real.method.sees_replies()));
        };
        let same_hops = before.filter(|before| Arc::ptr_eq(&before.hops, &hops));
        for service in services.table.services() {
            let before = same_hops.filter(|before| before.services.has_same(service));
            let timeouts = service.policy.timeouts;
            let (proto, vip, ports) = (service.proto, service.endpoint, service.port_map());
            let decide = |real| decide(proto, vip, ports, real, timeouts, before);
            service.reals.iter().for_each(decide);
        }
        departed
            .iter()
            .for_each(|left| decide(left.proto, left.vip, left.ports, &left.real, left.timeouts, None));
        // What comes in on a VLAN, comes in on the interface below.
        for vlan in partial_checksums.len()..hops.links().len() {
            let below = hops.vlans().below(InterfaceId(vlan as u16)).map(|(below, _)| below.index());
            partial_checksums
                .push(below.and_then(|below| partial_checksums.get(below).copied()).unwrap_or(false));
        }
        let once = servers_asked_once(&services);
        let Conduct { sloppy_tcp, sloppy_sctp, when_full, .. } = *conduct;
        let expiry = Expiry::new(conduct, own);
        let any_partial = partial_checksums.contains(&true);
        let interfaces = hops.links().iter().flat_map(|link| &link.addresses).map(|prefix| prefix.addr);
        let vips = services.table.services().iter().flat_map(|service| service.matches()).map(|to| to.addr);
        let tunnels = decisions.iter().flatten().filter_map(|decision| decision.how.outer_source());
        let suspects = Suspects::new(interfaces.chain(vips.clone()).chain(tunnels));
        let vips: Vec<IpAddr> = vips.chain(departed.iter().map(|departed| departed.vip.addr)).collect();
        let ends = match before.filter(|before| before.vips == vips && before.servers == servers) {
            Some(before) => before.ends.clone(),
            None => {
                let masqueraded = servers.iter().filter(|(_, replies_pass)| *replies_pass);
                Arc::new(vips.iter().copied().chain(masqueraded.map(|(server, _)| *server)).collect())
            }
        };
        let keeps_quiesced_templates = conduct.keeps_quiesced_templates;
        Snapshot {
            services,
            hops,
            decisions,
            ends,
            vips,
            servers,
            expiry,
            once,
            sloppy_tcp,
            sloppy_sctp,
            when_full,
            keeps_quiesced_templates,
            partial_checksums,
            any_partial,
            suspects,
        }
    }

    /// How packets reach this server; `None` if it is not known any more.
    #[inline]
    pub fn decision(&self, real: RealId) -> Option<&Decision> {
        self.decisions.get(real.index())?.as_ref()
    }

    /// How packets reach this server, and the next hop towards it; `None` if either is not known.
    #[inline]
    pub fn towards(&self, real: RealId) -> Option<(&Decision, &Hop)> {
        match self.decisions.get(real.index()) {
            Some(Some(decision @ Decision { way: Ok(hop), .. })) => Some((decision, hop)),
            _ => None,
        }
    }

    /// Whether a packet of this key and these flags opens a connection to the service at this place: as with IPVS, a SYN
    /// alone of TCP's segments and an INIT of SCTP's packets, unless flows are taken up in their midst; never a reset.
    pub fn opens(&self, service: usize, key: &FlowKey, flags: TcpFlags) -> bool {
        let sloppy = || self.services.table.services().get(service).and_then(|service| service.policy.sloppy);
        match key.proto() {
            Proto::Udp => true,
            Proto::Tcp if flags.has(TcpFlags::RST) => false,
            Proto::Tcp => flags.has(TcpFlags::SYN) || sloppy().unwrap_or(self.sloppy_tcp),
            Proto::Sctp => {
                SctpEvent::of_flags(flags) == SctpEvent::Init || sloppy().unwrap_or(self.sloppy_sctp)
            }
        }
    }

    /// The masqueraded server that a packet of this key comes from, if that is of a service of one-packet scheduling, and
    /// of no other at this address and port.
    pub fn answers_once(&self, key: &FlowKey) -> Option<RealId> {
        if self.once.is_empty() || key.proto() != Proto::Udp {
            return None;
        }
        *self.once.get(&key.src())?
    }

    /// Whether a packet between these addresses, whatever its ports, may be a connection's.
    pub fn may_be_of_connection(&self, key: &FlowKey) -> bool {
        self.ends.contains(&key.dst().addr) || self.ends.contains(&key.src().addr)
    }

    /// Whether checksums on frames of this interface may be partial.
    #[inline]
    pub fn may_be_partial(&self, ingress: InterfaceId) -> bool {
        self.partial_checksums.get(ingress.index()).copied().unwrap_or(false)
    }

    /// The neighbours whose MACs must be known for packets to reach every server, and for the replies of
    /// masqueraded ones to reach clients beyond the default gateway.
    pub fn neighbours_needed(&self) -> Vec<(InterfaceId, IpAddr)> {
        let anywhere = |server: IpAddr| match server {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let ends = self.servers.iter().flat_map(|&(server, sees_replies)| {
            [Some(server), sees_replies.then(|| anywhere(server))].into_iter().flatten()
        });
        let mut needed: Vec<_> = ends.filter_map(|end| self.hops.neighbour_towards(end)).collect();
        needed.sort_unstable();
        needed.dedup();
        // On a default route without a gateway, everybody is a neighbour.
        needed.retain(|&(_, address)| !address.is_unspecified());
        needed
    }

    /// Those of the neighbours needed that are not known.
    pub fn neighbours_missing(&self) -> Vec<(InterfaceId, IpAddr)> {
        let mut needed = self.neighbours_needed();
        needed.retain(|&(interface, address)| !self.hops.knows(interface, address));
        needed
    }

    /// Servers that no route leads to.
    pub fn servers_without_route(&self) -> impl Iterator<Item = IpAddr> {
        let servers = self.servers.iter().map(|&(server, _)| server);
        servers.filter(|&server| self.hops.find(server).is_err_and(|missing| missing == Missing::Route))
    }
}

fn servers_asked_once(services: &Services) -> HashMap<Endpoint, Option<RealId>> {
    let mut once = HashMap::new();
    for service in services.table.services().iter().filter(|service| service.policy.one_packet) {
        for real in service.reals.iter().filter(|real| real.method.sees_replies()) {
            once.entry(real.endpoint).and_modify(|other| *other = None).or_insert(Some(real.id));
        }
    }
    once
}

/// The drop reason of what is missing on the way.
impl From<Missing> for DropReason {
    fn from(missing: Missing) -> DropReason {
        match missing {
            Missing::Route => DropReason::NoRoute,
            Missing::Neighbour(..) => DropReason::NoNeighbour,
        }
    }
}

/// Where the one writer leaves a snapshot and every worker finds it.
#[derive(Debug, Default)]
pub struct Published {
    current: ArcSwap<Snapshot>,
    generation: AtomicU64,
}

impl Published {
    /// Publishes a snapshot: workers see it at their next batch.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        self.current.store(snapshot);
        self.generation.fetch_add(1, Release);
    }

    /// How often was published; a worker compares it with what it saw last, once a batch.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Acquire)
    }

    /// The snapshot now.
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::decision::{How, Six};
    use crate::dataplane::nexthop::{Link, Neighbour, Rib, Route};
    use crate::net::{Mac, Prefix};
    use crate::service::{Live, Method, Policy, SchedulerName, SchedulerOptions, Standing, Thresholds};
    use crate::wire::encap::Envelope;

    fn hops() -> NextHops {
        let prefix = |text: &str| text.parse::<Prefix>().unwrap();
        let addresses = ["192.0.2.1/24", "2001:db8::1/64"].map(prefix).to_vec();
        let route = |address: &Prefix| Route {
            to: Prefix { addr: address.network(), len: address.len },
            via: None,
            interface: Some(InterfaceId(0)),
            source: None,
            metric: 0,
        };
        let neighbour = |(address, last): (&str, u8)| Neighbour {
            interface: InterfaceId(0),
            address: address.parse().unwrap(),
            mac: Mac([2, 0, 0, 0, 0, last]),
        };
        let routes = addresses.iter().map(route).collect();
        let link =
            Link { name: "eth0".into(), mac: Mac([2; 6]), mtu_bytes: 1500, addresses, up: true, vlan: None };
        let neighbours = [("192.0.2.11", 4), ("2001:db8::11", 6)].map(neighbour).to_vec();
        NextHops::new(&Rib { links: vec![link], routes, neighbours }, None)
    }

    fn snapshot(vip: &str, rip: &str, method: Method) -> Snapshot {
        let real = RealServer {
            id: RealId(0),
            endpoint: rip.parse().unwrap(),
            weight: 1,
            is_shut: false,
            method,
            thresholds: Thresholds::default(),
            ramp: None,
            live: Arc::default(),
        };
        let service = VirtualService {
            name: "web".into(),
            proto: Proto::Tcp,
            endpoint: vip.parse().unwrap(),
            group: None,
            scheduler: SchedulerName::Rr,
            options: SchedulerOptions::default(),
            policy: Policy::default(),
            reals: vec![real],
        };
        let services = Services::new(ServiceTable::new(vec![service]), None);
        Snapshot::new(Arc::new(services), &[], Arc::new(hops()), &Conduct::default(), Vec::new())
    }

    #[test]
    fn a_tunnels_outer_ends_are_of_the_servers_family() {
        let v6 = |last: u128| 0x2001_0db8 << 96 | last;
        for vip in ["192.0.2.100:80", "[2001:db8::100]:80"] {
            let six = snapshot(vip, "[2001:db8::11]:80", Method::Tun);
            let decision = six.decision(RealId(0)).unwrap();
            let How::Six(how) = &decision.how else { panic!("{:?}", decision.how) };
            let Six::InSix { source, server } = **how else { panic!("{how:?}") };
            assert_eq!((source, server), (v6(1), v6(0x11)));
            assert_eq!(decision.way.map(|hop| hop.macs[5]), Ok(6));
        }
        let envelope = Envelope::new(0xc000_0201, 0xc000_020b);
        let four = snapshot("192.0.2.100:80", "192.0.2.11:80", Method::Tun);
        assert!(matches!(four.decision(RealId(0)).unwrap().how, How::Tun(e) if e == envelope));
        let four = snapshot("[2001:db8::100]:80", "192.0.2.11:80", Method::Tun);
        let decision = four.decision(RealId(0)).unwrap();
        let How::Six(how) = &decision.how else { panic!("{:?}", decision.how) };
        assert!(matches!(**how, Six::InFour(e) if e == envelope), "{how:?}");
        assert_eq!(decision.way.map(|hop| hop.macs[5]), Ok(4));
    }

    #[test]
    fn the_neighbours_needed_are_of_the_servers_family() {
        for (vip, rip) in [("[2001:db8::100]:80", "[2001:db8::12]:80"), ("192.0.2.100:80", "192.0.2.12:80")] {
            let snapshot = snapshot(vip, rip, Method::Nat);
            let server = rip.parse::<Endpoint>().unwrap().addr;
            assert_eq!(snapshot.neighbours_needed(), [(InterfaceId(0), server)]);
            assert_eq!(snapshot.neighbours_missing(), snapshot.neighbours_needed());
        }
        assert_eq!(snapshot("[2001:db8::100]:80", "[2001:db8::11]:80", Method::Nat).neighbours_missing(), []);
    }

    #[test]
    fn servers_are_told_their_thresholds_and_a_changed_service_inherits_what_its_scheduler_remembers() {
        let vip = Endpoint::v4([192, 0, 2, 100].into(), 80);
        let lives: [Arc<Live>; 2] = Default::default();
        let services = |weights: [u16; 2], upper, before| {
            let server = |i: usize| RealServer {
                id: RealId(i as u32),
                endpoint: Endpoint::v4([10, 0, 0, i as u8].into(), 80),
                weight: weights[i],
                is_shut: false,
                method: Method::Dr,
                thresholds: Thresholds { upper, lower: 0 },
                ramp: None,
                live: lives[i].clone(),
            };
            let service = VirtualService {
                name: "cache".into(),
                proto: Proto::Tcp,
                endpoint: vip,
                group: None,
                scheduler: SchedulerName::Lblc,
                options: SchedulerOptions::default(),
                policy: Policy::default(),
                reals: vec![server(0), server(1)],
            };
            Services::new(ServiceTable::new(vec![service]), before)
        };
        let key = FlowKey::new(Proto::Tcp, "203.0.113.1:4000".parse().unwrap(), vip);
        let pick = |services: &Services| services.pick(0, &key, Tick(0)).map(|real| real.id.0);

        let first = services([5, 5], 0, None);
        assert_eq!(pick(&first), Some(0));
        lives[0].opened(Standing::Active);
        let second = services([6, 5], 0, Some(&first));
        assert_eq!(pick(&second), Some(0), "remembered: server 1 has less to do");
        assert_eq!(pick(&services([6, 5], 0, None)), Some(1));

        let third = services([6, 5], 2, Some(&second));
        assert!(Arc::ptr_eq(&third.schedulers[0], &second.schedulers[0]));
        lives[0].opened(Standing::Active);
        assert_eq!(pick(&third), Some(1), "server 0 has reached its threshold");
    }
}
