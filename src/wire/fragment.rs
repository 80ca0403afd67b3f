//! Pieces of datagrams (RFC 791, 3.2; RFC 8200, 4.5): where each belongs, and the flow that the first one tells.
//!
//! ```text
//! first   | IP, MF        | transport header | data ...      tells the ports
//! later   | IP, MF offset | data ...                         has addresses and the datagram's identification
//! last    | IP,    offset | data ...                         tells where the datagram ends
//! ```

use super::ipv6;
use super::parse::{NoFlow, Packet};
use super::{ETHERNET, IPV4, IPV6, be16, be32, be128};
use crate::net::{FlowKey, Proto, TcpFlags};

/// A piece of a TCP or UDP datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Of which datagram: its identification stands where a packet's key has the ports. In IPv6 the protocol is no part
    /// of it (RFC 8200, 4.5), and always the same.
    pub key: FlowKey,
    /// Of the datagram; of a later piece of IPv6 it says nothing, as the first alone knows.
    pub proto: Proto,
    /// Where its data belong in the datagram, in bytes.
    pub offset: u16,
    /// Bytes of data.
    pub len: u16,
    /// Whether another piece follows.
    pub more: bool,
    /// Where its data start in the frame, in bytes; in the first piece of IPv6, behind further extension headers.
    pub l4: u16,
    /// Bytes of its IP packet.
    pub ip_len: u16,
    /// Hops left.
    pub ttl: u8,
}

impl Piece {
    /// Whether it is the one that tells the ports.
    pub const fn is_first(&self) -> bool {
        self.offset == 0
    }

    /// Where its data end in the datagram, in bytes. Above 65,535 for one that no datagram has.
    pub const fn end(&self) -> u32 {
        self.offset as u32 + self.len as u32
    }

    /// Whether it would make a datagram longer than IP has.
    pub const fn is_beyond_all(&self) -> bool {
        let headers = if self.key.is_v4() { self.ip_len - self.len } else { 0 };
        self.end() + headers as u32 > u16::MAX as u32
    }

    /// As a packet of the flow whose ports the first piece told, in the order of the header: the source's in the upper
    /// half.
    pub fn as_packet(&self, proto: Proto, ports: u32) -> Packet {
        let (sport, dport) = ((ports >> 16) as u16, ports as u16);
        let key = if self.key.is_v4() {
            FlowKey::v4(proto, self.key.src_v4().0, self.key.dst_v4().0, sport, dport)
        } else {
            FlowKey::v6(proto, self.key.src_v6().0, self.key.dst_v6().0, sport, dport)
        };
        Packet { key, l4: self.l4, ip_len: self.ip_len, ttl: self.ttl, flags: TcpFlags::default() }
    }
}

/// The piece that `frame` holds, of which [`super::parse::careful`] has said that it is one; `None` for anything else.
pub fn piece(frame: &[u8]) -> Option<Piece> {
    let datagram = frame.get(ETHERNET..)?;
    match datagram.first()? >> 4 {
        4 => piece_v4(datagram),
        6 => piece_v6(datagram),
        _ => None,
    }
}

fn piece_v4(datagram: &[u8]) -> Option<Piece> {
    let header: &[u8; IPV4] = datagram.first_chunk()?;
    let (header_len, ip_len) = (u16::from(header[0] & 15) * 4, be16(header, 2));
    let (word, proto) = (be16(header, 6), Proto::from_number(header[9])?);
    let id = u32::from(be16(header, 4));
    Some(Piece {
        key: FlowKey::v4_ports(proto, be32(header, 12), be32(header, 16), id),
        proto,
        offset: (word & 0x1fff) << 3,
        len: ip_len.checked_sub(header_len)?,
        more: word & 0x2000 != 0,
        l4: ETHERNET as u16 + header_len,
        ip_len,
        ttl: header[8],
    })
}

fn piece_v6(datagram: &[u8]) -> Option<Piece> {
    let header: &[u8; IPV6] = datagram.first_chunk()?;
    let ip_len = be16(header, 4).checked_add(IPV6 as u16)?;
    let upper = ipv6::upper(datagram.get(..ip_len as usize)?).ok()?;
    let fragment = upper.fragment?;
    let (high, low) = ((fragment.id >> 16) as u16, fragment.id as u16);
    Some(Piece {
        key: FlowKey::v6(Proto::Udp, be128(header, 8), be128(header, 24), high, low),
        proto: Proto::from_number(upper.next).unwrap_or(Proto::Udp),
        offset: fragment.offset,
        len: ip_len.checked_sub(fragment.at as u16 + ipv6::FRAGMENT as u16)?,
        more: fragment.more,
        l4: (ETHERNET + upper.at) as u16,
        ip_len,
        ttl: header[7],
    })
}

/// The first piece as a packet of its flow.
///
/// # Errors
/// [`NoFlow::TinyFragment`] if the transport header goes on in another piece, where no filter would find its end
/// (RFC 1858, RFC 7112); otherwise what is wrong with that header.
pub fn first(frame: &[u8], piece: &Piece) -> Result<Packet, NoFlow> {
    let segment = frame.get(piece.l4 as usize..ETHERNET + piece.ip_len as usize).unwrap_or_default();
    let mut flags = TcpFlags::default();
    match piece.proto {
        Proto::Tcp => {
            let tcp: &[u8; 20] = segment.first_chunk().ok_or(NoFlow::TinyFragment)?;
            let header = (tcp[12] >> 4) as usize * 4;
            if header < 20 {
                return Err(NoFlow::BadHeaderLength);
            }
            if header > segment.len() {
                return Err(NoFlow::TinyFragment);
            }
            flags = TcpFlags(tcp[13]);
        }
        Proto::Udp => {
            let udp: &[u8; 8] = segment.first_chunk().ok_or(NoFlow::TinyFragment)?;
            if be16(udp, 4) < 8 {
                return Err(NoFlow::BadLength);
            }
        }
    }
    Ok(Packet { flags, ..piece.as_packet(piece.proto, be32(segment, 0)) })
}

/// Whether a later piece begins within where a TCP header stands, to overwrite what the first one told (RFC 3128).
pub const fn reaches_into_header(piece: &Piece) -> bool {
    matches!(piece.proto, Proto::Tcp) && piece.offset > 0 && piece.offset < 20
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::parse;
    use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, PacketBuilder};
    use proptest::prelude::*;

    fn v4(proto: IpNumber, offset: u16, more: bool, data: &[u8]) -> Vec<u8> {
        let mut ip = Ipv4Header::new(data.len() as u16, 64, proto, [192, 0, 2, 1], [10, 0, 0, 1]).unwrap();
        (ip.identification, ip.dont_fragment, ip.more_fragments) = (0x1234, false, more);
        ip.fragment_offset = IpFragOffset::try_new(offset).unwrap();
        ip.header_checksum = ip.calc_header_checksum();
        [&[0; 12][..], &[8, 0], &ip.to_bytes(), data].concat()
    }

    fn v6(next: IpNumber, offset: u16, more: bool, data: &[u8]) -> Vec<u8> {
        let offset = IpFragOffset::try_new(offset).unwrap();
        let fragment = Ipv6FragmentHeader::new(next, offset, more, 0x0102_0304);
        let ip = Ipv6Header {
            payload_length: 8 + data.len() as u16,
            next_header: IpNumber::IPV6_FRAGMENTATION_HEADER,
            hop_limit: 64,
            source: [0x20; 16],
            destination: [0xfd; 16],
            ..Ipv6Header::default()
        };
        [&[0; 12][..], &[0x86, 0xdd], &ip.to_bytes(), &fragment.to_bytes(), data].concat()
    }

    const UDP: [u8; 16] = [0x9c, 0x40, 0, 53, 0x1f, 0x48, 1, 2, 9, 9, 9, 9, 9, 9, 9, 9];

    #[test]
    fn a_piece_says_where_it_belongs_and_the_first_which_flow() {
        for is_v4 in [true, false] {
            let make = if is_v4 { v4 } else { v6 };
            let frame = make(IpNumber::UDP, 0, true, &UDP);
            assert_eq!(parse::parse(&frame), Err(NoFlow::Fragment));
            let head = piece(&frame).unwrap();
            assert!(head.is_first() && head.more && head.proto == Proto::Udp);
            assert_eq!((head.len, head.end(), head.ttl), (16, 16, 64));
            let packet = first(&frame, &head).unwrap();
            assert_eq!((packet.key.src().port, packet.key.dst().port), (40000, 53));
            assert_eq!(packet.l4 as usize, if is_v4 { 34 } else { 62 });

            let frame = make(IpNumber::UDP, 185, false, b"the rest");
            assert_eq!(parse::parse(&frame), Err(NoFlow::Fragment));
            let tail = piece(&frame).unwrap();
            assert_eq!((tail.key, tail.offset, tail.len, tail.more), (head.key, 1480, 8, false));
            assert_eq!(tail.as_packet(Proto::Udp, 0x9c40_0035).key, packet.key);
        }
        assert_ne!(
            piece(&v4(IpNumber::TCP, 3, true, &UDP)).unwrap().key,
            piece(&v4(IpNumber::UDP, 3, true, &UDP)).unwrap().key
        );
    }

    #[test]
    fn a_later_piece_of_ipv6_may_hide_its_protocol_behind_destination_options() {
        let frame = v6(IpNumber::IPV6_DESTINATION_OPTIONS, 185, true, &UDP);
        assert_eq!(parse::parse(&frame), Err(NoFlow::Fragment));
        assert_eq!(piece(&frame).unwrap().offset, 1480);
        let options = [&[17, 0, 1, 4, 0, 0, 0, 0][..], &UDP].concat();
        let frame = v6(IpNumber::IPV6_DESTINATION_OPTIONS, 0, true, &options);
        let head = piece(&frame).unwrap();
        assert_eq!((head.len, head.l4), (24, 70));
        assert_eq!(first(&frame, &head).unwrap().key.src().port, 40000);
    }

    #[test]
    fn a_first_piece_without_its_whole_transport_header_is_tiny() {
        let mut tcp = Vec::new();
        PacketBuilder::ipv4([1; 4], [2; 4], 9).tcp(40000, 80, 7, 1024).syn().write(&mut tcp, &[]).unwrap();
        let tcp = &tcp[20..];
        let told = |proto, data: &[u8]| {
            let frame = v4(proto, 0, true, data);
            first(&frame, &piece(&frame).unwrap())
        };
        assert!(told(IpNumber::TCP, tcp).unwrap().flags.has(TcpFlags::SYN));
        for len in 0..20 {
            assert_eq!(told(IpNumber::TCP, &tcp[..len]), Err(NoFlow::TinyFragment), "{len} bytes");
        }
        let mut longer = tcp.to_vec();
        longer[12] = 0x60;
        assert_eq!(told(IpNumber::TCP, &longer), Err(NoFlow::TinyFragment), "options in the next piece");
        longer[12] = 0x40;
        assert_eq!(told(IpNumber::TCP, &longer), Err(NoFlow::BadHeaderLength));
        assert_eq!(told(IpNumber::UDP, &UDP[..7]), Err(NoFlow::TinyFragment));
        let cut = v6(IpNumber::IPV6_DESTINATION_OPTIONS, 0, true, &[17, 1, 1, 4, 0, 0, 0, 0]);
        assert_eq!(parse::parse(&cut), Err(NoFlow::TinyFragment), "extension headers, too (RFC 7112)");
        assert!(reaches_into_header(&piece(&v4(IpNumber::TCP, 1, true, &UDP)).unwrap()));
        assert!(!reaches_into_header(&piece(&v4(IpNumber::UDP, 1, true, &UDP)).unwrap()));
        assert!(!reaches_into_header(&piece(&v4(IpNumber::TCP, 3, true, &UDP)).unwrap()));
    }

    #[test]
    fn a_piece_beyond_the_longest_datagram_is_known() {
        let ends = |make: fn(IpNumber, u16, bool, &[u8]) -> Vec<u8>, len: usize| {
            piece(&make(IpNumber::UDP, 8191, false, &vec![0; len])).unwrap().is_beyond_all()
        };
        assert!(ends(v4, 1) && ends(v6, 8));
        assert!(!ends(v6, 7));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..150), version in 4u8..8) {
            let mut bytes = bytes;
            if let Some(first) = bytes.get_mut(14) {
                *first = version << 4 | *first & 15;
            }
            if let Some(piece) = piece(&bytes) {
                let _ = (first(&bytes, &piece), piece.is_beyond_all(), piece.as_packet(Proto::Udp, 1));
            }
        }
    }
}
