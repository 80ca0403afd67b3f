//! What workers decide by: services with their schedulers, the way to every server, timeouts. Immutable; a change
//! is a new snapshot, which each worker takes up between two batches.

use super::nexthop::{Hop, Missing, NextHops};
use super::verdict::DropReason;
use crate::conntrack::Timeouts;
use crate::net::{Endpoint, InterfaceId};
use crate::sched::{self, Scheduler};
use crate::service::{Live, Method, RealId, RealServer, ServiceTable, VirtualService};
use crate::wire::rewrite::{Translation, V4End};
use arc_swap::ArcSwap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};

/// The services and the schedulers built for them.
#[derive(Debug, Default)]
pub struct Services {
    table: ServiceTable,
    schedulers: Vec<Arc<dyn Scheduler>>,
}

impl Services {
    /// Builds a scheduler for every service. A service whose scheduler and servers (with order and weights) are as
    /// they were in `before` keeps its scheduler, and with it its place in the round.
    pub fn new(table: ServiceTable, before: Option<&Services>) -> Services {
        let build = |service: &VirtualService| {
            let kept = before.and_then(|b| b.scheduler_of_same(service));
            kept.unwrap_or_else(|| sched::build(service.scheduler, &service.reals).into())
        };
        Services { schedulers: table.services().iter().map(build).collect(), table }
    }

    fn scheduler_of_same(&self, service: &VirtualService) -> Option<Arc<dyn Scheduler>> {
        let at = self.table.find(service.proto, service.endpoint)?;
        let old = &self.table.services()[at];
        let same = |(a, b): (&RealServer, &RealServer)| a.id == b.id && a.weight == b.weight;
        let as_it_was = old.scheduler == service.scheduler
            && old.reals.len() == service.reals.len()
            && old.reals.iter().zip(&service.reals).all(same);
        as_it_was.then(|| self.schedulers[at].clone())
    }

    /// The services, by address.
    pub fn table(&self) -> &ServiceTable {
        &self.table
    }

    /// The server for a new connection to the service at this place of the table.
    pub fn pick(&self, service: usize) -> Option<&RealServer> {
        let reals = &self.table.services().get(service)?.reals;
        reals.get(self.schedulers.get(service)?.pick(reals)?)
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
    /// The next hop towards the server, or what is missing.
    pub way: Result<Hop, Missing>,
    /// The server's live counts.
    pub live: Arc<Live>,
}

impl Decision {
    fn new(vip: Endpoint, real: &RealServer, hops: &NextHops) -> Decision {
        let to = real.endpoint.addr;
        let source = match (real.method, hops.source_for(to)) {
            (Method::Tun, Some(IpAddr::V4(source))) => source.to_bits(),
            _ => 0,
        };
        let way = match hops.find(to) {
            Ok(_) if real.method == Method::Tun && source == 0 => Err(Missing::Route),
            found => found.map(|way| way.hop),
        };
        let (vip, rip) = (v4_end(vip), v4_end(real.endpoint));
        Decision {
            method: real.method,
            rip,
            there: Translation::new(vip, rip),
            back: Translation::new(rip, vip),
            source,
            way,
            live: real.live.clone(),
        }
    }
}

/// An endpoint as the IPv4 rewriting has it; of an IPv6 one, the port alone.
fn v4_end(endpoint: Endpoint) -> V4End {
    let addr = match endpoint.addr {
        IpAddr::V4(addr) => addr.to_bits(),
        IpAddr::V6(_) => 0,
    };
    V4End { addr, port: endpoint.port }
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
        let v4 = |decision: &Decision| IpAddr::V4(decision.rip.addr.into());
        let anywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let ends = self.decisions.iter().flatten().flat_map(|decision| {
            [Some(v4(decision)), decision.method.sees_replies().then_some(anywhere)].into_iter().flatten()
        });
        let mut needed: Vec<_> = ends.filter_map(|end| self.hops.neighbour_towards(end)).collect();
        needed.sort_unstable();
        needed.dedup();
        // On a default route without a gateway, everybody is a neighbour.
        needed.retain(|&(_, address)| address != anywhere);
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
