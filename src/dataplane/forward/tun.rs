//! Tunnelling: the packet travels to the server inside an outer IPv4 packet.

use super::{admit, without_padding};
use crate::dataplane::nexthop::Hop;
use crate::dataplane::port::Frame;
use crate::dataplane::verdict::DropReason;
use crate::wire::parse::Packet;
use crate::wire::{IPV4, encap, rewrite};

/// Wraps the packet for `server`; `source` is the director's address on the way there.
#[inline(always)]
pub fn to_server(
    frame: &mut Frame<'_>,
    packet: &Packet,
    source: u32,
    server: u32,
    hop: &Hop,
) -> Result<(), DropReason> {
    admit(packet, hop, IPV4)?;
    without_padding(frame, packet);
    rewrite::decrement_ttl(frame.data_mut());
    if !frame.grow_front(IPV4) {
        return Err(DropReason::NoHeadroom);
    }
    let (cip, cport) = packet.key.src_v4();
    encap::ipip(frame.data_mut(), &hop.macs, source, server, encap::salt(cip, cport));
    Ok(())
}
