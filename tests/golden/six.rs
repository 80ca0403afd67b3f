//! The golden network in IPv6: every address has its counterpart there, and a packet is described by the same names.

use super::packet::{Ip, Mac, Packet, Segment, ethernet};
use etherparse::checksum::Sum16BitWords;
use etherparse::{
    Icmpv6Header, Icmpv6Type, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, SlicedPacket, TcpHeader,
    TransportSlice, UdpHeader,
};
use std::net::Ipv6Addr;

/// The flow label of all clients and servers.
const LABEL: u32 = 0xbeef5;

/// Both families.
pub const NETWORK: &str = r#"
[[interface]]
name = "eth0"
mac = "02:00:00:00:00:01"
addresses = ["192.0.2.1/24", "192.0.2.100/32", "2001:db8:0:2:a::1/64", "2001:db8:0:2:a::64/128"]

[[interface]]
name = "eth1"
mac = "02:00:00:00:00:02"
addresses = ["10.0.0.1/24", "fd00:1234:5678:10:b::1/64"]

[[route]]
to = "198.51.100.0/24"
via = "10.0.0.254"

[[route]]
to = "2001:db8:fe51:100::/64"
via = "fd00:1234:5678:10:b::fe"

[[route]]
to = "0.0.0.0/0"
via = "192.0.2.254"

[[neighbour]]
address = "192.0.2.254"
mac = "02:00:00:00:00:fe"

[[neighbour]]
address = "10.0.0.254"
mac = "02:00:00:00:00:fd"

[[neighbour]]
address = "2001:db8:0:2:a::fe"
mac = "02:00:00:00:00:fe"

[[neighbour]]
address = "fd00:1234:5678:10:b::fe"
mac = "02:00:00:00:00:fd"

[[neighbour]]
address = "fd00:1234:5678:10:b::b"
mac = "02:00:00:00:00:11"

[[neighbour]]
address = "fd00:1234:5678:10:b::c"
mac = "02:00:00:00:00:12"
"#;

pub const DEFAULT_ROUTE: &str = r#"
[[route]]
to = "::/0"
via = "2001:db8:0:2:a::fe"
"#;

/// What stands in IPv6 for an address of the golden network. No two networks share a word, so that nothing stays the
/// same by chance when one is put in another's place.
pub fn six(ip: Ip) -> Ipv6Addr {
    let [a, b, c, d, e] = match ip[0] {
        10 => [0xfd00, 0x1234, 0x5678, 0x10, 0xb],
        192 => [0x2001, 0xdb8, 0, 2, 0xa],
        198 => [0x2001, 0xdb8, 0xfe51, 0x100, 0xd],
        203 => [0x2600, 0x1f18, 0xffff, 0x113, 0xc],
        other => panic!("no network of {other}"),
    };
    Ipv6Addr::new(a, b, c, d, e, 0, 0, ip[3].into())
}

/// An address and a port of a family, as reports and configurations have them.
pub fn named(is_six: bool, (ip, port): (Ip, u16)) -> String {
    if is_six { format!("[{}]:{port}", six(ip)) } else { format!("{}:{port}", std::net::Ipv4Addr::from(ip)) }
}

/// A packet, extension headers included.
pub fn ip(packet: &Packet) -> Vec<u8> {
    let (proto, transport) = transport(packet);
    let mut extensions = packet.extensions.clone();
    let first = extensions.set_next_headers(proto);
    let mut bytes = Vec::new();
    extensions.write(&mut bytes, first).unwrap();
    bytes.extend(transport);
    bytes.extend(&packet.payload);
    let header = header(packet, bytes.len(), first);
    [&header.to_bytes()[..], &bytes].concat()
}

fn header(packet: &Packet, len: usize, next: IpNumber) -> Ipv6Header {
    Ipv6Header {
        traffic_class: packet.tos,
        flow_label: Ipv6FlowLabel::try_new(LABEL).unwrap(),
        payload_length: len as u16,
        next_header: next,
        hop_limit: packet.ttl,
        source: six(packet.src.0).octets(),
        destination: six(packet.dst.0).octets(),
    }
}

fn transport(packet: &Packet) -> (IpNumber, Vec<u8>) {
    let ip = header(packet, 0, IpNumber::TCP);
    let (sport, dport, payload) = (packet.src.1, packet.dst.1, &packet.payload[..]);
    match packet.segment {
        Segment::Tcp(flags) => {
            let mut tcp: TcpHeader = packet.tcp_header(flags);
            tcp.checksum = tcp.calc_checksum_ipv6(&ip, payload).unwrap();
            (IpNumber::TCP, tcp.to_bytes().to_vec())
        }
        Segment::Udp => {
            let udp = UdpHeader::with_ipv6_checksum(sport, dport, &ip, payload).unwrap();
            (IpNumber::UDP, udp.to_bytes().to_vec())
        }
        Segment::BareUdp => {
            let udp = UdpHeader {
                source_port: sport,
                destination_port: dport,
                length: 8 + payload.len() as u16,
                checksum: 0,
            };
            (IpNumber::UDP, udp.to_bytes().to_vec())
        }
    }
}

/// The sum of a pseudo-header, uncomplemented, as it stands in a segment that the network card is to complete.
pub fn pseudo_sum(packet: &Packet, proto: IpNumber, len: u16) -> [u8; 2] {
    let sum = Sum16BitWords::new()
        .add_16bytes(six(packet.src.0).octets())
        .add_16bytes(six(packet.dst.0).octets())
        .add_2bytes(len.to_be_bytes())
        .add_2bytes([0, proto.0]);
    (!sum.ones_complement()).to_ne_bytes()
}

/// A packet in an outer one of IPv6 (RFC 2473): traffic class and hop limit are the inner's, the label is the
/// connection's.
pub fn in_six(packet: &Packet, from: Ip, to: Ip) -> Vec<u8> {
    let inner = packet.ip();
    let next_header = if packet.six { IpNumber::IPV6 } else { IpNumber::IPV4 };
    let outer = Ipv6Header {
        traffic_class: packet.tos,
        flow_label: Ipv6FlowLabel::try_new(label(packet)).unwrap(),
        payload_length: inner.len() as u16,
        next_header,
        hop_limit: packet.ttl,
        source: six(from).octets(),
        destination: six(to).octets(),
    };
    ethernet(packet.to_mac, packet.from_mac, 0x86dd, &[&outer.to_bytes()[..], &inner].concat())
}

/// The client's address, folded to 64 bits and mixed with its port, times 2^64 over the golden ratio: the upper 20 bits.
fn label(packet: &Packet) -> u32 {
    let address =
        if packet.six { six(packet.src.0).to_bits() } else { u32::from_be_bytes(packet.src.0).into() };
    let folded = (address >> 64) as u64 ^ address as u64 ^ u64::from(packet.src.1) << 48;
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44) as u32
}

/// A packet in an outer one of IPv4 (RFC 4213): DS field and TTL are the inner's, and DF is set.
pub fn in_four(packet: &Packet, from: Ip, to: Ip) -> Vec<u8> {
    let inner = packet.ip();
    let mut outer = Ipv4Header::new(inner.len() as u16, packet.ttl, IpNumber::IPV6, from, to).unwrap();
    super::packet::set_tos(&mut outer, packet.tos);
    (outer.identification, outer.dont_fragment) = (0, true);
    outer.header_checksum = outer.calc_header_checksum();
    ethernet(packet.to_mac, packet.from_mac, 0x0800, &[&outer.to_bytes()[..], &inner].concat())
}

/// An ICMPv6 error about a packet, which begins with its IP header, as a host sends it.
pub fn icmp_error(
    macs: (Mac, Mac),
    (src, dst, hops): (Ip, Ip, u8),
    kind: Icmpv6Type,
    quote: &[u8],
) -> Vec<u8> {
    let (source, destination) = (six(src).octets(), six(dst).octets());
    let message = Icmpv6Header::with_checksum(kind, source, destination, quote).unwrap().to_bytes();
    let header = Ipv6Header {
        payload_length: (message.len() + quote.len()) as u16,
        next_header: IpNumber::IPV6_ICMP,
        hop_limit: hops,
        source,
        destination,
        ..Ipv6Header::default()
    };
    ethernet(macs.1, macs.0, 0x86dd, &[&header.to_bytes()[..], &message, quote].concat())
}

/// What is wrong with the checksum of a packet of IPv6 without a tunnel; one of IPv4 in it is given back.
pub fn bad_checksum(bytes: &[u8]) -> Result<Option<String>, &[u8]> {
    let (ip, payload) = Ipv6Header::from_slice(bytes).unwrap();
    assert_eq!(usize::from(ip.payload_length), payload.len());
    if ip.next_header == IpNumber::IPV6 || ip.next_header == IpNumber::IPV4 {
        return Err(payload);
    }
    let (found, right) = match SlicedPacket::from_ip(bytes).unwrap().transport {
        Some(TransportSlice::Tcp(tcp)) => {
            (tcp.checksum(), tcp.to_header().calc_checksum_ipv6(&ip, tcp.payload()).unwrap())
        }
        Some(TransportSlice::Udp(udp)) if udp.checksum() != 0 => {
            (udp.checksum(), udp.to_header().calc_checksum_ipv6(&ip, udp.payload()).unwrap())
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            let is_right = icmp.is_checksum_valid(ip.source, ip.destination);
            return Ok((!is_right).then(|| "the ICMPv6 message's checksum".to_owned()));
        }
        _ => return Ok(None),
    };
    Ok((found != right).then(|| format!("the transport checksum is {found:04x}, not {right:04x}")))
}
