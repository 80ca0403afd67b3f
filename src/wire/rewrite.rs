//! Rewrites headers in place: MACs, TTL, addresses and ports, with checksums kept right by difference.
//!
//! The caller has parsed the frame ([`super::parse`]), so that the offsets lie inside it; a frame too short for a
//! change is left as it is rather than read past its end.

use super::checksum::Change;
use super::{ETHERNET, IPV4};
use crate::net::Proto;

/// Ethernet and IPv4 header, its options not included: every place in it is known to be there.
type Head = [u8; ETHERNET + IPV4];

const TTL: usize = ETHERNET + 8;
const CHECKSUM: usize = ETHERNET + 10;

/// An IPv4 address and a port, in host order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct V4End {
    /// The address.
    pub addr: u32,
    /// The port.
    pub port: u16,
}

/// One end of a packet replaced by another, with the difference it makes to checksums worked out beforehand: which
/// is the same for all packets between a virtual service and one of its servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Translation {
    address: [u8; 4],
    port: [u8; 2],
    /// To the IP checksum, the hop taken off the TTL included.
    to_ip: Change,
    /// To the checksum of TCP or UDP.
    to_transport: Change,
}

impl Translation {
    /// Packets that have `old` at one end get `new`.
    pub const fn new(old: V4End, new: V4End) -> Translation {
        let address = Change::NONE.long(old.addr, new.addr);
        Translation {
            address: new.addr.to_be_bytes(),
            port: new.port.to_be_bytes(),
            to_ip: address.and(ONE_HOP),
            to_transport: address.word(old.port, new.port),
        }
    }

    /// What the end becomes.
    pub const fn end(&self) -> V4End {
        V4End { addr: u32::from_be_bytes(self.address), port: u16::from_be_bytes(self.port) }
    }
}

/// Where an end's address stands in the frame, and its port in the transport header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Source address and port.
    Src,
    /// Destination address and port.
    Dst,
}

/// What taking a hop off the TTL makes of the IP checksum, whatever the TTL was.
const ONE_HOP: Change = Change::NONE.word(0x0100, 0x0000);

/// Takes a hop off the IPv4 TTL, which must be above 0.
#[inline]
pub fn decrement_ttl(frame: &mut [u8]) {
    if let Some(head) = frame.first_chunk_mut() {
        take_hop(head, ONE_HOP);
    }
}

/// Sends the packet a hop on: destination and source MAC, in wire order, and a hop off the TTL, which must be
/// above 0.
#[inline]
pub fn route(frame: &mut [u8], macs: &[u8; 12]) {
    if let Some(head) = frame.first_chunk_mut::<{ ETHERNET + IPV4 }>() {
        head[..12].copy_from_slice(macs);
        take_hop(head, ONE_HOP);
    }
}

/// Sends the packet a hop on as [`route`] does, and replaces one of its ends. The transport header, TCP or UDP,
/// starts at `l4`.
///
/// A UDP checksum of 0 (none) stays 0, and one that comes out as 0 is sent as 0xffff (RFC 768).
#[inline(always)]
pub fn translate(frame: &mut [u8], macs: &[u8; 12], l4: usize, proto: Proto, end: End, to: &Translation) {
    if replace_port(frame, l4, proto, end, to.port, to.to_transport) {
        translate_address(frame, macs, end, to);
    }
}

/// The same for a packet whose transport header is not in it: a fragment other than the first.
#[inline(always)]
pub fn translate_address(frame: &mut [u8], macs: &[u8; 12], end: End, to: &Translation) {
    let address_at = if end == End::Src { ETHERNET + 12 } else { ETHERNET + 16 };
    let Some(head) = frame.first_chunk_mut::<{ ETHERNET + IPV4 }>() else { return };
    head[..12].copy_from_slice(macs);
    head[address_at..address_at + 4].copy_from_slice(&to.address);
    take_hop(head, to.to_ip);
}

/// Replaces the port at one end of the transport header at `l4`, and mends the checksum for all that changes.
/// `false` if the frame is too short.
#[inline(always)]
pub(super) fn replace_port(
    frame: &mut [u8],
    l4: usize,
    proto: Proto,
    end: End,
    port: [u8; 2],
    change: Change,
) -> bool {
    let port_at = if end == End::Src { 0 } else { 2 };
    match proto {
        Proto::Tcp => {
            let Some(tcp) = frame.get_mut(l4..l4 + 18) else { return false };
            tcp[port_at..port_at + 2].copy_from_slice(&port);
            let checksum = change.applied_to([tcp[16], tcp[17]]);
            tcp[16..].copy_from_slice(&checksum);
        }
        Proto::Udp => {
            let Some(udp) = frame.get_mut(l4..l4 + 8) else { return false };
            udp[port_at..port_at + 2].copy_from_slice(&port);
            let checksum = match change.applied_to([udp[6], udp[7]]) {
                _ if udp[6..] == [0, 0] => [0, 0],
                [0, 0] => [0xff, 0xff],
                checksum => checksum,
            };
            udp[6..].copy_from_slice(&checksum);
        }
    }
    true
}

/// Takes a hop off and mends the IP checksum for all that has changed.
#[inline]
fn take_hop(head: &mut Head, change: Change) {
    head[TTL] = head[TTL].wrapping_sub(1);
    let checksum = change.applied_to([head[CHECKSUM], head[CHECKSUM + 1]]);
    head[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
    use proptest::prelude::*;

    fn packet(proto: Proto, src: u32, dst: u32, sport: u16, dport: u16, ttl: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        let ip = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(src.to_be_bytes(), dst.to_be_bytes(), ttl);
        match proto {
            Proto::Tcp => ip.tcp(sport, dport, 9, 512).ack(3).write(&mut frame, payload).unwrap(),
            Proto::Udp => ip.udp(sport, dport).write(&mut frame, payload).unwrap(),
        }
        frame
    }

    const MACS: [u8; 12] = *b"abcdefghijkl";

    fn udp_checksum(frame: &[u8]) -> u16 {
        match SlicedPacket::from_ethernet(frame).unwrap().transport {
            Some(TransportSlice::Udp(udp)) => udp.checksum(),
            other => panic!("not UDP: {other:?}"),
        }
    }

    #[test]
    fn a_udp_checksum_of_none_stays_none() {
        let mut frame = packet(Proto::Udp, 1, 2, 3, 4, 64, b"hello");
        frame[40..42].fill(0);
        let old = V4End { addr: 2, port: 4 };
        let to = Translation::new(old, V4End { addr: 99, port: 98 });
        translate(&mut frame, &MACS, 34, Proto::Udp, End::Dst, &to);
        assert_eq!(udp_checksum(&frame), 0);
    }

    #[test]
    fn a_udp_checksum_that_comes_out_as_zero_is_sent_as_ones() {
        // Of 65,536 ports one makes the checksum 0.
        let hit = (0..=u16::MAX).any(|port| {
            let mut frame = packet(Proto::Udp, 0x0a00_0001, 0x0a00_0002, 1000, 53, 64, b"hello");
            let old = V4End { addr: 0x0a00_0001, port: 1000 };
            let to = Translation::new(old, V4End { addr: 0xc000_0201, port });
            translate(&mut frame, &MACS, 34, Proto::Udp, End::Src, &to);
            assert_ne!(udp_checksum(&frame), 0);
            udp_checksum(&frame) == 0xffff
        });
        assert!(hit);
    }

    proptest! {
        #[test]
        fn a_rewritten_packet_is_the_packet_etherparse_builds(
            is_tcp: bool, is_dst: bool, src: u32, dst: u32, sport: u16, dport: u16, ttl in 2u8..,
            addr: u32, port: u16, payload in proptest::collection::vec(any::<u8>(), 0..50),
        ) {
            let proto = if is_tcp { Proto::Tcp } else { Proto::Udp };
            let end = if is_dst { End::Dst } else { End::Src };
            let mut frame = packet(proto, src, dst, sport, dport, ttl, &payload);
            let mut routed = frame.clone();
            let old = if is_dst { V4End { addr: dst, port: dport } } else { V4End { addr: src, port: sport } };
            translate(&mut frame, &MACS, 34, proto, end, &Translation::new(old, V4End { addr, port }));
            let mut expected = match end {
                End::Src => packet(proto, addr, dst, port, dport, ttl - 1, &payload),
                End::Dst => packet(proto, src, addr, sport, port, ttl - 1, &payload),
            };
            expected[..12].copy_from_slice(&MACS);
            prop_assert_eq!(frame, expected);
            route(&mut routed, &MACS);
            let mut expected = packet(proto, src, dst, sport, dport, ttl - 1, &payload);
            expected[..12].copy_from_slice(&MACS);
            prop_assert_eq!(routed, expected);
        }

        #[test]
        fn any_bytes_are_rewritten_without_a_panic(
            mut frame in proptest::collection::vec(any::<u8>(), 0..80), l4 in 0usize..100,
        ) {
            route(&mut frame, &MACS);
            decrement_ttl(&mut frame);
            let to = Translation::new(V4End::default(), V4End { addr: 1, port: 2 });
            translate(&mut frame, &MACS, l4, Proto::Tcp, End::Src, &to);
            translate(&mut frame, &MACS, l4, Proto::Udp, End::Dst, &to);
        }
    }
}
