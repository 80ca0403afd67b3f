//! Fragments after the first: they have addresses and no ports. NAT replaces the address alone; the transport's checksum,
//! which covers it, stands in the first fragment and was mended there. DR and TUN treat them as any packet.

use super::{admit, without_padding};
use crate::dataplane::decision::{Decision, How, Six};
use crate::dataplane::nexthop::Hop;
use crate::dataplane::port::Frame;
use crate::dataplane::verdict::DropReason;
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
            _ => super::to_server(frame, packet, decision, hop),
        },
        _ => super::to_server(frame, packet, decision, hop),
    }
}

/// Sends a masqueraded server's fragment to its client.
///
/// # Errors
/// As [`to_server`]'s.
pub fn to_client(
    frame: &mut Frame<'_>,
    packet: &Packet,
    decision: &Decision,
    hop: &Hop,
) -> Result<(), DropReason> {
    match &decision.how {
        How::Nat { back, .. } => translate(frame, packet, End::Src, back, hop),
        How::Six(six) => match &**six {
            Six::Nat { back, .. } => translate6(frame, packet, End::Src, back, hop),
            _ => Err(DropReason::NoRealServer),
        },
        How::Dr | How::Tun(_) => Err(DropReason::NoRealServer),
    }
}

fn translate(
    frame: &mut Frame<'_>,
    packet: &Packet,
    end: End,
    to: &Translation,
    hop: &Hop,
) -> Result<(), DropReason> {
    admit(packet, hop, 0)?;
    without_padding(frame, packet);
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
    admit(packet, hop, 0)?;
    without_padding(frame, packet);
    rewrite6::translate_address(frame.data_mut(), &hop.macs, end, to);
    Ok(())
}
