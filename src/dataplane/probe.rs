//! Probes along the data path: connections of the director's own to a virtual service, each of which goes to the server
//! that it is to find out about.
//!
//! They start in a network namespace, in which the VIP is somebody else's address. What a probe is for is said by its
//! port: [`Probes::reserve`] gives one out, and until some seconds after it was given back, what comes out of the
//! namespace from that port goes to that server, by the server's own method, and what the server answers goes back in.
//!
//! ```text
//! namespace                    director                                                server
//!    DIP:port > VIP:vport ---> this server's? --> NAT, DR, TUN as a client's packet --->
//!    <--------------------- VIP:vport > DIP:port <-- NAT: RIP:rport > DIP:port  <-------
//!                                                    DR, TUN: VIP:vport > DIP:port
//! ```
//!
//! Nothing is opened, remembered or counted for it: a quiesced, overloaded or dead server is probed like any other, and
//! no client notices.

use super::snapshot::{Published, Snapshot};
use crate::net::{Endpoint, FlowKey, Proto, is_link_local};
use crate::service::{Live, Method, RealId, RealServer, VirtualService};
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The ports that probes come from: above those that Linux gives to connections (`net.ipv4.ip_local_port_range`).
pub const PORTS: RangeInclusive<u16> = 61000..=u16::MAX;

/// How long a port given back leads on, for segments that are still under way, and is not given out again.
const REST: Duration = Duration::from_secs(4);

/// What a probe is to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Goal {
    /// The service, as it is named: by its protocol and address, or a group by its first match's.
    pub service: (Proto, Endpoint),
    /// The server: RIP:rport.
    pub server: Endpoint,
    /// What the probe speaks: TCP or UDP.
    pub proto: Proto,
    /// The port of the service that is addressed; `None` for its first.
    pub port: Option<u16>,
}

/// Where a packet of a probe belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Led {
    /// The server.
    pub real: RealId,
    /// What the probe addresses.
    pub vip: Endpoint,
    /// Whether the packet is the server's.
    pub is_answer: bool,
}

#[derive(Debug)]
struct Lead {
    led: Led,
    /// Tells the server from another that has its id by now.
    live: Arc<Live>,
}

/// Which ports lead where. Workers read it without waiting for anybody.
#[derive(Debug)]
pub struct Probes {
    published: Arc<Published>,
    /// By the keys of both directions.
    leads: papaya::HashMap<FlowKey, Lead>,
    ports: Mutex<Ports>,
}

#[derive(Debug)]
struct Ports {
    next: u16,
    /// Given back, the one that rests longest first.
    resting: VecDeque<(Instant, [FlowKey; 2])>,
    /// The addresses that probes may come from.
    sources: BTreeSet<IpAddr>,
}

/// A port that leads to one server; given back when dropped.
#[derive(Debug)]
pub struct ProbePort {
    /// What the probe's socket is to be bound to, with SO_REUSEADDR: probes of other services may have the same.
    pub source: SocketAddr,
    /// What it is to connect to.
    pub vip: SocketAddr,
    keys: [FlowKey; 2],
    probes: Arc<Probes>,
}

/// Why there is no port for a probe. None of it says anything of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoProbe {
    /// No such service, or it has no such server.
    NoServer,
    /// The service does not answer to this protocol at this port, if one is asked for.
    NoEntrance(Proto, Option<u16>),
    /// The director has no address of its own, of the VIP's family, that the server could answer to.
    NoSource,
    /// There is no way out of the namespace for this address, or not yet.
    Closed(IpAddr),
    /// All ports are taken, or rest.
    NoPort,
}

impl fmt::Display for NoProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoProbe::NoServer => f.write_str("the service has no such server"),
            NoProbe::NoEntrance(proto, None) => write!(f, "the service does not answer to {proto}"),
            NoProbe::NoEntrance(proto, Some(port)) => {
                write!(f, "the service does not answer to {proto} at port {port}")
            }
            NoProbe::NoSource => f.write_str(
                "the director has no address of its own that the server could answer to, VIPs not counted",
            ),
            NoProbe::Closed(source) => write!(f, "there is no way for probes from {source} yet"),
            NoProbe::NoPort => write!(
                f,
                "all ports from {} to {} are taken by probes to this address",
                PORTS.start(),
                PORTS.end()
            ),
        }
    }
}

impl std::error::Error for NoProbe {}

impl Probes {
    /// No port leads anywhere yet. Servers are those of the snapshot that is published when a port is asked for.
    pub fn new(published: Arc<Published>) -> Probes {
        let ports = Ports { next: *PORTS.start(), resting: VecDeque::new(), sources: BTreeSet::new() };
        Probes { published, leads: papaya::HashMap::new(), ports: Mutex::new(ports) }
    }

    /// Says which addresses probes may come from: those that the namespace has, and answers to which are steered here.
    pub fn set_sources(&self, sources: BTreeSet<IpAddr>) {
        self.ports().sources = sources;
    }

    /// A port from which a probe goes to this server, whether or not it may have clients.
    ///
    /// # Errors
    /// [`NoProbe`].
    pub fn reserve(self: &Arc<Self>, goal: &Goal) -> Result<ProbePort, NoProbe> {
        self.reserve_at(goal, Instant::now())
    }

    fn reserve_at(self: &Arc<Self>, goal: &Goal, now: Instant) -> Result<ProbePort, NoProbe> {
        let snapshot = self.published.current();
        let table = snapshot.services.table();
        let (proto, named) = goal.service;
        let service = table.find(proto, named).and_then(|at| table.services().get(at));
        let service = service.ok_or(NoProbe::NoServer)?;
        let real = service.reals.iter().find(|real| real.endpoint == goal.server).ok_or(NoProbe::NoServer)?;
        let vip = entrance(service, goal).ok_or(NoProbe::NoEntrance(goal.proto, goal.port))?;
        let source = source(&snapshot, vip.addr, real.endpoint.addr).ok_or(NoProbe::NoSource)?;
        let rport = service.port_map().rport(real.endpoint.port, vip.port);
        let answers_from = match real.method {
            Method::Nat => Endpoint::new(real.endpoint.addr, rport),
            Method::Dr | Method::Tun => vip,
        };
        let keys = |port| {
            let near = Endpoint::new(source, port);
            [FlowKey::new(goal.proto, near, vip), FlowKey::new(goal.proto, answers_from, near)]
        };

        let mut ports = self.ports();
        self.wake(&mut ports, now);
        if !ports.sources.contains(&source) {
            return Err(NoProbe::Closed(source));
        }
        let leads = self.leads.pin();
        let is_free = |port: &u16| keys(*port).iter().all(|key| !leads.contains_key(key));
        // In turn, so that a port rests as long as it can, at the servers too.
        let port = (ports.next..=*PORTS.end()).chain(PORTS).take(PORTS.len()).find(is_free);
        let port = port.ok_or(NoProbe::NoPort)?;
        ports.next = if port == *PORTS.end() { *PORTS.start() } else { port + 1 };
        let keys = keys(port);
        for (key, is_answer) in keys.into_iter().zip([false, true]) {
            let led = Led { real: real.id, vip, is_answer };
            leads.insert(key, Lead { led, live: real.live.clone() });
        }
        Ok(ProbePort {
            source: SocketAddr::new(source, port),
            vip: SocketAddr::new(vip.addr, vip.port),
            keys,
            probes: self.clone(),
        })
    }

    /// Where a packet of this key belongs, if it is a probe's and the server is the one that was meant.
    pub fn find(&self, key: &FlowKey, snapshot: &Snapshot) -> Option<Led> {
        let leads = self.leads.pin();
        let Lead { led, live } = leads.get(key)?;
        let is_same = snapshot.decision(led.real).is_some_and(|decision| Arc::ptr_eq(&decision.live, live));
        is_same.then_some(*led)
    }

    /// Ports that have rested long enough lead nowhere any more.
    fn wake(&self, ports: &mut Ports, now: Instant) {
        let leads = self.leads.pin();
        while let Some((since, keys)) = ports.resting.front()
            && now.saturating_duration_since(*since) >= REST
        {
            for key in keys {
                leads.remove(key);
            }
            ports.resting.pop_front();
        }
    }

    fn ports(&self) -> MutexGuard<'_, Ports> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ProbePort {
    fn drop(&mut self) {
        self.probes.ports().resting.push_back((Instant::now(), self.keys));
    }
}

/// The endpoint of the service that a probe addresses.
fn entrance(service: &VirtualService, goal: &Goal) -> Option<Endpoint> {
    let speaks = |proto| proto == goal.proto && proto != Proto::Sctp;
    let mut matches = service.matches().into_iter().filter(|to| speaks(to.proto));
    match goal.port {
        Some(port) => matches
            .map(|to| (to, Endpoint::new(to.addr, port)))
            .find_map(|(to, at)| to.takes(goal.proto, at).then_some(at)),
        // Of a service of all ports, the server's.
        None => matches.find_map(|to| {
            let port = if to.ports.0 == 0 { goal.server.port } else { to.ports.0 };
            (port > 0).then_some(Endpoint::new(to.addr, port))
        }),
    }
}

/// The director's own address that probes to this server come from: the one that its packets to the server have, if that
/// will do, or another of that link's, or any.
fn source(snapshot: &Snapshot, vip: IpAddr, server: IpAddr) -> Option<IpAddr> {
    let hops = &snapshot.hops;
    let near = hops.neighbour_towards(server).and_then(|(link, _)| hops.links().get(link.index()));
    let addresses = near.into_iter().chain(hops.links()).flat_map(|link| &link.addresses);
    let fits =
        |addr: &IpAddr| addr.is_ipv4() == vip.is_ipv4() && !is_link_local(*addr) && !snapshot.is_end(*addr);
    hops.source_for(server).into_iter().chain(addresses.map(|prefix| prefix.addr)).find(fits)
}

/// All addresses that probes of this snapshot's servers come from.
pub fn sources(snapshot: &Snapshot) -> BTreeSet<IpAddr> {
    let services = snapshot.services.table().services();
    let servers = services.iter().flat_map(|service| service.reals.iter().map(move |real| (service, real)));
    let source = |(service, real): (&Arc<VirtualService>, &RealServer)| {
        source(snapshot, service.endpoint.addr, real.endpoint.addr)
    };
    servers.filter_map(source).collect()
}

#[cfg(test)]
mod tests;
