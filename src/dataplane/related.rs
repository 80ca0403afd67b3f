//! ICMP errors that belong to a connection: each is found by the packet that it quotes.
//!
//! ```text
//! sent to   quotes                   is about                          and goes
//! CIP       CIP > RIP:rport          a client's packet, masqueraded    to the client, translated
//! VIP       VIP:vport > CIP          a server's packet                 to the server, the way its packets go
//! DIP       DIP > RIP [CIP > VIP]    a client's packet in its tunnel   to the client, told anew by the VIP
//! ```
//!
//! This module reads and judges; it changes neither the frame nor the connection, whose state and silence an error never
//! touches. What is no error, quotes too little, or is about nobody's packet, stays with the host.

use super::decision::{How, Six};
use super::verdict::{DropReason, HostReason, Verdict};
use crate::net::{FlowKey, TcpFlags};
use crate::wire::ETHERNET;
use crate::wire::icmp::{self, Complaint, NoQuote, Outer, Quoted};
use crate::wire::parse::Packet;

/// The least that IPv4 lets a link carry (RFC 791): less is not subtracted from.
const LEAST_MTU: u32 = 68;

/// What the ICMP error in `datagram`, which starts with its IP header, is about.
///
/// # Errors
/// The verdict on what is no error, or is about no packet that could be known.
pub fn quoted(datagram: &[u8]) -> Result<Quoted, Verdict> {
    let version = |at: usize| datagram.get(at).map_or(0, |first| first >> 4);
    let quoted = match version(0) {
        4 => icmp::quoted_v4(datagram),
        6 => icmp::quoted_v6(datagram),
        _ => Err(NoQuote::NotAnError),
    };
    let quoted = quoted.map_err(|no_quote| match no_quote {
        NoQuote::NotAnError | NoQuote::Fragment => Verdict::ToHost(HostReason::OtherProtocol),
        NoQuote::BadChecksum => Verdict::Drop(DropReason::BadChecksum),
        NoQuote::Truncated | NoQuote::BadQuote | NoQuote::QuotedFragment | NoQuote::OtherProtocol => {
            Verdict::ToHost(HostReason::Unrelated)
        }
    })?;
    // Errors do not cross families, but inside a tunnel another one may begin.
    let first = quoted.outer.map_or(quoted.ip, |outer| outer.ip);
    if version(first as usize) == version(0) {
        Ok(quoted)
    } else {
        Err(Verdict::ToHost(HostReason::Unrelated))
    }
}

/// The key that the connection is found by: of the packets that go where the error goes, or, of a tunnel, of the
/// quoted packet itself.
pub fn key(quoted: &Quoted) -> FlowKey {
    if quoted.outer.is_some() { quoted.key } else { quoted.key.reversed() }
}

/// The error as a packet of the flow that `key` names, so that it can be forwarded as one.
pub fn packet(datagram: &[u8], quoted: &Quoted, key: FlowKey) -> Packet {
    let ttl_at = if key.is_v4() { 8 } else { 7 };
    Packet {
        key,
        l4: ETHERNET as u16 + quoted.icmp,
        ip_len: quoted.end,
        ttl: datagram.get(ttl_at).copied().unwrap_or(0),
        flags: TcpFlags::default(),
    }
}

/// Whether the quoted outer header is that of the tunnel to the connection's server.
pub fn is_of_tunnel(datagram: &[u8], outer: Outer, how: &How) -> bool {
    let at = outer.ip as usize;
    let addresses = |start: usize, len: usize| datagram.get(at + start..at + start + len);
    match how {
        How::Tun(envelope) => addresses(12, 8) == Some(&envelope.addresses()[..]),
        How::Six(six) => match &**six {
            Six::InFour(envelope) => addresses(12, 8) == Some(&envelope.addresses()[..]),
            Six::InSix { source, server } => {
                addresses(8, 16) == Some(&source.to_be_bytes()[..])
                    && addresses(24, 16) == Some(&server.to_be_bytes()[..])
            }
            Six::Nat { .. } | Six::NatMany { .. } | Six::Sctp { .. } | Six::Dr => false,
        },
        How::Nat { .. } | How::Dr => false,
    }
}

/// Whether an error says that the packet has not reached its host or port.
pub fn is_unreachable(datagram: &[u8], quoted: &Quoted) -> bool {
    match (datagram.first().map(|first| first >> 4), quoted.kind) {
        // Fragmentation needed is a matter of size.
        (Some(4), (3, code)) => code != 4,
        (Some(6), (1, _)) => true,
        _ => false,
    }
}

/// What the client is to hear of an error about its packet's tunnel; `None` if it is none of its business: its packet
/// might have been fragmented.
///
/// A router that names no MTU (RFC 1191, 5) is not answered for.
pub fn complaint(datagram: &[u8], quoted: &Quoted, outer: Outer) -> Option<Complaint> {
    let outer_is_v4 = datagram.first()? >> 4 == 4;
    let inner_is_v4 = quoted.key.is_v4();
    let (kind, code) = quoted.kind;
    match (outer_is_v4, kind, code) {
        (true, 3, 4) | (false, 2, _) => {
            let may_be_fragmented = inner_is_v4 && datagram.get(quoted.ip as usize + 6)? & 0x40 == 0;
            let told = if outer_is_v4 { quoted.word & 0xffff } else { quoted.word };
            let outer = u32::from(outer.len);
            let fits = if told > LEAST_MTU + outer { told - outer } else { told };
            let mtu_bytes = u16::try_from(fits).unwrap_or(u16::MAX);
            (!may_be_fragmented).then_some(Complaint::TooBig { mtu_bytes })
        }
        _ if outer_is_v4 == inner_is_v4 => Some(Complaint::AsTold { kind: quoted.kind, word: quoted.word }),
        (true, 3, _) | (false, 1, _) => Some(Complaint::HostUnreachable),
        (true, 11, _) | (false, 3, _) => Some(Complaint::TimeExceeded),
        _ => None,
    }
}
