//! The connection table: shared by all workers, of a size fixed at the start.

use super::bucket::{Bucket, Chain, Reference};
use super::condemned;
use super::control::Controls;
use super::datagrams::Datagrams;
use super::entry::{Entry, Meta};
use super::expiry::Expiry;
use super::hash::{FlowHash, Seed};
use super::memory::{Zeros, prefetch};
use super::stock::Stock;
use super::tcp;
use crate::net::{Direction, Endpoint, FlowKey, TcpFlags, Tick};
use crate::service::{PortMap, RealId, Reuse, Standing, State};
use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

/// All connections.
///
/// Sized for `max_connections` that are all known in both directions, at 5.6 references a bucket: about 96 bytes
/// a connection, all in.
pub struct Table {
    seed: Seed,
    buckets: Zeros<Bucket>,
    /// Buckets that a hash leads to; the rest go on where these are full.
    primary: u32,
    pub(super) overflow: Stock,
    pub(super) slab: Zeros<Entry>,
    pub(super) slots: Stock,
    /// RIP:rport by [`RealId`]: IPv4 as one word, IPv6 as three. Of a server that answers at many ports, its port has
    /// [`OF_MANY`], and the fourth word is the only port that leads to it, if one does.
    endpoints: Zeros<[AtomicU64; 4]>,
    /// By slot: 1 + the microseconds into its tick when the connection was opened, until it is answered; 0 for nothing.
    pub(super) openings: Zeros<AtomicU16>,
    /// By slot: 1 + the slot of the template that led the connection. Made when there is a persistent service.
    pub(super) leaders: OnceLock<Zeros<AtomicU32>>,
    /// What is kept of watched connections.
    pub(super) controls: Controls,
    /// Connections whose client's port is not known yet.
    pub(super) expected: AtomicU32,
    datagrams: Datagrams,
}

/// A server's port is one of many: set where no packet's port has a bit.
const OF_MANY: u64 = 1 << 63;

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
    /// What stands for a connection where none is kept: the server, and which way the packet goes. Nothing can be noted
    /// on it.
    pub fn of_no_connection(real: RealId, direction: Direction) -> Found {
        let reference = Reference::new(Lookup::NOWHERE.0, direction == Direction::Reply);
        Found { reference, meta: Meta::of_nobody(real) }
    }

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

    /// Whether each packet of the connection is to be looked at.
    pub fn is_watched(&self) -> bool {
        self.meta.is_watched()
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
    /// It is condemned: the packet goes no further.
    Condemned,
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
    /// Whether its replies pass here.
    pub replies_pass: bool,
    /// If its ends are being reset, how many ticks that lasts from then on; `seen` says when it began.
    pub condemned: Option<u32>,
    /// If it is a persistence template, what there is to know of that; its key's mark says so, too.
    pub template: Option<Leading>,
}

/// How long the client of a connection whose replies pass elsewhere is silent, at least, until its FIN is taken for the
/// last of it, in ticks.
const HALF_CLOSED: u32 = 10 * Tick::PER_SECOND;

impl Connection {
    /// Whether it is a connection that anybody may yet say something on: not one that both ends have closed, as far as can
    /// be seen, nor a template.
    pub fn is_open(&self, now: Tick) -> bool {
        let is_over = match self.state {
            State::TimeWait | State::Close | State::SctpClosed | State::SctpRejected => true,
            State::FinWait => !self.replies_pass && now.is_beyond(self.seen, HALF_CLOSED),
            _ => false,
        };
        self.template.is_none() && (!is_over || self.condemned.is_some())
    }
}

/// What a persistence template does beside naming a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leading {
    /// Ticks from its last use that it lasts.
    pub lasts: u32,
    /// Connections that it has led and are alive.
    pub connections: u32,
}

impl Table {
    /// A table for at most `max_connections`, with all of its memory touched.
    ///
    /// # Errors
    /// The system has not that much memory.
    pub fn new(max_connections: u32, seed: Seed) -> io::Result<Table> {
        let max = max_connections.clamp(1, Lookup::BUCKET - 1);
        let primary = (max as u64 * 2 * 10).div_ceil(56).max(1) as u32;
        // At 5.6 references a bucket there are 11.44 overflow buckets to a hundred others, and of n a standard deviation
        // is 0.32 sqrt(n): six of these more are provided for, and what a few workers keep at hand.
        let overflow = (primary as u64 * 1144 / 10_000) as u32 + 2 * primary.isqrt() + 128;
        Ok(Table {
            seed,
            buckets: Zeros::new((primary + overflow) as usize)?,
            primary,
            overflow: Stock::new(primary..primary + overflow)?,
            slab: Zeros::new(max as usize)?,
            slots: Stock::new(0..max)?,
            endpoints: Zeros::new(RealId::LIMIT)?,
            openings: Zeros::new(max as usize)?,
            leaders: OnceLock::new(),
            controls: Controls::default(),
            expected: AtomicU32::new(0),
            datagrams: Datagrams::new(seed),
        })
    }

    /// The datagrams that travel in pieces.
    pub fn datagrams(&self) -> &Datagrams {
        &self.datagrams
    }

    /// Makes room to note which connections templates have led: four bytes for each. To be called before the first
    /// persistent service is published; once is enough.
    ///
    /// # Errors
    /// The system has not that much memory. Templates then last as long as they are used, and not as long as their
    /// connections.
    pub fn note_leaders(&self) -> io::Result<()> {
        if self.leaders.get().is_none() {
            // Whoever was quicker has made as good a one.
            let _ = self.leaders.set(Zeros::new(self.slab.len())?);
        }
        Ok(())
    }

    /// How many connections fit.
    pub fn capacity(&self) -> u32 {
        self.slab.len() as u32
    }

    /// Bytes of memory that the table takes, all in.
    pub fn bytes(&self) -> usize {
        let lines = size_of_val(&*self.buckets) + size_of_val(&*self.slab) + size_of_val(&*self.openings);
        let leaders = self.leaders.get().map_or(0, |leaders| size_of_val(&**leaders));
        lines + self.overflow.bytes() + self.slots.bytes() + leaders
    }

    /// Says where a server of a service with one port is, before the first connection to it is opened: replies are
    /// matched by that.
    pub fn set_endpoint(&self, real: RealId, endpoint: Endpoint) {
        self.set_endpoint_of(real, endpoint, PortMap::One);
    }

    /// The same for a server of any service.
    pub fn set_endpoint_of(&self, real: RealId, endpoint: Endpoint, ports: PortMap) {
        let Some(words) = self.endpoints.get(real.index()) else { return };
        let [first, second, third, fourth] = words;
        let of_many = if ports.is_one_port(endpoint.port) { 0 } else { OF_MANY };
        fourth.store(if let PortMap::Only(port) = ports { u64::from(port) } else { 0 }, Release);
        match endpoint.addr {
            IpAddr::V4(addr) => {
                first.store((addr.to_bits() as u64) << 16 | endpoint.port as u64 | of_many, Release);
            }
            IpAddr::V6(addr) => {
                first.store((addr.to_bits() >> 64) as u64, Release);
                second.store(addr.to_bits() as u64, Release);
                third.store(endpoint.port as u64 | of_many, Release);
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

    /// Whether packets of this key come from the server, which answers at many ports: from the one that `vport` leads to.
    fn is_from_one_of_many(&self, real: RealId, key: &FlowKey, vport: u16) -> bool {
        let Some(server) = self.server(real, key.is_v4(), vport) else { return false };
        key.src() == server
    }

    /// Where the server of a connection of this family to `vport` answers from.
    pub(super) fn server(&self, real: RealId, is_v4: bool, vport: u16) -> Option<Endpoint> {
        let [first, second, third, fourth] = self.endpoints.get(real.index())?;
        let (first, third) = (first.load(Acquire), third.load(Acquire));
        let (addr, last) = if is_v4 {
            (IpAddr::V4(((first >> 16) as u32).into()), first)
        } else {
            let addr = (first as u128) << 64 | second.load(Acquire) as u128;
            (IpAddr::V6(addr.into()), third)
        };
        let port = match fourth.load(Acquire) as u16 {
            _ if last & OF_MANY == 0 => last as u16,
            0 => vport,
            only => PortMap::Only(only).rport(last as u16, vport),
        };
        Some(Endpoint::new(addr, port))
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
    /// was seen, and is no SYN of a connection whose replies pass elsewhere. `None`, and nothing was done, for every other: then [`Table::find`] and [`Table::touch`] say more.
    #[inline(always)]
    pub fn pass(
        &self,
        lookup: Lookup,
        key: &FlowKey,
        flags: TcpFlags,
        now: Tick,
        expiry: &Expiry,
    ) -> Option<Found> {
        let reference = Reference(lookup.0);
        let entry = self.slab.get(reference.slot() as usize)?;
        let meta = entry.meta();
        let ours = if reference.is_reply() {
            entry.is_to_client_of(key) && self.is_from(meta.real(), key)
        } else {
            entry.is_of(key)
        };
        let found = (ours && entry.still_plain(meta)).then_some(Found { reference, meta })?;
        let (phase, seen) = (found.meta.phase(), entry.seen());
        let same = tcp::stays(phase, found.direction(), flags);
        if !same || now.is_beyond(seen, expiry.least.of_phase(phase)) {
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

    /// The same for every kind of connection.
    fn confirm(&self, entry: &Entry, reference: Reference, key: &FlowKey) -> Option<Found> {
        let meta = entry.meta();
        let ours = if reference.is_reply() {
            let real = meta.real();
            entry.is_to_client_of(key)
                && (self.is_from(real, key) || self.is_from_one_of_many(real, key, entry.vport()))
        } else {
            entry.is_of(key)
        };
        (ours && entry.still(meta)).then_some(Found { reference, meta })
    }

    /// The connection of a packet, wherever it is. Finds everything that was there before the call; it may overlook
    /// what another worker puts in meanwhile.
    #[cold]
    pub fn search(&self, hash: FlowHash, key: &FlowKey) -> Option<Found> {
        let chain = self.chain(hash);
        loop {
            let shortened = chain.shortened();
            let found = self.find_in(&chain, hash, key);
            // A bucket taken out of its chain under our feet may have led us into another chain.
            if found.is_some() || chain.shortened() == shortened {
                return found;
            }
        }
    }

    /// The connection of a packet, as far as its chain shows it.
    #[inline(always)]
    pub(super) fn find_in(&self, chain: &Chain<'_>, hash: FlowHash, key: &FlowKey) -> Option<Found> {
        chain.find(hash.tag, |reference| self.confirm_at(reference, key))
    }

    /// The buckets of a hash.
    #[inline]
    pub(super) fn chain(&self, hash: FlowHash) -> Chain<'_> {
        Chain::new(&self.buckets, hash.bucket as usize)
    }

    /// The hash of the key that replies of a connection have; `None` for a server that is on no list.
    #[inline(always)]
    pub(super) fn reply_hash(&self, key: &FlowKey, real: RealId) -> Option<FlowHash> {
        let server = self.endpoints.get(real.index())?[0].load(Acquire);
        if key.is_v4() && server & OF_MANY == 0 {
            let (cip, cport) = key.src_v4();
            let reply = FlowKey::v4(key.proto(), (server >> 16) as u32, cip, server as u16, cport);
            return Some(self.hash(&reply));
        }
        let server = self.server(real, key.is_v4(), key.dst().port)?;
        Some(self.hash(&FlowKey::new(key.proto(), server, key.src())))
    }

    /// VIP:vport, as the client of the connection addresses it; `None` if the connection is over.
    #[cold]
    pub fn asked(&self, found: Found) -> Option<Endpoint> {
        let entry = self.slab.get(found.slot() as usize)?;
        let key = entry.key()?;
        entry.still(found.meta).then(|| key.dst())
    }

    /// A packet of the connection passes: its state moves on, its silence ends.
    pub fn touch(&self, found: Found, flags: TcpFlags, now: Tick, expiry: &Expiry) -> Touched {
        let Some(entry) = self.slab.get(found.slot() as usize) else { return Touched::Over };
        if found.meta.is_condemned() {
            let reopens = found.direction() == Direction::Original && found.meta.is_opened_by(flags);
            return if reopens { Touched::Over } else { Touched::Condemned };
        }
        if expiry.is_silent(found.real(), found.meta.phase(), entry.seen(), now) {
            return Touched::Over;
        }
        self.transit(entry, found, flags, now, expiry.reuse)
    }

    /// The state changes; another worker may change it at the same time.
    fn transit(&self, entry: &Entry, found: Found, flags: TcpFlags, now: Tick, reuse: Reuse) -> Touched {
        let from_client = found.direction() == Direction::Original;
        let opens = from_client && found.meta.is_opened_by(flags);
        let mut meta = found.meta;
        loop {
            if opens && meta.is_closed(reuse) {
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

    /// Every connection and every template that there is now, in no order. Those that open or end meanwhile may be missed.
    pub fn connections(&self) -> impl Iterator<Item = Connection> + '_ {
        self.connections_in(0..u32::MAX).map(|(_, connection)| connection)
    }

    /// Those in these slots, each with its slot.
    pub fn connections_in(&self, slots: Range<u32>) -> impl Iterator<Item = (u32, Connection)> + '_ {
        (slots.start..slots.end.min(self.slots_used())).filter_map(|slot| {
            let entry = self.slab.get(slot as usize)?;
            let meta = entry.meta();
            let connection = Connection {
                key: entry.key()?,
                real: meta.real(),
                state: meta.state(),
                seen: entry.seen(),
                created: entry.created(),
                replies_pass: meta.is_both_ways(),
                condemned: meta.is_condemned().then_some(condemned::LASTS),
                template: meta
                    .is_template()
                    .then(|| Leading { lasts: entry.lasts(), connections: entry.leads() }),
            };
            (meta.is_live() && entry.still(meta)).then_some((slot, connection))
        })
    }

    /// No slot from this one on has ever held a connection.
    pub fn slots_used(&self) -> u32 {
        self.slots.unused()
    }
}

#[cfg(test)]
impl Table {
    /// How many references there are.
    pub(super) fn references(&self) -> usize {
        (0..self.primary as usize).map(|first| Chain::new(&self.buckets, first).lock().len()).sum()
    }

    pub(super) fn overflow_buckets(&self) -> usize {
        self.buckets.len() - self.primary as usize
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("capacity", &self.capacity())
            .field("buckets", &self.buckets.len())
            .finish()
    }
}
