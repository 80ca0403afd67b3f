//! The maximum segment size that a TCP SYN announces (RFC 9293, 3.7.1).

use super::checksum::{self, Change};
use super::{be16, put16};
use crate::net::Proto;

/// Option kinds.
const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;

/// Bytes of a TCP header without options.
const TCP: usize = 20;

/// Lowers the MSS that the TCP header at `l4` announces to `most`; the checksum is right afterwards if it was before.
/// Whether there was one to be lowered.
pub fn clamp(frame: &mut [u8], l4: usize, most: u16) -> bool {
    let Some(at) = place(frame, l4) else { return false };
    let old = be16(frame, at);
    if old <= most {
        return false;
    }
    // Behind a NOP the two bytes may belong to two words of the sum: then they count the other way round.
    let as_summed = |value: u16| if (at - l4).is_multiple_of(2) { value } else { value.swap_bytes() };
    let change = Change::NONE.word(as_summed(old), as_summed(most));
    let checksum_at = l4 + checksum::offset(Proto::Tcp);
    let sum = change.applied_to(be16(frame, checksum_at).to_be_bytes());
    put16(frame, at, most);
    put16(frame, checksum_at, u16::from_be_bytes(sum));
    true
}

/// Where the two bytes of the MSS stand.
fn place(frame: &[u8], l4: usize) -> Option<usize> {
    let header_len = (*frame.get(l4 + 12)? >> 4) as usize * 4;
    let options = frame.get(l4 + TCP..l4 + header_len)?;
    let mut at = 0;
    loop {
        match *options.get(at)? {
            END => return None,
            NOP => at += 1,
            kind => {
                let len = *options.get(at + 1)? as usize;
                if len < 2 || at + len > options.len() {
                    return None;
                }
                if kind == MSS {
                    return (len == 4).then_some(l4 + TCP + at + 2);
                }
                at += len;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{PacketBuilder, TcpOptionElement as Option, TcpSlice};
    use proptest::prelude::*;

    const L4: usize = 14 + 20;

    fn syn(options: &[Option]) -> Vec<u8> {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([192, 0, 2, 1], [10, 0, 0, 1], 64);
        builder.tcp(1, 80, 7, 1024).syn().options(options).unwrap().write(&mut frame, &[]).unwrap();
        frame
    }

    #[test]
    fn a_larger_mss_is_lowered_wherever_it_stands_and_the_checksum_with_it() {
        let before: [&[Option]; 4] = [
            &[],
            &[Option::Noop],
            &[Option::WindowScale(7)],
            &[Option::Timestamp(1, 2), Option::SelectiveAcknowledgementPermitted, Option::Noop],
        ];
        for before in before {
            let with = |mss| syn(&[before, &[Option::MaximumSegmentSize(mss)]].concat());
            let mut frame = with(1460);
            assert!(clamp(&mut frame, L4, 1440));
            assert_eq!(frame, with(1440));
            assert!(!clamp(&mut frame, L4, 1440));
            assert_eq!(frame, with(1440));
        }
    }

    #[test]
    fn without_an_mss_or_with_broken_options_nothing_changes() {
        let mut broken = syn(&[Option::MaximumSegmentSize(1460)]);
        for len in [0, 1, 2, 3, 5, 40] {
            broken[L4 + 21] = len;
            let before = broken.clone();
            assert!(!clamp(&mut broken, L4, 500), "a length of {len}");
            assert_eq!(broken, before);
        }
        for options in [&[][..], &[Option::Noop], &[Option::WindowScale(3)]] {
            let mut frame = syn(options);
            assert!(!clamp(&mut frame, L4, 500));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_clamped_without_a_panic_and_only_mss_and_checksum_change(
            mut frame in proptest::collection::vec(any::<u8>(), 0..100), l4 in 0usize..110, most: u16,
        ) {
            let before = frame.clone();
            let clamped = clamp(&mut frame, l4, most);
            let changed = before.iter().zip(&frame).filter(|(a, b)| a != b).count();
            prop_assert!(changed <= 4 * usize::from(clamped));
        }

        #[test]
        fn a_clamped_syn_is_the_one_etherparse_builds(mss: u16, most: u16, noops in 0usize..5) {
            let with = |mss| syn(&[vec![Option::Noop; noops], vec![Option::MaximumSegmentSize(mss)]].concat());
            let mut frame = with(mss);
            prop_assert_eq!(clamp(&mut frame, L4, most), most < mss);
            prop_assert_eq!(&frame, &with(mss.min(most)));
            let tcp = TcpSlice::from_slice(&frame[L4..]).unwrap();
            prop_assert_eq!(tcp.calc_checksum_ipv4([192, 0, 2, 1], [10, 0, 0, 1]).unwrap(), tcp.checksum());
        }
    }
}
