//! What each worker counts: written by the worker alone, read by anyone.
//!
//! A counter has one writer, so an addition is a load and a store, no atomic read-modify-write. Sums over workers
//! are taken by whoever reads.

mod histogram;
mod latency;
mod openings;
mod work;

pub use histogram::{Distribution, Histogram};
pub use latency::Latency;
pub use openings::{Opened, Openings};
pub use work::{Batches, Turn, Work};

use super::verdict::{DropReason, HostReason, Verdict};
use crate::conntrack::datagrams::Wrong;
use crate::net::Direction;
use crate::service::RealId;
use latency::Latencies;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the counter's writer may.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Makes it what somebody else has counted, or what there is now of something; only the writer may.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// The count now.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What passed between clients and one real server. Bytes are those of IP packets, as IPVS counts them.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct RealCounters {
    /// Connections opened.
    pub connections: Counter,
    /// Packets to the server.
    pub in_packets: Counter,
    /// Bytes to the server.
    pub in_bytes: Counter,
    /// Packets from the server (where replies pass).
    pub out_packets: Counter,
    /// Bytes from the server.
    pub out_bytes: Counter,
    /// How it deals with new connections.
    pub openings: Openings,
}

const _: () = assert!(size_of::<RealCounters>() == 64);

impl RealCounters {
    /// A packet of so many bytes passed this way.
    #[inline(always)]
    pub fn passed(&self, direction: Direction, bytes: u16) {
        let (packets, total) = match direction {
            Direction::Original => (&self.in_packets, &self.in_bytes),
            Direction::Reply => (&self.out_packets, &self.out_bytes),
        };
        packets.add(1);
        total.add(bytes as u64);
    }
}

/// The counts of one worker.
#[derive(Debug)]
pub struct Counters {
    /// Packets sent on.
    pub forwarded: Counter,
    to_host: [Counter; HostReason::ALL.len()],
    dropped: [Counter; DropReason::ALL.len()],
    answered: [Counter; DropReason::ALL.len()],
    /// Answers not given, since there were too many.
    pub unanswered: Counter,
    /// ICMP errors passed on to the end of a connection that they concern; also in `forwarded`.
    pub related: Counter,
    /// Connections that ended: by silence, since their client's port opened a new one, or for room in a full table.
    pub expired: Counter,
    /// Half-open connections that were ended for new ones, since the table was full.
    pub evicted_half_open: Counter,
    /// Closing ones likewise.
    pub evicted_closing: Counter,
    /// Partial checksums completed for senders that left them to their card.
    pub completed_checksums: Counter,
    /// Fragments that waited for the first of their datagram; counted again when they went on.
    pub held: Counter,
    /// Frames sent beyond one for a packet: further fragments of what did not fit its way.
    pub fragmented: Counter,
    /// Segments sent to the ends of condemned connections, that they say where they stand.
    pub probes: Counter,
    /// What the worker's time goes into.
    pub work: Work,
    latencies: Latencies,
    reals: Box<[RealCounters]>,
    /// What an id out of bounds is counted under.
    nobody: RealCounters,
}

impl Default for Counters {
    fn default() -> Counters {
        Counters {
            forwarded: Counter::default(),
            to_host: Default::default(),
            dropped: Default::default(),
            answered: Default::default(),
            unanswered: Counter::default(),
            related: Counter::default(),
            expired: Counter::default(),
            evicted_half_open: Counter::default(),
            evicted_closing: Counter::default(),
            completed_checksums: Counter::default(),
            held: Counter::default(),
            fragmented: Counter::default(),
            probes: Counter::default(),
            work: Work::default(),
            latencies: Latencies::default(),
            reals: (0..RealId::LIMIT).map(|_| RealCounters::default()).collect(),
            nobody: RealCounters::default(),
        }
    }
}

impl Counters {
    /// Counts one verdict.
    #[inline]
    pub fn count(&self, verdict: Verdict) {
        match verdict {
            Verdict::Forward(_) => self.forwarded.add(1),
            Verdict::ToHost(reason) => self.to_host[reason as usize].add(1),
            Verdict::Drop(reason) => self.dropped[reason as usize].add(1),
            Verdict::Answer(_, reason) => {
                self.dropped[reason as usize].add(1);
                self.answered[reason as usize].add(1);
            }
            Verdict::Held => self.held.add(1),
        }
    }

    /// Counts fragments that waited in vain.
    pub fn lost(&self, why: Wrong, fragments: usize) {
        self.dropped[DropReason::from(why) as usize].add(fragments as u64);
    }

    /// Packets left to the kernel for this reason.
    pub fn to_host(&self, reason: HostReason) -> u64 {
        self.to_host[reason as usize].get()
    }

    /// Packets dropped for this reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize].get()
    }

    /// Those of the dropped whose senders were told.
    pub fn answered(&self, reason: DropReason) -> u64 {
        self.answered[reason as usize].get()
    }

    /// A server has taken so long to answer a client.
    #[cold]
    pub fn count_latency(&self, real: RealId, micros: u32) {
        self.real(real).openings.answered.count();
        self.latencies.count(real, micros);
    }

    /// How long a server has taken to answer its clients.
    pub fn latency(&self, real: RealId) -> Latency {
        self.latencies.get(real)
    }

    /// The counters of one server; those of nobody for an id that is out of bounds.
    #[inline]
    pub fn real(&self, real: RealId) -> &RealCounters {
        self.reals.get(real.index()).unwrap_or(&self.nobody)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::InterfaceId;

    #[test]
    fn every_verdict_is_counted_under_its_own_name_and_nowhere_else() {
        let counters = Counters::default();
        counters.count(Verdict::Forward(InterfaceId(3)));
        for &reason in DropReason::ALL {
            counters.count(Verdict::Drop(reason));
        }
        for &reason in HostReason::ALL {
            counters.count(Verdict::ToHost(reason));
        }
        assert!(DropReason::ALL.iter().all(|&r| counters.answered(r) == 0));
        counters.count(Verdict::Answer(InterfaceId(3), DropReason::TooBig));
        let told = |r| counters.answered(r) == u64::from(r == DropReason::TooBig);
        assert!(DropReason::ALL.iter().all(|&r| told(r)));
        assert_eq!(counters.forwarded.get(), 1);
        let dropped = |r| counters.dropped(r) == 1 + u64::from(r == DropReason::TooBig);
        assert!(DropReason::ALL.iter().all(|&r| dropped(r)));
        assert!(HostReason::ALL.iter().all(|&r| counters.to_host(r) == 1));
    }
}
