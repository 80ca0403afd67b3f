//! Datagrams that travel in pieces, until their last piece has passed: where the first piece went, and later pieces that
//! came before it. Nothing is put together.
//!
//! One table for all workers, since receive queues are chosen without ports for pieces, and often with them for whole
//! packets. It is asked only for pieces, so a lock is good enough: one for each set of [`WAYS`] datagrams.
//!
//! ```text
//! key (addresses, protocol, identification) --hash--> set: up to 8 datagrams, each with
//!     what became of the first piece | what has been seen, as runs of data | pieces that wait for the first
//! ```
//!
//! Memory is bounded: 4,096 datagrams (about 1 MiB, taken as they come), 4 MiB of waiting pieces, [`HELD`] for each. Where
//! a set is full, the oldest goes that still waits for its first piece, as a flood of later pieces makes them; otherwise
//! the oldest.

use super::hash::{FlowHash, Seed};
use crate::net::{Direction, FlowKey, InterfaceId, Proto, Tick};
use crate::service::RealId;
use crate::wire::fragment::{Piece, reaches_into_header};
use arrayvec::ArrayVec;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Sets of datagrams, and datagrams in a set.
const SETS: u32 = 512;
const WAYS: usize = 8;

/// Runs of data that are apart: so many gaps and one may a datagram have on its way.
const RUNS: usize = 32;

/// Pieces of a datagram that wait for its first, at most.
pub const HELD: usize = 64;

/// Bytes of all pieces that wait, at most.
pub const HELD_BYTES: usize = 4 << 20;

/// How long a piece waits for the first one: reordering takes milliseconds.
const WAIT: u32 = Tick::PER_SECOND;

/// How long pieces are expected after the first: as long as Linux waits for them (ip_frag_time, ip6frag_time).
const EXPECT_V4: u32 = 30 * Tick::PER_SECOND;
const EXPECT_V6: u32 = 60 * Tick::PER_SECOND;

/// What becomes of a datagram, as its first piece was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is a connection's.
    Server {
        /// The connection's server.
        real: RealId,
        /// Which way it goes.
        direction: Direction,
        /// Its protocol.
        proto: Proto,
        /// Both its ports, the source's in the upper half.
        ports: u32,
    },
    /// It is the host's, for the reason of this number.
    Host(u8),
    /// It is dropped, for the reason of this number.
    Dropped(u8),
    /// Its pieces do not fit each other.
    Wrong(Wrong),
}

/// Why a piece is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// Its data overlap others' (RFC 5722): so nothing more of the datagram passes.
    Overlap,
    /// Its data have been seen already.
    Duplicate,
    /// It ends beyond 65,535.
    TooLong,
    /// It has no data, or not a multiple of eight bytes although others follow, or contradicts what is known of the
    /// datagram's end.
    Misfit,
    /// It begins within the transport header (RFC 3128).
    Tiny,
    /// More pieces wait already than may, or the datagram has too many gaps.
    TooMany,
    /// The first piece has not come.
    Timeout,
}

/// What is to be done with a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It is the first: it is to be decided, and the outcome told to [`Datagrams::decided`].
    First,
    /// The first one has been decided.
    Follows {
        /// So.
        fate: Fate,
        /// When.
        since: Tick,
    },
    /// It has been copied, and waits.
    Held,
    /// It is not taken.
    Refused(Wrong),
}

/// A piece that waits.
#[derive(Debug)]
pub struct Held {
    /// What it is.
    pub piece: Piece,
    /// Where it came in.
    pub ingress: InterfaceId,
    /// A copy of its frame, with what room its keeper left in front.
    pub copy: Box<[u8]>,
}

/// One datagram.
#[derive(Debug)]
struct Datagram {
    key: FlowKey,
    since: Tick,
    fate: Option<Fate>,
    /// What has been seen, in units of eight bytes; in order, and apart.
    runs: ArrayVec<(u16, u16), RUNS>,
    /// Where it ends, in bytes, once its last piece has been seen.
    end: Option<u32>,
    held: Vec<Held>,
}

/// All datagrams in pieces.
#[derive(Debug)]
pub struct Datagrams {
    seed: Seed,
    sets: Box<[Mutex<Vec<Datagram>>]>,
    known: AtomicUsize,
    waiting: AtomicUsize,
    waiting_bytes: AtomicUsize,
    evicted: AtomicU64,
    /// The set that is swept next.
    next: AtomicUsize,
}

/// How many datagrams there are, and of what kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// Datagrams of which pieces are expected.
    pub datagrams: u64,
    /// Pieces that wait for a first one now.
    pub waiting: u64,
    /// Datagrams that made room for others, since the start.
    pub evicted: u64,
}

impl Datagrams {
    /// None yet.
    pub(super) fn new(seed: Seed) -> Datagrams {
        Datagrams {
            seed,
            sets: (0..SETS).map(|_| Mutex::default()).collect(),
            known: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
            next: AtomicUsize::new(0),
        }
    }

    /// A piece comes. If it has to wait, `copy` makes what is kept of it. `lost` hears of pieces that waited in vain: why,
    /// and how many.
    pub fn arrive(
        &self,
        piece: &Piece,
        now: Tick,
        copy: impl FnOnce() -> Held,
        mut lost: impl FnMut(Wrong, usize),
    ) -> Arrival {
        if let Some(wrong) = wrong_alone(piece) {
            return Arrival::Refused(wrong);
        }
        let mut set = self.set(&piece.key);
        self.expire(&mut set, now, &mut lost);
        let at = match set.iter().position(|datagram| datagram.key == piece.key) {
            Some(at) => at,
            None => self.enter(&mut set, piece.key, now, &mut lost),
        };
        let datagram = &mut set[at];
        if let Some(Fate::Wrong(wrong)) = datagram.fate {
            return Arrival::Refused(wrong);
        }
        match datagram.see(piece) {
            Ok(()) => {}
            Err(wrong @ (Wrong::Overlap | Wrong::Misfit)) => {
                datagram.fate = Some(Fate::Wrong(wrong));
                lost(wrong, self.give_up(&mut datagram.held));
                return Arrival::Refused(wrong);
            }
            Err(wrong) => return Arrival::Refused(wrong),
        }
        let (fate, since) = (datagram.fate, datagram.since);
        match fate {
            _ if piece.is_first() => Arrival::First,
            Some(fate) => {
                if datagram.is_whole() {
                    self.leave(&mut set, at);
                }
                Arrival::Follows { fate, since }
            }
            None => self.hold(datagram, copy),
        }
    }

    /// The first piece of a datagram has been decided. The pieces that waited for it, in their order.
    pub fn decided(&self, key: &FlowKey, fate: Fate, now: Tick) -> Vec<Held> {
        let mut set = self.set(key);
        let Some(at) = set.iter().position(|datagram| datagram.key == *key) else { return Vec::new() };
        let datagram = &mut set[at];
        (datagram.fate, datagram.since) = (Some(fate), now);
        let mut held = std::mem::take(&mut datagram.held);
        self.release(&held);
        held.sort_by_key(|held| held.piece.offset);
        if datagram.is_whole() {
            self.leave(&mut set, at);
        }
        held
    }

    /// Forgets what is over, looking at this many sets at most. `lost` as in [`Datagrams::arrive`].
    pub fn sweep(&self, now: Tick, most: usize, mut lost: impl FnMut(Wrong, usize)) {
        if self.known.load(Relaxed) == 0 {
            return;
        }
        let most = most.min(self.sets.len());
        let first = self.next.fetch_add(most, Relaxed);
        for at in (0..most).map(|n| first.wrapping_add(n)) {
            let set = &self.sets[at % self.sets.len()];
            self.expire(&mut lock(set), now, &mut lost);
        }
    }

    /// How many there are.
    pub fn census(&self) -> Census {
        Census {
            datagrams: self.known.load(Relaxed) as u64,
            waiting: self.waiting.load(Relaxed) as u64,
            evicted: self.evicted.load(Relaxed),
        }
    }

    fn set(&self, key: &FlowKey) -> MutexGuard<'_, Vec<Datagram>> {
        lock(&self.sets[FlowHash::of(key, self.seed, SETS).bucket as usize])
    }

    /// A new datagram's place in its set.
    fn enter(
        &self,
        set: &mut Vec<Datagram>,
        key: FlowKey,
        now: Tick,
        lost: &mut impl FnMut(Wrong, usize),
    ) -> usize {
        if set.len() == WAYS {
            let age = |datagram: &Datagram| (datagram.fate.is_none(), now.since(datagram.since));
            let oldest = (0..WAYS).max_by_key(|&at| age(&set[at])).unwrap_or(0);
            let held = self.give_up(&mut set[oldest].held);
            if held > 0 {
                lost(Wrong::TooMany, held);
            }
            self.leave(set, oldest);
            self.evicted.fetch_add(1, Relaxed);
        }
        self.known.fetch_add(1, Relaxed);
        set.push(Datagram {
            key,
            since: now,
            fate: None,
            runs: ArrayVec::new(),
            end: None,
            held: Vec::new(),
        });
        set.len() - 1
    }

    fn leave(&self, set: &mut Vec<Datagram>, at: usize) {
        set.swap_remove(at);
        self.known.fetch_sub(1, Relaxed);
    }

    fn expire(&self, set: &mut Vec<Datagram>, now: Tick, lost: &mut impl FnMut(Wrong, usize)) {
        while let Some(at) = set.iter().position(|datagram| datagram.is_over(now)) {
            let held = self.give_up(&mut set[at].held);
            if held > 0 {
                lost(Wrong::Timeout, held);
            }
            self.leave(set, at);
        }
    }

    fn hold(&self, datagram: &mut Datagram, copy: impl FnOnce() -> Held) -> Arrival {
        // Another worker's pieces may be counted a moment later: the limit is exceeded by a few at most.
        if datagram.held.len() >= HELD || self.waiting_bytes.load(Relaxed) >= HELD_BYTES {
            return Arrival::Refused(Wrong::TooMany);
        }
        let held = copy();
        self.waiting.fetch_add(1, Relaxed);
        self.waiting_bytes.fetch_add(held.copy.len(), Relaxed);
        datagram.held.push(held);
        Arrival::Held
    }

    /// Drops pieces that waited; how many.
    fn give_up(&self, held: &mut Vec<Held>) -> usize {
        let held = std::mem::take(held);
        self.release(&held);
        held.len()
    }

    fn release(&self, held: &[Held]) {
        self.waiting.fetch_sub(held.len(), Relaxed);
        self.waiting_bytes.fetch_sub(held.iter().map(|held| held.copy.len()).sum(), Relaxed);
    }
}

/// What is wrong with a piece, whatever the others are.
fn wrong_alone(piece: &Piece) -> Option<Wrong> {
    if piece.is_beyond_all() {
        return Some(Wrong::TooLong);
    }
    if reaches_into_header(piece) {
        return Some(Wrong::Tiny);
    }
    let misfits = piece.len == 0 || (piece.more && piece.len % 8 != 0);
    misfits.then_some(Wrong::Misfit)
}

fn lock(set: &Mutex<Vec<Datagram>>) -> MutexGuard<'_, Vec<Datagram>> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Datagram {
    /// Notes down what has been seen. As in Linux, data that have all been seen are a duplicate, and some of them an
    /// overlap.
    fn see(&mut self, piece: &Piece) -> Result<(), Wrong> {
        let (from, to) = (piece.offset / 8, piece.end().div_ceil(8) as u16);
        let furthest = self.runs.last().map_or(0, |&(_, to)| to);
        let at_odds = match self.end {
            Some(end) => piece.end() > end || (!piece.more && piece.end() != end),
            None => !piece.more && to < furthest,
        };
        if at_odds {
            return Err(Wrong::Misfit);
        }
        let after = self.runs.iter().position(|&(_, end)| end >= from).unwrap_or(self.runs.len());
        if let Some(&(start, end)) = self.runs.get(after) {
            if start <= from && to <= end {
                return Err(Wrong::Duplicate);
            }
            if start < to && from < end {
                return Err(Wrong::Overlap);
            }
        }
        // The run that ends where this piece begins is followed by another, into which it may reach.
        let touches_before = self.runs.get(after).is_some_and(|&(_, end)| end == from);
        let next = after + usize::from(touches_before);
        let touches_next = match self.runs.get(next) {
            Some(&(start, _)) if start < to => return Err(Wrong::Overlap),
            Some(&(start, _)) => start == to,
            None => false,
        };
        match (touches_before, touches_next) {
            (true, true) => {
                self.runs[after].1 = self.runs[next].1;
                self.runs.remove(next);
            }
            (true, false) => self.runs[after].1 = to,
            (false, true) => self.runs[next].0 = from,
            (false, false) => self.runs.try_insert(after, (from, to)).map_err(|_| Wrong::TooMany)?,
        }
        if !piece.more {
            self.end = Some(piece.end());
        }
        Ok(())
    }

    /// Whether all of it has been seen.
    fn is_whole(&self) -> bool {
        self.end.is_some_and(|end| self.runs[..] == [(0, end.div_ceil(8) as u16)])
    }

    fn is_over(&self, now: Tick) -> bool {
        let lasts = match self.fate {
            None => WAIT,
            Some(_) if self.key.is_v4() => EXPECT_V4,
            Some(_) => EXPECT_V6,
        };
        now.is_beyond(self.since, lasts)
    }
}

#[cfg(test)]
mod tests;
