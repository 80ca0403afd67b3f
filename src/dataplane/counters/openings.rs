//! How each server deals with the connections that are opened to it, as far as packets tell: what is wrong with a server
//! shows here before anybody asks it.

use super::Counters;
use crate::service::RealId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A counter with one writer, which begins again at 0 after 2^32: only differences mean something.
#[derive(Debug, Default)]
pub struct SmallCounter(AtomicU32);

impl SmallCounter {
    /// Adds one; only the counter's writer may.
    #[inline]
    pub fn count(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_add(1), Relaxed);
    }

    fn get(&self) -> u32 {
        self.0.load(Relaxed)
    }
}

/// What a worker has seen of one server.
#[derive(Debug, Default)]
pub struct Openings {
    /// TCP connections opened by a SYN that is to be answered.
    pub asked: SmallCounter,
    /// Those of them of which an answer was seen: the server's SYN-ACK, or where replies pass elsewhere, the client's ACK.
    pub answered: SmallCounter,
    /// Those that the server has answered with a reset (where replies pass).
    pub refused: SmallCounter,
    /// Packets that could not reach the server, by an ICMP error's word, or since nobody has its address.
    pub unreachable: SmallCounter,
    /// SYNs that clients have sent again.
    pub repeated: SmallCounter,
}

/// What some workers have seen of a server together; each count begins again at 0 after 2^32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Opened {
    /// As [`Openings::asked`].
    pub asked: u32,
    /// As [`Openings::answered`].
    pub answered: u32,
    /// As [`Openings::refused`].
    pub refused: u32,
    /// As [`Openings::unreachable`].
    pub unreachable: u32,
    /// As [`Openings::repeated`].
    pub repeated: u32,
}

impl Openings {
    /// The counts now.
    pub fn get(&self) -> Opened {
        Opened {
            asked: self.asked.get(),
            answered: self.answered.get(),
            refused: self.refused.get(),
            unreachable: self.unreachable.get(),
            repeated: self.repeated.get(),
        }
    }
}

impl Opened {
    /// What all of these workers have seen of a server.
    pub fn of(real: RealId, workers: &[Arc<Counters>]) -> Opened {
        workers.iter().fold(Opened::default(), |sum, worker| sum.plus(worker.real(real).openings.get()))
    }

    /// The counts of both.
    #[must_use]
    pub fn plus(self, other: Opened) -> Opened {
        self.with(other, u32::wrapping_add)
    }

    /// What has come to the counts since they were so.
    #[must_use]
    pub fn since(self, before: Opened) -> Opened {
        self.with(before, u32::wrapping_sub)
    }

    fn with(self, other: Opened, of: impl Fn(u32, u32) -> u32) -> Opened {
        Opened {
            asked: of(self.asked, other.asked),
            answered: of(self.answered, other.answered),
            refused: of(self.refused, other.refused),
            unreachable: of(self.unreachable, other.unreachable),
            repeated: of(self.repeated, other.repeated),
        }
    }
}
