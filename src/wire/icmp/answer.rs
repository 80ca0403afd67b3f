//! Answers a packet with an ICMP error, or finds that it must not be answered so.

use super::{ICMP, ICMP_V4, ICMP_V6, of_message_v6, v4, v6};
use crate::wire::{IPV4, IPV6, be16, be128, checksum, ipv6};

/// What is said of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complaint {
    /// It does not fit the way, and must not be fragmented (IPv4: DF): this many bytes fit.
    TooBig {
        /// IP bytes. In IPv6 never told as less than 1280, which every link carries (RFC 8200, 5).
        mtu_bytes: u16,
    },
    /// Nobody takes it at its port.
    PortUnreachable,
    /// Its way ends before its host.
    HostUnreachable,
    /// It may not travel another hop.
    TimeExceeded,
    /// What somebody else said of it, to be passed on in the same family.
    AsTold {
        /// Type and code.
        kind: (u8, u8),
        /// The four bytes behind the checksum.
        word: u32,
    },
}

/// The longest answer in IPv4 (RFC 1812, 4.3.2.3), and in IPv6 (RFC 4443, 2.4 c), where it is the least that every link
/// carries.
const LONGEST_V4: usize = 576;
const LONGEST_V6: usize = 1280;

/// Internetwork control: the precedence of ICMP errors (RFC 1812, 4.3.2.5).
const PRECEDENCE: u8 = 0xc0;

/// The hops that an answer may travel; Linux has as many.
const HOPS: u8 = 64;

/// Writes the answer to `received`, which begins with its IPv4 header, into `out`. Returns how many bytes of `out` the
/// answer has, from its IPv4 header on.
///
/// `None` if it must not be answered, for it is an ICMP error or an ICMP message of an unknown type, a fragment other
/// than the first, comes from no single host, or was sent to more than one (RFC 1122, 3.2.2). That it was sent to
/// more than one on the link layer is the caller's to see. Also if `received` has no whole header, or `out` no room.
pub fn answer_v4(received: &[u8], source: u32, complaint: Complaint, out: &mut [u8]) -> Option<usize> {
    let header: &[u8; IPV4] = received.first_chunk()?;
    let (sender, addressee) = (address(header, 12), address(header, 16));
    let header_len = (header[0] & 15) as usize * 4;
    let offset = be16(header, 6) & 0x1fff;
    if header[0] >> 4 != 4 || header_len < IPV4 || offset > 0 {
        return None;
    }
    if !is_one_host(sender) || is_several_hosts(addressee) {
        return None;
    }
    if header[9] == ICMP_V4 && !is_query(*received.get(header_len)?) {
        return None;
    }
    let quote = &received[..received.len().min(be16(header, 2) as usize)];
    let quote = &quote[..quote.len().min(LONGEST_V4 - IPV4 - ICMP)];
    let len = IPV4 + ICMP + quote.len();
    let out = out.get_mut(..len)?;

    let mut outer = [0; IPV4];
    (outer[0], outer[1], outer[8], outer[9]) = (0x45, PRECEDENCE, HOPS, ICMP_V4);
    outer[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    // DF is not set, so that the identification should differ from others' (RFC 6864): it is that of what is quoted.
    outer[4..6].copy_from_slice(&header[4..6]);
    outer[12..16].copy_from_slice(&source.to_be_bytes());
    outer[16..20].copy_from_slice(&sender.to_be_bytes());
    let sum = checksum::of_header(&outer);
    outer[10..12].copy_from_slice(&sum.to_be_bytes());

    let (kind, code, word) = match complaint {
        // RFC 1191: the MTU stands in the last two of the four bytes.
        Complaint::TooBig { mtu_bytes } => (v4::UNREACHABLE, v4::FRAGMENTATION_NEEDED, u32::from(mtu_bytes)),
        Complaint::PortUnreachable => (v4::UNREACHABLE, v4::PORT, 0),
        Complaint::HostUnreachable => (v4::UNREACHABLE, v4::HOST, 0),
        Complaint::TimeExceeded => (v4::TIME_EXCEEDED, 0, 0),
        Complaint::AsTold { kind: (kind, code), word } => (kind, code, word),
    };
    let (head, message) = out.split_at_mut(IPV4);
    head.copy_from_slice(&outer);
    write_message(message, kind, code, word, quote);
    let sum = !checksum::fold(checksum::sum(message));
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    Some(len)
}

/// Writes the answer to `received`, which begins with its IPv6 header, into `out`. Returns how many bytes of `out` the
/// answer has, from its IPv6 header on.
///
/// `None` for the same reasons as in [`answer_v4`] (RFC 4443, 2.4 e: that a packet is too big may also be answered if
/// it was sent to many), and if its headers cannot be stepped over: what it is cannot be known then.
pub fn answer_v6(received: &[u8], source: u128, complaint: Complaint, out: &mut [u8]) -> Option<usize> {
    let header: &[u8; IPV6] = received.first_chunk()?;
    let upper = ipv6::upper(received).ok()?;
    if upper.fragment.is_some_and(|fragment| fragment.offset > 0) {
        return None;
    }
    let (sender, addressee) = (be128(header, 8), be128(header, 24));
    let is_too_big = matches!(complaint, Complaint::TooBig { .. });
    if sender == 0 || is_multicast_v6(sender) || (is_multicast_v6(addressee) && !is_too_big) {
        return None;
    }
    if upper.next == ICMP_V6 {
        let kind = *received.get(upper.at)?;
        if kind < v6::FIRST_MESSAGE || kind == v6::REDIRECT {
            return None;
        }
    }
    let quote = &received[..received.len().min(IPV6 + be16(header, 4) as usize)];
    let quote = &quote[..quote.len().min(LONGEST_V6 - IPV6 - ICMP)];
    let len = IPV6 + ICMP + quote.len();
    let out = out.get_mut(..len)?;

    let mut outer = [0; IPV6];
    (outer[0], outer[6], outer[7]) = (0x60, ICMP_V6, HOPS);
    outer[4..6].copy_from_slice(&((ICMP + quote.len()) as u16).to_be_bytes());
    outer[8..24].copy_from_slice(&source.to_be_bytes());
    outer[24..40].copy_from_slice(&sender.to_be_bytes());

    let (kind, code, word) = match complaint {
        Complaint::TooBig { mtu_bytes } => (v6::TOO_BIG, 0, u32::from(mtu_bytes).max(LONGEST_V6 as u32)),
        Complaint::PortUnreachable => (v6::UNREACHABLE, v6::PORT, 0),
        Complaint::HostUnreachable => (v6::UNREACHABLE, v6::ADDRESS, 0),
        Complaint::TimeExceeded => (v6::TIME_EXCEEDED, 0, 0),
        Complaint::AsTold { kind: (kind, code), word } => (kind, code, word),
    };
    let (head, message) = out.split_at_mut(IPV6);
    head.copy_from_slice(&outer);
    write_message(message, kind, code, word, quote);
    let sum = of_message_v6(source, sender, message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    Some(len)
}

/// Writes a message whose checksum is 0; it is as long as the header and the quote.
fn write_message(message: &mut [u8], kind: u8, code: u8, word: u32, quote: &[u8]) {
    let (head, rest) = message.split_at_mut(ICMP);
    head[..4].copy_from_slice(&[kind, code, 0, 0]);
    head[4..].copy_from_slice(&word.to_be_bytes());
    rest.copy_from_slice(quote);
}

fn address(header: &[u8; IPV4], at: usize) -> u32 {
    u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

/// Whether an ICMP message is no error: echo, timestamp and such (RFC 1122, 3.2.2), of the types that Linux knows.
const fn is_query(kind: u8) -> bool {
    kind <= 18
        && !matches!(
            kind,
            v4::UNREACHABLE | v4::SOURCE_QUENCH | v4::REDIRECT | v4::TIME_EXCEEDED | v4::PARAMETER_PROBLEM
        )
}

/// Whether a source is that of a single host beyond this one: not of net 0 or 127, not 224.0.0.0 or above.
const fn is_one_host(addr: u32) -> bool {
    let net = addr >> 24;
    net != 0 && net != 127 && net < 224
}

/// Whether a destination is a group, or everybody.
const fn is_several_hosts(addr: u32) -> bool {
    addr >> 28 == 0xe || addr == u32::MAX
}

const fn is_multicast_v6(addr: u128) -> bool {
    addr >> 120 == 0xff
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{
        Icmpv4Slice, Icmpv4Type, Icmpv6Slice, Icmpv6Type, IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice,
        PacketBuilder, icmpv4, icmpv6,
    };
    use proptest::prelude::*;

    const CLIENT: [u8; 4] = [192, 0, 2, 7];
    const VIP: [u8; 4] = [10, 0, 0, 100];
    const CLIENT6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    const VIP6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    const SOURCE: u32 = 0x0a00_0001;
    const SOURCE6: u128 = 0x2001_0db8 << 96 | 1;

    fn udp_v4(src: [u8; 4], dst: [u8; 4], payload: usize) -> Vec<u8> {
        let mut packet = Vec::new();
        PacketBuilder::ipv4(src, dst, 3).udp(4000, 80).write(&mut packet, &vec![7; payload]).unwrap();
        packet
    }

    fn udp_v6(src: [u8; 16], dst: [u8; 16], payload: usize) -> Vec<u8> {
        let mut packet = Vec::new();
        PacketBuilder::ipv6(src, dst, 3).udp(4000, 80).write(&mut packet, &vec![7; payload]).unwrap();
        packet
    }

    fn any_complaint() -> impl Strategy<Value = Complaint> {
        prop_oneof![
            any::<u16>().prop_map(|mtu_bytes| Complaint::TooBig { mtu_bytes }),
            Just(Complaint::PortUnreachable),
            Just(Complaint::HostUnreachable),
            Just(Complaint::TimeExceeded),
            any::<u32>().prop_map(|word| Complaint::AsTold { kind: (200, 7), word }),
        ]
    }

    fn icmp_v4(kind: u8) -> Vec<u8> {
        let mut packet = Vec::new();
        PacketBuilder::ipv4(CLIENT, VIP, 64)
            .icmpv4_raw(kind, 0, [0; 4])
            .write(&mut packet, &[0; 20])
            .unwrap();
        packet
    }

    fn icmp_v6(kind: u8) -> Vec<u8> {
        let mut packet = Vec::new();
        PacketBuilder::ipv6(CLIENT6, VIP6, 64)
            .icmpv6_raw(kind, 0, [0; 4])
            .write(&mut packet, &[0; 20])
            .unwrap();
        packet
    }

    fn is_answered(packet: &[u8]) -> bool {
        let out = &mut [0xa5; 1500];
        let answer = match packet[0] >> 4 {
            4 => answer_v4(packet, SOURCE, Complaint::PortUnreachable, out),
            _ => answer_v6(packet, SOURCE6, Complaint::PortUnreachable, out),
        };
        answer.is_some()
    }

    #[test]
    fn icmp_errors_and_unknown_messages_are_not_answered_and_queries_are() {
        let answered: Vec<u8> = (0..=255).filter(|&kind| is_answered(&icmp_v4(kind))).collect();
        assert_eq!(answered, [0, 1, 2, 6, 7, 8, 9, 10, 13, 14, 15, 16, 17, 18]);
        let silent: Vec<u8> = (0..=255).filter(|&kind| !is_answered(&icmp_v6(kind))).collect();
        assert_eq!(silent, (0..128).chain([137]).collect::<Vec<u8>>());
        let unknown = icmp_v4(8);
        assert!(!is_answered(&unknown[..20]), "its type is cut off");
    }

    #[test]
    fn packets_from_nobody_or_to_many_are_not_answered() {
        for src in [[0, 0, 0, 0], [0, 1, 2, 3], [127, 0, 0, 1], [224, 0, 0, 1], [240, 0, 0, 1], [255; 4]] {
            assert!(!is_answered(&udp_v4(src, VIP, 9)), "from {src:?}");
        }
        for dst in [[224, 0, 0, 18], [239, 1, 2, 3], [255; 4]] {
            assert!(!is_answered(&udp_v4(CLIENT, dst, 9)), "to {dst:?}");
        }
        let mut group = [0; 16];
        (group[0], group[15]) = (0xff, 1);
        assert!(!is_answered(&udp_v6([0; 16], VIP6, 9)));
        assert!(!is_answered(&udp_v6(group, VIP6, 9)));
        let to_group = udp_v6(CLIENT6, group, 9);
        assert!(!is_answered(&to_group));
        let too_big = Complaint::TooBig { mtu_bytes: 1400 };
        assert!(answer_v6(&to_group, SOURCE6, too_big, &mut [0; 1500]).is_some(), "RFC 4443, 2.4 e.3");
    }

    #[test]
    fn of_a_fragmented_packet_only_the_first_piece_is_answered() {
        let mut piece = udp_v4(CLIENT, VIP, 64);
        (piece[6], piece[7]) = (0x20, 0);
        assert!(is_answered(&piece));
        piece[7] = 1;
        assert!(!is_answered(&piece));
        let mut piece = udp_v6(CLIENT6, VIP6, 64);
        piece[6] = 44;
        piece[40..48].copy_from_slice(&[17, 0, 0, 1, 0, 0, 0, 9]);
        assert!(is_answered(&piece));
        piece[43] = 9;
        assert!(!is_answered(&piece));
    }

    #[test]
    fn no_packet_cut_short_and_no_room_cut_short_makes_it_panic() {
        for (packet, header) in [(udp_v4(CLIENT, VIP, 600), 20), (udp_v6(CLIENT6, VIP6, 1300), 40)] {
            for len in 0..packet.len() {
                assert_eq!(is_answered(&packet[..len.max(1)]), len >= header, "{len} bytes received");
            }
        }
        for room in 0..576 {
            let out = &mut vec![0; room][..];
            assert_eq!(answer_v4(&udp_v4(CLIENT, VIP, 600), SOURCE, Complaint::TimeExceeded, out), None);
        }
    }

    proptest! {
        #[test]
        fn an_answer_in_ipv4_is_what_etherparse_builds(complaint in any_complaint(), payload in 0usize..700, padding in 0usize..20) {
            let mut packet = udp_v4(CLIENT, VIP, payload);
            let quote = packet[..packet.len().min(548)].to_vec();
            packet.resize(packet.len() + padding, 0xee);
            let mut out = [0xa5; 600];
            let len = answer_v4(&packet, SOURCE, complaint, &mut out).unwrap();

            let kind = match complaint {
                Complaint::TooBig { mtu_bytes } => Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu_bytes }),
                Complaint::PortUnreachable => Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Port),
                Complaint::HostUnreachable => Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Host),
                Complaint::AsTold { kind: (type_u8, code_u8), word } => Icmpv4Type::Unknown { type_u8, code_u8, bytes5to8: word.to_be_bytes() },
                Complaint::TimeExceeded => Icmpv4Type::TimeExceeded(icmpv4::TimeExceededCode::TtlExceededInTransit),
            };
            let mut expected = Vec::new();
            PacketBuilder::ipv4(SOURCE.to_be_bytes(), CLIENT, 64).icmpv4(kind).write(&mut expected, &quote).unwrap();
            prop_assert_eq!(&out[20..len], &expected[20..]);
            let ip = Ipv4HeaderSlice::from_slice(&out).unwrap();
            prop_assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum());
            prop_assert_eq!((ip.total_len() as usize, ip.ttl(), ip.protocol()), (len, 64, IpNumber::ICMP));
            prop_assert_eq!((ip.source(), ip.destination()), (SOURCE.to_be_bytes(), CLIENT));
            prop_assert_eq!((ip.dcp().value(), ip.dont_fragment()), (48, false));
            prop_assert!(len <= 576);
        }

        #[test]
        fn an_answer_in_ipv6_is_what_etherparse_builds(complaint in any_complaint(), payload in 0usize..1500, padding in 0usize..20) {
            let mut packet = udp_v6(CLIENT6, VIP6, payload);
            let quote = packet[..packet.len().min(1232)].to_vec();
            packet.resize(packet.len() + padding, 0xee);
            let mut out = [0xa5; 1300];
            let len = answer_v6(&packet, SOURCE6, complaint, &mut out).unwrap();

            let kind = match complaint {
                Complaint::TooBig { mtu_bytes } => Icmpv6Type::PacketTooBig { mtu: u32::from(mtu_bytes).max(1280) },
                Complaint::PortUnreachable => Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Port),
                Complaint::HostUnreachable => Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Address),
                Complaint::AsTold { kind: (type_u8, code_u8), word } => Icmpv6Type::Unknown { type_u8, code_u8, bytes5to8: word.to_be_bytes() },
                Complaint::TimeExceeded => Icmpv6Type::TimeExceeded(icmpv6::TimeExceededCode::HopLimitExceeded),
            };
            let mut expected = Vec::new();
            PacketBuilder::ipv6(SOURCE6.to_be_bytes(), CLIENT6, 64).icmpv6(kind).write(&mut expected, &quote).unwrap();
            prop_assert_eq!(&out[..len], &expected[..]);
            prop_assert!(len <= 1280);
            let ip = Ipv6HeaderSlice::from_slice(&out).unwrap();
            let icmp = Icmpv6Slice::from_slice(&out[40..len]).unwrap();
            prop_assert!(icmp.is_checksum_valid(ip.source(), ip.destination()));
        }

        #[test]
        fn any_bytes_are_answered_or_not_without_a_panic(
            packet in proptest::collection::vec(any::<u8>(), 0..1500), complaint in any_complaint(), room in 0usize..1500,
        ) {
            let mut out = vec![0; room];
            let of_four = answer_v4(&packet, SOURCE, complaint, &mut out);
            if let Some(len) = of_four {
                prop_assert!(Icmpv4Slice::from_slice(&out[20..len]).is_ok());
            }
            answer_v6(&packet, SOURCE6, complaint, &mut out);
        }
    }
}
