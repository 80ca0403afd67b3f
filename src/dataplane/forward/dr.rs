//! Direct routing: the frame goes to the server's MAC, the packet stays what it was but for its TTL.

use super::admit;
use crate::dataplane::nexthop::Hop;
use crate::dataplane::port::Frame;
use crate::dataplane::verdict::DropReason;
use crate::wire::parse::Packet;
use crate::wire::rewrite;

/// Hands the packet to the server over their common link.
#[inline(always)]
pub fn to_server(frame: &mut Frame<'_>, packet: &Packet, hop: &Hop) -> Result<(), DropReason> {
    admit(frame, packet, hop, 0)?;
    rewrite::route(frame.data_mut(), &hop.macs);
    Ok(())
}
