//! A worker's hand on the table: opens connections, ends them, and sweeps out the silent ones.

mod evict;
mod expected;
mod replies;
mod sweep;
mod templates;

pub use expected::{Claimed, expectation};
pub use templates::{Followed, Lead, Template};

use super::bucket::Reference;
use super::entry::Meta;
use super::hash::FlowHash;
use super::memory::prefetch;
use super::state::Phase;
use super::table::{Found, Table};
use super::tcp;
use crate::net::{Direction, FlowKey, Moment, Proto, TcpFlags};
use crate::service::{RealId, Standing, State};
use arrayvec::ArrayVec;
pub use evict::Evicted;
use evict::Hand;
use replies::Replies;
use std::sync::Arc;
use sweep::Sweep;

/// Free slots that a worker keeps at hand, at most: enough that a batch that opens connections and a sweep that ends as
/// many go to the common stock seldom.
const SLOTS: usize = 128;

/// Free overflow buckets that a worker keeps at hand, at most.
const SPARES: usize = 32;

/// How many connections ahead the slot of one is asked for.
const AHEAD: usize = 8;

/// One worker's access to the shared table. Finding needs only the [`Table`]; opening and ending goes through
/// here, since free slots are taken from the common stock by the handful.
#[derive(Debug)]
pub struct Tracker {
    table: Arc<Table>,
    slots: ArrayVec<u32, SLOTS>,
    /// Free overflow buckets, never fewer than replies were put off.
    spares: ArrayVec<u32, SPARES>,
    replies: Replies,
    /// Whether connections were opened since [`Tracker::settle`] whose replies pass.
    is_fresh: bool,
    sweep: Sweep,
    hand: Hand,
    worker: u32,
    workers: u32,
}

/// What a scheduler chose for a new connection.
#[derive(Debug, Clone, Copy)]
pub struct Chosen {
    /// The server.
    pub real: RealId,
    /// Whether replies pass through the director and must be found too (NAT).
    pub replies_pass: bool,
    /// What [`Table::hop`] is to say; 0 for nothing.
    pub hop: u64,
    /// The template that has led the connection to the server. If the connection is opened, it is the connection's.
    pub template: Option<Template>,
    /// Whether every packet of the connection is looked at: none of them passes [`Table::pass`].
    pub is_watched: bool,
    /// Whether the connection begins in LISTEN: its first packet is still to come.
    pub listens: bool,
}

/// What opening a connection led to.
#[derive(Debug, Clone, Copy)]
pub enum Opened {
    /// A new connection.
    New(Found),
    /// There is one already.
    Already(Found),
}

/// Why a connection was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No server was chosen.
    NoServer,
    /// `max_connections` exist already (or, with several workers, all but those that the others have at hand:
    /// 128 each at most, and one each when the table is small or nearly full).
    Full,
}

/// A connection that is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its server.
    pub real: RealId,
    /// How it was counted; `None` for a template.
    pub standing: Option<Standing>,
}

/// Where a connection's references are, to be taken out.
#[derive(Debug, Clone, Copy)]
struct Place {
    slot: u32,
    meta: Meta,
    there: FlowHash,
    back: Option<FlowHash>,
}

impl Tracker {
    /// The hand of worker number `worker` of `workers`.
    pub fn new(table: Arc<Table>, worker: u32, workers: u32) -> Tracker {
        let workers = workers.max(1);
        let worker = worker % workers;
        Tracker {
            hand: Hand::new(table.capacity(), worker, workers),
            table,
            slots: ArrayVec::new(),
            spares: ArrayVec::new(),
            replies: Replies::default(),
            is_fresh: false,
            sweep: Sweep::new(),
            worker,
            workers,
        }
    }

    /// The table.
    #[inline]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Opens a connection on the client's first packet, of this key and these flags, unless it is there. `choose` is
    /// asked for a server only if it is not, and nobody else opens it meanwhile. The caller counts the connection with
    /// the server, by its state.
    ///
    /// Other workers, and other packets of this one, may rely on replies being found after [`Tracker::settle`].
    ///
    /// # Errors
    /// [`Refused`] if there is no server or no room; nothing has changed then.
    #[inline]
    pub fn open(
        &mut self,
        key: &FlowKey,
        hash: FlowHash,
        flags: TcpFlags,
        now: impl Into<Moment>,
        choose: impl FnOnce() -> Option<Chosen>,
    ) -> Result<Opened, Refused> {
        let now = now.into();
        self.settle_before(hash);
        let may_put_off = self.has_spares();
        if !may_put_off {
            self.settle_replies();
        }
        let slot = self.next_slot();
        let table = &*self.table;
        let mut chain = table.chain(hash).lock();
        if let Some(found) = table.find_in(&chain, hash, key) {
            return Ok(Opened::Already(found));
        }
        let slot = slot.ok_or(Refused::Full)?;
        let chosen = choose().ok_or(Refused::NoServer)?;
        let before = match key.proto() {
            Proto::Tcp => State::None,
            Proto::Udp => State::Udp,
            Proto::Sctp => State::SctpNone,
        };
        let phase = Phase::new(before, !chosen.replies_pass);
        let state = match chosen.listens {
            true => State::Listen,
            false => tcp::next(phase, Direction::Original, flags).state(),
        };
        if let Some(template) = chosen.template {
            table.note_leader(slot, template);
        }
        table.note_opening(slot, state, now);
        let entry = &table.slab[slot as usize];
        let meta = entry.occupy(key, &chosen, state, now.tick());
        if !chain.put(hash.tag, Reference::new(slot, false), || self.spares.pop()) {
            entry.end(meta);
            return Err(Refused::Full);
        }
        drop(chain);
        self.slots.pop();
        let found = Found { reference: Reference::new(slot, false), meta };
        if chosen.replies_pass && !self.expect_replies(key, found, may_put_off) {
            // The caller has the template still.
            self.table.take_leader(slot);
            self.end(&found);
            return Err(Refused::Full);
        }
        Ok(Opened::New(found))
    }

    /// Ends a connection; `None` if another worker did so a moment before. A template ends only if no connection that it has
    /// led is alive.
    pub fn end(&mut self, found: &Found) -> Option<Ended> {
        if found.meta.is_template() {
            return self.end_idle_template(found);
        }
        let place = self.place_of(found.slot(), found.meta)?;
        self.end_at(&place)
    }

    /// The place of the connection that the slot holds.
    #[inline(always)]
    fn place_of(&self, slot: u32, meta: Meta) -> Option<Place> {
        let table = &*self.table;
        let key = table.slab.get(slot as usize)?.key()?;
        let back = if meta.is_both_ways() { table.reply_hash(&key, meta.real()) } else { None };
        Some(Place { slot, meta, there: table.hash(&key), back })
    }

    #[inline(always)]
    fn end_at(&mut self, place: &Place) -> Option<Ended> {
        let last = self.table.slab.get(place.slot as usize)?.end(place.meta)?;
        let ended = self.take_out_at(place, last);
        self.give_slot(place.slot);
        Some(ended)
    }

    /// Takes out the references to a connection that was ended in this state: nobody finds it any more, and the slot is
    /// ours until it is given back. A reply that was put off never goes in.
    #[inline(always)]
    fn take_out_at(&mut self, place: &Place, last: Meta) -> Ended {
        let &Place { slot, there, back, .. } = place;
        self.take_out(there, Reference::new(slot, false));
        if let Some(back) = back {
            self.take_out(back, Reference::new(slot, true));
        }
        if last.is_led() {
            self.table.leave_leader(slot);
        }
        if last.is_watched() {
            self.table.controls.forget((slot, place.meta.generation()));
        }
        if last.is_expectation() {
            self.expects_less();
        }
        Ended { real: last.real(), standing: Some(last.state().standing()) }
    }

    #[inline(always)]
    fn take_out(&mut self, hash: FlowHash, reference: Reference) {
        let freed = self.table.chain(hash).lock().take(hash.tag, reference);
        if let Some(bucket) = freed {
            self.give_spare(bucket);
        }
    }

    /// Gives everything that is free and at hand back to the common stock, and lets all replies be found.
    pub fn rest(&mut self) {
        self.settle();
        self.sweep.spare_doomed();
        self.table.slots.give(self.slots.drain(..));
        self.table.overflow.give(self.spares.drain(..));
    }

    /// The free slot that is next to be used; it stays at hand until it is.
    #[inline]
    fn next_slot(&mut self) -> Option<u32> {
        if self.slots.len() <= AHEAD {
            self.fetch_slots();
        }
        let ahead = self.slots.len().checked_sub(1 + AHEAD).and_then(|at| self.slots.get(at));
        if let Some(&slot) = ahead {
            prefetch(self.table.slab.as_ptr().wrapping_add(slot as usize));
            prefetch(self.table.openings.as_ptr().wrapping_add(slot as usize));
        }
        self.slots.last().copied()
    }

    /// Takes free slots from the stock, to be used after those at hand. In a small or nearly full table only when none
    /// are at hand, and one.
    #[cold]
    fn fetch_slots(&mut self) {
        if !self.slots.is_empty() && self.slots_to_keep() <= AHEAD {
            return;
        }
        let at_hand = self.slots.take();
        self.table.slots.take(usize::from(at_hand.is_empty()), SLOTS / 2, |slot| self.slots.push(slot));
        self.slots.extend(at_hand);
    }

    /// With several workers the last free slots of a small table must not wait in one worker's hand.
    fn slots_to_keep(&self) -> usize {
        (self.table.capacity() as usize / 1024).min(SLOTS)
    }

    #[inline]
    fn give_slot(&mut self, slot: u32) {
        self.slots.push(slot);
        if self.slots.len() >= self.slots_to_keep().max(1) {
            self.return_slots();
        }
    }

    #[cold]
    fn return_slots(&mut self) {
        let keep = self.slots_to_keep() / 2;
        self.table.slots.give(self.slots.drain(keep..));
    }

    /// Whether there is an overflow bucket for each reply put off, and two for a connection to be opened.
    #[inline]
    fn has_spares(&mut self) -> bool {
        let needed = self.replies.len() + 2;
        self.spares.len() >= needed || self.fetch_spares(needed)
    }

    #[cold]
    fn fetch_spares(&mut self, needed: usize) -> bool {
        loop {
            let lacking = needed.saturating_sub(self.spares.len());
            if lacking == 0 {
                return true;
            }
            self.table.overflow.take(1, lacking, |bucket| self.spares.push(bucket));
            if needed.saturating_sub(self.spares.len()) == lacking {
                return false;
            }
        }
    }

    #[cold]
    fn give_spare(&mut self, bucket: u32) {
        self.spares.push(bucket);
        if self.spares.is_full() {
            let keep = self.replies.len().max(SPARES / 2);
            self.table.overflow.give(self.spares.drain(keep..));
        }
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        self.rest();
    }
}

#[cfg(test)]
mod tests;
