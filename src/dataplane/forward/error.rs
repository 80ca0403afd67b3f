//! ICMP errors about a connection's packets, on the connection's ways: translated by NAT, and as any other packet by
//! DR and TUN.

use super::{admit, many};
use crate::dataplane::decision::{Decision, How, Six, v4_end, v6_end};
use crate::dataplane::nexthop::Hop;
use crate::dataplane::port::Frame;
use crate::dataplane::verdict::DropReason;
use crate::net::Endpoint;
use crate::wire::icmp::{Quoted, translate_v4, translate_v6};
use crate::wire::parse::Packet;
use crate::wire::rewrite::{End, V4End};
use crate::wire::rewrite6::V6End;
use crate::wire::{ETHERNET, rewrite, rewrite6};

/// Sends an error about a server's packet to the server, which finds its own packet quoted.
///
/// # Errors
/// The error may not go this way, and is as it was.
pub fn to_server(
    frame: &mut Frame<'_>,
    packet: &Packet,
    quoted: &Quoted,
    decision: &Decision,
    hop: &Hop,
) -> Result<(), DropReason> {
    match &decision.how {
        How::Nat { there, .. } => translate(frame, packet, quoted, End::Src, there.end(), hop),
        How::Six(six) => match &**six {
            Six::Nat { there, .. } => translate6(frame, packet, quoted, End::Src, there.end(), hop),
            Six::Sctp { there, .. } => translate_either(frame, packet, quoted, End::Src, *there, hop),
            &Six::NatMany { rip, ports } => {
                let rip = many::leads_to(rip, ports, packet.key.dst().port);
                translate_either(frame, packet, quoted, End::Src, rip, hop)
            }
            _ => super::to_server(frame, packet, decision, hop),
        },
        _ => super::to_server(frame, packet, decision, hop),
    }
}

/// Sends an error about a masqueraded client's packet to the client, which finds its own packet quoted. `asked` is what
/// the connection's client has addressed.
///
/// # Errors
/// As [`to_server`]'s.
pub fn to_client(
    frame: &mut Frame<'_>,
    packet: &Packet,
    quoted: &Quoted,
    decision: &Decision,
    hop: &Hop,
    asked: Option<Endpoint>,
) -> Result<(), DropReason> {
    match &decision.how {
        How::Nat { back, .. } => translate(frame, packet, quoted, End::Dst, back.end(), hop),
        How::Six(six) => match &**six {
            Six::Nat { back, .. } => translate6(frame, packet, quoted, End::Dst, back.end(), hop),
            Six::Sctp { back, .. } => translate_either(frame, packet, quoted, End::Dst, *back, hop),
            Six::NatMany { .. } => {
                let asked = asked.ok_or(DropReason::NoRealServer)?;
                translate_either(frame, packet, quoted, End::Dst, asked, hop)
            }
            _ => Err(DropReason::NoRealServer),
        },
        How::Dr | How::Tun(_) => Err(DropReason::NoRealServer),
    }
}

fn translate_either(
    frame: &mut Frame<'_>,
    packet: &Packet,
    quoted: &Quoted,
    end: End,
    new: Endpoint,
    hop: &Hop,
) -> Result<(), DropReason> {
    match v4_end(new) {
        Some(new) => translate(frame, packet, quoted, end, new, hop),
        None => translate6(frame, packet, quoted, end, v6_end(new), hop),
    }
}

fn translate(
    frame: &mut Frame<'_>,
    packet: &Packet,
    quoted: &Quoted,
    end: End,
    new: V4End,
    hop: &Hop,
) -> Result<(), DropReason> {
    admit(frame, packet, hop, 0)?;
    translate_v4(&mut frame.data_mut()[ETHERNET..], quoted, end, new);
    rewrite::route(frame.data_mut(), &hop.macs);
    Ok(())
}

fn translate6(
    frame: &mut Frame<'_>,
    packet: &Packet,
    quoted: &Quoted,
    end: End,
    new: V6End,
    hop: &Hop,
) -> Result<(), DropReason> {
    admit(frame, packet, hop, 0)?;
    translate_v6(&mut frame.data_mut()[ETHERNET..], quoted, end, new);
    rewrite6::route(frame.data_mut(), &hop.macs);
    Ok(())
}
