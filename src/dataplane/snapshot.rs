//! What workers decide by: services with their schedulers, the way to every server, timeouts. Immutable; a change
//! is a new snapshot, which each worker takes up between two batches.

use super::nexthop::{Hop, Missing, NextHops};
use super::verdict::DropReason;
use crate::conntrack::Timeouts;
use crate::net::{Endpoint, FlowKey, InterfaceId, Tick};
use crate::sched::{self, Scheduler};
use crate::service::{Live, Method, RealId, RealServer, ServiceTable, VirtualService};
use crate::wire::rewrite::{Translation, V4End};
use crate::wire::rewrite6::{Translation6, V6End};
use arc_swap::ArcSwap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};

/// Whether the packet path carries IPv6. Until it does, packets of IPv6 services stay with the kernel, no IPv6 server
/// is reached, `lvx run` says so at its start, and the demo tries IPv4 alone.
pub const CARRIES_IPV6: bool = false;

/// The services and the schedulers built for them.
#[derive(Debug, Default)]
pub struct Services {
    table: ServiceTable,
    schedulers: Vec<Arc<dyn Scheduler>>,
}

impl Services {
    /// Builds a scheduler for every service, and tells servers their thresholds. A service whose scheduler and servers
    /// (with order and weights) are as they were in `before` keeps its scheduler, and with it its place in the round;
    /// one whose servers changed inherits what its scheduler remembers.
    pub fn new(table: ServiceTable, before: Option<&Services>) -> Services {
        for real in table.services().iter().flat_map(|service| &service.reals) {
            real.live.limit(real.thresholds);
        }
        let build = |service: &VirtualService| {
            let kept = before.and_then(|b| b.scheduler_of_same(service));
            kept.unwrap_or_else(|| sched::build(service.scheduler, &service.options, &service.reals).into())
        };
        Services { schedulers: table.services().iter().map(build).collect(), table }
    }

    fn scheduler_of_same(&self, service: &VirtualService) -> Option<Arc<dyn Scheduler>> {
        let at = self.table.find(service.proto, service.endpoint)?;
        let old = &self.table.services()[at];
        if (old.scheduler, old.options) != (service.scheduler, service.options) {
            return None;
        }
        let same = |(a, b): (&RealServer, &RealServer)| a.id == b.id && a.weight == b.weight;
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

    /// The server for a new connection, which a packet of this key opens, to the service at this place of the table.
    pub fn pick(&self, service: usize, key: &FlowKey, now: Tick) -> Option<&RealServer> {
        let reals = &self.table.services().get(service)?.reals;
        reals.get(self.schedulers.get(service)?.pick(reals, key, now)?)
    }
}

/// How packets reach one server: compiled from the server and the way to it.
#[derive(Debug, Clone)]
pub struct Decision {
    /// How.
    pub method: Method,
    /// RIP:rport.
    pub rip: V4End,
    /// VIP:vport to RIP:rport, for clients' packets.
    pub there: Translation,
    /// RIP:rport to VIP:vport, for the server's.
    pub back: Translation,
    /// The outer source of a tunnel.
    pub source: u32,
    /// For a server with an IPv6 address, what the fields above are for others; those are then of no use. Of a tunnel
    /// it is the server that says of which family the outer packet is.
    pub v6: Option<Box<DecisionV6>>,
    /// The next hop towards the server, or what is missing.
    pub way: Result<Hop, Missing>,
    /// The server's live counts.
    pub live: Arc<Live>,
}

/// What a [`Decision`] is for a server with an IPv6 address.
#[derive(Debug, Clone)]
pub struct DecisionV6 {
    /// RIP:rport.
    pub rip: V6End,
    /// VIP:vport to RIP:rport, for clients' packets.
    pub there: Translation6,
    /// RIP:rport to VIP:vport, for the server's.
    pub back: Translation6,
    /// The outer source of a tunnel.
    pub source: u128,
}

impl Decision {
    fn new(vip: Endpoint, real: &RealServer, hops: &NextHops) -> Decision {
        let to = real.endpoint.addr;
        let source = if real.method == Method::Tun { hops.source_for(to) } else { None };
        let way = match hops.find(to) {
            Ok(_) if real.method == Method::Tun && source.is_none() => Err(Missing::Route),
            Ok(_) if to.is_ipv6() && !CARRIES_IPV6 => Err(Missing::Route),
            found => found.map(|way| way.hop),
        };
        let (vip4, rip4) = (v4_end(vip), v4_end(real.endpoint));
        Decision {
            method: real.method,
            rip: rip4,
            there: Translation::new(vip4, rip4),
            back: Translation::new(rip4, vip4),
            source: source.map_or(0, v4_bits),
            v6: to.is_ipv6().then(|| Box::new(DecisionV6::new(vip, real.endpoint, source))),
            way,
            live: real.live.clone(),
        }
    }

    /// RIP.
    fn server(&self) -> IpAddr {
        match &self.v6 {
            Some(v6) => IpAddr::V6(v6.rip.addr.into()),
            None => IpAddr::V4(self.rip.addr.into()),
        }
    }
}

impl DecisionV6 {
    fn new(vip: Endpoint, rip: Endpoint, source: Option<IpAddr>) -> DecisionV6 {
        let (vip, rip) = (v6_end(vip), v6_end(rip));
        let (there, back) = (Translation6::new(vip, rip), Translation6::new(rip, vip));
        DecisionV6 { rip, there, back, source: source.map_or(0, v6_bits) }
    }
}

/// An endpoint as the IPv4 rewriting has it; of an IPv6 one, the port alone.
fn v4_end(endpoint: Endpoint) -> V4End {
    V4End { addr: v4_bits(endpoint.addr), port: endpoint.port }
}

/// An endpoint as the IPv6 rewriting has it; of an IPv4 one, the port alone.
fn v6_end(endpoint: Endpoint) -> V6End {
    V6End { addr: v6_bits(endpoint.addr), port: endpoint.port }
}

fn v4_bits(addr: IpAddr) -> u32 {
    if let IpAddr::V4(addr) = addr { addr.to_bits() } else { 0 }
}

fn v6_bits(addr: IpAddr) -> u128 {
    if let IpAddr::V6(addr) = addr { addr.to_bits() } else { 0 }
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
    /// How long silence may last.
    pub timeouts: Timeouts,
    /// Interfaces whose senders may leave checksums partial, by [`InterfaceId`].
    partial_checksums: Vec<bool>,
    /// Whether there is such an interface at all.
    pub any_partial: bool,
}

impl Snapshot {
    /// Compiles a snapshot. `departed` are servers that no service names any more, but connections may, with the
    /// address of the service they were of.
    pub fn new(
        services: Arc<Services>,
        departed: &[(Endpoint, RealServer)],
        hops: Arc<NextHops>,
        timeouts: Timeouts,
        partial_checksums: Vec<bool>,
    ) -> Snapshot {
        let mut decisions = Vec::new();
        let current = services
            .table
            .services()
            .iter()
            .flat_map(|service| service.reals.iter().map(|real| (service.endpoint, real)));
        for (vip, real) in current.chain(departed.iter().map(|(vip, real)| (*vip, real))) {
            if decisions.len() <= real.id.index() {
                decisions.resize_with(real.id.index() + 1, || None);
            }
            decisions[real.id.index()] = Some(Decision::new(vip, real, &hops));
        }
        let any_partial = partial_checksums.contains(&true);
        Snapshot { services, hops, decisions, timeouts, partial_checksums, any_partial }
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
        let ends = self.decisions.iter().flatten().flat_map(|decision| {
            let server = decision.server();
            [Some(server), decision.method.sees_replies().then(|| anywhere(server))].into_iter().flatten()
        });
        let mut needed: Vec<_> = ends.filter_map(|end| self.hops.neighbour_towards(end)).collect();
        needed.sort_unstable();
        needed.dedup();
        // On a default route without a gateway, everybody is a neighbour.
        needed.retain(|&(_, address)| !address.is_unspecified());
        needed
    }

    /// Whether some of the neighbours needed are not known.
    pub fn lacks_neighbours(&self) -> bool {
        self.neighbours_needed().into_iter().any(|(interface, address)| !self.hops.knows(interface, address))
    }
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
    use crate::dataplane::nexthop::{Link, Neighbour, Rib, Route};
    use crate::net::{Mac, Prefix, Proto};
    use crate::service::{RealId, SchedulerName, SchedulerOptions, Thresholds};

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
        let link = Link { name: "eth0".into(), mac: Mac([2; 6]), mtu_bytes: 1500, addresses, up: true };
        let neighbours = [("192.0.2.11", 4), ("2001:db8::11", 6)].map(neighbour).to_vec();
        NextHops::new(&Rib { links: vec![link], routes, neighbours }, None)
    }

    fn snapshot(vip: &str, rip: &str, method: Method) -> Snapshot {
        let real = RealServer {
            id: RealId(0),
            endpoint: rip.parse().unwrap(),
            weight: 1,
            method,
            thresholds: Thresholds::default(),
            live: Arc::default(),
        };
        let service = VirtualService {
            name: "web".into(),
            proto: Proto::Tcp,
            endpoint: vip.parse().unwrap(),
            scheduler: SchedulerName::Rr,
            options: SchedulerOptions::default(),
            reals: vec![real],
        };
        let services = Services::new(ServiceTable::new(vec![service]), None);
        Snapshot::new(Arc::new(services), &[], Arc::new(hops()), Timeouts::default(), Vec::new())
    }

    #[test]
    fn a_tunnels_outer_ends_are_of_the_servers_family() {
        let six = snapshot("192.0.2.100:80", "[2001:db8::11]:80", Method::Tun);
        let decision = six.decisions[0].as_ref().unwrap();
        let v6 = decision.v6.as_ref().unwrap();
        assert_eq!((v6.source, v6.rip.addr), (0x2001_0db8 << 96 | 1, 0x2001_0db8 << 96 | 0x11));
        let way = decision.way.map(|hop| hop.macs[5]);
        assert_eq!(way, if CARRIES_IPV6 { Ok(6) } else { Err(Missing::Route) });

        let four = snapshot("[2001:db8::100]:80", "192.0.2.11:80", Method::Tun);
        let decision = four.decisions[0].as_ref().unwrap();
        assert_eq!((decision.source, decision.rip.addr), (0xc000_0201, 0xc000_020b));
        assert!(decision.v6.is_none());
        assert_eq!(decision.way.map(|hop| hop.macs[5]), Ok(4));
    }

    #[test]
    fn the_neighbours_needed_are_of_the_servers_family() {
        for (vip, rip) in [("[2001:db8::100]:80", "[2001:db8::12]:80"), ("192.0.2.100:80", "192.0.2.12:80")] {
            let snapshot = snapshot(vip, rip, Method::Nat);
            let server = rip.parse::<Endpoint>().unwrap().addr;
            assert_eq!(snapshot.neighbours_needed(), [(InterfaceId(0), server)]);
            assert!(snapshot.lacks_neighbours());
        }
        assert!(!snapshot("[2001:db8::100]:80", "[2001:db8::11]:80", Method::Nat).lacks_neighbours());
    }
}
