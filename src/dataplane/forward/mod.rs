//! Applies a decision to a frame: rewrites it and says where it goes. Decides nothing.
//!
//! One file per forwarding method. Every method takes a hop off the TTL, as a router does, and refuses what does
//! not fit the way: a packet out of hops, or larger than the egress link's MTU.

pub mod dr;
pub mod error;
pub mod later;
pub mod many;
pub mod nat;
pub mod six;
pub mod tun;

use super::decision::{Decision, How, Six};
use super::nexthop::Hop;
use super::port::Frame;
use super::verdict::DropReason;
use crate::net::Endpoint;
use crate::wire::ETHERNET;
use crate::wire::parse::Packet;
use crate::wire::rewrite::End;

/// Rewrites a client's packet for the server of this decision, to which `hop` leads.
///
/// # Errors
/// The packet may not go this way, and is as it was.
#[inline(always)]
pub fn to_server(
    frame: &mut Frame<'_>,
    packet: &Packet,
    decision: &Decision,
    hop: &Hop,
) -> Result<(), DropReason> {
    match &decision.how {
        How::Nat { there, .. } => nat::to_server(frame, packet, there, hop),
        How::Dr => dr::to_server(frame, packet, hop),
        How::Tun(envelope) => tun::to_server(frame, packet, envelope, hop),
        How::Six(how) => six::to_server(frame, packet, how, hop),
    }
}

/// Rewrites the packet of a server for its client, to whom `hop` leads. `asked` says what the connection's client has
/// addressed, where that is not the same for all of the server's.
///
/// # Errors
/// As [`to_server`]'s.
#[inline(always)]
pub fn to_client(
    frame: &mut Frame<'_>,
    packet: &Packet,
    decision: &Decision,
    hop: &Hop,
    asked: impl FnOnce() -> Option<Endpoint>,
) -> Result<(), DropReason> {
    match &decision.how {
        How::Nat { back, .. } => nat::to_client(frame, packet, back, hop),
        How::Six(how) => match &**how {
            Six::Nat { back, .. } => six::to_client(frame, packet, back, hop),
            Six::Sctp { back, .. } => six::sctp(frame, packet, End::Src, *back, hop),
            Six::NatMany { .. } => many::to_client(frame, packet, asked(), hop),
            _ => Err(DropReason::NoRealServer),
        },
        // Only masqueraded servers' replies are looked for.
        How::Dr | How::Tun(_) => Err(DropReason::NoRealServer),
    }
}

/// Whether a packet may go this way with `outer` bytes of headers before it; if so, what its Ethernet frame was padded
/// with is cut off.
#[inline(always)]
fn admit(frame: &mut Frame<'_>, packet: &Packet, hop: &Hop, outer: usize) -> Result<(), DropReason> {
    if packet.ttl <= 1 {
        return Err(DropReason::TtlExpired);
    }
    if packet.ip_len as usize + outer > hop.mtu_bytes as usize {
        return Err(DropReason::TooBig);
    }
    frame.truncate(ETHERNET + packet.ip_len as usize);
    Ok(())
}
