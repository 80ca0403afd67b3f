//! Steps over the extension headers of an IPv6 packet (RFC 8200, 4), as far as the director follows them: the same
//! headers, and as many, as the steering program does (`bpf/steer.bpf.c`).

use super::{IPV6, be16, be32};

/// So many extension headers are stepped over: each kind that there is once, and destination options twice, as
/// RFC 8200, 4.1 has them at most.
pub const EXTENSIONS: usize = 5;

/// Protocol numbers of extension headers.
mod kind {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const DESTINATION: u8 = 60;
}

/// Bytes of a fragment header.
pub const FRAGMENT: usize = 8;

/// The protocol number of destination options, which may also stand behind a fragment header.
pub const DESTINATION: u8 = kind::DESTINATION;

/// What stands behind an IPv6 packet's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upper {
    /// Its protocol number. Of a piece that is not the first, that of the whole packet's.
    pub next: u8,
    /// Where it starts, in bytes from the IPv6 header. May be the packet's end.
    pub at: usize,
    /// Of which piece of a fragmented packet it is. A packet in one piece (RFC 6946) is not one.
    pub fragment: Option<Fragment>,
}

/// A fragment header's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// Where the fragment header starts, in bytes from the IPv6 header.
    pub at: usize,
    /// Where the piece belongs, in bytes.
    pub offset: u16,
    /// Whether more pieces follow.
    pub more: bool,
    /// The same in all pieces of a packet between two hosts.
    pub id: u32,
}

/// Why the headers cannot be stepped over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stuck {
    /// The packet ends inside a header.
    Truncated,
    /// The first piece of a fragmented packet ends inside its headers (RFC 7112 forbids it).
    Tiny,
    /// Not version 6.
    BadVersion,
    /// More than [`EXTENSIONS`].
    TooMany,
    /// The source has laid out a route, and the destination is not its end.
    Routed,
}

/// Steps over the headers of `packet`, which starts with its IPv6 header.
///
/// # Errors
/// [`Stuck`] says why not. Headers that are no extension headers, or not followed (authentication, ESP), are upper
/// layers.
pub fn upper(packet: &[u8]) -> Result<Upper, Stuck> {
    let header: &[u8; IPV6] = packet.first_chunk().ok_or(Stuck::Truncated)?;
    if header[0] >> 4 != 6 {
        return Err(Stuck::BadVersion);
    }
    let (mut next, mut at, mut fragment) = (header[6], IPV6, None);
    for _ in 0..=EXTENSIONS {
        if !matches!(next, kind::HOP_BY_HOP | kind::ROUTING | kind::FRAGMENT | kind::DESTINATION) {
            return Ok(Upper { next, at, fragment });
        }
        let cut = if fragment.is_some() { Stuck::Tiny } else { Stuck::Truncated };
        let extension: &[u8; 8] = packet.get(at..).and_then(|rest| rest.first_chunk()).ok_or(cut)?;
        let mut len = 8 + 8 * extension[1] as usize;
        if next == kind::FRAGMENT {
            len = FRAGMENT;
            fragment = piece(packet, at);
        } else if next == kind::ROUTING && extension[3] > 0 {
            return Err(Stuck::Routed);
        }
        (next, at) = (extension[0], at + len);
        if at > packet.len() {
            return Err(cut);
        }
        // What follows the fragment header is the first piece's alone.
        if fragment.is_some_and(|fragment| fragment.offset > 0) {
            return Ok(Upper { next, at, fragment });
        }
    }
    Err(Stuck::TooMany)
}

fn piece(packet: &[u8], at: usize) -> Option<Fragment> {
    let word = be16(packet, at + 2);
    let (offset, more) = (word & 0xfff8, word & 1 == 1);
    (offset > 0 || more).then(|| Fragment { at, offset, more, id: be32(packet, at + 4) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{IpNumber, Ipv6ExtensionsSlice};
    use proptest::prelude::*;

    /// An IPv6 header, and behind it extension headers of these kinds and further bytes, and UDP.
    fn packet(extensions: &[(u8, [u8; 7])]) -> Vec<u8> {
        let mut packet = vec![0; IPV6];
        (packet[0], packet[6]) = (0x60, extensions.first().map_or(17, |&(kind, _)| kind));
        let nexts = extensions.iter().map(|&(kind, _)| kind).skip(1).chain([17]);
        for (&(kind, rest), next) in extensions.iter().zip(nexts) {
            packet.push(next);
            packet.extend(rest);
            let more = if kind == kind::FRAGMENT { 0 } else { rest[0] as usize * 8 };
            packet.resize(packet.len() + more, 0);
        }
        packet
    }

    const PLAIN: [u8; 7] = [0; 7];
    const LONG: [u8; 7] = [2, 0, 0, 0, 0, 0, 0];

    #[test]
    fn each_header_is_stepped_over_by_its_own_length() {
        let order = [kind::HOP_BY_HOP, kind::DESTINATION, kind::ROUTING, kind::FRAGMENT, kind::DESTINATION];
        let whole = |rest| order.map(|kind| (kind, if kind == kind::FRAGMENT { PLAIN } else { rest }));
        let found = |at| Ok(Upper { next: 17, at, fragment: None });
        assert_eq!(upper(&packet(&[])), found(40));
        assert_eq!(upper(&packet(&whole(PLAIN))), found(80));
        assert_eq!(upper(&packet(&whole(LONG))), found(80 + 4 * 16));
        assert_eq!(upper(&packet(&[(kind::DESTINATION, PLAIN); 6])), Err(Stuck::TooMany));
        assert_eq!(upper(&packet(&[(kind::ROUTING, [0, 0, 1, 0, 0, 0, 0])])), Err(Stuck::Routed));
        let long = packet(&[(kind::HOP_BY_HOP, LONG)]);
        for len in 0..long.len() {
            assert_eq!(upper(&long[..len]), Err(Stuck::Truncated), "cut to {len} bytes");
        }
    }

    #[test]
    fn a_piece_is_told_from_a_packet_in_one_piece() {
        let fragment = |word: u16| {
            let [high, low] = word.to_be_bytes();
            upper(&packet(&[(kind::FRAGMENT, [0, high, low, 0, 0, 0, 9]), (kind::DESTINATION, PLAIN)]))
        };
        assert_eq!(fragment(0), Ok(Upper { next: 17, at: 56, fragment: None }));
        let first = Fragment { at: 40, offset: 0, more: true, id: 9 };
        assert_eq!(fragment(1), Ok(Upper { next: 17, at: 56, fragment: Some(first) }));
        let last = Fragment { at: 40, offset: 1480, more: false, id: 9 };
        let found = Upper { next: kind::DESTINATION, at: 48, fragment: Some(last) };
        assert_eq!(fragment(1480), Ok(found), "what it holds is not looked at");
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked_as_etherparse_walks_them(
            mut bytes in proptest::collection::vec(prop_oneof![Just(0u8), Just(43), Just(44), Just(60), 0u8..4, any::<u8>()], 40..200),
        ) {
            bytes[0] = 0x60;
            let theirs = Ipv6ExtensionsSlice::from_slice(IpNumber(bytes[6]), &bytes[IPV6..]);
            if let (Ok(ours), Ok((_, next, rest))) = (upper(&bytes), theirs) {
                // Where etherparse stops earlier, it is for an order of headers that it does not know; where it goes
                // on, it is into headers that we leave, and into pieces.
                let at = bytes.len() - rest.len();
                let known = |next: u8| matches!(next, 0 | 43 | 44 | 60);
                let others = [IpNumber::AUTHENTICATION_HEADER, IpNumber::MOBILITY_HEADER, IpNumber::HIP, IpNumber::SHIM6];
                if !known(next.0) && !others.iter().any(|other| other.0 == ours.next) && ours.fragment.is_none() {
                    prop_assert_eq!((ours.next, ours.at), (next.0, at));
                }
            }
        }

        #[test]
        fn any_bytes_are_walked_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(upper) = upper(&bytes) {
                prop_assert!(upper.at <= bytes.len());
            }
        }
    }
}
