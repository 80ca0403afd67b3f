//! How packets reach one server: compiled from the server, its service's address and the way to it, so that a packet
//! only applies it.

use super::nexthop::{Hop, Missing, NextHops};
use crate::net::{Endpoint, Proto};
use crate::service::{Live, Method, PortMap, RealServer};
use crate::wire::encap::Envelope;
use crate::wire::rewrite::{Translation, V4End};
use crate::wire::rewrite6::{Translation6, V6End};
use crate::wire::{IPV4, IPV6};
use std::net::IpAddr;
use std::sync::Arc;

/// What is done with the packets of connections to one server. A cache line.
#[derive(Debug, Clone)]
#[repr(align(64))]
pub struct Decision {
    /// How they are rewritten.
    pub how: How,
    /// The next hop towards the server, or what is missing.
    pub way: Result<Hop, Missing>,
    /// The server's live counts.
    pub live: Arc<Live>,
}

const _: () = assert!(size_of::<Option<Decision>>() == 64);

/// A forwarding method, with all that can be worked out beforehand.
#[derive(Debug, Clone)]
pub enum How {
    /// Masquerading in IPv4.
    Nat {
        /// VIP:vport to RIP:rport, for clients' packets.
        there: Translation,
        /// RIP:rport to VIP:vport, for the server's.
        back: Translation,
    },
    /// Direct routing in IPv4.
    Dr,
    /// IPv4 in IPv4.
    Tun(Envelope),
    /// Wherever IPv6 has a part, or more than one port, or SCTP is masqueraded.
    Six(Box<Six>),
}

/// A forwarding method with IPv6 inside or outside, or for many ports, or one of SCTP alone.
#[derive(Debug, Clone)]
pub enum Six {
    /// Masquerading.
    Nat {
        /// VIP:vport to RIP:rport, for clients' packets.
        there: Translation6,
        /// RIP:rport to VIP:vport, for the server's.
        back: Translation6,
    },
    /// Masquerading of SCTP, in either family: its checksum covers no addresses, and is none that could be mended by a
    /// [`Translation`].
    Sctp {
        /// RIP:rport, for clients' packets.
        there: Endpoint,
        /// VIP:vport, for the server's.
        back: Endpoint,
    },
    /// Masquerading in either family for a service of many ports: what a packet's ends become depends on what it
    /// addressed.
    NatMany {
        /// The server.
        rip: Endpoint,
        /// Where the ports lead.
        ports: PortMap,
    },
    /// Direct routing.
    Dr,
    /// IPv6 in IPv4.
    InFour(Envelope),
    /// Either family in IPv6.
    InSix {
        /// The director's address.
        source: u128,
        /// The server's.
        server: u128,
    },
}

impl How {
    /// How many bytes of headers it puts before a packet.
    pub fn outer_bytes(&self) -> u16 {
        let bytes = match self {
            How::Nat { .. } | How::Dr => 0,
            How::Tun(_) => IPV4,
            How::Six(six) => match **six {
                Six::Nat { .. } | Six::NatMany { .. } | Six::Sctp { .. } | Six::Dr => 0,
                Six::InFour(_) => IPV4,
                Six::InSix { .. } => IPV6,
            },
        };
        bytes as u16
    }
}

impl How {
    /// Where its tunnel starts, if it is one.
    pub fn outer_source(&self) -> Option<IpAddr> {
        let of = |envelope: &Envelope| envelope.addresses().first_chunk::<4>().map(|&source| source.into());
        match self {
            How::Tun(envelope) => of(envelope),
            How::Six(six) => match &**six {
                Six::InFour(envelope) => of(envelope),
                Six::InSix { source, .. } => Some(IpAddr::from(source.to_be_bytes())),
                Six::Nat { .. } | Six::NatMany { .. } | Six::Sctp { .. } | Six::Dr => None,
            },
            How::Nat { .. } | How::Dr => None,
        }
    }
}

impl Decision {
    /// What to do with packets of `proto` for `vip` that go to `real`, where its ports lead so.
    pub fn new(proto: Proto, vip: Endpoint, ports: PortMap, real: &RealServer, hops: &NextHops) -> Decision {
        let found = hops.find(real.endpoint.addr).map(|way| way.hop);
        let (how, way) = match how(proto, vip, ports, real, hops) {
            Some(how) => (how, found),
            None => (How::Dr, found.and(Err(Missing::Route))),
        };
        Decision { how, way, live: real.live.clone() }
    }
}

/// `None` if the director has no address for the outside of the tunnel.
fn how(proto: Proto, vip: Endpoint, ports: PortMap, real: &RealServer, hops: &NextHops) -> Option<How> {
    let six = |six| How::Six(Box::new(six));
    let to = real.endpoint;
    Some(match (real.method, vip.addr, to.addr) {
        (Method::Nat, ..) if ports != PortMap::One => six(Six::NatMany { rip: to, ports }),
        (Method::Nat, ..) if proto == Proto::Sctp => six(Six::Sctp { there: to, back: vip }),
        (Method::Nat, IpAddr::V4(vip4), IpAddr::V4(rip4)) => {
            let vip = V4End { addr: vip4.to_bits(), port: vip.port };
            let rip = V4End { addr: rip4.to_bits(), port: to.port };
            How::Nat { there: Translation::new(vip, rip), back: Translation::new(rip, vip) }
        }
        (Method::Nat, ..) => {
            let (vip, rip) = (v6_end(vip), v6_end(to));
            six(Six::Nat { there: Translation6::new(vip, rip), back: Translation6::new(rip, vip) })
        }
        (Method::Dr, IpAddr::V4(_), _) => How::Dr,
        (Method::Dr, IpAddr::V6(_), _) => six(Six::Dr),
        (Method::Tun, vip, server) => match (vip, hops.source_for(server)?, server) {
            (IpAddr::V4(_), IpAddr::V4(source), IpAddr::V4(server)) => {
                How::Tun(Envelope::new(source.to_bits(), server.to_bits()))
            }
            (IpAddr::V6(_), IpAddr::V4(source), IpAddr::V4(server)) => {
                six(Six::InFour(Envelope::new(source.to_bits(), server.to_bits())))
            }
            (_, source, server) => six(Six::InSix { source: v6_bits(source), server: v6_bits(server) }),
        },
    })
}

/// An endpoint of IPv4, if it is one.
pub(super) fn v4_end(endpoint: Endpoint) -> Option<V4End> {
    let IpAddr::V4(addr) = endpoint.addr else { return None };
    Some(V4End { addr: addr.to_bits(), port: endpoint.port })
}

/// An endpoint of IPv6.
pub(super) fn v6_end(endpoint: Endpoint) -> V6End {
    V6End { addr: v6_bits(endpoint.addr), port: endpoint.port }
}

/// An address as IPv6 has it; the configuration sees to it that one of IPv4 does not come here.
fn v6_bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped().to_bits(),
        IpAddr::V6(addr) => addr.to_bits(),
    }
}
