//! What a worker's time goes into.

use super::{Counter, Distribution, Histogram};
use std::time::Duration;

/// How many packets came at once: 1, up to 2, up to 4 … 64.
pub type Batches = Distribution<0, 8>;

/// What a turn went into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Packets.
    Busy,
    /// Looking for packets in vain, and whatever else is done beside them.
    Polling,
    /// Sleep until a packet came, or for want of one.
    Sleeping,
}

impl Turn {
    /// Each of them.
    pub const ALL: [Turn; 3] = [Turn::Busy, Turn::Polling, Turn::Sleeping];
}

/// Counted once a turn, beside what is counted for each packet.
#[derive(Debug, Default)]
pub struct Work {
    nanoseconds: [Counter; Turn::ALL.len()],
    batches: Histogram<0, 8>,
}

impl Work {
    /// A turn took so long; only the worker may.
    #[inline]
    pub fn spent(&self, turn: Turn, took: Duration) {
        self.nanoseconds[turn as usize].add(took.as_nanos() as u64);
    }

    /// So many packets came at once; only the worker may.
    #[inline]
    pub fn lent(&self, packets: usize) {
        self.batches.count(packets as u32);
    }

    /// How long all turns of a kind took.
    pub fn time(&self, turn: Turn) -> Duration {
        Duration::from_nanos(self.nanoseconds[turn as usize].get())
    }

    /// How many packets came at once.
    pub fn batches(&self) -> Batches {
        self.batches.get()
    }
}
