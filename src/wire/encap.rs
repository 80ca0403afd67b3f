//! IP-in-IP: an outer header before a packet, of IPv4 (RFC 2003, RFC 4213) or IPv6 (RFC 2473), around either.
//!
//! ```text
//!                inner IPv4     inner IPv6
//! outer IPv4     ipip           ip6_in_ipv4
//! outer IPv6     in_ipv6        in_ipv6
//! ```
//!
//! The outer DS field and ECN field are the inner's (RFC 6040's normal mode; IPVS, after the older RFC 3168, has ECT(0)
//! where the inner has CE), the TTL or hop limit is the inner's, as IPVS has it.

use super::checksum;
use super::{ETHERNET, IPV4, IPV6, be16};

/// The protocol number of IPv4 inside IP.
pub const IPIP: u8 = 4;

/// The protocol number of IPv6 inside IP.
pub const IPV6_IN_IP: u8 = 41;

/// An outer IPv4 header but for what each packet has of its own: both addresses, and what all that stays the same sums
/// up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope {
    addresses: [u8; 8],
    sum: u16,
}

impl Envelope {
    /// From the director at `source` to the server at `server`.
    pub const fn new(source: u32, server: u32) -> Envelope {
        let pair = (source as u64) << 32 | server as u64;
        let sum = (source >> 16) + (source & 0xffff) + (server >> 16) + (server & 0xffff);
        Envelope { addresses: pair.to_be_bytes(), sum: checksum::fold(sum + 0x4500) }
    }

    /// Source and destination, as they stand in the header.
    pub const fn addresses(&self) -> &[u8; 8] {
        &self.addresses
    }

    /// The header. `variable` is what stands in the first three words beside version, header length and checksum.
    #[inline(always)]
    fn header(&self, variable: [u32; 3]) -> [u8; IPV4] {
        let [first, second, third] = variable;
        let sum = self.sum as u64 + first as u64 + second as u64 + third as u64;
        // Less than 2^35: no carry out of 32 bits is left after this.
        let sum = (sum >> 16) as u32 + (sum & 0xffff) as u32;
        let words = [0x4500_0000 | first, second, third | !checksum::fold(sum) as u32];
        let mut header = [0; IPV4];
        for (place, word) in header.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        header[12..].copy_from_slice(&self.addresses);
        header
    }
}

/// Writes an Ethernet and an outer IPv4 header before an IPv4 packet.
///
/// ```text
/// before  [ ............ 20 bytes ............ | Ethernet 14 | inner packet ]
/// after   [ Ethernet 14 | outer IPv4 20 bytes                | inner packet ]
/// ```
///
/// `frame` is the frame already grown by [`IPV4`] bytes at its front. The inner packet stays untouched. Of the
/// outer header, DS field, DF and TTL are the inner's, as IPVS has them; the identification is the inner's mixed
/// with `salt`, so that two connections to one server rarely share one.
#[inline]
pub fn ipip(frame: &mut [u8], macs: &[u8; 12], envelope: &Envelope, salt: u16) {
    let Some(frame) = frame.first_chunk_mut::<{ ETHERNET + 2 * IPV4 }>() else { return };
    let (outer, inner) = frame.split_at_mut(ETHERNET + IPV4);
    let word = |at: usize| u32::from_be_bytes([inner[at], inner[at + 1], inner[at + 2], inner[at + 3]]);
    // What fits the egress MTU fits 16 bits.
    let total = (word(0) + IPV4 as u32) & 0xffff;
    let first = word(0) & 0x00ff_0000 | total;
    let second = (word(4) ^ (salt as u32) << 16) & 0xffff_4000;
    let third = word(8) & 0xff00_0000 | (IPIP as u32) << 16;
    outer[..12].copy_from_slice(macs);
    outer[12..14].copy_from_slice(&[0x08, 0x00]);
    outer[14..].copy_from_slice(&envelope.header([first, second, third]));
}

/// Writes an Ethernet and an outer IPv4 header before an IPv6 packet, in a frame already grown by [`IPV4`] bytes as
/// for [`ipip`].
///
/// DF is always set, where IPVS never sets it: no router fragments an IPv6 packet (RFC 8200, 5), and one too big for
/// the way is told of as it would be without the tunnel. The identification of such a packet says nothing (RFC 6864).
#[inline]
pub fn ip6_in_ipv4(frame: &mut [u8], macs: &[u8; 12], envelope: &Envelope) {
    let Some(frame) = frame.first_chunk_mut::<{ ETHERNET + IPV4 + IPV6 }>() else { return };
    let (outer, inner) = frame.split_at_mut(ETHERNET + IPV4);
    let total = be16(inner, 4).saturating_add((IPV4 + IPV6) as u16);
    let first = (traffic_class(inner) as u32) << 16 | total as u32;
    let third = (inner[7] as u32) << 24 | (IPV6_IN_IP as u32) << 16;
    outer[..12].copy_from_slice(macs);
    outer[12..14].copy_from_slice(&[0x08, 0x00]);
    outer[14..].copy_from_slice(&envelope.header([first, 0x4000, third]));
}

/// Writes an Ethernet and an outer IPv6 header before a packet of either family, in a frame already grown by [`IPV6`]
/// bytes at its front. There is no tunnel encapsulation limit option, as IPVS sends none.
///
/// `label` is the flow label, 20 bits (see [`flow_label`]).
#[inline]
pub fn in_ipv6(frame: &mut [u8], macs: &[u8; 12], src: u128, dst: u128, label: u32) {
    let Some(inner) = frame.get(ETHERNET + IPV6..ETHERNET + IPV6 + IPV4) else { return };
    let (class, len, next, hops) = match inner[0] >> 4 {
        4 => (inner[1], be16(inner, 2), IPIP, inner[8]),
        _ => (traffic_class(inner), be16(inner, 4).saturating_add(IPV6 as u16), IPV6_IN_IP, inner[7]),
    };
    let mut outer = [0; IPV6];
    let first = 6 << 28 | (class as u32) << 20 | label & 0xf_ffff;
    outer[..4].copy_from_slice(&first.to_be_bytes());
    outer[4..6].copy_from_slice(&len.to_be_bytes());
    outer[6] = next;
    outer[7] = hops;
    outer[8..24].copy_from_slice(&src.to_be_bytes());
    outer[24..40].copy_from_slice(&dst.to_be_bytes());

    frame[..12].copy_from_slice(macs);
    frame[12..14].copy_from_slice(&[0x86, 0xdd]);
    frame[ETHERNET..ETHERNET + IPV6].copy_from_slice(&outer);
}

/// The DS and ECN fields of an IPv6 header.
#[inline]
const fn traffic_class(header: &[u8]) -> u8 {
    header[0] << 4 | header[1] >> 4
}

/// The flow label of a connection's tunnel: the same for all its packets, so that routers and receive queues that
/// spread by the label keep them together, and another for most other connections (RFC 6438, 3); never 0, which means
/// that there is none. IPVS sends 0. An IPv4 client's address is taken as a number.
#[inline]
pub const fn flow_label(cip: u128, cport: u16) -> u32 {
    let folded = (cip >> 64) as u64 ^ cip as u64 ^ (cport as u64) << 48;
    let label = (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44) as u32;
    if label == 0 { 1 } else { label }
}

/// What the salt of a connection is: its client's address and port folded to 16 bits.
#[inline]
pub const fn salt(cip: u32, cport: u16) -> u16 {
    (cip >> 16) as u16 ^ cip as u16 ^ cport
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{
        IpDscp, IpEcn, IpNumber, Ipv4Header, Ipv4HeaderSlice, Ipv6FlowLabel, Ipv6Header, PacketBuilder,
    };
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn v4_packet(tos: u8, ttl: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        PacketBuilder::ipv4([192, 0, 2, 1], [10, 0, 0, 1], ttl)
            .udp(1, 2)
            .write(&mut packet, payload)
            .unwrap();
        packet[1] = tos;
        packet
    }

    fn v6_packet(class: u8, label: u32, hops: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        PacketBuilder::ipv6([1; 16], [2; 16], hops).udp(1, 2).write(&mut packet, payload).unwrap();
        packet[..4].copy_from_slice(&(6 << 28 | u32::from(class) << 20 | label).to_be_bytes());
        packet
    }

    #[test]
    fn flow_labels_have_twenty_bits_are_never_none_and_tell_connections_apart() {
        let labels: HashSet<u32> = (0..20_000).map(|port| flow_label(0x2001_0db8 << 96 | 1, port)).collect();
        assert!(labels.iter().all(|label| (1..1 << 20).contains(label)));
        assert!(labels.len() > 19_000, "{} of 20,000", labels.len());
        assert_eq!(flow_label(0, 0), 1);
    }

    proptest! {
        #[test]
        fn the_outer_header_is_one_etherparse_accepts_and_carries_the_inner_packet(
            src: u32, dst: u32, ttl: u8, salt: u16, payload in proptest::collection::vec(any::<u8>(), 0..50), tos: u8, df: bool,
        ) {
            let mut inner = Vec::new();
            PacketBuilder::ipv4([192, 0, 2, 1], [10, 0, 0, 1], ttl).udp(1, 2).write(&mut inner, &payload).unwrap();
            inner[1] = tos;
            inner[6] = if df { 0x40 } else { 0 };
            let mut frame = vec![0xa5; ETHERNET + IPV4];
            frame.extend_from_slice(&inner);
            ipip(&mut frame, b"abcdefghijkl", &Envelope::new(src, dst), salt);

            let outer = Ipv4HeaderSlice::from_slice(&frame[ETHERNET..]).unwrap();
            prop_assert_eq!(outer.header_checksum(), outer.to_header().calc_header_checksum());
            prop_assert_eq!(outer.source(), src.to_be_bytes());
            prop_assert_eq!(outer.destination(), dst.to_be_bytes());
            prop_assert_eq!(outer.protocol(), IpNumber::IPV4);
            prop_assert_eq!((outer.ttl(), outer.dont_fragment(), frame[15]), (ttl, df, tos));
            prop_assert_eq!(outer.total_len() as usize, inner.len() + IPV4);
            prop_assert_eq!(&frame[..14], b"abcdefghijkl\x08\x00");
            prop_assert_eq!(&frame[ETHERNET + IPV4..], &inner[..]);
        }

        #[test]
        fn an_ipv6_packet_in_ipv4_is_what_etherparse_builds(
            src: u32, dst: u32, class: u8, label in 0u32..1 << 20, hops: u8, payload in proptest::collection::vec(any::<u8>(), 0..50),
        ) {
            let inner = v6_packet(class, label, hops, &payload);
            let mut frame = vec![0xa5; ETHERNET + IPV4];
            frame.extend_from_slice(&inner);
            ip6_in_ipv4(&mut frame, b"abcdefghijkl", &Envelope::new(src, dst));

            let mut outer = Ipv4Header::new(inner.len() as u16, hops, IpNumber::IPV6, src.to_be_bytes(), dst.to_be_bytes()).unwrap();
            (outer.dscp, outer.ecn) = (IpDscp::try_new(class >> 2).unwrap(), IpEcn::try_new(class & 3).unwrap());
            outer.dont_fragment = true;
            outer.header_checksum = outer.calc_header_checksum();
            prop_assert_eq!(frame, [b"abcdefghijkl\x08\x00", &outer.to_bytes()[..], &inner].concat());
        }

        #[test]
        fn a_packet_of_either_family_in_ipv6_is_what_etherparse_builds(
            is_v6: bool, src: u128, dst: u128, class: u8, inner_label in 0u32..1 << 20, cip: u128, cport: u16, hops: u8,
            payload in proptest::collection::vec(any::<u8>(), 0..50),
        ) {
            let inner = if is_v6 { v6_packet(class, inner_label, hops, &payload) } else { v4_packet(class, hops, &payload) };
            let mut frame = vec![0xa5; ETHERNET + IPV6];
            frame.extend_from_slice(&inner);
            let label = flow_label(cip, cport);
            in_ipv6(&mut frame, b"abcdefghijkl", src, dst, label);

            let outer = Ipv6Header {
                traffic_class: class,
                flow_label: Ipv6FlowLabel::try_new(label).unwrap(),
                payload_length: inner.len() as u16,
                next_header: if is_v6 { IpNumber::IPV6 } else { IpNumber::IPV4 },
                hop_limit: hops,
                source: src.to_be_bytes(),
                destination: dst.to_be_bytes(),
            };
            prop_assert_eq!(frame, [b"abcdefghijkl\x86\xdd", &outer.to_bytes()[..], &inner].concat());
        }

        #[test]
        fn any_bytes_are_wrapped_without_a_panic(mut frame in proptest::collection::vec(any::<u8>(), 0..80)) {
            ipip(&mut frame, &[0; 12], &Envelope::new(1, 2), 3);
            ip6_in_ipv4(&mut frame, &[0; 12], &Envelope::new(1, 2));
            in_ipv6(&mut frame, &[0; 12], 1, 2, 3);
        }
    }
}
