//! IP-in-IP (RFC 2003): an outer IPv4 header before an IPv4 packet.

use super::checksum;
use super::{ETHERNET, IPV4, be16};

/// The protocol number of IPv4 inside IP.
pub const IPIP: u8 = 4;

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
pub fn ipip(frame: &mut [u8], macs: &[u8; 12], src: u32, dst: u32, salt: u16) {
    let Some(inner) = frame.get(ETHERNET + IPV4..ETHERNET + 2 * IPV4) else { return };
    let tos = inner[1];
    let total = be16(inner, 2).saturating_add(IPV4 as u16);
    let id = be16(inner, 4) ^ salt;
    let dont_fragment = inner[6] & 0x40;
    let ttl = inner[8];

    let mut outer = [0; IPV4];
    outer[0] = 0x45;
    outer[1] = tos;
    outer[2..4].copy_from_slice(&total.to_be_bytes());
    outer[4..6].copy_from_slice(&id.to_be_bytes());
    outer[6] = dont_fragment;
    outer[8] = ttl;
    outer[9] = IPIP;
    outer[12..16].copy_from_slice(&src.to_be_bytes());
    outer[16..20].copy_from_slice(&dst.to_be_bytes());
    let checksum = checksum::of_header(&outer);
    outer[10..12].copy_from_slice(&checksum.to_be_bytes());

    frame[..12].copy_from_slice(macs);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[ETHERNET..ETHERNET + IPV4].copy_from_slice(&outer);
}

/// What the salt of a connection is: its client's address and port folded to 16 bits.
#[inline]
pub const fn salt(cip: u32, cport: u16) -> u16 {
    (cip >> 16) as u16 ^ cip as u16 ^ cport
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{IpNumber, Ipv4HeaderSlice, PacketBuilder};
    use proptest::prelude::*;

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
            ipip(&mut frame, b"abcdefghijkl", src, dst, salt);

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
        fn any_bytes_are_wrapped_without_a_panic(mut frame in proptest::collection::vec(any::<u8>(), 0..80)) {
            ipip(&mut frame, &[0; 12], 1, 2, 3);
        }
    }
}
