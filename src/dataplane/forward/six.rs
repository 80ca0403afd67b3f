//! The three methods with IPv6 inside or outside: as for IPv4, but for the headers. And SCTP masqueraded, in both
//! families.

use super::{admit, many};
use crate::dataplane::decision::Six;
use crate::dataplane::nexthop::Hop;
use crate::dataplane::port::Frame;
use crate::dataplane::verdict::DropReason;
use crate::net::Endpoint;
use crate::wire::encap::{self, Envelope};
use crate::wire::parse::Packet;
use crate::wire::rewrite::End;
use crate::wire::rewrite6::Translation6;
use crate::wire::{self, IPV4, IPV6, rewrite, rewrite6};

/// Sends a client's packet to the server.
pub fn to_server(frame: &mut Frame<'_>, packet: &Packet, how: &Six, hop: &Hop) -> Result<(), DropReason> {
    match how {
        Six::Nat { there, .. } => to_masqueraded(frame, packet, there, hop),
        &Six::NatMany { rip, ports } => many::to_server(frame, packet, rip, ports, hop),
        Six::Dr => {
            admit(frame, packet, hop, 0)?;
            rewrite6::route(frame.data_mut(), &hop.macs);
            Ok(())
        }
        Six::InFour(envelope) => in_four(frame, packet, envelope, hop),
        Six::Sctp { there, .. } => sctp(frame, packet, End::Dst, *there, hop),
        &Six::InSix { source, server } => in_six(frame, packet, source, server, hop),
    }
}

/// The destination becomes RIP:rport.
pub fn to_masqueraded(
    frame: &mut Frame<'_>,
    packet: &Packet,
    to: &Translation6,
    hop: &Hop,
) -> Result<(), DropReason> {
    translate(frame, packet, End::Dst, to, hop)
}

/// The source becomes VIP:vport again.
pub fn to_client(
    frame: &mut Frame<'_>,
    packet: &Packet,
    to: &Translation6,
    hop: &Hop,
) -> Result<(), DropReason> {
    translate(frame, packet, End::Src, to, hop)
}

/// One end of an SCTP packet, of either family, becomes another. The checksum is over the whole packet: who sees a piece
/// of it cannot say what another port makes of it.
pub fn sctp(
    frame: &mut Frame<'_>,
    packet: &Packet,
    end: End,
    new: Endpoint,
    hop: &Hop,
) -> Result<(), DropReason> {
    let old = if end == End::Src { packet.key.src() } else { packet.key.dst() };
    if new.port != old.port && wire::fragment::is_piece(frame.data()) {
        return Err(DropReason::SctpFragment);
    }
    admit(frame, packet, hop, 0)?;
    wire::sctp::translate(frame.data_mut(), &hop.macs, packet.l4 as usize, end, new);
    Ok(())
}

fn translate(
    frame: &mut Frame<'_>,
    packet: &Packet,
    end: End,
    to: &Translation6,
    hop: &Hop,
) -> Result<(), DropReason> {
    admit(frame, packet, hop, 0)?;
    rewrite6::translate(frame.data_mut(), &hop.macs, packet.l4 as usize, packet.key.tcp_or_udp(), end, to);
    Ok(())
}

fn in_four(frame: &mut Frame<'_>, packet: &Packet, envelope: &Envelope, hop: &Hop) -> Result<(), DropReason> {
    admit(frame, packet, hop, IPV4)?;
    rewrite6::decrement_hop_limit(frame.data_mut());
    if !frame.grow_front(IPV4) {
        return Err(DropReason::NoHeadroom);
    }
    encap::ip6_in_ipv4(frame.data_mut(), &hop.macs, envelope);
    Ok(())
}

fn in_six(
    frame: &mut Frame<'_>,
    packet: &Packet,
    source: u128,
    server: u128,
    hop: &Hop,
) -> Result<(), DropReason> {
    admit(frame, packet, hop, IPV6)?;
    let (cip, cport) = if packet.key.is_v4() {
        rewrite::decrement_ttl(frame.data_mut());
        let (cip, cport) = packet.key.src_v4();
        (cip as u128, cport)
    } else {
        rewrite6::decrement_hop_limit(frame.data_mut());
        packet.key.src_v6()
    };
    if !frame.grow_front(IPV6) {
        return Err(DropReason::NoHeadroom);
    }
    encap::in_ipv6(frame.data_mut(), &hop.macs, source, server, encap::flow_label(cip, cport));
    Ok(())
}
