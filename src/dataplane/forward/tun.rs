//! Tunnelling: an IPv4 packet travels to the server inside another.

use super::admit;
use crate::dataplane::nexthop::Hop;
use crate::dataplane::port::Frame;
use crate::dataplane::verdict::DropReason;
use crate::wire::encap::{self, Envelope};
use crate::wire::parse::Packet;
use crate::wire::{IPV4, rewrite};

/// Wraps the packet for the server.
#[inline(always)]
pub fn to_server(
    frame: &mut Frame<'_>,
    packet: &Packet,
    envelope: &Envelope,
    hop: &Hop,
) -> Result<(), DropReason> {
    admit(frame, packet, hop, IPV4)?;
    rewrite::decrement_ttl(frame.data_mut());
    if !frame.grow_front(IPV4) {
        return Err(DropReason::NoHeadroom);
    }
    let (cip, cport) = packet.key.src_v4();
    encap::ipip(frame.data_mut(), &hop.macs, envelope, encap::salt(cip, cport));
    Ok(())
}
