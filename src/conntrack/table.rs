//! The connection table: shared by all workers, of a size fixed at the start.

use super::entry::{Entry, Meta};
use super::hash::{FlowHash, Seed};
use super::memory::{Zeros, prefetch};
use super::shard::{self, Bucket, LANES, Reference, Shard};
use super::state::{State, Timeouts};
use super::tcp;
use crate::net::{Direction, Endpoint, FlowKey, TcpFlags, Tick};
use crate::service::{RealId, Standing};
use std::io;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

/// All connections.
///
/// Sized for `max_connections` that are all known in both directions, at 5.6 references a bucket: about 95 bytes
/// a connection, all in.
pub struct Table {
    seed: Seed,
    buckets: Zeros<Bucket>,
    /// Buckets that a hash leads to; the rest are the shards' overflow.
    primary: u32,
    per_shard: u32,
    shards: Box<[Shard]>,
    pub(super) slab: Zeros<Entry>,
    pub(super) slots: Mutex<Slots>,
    stack: Zeros<AtomicU32>,
    /// RIP:rport by [`RealId`]: IPv4 as one word, IPv6 as three.
    endpoints: Zeros<[AtomicU64; 4]>,
}

/// Which slots of the slab are free: those never used, and those on the stack.
#[derive(Debug)]
pub(super) struct Slots {
    /// Slots below were used at some time.
    unused: u32,
    stacked: u32,
}

/// Where a packet's connection may be, as a glance at its bucket saw it: behind a reference, in the bucket that goes on,
/// or nowhere. Packed, since a batch keeps 64 of them: a reference, or the number of a bucket with
/// [`Lookup::BUCKET`] set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lookup(u32);

impl Lookup {
    /// Nowhere: the reference of a slot that no table has.
    pub const NOWHERE: Lookup = Lookup(Lookup::BUCKET - 1);

    /// Slots and buckets have numbers below.
    const BUCKET: u32 = 1 << 30;

    /// Whether [`Table::glance_further`] is to look on.
    #[inline]
    pub fn goes_on(self) -> bool {
        self.0 & Lookup::BUCKET != 0
    }

    /// Something that goes on if one of the two does.
    #[inline]
    pub fn or(self, other: Lookup) -> Lookup {
        Lookup(self.0 | other.0)
    }
}

impl Default for Lookup {
    fn default() -> Lookup {
        Lookup::NOWHERE
    }
}

/// A connection found for a packet.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    pub(super) reference: Reference,
    pub(super) meta: Meta,
}

impl Found {
    /// Which way the packet goes.
    #[inline]
    pub fn direction(&self) -> Direction {
        if self.reference.is_reply() { Direction::Reply } else { Direction::Original }
    }

    #[inline]
    pub(super) fn slot(&self) -> u32 {
        self.reference.slot()
    }

    /// The server of the connection.
    #[inline]
    pub fn real(&self) -> RealId {
        self.meta.real()
    }

    /// The connection's state when it was found.
    pub fn state(&self) -> State {
        self.meta.state()
    }
}

/// What became of a connection when a packet of it passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touched {
    /// It goes on, counted as before.
    Same,
    /// It goes on and counts otherwise.
    Moved(Standing, Standing),
    /// It was over: silent for too long, ended by another worker this moment, or closed, and the packet opens a
    /// new one from the same port.
    Over,
}

/// A connection as somebody outside sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// The client's packets.
    pub key: FlowKey,
    /// The server.
    pub real: RealId,
    /// The state.
    pub state: State,
    /// When its last packet was seen.
    pub seen: Tick,
    /// When it was opened.
    pub created: Tick,
}

impl Table {
    /// A table for at most `max_connections`, with all of its memory touched.
    ///
    /// # Errors
    /// The system has not that much memory.
    pub fn new(max_connections: u32, seed: Seed) -> io::Result<Table> {
        let max = max_connections.clamp(1, Lookup::BUCKET - 1);
        let wanted = (max as u64 * 2 * 10).div_ceil(56).max(1) as u32;
        // Shards of a thousand buckets fill evenly enough: at 5.6 references a bucket 11.5 % of them overflow, and five
        // standard deviations more are provided for.
        let shards = (wanted / 1024).clamp(1, 256).next_power_of_two();
        let per_shard = wanted.div_ceil(shards);
        let spare = per_shard * 18 / 100 + LANES as u32;
        let primary = per_shard * shards;
        let overflow = |shard| primary + shard * spare..primary + (shard + 1) * spare;
        Ok(Table {
            seed,
            buckets: Zeros::new((primary + spare * shards) as usize)?,
            primary,
            per_shard,
            shards: (0..shards).map(|shard| Shard::new(overflow(shard))).collect(),
            slab: Zeros::new(max as usize)?,
            slots: Mutex::new(Slots { unused: 0, stacked: 0 }),
            stack: Zeros::new(max as usize)?,
            endpoints: Zeros::new(RealId::LIMIT)?,
        })
    }

    /// How many connections fit.
    pub fn capacity(&self) -> u32 {
        self.slab.len() as u32
    }

    /// Bytes of memory that the table takes, all in.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.buckets) + size_of_val(&*self.slab) + size_of_val(&*self.stack)
    }

    /// Says where a server is, before the first connection to it is opened: replies are matched by that.
    pub fn set_endpoint(&self, real: RealId, endpoint: Endpoint) {
        let Some(words) = self.endpoints.get(real.index()) else { return };
        let [first, second, third, _] = words;
        match endpoint.addr {
            IpAddr::V4(addr) => first.store((addr.to_bits() as u64) << 16 | endpoint.port as u64, Release),
            IpAddr::V6(addr) => {
                first.store((addr.to_bits() >> 64) as u64, Release);
                second.store(addr.to_bits() as u64, Release);
                third.store(endpoint.port as u64, Release);
            }
        }
    }

    /// Whether packets of this key come from the server.
    #[inline]
    fn is_from(&self, real: RealId, key: &FlowKey) -> bool {
        let Some([first, second, third, _]) = self.endpoints.get(real.index()) else { return false };
        let [w0, w1, ..] = *key.words();
        let sport = key.tail() >> 48;
        if key.is_v4() {
            first.load(Acquire) == (w0 >> 32) << 16 | sport
        } else {
            first.load(Acquire) == w0 && second.load(Acquire) == w1 && third.load(Acquire) == sport
        }
    }

    /// The hash of a key in this table.
    #[inline]
    pub fn hash(&self, key: &FlowKey) -> FlowHash {
        FlowHash::of(key, self.seed, self.primary)
    }

    #[inline]
    fn bucket_of(&self, hash: FlowHash) -> usize {
        hash.bucket as usize
    }

    /// Asks for the bucket that a later [`Table::glance`] reads.
    #[inline]
    pub fn prefetch(&self, hash: FlowHash) {
        prefetch(self.buckets.as_ptr().wrapping_add(self.bucket_of(hash)));
    }

    /// Looks at the tags of the first bucket, and asks for the line that is to be read next: the connection's, or
    /// the bucket's that goes on.
    #[inline]
    pub fn glance(&self, hash: FlowHash) -> Lookup {
        self.glance_at(self.bucket_of(hash), hash)
    }

    /// Goes on where a glance has found nothing yet.
    #[inline]
    pub fn glance_further(&self, lookup: Lookup, hash: FlowHash) -> Lookup {
        if lookup.goes_on() { self.glance_at((lookup.0 & !Lookup::BUCKET) as usize, hash) } else { lookup }
    }

    #[inline]
    fn glance_at(&self, bucket: usize, hash: FlowHash) -> Lookup {
        let bucket = &self.buckets[bucket];
        if let Some(reference) = bucket.under(hash.tag).next() {
            prefetch(self.slab.as_ptr().wrapping_add(reference.slot() as usize));
            return Lookup(reference.0);
        }
        let Some(next) = bucket.next() else { return Lookup::NOWHERE };
        prefetch(self.buckets.as_ptr().wrapping_add(next as usize));
        Lookup(next | Lookup::BUCKET)
    }

    /// What nearly every packet is: one of the connection that `lookup` points to, which changes nothing but that it
    /// was seen. `None`, and nothing was done, for every other: then [`Table::find`] and [`Table::touch`] say more.
    #[inline(always)]
    pub fn pass(
        &self,
        lookup: Lookup,
        key: &FlowKey,
        flags: TcpFlags,
        now: Tick,
        timeouts: &Timeouts,
    ) -> Option<Found> {
        let reference = Reference(lookup.0);
        let entry = self.slab.get(reference.slot() as usize)?;
        let found = self.confirm(entry, reference, key)?;
        let (phase, seen) = (found.meta.phase(), entry.seen());
        let same = tcp::next(phase, found.direction(), flags) == phase;
        if !same || now.is_beyond(seen, timeouts.of_phase(phase)) {
            return None;
        }
        // The line is written once a tick at most.
        if seen != now {
            entry.see(now);
        }
        Some(found)
    }

    /// The connection of a packet, where `lookup` saw one or wherever it is.
    pub fn find(&self, lookup: Lookup, hash: FlowHash, key: &FlowKey) -> Option<Found> {
        if lookup == Lookup::NOWHERE {
            return None;
        }
        self.confirm_at(Reference(lookup.0), key).or_else(|| self.search(hash, key))
    }

    /// The connection behind a reference, if the packet is of it.
    fn confirm_at(&self, reference: Reference, key: &FlowKey) -> Option<Found> {
        // No slot has the number of a bucket, or of nowhere.
        self.confirm(self.slab.get(reference.slot() as usize)?, reference, key)
    }

    #[inline(always)]
    fn confirm(&self, entry: &Entry, reference: Reference, key: &FlowKey) -> Option<Found> {
        let meta = entry.meta();
        let ours = if reference.is_reply() {
            entry.is_to_client_of(key) && self.is_from(meta.real(), key)
        } else {
            entry.is_of(key)
        };
        (ours && entry.still(meta)).then_some(Found { reference, meta })
    }

    /// The connection of a packet, wherever it is. Finds everything that was there before the call; it may overlook
    /// what another worker puts in meanwhile.
    #[cold]
    pub fn search(&self, hash: FlowHash, key: &FlowKey) -> Option<Found> {
        let shard = self.shard_of(hash);
        loop {
            let shortened = shard.shortened();
            let mut at = Some(self.bucket_of(hash) as u32);
            while let Some(bucket) = at.and_then(|number| self.buckets.get(number as usize)) {
                let found = bucket.under(hash.tag).find_map(|reference| self.confirm_at(reference, key));
                if found.is_some() {
                    return found;
                }
                at = bucket.next();
            }
            // A bucket taken out of its chain under our feet may have led us into another chain.
            if shard.shortened() == shortened {
                return None;
            }
        }
    }

    /// The connection of a packet, with no other worker opening it at the same time: what a miss is decided on.
    pub fn find_for_certain(&self, hash: FlowHash, key: &FlowKey) -> Option<Found> {
        let _held = self.shard_of(hash).lock();
        self.search(hash, key)
    }

    fn shard_of(&self, hash: FlowHash) -> &Shard {
        &self.shards[self.bucket_of(hash) / self.per_shard as usize]
    }

    /// Puts a reference in unless `key` is found; what stops it is the error.
    pub(super) fn refer(&self, hash: FlowHash, key: &FlowKey, reference: Reference) -> Result<(), Stop> {
        let mut held = self.shard_of(hash).lock();
        if let Some(found) = self.search(hash, key) {
            return Err(Stop::Found(found));
        }
        let put = shard::put(&self.buckets, &mut held, self.bucket_of(hash), hash.tag, reference);
        if put { Ok(()) } else { Err(Stop::Full) }
    }

    /// Puts a reference in beside whatever is there; `false` if no bucket has room.
    pub(super) fn refer_beside(&self, hash: FlowHash, reference: Reference) -> bool {
        let mut held = self.shard_of(hash).lock();
        shard::put(&self.buckets, &mut held, self.bucket_of(hash), hash.tag, reference)
    }

    /// Takes a reference out.
    pub(super) fn unrefer(&self, hash: FlowHash, reference: Reference) {
        let shard = self.shard_of(hash);
        let mut held = shard.lock();
        shard::take(&self.buckets, shard, &mut held, self.bucket_of(hash), hash.tag, reference);
    }

    /// The key that replies of a connection have.
    pub(super) fn reply_key(&self, key: &FlowKey, real: RealId) -> Option<FlowKey> {
        let [first, second, third, _] = self.endpoints.get(real.index())?;
        let server = if key.is_v4() {
            let word = first.load(Acquire);
            Endpoint::v4(((word >> 16) as u32).into(), word as u16)
        } else {
            let bits = (first.load(Acquire) as u128) << 64 | second.load(Acquire) as u128;
            Endpoint::new(IpAddr::V6(bits.into()), third.load(Acquire) as u16)
        };
        Some(FlowKey::new(key.proto(), server, key.src()))
    }

    /// A packet of the connection passes: its state moves on, its silence ends.
    pub fn touch(&self, found: Found, flags: TcpFlags, now: Tick, timeouts: &Timeouts) -> Touched {
        let Some(entry) = self.slab.get(found.slot() as usize) else { return Touched::Over };
        if now.is_beyond(entry.seen(), timeouts.of_phase(found.meta.phase())) {
            return Touched::Over;
        }
        self.transit(entry, found, flags, now)
    }

    /// The state changes; another worker may change it at the same time.
    fn transit(&self, entry: &Entry, found: Found, flags: TcpFlags, now: Tick) -> Touched {
        let from_client = found.direction() == Direction::Original;
        let opens = from_client && flags.has(TcpFlags::SYN) && !flags.has(TcpFlags::RST);
        let mut meta = found.meta;
        loop {
            if opens && meta.is_closed() {
                return Touched::Over;
            }
            let next = tcp::next(meta.phase(), found.direction(), flags);
            match entry.exchange(meta, meta.moved_to(next)) {
                Ok(()) => {
                    entry.see(now);
                    let (from, to) = (meta.state().standing(), next.state().standing());
                    return if from == to { Touched::Same } else { Touched::Moved(from, to) };
                }
                Err(other) if other.is_live() && other.generation() == meta.generation() => meta = other,
                Err(_) => return Touched::Over,
            }
        }
    }

    /// What the pipeline noted on the connection about the way to its client; 0 for nothing.
    #[inline]
    pub fn hop(&self, found: Found) -> u64 {
        self.slab.get(found.slot() as usize).map_or(0, Entry::hop)
    }

    /// Notes something about the way to the client.
    pub fn set_hop(&self, found: Found, hop: u64) {
        if let Some(entry) = self.slab.get(found.slot() as usize).filter(|entry| entry.still(found.meta)) {
            entry.set_hop(hop);
        }
    }

    /// Every connection that there is now, in no order. Those that open or end meanwhile may be missed.
    pub fn connections(&self) -> impl Iterator<Item = Connection> + '_ {
        let used = self.used();
        self.slab.iter().take(used as usize).filter_map(|entry| {
            let meta = entry.meta();
            let connection = Connection {
                key: entry.key()?,
                real: meta.real(),
                state: meta.state(),
                seen: entry.seen(),
                created: entry.created(),
            };
            (meta.is_live() && entry.still(meta)).then_some(connection)
        })
    }

    /// Slots from this one on were never used.
    pub(super) fn used(&self) -> u32 {
        self.lock_slots().unused
    }

    fn lock_slots(&self) -> std::sync::MutexGuard<'_, Slots> {
        // A thread that panicked here left at worst some slots that nobody uses any more.
        self.slots.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Takes up to `wanted` free slots; fewer when few are left, so that one worker does not hoard the last.
    pub(super) fn take_slots(&self, wanted: usize, mut each: impl FnMut(u32)) {
        let mut slots = self.lock_slots();
        let free = slots.stacked + (self.capacity() - slots.unused);
        let share = (free as usize / 64).clamp(1, wanted);
        for _ in 0..share.min(free as usize) {
            if slots.stacked > 0 {
                slots.stacked -= 1;
                each(self.stack[slots.stacked as usize].load(Relaxed));
            } else {
                each(slots.unused);
                slots.unused += 1;
            }
        }
    }

    /// Gives slots back.
    pub(super) fn give_slots(&self, given: impl Iterator<Item = u32>) {
        let mut slots = self.lock_slots();
        for slot in given {
            if let Some(place) = self.stack.get(slots.stacked as usize) {
                place.store(slot, Relaxed);
                slots.stacked += 1;
            }
        }
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("capacity", &self.capacity())
            .field("shards", &self.shards.len())
            .finish()
    }
}

/// Why a reference was not put in.
#[derive(Debug)]
pub(super) enum Stop {
    /// The connection is there already.
    Found(Found),
    /// No bucket has room.
    Full,
}
