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

/// Which end of a packet a rewrite changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Source address and port.
    Src,
    /// Destination address and port.
    Dst,
}

/// An IPv4 address and a port, in host order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct V4End {
    /// The address.
    pub addr: u32,
    /// The port.
    pub port: u16,
}

/// Takes a hop off the IPv4 TTL, which must be above 0.
#[inline]
pub fn decrement_ttl(frame: &mut [u8]) {
    if let Some(head) = frame.first_chunk_mut() {
        take_hop(head, Change::default());
    }
}

/// Sends the packet a hop on: destination and source MAC, in wire order, and a hop off the TTL.
#[inline]
pub fn route(frame: &mut [u8], macs: &[u8; 12]) {
    if let Some(head) = frame.first_chunk_mut::<{ ETHERNET + IPV4 }>() {
        head[..12].copy_from_slice(macs);
        take_hop(head, Change::default());
    }
}

/// Sends the packet a hop on and replaces one of its ends. The transport header, TCP or UDP, starts at `l4`.
///
/// The IP checksum and the transport checksum follow; a UDP checksum of 0 (none) stays 0, and one that comes out
/// as 0 is sent as 0xffff (RFC 768).
#[inline]
pub fn translate(frame: &mut [u8], macs: &[u8; 12], l4: usize, proto: Proto, end: End, new: V4End) {
    let Some((head, rest)) = frame.split_first_chunk_mut::<{ ETHERNET + IPV4 }>() else { return };
    let segment = l4.checked_sub(head.len()).and_then(|options| rest.get_mut(options..));
    let Some(segment) = segment else { return };
    let at = if end == End::Src { ETHERNET + 12 } else { ETHERNET + 16 };
    let old = [head[at], head[at + 1], head[at + 2], head[at + 3]];
    let address = Change::default().long(u32::from_be_bytes(old), new.addr);
    let done = match proto {
        Proto::Tcp => segment.first_chunk_mut().is_some_and(|tcp| translate_tcp(tcp, end, new.port, address)),
        Proto::Udp => segment.first_chunk_mut().is_some_and(|udp| translate_udp(udp, end, new.port, address)),
    };
    if done {
        head[at..at + 4].copy_from_slice(&new.addr.to_be_bytes());
        head[..12].copy_from_slice(macs);
        take_hop(head, address);
    }
}

#[inline]
fn translate_tcp(tcp: &mut [u8; 18], end: End, port: u16, address: Change) -> bool {
    let old = u16::from_be_bytes([tcp[16], tcp[17]]);
    let new = replace_port(tcp, end, port, address).applied_to(old);
    tcp[16..18].copy_from_slice(&new.to_be_bytes());
    true
}

#[inline]
fn translate_udp(udp: &mut [u8; 8], end: End, port: u16, address: Change) -> bool {
    let old = u16::from_be_bytes([udp[6], udp[7]]);
    let new = match replace_port(udp, end, port, address).applied_to(old) {
        _ if old == 0 => 0,
        0 => 0xffff,
        new => new,
    };
    udp[6..8].copy_from_slice(&new.to_be_bytes());
    true
}

/// Replaces a port; what the transport checksum sees of it, together with the address.
#[inline]
fn replace_port<const N: usize>(transport: &mut [u8; N], end: End, port: u16, address: Change) -> Change {
    let at = if end == End::Src { 0 } else { 2 };
    let old = u16::from_be_bytes([transport[at], transport[at + 1]]);
    transport[at..at + 2].copy_from_slice(&port.to_be_bytes());
    address.word(old, port)
}

/// Takes a hop off and mends the IP checksum for it and for `also`.
#[inline]
fn take_hop(head: &mut Head, also: Change) {
    let (ttl, proto) = (head[TTL], head[TTL + 1]);
    let left = ttl.wrapping_sub(1);
    let change = also.word(u16::from_be_bytes([ttl, proto]), u16::from_be_bytes([left, proto]));
    let checksum = change.applied_to(u16::from_be_bytes([head[CHECKSUM], head[CHECKSUM + 1]]));
    head[TTL] = left;
    head[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
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
        translate(&mut frame, &MACS, 34, Proto::Udp, End::Dst, V4End { addr: 99, port: 98 });
        assert_eq!(udp_checksum(&frame), 0);
    }

    #[test]
    fn a_udp_checksum_that_comes_out_as_zero_is_sent_as_ones() {
        // Of 65,536 ports one makes the checksum 0.
        let hit = (0..=u16::MAX).any(|port| {
            let mut frame = packet(Proto::Udp, 0x0a00_0001, 0x0a00_0002, 1000, 53, 64, b"hello");
            translate(&mut frame, &MACS, 34, Proto::Udp, End::Src, V4End { addr: 0xc000_0201, port });
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
            translate(&mut frame, &MACS, 34, proto, end, V4End { addr, port });
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
            translate(&mut frame, &MACS, l4, Proto::Tcp, End::Src, V4End::default());
            translate(&mut frame, &MACS, l4, Proto::Udp, End::Dst, V4End::default());
        }
    }
}
