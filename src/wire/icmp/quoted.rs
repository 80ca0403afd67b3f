//! Finds the packet that an ICMP error is about.

use super::{ICMP, ICMP_V4, ICMP_V6, of_message_v6, v4, v6};
use crate::net::{FlowKey, Proto};
use crate::wire::encap::{IPIP, IPV6_IN_IP};
use crate::wire::{IPV4, IPV6, be16, be32, be128, checksum, ipv6};

/// A packet quoted in an ICMP error. Its ports and addresses are there; whatever else is, may have been cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quoted {
    /// Type and code of the error.
    pub kind: (u8, u8),
    /// The four bytes between the checksum and the quotation. In IPv4 the MTU is in the lower half, in IPv6 it is all
    /// of them, if the type says that the packet was too big.
    pub word: u32,
    /// Where the ICMP message starts; this and all other places are counted in bytes from the error's IP header.
    pub icmp: u16,
    /// Where the error ends: what follows is padding.
    pub end: u16,
    /// If the packet was quoted in its tunnel, the tunnel.
    pub outer: Option<Outer>,
    /// Who had sent the quoted packet to whom.
    pub key: FlowKey,
    /// Where its IP header starts.
    pub ip: u16,
    /// Where its transport header starts, of which the first 8 bytes are there.
    pub l4: u16,
}

/// The outer header of a quoted tunnelled packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outer {
    /// Where it starts.
    pub ip: u16,
    /// How long it is: what the tunnel took from the MTU.
    pub len: u16,
}

/// Why nothing is quoted that a connection could be found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoQuote {
    /// The packet is no ICMP error: echo, neighbour discovery, another protocol.
    NotAnError,
    /// The error itself is a fragment.
    Fragment,
    /// It, or what it quotes, ends too early.
    Truncated,
    /// The checksum of the ICMP message is wrong.
    BadChecksum,
    /// What it quotes is no IP packet whose headers can be stepped over.
    BadQuote,
    /// A piece other than the first is quoted, which has no ports.
    QuotedFragment,
    /// Neither TCP nor UDP is quoted, not even in a tunnel.
    OtherProtocol,
}

/// What an ICMP error in IPv4 is about. `packet` starts with its IPv4 header.
///
/// # Errors
/// [`NoQuote`]. Redirects are no errors here: they are for the host.
pub fn quoted_v4(packet: &[u8]) -> Result<Quoted, NoQuote> {
    let header: &[u8; IPV4] = packet.first_chunk().ok_or(NoQuote::Truncated)?;
    let icmp = (header[0] & 15) as usize * 4;
    if header[9] != ICMP_V4 {
        return Err(NoQuote::NotAnError);
    }
    if be16(header, 6) & 0x3fff > 0 {
        return Err(NoQuote::Fragment);
    }
    let packet = packet.get(..be16(header, 2) as usize).ok_or(NoQuote::Truncated)?;
    let message = packet.get(icmp..).filter(|message| message.len() >= ICMP).ok_or(NoQuote::Truncated)?;
    let errors = [v4::UNREACHABLE, v4::SOURCE_QUENCH, v4::TIME_EXCEEDED, v4::PARAMETER_PROBLEM];
    if !errors.contains(&message[0]) {
        return Err(NoQuote::NotAnError);
    }
    if checksum::fold(checksum::sum(message)) != 0xffff {
        return Err(NoQuote::BadChecksum);
    }
    quotation(packet, icmp)
}

/// What an ICMPv6 error is about. `packet` starts with its IPv6 header.
///
/// # Errors
/// [`NoQuote`].
pub fn quoted_v6(packet: &[u8]) -> Result<Quoted, NoQuote> {
    let header: &[u8; IPV6] = packet.first_chunk().ok_or(NoQuote::Truncated)?;
    let packet = packet.get(..IPV6 + be16(header, 4) as usize).ok_or(NoQuote::Truncated)?;
    let upper = ipv6::upper(packet).map_err(|stuck| match stuck {
        ipv6::Stuck::Truncated | ipv6::Stuck::Tiny => NoQuote::Truncated,
        _ => NoQuote::NotAnError,
    })?;
    if upper.next != ICMP_V6 {
        return Err(NoQuote::NotAnError);
    }
    if upper.fragment.is_some() {
        return Err(NoQuote::Fragment);
    }
    let message = packet.get(upper.at..).filter(|message| message.len() >= ICMP).ok_or(NoQuote::Truncated)?;
    if message[0] >= v6::FIRST_MESSAGE {
        return Err(NoQuote::NotAnError);
    }
    if of_message_v6(be128(header, 8), be128(header, 24), message) != 0 {
        return Err(NoQuote::BadChecksum);
    }
    quotation(packet, upper.at)
}

/// The packet quoted by the message at `icmp`, or the one inside that.
fn quotation(packet: &[u8], icmp: usize) -> Result<Quoted, NoQuote> {
    let mut ip = icmp + ICMP;
    let mut found = layer(packet, ip)?;
    let mut outer = None;
    if let Layer::Tunnel { inner } = found {
        outer = Some(Outer { ip: ip as u16, len: (inner - ip) as u16 });
        ip = inner;
        found = layer(packet, ip)?;
    }
    let Layer::Transport { key, l4 } = found else { return Err(NoQuote::OtherProtocol) };
    Ok(Quoted {
        kind: (packet[icmp], packet[icmp + 1]),
        word: be32(packet, icmp + 4),
        icmp: icmp as u16,
        end: packet.len() as u16,
        outer,
        key,
        ip: ip as u16,
        l4: l4 as u16,
    })
}

/// What a quoted IP header stands before.
enum Layer {
    Transport { key: FlowKey, l4: usize },
    Tunnel { inner: usize },
}

/// Reads the IP header at `ip`. Lengths and checksums in it are not looked at: who quotes may have cut and changed it.
fn layer(packet: &[u8], ip: usize) -> Result<Layer, NoQuote> {
    let quote = packet.get(ip..).ok_or(NoQuote::Truncated)?;
    let (next, len) = match quote.first().ok_or(NoQuote::Truncated)? >> 4 {
        4 => end_of_v4(quote)?,
        6 => end_of_v6(quote)?,
        _ => return Err(NoQuote::BadQuote),
    };
    if next == IPIP || next == IPV6_IN_IP {
        return Ok(Layer::Tunnel { inner: ip + len });
    }
    let proto = Proto::from_number(next).ok_or(NoQuote::OtherProtocol)?;
    if quote.len() < len + 8 {
        return Err(NoQuote::Truncated);
    }
    let (sport, dport) = (be16(quote, len), be16(quote, len + 2));
    let key = match quote[0] >> 4 {
        4 => FlowKey::v4(proto, be32(quote, 12), be32(quote, 16), sport, dport),
        _ => FlowKey::v6(proto, be128(quote, 8), be128(quote, 24), sport, dport),
    };
    Ok(Layer::Transport { key, l4: ip + len })
}

/// What follows a quoted IPv4 header, and where.
fn end_of_v4(quote: &[u8]) -> Result<(u8, usize), NoQuote> {
    let header: &[u8; IPV4] = quote.first_chunk().ok_or(NoQuote::Truncated)?;
    let len = (header[0] & 15) as usize * 4;
    if len < IPV4 {
        return Err(NoQuote::BadQuote);
    }
    if be16(header, 6) & 0x1fff > 0 {
        return Err(NoQuote::QuotedFragment);
    }
    Ok((header[9], len))
}

fn end_of_v6(quote: &[u8]) -> Result<(u8, usize), NoQuote> {
    match ipv6::upper(quote) {
        Ok(upper) if upper.fragment.is_some_and(|fragment| fragment.offset > 0) => {
            Err(NoQuote::QuotedFragment)
        }
        Ok(upper) => Ok((upper.next, upper.at)),
        Err(ipv6::Stuck::Truncated | ipv6::Stuck::Tiny) => Err(NoQuote::Truncated),
        Err(_) => Err(NoQuote::BadQuote),
    }
}
