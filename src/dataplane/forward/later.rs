//! Fragments after the first: they have addresses and no ports. NAT replaces the address alone; the transport's checksum,
//! which covers it, stands in the first fragment and was mended there. DR and TUN treat them as any packet.

use super::{admit, many};
use crate::dataplane::decision::{Decision, How, Six, v4_end, v6_end};
use crate::dataplane::nexthop::Hop;
use crate::dataplane::port::Frame;
use crate::dataplane::verdict::DropReason;
use crate::net::Endpoint;
use crate::wire::parse::Packet;
use crate::wire::rewrite::{self, End, Translation};
use crate::wire::rewrite6::{self, Translation6};

/// Sends a client's fragment to the server.
///
/// # Errors
/// The fragment may not go this way, and is as it was.
pub fn to_server(
    frame: &mut Frame<'_>,
    packet: &Packet,
    decision: &Decision,
    hop: &Hop,
) -> Result<(), DropReason> {
    match &decision.how {
        How::Nat { there, .. } => translate(frame, packet, End::Dst, there, hop),
        How::Six(six) => match &**six {
            Six::Nat { there, .. } => translate6(frame, packet, End::Dst, there, hop),
            &Six::Sctp { there, back } => translate_either(frame, packet, End::Dst, (back, there), hop),
            &Six::NatMany { rip, ports } => {
                let vip = packet.key.dst();
                translate_either(frame, packet, End::Dst, (vip, many::leads_to(rip, ports, vip.port)), hop)
            }
            _ => super::to_server(frame, packet, decision, hop),
        },
        _ => super::to_server(frame, packet, decision, hop),
    }
}

/// Sends a masqueraded server's fragment to its client. `asked` is what the connection's client has addressed, if the
/// connection is known.
///
/// # Errors
/// As [`to_server`]'s.
pub fn to_client(
    frame: &mut Frame<'_>,
    packet: &Packet,
    decision: &Decision,
    hop: &Hop,
    asked: Option<Endpoint>,
) -> Result<(), DropReason> {
    match &decision.how {
        How::Nat { back, .. } => translate(frame, packet, End::Src, back, hop),
        How::Six(six) => match &**six {
            Six::Nat { back, .. } => translate6(frame, packet, End::Src, back, hop),
            &Six::Sctp { there, back } => translate_either(frame, packet, End::Src, (there, back), hop),
            Six::NatMany { .. } => {
                let ends = (packet.key.src(), asked.ok_or(DropReason::NoRealServer)?);
                translate_either(frame, packet, End::Src, ends, hop)
            }
            _ => Err(DropReason::NoRealServer),
        },
        How::Dr | How::Tun(_) => Err(DropReason::NoRealServer),
    }
}

fn translate_either(
    frame: &mut Frame<'_>,
    packet: &Packet,
    end: End,
    (old, new): (Endpoint, Endpoint),
    hop: &Hop,
) -> Result<(), DropReason> {
    match (v4_end(old), v4_end(new)) {
        (Some(old), Some(new)) => translate(frame, packet, end, &Translation::new(old, new), hop),
        _ => translate6(frame, packet, end, &Translation6::new(v6_end(old), v6_end(new)), hop),
    }
}

fn translate(
    frame: &mut Frame<'_>,
    packet: &Packet,
    end: End,
    to: &Translation,
    hop: &Hop,
) -> Result<(), DropReason> {
    admit(frame, packet, hop, 0)?;
    rewrite::translate_address(frame.data_mut(), &hop.macs, end, to);
    Ok(())
}

fn translate6(
    frame: &mut Frame<'_>,
    packet: &Packet,
    end: End,
    to: &Translation6,
    hop: &Hop,
) -> Result<(), DropReason> {
    admit(frame, packet, hop, 0)?;
    rewrite6::translate_address(frame.data_mut(), &hop.macs, end, to);
    Ok(())
}
