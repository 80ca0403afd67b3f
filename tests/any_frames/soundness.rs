//! Whether a frame that is about to be sent is sound, by etherparse: nothing of lvx's own wire code takes part.

use etherparse::checksum::Sum16BitWords;
use etherparse::{IpNumber, Ipv4Header, Ipv6Header, NetSlice, SlicedPacket, TransportSlice};

/// As `director.toml` has them, by interface.
const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
const MTUS: [usize; 2] = [1500, 1400];

/// What a frame is sent as.
#[derive(Debug, Clone, Copy)]
pub enum Kind<'a> {
    /// What became of a frame that came in.
    SentOn {
        /// The frame as it came in.
        from: &'a [u8],
    },
    /// The director's own word.
    Answer,
}

/// What is wrong with a frame that is about to be sent out of an interface.
pub fn unsound(frame: &[u8], egress: usize, kind: Kind<'_>) -> Option<String> {
    let (Some(mac), Some(&mtu)) = (MACS.get(egress), MTUS.get(egress)) else {
        return Some("no such interface".to_owned());
    };
    let Some((ethernet, packet)) = frame.split_first_chunk::<14>() else {
        return Some("no Ethernet header".to_owned());
    };
    if ethernet[6..12] != *mac || ethernet[0] & 1 == 1 {
        return Some("its MACs are not those of its way".to_owned());
    }
    if packet.len() > mtu {
        return Some(format!("its {} bytes exceed the MTU", packet.len()));
    }
    let version = match ethernet[12..] {
        [0x08, 0x00] => 4,
        [0x86, 0xdd] => 6,
        _ => return Some("its Ethernet type is not that of IP".to_owned()),
    };
    if packet.first().is_none_or(|first| first >> 4 != version) {
        return Some("its Ethernet type is of the other family".to_owned());
    }
    bad_header(packet).or_else(|| bad_checksum(packet, kind))
}

/// What is wrong with the IP header of a packet, or with that of one inside.
fn bad_header(packet: &[u8]) -> Option<String> {
    let (hops, len, next, payload) = if packet.first()? >> 4 == 4 {
        let (ip, payload) = match Ipv4Header::from_slice(packet) {
            Ok(parsed) => parsed,
            Err(error) => return Some(error.to_string()),
        };
        if ip.header_checksum != ip.calc_header_checksum() {
            return Some("its IP checksum is wrong".to_owned());
        }
        (ip.time_to_live, ip.total_len.into(), ip.protocol, payload)
    } else {
        let (ip, payload) = match Ipv6Header::from_slice(packet) {
            Ok(parsed) => parsed,
            Err(error) => return Some(error.to_string()),
        };
        (ip.hop_limit, 40 + usize::from(ip.payload_length), ip.next_header, payload)
    };
    if hops == 0 {
        return Some("it has no hop left".to_owned());
    }
    if len != packet.len() {
        return Some(format!("it says that it has {len} bytes, and has {}", packet.len()));
    }
    if matches!(next, IpNumber::IPV4 | IpNumber::IPV6) { bad_header(payload) } else { None }
}

/// A transport checksum that was right stays right; the director's own is.
fn bad_checksum(packet: &[u8], kind: Kind<'_>) -> Option<String> {
    let must_be_right = match kind {
        Kind::Answer => true,
        Kind::SentOn { from } => is_checksum_right(from.get(14..)?).unwrap_or(false),
    };
    // A fragment has no checksum of its own.
    (must_be_right && !is_fragment(packet) && is_checksum_right(packet) != Some(true))
        .then(|| "its checksum is wrong".to_owned())
}

/// Whether a packet, or the one in its tunnel, is a fragment.
fn is_fragment(packet: &[u8]) -> bool {
    let Some(payload) =
        SlicedPacket::from_ip(packet).ok().and_then(|sliced| Some(sliced.net?.ip_payload_ref()?.clone()))
    else {
        return false;
    };
    payload.fragmented
        || matches!(payload.ip_number, IpNumber::IPV4 | IpNumber::IPV6) && is_fragment(payload.payload)
}

/// Whether the checksum of a packet's TCP segment, UDP datagram or ICMP message is right, or of the one in its tunnel;
/// `None` if it has none.
fn is_checksum_right(packet: &[u8]) -> Option<bool> {
    let sliced = SlicedPacket::from_ip(packet).ok()?;
    let (mut pseudo, is_v6) = match sliced.net? {
        NetSlice::Ipv4(ip) => {
            let payload = ip.payload();
            if matches!(payload.ip_number, IpNumber::IPV4 | IpNumber::IPV6) {
                return is_checksum_right(payload.payload);
            }
            let header = ip.header();
            (Sum16BitWords::new().add_4bytes(header.source()).add_4bytes(header.destination()), false)
        }
        NetSlice::Ipv6(ip) => {
            let payload = ip.payload();
            if matches!(payload.ip_number, IpNumber::IPV4 | IpNumber::IPV6) {
                return is_checksum_right(payload.payload);
            }
            let header = ip.header();
            (Sum16BitWords::new().add_16bytes(header.source()).add_16bytes(header.destination()), true)
        }
        _ => return None,
    };
    let mut covered = |proto: IpNumber, bytes: &[u8]| {
        let len = bytes.len() as u32;
        pseudo.add_4bytes(len.to_be_bytes()).add_2bytes([0, proto.0]).add_slice(bytes).ones_complement() == 0
    };
    match sliced.transport? {
        TransportSlice::Tcp(tcp) => Some(covered(IpNumber::TCP, tcp.slice())),
        TransportSlice::Udp(udp) if udp.checksum() == 0 => None,
        TransportSlice::Udp(udp) => Some(covered(IpNumber::UDP, udp.slice())),
        TransportSlice::Icmpv4(icmp) if !is_v6 => {
            Some(Sum16BitWords::new().add_slice(icmp.slice()).ones_complement() == 0)
        }
        TransportSlice::Icmpv6(icmp) if is_v6 => Some(covered(IpNumber::IPV6_ICMP, icmp.slice())),
        _ => None,
    }
}
