//! Finds the flow that a frame belongs to, or says why it has none.
//!
//! Nearly every packet is plain: untagged, no IP options or extension headers, no fragment. For these a few comparisons at
//! fixed places are enough. Whatever is not plain goes to etherparse, which finds the bounds and the header lengths,
//! and what is wrong. A property test holds the two against each other. Everything after this module relies on them:
//! the offsets in a [`Packet`] lie inside the frame, the transport header included.

use super::ipv6::{self, Stuck};
use super::options::{self, BadOptions};
use super::{ETHERNET, IPV4, IPV6, be16, be128, checksum, sctp};
use crate::net::{FlowKey, Proto, TcpFlags};
use etherparse::{
    EtherType, Ethernet2HeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice, TcpHeaderSlice,
};

/// A packet with ports: an unfragmented (or whole) TCP segment, UDP datagram or SCTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Who sent it to whom.
    pub key: FlowKey,
    /// Where the transport header starts in the frame, in bytes. The IP header starts at [`ETHERNET`].
    pub l4: u16,
    /// Bytes of the IP packet: what follows in the frame is padding.
    pub ip_len: u16,
    /// Hops left (TTL, hop limit).
    pub ttl: u8,
    /// For UDP, none; for SCTP, what [`crate::net::SctpEvent::as_flags`] puts there.
    pub flags: TcpFlags,
}

/// Why a frame has no flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoFlow {
    /// Not IP in an untagged Ethernet II frame.
    NotIp,
    /// Neither TCP, UDP nor SCTP, or behind IPv6 headers that the director does not follow.
    OtherProtocol,
    /// A piece of a datagram.
    Fragment,
    /// The first piece of a datagram, without the whole of its headers.
    TinyFragment,
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
    /// An option, of IPv4 or of a hop-by-hop options header, with an impossible length.
    BadOptions,
    /// IPv4 options lay out the packet's route.
    SourceRouted,
}

impl From<BadOptions> for NoFlow {
    fn from(bad: BadOptions) -> NoFlow {
        match bad {
            BadOptions::Malformed => NoFlow::BadOptions,
            BadOptions::SourceRoute => NoFlow::SourceRouted,
        }
    }
}

/// The flow of `frame`, which starts with its Ethernet header.
///
/// # Errors
/// [`NoFlow`] for everything that is not a sound TCP, UDP or SCTP packet.
#[inline]
pub fn parse(frame: &[u8]) -> Result<Packet, NoFlow> {
    plain(frame).or_else(|| plain_v6(frame)).map_or_else(|| careful(frame), Ok)
}

/// A plain IPv4 packet at a glance; `None` for anything out of the ordinary, which [`careful`] then looks at.
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

/// A plain IPv6 packet at a glance: no extension headers.
#[inline]
pub fn plain_v6(frame: &[u8]) -> Option<Packet> {
    const TRANSPORT: usize = ETHERNET + IPV6;
    let head: &[u8; TRANSPORT + 8] = frame.first_chunk()?;
    let payload_len = be16(head, ETHERNET + 4);
    let ordinary = head[12..14] == [0x86, 0xdd] && head[ETHERNET] >> 4 == 6;
    let payload = frame.get(TRANSPORT..TRANSPORT + payload_len as usize).filter(|_| ordinary)?;
    let (proto, flags) = match head[ETHERNET + 6] {
        6 => {
            let tcp: &[u8; 20] = payload.first_chunk()?;
            let header = (tcp[12] >> 4) as usize * 4;
            if header < 20 || header > payload.len() {
                return None;
            }
            (Proto::Tcp, TcpFlags(tcp[13]))
        }
        17 => {
            let len = be16(payload, 4) as usize;
            if len < 8 || len > payload.len() {
                return None;
            }
            (Proto::Udp, TcpFlags::default())
        }
        _ => return None,
    };
    let (src, dst) = (be128(head, ETHERNET + 8), be128(head, ETHERNET + 24));
    let key = FlowKey::v6(proto, src, dst, be16(head, TRANSPORT), be16(head, TRANSPORT + 2));
    let ip_len = payload_len.checked_add(IPV6 as u16)?;
    Some(Packet { key, l4: TRANSPORT as u16, ip_len, ttl: head[ETHERNET + 7], flags })
}

/// Any packet, with everything that can be wrong told apart.
///
/// # Errors
/// As [`parse`].
#[cold]
pub fn careful(frame: &[u8]) -> Result<Packet, NoFlow> {
    let ethernet = Ethernet2HeaderSlice::from_slice(frame).map_err(|_| NoFlow::Truncated)?;
    match ethernet.ether_type() {
        EtherType::IPV4 => careful_v4(&frame[ETHERNET..]),
        EtherType::IPV6 => careful_v6(&frame[ETHERNET..]),
        _ => Err(NoFlow::NotIp),
    }
}

fn careful_v4(datagram: &[u8]) -> Result<Packet, NoFlow> {
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
        IpNumber::SCTP => Proto::Sctp,
        _ => return Err(NoFlow::OtherProtocol),
    };
    if ip.is_fragmenting_payload() {
        return Err(NoFlow::Fragment);
    }
    options::of_ipv4(ip.options())?;
    let (sport, dport, flags) = ports_of(proto, &datagram[header_len..ip_len as usize])?;
    let (src, dst) = (u32::from_be_bytes(ip.source()), u32::from_be_bytes(ip.destination()));
    let key = FlowKey::v4(proto, src, dst, sport, dport);
    Ok(Packet { key, l4: (ETHERNET + header_len) as u16, ip_len, ttl: ip.ttl(), flags })
}

fn careful_v6(datagram: &[u8]) -> Result<Packet, NoFlow> {
    let ip = Ipv6HeaderSlice::from_slice(datagram).map_err(|_| bad_ipv6_header(datagram))?;
    // A payload length of 0 is a jumbogram's (RFC 2675): no frame holds one.
    let ip_len = ip.payload_length().checked_add(IPV6 as u16).ok_or(NoFlow::BadLength)?;
    let datagram = datagram.get(..ip_len as usize).ok_or(NoFlow::BadLength)?;
    let upper = ipv6::upper(datagram).map_err(|stuck| match stuck {
        Stuck::Truncated => NoFlow::BadLength,
        Stuck::Tiny => NoFlow::TinyFragment,
        Stuck::BadVersion => NoFlow::BadVersion,
        Stuck::TooMany | Stuck::Routed => NoFlow::OtherProtocol,
    })?;
    let proto = match upper.next {
        6 => Proto::Tcp,
        17 => Proto::Udp,
        // What is behind these, the first piece knows.
        ipv6::DESTINATION if upper.fragment.is_some() => return Err(NoFlow::Fragment),
        132 => Proto::Sctp,
        _ => return Err(NoFlow::OtherProtocol),
    };
    if upper.fragment.is_some() {
        return Err(NoFlow::Fragment);
    }
    options::of_ipv6(datagram)?;
    let (sport, dport, flags) = ports_of(proto, datagram.get(upper.at..).ok_or(NoFlow::Truncated)?)?;
    let (src, dst) = (u128::from_be_bytes(ip.source()), u128::from_be_bytes(ip.destination()));
    let key = FlowKey::v6(proto, src, dst, sport, dport);
    Ok(Packet { key, l4: (ETHERNET + upper.at) as u16, ip_len, ttl: ip.hop_limit(), flags })
}

fn ports_of(proto: Proto, segment: &[u8]) -> Result<(u16, u16, TcpFlags), NoFlow> {
    match proto {
        Proto::Tcp => ports_of_tcp(segment),
        Proto::Udp => ports_of_udp(segment),
        Proto::Sctp => ports_of_sctp(segment),
    }
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

fn ports_of_sctp(packet: &[u8]) -> Result<(u16, u16, TcpFlags), NoFlow> {
    if packet.len() < sctp::HEADER {
        return Err(NoFlow::Truncated);
    }
    Ok((be16(packet, 0), be16(packet, 2), sctp::event(packet).as_flags()))
}

fn bad_ip_header(datagram: &[u8]) -> NoFlow {
    match datagram.first() {
        Some(first) if first >> 4 != 4 => NoFlow::BadVersion,
        Some(first) if ((first & 0xf) as usize) * 4 < IPV4 => NoFlow::BadHeaderLength,
        _ => NoFlow::Truncated,
    }
}

fn bad_ipv6_header(datagram: &[u8]) -> NoFlow {
    match datagram.first() {
        Some(first) if first >> 4 != 6 => NoFlow::BadVersion,
        _ => NoFlow::Truncated,
    }
}

fn bad_tcp_header(segment: &[u8]) -> NoFlow {
    if segment.len() < 20 { NoFlow::Truncated } else { NoFlow::BadHeaderLength }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::err::ipv6_exts::HeaderError;
    use etherparse::err::packet::SliceError;
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

    /// An IPv6 packet with this many destination options headers of eight bytes.
    fn v6(is_tcp: bool, options: usize, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        let (src, dst) = ([0x20; 16], [0xfd; 16]);
        let ip = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6(src, dst, 64);
        if is_tcp {
            ip.tcp(40000, 80, 7, 1024).write(&mut frame, payload)
        } else {
            ip.udp(40000, 53).write(&mut frame, payload)
        }
        .unwrap();
        for _ in 0..options {
            let next = std::mem::replace(&mut frame[20], 60);
            frame.splice(54..54, [next, 0, 1, 4, 0, 0, 0, 0]);
        }
        let payload_len = (frame.len() - 54) as u16;
        frame[18..20].copy_from_slice(&payload_len.to_be_bytes());
        frame
    }

    #[test]
    fn ipv6_extension_headers_are_stepped_over_up_to_a_bound() {
        for options in 0..=5 {
            let packet = parse(&v6(true, options, b"x")).unwrap();
            assert_eq!((packet.l4 as usize, packet.ip_len as usize), (54 + 8 * options, 61 + 8 * options));
            assert_eq!((packet.key.src().port, packet.ttl), (40000, 64));
        }
        assert_eq!(parse(&v6(true, 6, b"x")), Err(NoFlow::OtherProtocol));
    }

    #[test]
    fn what_is_broken_in_ipv6_is_told_apart() {
        let whole = v6(true, 0, b"");
        let bent = |at: usize, value: u8| {
            let mut frame = whole.clone();
            frame[at] = value;
            parse(&frame)
        };
        assert_eq!(bent(14, 0x45), Err(NoFlow::BadVersion));
        assert_eq!(bent(19, 21), Err(NoFlow::BadLength), "beyond the frame");
        assert_eq!(bent(18, 0xff), Err(NoFlow::BadLength), "beyond any packet");
        assert_eq!(bent(20, 58), Err(NoFlow::OtherProtocol));
        assert_eq!(bent(66, 0x40), Err(NoFlow::BadHeaderLength), "a TCP header of 16 bytes");
        assert_eq!(parse(&whole[..53]), Err(NoFlow::Truncated));
        for options in 0..3 {
            let whole = v6(false, options, b"abc");
            assert!((0..whole.len()).all(|len| parse(&whole[..len]).is_err()), "cut anywhere");
        }
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

    /// It has no SCTP: [`sctp`] has tests of its own.
    fn told_by_etherparse(key: FlowKey) -> bool {
        key.proto() != Proto::Sctp
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_without_a_panic(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(packet) = plain(&frame).or_else(|| plain_v6(&frame)) {
                prop_assert_eq!(careful(&frame), Ok(packet));
            }
            let _ = careful(&frame);
        }

        #[test]
        fn what_is_parsed_of_ipv6_is_what_etherparse_sees(
            is_tcp: bool, payload in proptest::collection::vec(any::<u8>(), 0..40), options in 0usize..3,
            bends in proptest::collection::vec((12usize..90, any::<u8>()), 0..3),
        ) {
            let mut frame = v6(is_tcp, options, &payload);
            for (at, value) in bends {
                if let Some(byte) = frame.get_mut(at) { *byte = value; }
            }
            if let Some(packet) = plain_v6(&frame) {
                prop_assert_eq!(careful(&frame), Ok(packet));
            }
            if let Ok(Packet { key, ip_len, l4, .. }) = parse(&frame) && !key.is_v4() && told_by_etherparse(key) {
                let sliced = match SlicedPacket::from_ethernet(&frame) {
                    // RFC 8200 wants hop-by-hop options first; IPVS's walk takes them anywhere, and so does ours.
                    Err(SliceError::Ipv6Exts(HeaderError::HopByHopNotAtStart)) => return Ok(()),
                    other => other.expect("etherparse sees a flow as well"),
                };
                let Some(NetSlice::Ipv6(ip)) = &sliced.net else { panic!("no IPv6") };
                let header = ip.header();
                prop_assert_eq!(key.src().addr, header.source_addr());
                prop_assert_eq!(key.dst().addr, header.destination_addr());
                let ports = match &sliced.transport {
                    Some(TransportSlice::Tcp(tcp)) => (tcp.source_port(), tcp.destination_port()),
                    Some(TransportSlice::Udp(udp)) => (udp.source_port(), udp.destination_port()),
                    other => panic!("{other:?}"),
                };
                prop_assert_eq!((key.src().port, key.dst().port), ports);
                prop_assert!(ip_len as usize + ETHERNET <= frame.len() && (l4 as usize) < frame.len());
            }
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
            if let Ok(packet) = parse(&frame) && told_by_etherparse(packet.key) {
                let (src, dst, sport, dport) = second_opinion(&frame).expect("etherparse sees a flow as well");
                let key = packet.key;
                prop_assert_eq!(key.src().to_string(), format!("{}.{}.{}.{}:{sport}", src[0], src[1], src[2], src[3]));
                prop_assert_eq!(key.dst().to_string(), format!("{}.{}.{}.{}:{dport}", dst[0], dst[1], dst[2], dst[3]));
                prop_assert!(packet.ip_len as usize + ETHERNET <= frame.len());
            }
        }
    }
}
