//! Forgets connections that were silent for too long, a slice of the slab at a time.

use super::{Ended, Place, Tracker};
use crate::conntrack::condemned::{self, Condemned};
use crate::conntrack::entry::{Entry, Meta};
use crate::conntrack::expiry::Expiry;
use crate::net::Tick;
use std::collections::VecDeque;
use std::ops::Range;

/// How many looks at a slot ending a connection costs, about.
const ENDING_COSTS: u32 = 8;

/// Connections found silent, at most, that are not ended yet: their buckets are on their way into the cache.
const DOOMED: usize = 16;

/// Condemned connections found in one call, at most.
const CONDEMNED: usize = 32;

/// What a slot that is due counts, so that a tick's part of a small share is not rounded up.
const EACH: u64 = Tick::PER_SECOND as u64;

/// How far a worker's sweep has come.
#[derive(Debug)]
pub(super) struct Sweep {
    /// The slots to look at, and the next one of them.
    share: Range<u32>,
    cursor: u32,
    /// Slots that should have been looked at by `counted`, but were not yet; each counts as [`EACH`].
    due: u64,
    counted: Option<Tick>,
    /// Found silent and not ended yet, the oldest first.
    doomed: VecDeque<Place>,
    /// Found condemned since somebody asked.
    condemned: Vec<Condemned>,
}

impl Sweep {
    pub(super) fn new() -> Sweep {
        Sweep {
            share: 0..0,
            cursor: 0,
            due: 0,
            counted: None,
            doomed: VecDeque::with_capacity(DOOMED),
            condemned: Vec::with_capacity(CONDEMNED),
        }
    }

    /// Leaves those found silent to another round.
    pub(super) fn spare_doomed(&mut self) {
        self.doomed.clear();
    }
}

impl Tracker {
    /// Looks at this worker's share of the slots and ends the connections that were silent for too long: every
    /// slot once a second, `most` in this call, and fewer if many of them end. Some are ended by the next call only.
    /// Each connection ended is told to `ended`. `true` if the sweep is behind: more is due than this call was allowed.
    pub fn sweep(&mut self, now: Tick, expiry: &Expiry, most: u32, mut ended: impl FnMut(Ended)) -> bool {
        let gone = now.since(*self.sweep.counted.get_or_insert(now));
        if gone > 0 {
            self.sweep.counted = Some(now);
            self.share_out(gone);
        }
        let mut ends = most / ENDING_COSTS + 1;
        // Those that the last call has found come first: their buckets have come.
        let mut found_before = self.sweep.doomed.len();
        let looks = (self.sweep.due / EACH).min(most as u64);
        let mut looked = 0;
        loop {
            let is_full = self.sweep.doomed.len() == DOOMED;
            if ends > 0 && (is_full || found_before > 0) {
                ends -= 1;
                found_before = found_before.saturating_sub(1);
                self.end_oldest(now, expiry).map(&mut ended);
            } else if looked < looks && !is_full && self.sweep.condemned.len() < CONDEMNED {
                looked += 1;
                self.look_at_next(now, expiry);
            } else {
                break;
            }
        }
        self.sweep.due -= looked * EACH;
        self.sweep.due >= EACH || !self.sweep.doomed.is_empty()
    }

    /// The condemned connections that the sweep has come by since the last call: each is met once a second. The sweep goes
    /// no further when there are many.
    pub fn take_condemned(&mut self) -> impl Iterator<Item = Condemned> {
        self.sweep.condemned.drain(..)
    }

    /// Takes this worker's share of the slots in use; so many of them are due as `gone` ticks ask for.
    fn share_out(&mut self, gone: u32) {
        let used = self.table.slots.unused() as u64;
        let share = |worker: u32| (used * worker as u64 / self.workers as u64) as u32;
        let share = share(self.worker)..share(self.worker + 1);
        let slots = share.len() as u64;
        let Sweep { cursor, due, .. } = &mut self.sweep;
        *cursor = if share.contains(cursor) { *cursor } else { share.start };
        *due = (*due + slots * gone as u64).min(slots * EACH);
        self.sweep.share = share;
    }

    /// Ends every connection that was silent for too long, at once.
    pub fn sweep_all(&mut self, now: Tick, expiry: &Expiry, mut ended: impl FnMut(Ended)) {
        self.sweep.spare_doomed();
        // A template outlives the connections that it has led.
        for templates in [false, true] {
            for slot in 0..self.table.slots.unused() {
                let is_template = |entry: &Entry| entry.meta().is_template();
                if self.table.slab.get(slot as usize).is_some_and(is_template) == templates {
                    self.look(slot, now, expiry);
                }
                if self.sweep.doomed.len() == DOOMED {
                    self.end_oldest(now, expiry).map(&mut ended);
                }
            }
            while !self.sweep.doomed.is_empty() {
                self.end_oldest(now, expiry).map(&mut ended);
            }
        }
    }

    #[inline]
    fn look_at_next(&mut self, now: Tick, expiry: &Expiry) {
        let Sweep { share, cursor, .. } = &mut self.sweep;
        let slot = *cursor;
        *cursor = if slot + 1 < share.end { slot + 1 } else { share.start };
        self.look(slot, now, expiry);
    }

    /// Notes a slot's connection if it was silent for too long, and asks for the buckets that refer to it.
    #[inline]
    fn look(&mut self, slot: u32, now: Tick, expiry: &Expiry) {
        let Some(entry) = self.table.slab.get(slot as usize) else { return };
        let meta = entry.meta();
        if !is_silent(entry, meta, now, expiry) {
            if meta.is_condemned() {
                self.meet_condemned(slot, meta);
            }
            return;
        }
        let Some(place) = self.place_of(slot, meta) else { return };
        self.table.prefetch(place.there);
        if let Some(back) = place.back {
            self.table.prefetch(back);
        }
        self.sweep.doomed.push_back(place);
    }

    #[cold]
    fn meet_condemned(&mut self, slot: u32, meta: Meta) {
        let Some(entry) = self.table.slab.get(slot as usize) else { return };
        // Who finds no room is met again.
        if self.sweep.condemned.len() < CONDEMNED {
            self.sweep.condemned.extend(self.table.condemned_in(entry, meta));
        }
    }

    /// Ends the connection that was found silent first, unless it was heard of since.
    #[inline]
    fn end_oldest(&mut self, now: Tick, expiry: &Expiry) -> Option<Ended> {
        let mut place = self.sweep.doomed.pop_front()?;
        let entry = self.table.slab.get(place.slot as usize)?;
        let meta = entry.meta();
        if meta.generation() != place.meta.generation() || !is_silent(entry, meta, now, expiry) {
            return None;
        }
        place.meta = meta;
        if meta.is_watched() && !meta.is_condemned() && self.table.has_data(place.slot, meta.generation()) {
            entry.see(now);
            return None;
        }
        if meta.is_template() { self.end_template(&place, now) } else { self.end_at(&place) }
    }
}

#[inline]
fn is_silent(entry: &Entry, meta: Meta, now: Tick, expiry: &Expiry) -> bool {
    let lasts = if meta.is_template() {
        entry.lasts()
    } else if meta.is_condemned() {
        condemned::LASTS
    } else {
        return meta.is_live() && expiry.is_silent(meta.real(), meta.phase(), entry.seen(), now);
    };
    meta.is_live() && now.is_beyond(entry.seen(), lasts)
}
