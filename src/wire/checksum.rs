//! The internet checksum: whole (RFC 1071) and by difference (RFC 1624).

use super::{ETHERNET, IPV4, be16, be32, be128, put16};
use crate::net::Proto;

/// The ones' complement sum of big-endian 16-bit words, not folded; an odd last byte counts as a high byte.
#[inline]
pub fn sum(bytes: &[u8]) -> u32 {
    // Four bytes at a time into 64 bits: no carry is lost before 2^34 bytes.
    let mut total = 0u64;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        total += u32::from_be_bytes([word[0], word[1], word[2], word[3]]) as u64;
    }
    let rest = words.remainder();
    if rest.len() >= 2 {
        total += be16(rest, 0) as u64;
    }
    if rest.len() % 2 == 1 {
        total += (rest[rest.len() - 1] as u64) << 8;
    }
    let total = (total >> 32) + (total & 0xffff_ffff);
    let total = (total >> 32) + (total & 0xffff_ffff);
    fold(total as u32) as u32
}

/// Folds the carries of a sum back into 16 bits.
#[inline]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

/// The checksum of an IPv4 header whose checksum field holds 0, or 0 for a header whose field is right.
#[inline]
pub fn of_header(header: &[u8]) -> u16 {
    !fold(sum(header))
}

/// Whether the checksum of an IPv4 header without options, which is not all zeros, is right.
#[inline]
pub fn is_right(header: &[u8; IPV4]) -> bool {
    let (words, _) = header.as_chunks::<8>();
    let last = u32::from_ne_bytes([header[16], header[17], header[18], header[19]]);
    let (sum, carry) = u64::from_ne_bytes(words[0]).overflowing_add(u64::from_ne_bytes(words[1]));
    let (sum, again) = sum.overflowing_add(last as u64 + carry as u64);
    // In whatever byte order, a right header sums up to ones, which are a multiple of 0xffff, as is 2^64 - 1: a carry
    // counts one. (The sum is 0 for a header of zeros alone, which has no version.)
    const TIMES: u64 = 0xfffe_fffe_fffe_ffff; // 0xffff * TIMES = 1 modulo 2^64
    (sum + again as u64).wrapping_mul(TIMES) <= u64::MAX / 0xffff
}

/// The pseudo-header's sum for a segment of `len` bytes between IPv4 addresses (RFC 9293, 3.1).
#[inline]
pub fn pseudo_v4(src: u32, dst: u32, proto: Proto, len: u16) -> u32 {
    (src >> 16) + (src & 0xffff) + (dst >> 16) + (dst & 0xffff) + proto as u32 + len as u32
}

/// The same for `len` bytes of an upper layer of IPv6; `next` is its protocol number, which behind extension headers
/// is not the first header's word (RFC 8200, 8.1).
#[inline]
pub fn pseudo_v6(src: u128, dst: u128, next: u8, len: u32) -> u32 {
    let halves = |address: u128| (0..8).map(|at| (address >> (16 * at)) as u16 as u32).sum::<u32>();
    halves(src) + halves(dst) + (len >> 16) + (len & 0xffff) + next as u32
}

/// A change to words that a checksum covers, gathered first and then applied to every checksum that covers
/// them (RFC 1624, equation 3: `HC' = ~(~HC + ~m + m')`).
///
/// Kept folded, in ones' complement, so that applying it is one addition; and in network order, in which it is
/// added to a checksum as it stands in the packet (sums in ones' complement know no byte order, RFC 1071).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change(u16);

impl Change {
    /// Nothing changes.
    pub const NONE: Change = Change(0);

    /// A 16-bit word changes from `old` to `new`.
    #[inline]
    pub const fn word(self, old: u16, new: u16) -> Change {
        Change(fold(self.0 as u32 + !old.to_be() as u32 + new.to_be() as u32))
    }

    /// An aligned 32-bit word changes from `old` to `new`.
    #[inline]
    pub const fn long(self, old: u32, new: u32) -> Change {
        self.word((old >> 16) as u16, (new >> 16) as u16).word(old as u16, new as u16)
    }

    /// Both changes.
    pub const fn and(self, other: Change) -> Change {
        Change(fold(self.0 as u32 + other.0 as u32))
    }

    /// The checksum that `checksum`, as it stands in the packet, becomes.
    #[inline]
    pub const fn applied_to(self, checksum: [u8; 2]) -> [u8; 2] {
        let (sum, carry) = self.0.overflowing_add(!u16::from_ne_bytes(checksum));
        (!(sum + carry as u16)).to_ne_bytes()
    }
}

/// Where a transport header keeps its checksum, from the header's start.
#[inline]
pub const fn offset(proto: Proto) -> usize {
    match proto {
        Proto::Tcp => 16,
        Proto::Udp => 6,
    }
}

/// Completes a checksum that the sender left to its network card: the field holds the pseudo-header's sum
/// alone, uncomplemented, as a kernel sender leaves it on veth or virtio (`CHECKSUM_PARTIAL`). `frame` starts
/// with its Ethernet header and ends with its IPv4 packet, `l4` is where the segment starts. Returns whether
/// there was anything to complete.
///
/// One segment in 65,536 looks the same by chance: if it is whole, completing it gives the value it already has; if it
/// was damaged on its way, completing hides that, as one damage in 65,536 hides itself.
pub fn complete_partial(frame: &mut [u8], l4: usize, proto: Proto) -> bool {
    let len = frame.len().saturating_sub(l4);
    let pseudo = pseudo_v4(be32(frame, ETHERNET + 12), be32(frame, ETHERNET + 16), proto, len as u16);
    complete(frame, l4, proto, pseudo)
}

/// The same for a frame with an IPv6 packet.
pub fn complete_partial_v6(frame: &mut [u8], l4: usize, proto: Proto) -> bool {
    let len = frame.len().saturating_sub(l4);
    let pseudo = pseudo_v6(be128(frame, ETHERNET + 8), be128(frame, ETHERNET + 24), proto as u8, len as u32);
    complete(frame, l4, proto, pseudo)
}

fn complete(frame: &mut [u8], l4: usize, proto: Proto, pseudo: u32) -> bool {
    let Some(segment) = frame.get(l4..) else { return false };
    let stored = be16(segment, offset(proto));
    if stored != fold(pseudo) {
        return false;
    }
    // No checksum at all, or one of fewer bytes, which another pseudo-header belongs to.
    if proto == Proto::Udp && (stored == 0 || usize::from(be16(segment, 4)) != segment.len()) {
        return false;
    }
    // The stored sum is the pseudo-header's, so that the segment as it stands sums up the whole.
    let checksum = match !fold(sum(segment)) {
        0 if proto == Proto::Udp => 0xffff,
        checksum => checksum,
    };
    put16(frame, l4 + offset(proto), checksum);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071's arithmetic, word by word.
    fn plain(bytes: &[u8]) -> u16 {
        let mut total = 0u32;
        for pair in bytes.chunks(2) {
            total += (pair[0] as u32) << 8 | *pair.get(1).unwrap_or(&0) as u32;
            total = (total >> 16) + (total & 0xffff);
        }
        total as u16
    }

    #[test]
    fn the_sum_is_that_of_rfc_1071s_example() {
        assert_eq!(fold(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), 0xddf2);
    }

    #[test]
    fn the_difference_is_that_of_rfc_1624s_example() {
        // HC = 0xdd2f, m = 0x5555, m' = 0x3285: the corner where equation 2 of RFC 1141 gives -0.
        assert_eq!(Change::NONE.word(0x5555, 0x3285).applied_to([0xdd, 0x2f]), [0, 0]);
    }

    #[test]
    fn a_partial_udp_checksum_of_none_stays_none() {
        let mut frame = vec![0; 14 + 20 + 8];
        assert!(!complete_partial(&mut frame, 34, Proto::Udp));
        assert_eq!(frame, vec![0; 42]);
    }

    #[test]
    fn a_datagram_that_is_shorter_than_its_packet_has_a_checksum_of_its_own_length() {
        let mut frame = vec![0; 14 + 20 + 12];
        frame[39] = 8;
        let pseudo = fold(pseudo_v4(0, 0, Proto::Udp, 12));
        put16(&mut frame, 40, pseudo);
        let before = frame.clone();
        assert!(!complete_partial(&mut frame, 34, Proto::Udp));
        assert_eq!(frame, before);
        frame[39] = 12;
        assert!(complete_partial(&mut frame, 34, Proto::Udp));
    }

    proptest! {
        #[test]
        fn sums_agree_with_the_plain_arithmetic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(fold(sum(&bytes)), plain(&bytes));
        }

        #[test]
        fn the_incremental_checksum_is_the_full_one(
            mut bytes in proptest::collection::vec(any::<u8>(), 20..100),
            address: u32, port: u16,
        ) {
            bytes[0] |= 0x40; // a header is never all zero
            bytes[10..12].fill(0);
            let before = of_header(&bytes);
            let old = u32::from_be_bytes(bytes[12..16].try_into().unwrap());
            let change = Change::NONE.long(old, address).word(be16(&bytes, 18), port);
            bytes[12..16].copy_from_slice(&address.to_be_bytes());
            bytes[18..20].copy_from_slice(&port.to_be_bytes());
            prop_assert_eq!(change.applied_to(before.to_be_bytes()), of_header(&bytes).to_be_bytes());
            let header: [u8; IPV4] = bytes[..IPV4].try_into().unwrap();
            prop_assert_eq!(is_right(&header), of_header(&header) == 0);
            let mut whole = header;
            let right = of_header(&header);
            whole[10..12].copy_from_slice(&right.to_be_bytes());
            prop_assert!(is_right(&whole));
        }

        #[test]
        fn any_bytes_may_claim_a_partial_checksum(mut frame in proptest::collection::vec(any::<u8>(), 0..100), l4 in 0usize..120) {
            complete_partial(&mut frame, l4, Proto::Tcp);
            complete_partial(&mut frame, l4, Proto::Udp);
            complete_partial_v6(&mut frame, l4, Proto::Tcp);
            complete_partial_v6(&mut frame, l4, Proto::Udp);
        }

        #[test]
        fn a_partial_checksum_is_completed_to_what_etherparse_computes(
            is_v6: bool, is_tcp: bool, src: u128, dst: u128, payload in proptest::collection::vec(any::<u8>(), 0..50),
        ) {
            let proto = if is_tcp { Proto::Tcp } else { Proto::Udp };
            let ethernet = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]);
            let ip = match is_v6 {
                true => ethernet.ipv6(src.to_be_bytes(), dst.to_be_bytes(), 64),
                false => ethernet.ipv4((src as u32).to_be_bytes(), (dst as u32).to_be_bytes(), 64),
            };
            let mut whole = Vec::new();
            match is_tcp {
                true => ip.tcp(1, 2, 3, 4).write(&mut whole, &payload).unwrap(),
                false => ip.udp(1, 2).write(&mut whole, &payload).unwrap(),
            }
            let l4 = ETHERNET + if is_v6 { 40 } else { IPV4 };
            let len = whole.len() - l4;
            let pseudo = match is_v6 {
                true => pseudo_v6(src, dst, proto as u8, len as u32),
                false => pseudo_v4(src as u32, dst as u32, proto, len as u16),
            };
            let mut partial = whole.clone();
            put16(&mut partial, l4 + offset(proto), fold(pseudo));
            let complete = if is_v6 { complete_partial_v6 } else { complete_partial };
            prop_assert!(complete(&mut partial, l4, proto));
            prop_assert_eq!(partial, whole);
        }
    }
}
