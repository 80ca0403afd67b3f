//! Frames with their times as one string of bytes, as a fuzzer bends it. Every string is a tape.
//!
//! ```text
//! flags 1 | ticks since the frame before 2 | bytes 2 | frame ... and so on
//! ```
//!
//! Numbers are big-endian. Flags say where a frame comes in, which of its checksums are put right before (a fuzzer finds
//! no checksums), and where a batch ends.

use super::director::{Director, Received};
use etherparse::checksum::Sum16BitWords;
use lvx::net::Tick;

/// The frame comes in on the second interface.
pub const ETH1: u8 = 1;
/// The IPv4 header checksum is put right.
pub const MEND_IP: u8 = 2;
/// The checksum of an ICMP message is put right.
pub const MEND_ICMP: u8 = 4;
/// The batch ends behind this frame.
pub const LAST: u8 = 8;
/// Silent connections are forgotten behind this frame.
pub const SWEEP: u8 = 16;

/// Frames on a tape, at most, and bytes of one.
const MOST: usize = 400;
const LONGEST: usize = 2000;

/// A frame on a tape.
pub struct Record {
    pub flags: u8,
    pub later: u16,
    pub frame: Vec<u8>,
}

impl Record {
    /// The record as it stands on a tape.
    pub fn to_bytes(&self) -> Vec<u8> {
        let len = self.frame.len() as u16;
        [&[self.flags][..], &self.later.to_be_bytes(), &len.to_be_bytes(), &self.frame].concat()
    }
}

/// The frames on a tape. One that ends too early is as long as it is.
fn records(mut tape: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    while let Some((&[flags, a, b, c, d], rest)) = tape.split_first_chunk::<5>() {
        let len = usize::from(u16::from_be_bytes([c, d])).min(rest.len());
        let (frame, rest) = rest.split_at(len);
        let frame = mended(frame[..len.min(LONGEST)].to_vec(), flags);
        records.push(Record { flags, later: u16::from_be_bytes([a, b]), frame });
        tape = rest;
        if records.len() == MOST {
            break;
        }
    }
    records
}

fn mended(mut frame: Vec<u8>, flags: u8) -> Vec<u8> {
    let Some(ip) = frame.get_mut(14..) else { return frame };
    let Some(&first) = ip.first() else { return frame };
    let header = if first >> 4 == 4 { usize::from(first & 15) * 4 } else { 40 };
    if flags & MEND_IP > 0 && first >> 4 == 4 && (20..=ip.len()).contains(&header) {
        put(&mut ip[..header], 10, Sum16BitWords::new());
    }
    if flags & MEND_ICMP == 0 || ip.len() < header.max(20) + 4 {
        return frame;
    }
    if first >> 4 == 4 && ip[9] == 1 {
        let end = usize::from(u16::from_be_bytes([ip[2], ip[3]])).min(ip.len());
        if let Some(message) = ip.get_mut(header..end) {
            put(message, 2, Sum16BitWords::new());
        }
    } else if first >> 4 == 6 && ip[6] == 58 {
        let len = u16::from_be_bytes([ip[4], ip[5]]);
        let pseudo =
            Sum16BitWords::new().add_slice(&ip[8..40]).add_2bytes(len.to_be_bytes()).add_2bytes([0, 58]);
        let end = (header + usize::from(len)).min(ip.len());
        put(&mut ip[header..end], 2, pseudo);
    }
    frame
}

/// Puts the checksum at `at` right.
fn put(bytes: &mut [u8], at: usize, sum: Sum16BitWords) {
    if bytes.len() >= at + 2 {
        bytes[at..at + 2].fill(0);
        let checksum = sum.add_slice(bytes).ones_complement();
        bytes[at..at + 2].copy_from_slice(&checksum.to_ne_bytes());
    }
}

/// Plays a tape to a new director, and looks at all that it does.
///
/// # Errors
/// What must hold, and does not.
pub fn play(tape: &[u8]) -> Result<(), String> {
    let mut director = Director::new();
    let (mut now, mut batch) = (Tick(0), Vec::<Received>::new());
    for Record { flags, later, frame } in records(tape) {
        if later > 0 && !batch.is_empty() {
            director.play(&std::mem::take(&mut batch), now)?;
        }
        now = Tick(now.0.wrapping_add(later.into()));
        batch.push((frame, u16::from(flags & ETH1)));
        if flags & (LAST | SWEEP) > 0 {
            director.play(&std::mem::take(&mut batch), now)?;
        }
        if flags & SWEEP > 0 {
            director.sweep(now);
        }
    }
    director.play(&batch, now)?;
    director.account()
}
