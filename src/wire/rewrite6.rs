//! Rewrites IPv6 headers in place, as [`super::rewrite`] does IPv4's: MACs, hop limit, addresses and ports. IPv6 has
//! no header checksum; that of TCP and UDP is kept right by difference.
//!
//! The caller has parsed the frame and knows where the transport header starts, behind however many extension
//! headers; a frame too short for a change is left as it is rather than read past its end.

use super::checksum::Change;
use super::rewrite::{End, replace_port};
use super::{ETHERNET, IPV6};
use crate::net::Proto;

const HOP_LIMIT: usize = ETHERNET + 7;

/// An IPv6 address and a port, in host order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct V6End {
    /// The address.
    pub addr: u128,
    /// The port.
    pub port: u16,
}

/// One end of a packet replaced by another, with the difference that it makes to the checksum of TCP or UDP, whose
/// pseudo-header holds the addresses (RFC 8200, 8.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Translation6 {
    address: [u8; 16],
    port: [u8; 2],
    to_transport: Change,
}

impl Translation6 {
    /// Packets that have `old` at one end get `new`.
    pub const fn new(old: V6End, new: V6End) -> Translation6 {
        Translation6 {
            address: new.addr.to_be_bytes(),
            port: new.port.to_be_bytes(),
            to_transport: address_change(old.addr, new.addr).word(old.port, new.port),
        }
    }

    /// What the end becomes.
    pub const fn end(&self) -> V6End {
        V6End { addr: u128::from_be_bytes(self.address), port: u16::from_be_bytes(self.port) }
    }
}

/// What one address in place of another means for a checksum that covers it.
const fn address_change(old: u128, new: u128) -> Change {
    Change::NONE
        .long((old >> 96) as u32, (new >> 96) as u32)
        .long((old >> 64) as u32, (new >> 64) as u32)
        .long((old >> 32) as u32, (new >> 32) as u32)
        .long(old as u32, new as u32)
}

/// Takes a hop off the hop limit, which must be above 0.
#[inline]
pub fn decrement_hop_limit(frame: &mut [u8]) {
    if let Some(hops) = frame.get_mut(HOP_LIMIT) {
        *hops = hops.wrapping_sub(1);
    }
}

/// Sends the packet a hop on: destination and source MAC, in wire order, and a hop off the hop limit, which must be
/// above 0.
#[inline]
pub fn route(frame: &mut [u8], macs: &[u8; 12]) {
    if let Some(head) = frame.first_chunk_mut::<{ ETHERNET + IPV6 }>() {
        head[..12].copy_from_slice(macs);
        head[HOP_LIMIT] = head[HOP_LIMIT].wrapping_sub(1);
    }
}

/// Sends the packet a hop on as [`route`] does, and replaces one of its ends. The transport header, TCP or UDP,
/// starts at `l4`.
///
/// A UDP checksum that comes out as 0 is sent as 0xffff. One of 0 stays 0: a receiver that takes such packets
/// (RFC 6935 lets it, for tunnels) goes on taking them, and any other goes on refusing them.
#[inline(always)]
pub fn translate(frame: &mut [u8], macs: &[u8; 12], l4: usize, proto: Proto, end: End, to: &Translation6) {
    if replace_port(frame, l4, proto, end, to.port, to.to_transport) {
        translate_address(frame, macs, end, to);
    }
}

/// The same for a packet whose transport header is not in it: a fragment other than the first.
#[inline(always)]
pub fn translate_address(frame: &mut [u8], macs: &[u8; 12], end: End, to: &Translation6) {
    let address_at = if end == End::Src { ETHERNET + 8 } else { ETHERNET + 24 };
    let Some(head) = frame.first_chunk_mut::<{ ETHERNET + IPV6 }>() else { return };
    head[..12].copy_from_slice(macs);
    head[address_at..address_at + 16].copy_from_slice(&to.address);
    head[HOP_LIMIT] = head[HOP_LIMIT].wrapping_sub(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{IpHeaders, IpNumber, Ipv6Extensions, Ipv6Header, Ipv6RawExtHeader, PacketBuilder};
    use proptest::prelude::*;

    const MACS: [u8; 12] = *b"abcdefghijkl";

    /// Two ends, hops, and perhaps destination options of so many times eight bytes.
    #[derive(Debug, Clone, Copy)]
    struct Shape {
        src: V6End,
        dst: V6End,
        hops: u8,
        options: usize,
    }

    fn packet(proto: Proto, shape: Shape, payload: &[u8]) -> Vec<u8> {
        let Shape { src, dst, hops, options } = shape;
        let options = (options > 0).then(|| {
            Ipv6RawExtHeader::new_raw(IpNumber::TCP, &vec![0; options * 8 - 2]).expect("a length of its kind")
        });
        let header = Ipv6Header {
            hop_limit: hops,
            source: src.addr.to_be_bytes(),
            destination: dst.addr.to_be_bytes(),
            ..Ipv6Header::default()
        };
        let extensions = Ipv6Extensions { destination_options: options, ..Ipv6Extensions::default() };
        let ip = PacketBuilder::ethernet2([2; 6], [4; 6]).ip(IpHeaders::Ipv6(header, extensions));
        let mut frame = Vec::new();
        match proto {
            Proto::Tcp => ip.tcp(src.port, dst.port, 9, 512).ack(3).write(&mut frame, payload).unwrap(),
            Proto::Udp => ip.udp(src.port, dst.port).write(&mut frame, payload).unwrap(),
        }
        frame
    }

    fn any_end() -> impl Strategy<Value = V6End> {
        (any::<u128>(), any::<u16>()).prop_map(|(addr, port)| V6End { addr, port })
    }

    const SHAPE: Shape = Shape {
        src: V6End { addr: 1 << 100, port: 1000 },
        dst: V6End { addr: 2 << 100, port: 53 },
        hops: 64,
        options: 0,
    };

    #[test]
    fn a_udp_checksum_of_none_stays_none() {
        let mut frame = packet(Proto::Udp, SHAPE, b"hello");
        frame[60..62].fill(0);
        let to = Translation6::new(SHAPE.dst, V6End { addr: 99, port: 98 });
        translate(&mut frame, &MACS, 54, Proto::Udp, End::Dst, &to);
        assert_eq!(frame[60..62], [0, 0]);
    }

    #[test]
    fn a_udp_checksum_that_comes_out_as_zero_is_sent_as_ones() {
        // Of 65,536 ports one makes the checksum 0.
        let hit = (0..=u16::MAX).any(|port| {
            let mut frame = packet(Proto::Udp, SHAPE, b"hello");
            let to = Translation6::new(SHAPE.src, V6End { addr: 7 << 90, port });
            translate(&mut frame, &MACS, 54, Proto::Udp, End::Src, &to);
            assert_ne!(frame[60..62], [0, 0]);
            frame[60..62] == [0xff, 0xff]
        });
        assert!(hit);
    }

    proptest! {
        #[test]
        fn a_rewritten_packet_is_the_packet_etherparse_builds(
            is_tcp: bool, is_dst: bool, src in any_end(), dst in any_end(), new in any_end(), hops in 2u8..,
            options in 0usize..4, payload in proptest::collection::vec(any::<u8>(), 0..50),
        ) {
            let proto = if is_tcp { Proto::Tcp } else { Proto::Udp };
            let before = Shape { src, dst, hops, options };
            let after = Shape { hops: hops - 1, ..before };
            let mut frame = packet(proto, before, &payload);
            let mut routed = frame.clone();
            let (end, old, translated) = if is_dst {
                (End::Dst, dst, Shape { dst: new, ..after })
            } else {
                (End::Src, src, Shape { src: new, ..after })
            };
            let l4 = ETHERNET + IPV6 + options * 8;
            translate(&mut frame, &MACS, l4, proto, end, &Translation6::new(old, new));
            let mut expected = packet(proto, translated, &payload);
            expected[..12].copy_from_slice(&MACS);
            prop_assert_eq!(frame, expected);
            route(&mut routed, &MACS);
            let mut expected = packet(proto, after, &payload);
            expected[..12].copy_from_slice(&MACS);
            prop_assert_eq!(routed, expected);
        }

        #[test]
        fn any_bytes_are_rewritten_without_a_panic(
            mut frame in proptest::collection::vec(any::<u8>(), 0..100), l4 in 0usize..120,
        ) {
            route(&mut frame, &MACS);
            decrement_hop_limit(&mut frame);
            let to = Translation6::new(V6End::default(), V6End { addr: 1, port: 2 });
            translate(&mut frame, &MACS, l4, Proto::Tcp, End::Src, &to);
            translate(&mut frame, &MACS, l4, Proto::Udp, End::Dst, &to);
        }
    }
}
