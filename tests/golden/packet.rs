//! Packets as they are described, built by etherparse: those that come in, and, described anew, those that must
//! come out. Nothing of lvx's own wire code takes part.

use super::six;
use etherparse::checksum::Sum16BitWords;
use etherparse::{
    Icmpv4Header, Icmpv4Type, IpDscp, IpEcn, IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, Ipv6Extensions,
    SlicedPacket, TcpHeader, TcpOptionElement, TransportSlice, UdpHeader,
};

pub type Mac = [u8; 6];
pub type Ip = [u8; 4];

/// A TCP segment or UDP datagram in an Ethernet frame.
#[derive(Debug, Clone)]
pub struct Packet {
    pub from_mac: Mac,
    pub to_mac: Mac,
    pub src: (Ip, u16),
    pub dst: (Ip, u16),
    pub ttl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    pub id: u16,
    pub dont_fragment: bool,
    /// IP options, a multiple of 4 bytes.
    pub options: &'static [u8],
    /// Whether it is of IPv6: between the counterparts of its addresses there (see [`six::six`]).
    pub six: bool,
    /// Extension headers, in IPv6.
    pub extensions: Ipv6Extensions,
    pub segment: Segment,
    /// The MSS that a TCP segment announces.
    pub mss: Option<u16>,
    pub payload: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
pub enum Segment {
    /// Letters of `FSRPA`.
    Tcp(&'static str),
    Udp,
    /// Without a checksum.
    BareUdp,
}

impl Packet {
    /// A TCP segment with these flags (letters of `FSRPA`).
    pub fn tcp(flags: &'static str, src: (Ip, u16), dst: (Ip, u16)) -> Packet {
        Packet {
            from_mac: super::network::ROUTER_MAC,
            to_mac: super::network::ETH0_MAC,
            src,
            dst,
            ttl: 64,
            tos: 0,
            id: 0x1234,
            dont_fragment: true,
            options: &[],
            six: false,
            extensions: Ipv6Extensions::default(),
            segment: Segment::Tcp(flags),
            mss: None,
            payload: Vec::new(),
        }
    }

    /// A UDP datagram.
    pub fn udp(src: (Ip, u16), dst: (Ip, u16), payload: &[u8]) -> Packet {
        Packet { segment: Segment::Udp, payload: payload.to_vec(), ..Packet::tcp("", src, dst) }
    }

    pub fn with(&self, payload: impl Into<Vec<u8>>) -> Packet {
        Packet { payload: payload.into(), ..self.clone() }
    }

    /// The same packet in IPv6.
    pub fn six(self) -> Packet {
        Packet { six: true, ..self }
    }

    /// The same packet a hop further on.
    pub fn hop(&self, from_mac: Mac, to_mac: Mac) -> Packet {
        Packet { from_mac, to_mac, ttl: self.ttl - 1, ..self.clone() }
    }

    /// Bytes of the IP packet.
    pub fn ip_len(&self) -> u64 {
        self.ip().len() as u64
    }

    /// The IP packet.
    pub fn ip(&self) -> Vec<u8> {
        if self.six {
            return six::ip(self);
        }
        let header = self.ip_header();
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend(self.transport(&header));
        bytes.extend(&self.payload);
        bytes
    }

    /// The Ethernet frame.
    pub fn frame(&self) -> Vec<u8> {
        ethernet(self.to_mac, self.from_mac, if self.six { 0x86dd } else { 0x0800 }, &self.ip())
    }

    /// The frame as it is where it was sent, with a checksum that the network card is to complete: the sum of the
    /// pseudo-header alone.
    pub fn frame_of_an_offloading_sender(&self) -> Vec<u8> {
        let (proto, offset) = match self.segment {
            Segment::Tcp(_) => (IpNumber::TCP, 16),
            Segment::Udp | Segment::BareUdp => (IpNumber::UDP, 6),
        };
        let mut frame = self.frame();
        let l4 = if self.six { 54 + self.extensions.header_len() } else { 34 + self.options.len() };
        let len = (frame.len() - l4) as u16;
        if self.six {
            frame[l4 + offset..l4 + offset + 2].copy_from_slice(&six::pseudo_sum(self, proto, len));
            return frame;
        }
        let sum = Sum16BitWords::new()
            .add_4bytes(self.src.0)
            .add_4bytes(self.dst.0)
            .add_2bytes([0, proto.0])
            .add_2bytes(len.to_be_bytes())
            .ones_complement();
        frame[l4 + offset..l4 + offset + 2].copy_from_slice(&(!sum).to_ne_bytes());
        frame
    }

    /// The frame that carries this packet inside an outer one (RFC 2003): DS field, DF and TTL are the inner's,
    /// its identification is mixed with the client's address and port.
    pub fn tunnelled(&self, from: Ip, to: Ip) -> Vec<u8> {
        let inner = self.ip();
        let ([a, b, c, d], port) = self.src;
        let salt = u16::from_be_bytes([a, b]) ^ u16::from_be_bytes([c, d]) ^ port;
        let mut outer = Ipv4Header::new(inner.len() as u16, self.ttl, IpNumber::IPV4, from, to).unwrap();
        set_tos(&mut outer, self.tos);
        outer.identification = self.id ^ salt;
        outer.dont_fragment = self.dont_fragment;
        outer.header_checksum = outer.calc_header_checksum();
        ethernet(self.to_mac, self.from_mac, 0x0800, &[&outer.to_bytes()[..], &inner].concat())
    }

    fn ip_header(&self) -> Ipv4Header {
        let (len, proto) = match self.segment {
            Segment::Tcp(_) if self.mss.is_some() => (24, IpNumber::TCP),
            Segment::Tcp(_) => (20, IpNumber::TCP),
            Segment::Udp | Segment::BareUdp => (8, IpNumber::UDP),
        };
        let len = (len + self.payload.len()) as u16;
        let mut ip = Ipv4Header::new(len, self.ttl, proto, self.src.0, self.dst.0).unwrap();
        set_tos(&mut ip, self.tos);
        ip.identification = self.id;
        ip.dont_fragment = self.dont_fragment;
        ip.options = Ipv4Options::try_from(self.options).unwrap();
        ip.set_payload_len(len.into()).unwrap();
        ip.header_checksum = ip.calc_header_checksum();
        ip
    }

    /// The TCP header, but for its checksum.
    pub fn tcp_header(&self, flags: &str) -> TcpHeader {
        let mut tcp = TcpHeader::new(self.src.1, self.dst.1, 1000, 64240);
        let has = |letter| flags.contains(letter);
        (tcp.fin, tcp.syn, tcp.rst, tcp.psh, tcp.ack) = (has('F'), has('S'), has('R'), has('P'), has('A'));
        tcp.acknowledgment_number = if tcp.ack { 2000 } else { 0 };
        let options: Vec<_> = self.mss.into_iter().map(TcpOptionElement::MaximumSegmentSize).collect();
        tcp.set_options(&options).unwrap();
        tcp
    }

    fn transport(&self, ip: &Ipv4Header) -> Vec<u8> {
        match self.segment {
            Segment::Tcp(flags) => {
                let mut tcp = self.tcp_header(flags);
                tcp.checksum = tcp.calc_checksum_ipv4(ip, &self.payload).unwrap();
                tcp.to_bytes().to_vec()
            }
            Segment::Udp => UdpHeader::with_ipv4_checksum(self.src.1, self.dst.1, ip, &self.payload)
                .unwrap()
                .to_bytes()
                .to_vec(),
            Segment::BareUdp => {
                let len = self.payload.len();
                UdpHeader::without_ipv4_checksum(self.src.1, self.dst.1, len).unwrap().to_bytes().to_vec()
            }
        }
    }
}

pub fn set_tos(ip: &mut Ipv4Header, tos: u8) {
    ip.dscp = IpDscp::try_new(tos >> 2).unwrap();
    ip.ecn = IpEcn::try_new(tos & 3).unwrap();
}

/// An Ethernet II frame.
pub fn ethernet(to: Mac, from: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &ethertype.to_be_bytes(), payload].concat()
}

/// An ICMP error about a packet, which begins with its IP header, as a host sends it.
pub fn icmp_error(
    macs: (Mac, Mac),
    (src, dst, ttl): (Ip, Ip, u8),
    kind: Icmpv4Type,
    quote: &[u8],
) -> Vec<u8> {
    let message = Icmpv4Header::with_checksum(kind, quote).to_bytes();
    let mut ip =
        Ipv4Header::new((message.len() + quote.len()) as u16, ttl, IpNumber::ICMP, src, dst).unwrap();
    set_tos(&mut ip, 0xc0);
    ip.identification = u16::from_be_bytes([quote[4], quote[5]]);
    ip.dont_fragment = false;
    ip.header_checksum = ip.calc_header_checksum();
    ethernet(macs.1, macs.0, 0x0800, &[&ip.to_bytes()[..], &message, quote].concat())
}

/// A frame with another IP header, which is given a right checksum unless `change` breaks it later.
pub fn with_header(frame: &[u8], change: impl FnOnce(&mut Ipv4Header)) -> Vec<u8> {
    let (mut ip, rest) = Ipv4Header::from_slice(&frame[14..]).unwrap();
    change(&mut ip);
    ip.header_checksum = ip.calc_header_checksum();
    [&frame[..14], &ip.to_bytes()[..], rest].concat()
}

/// A piece of a datagram, from this offset (in 8 bytes) on.
pub fn fragment(frame: &[u8], offset: u16, more: bool) -> Vec<u8> {
    with_header(frame, |ip| {
        ip.dont_fragment = false;
        ip.more_fragments = more;
        ip.fragment_offset = IpFragOffset::try_new(offset).unwrap();
    })
}

/// The fragments of a frame's packet, each with so many bytes of data, a multiple of 8, but the last.
pub fn pieces(frame: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (whole, payload) = Ipv4Header::from_slice(&frame[14..]).unwrap();
    let chunks: Vec<&[u8]> = payload.chunks(size).collect();
    let piece = |(n, data): (usize, &&[u8])| {
        let mut ip = whole.clone();
        (ip.dont_fragment, ip.more_fragments) = (false, whole.more_fragments || n + 1 < chunks.len());
        let offset = whole.fragment_offset.value() as usize + n * size / 8;
        ip.fragment_offset = IpFragOffset::try_new(offset as u16).unwrap();
        ip.set_payload_len(data.len()).unwrap();
        ip.header_checksum = ip.calc_header_checksum();
        [&frame[..14], &ip.to_bytes()[..], data].concat()
    };
    chunks.iter().enumerate().map(piece).collect()
}

/// The frame that carries another's packet inside an outer one, as [`Packet::tunnelled`] does: `client` is the packet's
/// sender.
pub fn wrapped(frame: &[u8], macs: (Mac, Mac), ends: (Ip, Ip), (client, port): (Ip, u16)) -> Vec<u8> {
    let (inner, rest) = Ipv4Header::from_slice(&frame[14..]).unwrap();
    let [a, b, c, d] = client;
    let salt = u16::from_be_bytes([a, b]) ^ u16::from_be_bytes([c, d]) ^ port;
    let mut outer =
        Ipv4Header::new(inner.total_len, inner.time_to_live, IpNumber::IPV4, ends.0, ends.1).unwrap();
    (outer.dscp, outer.ecn, outer.dont_fragment) = (inner.dscp, inner.ecn, inner.dont_fragment);
    outer.identification = inner.identification ^ salt;
    outer.header_checksum = outer.calc_header_checksum();
    ethernet(macs.1, macs.0, 0x0800, &[&outer.to_bytes()[..], &inner.to_bytes(), rest].concat())
}

/// What is wrong with the checksums of a frame, those inside a tunnel included.
pub fn bad_checksum(frame: &[u8]) -> Option<String> {
    bad_ip_checksum(&frame[14..])
}

fn bad_ip_checksum(bytes: &[u8]) -> Option<String> {
    if bytes[0] >> 4 == 6 {
        return six::bad_checksum(bytes).unwrap_or_else(bad_ip_checksum);
    }
    let (ip, payload) = Ipv4Header::from_slice(bytes).unwrap();
    if ip.header_checksum != ip.calc_header_checksum() {
        return Some(format!("the IP checksum is {:04x}", ip.header_checksum));
    }
    // The transport's stands over all fragments together.
    if ip.is_fragmenting_payload() {
        return None;
    }
    if ip.protocol == IpNumber::IPV4 || ip.protocol == IpNumber::IPV6 {
        return bad_ip_checksum(payload);
    }
    let (found, right) = match SlicedPacket::from_ip(bytes).unwrap().transport? {
        TransportSlice::Tcp(tcp) => {
            (tcp.checksum(), tcp.to_header().calc_checksum_ipv4(&ip, tcp.payload()).unwrap())
        }
        TransportSlice::Udp(udp) if udp.checksum() != 0 => {
            (udp.checksum(), udp.to_header().calc_checksum_ipv4(&ip, udp.payload()).unwrap())
        }
        TransportSlice::Icmpv4(icmp) => {
            let sum = Sum16BitWords::new().add_slice(icmp.slice()).ones_complement();
            return (sum != 0).then(|| format!("the ICMP message sums up to {sum:04x}"));
        }
        _ => return None,
    };
    (found != right).then(|| format!("the transport checksum is {found:04x}, not {right:04x}"))
}
