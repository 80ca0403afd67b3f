//! SCTP (RFC 9260), as far as a director reads and writes it: ports, what a packet says to the state machine, and the
//! checksum.
//!
//! ```text
//!  0  source port 16 | destination port 16
//!  4  verification tag 32
//!  8  CRC32c over all of it, with these four bytes 0; the least significant byte first
//! 12  chunks: type 8 | flags 8 | length 16, header included | value, padded to 4 bytes
//! ```
//!
//! The checksum covers no addresses, so that it changes only when a port does. It is kept right by difference, as those
//! of TCP and UDP are: a packet that came in damaged goes out damaged, where IPVS would give it a right one. A field of
//! 0 was left to others (a sender with offload on veth; RFC 9653), and is filled in.
//!
//! An association may have more addresses than the one that it was opened by (multi-homing, 6.4). As with IPVS, packets
//! between other addresses belong to no connection.

use super::rewrite::End;
use super::{ETHERNET, IPV4, IPV6, be16, rewrite, rewrite6};
use crate::net::{Endpoint, SctpEvent};
use std::net::IpAddr;

/// Bytes of the common header.
pub const HEADER: usize = 12;

/// Where the checksum stands in it.
const CHECKSUM: usize = 8;

/// Bytes of a chunk's header.
const CHUNK: usize = 4;

/// What a packet, which starts with its common header, says by its first chunk; by its second, if that is an ABORT
/// behind a cookie's. A packet without chunks says what data does.
pub fn event(packet: &[u8]) -> SctpEvent {
    let kind = |at: usize| packet.get(at..at + CHUNK).map(|chunk| chunk[0]);
    let first = match kind(HEADER) {
        Some(kind) => SctpEvent::of_chunk(kind),
        None => SctpEvent::Data,
    };
    if matches!(first, SctpEvent::CookieEcho | SctpEvent::CookieAck) {
        let len = be16(packet, HEADER + 2) as usize;
        let second = HEADER + len.next_multiple_of(4);
        if len >= CHUNK && kind(second).map(SctpEvent::of_chunk) == Some(SctpEvent::Abort) {
            return SctpEvent::Abort;
        }
    }
    first
}

/// The checksum that a packet should have, as it stands in the header. `None` if it is too short to have one.
fn crc(packet: &[u8]) -> Option<u32> {
    let (before, rest) = packet.split_at_checked(CHECKSUM)?;
    let behind = rest.get(4..)?;
    let crc = crc32c::crc32c_append(crc32c::crc32c(before), &[0; 4]);
    Some(crc32c::crc32c_append(crc, behind))
}

fn stored(packet: &[u8]) -> Option<u32> {
    packet.get(CHECKSUM..).and_then(|bytes| bytes.first_chunk()).map(|bytes| u32::from_le_bytes(*bytes))
}

/// Fills in a checksum that the sender left to its network card, which is 0 then. `frame` ends with its packet, whose
/// SCTP header starts at `l4`. Returns whether there was anything to fill in.
pub fn complete_partial(frame: &mut [u8], l4: usize) -> bool {
    let Some(packet) = frame.get_mut(l4..) else { return false };
    let (Some(0), Some(crc)) = (stored(packet), crc(packet)) else { return false };
    packet[CHECKSUM..CHECKSUM + 4].copy_from_slice(&crc.to_le_bytes());
    true
}

/// Replaces a port of a packet that starts with its common header, and mends the checksum.
fn replace_port(packet: &mut [u8], end: End, port: u16) {
    let at = if end == End::Src { 0 } else { 2 };
    let (Some(stored), Some(before)) = (stored(packet), crc(packet)) else { return };
    if be16(packet, at) == port {
        return;
    }
    packet[at..at + 2].copy_from_slice(&port.to_be_bytes());
    // The CRC is linear: what is wrong with the old one is wrong with the new one.
    let error = if stored == 0 { 0 } else { stored ^ before };
    let crc = crc(packet).map_or(0, |crc| crc ^ error);
    packet[CHECKSUM..CHECKSUM + 4].copy_from_slice(&crc.to_le_bytes());
}

/// Sends the packet a hop on, as [`rewrite::route`] and [`rewrite6::route`] do, and replaces one of its ends by `new`,
/// an address of the packet's own family. `frame` ends with its packet, whose SCTP header starts at `l4`.
pub fn translate(frame: &mut [u8], macs: &[u8; 12], l4: usize, end: End, new: Endpoint) {
    let Some(packet) = frame.get_mut(l4..) else { return };
    replace_port(packet, end, new.port);
    match new.addr {
        IpAddr::V4(addr) => {
            rewrite::route(frame, macs);
            let Some(head) = frame.get_mut(ETHERNET..ETHERNET + IPV4) else { return };
            rewrite::replace_address(head, end, addr.to_bits());
        }
        IpAddr::V6(addr) => {
            rewrite6::route(frame, macs);
            let at = ETHERNET + if end == End::Src { 8 } else { 24 };
            if frame.len() >= ETHERNET + IPV6 {
                frame[at..at + 16].copy_from_slice(&addr.octets());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 9260, appendix A, a bit at a time.
    fn plain_crc(bytes: &[u8]) -> u32 {
        let mut crc = !0u32;
        for &byte in bytes {
            crc ^= byte as u32;
            for _ in 0..8 {
                crc = crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
            }
        }
        !crc
    }

    fn packet(sport: u16, dport: u16, chunks: &[u8]) -> Vec<u8> {
        let mut packet =
            [&sport.to_be_bytes()[..], &dport.to_be_bytes(), &[1, 2, 3, 4, 0, 0, 0, 0], chunks].concat();
        let crc = plain_crc(&packet);
        packet[8..12].copy_from_slice(&crc.to_le_bytes());
        packet
    }

    #[test]
    fn the_first_chunk_says_what_a_packet_is_and_an_abort_behind_a_cookie() {
        let said = |chunks: &[u8]| event(&packet(1, 2, chunks));
        assert_eq!(said(&[]), SctpEvent::Data);
        assert_eq!(said(&[1, 0, 0, 20]), SctpEvent::Init);
        assert_eq!(said(&[14, 0, 0, 4, 6, 0, 0, 4]), SctpEvent::ShutdownComplete);
        assert_eq!(said(&[3, 0, 0, 4]), SctpEvent::Data, "a SACK");
        assert_eq!(said(&[0xc1, 0, 0, 4]), SctpEvent::Data, "a chunk unknown to IPVS");
        assert_eq!(said(&[10, 0, 0, 5, 9, 0, 0, 0, 6, 0, 0, 4]), SctpEvent::Abort);
        assert_eq!(said(&[11, 0, 0, 4, 6, 0, 0, 4]), SctpEvent::Abort);
        assert_eq!(said(&[11, 0, 0, 4, 0, 0, 0, 4]), SctpEvent::CookieAck);
        assert_eq!(said(&[10, 0, 0, 3, 6, 0, 0, 4]), SctpEvent::CookieEcho, "an impossible length");
        assert_eq!(said(&[10, 0, 0xff, 0xff]), SctpEvent::CookieEcho, "nothing is there");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_and_rewritten_without_a_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..120), l4 in 0usize..130, port: u16, v4: bool,
        ) {
            event(&bytes);
            complete_partial(&mut bytes, l4);
            let addr = if v4 { IpAddr::V4([1, 2, 3, 4].into()) } else { IpAddr::V6([7; 16].into()) };
            translate(&mut bytes, &[9; 12], l4, End::Dst, Endpoint::new(addr, port));
        }

        #[test]
        fn a_checksum_is_right_after_a_port_changed_if_it_was_and_wrong_if_it_was_not(
            sport: u16, dport: u16, to: u16, src: bool, chunks in proptest::collection::vec(any::<u8>(), 0..200), error: u32,
        ) {
            let mut changed = packet(sport, dport, &chunks);
            let end = if src { End::Src } else { End::Dst };
            let expected = if src { packet(to, dport, &chunks) } else { packet(sport, to, &chunks) };
            let mut damaged = changed.clone();
            damaged[8..12].copy_from_slice(&(stored(&changed).unwrap() ^ error).to_le_bytes());
            replace_port(&mut changed, end, to);
            prop_assert_eq!(&changed, &expected);
            if stored(&damaged) != Some(0) {
                replace_port(&mut damaged, end, to);
                prop_assert_eq!(stored(&damaged).unwrap(), stored(&expected).unwrap() ^ error);
            }
        }

        #[test]
        fn a_checksum_of_zero_is_filled_in(chunks in proptest::collection::vec(any::<u8>(), 0..200)) {
            let whole = [&[7; 34][..], &packet(5, 6, &chunks)].concat();
            let mut left = whole.clone();
            left[42..46].fill(0);
            prop_assert!(complete_partial(&mut left, 34));
            prop_assert_eq!(&left, &whole);
            prop_assert!(stored(&whole[34..]) == Some(0) || !complete_partial(&mut left, 34));
            let mut left = packet(4, 6, &chunks);
            left[8..12].fill(0);
            replace_port(&mut left, End::Src, 5);
            prop_assert_eq!(&left, &whole[34..]);
        }
    }
}
