//! Segments that make their receiver say where it stands, without a word of its stream.
//!
//! Whoever gets a segment that lies beyond its window answers with an acknowledgement, and changes nothing (RFC 9293,
//! 3.10.7.4). That names the number that it expects next, and so the one that a reset must have to be heeded (RFC 5961,
//! 3.2). Whoever has no such connection answers with a reset.

use super::segment::{LONGEST, Segment};
use crate::net::{FlowKey, TcpFlags};

/// Writes a probe for whoever receives packets of this key into `out`. Returns how many bytes of it that is, from its IP
/// header on.
///
/// Nobody knows where the window is. So it is asked twice, `again` from the other half of all numbers: one of the two is
/// not in it. The same holds of timestamps, without which some hosts drop a segment unseen (RFC 7323, 3.2): the older of
/// the two is answered whatever its number (5.3).
pub fn write(key: &FlowKey, again: bool, out: &mut [u8; LONGEST]) -> usize {
    let number: u32 = if again { 1 << 31 } else { 0 };
    let mut options = [1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0];
    options[4..8].copy_from_slice(&number.to_be_bytes());
    Segment { flags: TcpFlags::ACK, seq: number, ack: number, options: &options }.write(key, out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Proto;
    use etherparse::{PacketBuilder, TcpOptionElement};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_probe_is_what_etherparse_builds(is_v6: bool, src: u32, dst: u32, sport: u16, dport: u16, again: bool) {
            let number = if again { 0x8000_0000 } else { 0 };
            let (wide, narrow) = (|end: u32| u128::from(end) << 96 | 7, |end: u32| end.to_be_bytes());
            let (key, ip) = match is_v6 {
                true => (
                    FlowKey::v6(Proto::Tcp, wide(src), wide(dst), sport, dport),
                    PacketBuilder::ipv6(wide(src).to_be_bytes(), wide(dst).to_be_bytes(), 64),
                ),
                false => (
                    FlowKey::v4(Proto::Tcp, src, dst, sport, dport),
                    PacketBuilder::ipv4(narrow(src), narrow(dst), 64),
                ),
            };
            use TcpOptionElement::{Noop, Timestamp};
            let expected = ip.tcp(sport, dport, number, 0).ack(number);
            let mut right = Vec::new();
            expected.options(&[Noop, Noop, Timestamp(number, 0)]).unwrap().write(&mut right, &[]).unwrap();
            let mut out = [0xa5; LONGEST];
            let len = write(&key, again, &mut out);
            prop_assert_eq!(&out[..len], &right[..]);
        }
    }
}
