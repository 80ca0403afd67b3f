//! Masquerading: addresses and ports rewritten, in both directions.

use super::admit;
use crate::dataplane::nexthop::Hop;
use crate::dataplane::port::Frame;
use crate::dataplane::verdict::DropReason;
use crate::wire::parse::Packet;
use crate::wire::rewrite::{self, End, Translation};

/// The destination becomes RIP:rport.
#[inline(always)]
pub fn to_server(
    frame: &mut Frame<'_>,
    packet: &Packet,
    to: &Translation,
    hop: &Hop,
) -> Result<(), DropReason> {
    translate(frame, packet, End::Dst, to, hop)
}

/// The source becomes VIP:vport again.
#[inline(always)]
pub fn to_client(
    frame: &mut Frame<'_>,
    packet: &Packet,
    to: &Translation,
    hop: &Hop,
) -> Result<(), DropReason> {
    translate(frame, packet, End::Src, to, hop)
}

#[inline(always)]
fn translate(
    frame: &mut Frame<'_>,
    packet: &Packet,
    end: End,
    to: &Translation,
    hop: &Hop,
) -> Result<(), DropReason> {
    admit(frame, packet, hop, 0)?;
    rewrite::translate(frame.data_mut(), &hop.macs, packet.l4 as usize, packet.key.tcp_or_udp(), end, to);
    Ok(())
}
