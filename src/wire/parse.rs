//! Finds the flow that a frame belongs to, or says why it has none.
//!
//! Nearly every packet is plain: untagged, no IP options, no fragment. For these a few comparisons at fixed places
//! are enough. Whatever is not plain goes to etherparse, which finds the bounds and the header lengths, and what
//! is wrong. A property test holds the two against each other. Everything after this module relies on them: the
//! offsets in a [`Packet`] lie inside the frame, the transport header included.

use super::{ETHERNET, IPV4, be16, checksum};
use crate::net::{FlowKey, Proto, TcpFlags};
use etherparse::{EtherType, Ethernet2HeaderSlice, IpNumber, Ipv4HeaderSlice, TcpHeaderSlice};

/// A packet with ports: an unfragmented (or whole) TCP segment or UDP datagram over IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Who sent it to whom.
    pub key: FlowKey,
    /// Where the transport header starts in the frame, in bytes. The IP header starts at [`ETHERNET`].
    pub l4: u16,
    /// Bytes of the IP packet: what follows in the frame is padding.
    pub ip_len: u16,
    /// Hops left.
    pub ttl: u8,
    /// For UDP, none.
    pub flags: TcpFlags,
}

/// Why a frame has no flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoFlow {
    /// Not IPv4 in an untagged Ethernet II frame.
    NotIp,
    /// IPv4, but neither TCP nor UDP.
    OtherProtocol,
    /// A piece of a datagram.
    Fragment,
    /// The frame ends too early.
    Truncated,
    /// The version field does not fit the Ethernet type.
    BadVersion,
    /// An impossible IPv4 or TCP header length.
    BadHeaderLength,
    /// An impossible total or UDP length.
    BadLength,
    /// The IPv4 header's checksum is wrong.
    BadChecksum,
}

/// The flow of `frame`, which starts with its Ethernet header.
///
/// # Errors
/// [`NoFlow`] for everything that is not a sound TCP or UDP packet over IPv4.
#[inline]
pub fn parse(frame: &[u8]) -> Result<Packet, NoFlow> {
    plain(frame).map_or_else(|| careful(frame), Ok)
}

/// A plain packet at a glance; `None` for anything out of the ordinary, which [`careful`] then looks at.
#[inline(always)]
pub fn plain(frame: &[u8]) -> Option<Packet> {
    const TRANSPORT: usize = ETHERNET + IPV4;
    // The headers up to that of TCP; a shorter UDP packet, which has no padding then, is looked at carefully.
    let head: &[u8; TRANSPORT + 20] = frame.first_chunk()?;
    let half = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let ip: &[u8; IPV4] = head[ETHERNET..].first_chunk()?;
    // Ethernet type, version and header length in one; then the more-fragments flag and the offset.
    let ordinary = word(12) & 0xffff_ff00 == 0x0800_4500 && half(20) & 0x3fff == 0;
    let ip_len = half(16);
    if !ordinary || ETHERNET + ip_len as usize > frame.len() || !checksum::is_right(ip) {
        return None;
    }
    let (proto, flags) = if head[23] == Proto::Tcp as u8 {
        let header = (head[46] >> 4) as usize * 4;
        if header < 20 || IPV4 + header > ip_len as usize {
            return None;
        }
        (Proto::Tcp, TcpFlags(head[47]))
    } else if head[23] == Proto::Udp as u8 {
        let len = half(TRANSPORT + 4) as usize;
        if len < 8 || IPV4 + len > ip_len as usize {
            return None;
        }
        (Proto::Udp, TcpFlags::default())
    } else {
        return None;
    };
    let key = FlowKey::v4_ports(proto, word(26), word(30), word(TRANSPORT));
    Some(Packet { key, l4: TRANSPORT as u16, ip_len, ttl: head[22], flags })
}

/// Any packet, with everything that can be wrong told apart.
///
/// # Errors
/// As [`parse`].
#[cold]
pub fn careful(frame: &[u8]) -> Result<Packet, NoFlow> {
    let ethernet = Ethernet2HeaderSlice::from_slice(frame).map_err(|_| NoFlow::Truncated)?;
    if ethernet.ether_type() != EtherType::IPV4 {
        return Err(NoFlow::NotIp);
    }
    let datagram = &frame[ETHERNET..];
    let ip = Ipv4HeaderSlice::from_slice(datagram).map_err(|_| bad_ip_header(datagram))?;
    let header_len = ip.slice().len();
    let ip_len = ip.total_len();
    if ip_len as usize > datagram.len() || (ip_len as usize) < header_len {
        return Err(NoFlow::BadLength);
    }
    if checksum::of_header(ip.slice()) != 0 {
        return Err(NoFlow::BadChecksum);
    }
    let proto = match ip.protocol() {
        IpNumber::TCP => Proto::Tcp,
        IpNumber::UDP => Proto::Udp,
        _ => return Err(NoFlow::OtherProtocol),
    };
    if ip.is_fragmenting_payload() {
        return Err(NoFlow::Fragment);
    }
    let segment = &datagram[header_len..ip_len as usize];
    let (sport, dport, flags) = match proto {
        Proto::Tcp => ports_of_tcp(segment)?,
        Proto::Udp => ports_of_udp(segment)?,
    };
    let (src, dst) = (u32::from_be_bytes(ip.source()), u32::from_be_bytes(ip.destination()));
    let key = FlowKey::v4(proto, src, dst, sport, dport);
    Ok(Packet { key, l4: (ETHERNET + header_len) as u16, ip_len, ttl: ip.ttl(), flags })
}

fn ports_of_tcp(segment: &[u8]) -> Result<(u16, u16, TcpFlags), NoFlow> {
    let tcp = TcpHeaderSlice::from_slice(segment).map_err(|_| bad_tcp_header(segment))?;
    Ok((tcp.source_port(), tcp.destination_port(), TcpFlags(tcp.slice()[13])))
}

fn ports_of_udp(segment: &[u8]) -> Result<(u16, u16, TcpFlags), NoFlow> {
    if segment.len() < 8 {
        return Err(NoFlow::Truncated);
    }
    // RFC 768: the length counts the header, and may leave bytes of the IP payload over.
    let len = be16(segment, 4) as usize;
    if len < 8 || len > segment.len() {
        return Err(NoFlow::BadLength);
    }
    Ok((be16(segment, 0), be16(segment, 2), TcpFlags::default()))
}

fn bad_ip_header(datagram: &[u8]) -> NoFlow {
    match datagram.first() {
        Some(first) if first >> 4 != 4 => NoFlow::BadVersion,
        Some(first) if ((first & 0xf) as usize) * 4 < IPV4 => NoFlow::BadHeaderLength,
        _ => NoFlow::Truncated,
    }
}

fn bad_tcp_header(segment: &[u8]) -> NoFlow {
    if segment.len() < 20 { NoFlow::Truncated } else { NoFlow::BadHeaderLength }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
    use proptest::prelude::*;

    fn tcp(payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([192, 0, 2, 1], [10, 0, 0, 1], 64)
            .tcp(40000, 80, 7, 1024)
            .syn()
            .write(&mut frame, payload)
            .unwrap();
        frame
    }

    fn udp(payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([192, 0, 2, 1], [10, 0, 0, 1], 64)
            .udp(40000, 53)
            .write(&mut frame, payload)
            .unwrap();
        frame
    }

    /// Puts the header checksum right after a test has bent the header.
    fn mended(mut frame: Vec<u8>) -> Vec<u8> {
        let end = ETHERNET + ((frame[ETHERNET] & 0xf) as usize * 4).max(IPV4);
        frame[24..26].fill(0);
        let right = checksum::of_header(&frame[ETHERNET..end]);
        frame[24..26].copy_from_slice(&right.to_be_bytes());
        frame
    }

    fn bent(frame: &[u8], at: usize, value: u8) -> Result<Packet, NoFlow> {
        let mut frame = frame.to_vec();
        frame[at] = value;
        parse(&mended(frame))
    }

    #[test]
    fn a_syn_has_its_ports_flags_and_lengths() {
        let packet = parse(&tcp(b"x")).unwrap();
        assert_eq!(packet.key.to_string(), "TCP 192.0.2.1:40000 > 10.0.0.1:80");
        assert_eq!((packet.l4, packet.ip_len, packet.ttl, packet.flags), (34, 41, 64, TcpFlags::SYN));
    }

    #[test]
    fn padding_is_not_part_of_the_packet() {
        let mut frame = udp(b"");
        frame.resize(60, 0);
        assert_eq!(parse(&frame).unwrap().ip_len, 28);
    }

    #[test]
    fn what_is_not_ours_is_told_apart_from_what_is_broken() {
        let whole = tcp(b"");
        assert_eq!(bent(&whole, 12, 0x86), Err(NoFlow::NotIp));
        assert_eq!(bent(&whole, 23, 1), Err(NoFlow::OtherProtocol));
        assert_eq!(bent(&whole, 20, 0x20), Err(NoFlow::Fragment), "more fragments");
        assert_eq!(bent(&whole, 21, 0x01), Err(NoFlow::Fragment), "an offset");
        assert_eq!(bent(&whole, 14, 0x65), Err(NoFlow::BadVersion));
        assert_eq!(bent(&whole, 14, 0x44), Err(NoFlow::BadHeaderLength));
        assert_eq!(bent(&whole, 17, 200), Err(NoFlow::BadLength), "beyond the frame");
        assert_eq!(bent(&whole, 17, 19), Err(NoFlow::BadLength), "below the header");
        assert_eq!(bent(&whole, 46, 0x40), Err(NoFlow::BadHeaderLength), "a TCP header of 16 bytes");
        assert_eq!(bent(&whole, 46, 0xf0), Err(NoFlow::BadHeaderLength), "a TCP header beyond the segment");
        assert_eq!(bent(&udp(b"xyz"), 39, 7), Err(NoFlow::BadLength), "a UDP length below its header");
        assert_eq!(bent(&udp(b"xyz"), 39, 12), Err(NoFlow::BadLength), "a UDP length beyond the packet");
        let mut wrong = whole.clone();
        wrong[25] ^= 1;
        assert_eq!(parse(&wrong), Err(NoFlow::BadChecksum));
    }

    #[test]
    fn a_frame_cut_anywhere_is_refused() {
        for whole in [tcp(b""), udp(b"")] {
            for len in 0..whole.len() {
                assert!(parse(&whole[..len]).is_err(), "cut to {len} bytes");
            }
        }
    }

    #[test]
    fn ip_options_move_the_ports() {
        let mut frame = tcp(b"");
        frame.splice(34..34, [1, 1, 1, 0]);
        frame[14] = 0x46;
        frame[17] += 4;
        let packet = parse(&mended(frame)).unwrap();
        assert_eq!((packet.l4, packet.key.src().port), (38, 40000));
    }

    /// What etherparse, reading the whole frame by itself, says of it.
    fn second_opinion(frame: &[u8]) -> Option<(Vec<u8>, Vec<u8>, u16, u16)> {
        let sliced = SlicedPacket::from_ethernet(frame).ok()?;
        let Some(NetSlice::Ipv4(ip)) = &sliced.net else { return None };
        let (sport, dport) = match &sliced.transport {
            Some(TransportSlice::Tcp(tcp)) => (tcp.source_port(), tcp.destination_port()),
            Some(TransportSlice::Udp(udp)) => (udp.source_port(), udp.destination_port()),
            _ => return None,
        };
        Some((ip.header().source().to_vec(), ip.header().destination().to_vec(), sport, dport))
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_without_a_panic(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(packet) = plain(&frame) {
                prop_assert_eq!(careful(&frame), Ok(packet));
            }
            let _ = careful(&frame);
        }

        #[test]
        fn what_is_parsed_is_what_etherparse_sees(
            is_tcp: bool, payload in proptest::collection::vec(any::<u8>(), 0..40),
            bends in proptest::collection::vec((12usize..60, any::<u8>()), 0..3),
        ) {
            let mut frame = if is_tcp { tcp(&payload) } else { udp(&payload) };
            for (at, value) in bends {
                if let Some(byte) = frame.get_mut(at) { *byte = value; }
            }
            let end = ETHERNET + ((frame[ETHERNET] & 0xf) as usize * 4).max(IPV4);
            if end <= frame.len() { frame = mended(frame); }
            if let Some(packet) = plain(&frame) {
                prop_assert_eq!(careful(&frame), Ok(packet));
            }
            if let Ok(packet) = parse(&frame) {
                let (src, dst, sport, dport) = second_opinion(&frame).expect("etherparse sees a flow as well");
                let key = packet.key;
                prop_assert_eq!(key.src().to_string(), format!("{}.{}.{}.{}:{sport}", src[0], src[1], src[2], src[3]));
                prop_assert_eq!(key.dst().to_string(), format!("{}.{}.{}.{}:{dport}", dst[0], dst[1], dst[2], dst[3]));
                prop_assert!(packet.ip_len as usize + ETHERNET <= frame.len());
            }
        }
    }
}
