//! Floor 0: the vocabulary of the field, as plain values. Imports nothing but `std`.
//!
//! Everything here holds IPv4 and IPv6 alike. Addresses and ports are in host order; only `wire` knows
//! network order.

mod endpoint;
mod prefix;
mod sctp;
mod time;

pub use endpoint::Endpoint;
pub use prefix::{ParsePrefixError, Prefix, is_link_local, mask};
pub use sctp::SctpEvent;
pub use time::{Moment, Tick};

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An Ethernet address, in the order it has on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address of nobody: what an interface without a link layer has.
    pub const ZERO: Mac = Mac([0; 6]);
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Mac, ParseMacError> {
        let mut octets = [0; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts.next().filter(|p| p.len() == 2).ok_or(ParseMacError)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| ParseMacError)?;
        }
        if parts.next().is_some() { Err(ParseMacError) } else { Ok(Mac(octets)) }
    }
}

/// A text that is not six pairs of hexadecimal digits between colons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseMacError;

impl fmt::Display for ParseMacError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a MAC address is written as six pairs of hexadecimal digits, such as 02:00:00:00:00:01")
    }
}

impl std::error::Error for ParseMacError {}

/// A transport protocol that lvx balances, by its IP protocol number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Proto {
    /// TCP, RFC 9293.
    Tcp = 6,
    /// UDP, RFC 768.
    Udp = 17,
    /// SCTP, RFC 9260.
    Sctp = 132,
}

impl Proto {
    /// All that lvx balances.
    pub const ALL: [Proto; 3] = [Proto::Tcp, Proto::Udp, Proto::Sctp];

    /// As configurations and keys have it; listings have it in capitals, as it is displayed.
    pub const fn word(self) -> &'static str {
        match self {
            Proto::Tcp => "tcp",
            Proto::Udp => "udp",
            Proto::Sctp => "sctp",
        }
    }

    /// The protocol of an IP header's protocol field, if lvx balances it.
    pub const fn from_number(number: u8) -> Option<Proto> {
        match number {
            6 => Some(Proto::Tcp),
            17 => Some(Proto::Udp),
            132 => Some(Proto::Sctp),
            _ => None,
        }
    }
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Proto::Tcp => "TCP",
            Proto::Udp => "UDP",
            Proto::Sctp => "SCTP",
        })
    }
}

impl FromStr for Proto {
    type Err = ParseProtoError;

    /// `tcp`, or `TCP`.
    fn from_str(text: &str) -> Result<Proto, ParseProtoError> {
        Proto::ALL.into_iter().find(|proto| proto.word().eq_ignore_ascii_case(text)).ok_or(ParseProtoError)
    }
}

/// A text that names no protocol that lvx balances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseProtoError;

impl fmt::Display for ParseProtoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is unknown (allowed: tcp, udp, sctp)")
    }
}

impl std::error::Error for ParseProtoError {}

/// Whose a key is. A packet's has no mark, so that no packet, whatever its ports, has the key of anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Mark {
    /// A packet's, and its connection's.
    Packet = 0,
    /// A persistence template's: the client's network and port 0, to VIP:vport, or VIP:0.
    Template = 1,
    /// The template of a group of virtual services: the client's network and port 0, to the group's number as an
    /// address.
    GroupTemplate = 2,
    /// A connection's whose client port is not known yet, and stands as 0.
    Expected = 3,
}

/// The directed five-tuple of a packet: who sent it, to whom, over which protocol. 40 bytes.
///
/// ```text
/// words   IPv4: [src << 32 | dst, 0, 0, 0]      IPv6: [src high, src low, dst high, dst low]
/// tail    src port << 48 | dst port << 32 | mark << 16 | protocol << 8 | family (4 or 6)
/// ```
///
/// The layout is chosen for the connection table: an IPv4 key differs from another only in the first
/// word and the tail, so that comparing and hashing it costs two words; the family in the tail keeps
/// the two kinds apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowKey {
    words: [u64; 4],
    tail: u64,
}

impl FlowKey {
    /// The key of a packet from `src` to `dst`. Both should be of one family: an IPv4 address beside an IPv6 one
    /// is taken in its mapped form.
    pub fn new(proto: Proto, src: Endpoint, dst: Endpoint) -> FlowKey {
        match (src.addr, dst.addr) {
            (IpAddr::V4(s), IpAddr::V4(d)) => {
                FlowKey::v4(proto, s.to_bits(), d.to_bits(), src.port, dst.port)
            }
            (s, d) => FlowKey::v6(proto, to_v6(s).to_bits(), to_v6(d).to_bits(), src.port, dst.port),
        }
    }

    /// The key of an IPv4 packet, all in host order.
    #[inline]
    pub const fn v4(proto: Proto, src: u32, dst: u32, sport: u16, dport: u16) -> FlowKey {
        FlowKey { words: [(src as u64) << 32 | dst as u64, 0, 0, 0], tail: tail(proto, sport, dport, 4) }
    }

    /// The same with both ports in one, as they stand in the header: the source's in the upper half.
    #[inline]
    pub const fn v4_ports(proto: Proto, src: u32, dst: u32, ports: u32) -> FlowKey {
        let tail = (ports as u64) << 32 | (proto as u64) << 8 | 4;
        FlowKey { words: [(src as u64) << 32 | dst as u64, 0, 0, 0], tail }
    }

    /// The key of an IPv6 packet, all in host order.
    #[inline]
    pub const fn v6(proto: Proto, src: u128, dst: u128, sport: u16, dport: u16) -> FlowKey {
        let words = [(src >> 64) as u64, src as u64, (dst >> 64) as u64, dst as u64];
        FlowKey { words, tail: tail(proto, sport, dport, 6) }
    }

    /// The key whose words these are, as [`FlowKey::words`] and [`FlowKey::tail`] gave them; `None` if
    /// the tail names no protocol or family of ours.
    pub const fn from_words(words: [u64; 4], tail: u64) -> Option<FlowKey> {
        match (Proto::from_number((tail >> 8) as u8), tail as u8) {
            (Some(_), 4 | 6) => Some(FlowKey { words, tail }),
            _ => None,
        }
    }

    /// The same key as that of something which is no packet's connection.
    #[must_use]
    pub const fn marked(mut self, mark: Mark) -> FlowKey {
        self.tail = self.tail & !(0xffff << 16) | (mark as u64) << 16;
        self
    }

    /// Whose key it is.
    pub const fn mark(&self) -> Mark {
        match self.tail >> 16 & 0xffff {
            0 => Mark::Packet,
            1 => Mark::Template,
            2 => Mark::GroupTemplate,
            _ => Mark::Expected,
        }
    }

    /// The four address words.
    #[inline]
    pub const fn words(&self) -> &[u64; 4] {
        &self.words
    }

    /// Ports, protocol and family.
    #[inline]
    pub const fn tail(&self) -> u64 {
        self.tail
    }

    /// Whether this is an IPv4 key.
    #[inline]
    pub const fn is_v4(&self) -> bool {
        self.tail as u8 == 4
    }

    /// The transport protocol.
    #[inline]
    pub const fn proto(&self) -> Proto {
        // A bit of 132 that neither 6 nor 17 has.
        if self.tail >> 8 & 0x80 != 0 { Proto::Sctp } else { self.tcp_or_udp() }
    }

    /// The transport protocol of a key that is not one of SCTP.
    #[inline]
    pub const fn tcp_or_udp(&self) -> Proto {
        // The one bit that tells 6 from 17.
        if self.tail >> 8 & 2 != 0 { Proto::Tcp } else { Proto::Udp }
    }

    /// The addressee's end of an IPv4 key, as plain numbers.
    #[inline]
    pub const fn dst_v4(&self) -> (u32, u16) {
        (self.words[0] as u32, (self.tail >> 32) as u16)
    }

    /// The sender's end of an IPv4 key, as plain numbers.
    #[inline]
    pub const fn src_v4(&self) -> (u32, u16) {
        ((self.words[0] >> 32) as u32, (self.tail >> 48) as u16)
    }

    /// The sender's end of an IPv6 key, as plain numbers.
    #[inline]
    pub const fn src_v6(&self) -> (u128, u16) {
        ((self.words[0] as u128) << 64 | self.words[1] as u128, (self.tail >> 48) as u16)
    }

    /// The addressee's end of an IPv6 key, as plain numbers.
    #[inline]
    pub const fn dst_v6(&self) -> (u128, u16) {
        ((self.words[2] as u128) << 64 | self.words[3] as u128, (self.tail >> 32) as u16)
    }

    /// The sender's end.
    pub fn src(&self) -> Endpoint {
        let [a, b, ..] = self.words;
        let addr = if self.is_v4() { v4((a >> 32) as u32) } else { v6(a, b) };
        Endpoint::new(addr, (self.tail >> 48) as u16)
    }

    /// The addressee's end.
    pub fn dst(&self) -> Endpoint {
        let [a, _, c, d] = self.words;
        let addr = if self.is_v4() { v4(a as u32) } else { v6(c, d) };
        Endpoint::new(addr, (self.tail >> 32) as u16)
    }

    /// The key of a packet in the other direction between the same two ends.
    pub const fn reversed(&self) -> FlowKey {
        let [a, b, c, d] = self.words;
        let words = if self.is_v4() { [a.rotate_left(32), 0, 0, 0] } else { [c, d, a, b] };
        let ports = (self.tail >> 32) as u32;
        FlowKey { words, tail: (ports.rotate_left(16) as u64) << 32 | (self.tail & 0xffff_ffff) }
    }
}

const fn tail(proto: Proto, sport: u16, dport: u16, family: u8) -> u64 {
    (sport as u64) << 48 | (dport as u64) << 32 | (proto as u64) << 8 | family as u64
}

fn v4(bits: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(bits))
}

fn v6(high: u64, low: u64) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from_bits((high as u128) << 64 | low as u128))
}

fn to_v6(addr: IpAddr) -> Ipv6Addr {
    match addr {
        IpAddr::V4(a) => a.to_ipv6_mapped(),
        IpAddr::V6(a) => a,
    }
}

impl fmt::Display for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} > {}", self.proto(), self.src(), self.dst())
    }
}

impl fmt::Debug for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which way a packet of a connection goes, as the director sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the virtual service (IPVS: input).
    Original,
    /// From the real server back to the client (IPVS: output). Seen in NAT only.
    Reply,
}

/// The flags of a TCP segment, as byte 13 of its header holds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: TcpFlags = TcpFlags(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: TcpFlags = TcpFlags(0x02);
    /// Reset the connection.
    pub const RST: TcpFlags = TcpFlags(0x04);
    /// Push.
    pub const PSH: TcpFlags = TcpFlags(0x08);
    /// The acknowledgement field is significant.
    pub const ACK: TcpFlags = TcpFlags(0x10);

    /// Whether every flag of `other` is set.
    #[inline]
    pub const fn has(self, other: TcpFlags) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for TcpFlags {
    type Output = TcpFlags;

    fn bitor(self, other: TcpFlags) -> TcpFlags {
        TcpFlags(self.0 | other.0)
    }
}

/// How far one direction of a TCP stream is shifted of which bytes were replaced by more or fewer: as of the last segment
/// that was changed, and before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shift {
    /// The sender's number of the last segment that changed its length.
    at: u32,
    before: u32,
    after: u32,
}

impl Shift {
    /// Whether nothing is shifted.
    pub fn is_none(&self) -> bool {
        (self.before, self.after) == (0, 0)
    }

    /// The segment that the sender numbers `seq` has become longer by so many bytes, or shorter. Sent again, it changes
    /// nothing anew.
    pub fn changed(&mut self, seq: u32, by: i32) {
        let is_first = self.is_none();
        if by != 0 && (is_first || is_after(seq, self.at)) {
            *self = Shift { at: seq, before: self.after, after: self.after.wrapping_add_signed(by) };
        }
    }

    /// What a sender's number is to the receiver.
    pub fn forth(&self, seq: u32) -> u32 {
        seq.wrapping_add(if is_after(seq, self.at) { self.after } else { self.before })
    }

    /// What a receiver's number is to the sender.
    pub fn back(&self, ack: u32) -> u32 {
        let is_behind = is_after(ack.wrapping_sub(self.before), self.at);
        ack.wrapping_sub(if is_behind { self.after } else { self.before })
    }
}

/// Whether `a` comes after `b` (RFC 9293, 3.4).
fn is_after(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}

/// An interface that lvx works on: its place in the configuration's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceId(pub u16);

impl InterfaceId {
    /// None of these: where the director's own probes come in, and their answers leave.
    pub const PROBES: InterfaceId = InterfaceId(u16::MAX);

    /// The place in the list.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(text: &str) -> Endpoint {
        text.parse().unwrap()
    }

    #[test]
    fn a_key_gives_back_the_ends_it_was_made_of_in_both_families() {
        for (a, b) in [("192.0.2.1:40000", "10.0.0.1:80"), ("[2001:db8::1]:40000", "[2001:db8::2]:80")] {
            let key = FlowKey::new(Proto::Udp, end(a), end(b));
            assert_eq!((key.proto(), key.src(), key.dst()), (Proto::Udp, end(a), end(b)));
            assert_eq!(key.reversed(), FlowKey::new(Proto::Udp, end(b), end(a)));
            assert_eq!(FlowKey::from_words(*key.words(), key.tail()), Some(key));
        }
    }

    #[test]
    fn a_marked_key_is_no_packets_and_keeps_its_ends() {
        for (a, b) in [("192.0.2.1:0", "10.0.0.1:80"), ("[2001:db8::1]:0", "[2001:db8::2]:80")] {
            let key = FlowKey::new(Proto::Tcp, end(a), end(b));
            for mark in [Mark::Template, Mark::GroupTemplate, Mark::Expected] {
                let marked = key.marked(mark);
                assert_ne!(marked, key);
                assert_eq!((marked.mark(), marked.src(), marked.dst()), (mark, end(a), end(b)));
                assert_eq!(FlowKey::from_words(*marked.words(), marked.tail()), Some(marked));
                assert_eq!((marked.marked(Mark::Packet), key.mark()), (key, Mark::Packet));
            }
        }
    }

    #[test]
    fn keys_of_two_protocols_or_families_differ() {
        let (a, b) = (end("0.0.0.1:1"), end("0.0.0.2:2"));
        assert_ne!(FlowKey::new(Proto::Tcp, a, b), FlowKey::new(Proto::Udp, a, b));
        let (a6, b6) = (end("[::1]:1"), end("[::2]:2"));
        assert_ne!(FlowKey::new(Proto::Tcp, a, b), FlowKey::new(Proto::Tcp, a6, b6));
    }

    #[test]
    fn numbers_are_shifted_behind_a_change_and_back_again() {
        let mut shift = Shift::default();
        assert!(shift.is_none());
        shift.changed(1000, 5);
        // 50 bytes of the sender's became 55.
        assert_eq!([900, 1000, 1050].map(|seq| shift.forth(seq)), [900, 1000, 1055]);
        assert_eq!([900, 1000, 1055, 1100].map(|ack| shift.back(ack)), [900, 1000, 1050, 1095]);
        let before = shift;
        shift.changed(1000, 5);
        assert_eq!(shift, before, "sent again");
        shift.changed(2000, -7);
        assert_eq!([1050, 2000, 2050].map(|seq| shift.forth(seq)), [1055, 2005, 2048]);
        assert_eq!([2005, 2048].map(|ack| shift.back(ack)), [2000, 2050]);
        shift.changed(1000, 5);
        assert_eq!(shift.forth(2050), 2048, "an old one sent again");
        let mut wraps = Shift::default();
        wraps.changed(u32::MAX - 10, 20);
        assert_eq!((wraps.forth(5), wraps.back(25)), (25, 5));
    }

    #[test]
    fn a_mac_is_read_as_it_is_written_and_nothing_else_is() {
        assert_eq!("02:00:00:00:0a:ff".parse::<Mac>().unwrap().to_string(), "02:00:00:00:0a:ff");
        for bad in ["", "02:00:00:00:00", "02:00:00:00:00:00:00", "0200:00:00:00:00", "g2:00:00:00:00:00"] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }
}
