//! Rewrites headers in place: MACs, TTL, addresses and ports, with checksums kept right by difference.
//!
//! The caller has parsed the frame ([`super::parse`]), so that the offsets lie inside it; a frame too short for a
//! change is left as it is rather than read past its end.

use super::checksum::{self, Change};
use super::{ETHERNET, IPV4, be16, put16};
use crate::net::Proto;

/// Writes the destination and source MACs, `macs` in wire order.
#[inline]
pub fn macs(frame: &mut [u8], macs: &[u8; 12]) {
    if let Some(place) = frame.get_mut(..12) {
        place.copy_from_slice(macs);
    }
}

/// Takes a hop off the IPv4 TTL, which must be above 0.
#[inline]
pub fn decrement_ttl(frame: &mut [u8]) {
    let Some(&[ttl, proto]) = frame.get(ETHERNET + 8..ETHERNET + 10) else { return };
    let old = u16::from_be_bytes([ttl, proto]);
    let new = u16::from_be_bytes([ttl.wrapping_sub(1), proto]);
    frame[ETHERNET + 8] = ttl.wrapping_sub(1);
    let checksum = be16(frame, ETHERNET + 10);
    put16(frame, ETHERNET + 10, Change::default().word(old, new).applied_to(checksum));
}

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

/// Replaces one end of an IPv4 TCP or UDP packet whose transport header starts at `l4`. The IP checksum and the
/// transport checksum follow; a UDP checksum of 0 (none) stays 0, and one that comes out as 0 is sent as 0xffff
/// (RFC 768).
#[inline]
pub fn nat_v4(frame: &mut [u8], l4: usize, proto: Proto, end: End, new: V4End) {
    let (address_at, port_at) = match end {
        End::Src => (ETHERNET + 12, l4),
        End::Dst => (ETHERNET + 16, l4 + 2),
    };
    let checksum_at = l4 + checksum::offset(proto);
    if frame.len() < (checksum_at + 2).max(ETHERNET + IPV4) {
        return;
    }
    let old_addr = (be16(frame, address_at) as u32) << 16 | be16(frame, address_at + 2) as u32;
    let address = Change::default().long(old_addr, new.addr);
    let both = address.word(be16(frame, port_at), new.port);

    frame[address_at..address_at + 4].copy_from_slice(&new.addr.to_be_bytes());
    put16(frame, port_at, new.port);
    put16(frame, ETHERNET + 10, address.applied_to(be16(frame, ETHERNET + 10)));
    let old = be16(frame, checksum_at);
    let checksum = match (proto, both.applied_to(old)) {
        (Proto::Udp, _) if old == 0 => 0,
        (Proto::Udp, 0) => 0xffff,
        (_, checksum) => checksum,
    };
    put16(frame, checksum_at, checksum);
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
        nat_v4(&mut frame, 34, Proto::Udp, End::Dst, V4End { addr: 99, port: 98 });
        assert_eq!(udp_checksum(&frame), 0);
    }

    #[test]
    fn a_udp_checksum_that_comes_out_as_zero_is_sent_as_ones() {
        // Of 65,536 ports one makes the checksum 0.
        let hit = (0..=u16::MAX).any(|port| {
            let mut frame = packet(Proto::Udp, 0x0a00_0001, 0x0a00_0002, 1000, 53, 64, b"hello");
            nat_v4(&mut frame, 34, Proto::Udp, End::Src, V4End { addr: 0xc000_0201, port });
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
            nat_v4(&mut frame, 34, proto, end, V4End { addr, port });
            decrement_ttl(&mut frame);
            macs(&mut frame, &[6; 12]);
            let mut expected = match end {
                End::Src => packet(proto, addr, dst, port, dport, ttl - 1, &payload),
                End::Dst => packet(proto, src, addr, sport, port, ttl - 1, &payload),
            };
            expected[..12].fill(6);
            prop_assert_eq!(frame, expected);
        }

        #[test]
        fn any_bytes_are_rewritten_without_a_panic(
            mut frame in proptest::collection::vec(any::<u8>(), 0..80), l4 in 0usize..100,
        ) {
            macs(&mut frame, &[0; 12]);
            decrement_ttl(&mut frame);
            nat_v4(&mut frame, l4, Proto::Tcp, End::Src, V4End::default());
            nat_v4(&mut frame, l4, Proto::Udp, End::Dst, V4End::default());
        }
    }
}
