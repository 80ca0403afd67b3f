//! The floor: what no director with a table in memory can go below. A loop that touches each packet's header, and
//! for each reads two cache lines in turn (a bucket's and a connection's), asked for a batch ahead, and writes to
//! the second.
#![allow(unsafe_code)]

use crate::world::{HEADROOM, World};
use lvx::conntrack::prefetch;
use lvx::dataplane::port::BATCH;

#[repr(align(64))]
#[derive(Clone, Copy)]
struct Line([u64; 8]);

/// As many buckets and connections as there are flows.
pub struct Floor {
    buckets: Vec<Line>,
    connections: Vec<Line>,
}

impl Floor {
    /// The memory for these flows.
    pub fn new(flows: u32) -> Floor {
        Floor { buckets: lines(flows), connections: lines(flows) }
    }

    /// Goes over the packets of all frames.
    pub fn run(&mut self, world: &mut World) {
        let mut packets = world.packets();
        loop {
            let mut batch: arrayvec::ArrayVec<(&mut [u8], u32), BATCH> = arrayvec::ArrayVec::new();
            for packet in packets.by_ref().take(BATCH) {
                let packet = &mut packet[HEADROOM..];
                let word =
                    |at| u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
                let spread =
                    (word(26) ^ word(30)).wrapping_mul(0x9e37_79b1) ^ word(34).wrapping_mul(0x85eb_ca6b);
                let place = place(spread, self.buckets.len());
                prefetch(&self.buckets[place as usize]);
                batch.push((packet, place));
            }
            if batch.is_empty() {
                return;
            }
            for (_, place) in &mut batch {
                *place = self.buckets[*place as usize].0[0] as u32;
                prefetch(&self.connections[*place as usize]);
            }
            for (packet, place) in &mut batch {
                let connection = &mut self.connections[*place as usize].0;
                connection[1] += 1;
                packet[5] = connection[0] as u8;
                packet[22] = packet[22].wrapping_sub(1);
            }
        }
    }
}

fn place(spread: u32, n: usize) -> u32 {
    ((spread as u64 * n as u64) >> 32) as u32
}

/// Lines that each name one line in no order, on huge pages where the system gives them, as the table's are.
fn lines(n: u32) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::with_capacity(n as usize);
    let start = lines.as_mut_ptr().cast::<u8>();
    let (skip, bytes) = (start.align_offset(4096), n as usize * size_of::<Line>());
    if bytes > skip {
        // SAFETY: the advised pages lie within the vector's own memory, and the advice changes nothing it holds.
        unsafe { libc::madvise(start.add(skip).cast(), bytes - skip, libc::MADV_HUGEPAGE) };
    }
    lines.extend((0..n).map(|i| Line([place(i.wrapping_mul(0x9e37_79b1), n as usize) as u64; 8])));
    lines
}
