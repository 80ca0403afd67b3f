//! Masquerading for services of many ports: as for one, but what an end becomes is worked out for each packet.

use super::{nat, six};
use crate::dataplane::decision::v6_end;
use crate::dataplane::nexthop::Hop;
use crate::dataplane::port::Frame;
use crate::dataplane::verdict::DropReason;
use crate::net::Endpoint;
use crate::service::PortMap;
use crate::wire::parse::Packet;
use crate::wire::rewrite::{Translation, V4End};
use crate::wire::rewrite6::{Translation6, V6End};
use std::net::IpAddr;

/// The destination becomes RIP and the port that the one addressed leads to.
#[inline(never)]
pub fn to_server(
    frame: &mut Frame<'_>,
    packet: &Packet,
    rip: V4End,
    ports: PortMap,
    hop: &Hop,
) -> Result<(), DropReason> {
    let (addr, port) = packet.key.dst_v4();
    let to = Translation::new(V4End { addr, port }, rip_for(rip, ports, port));
    nat::to_server(frame, packet, &to, hop)
}

/// The same in IPv6.
#[inline(never)]
pub fn to_server_v6(
    frame: &mut Frame<'_>,
    packet: &Packet,
    rip: V6End,
    ports: PortMap,
    hop: &Hop,
) -> Result<(), DropReason> {
    let (addr, port) = packet.key.dst_v6();
    let to = Translation6::new(V6End { addr, port }, rip_for_v6(rip, ports, port));
    six::to_masqueraded(frame, packet, &to, hop)
}

/// The source becomes what the client has addressed; `None`, and the connection has just ended.
#[inline(never)]
pub fn to_client(
    frame: &mut Frame<'_>,
    packet: &Packet,
    asked: Option<Endpoint>,
    hop: &Hop,
) -> Result<(), DropReason> {
    let (addr, port) = packet.key.src_v4();
    let asked = asked.and_then(v4_end).ok_or(DropReason::NoRealServer)?;
    nat::to_client(frame, packet, &Translation::new(V4End { addr, port }, asked), hop)
}

/// The same in IPv6.
#[inline(never)]
pub fn to_client_v6(
    frame: &mut Frame<'_>,
    packet: &Packet,
    asked: Option<Endpoint>,
    hop: &Hop,
) -> Result<(), DropReason> {
    let (addr, port) = packet.key.src_v6();
    let asked = asked.map(v6_end).ok_or(DropReason::NoRealServer)?;
    six::to_client(frame, packet, &Translation6::new(V6End { addr, port }, asked), hop)
}

/// Where packets to `vport` go.
pub fn rip_for(rip: V4End, ports: PortMap, vport: u16) -> V4End {
    V4End { port: ports.rport(rip.port, vport), ..rip }
}

/// The same in IPv6.
pub fn rip_for_v6(rip: V6End, ports: PortMap, vport: u16) -> V6End {
    V6End { port: ports.rport(rip.port, vport), ..rip }
}

/// An endpoint of IPv4.
pub fn v4_end(endpoint: Endpoint) -> Option<V4End> {
    let IpAddr::V4(addr) = endpoint.addr else { return None };
    Some(V4End { addr: addr.to_bits(), port: endpoint.port })
}
