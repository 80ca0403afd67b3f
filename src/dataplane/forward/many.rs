//! Masquerading for services of many ports: as for one, but what an end becomes is worked out for each packet.

use super::{nat, six};
use crate::dataplane::decision::{v4_end, v6_end};
use crate::dataplane::nexthop::Hop;
use crate::dataplane::port::Frame;
use crate::dataplane::verdict::DropReason;
use crate::net::{Endpoint, Proto};
use crate::service::PortMap;
use crate::wire::parse::Packet;
use crate::wire::rewrite::{End, Translation};
use crate::wire::rewrite6::Translation6;

/// The destination becomes RIP and the port that the one addressed leads to.
#[inline(never)]
pub fn to_server(
    frame: &mut Frame<'_>,
    packet: &Packet,
    rip: Endpoint,
    ports: PortMap,
    hop: &Hop,
) -> Result<(), DropReason> {
    let vip = packet.key.dst();
    let rip = leads_to(rip, ports, vip.port);
    if packet.key.proto() == Proto::Sctp {
        return six::sctp(frame, packet, End::Dst, rip, hop);
    }
    match (v4_end(vip), v4_end(rip)) {
        (Some(vip), Some(rip)) => nat::to_server(frame, packet, &Translation::new(vip, rip), hop),
        _ => six::to_masqueraded(frame, packet, &Translation6::new(v6_end(vip), v6_end(rip)), hop),
    }
}

/// The source becomes what the client has addressed; without that, the connection has just ended.
#[inline(never)]
pub fn to_client(
    frame: &mut Frame<'_>,
    packet: &Packet,
    asked: Option<Endpoint>,
    hop: &Hop,
) -> Result<(), DropReason> {
    let (rip, vip) = (packet.key.src(), asked.ok_or(DropReason::NoRealServer)?);
    if packet.key.proto() == Proto::Sctp {
        return six::sctp(frame, packet, End::Src, vip, hop);
    }
    match (v4_end(rip), v4_end(vip)) {
        (Some(rip), Some(vip)) => nat::to_client(frame, packet, &Translation::new(rip, vip), hop),
        _ => six::to_client(frame, packet, &Translation6::new(v6_end(rip), v6_end(vip)), hop),
    }
}

/// Where packets to `vport` go.
pub fn leads_to(rip: Endpoint, ports: PortMap, vport: u16) -> Endpoint {
    Endpoint::new(rip.addr, ports.rport(rip.port, vport))
}
