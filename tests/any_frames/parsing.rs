//! What must hold of the parsers, whatever the bytes: they agree with each other, and with etherparse.

use etherparse::{IpNumber, NetSlice, SlicedPacket, TransportSlice};
use lvx::wire::ETHERNET;
use lvx::wire::parse::{Packet, careful, parse, plain, plain_v6};

/// Parses a frame every way that there is.
///
/// # Errors
/// Which of them disagree.
pub fn agree(frame: &[u8]) -> Result<(), String> {
    let (four, six, slow) = (plain(frame), plain_v6(frame), careful(frame));
    for quick in [four, six].into_iter().flatten() {
        if slow != Ok(quick) {
            return Err(format!("at a glance {quick:?}, carefully {slow:?}"));
        }
    }
    if parse(frame) != slow {
        return Err(format!("{:?}, carefully {slow:?}", parse(frame)));
    }
    if let Ok(packet) = slow {
        lies_inside(frame, &packet)?;
    }
    match (slow, flow(frame)) {
        (Ok(packet), Some(flow)) if of(&packet) != flow => Err(format!("{packet:?}, by etherparse {flow:?}")),
        (Ok(packet), None) if !is_unknown_order(frame) => Err(format!("{packet:?}, by etherparse nothing")),
        (Err(why), Some(flow)) if is_plain(frame) => Err(format!("{why:?}, by etherparse {flow:?}")),
        _ => Ok(()),
    }
}

/// Addresses, ports, and where the transport header starts.
type Flow = (String, String, usize);

fn of(packet: &Packet) -> Flow {
    (packet.key.src().to_string(), packet.key.dst().to_string(), packet.l4.into())
}

/// All of the headers are in the frame.
fn lies_inside(frame: &[u8], packet: &Packet) -> Result<(), String> {
    let end = ETHERNET + usize::from(packet.ip_len);
    let header = match packet.key.proto() {
        lvx::net::Proto::Tcp => 20,
        lvx::net::Proto::Udp => 8,
    };
    let lies = end <= frame.len() && usize::from(packet.l4) + header <= end;
    if lies { Ok(()) } else { Err(format!("{packet:?} of {} bytes", frame.len())) }
}

/// What etherparse, reading the whole frame by itself, says of it.
fn flow(frame: &[u8]) -> Option<Flow> {
    let sliced = SlicedPacket::from_ethernet(frame).ok()?;
    let (src, dst): (std::net::IpAddr, std::net::IpAddr) = match &sliced.net? {
        NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        _ => return None,
    };
    let (sport, dport, slice) = match &sliced.transport? {
        TransportSlice::Tcp(tcp) => (tcp.source_port(), tcp.destination_port(), tcp.slice()),
        TransportSlice::Udp(udp) => (udp.source_port(), udp.destination_port(), udp.slice()),
        _ => return None,
    };
    let end = |addr, port| std::net::SocketAddr::new(addr, port).to_string();
    let l4 = slice.as_ptr() as usize - frame.as_ptr() as usize;
    Some((end(src, sport), end(dst, dport), l4))
}

/// Whether an IPv6 packet has hop-by-hop options behind another extension header: etherparse goes no further there, and
/// the director, as IPVS, does.
fn is_unknown_order(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x86, 0xdd])
        && matches!(frame.get(20).copied().map(IpNumber), Some(IpNumber(0 | 43 | 44 | 60)))
}

/// Whether a frame is untagged, of IP, in one piece and without options, extension headers or a UDP length of 0, and its
/// header checksum is right: what etherparse sees in such a frame, there must be.
fn is_plain(frame: &[u8]) -> bool {
    let Ok(sliced) = SlicedPacket::from_ethernet(frame) else { return false };
    let is_plain = match &sliced.net {
        Some(NetSlice::Ipv4(ip)) => {
            let header = ip.header();
            ip.extensions().is_empty()
                && !header.is_fragmenting_payload()
                && header.options().is_empty()
                && header.header_checksum() == header.to_header().calc_header_checksum()
        }
        Some(NetSlice::Ipv6(ip)) => ip.header().payload_length() > 0 && ip.extensions().is_empty(),
        _ => false,
    };
    let has_length = match &sliced.transport {
        Some(TransportSlice::Udp(udp)) => udp.length() >= 8,
        _ => true,
    };
    is_plain && has_length && sliced.link_exts.is_empty()
}
