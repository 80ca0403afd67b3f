//! A TCP stream of which bytes were replaced by more or fewer: sequence numbers behind them are shifted, and what
//! acknowledges them is shifted back.

use super::checksum::{self, Change};
use super::{be16, be32, put16};
use crate::net::{Proto, Shift};

/// Where a TCP header keeps its numbers.
const SEQ: usize = 4;
const ACK: usize = 8;
/// Bytes of a TCP header without options.
const TCP: usize = 20;
/// Option kinds (RFC 9293, RFC 2018).
const END: u8 = 0;
const NOP: u8 = 1;
const SACK: u8 = 5;

/// The sequence number of the segment at `l4`.
pub fn seq(frame: &[u8], l4: usize) -> Option<u32> {
    frame.get(l4..l4 + TCP).map(|tcp| be32(tcp, SEQ))
}

/// Shifts a segment of the sender's. The checksum stays as right as it was.
pub fn shift_forth(frame: &mut [u8], l4: usize, shift: &Shift) {
    if frame.len() >= l4 + TCP {
        replace(frame, l4, l4 + SEQ, |seq| shift.forth(seq));
    }
}

/// Shifts what a segment of the receiver's acknowledges, SACK blocks too.
pub fn shift_back(frame: &mut [u8], l4: usize, shift: &Shift) {
    if frame.len() < l4 + TCP {
        return;
    }
    replace(frame, l4, l4 + ACK, |ack| shift.back(ack));
    let end = l4 + (frame[l4 + 12] >> 4) as usize * 4;
    let mut at = l4 + TCP;
    while at < end.min(frame.len()) {
        match frame[at] {
            END => return,
            NOP => at += 1,
            kind => {
                let Some(len) = frame[..end.min(frame.len())].get(at + 1).map(|&len| len as usize) else {
                    return;
                };
                if len < 2 || at + len > end.min(frame.len()) {
                    return;
                }
                let edges = (at + 2..at + len).step_by(4).filter(|edge| edge + 4 <= at + len);
                if kind == SACK {
                    edges.for_each(|edge| replace(frame, l4, edge, |number| shift.back(number)));
                }
                at += len;
            }
        }
    }
}

/// Replaces the number at `at`, and mends the checksum of the header at `l4`.
fn replace(frame: &mut [u8], l4: usize, at: usize, by: impl FnOnce(u32) -> u32) {
    let old = be32(frame, at);
    let new = by(old);
    // At an odd place its bytes belong to other halves of the sum's words.
    let as_summed = |number: u32| if (at - l4).is_multiple_of(2) { number } else { number.rotate_left(8) };
    let change = Change::NONE.long(as_summed(old), as_summed(new));
    let checksum_at = l4 + checksum::offset(Proto::Tcp);
    let sum = change.applied_to(be16(frame, checksum_at).to_be_bytes());
    frame[at..at + 4].copy_from_slice(&new.to_be_bytes());
    put16(frame, checksum_at, u16::from_be_bytes(sum));
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{PacketBuilder, TcpOptionElement as Option, TcpSlice};
    use proptest::prelude::*;

    fn segment(seq: u32, ack: u32, sack: &[(u32, u32)], nops: usize) -> Vec<u8> {
        let blocks = |i: usize| sack.get(i).copied();
        let mut options = vec![Option::Noop; nops];
        if let Some(first) = blocks(0) {
            options.push(Option::SelectiveAcknowledgement(first, [blocks(1), None, None]));
        }
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([192, 0, 2, 1], [10, 0, 0, 1], 64)
            .tcp(40000, 21, seq, 512)
            .ack(ack)
            .options(&options)
            .unwrap()
            .write(&mut frame, b"odd")
            .unwrap();
        frame
    }

    proptest! {
        #[test]
        fn a_shifted_segment_is_the_one_etherparse_builds(
            seq: u32, ack: u32, blocks in proptest::collection::vec(any::<(u32, u32)>(), 0..3), nops in 0usize..4,
            at: u32, by in -30i32..30,
        ) {
            let mut shift = Shift::default();
            shift.changed(at, by);
            let mut frame = segment(seq, ack, &blocks, nops);
            shift_forth(&mut frame, 34, &shift);
            prop_assert_eq!(&frame, &segment(shift.forth(seq), ack, &blocks, nops));
            let mut frame = segment(seq, ack, &blocks, nops);
            shift_back(&mut frame, 34, &shift);
            let back: Vec<_> = blocks.iter().map(|&(a, b)| (shift.back(a), shift.back(b))).collect();
            prop_assert_eq!(&frame, &segment(seq, shift.back(ack), &back, nops));
            prop_assert!(TcpSlice::from_slice(&frame[34..]).is_ok());
        }

        #[test]
        fn any_bytes_are_shifted_without_a_panic(
            mut frame in proptest::collection::vec(any::<u8>(), 0..120), l4 in 0usize..130,
        ) {
            let mut shift = Shift::default();
            shift.changed(1, 3);
            let len = frame.len();
            shift_forth(&mut frame, l4, &shift);
            shift_back(&mut frame, l4, &shift);
            prop_assert_eq!((seq(&frame, l4).is_some(), frame.len()), (l4 + TCP <= len, len));
        }
    }
}
