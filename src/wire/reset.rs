//! Answers a TCP segment with a reset, as a host does that has no such port (RFC 9293, 3.10.7.1).

use super::segment::{LONGEST, Segment, TCP};
use super::{IPV4, IPV6, be16, be32, be128};
use crate::net::{FlowKey, Proto, TcpFlags};

/// Writes the reset for `packet`, which begins with its IP header and whose TCP header starts at `l4`, into `out`.
/// Returns how many bytes of `out` it has, from its IP header on.
///
/// `None` for a segment that is itself a reset, and for what is too short.
pub fn answer(packet: &[u8], l4: usize, out: &mut [u8; LONGEST]) -> Option<usize> {
    let tcp: &[u8; TCP] = packet.get(l4..)?.first_chunk()?;
    let flags = TcpFlags(tcp[13]);
    if flags.has(TcpFlags::RST) {
        return None;
    }
    let is_v4 = packet.first()? >> 4 == 4;
    let (header, ip_len) = match is_v4 {
        true => (packet.get(..IPV4)?, be16(packet, 2) as usize),
        false => (packet.get(..IPV6)?, IPV6 + be16(packet, 4) as usize),
    };
    let data = ip_len.checked_sub(l4 + (tcp[12] >> 4) as usize * 4)?;
    let (sport, dport) = (be16(tcp, 0), be16(tcp, 2));
    let key = match is_v4 {
        true => FlowKey::v4(Proto::Tcp, be32(header, 16), be32(header, 12), dport, sport),
        false => FlowKey::v6(Proto::Tcp, be128(header, 24), be128(header, 8), dport, sport),
    };
    let reset = if flags.has(TcpFlags::ACK) {
        Segment { flags: TcpFlags::RST, seq: be32(tcp, 8), ack: 0, options: &[] }
    } else {
        let counted = [TcpFlags::SYN, TcpFlags::FIN].map(|flag| flags.has(flag) as u32);
        let acknowledged = be32(tcp, 4).wrapping_add(data as u32 + counted[0] + counted[1]);
        Segment { flags: TcpFlags::RST | TcpFlags::ACK, seq: 0, ack: acknowledged, options: &[] }
    };
    Some(reset.write(&key, out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{IpNumber, Ipv4Header, PacketBuilder};
    use proptest::prelude::*;

    const CLIENT: [u8; 4] = [192, 0, 2, 7];
    const VIP: [u8; 4] = [10, 0, 0, 100];

    proptest! {
        #[test]
        fn a_reset_is_what_etherparse_builds(
            is_v6: bool, sport: u16, dport: u16, seq: u32, ack: Option<u32>, syn: bool, fin: bool,
            payload in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let ip = |from: [u8; 4], to: [u8; 4], hops| {
                let wide = |end: [u8; 4]| [end, [0; 4], [0; 4], end].concat().try_into().unwrap();
                if is_v6 { PacketBuilder::ipv6(wide(from), wide(to), hops) } else { PacketBuilder::ipv4(from, to, hops) }
            };
            let mut segment = ip(CLIENT, VIP, 9).tcp(sport, dport, seq, 5);
            if let Some(ack) = ack { segment = segment.ack(ack); }
            if syn { segment = segment.syn(); }
            if fin { segment = segment.fin(); }
            let mut packet = Vec::new();
            segment.write(&mut packet, &payload).unwrap();

            let counted = u32::from(syn) + u32::from(fin) + payload.len() as u32;
            let expected = ip(VIP, CLIENT, 64).tcp(dport, sport, ack.unwrap_or(0), 0).rst();
            let expected = if ack.is_some() { expected } else { expected.ack(seq.wrapping_add(counted)) };
            let mut right = Vec::new();
            expected.write(&mut right, &[]).unwrap();
            let mut out = [0xa5; LONGEST];
            let len = answer(&packet, if is_v6 { 40 } else { 20 }, &mut out).unwrap();
            prop_assert_eq!(&out[..len], &right[..]);
        }

        #[test]
        fn any_bytes_are_answered_or_not_without_a_panic(
            packet in proptest::collection::vec(any::<u8>(), 0..100), l4 in 0usize..110,
        ) {
            let _ = answer(&packet, l4, &mut [0; LONGEST]);
        }
    }

    #[test]
    fn a_reset_is_not_answered() {
        let mut packet = Vec::new();
        PacketBuilder::ipv4(CLIENT, VIP, 9).tcp(1, 2, 3, 4).rst().write(&mut packet, &[]).unwrap();
        assert_eq!(answer(&packet, 20, &mut [0; LONGEST]), None);
        let header = Ipv4Header::new(0, 9, IpNumber::TCP, CLIENT, VIP).unwrap().to_bytes();
        assert_eq!(answer(&header, 20, &mut [0; LONGEST]), None, "there is no segment");
    }
}
