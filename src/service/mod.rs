//! Floor 1: the nouns of load balancing: virtual services, real servers, and the table that finds a service.
//!
//! All of it is immutable once built, but for a real server's live counts, which the connection table moves.

pub mod check;
mod conduct;
mod group;
mod live;
mod persistence;
mod ramp;
mod state;
mod table;
mod timeouts;
mod watch;

pub use conduct::{Conduct, Reuse, WhenFull};
pub use group::{ALL_PORTS, FTP_DATA, Group, Match, PortMap};
pub use live::{Live, SEATS, Standing, Thresholds};
pub use persistence::Persistence;
pub use ramp::{Curve, Ramp, SlowStart};
pub use state::State;
pub use table::ServiceTable;
pub use timeouts::Timeouts;
pub use watch::Watch;

use crate::net::{Endpoint, Proto};
use std::fmt;
use std::sync::Arc;

/// How packets reach a real server; ipvsadm's forwarding methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Method {
    /// Masquerading (`-m`): the destination is rewritten, replies pass through the director.
    Nat = 0,
    /// Direct routing (`-g`): only the destination MAC changes, replies go straight to the client.
    Dr = 1,
    /// IP-in-IP (`-i`): the packet travels in an outer packet, replies go straight to the client.
    Tun = 2,
}

impl Method {
    /// Every method, in the order of the discriminants.
    pub const ALL: [Method; 3] = [Method::Nat, Method::Dr, Method::Tun];

    /// The name used in configuration and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Method::Nat => "nat",
            Method::Dr => "dr",
            Method::Tun => "tun",
        }
    }

    /// Whether the servers' replies pass through the director.
    pub const fn sees_replies(self) -> bool {
        matches!(self, Method::Nat)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A scheduler's name as `ipvsadm -s` spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SchedulerName {
    /// Round robin.
    Rr,
    /// Weighted round robin.
    Wrr,
    /// Least connections.
    Lc,
    /// Weighted least connections, the default as with ipvsadm.
    Wlc,
    /// Shortest expected delay.
    Sed,
    /// Never queue.
    Nq,
    /// Source hashing.
    Sh,
    /// Destination hashing.
    Dh,
    /// Maglev hashing.
    Mh,
    /// Locality-based least connections.
    Lblc,
    /// Locality-based least connections with replication.
    Lblcr,
    /// Weighted failover.
    Fo,
    /// Weighted overflow.
    Ovf,
    /// The better of two random choices.
    Twos,
}

impl SchedulerName {
    /// Every scheduler that there is.
    pub const ALL: [SchedulerName; 14] = [
        SchedulerName::Rr,
        SchedulerName::Wrr,
        SchedulerName::Lc,
        SchedulerName::Wlc,
        SchedulerName::Sed,
        SchedulerName::Nq,
        SchedulerName::Sh,
        SchedulerName::Dh,
        SchedulerName::Mh,
        SchedulerName::Lblc,
        SchedulerName::Lblcr,
        SchedulerName::Fo,
        SchedulerName::Ovf,
        SchedulerName::Twos,
    ];

    /// A server's weight as this scheduler takes it: to some, all that have one are alike.
    pub const fn weight(self, real: &RealServer) -> u16 {
        match self {
            SchedulerName::Rr | SchedulerName::Lc | SchedulerName::Dh if real.weight > 0 => 1,
            _ => real.weight,
        }
    }

    /// The name as ipvsadm spells it.
    pub const fn name(self) -> &'static str {
        match self {
            SchedulerName::Rr => "rr",
            SchedulerName::Wrr => "wrr",
            SchedulerName::Lc => "lc",
            SchedulerName::Wlc => "wlc",
            SchedulerName::Sed => "sed",
            SchedulerName::Nq => "nq",
            SchedulerName::Sh => "sh",
            SchedulerName::Dh => "dh",
            SchedulerName::Mh => "mh",
            SchedulerName::Lblc => "lblc",
            SchedulerName::Lblcr => "lblcr",
            SchedulerName::Fo => "fo",
            SchedulerName::Ovf => "ovf",
            SchedulerName::Twos => "twos",
        }
    }
}

impl fmt::Display for SchedulerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What some schedulers let the operator choose (`ipvsadm -b`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SchedulerOptions {
    /// `sh-fallback`, `mh-fallback`: clients of a server that takes no new connection get another one.
    pub fallback: bool,
    /// `sh-port`, `mh-port`: the client's port counts beside its address.
    pub port: bool,
    /// How many places mh's table has: a prime.
    pub mh_table_size: u32,
}

impl Default for SchedulerOptions {
    fn default() -> SchedulerOptions {
        SchedulerOptions { fallback: false, port: false, mh_table_size: 65_537 }
    }
}

/// A real server's place in every table that is indexed by server: decisions, counters, the connection
/// table's endpoints. Given out by the publisher, below [`RealId::LIMIT`], and not given to another server
/// while a connection still names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RealId(pub u32);

impl RealId {
    /// How many real servers, those with remaining connections included, a director holds at most.
    pub const LIMIT: usize = 1 << 17;

    /// The place in a table.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A real server of one virtual service.
#[derive(Debug, Clone)]
pub struct RealServer {
    /// Its place in the tables.
    pub id: RealId,
    /// RIP:rport. In DR and TUN the port is the service's.
    pub endpoint: Endpoint,
    /// 0..=65535; 0 is quiesced: no new connections, those that exist go on (ipvsadm(8), `-w`).
    pub weight: u16,
    /// Whether not even a persistence template leads to it, whatever is said of templates to quiesced servers.
    pub is_shut: bool,
    /// How packets reach it.
    pub method: Method,
    /// When it has too many connections to get more.
    pub thresholds: Thresholds,
    /// If it came a short while ago, its way up to its share.
    pub ramp: Option<Ramp>,
    /// Its connections, counted as IPVS counts them.
    pub live: Arc<Live>,
}

impl RealServer {
    /// Whether new connections may be sent to it now: it is neither quiesced nor overloaded.
    #[inline]
    pub fn is_available(&self) -> bool {
        self.weight > 0 && !self.live.is_overloaded()
    }
}

/// What becomes of packets that would open a connection when no server may take one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NoServer {
    /// The client hears that the port is unreachable, as from IPVS.
    #[default]
    Icmp,
    /// The client's connection is reset; TCP alone.
    Reset,
    /// The client hears nothing.
    Drop,
}

/// The largest MSS that a client's SYN may announce on its way through a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MssClamp {
    /// Whatever it announces.
    Off,
    /// What fits the way to the server beside the outer header.
    #[default]
    Fit,
    /// So many bytes.
    Bytes(u16),
}

/// What the operator chose for a service's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Policy {
    /// When no server may take a new connection.
    pub no_server: NoServer,
    /// In tunnels.
    pub mss_clamp: MssClamp,
    /// How long its connections may be silent, where that is not as with all others.
    pub timeouts: Timeouts,
    /// Whether a packet in the midst of a flow opens a connection; `None` is as with all others.
    pub sloppy: Option<bool>,
    /// Whether each datagram gets its server anew, and no connection stays (`ipvsadm -o`); UDP alone.
    pub one_packet: bool,
    /// Whether a client keeps to its server.
    pub persistence: Option<Persistence>,
    /// The port of FTP's control connections, if the service carries FTP.
    pub ftp: Option<u16>,
}

/// A virtual service: what clients address, and the servers behind it in the order the operator gave.
#[derive(Debug, Clone)]
pub struct VirtualService {
    /// The operator's name for it.
    pub name: Arc<str>,
    /// TCP, UDP or SCTP.
    pub proto: Proto,
    /// VIP:vport; the port is 0 if the service answers at all ports. Of a group, the first of its matches.
    pub endpoint: Endpoint,
    /// If it answers at several addresses and ports, what they are.
    pub group: Option<Group>,
    /// Which scheduler chooses for new connections.
    pub scheduler: SchedulerName,
    /// How it is to do so.
    pub options: SchedulerOptions,
    /// How its packets are treated beside.
    pub policy: Policy,
    /// In the operator's order, which is the order schedulers use.
    pub reals: Vec<RealServer>,
}
