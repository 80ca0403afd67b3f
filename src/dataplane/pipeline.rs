//! The packet's road: parse, connection, service and scheduler, forward, verdict.
//!
//! A batch goes through in passes, so that the memory each packet needs is on its way while others are worked on:
//! parse and hash (the bucket is asked for), compare tags (the connection is asked for), then decide and rewrite. A
//! pass takes eight packets at a time and hands over to the next: work and waiting overlap, where three passes over all
//! 64 would first only work and then only wait. Packets are decided in the order of arrival, misses included: the outcome
//! is what one packet at a time would have given.

mod condemned;
mod errors;
mod ftp;
mod once;
mod open;
mod persist;
mod pieces;
mod probe;
mod room;
mod tags;

use super::answer::Allowance;
use super::counters::Counters;
use super::decision::Decision;
use super::forward;
use super::nexthop::{Hop, HopNumber, Missing};
use super::port::{BATCH, Frame, OwnFrame};
use super::probe::Probes;
use super::snapshot::{Published, Snapshot};
use super::verdict::{DropReason, HostReason, Verdict};
use crate::conntrack::{Ended, FlowHash, Found, Lookup, Table, Touched, Tracker};
use crate::net::{Direction, FlowKey, InterfaceId, Moment, Proto, TcpFlags, Tick};
use crate::service::{RealId, State};
use crate::wire::parse::{self, NoFlow, Packet};
use crate::wire::{ETHERNET, checksum};
use arrayvec::ArrayVec;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

/// A neighbour whose MAC a packet was missing.
pub type Wanted = (InterfaceId, IpAddr);

/// Packets that go through one pass together. Each pass is a function of its own, for registers' sake.
const GROUP: usize = 8;

/// How many groups each pass is behind the first: ask, glance, glance further, decide. A group takes some 130 ns, a line
/// from memory 250.
const BEHIND: [usize; 4] = [0, 2, 3, 5];

/// One worker's pipeline: the snapshot it decides by, and the road that packets take.
#[derive(Debug)]
pub struct Pipeline {
    published: Arc<Published>,
    generation: u64,
    snapshot: Arc<Snapshot>,
    road: Road,
    pending: Box<[Pending; BATCH]>,
}

impl Pipeline {
    /// A pipeline that follows what is published.
    pub fn new(tracker: Tracker, counters: Arc<Counters>, published: Arc<Published>) -> Pipeline {
        let generation = published.generation();
        let snapshot = published.current();
        Pipeline {
            published,
            generation,
            snapshot,
            road: Road {
                tracker,
                counters,
                wanted: ArrayVec::new(),
                allowance: Allowance::new(),
                once: None,
                own: Vec::new(),
                probes: None,
            },
            pending: Box::new([Pending::NONE; BATCH]),
        }
    }

    /// Leads the director's own probes, which come in on [`InterfaceId::PROBES`], by these.
    pub fn lead(&mut self, probes: Arc<Probes>) {
        self.road.probes = Some(probes);
    }

    /// Gives every frame its verdict, and rewrites those to be forwarded.
    #[inline]
    pub fn run(&mut self, frames: &mut [Frame<'_>], now: impl Into<Moment>) {
        self.run_at(frames, now.into());
    }

    #[inline(never)]
    fn run_at(&mut self, frames: &mut [Frame<'_>], moment: Moment) {
        let (now, micros) = (moment.tick(), moment.micros());
        self.follow();
        for batch in frames.chunks_mut(BATCH) {
            self.road.batch(batch, &mut self.pending, View { snapshot: &self.snapshot, now, micros });
        }
        if !self.snapshot.hops.vlans().is_empty() {
            self.put_tags(frames);
        }
    }

    /// What the road made beside the frames of the last run, `frames`, in their order.
    pub fn take_own(&mut self, frames: &[Frame<'_>]) -> Vec<OwnFrame> {
        let mut own = std::mem::take(&mut self.road.own);
        own.iter_mut().for_each(|own| own.number_in(frames));
        own
    }

    /// Takes up a new snapshot, if there is one.
    fn follow(&mut self) {
        let generation = self.published.generation();
        if generation != self.generation {
            self.snapshot = self.published.current();
            self.generation = generation;
        }
    }

    /// The neighbours that packets were missing since the last call, the first few of them.
    pub fn take_wanted(&mut self) -> impl Iterator<Item = Wanted> {
        std::mem::take(&mut self.road.wanted).into_iter()
    }

    /// Forgets silent connections, looking at `most` places of the table. `true` if more are due.
    pub fn sweep(&mut self, now: Tick, most: u32) -> bool {
        self.follow();
        self.road.sweep_datagrams(now, 1);
        let (snapshot, Road { tracker, counters, .. }) = (&*self.snapshot, &mut self.road);
        tracker.sweep(now, &snapshot.expiry, most, |ended| closed(snapshot, counters, ended))
    }

    /// Forgets every silent connection at once.
    pub fn sweep_all(&mut self, now: Tick) {
        self.follow();
        self.road.sweep_datagrams(now, usize::MAX);
        let (snapshot, Road { tracker, counters, .. }) = (&*self.snapshot, &mut self.road);
        tracker.sweep_all(now, &snapshot.expiry, |ended| closed(snapshot, counters, ended));
    }

    /// Keeps no free places of the table at hand: the next worker finds all that there are.
    pub fn rest(&mut self) {
        self.road.tracker.rest();
    }

    /// The worker's counters.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.road.counters
    }
}

/// A worker's hand on the connection table, and what it notes down as packets pass.
#[derive(Debug)]
struct Road {
    tracker: Tracker,
    counters: Arc<Counters>,
    wanted: ArrayVec<Wanted, 8>,
    allowance: Allowance,
    /// Where the latest packet without a connection went (one-packet scheduling): its fragments follow.
    once: Option<(RealId, Direction)>,
    /// Made for this run; what each is behind is still an address.
    own: Vec<OwnFrame>,
    /// Where the director's own probes go, if there are any.
    probes: Option<Arc<Probes>>,
}

/// A packet on its way through the passes: a cache line.
#[derive(Debug, Clone, Copy)]
struct Pending {
    packet: Packet,
    hash: FlowHash,
    lookup: Lookup,
}

const _: () = assert!(size_of::<Pending>() == 64);

impl Pending {
    /// Nobody's.
    const NONE: Pending = Pending {
        packet: Packet {
            key: FlowKey::v4(Proto::Udp, 0, 0, 0, 0),
            l4: 0,
            ip_len: 0,
            ttl: 0,
            flags: TcpFlags(0),
        },
        hash: FlowHash::NONE,
        lookup: Lookup::NOWHERE,
    };

    /// Whether it has a flow: without one, it has had its verdict, or has it when its turn comes.
    #[inline]
    fn goes_on(&self) -> bool {
        self.hash.is_some()
    }
}

/// What a batch is decided by.
#[derive(Debug, Clone, Copy)]
struct View<'s> {
    snapshot: &'s Snapshot,
    now: Tick,
    /// Microseconds into the tick.
    micros: u16,
}

impl View<'_> {
    fn moment(&self) -> Moment {
        Moment::new(self.now, self.micros)
    }
}

impl Road {
    /// The passes, each a group behind the one before it.
    fn batch(&mut self, frames: &mut [Frame<'_>], pending: &mut [Pending; BATCH], view: View<'_>) {
        let pending = &mut pending[..frames.len()];
        for frame in frames.iter() {
            frame.prefetch();
        }
        let (len, last) = (frames.len(), frames.len().div_ceil(GROUP) + BEHIND[3]);
        for step in 0..last {
            let [ask, glance, further, decide] = BEHIND.map(|behind| group(step, behind, len));
            if !ask.is_empty() {
                self.ask(&mut frames[ask.clone()], &mut pending[ask], view.snapshot);
            }
            if !glance.is_empty() {
                self.glance(&mut pending[glance]);
            }
            self.glance_further(&mut pending[further]);
            if !decide.is_empty() {
                self.decide(&mut frames[decide.clone()], &pending[decide], view);
            }
        }
        self.tracker.settle();
    }

    /// Parses and hashes, and asks for the buckets.
    #[inline(never)]
    fn ask(&self, frames: &mut [Frame<'_>], pending: &mut [Pending], snapshot: &Snapshot) {
        let table = self.tracker.table();
        for (frame, pending) in frames.iter_mut().zip(pending.iter_mut()) {
            match parse::plain(frame.data()) {
                Some(packet) => ask(table, packet, pending),
                None => look_closely(table, frame, pending, snapshot, &self.counters),
            }
        }
        if snapshot.any_partial {
            self.complete_checksums(frames, pending, snapshot);
        }
    }

    /// Compares tags, and asks for the connections, or for the bucket that goes on.
    #[inline(never)]
    fn glance(&self, pending: &mut [Pending]) {
        for pending in pending {
            pending.lookup = self.tracker.table().glance(pending.hash);
        }
    }

    /// The same once more for those whose bucket goes on.
    fn glance_further(&self, pending: &mut [Pending]) {
        let all = pending.iter().fold(Lookup::default(), |all, pending| all.or(pending.lookup));
        if all.goes_on() {
            for pending in pending {
                pending.lookup = self.tracker.table().glance_further(pending.lookup, pending.hash);
            }
        }
    }

    /// What becomes of each packet.
    #[inline(never)]
    fn decide(&mut self, frames: &mut [Frame<'_>], pending: &[Pending], view: View<'_>) {
        for (frame, pending) in frames.iter_mut().zip(pending) {
            let table = self.tracker.table();
            let Pending { packet, lookup, .. } = pending;
            match table.pass(*lookup, &packet.key, packet.flags, view.now, &view.snapshot.expiry) {
                Some(found) => self.forward(frame, packet, found, view),
                None => self.look_on(frame, pending, view),
            }
        }
    }

    /// Its connection is not where the glance pointed, or it has one to open, to change or to end.
    #[cold]
    fn look_on(&mut self, frame: &mut Frame<'_>, pending: &Pending, view: View<'_>) {
        if !pending.goes_on() {
            match frame.verdict {
                UNDECIDED => self.relate(frame, view),
                UNDECIDED_PIECE => self.piece(frame, view),
                _ => {}
            }
            return;
        }
        match self.tracker.table().find(pending.lookup, pending.hash, &pending.packet.key) {
            Some(found) => self.move_on(frame, pending, found, view),
            None => self.miss(frame, pending, view),
        }
    }

    /// A packet of a connection: its state moves on, its decision is applied.
    fn move_on(&mut self, frame: &mut Frame<'_>, pending: &Pending, found: Found, view: View<'_>) {
        let flags = pending.packet.flags;
        match self.tracker.table().touch(found, flags, view.now, &view.snapshot.expiry) {
            Touched::Same => {}
            Touched::Moved(from, to) => {
                if let Some(decision) = view.snapshot.decision(found.real()) {
                    decision.live.moved(from, to);
                }
            }
            Touched::Over => {
                self.end(found, view.snapshot);
                return self.miss(frame, pending, view);
            }
            Touched::Condemned => return self.condemned(frame, pending, found, view),
        }
        if self.waits_in_vain(&pending.packet, found, view.snapshot) {
            self.end(found, view.snapshot);
            return self.miss(frame, pending, view);
        }
        match self.tracker.table().answered(found, flags, view.moment()) {
            Some(micros) => self.counters.count_latency(found.real(), micros),
            None => self.count_in_vain(found, flags),
        }
        if found.is_watched() {
            return self.control(frame, &pending.packet, found, view);
        }
        self.clamp(frame, &pending.packet, found, view.snapshot);
        self.forward(frame, &pending.packet, found, view);
    }

    /// Whether a client asks once more for a connection to a server that gets nothing new by now, since it is down, or was
    /// removed: another one answers.
    fn waits_in_vain(&self, packet: &Packet, found: Found, snapshot: &Snapshot) -> bool {
        let asks = packet.flags.has(TcpFlags::SYN) && found.direction() == Direction::Original;
        if !asks || found.state() != State::SynRecv {
            return false;
        }
        let services = &snapshot.services;
        let service = services.table().addressed_by(&packet.key);
        service.is_some_and(|service| services.real(service, found.real()).is_none_or(|real| real.is_shut))
    }

    /// Counts what speaks against the server: a reset in the place of its answer, or a client that asks again.
    fn count_in_vain(&self, found: Found, flags: TcpFlags) {
        if found.state() != State::SynRecv {
            return;
        }
        let openings = &self.counters.real(found.real()).openings;
        match found.direction() {
            Direction::Original if flags.has(TcpFlags::SYN) => openings.repeated.count(),
            Direction::Reply if flags.has(TcpFlags::RST) => openings.refused.count(),
            _ => {}
        }
    }

    /// Applies a connection's decision.
    #[inline(always)]
    fn forward(&mut self, frame: &mut Frame<'_>, packet: &Packet, found: Found, view: View<'_>) {
        let (real, snapshot) = (found.real(), view.snapshot);
        match found.direction() {
            Direction::Original => {
                let Some((decision, hop)) = snapshot.towards(real) else {
                    return self.lack(frame, real, snapshot);
                };
                match forward::to_server(frame, packet, decision, hop) {
                    Ok(()) => {
                        self.counters.real(real).passed(Direction::Original, packet.ip_len);
                        self.send(frame, hop);
                    }
                    Err(reason) => self.turn_back(frame, packet, found, reason, view),
                }
            }
            Direction::Reply => {
                let Some(decision) = snapshot.decision(real) else {
                    return self.lack(frame, real, snapshot);
                };
                let hop = match self.way_back(packet, found, snapshot) {
                    Ok(hop) => hop,
                    Err(missing) => return self.miss_out(frame, missing),
                };
                let asked = || self.tracker.table().asked(found);
                match forward::to_client(frame, packet, decision, &hop, asked) {
                    Ok(()) => {
                        self.counters.real(real).passed(Direction::Reply, packet.ip_len);
                        self.send(frame, &hop);
                    }
                    Err(reason) => self.turn_back(frame, packet, found, reason, view),
                }
            }
        }
    }

    /// The next hop towards the client. It is remembered on the connection.
    #[inline(always)]
    fn way_back(&self, packet: &Packet, found: Found, snapshot: &Snapshot) -> Result<Hop, Missing> {
        let table = self.tracker.table();
        match snapshot.hops.numbered(HopNumber(table.hop(found))) {
            Some(hop) => Ok(*hop),
            None => {
                let key = &packet.key;
                let hops = &snapshot.hops;
                let way =
                    if key.is_v4() { hops.find_v4(key.dst_v4().0) } else { hops.find_v6(key.dst_v6().0) }?;
                table.set_hop(found, way.number.0);
                Ok(way.hop)
            }
        }
    }

    #[inline(always)]
    fn send(&self, frame: &mut Frame<'_>, hop: &Hop) {
        self.counters.forwarded.add(1);
        frame.verdict = Verdict::Forward(hop.interface);
    }

    #[cold]
    fn refuse(&self, frame: &mut Frame<'_>, reason: DropReason) {
        give(frame, Verdict::Drop(reason), &self.counters);
    }

    /// There is no way to the server.
    #[cold]
    fn lack(&mut self, frame: &mut Frame<'_>, real: RealId, snapshot: &Snapshot) {
        match snapshot.decision(real).map(|decision| decision.way) {
            Some(Err(missing)) => {
                if matches!(missing, Missing::Neighbour(..)) {
                    self.counters.real(real).openings.unreachable.count();
                }
                self.miss_out(frame, missing);
            }
            _ => self.refuse(frame, DropReason::NoRealServer),
        }
    }

    #[cold]
    fn miss_out(&mut self, frame: &mut Frame<'_>, missing: Missing) {
        self.want(missing);
        self.refuse(frame, missing.into());
    }

    #[cold]
    fn leave(&self, frame: &mut Frame<'_>, reason: HostReason) {
        give(frame, Verdict::ToHost(reason), &self.counters);
    }

    /// The decision and the next hop for what is rare on its way in this direction; without them, the frame has its
    /// verdict.
    #[cold]
    fn way<'s>(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        (real, direction): (RealId, Direction),
        snapshot: &'s Snapshot,
    ) -> Option<(&'s Decision, Hop)> {
        let Some(decision) = snapshot.decision(real) else {
            self.refuse(frame, DropReason::NoRealServer);
            return None;
        };
        let hop = match direction {
            Direction::Original => decision.way,
            Direction::Reply => snapshot.hops.find(packet.key.dst().addr).map(|way| way.hop),
        };
        match hop {
            Ok(hop) => Some((decision, hop)),
            Err(missing) => {
                self.miss_out(frame, missing);
                None
            }
        }
    }

    fn end(&mut self, found: Found, snapshot: &Snapshot) {
        if let Some(ended) = self.tracker.end(&found) {
            closed(snapshot, &self.counters, ended);
        }
    }

    /// Before anything else: the kernel, too, drops what arrives from us with half a checksum.
    fn complete_checksums(&self, frames: &mut [Frame<'_>], pending: &[Pending], snapshot: &Snapshot) {
        for (frame, pending) in frames.iter_mut().zip(pending) {
            let packet = &pending.packet;
            if !pending.goes_on() || !snapshot.may_be_partial(frame.ingress()) {
                continue;
            }
            let without_padding = &mut frame.data_mut()[..ETHERNET + packet.ip_len as usize];
            if checksum::complete_partial_of(without_padding, packet.l4 as usize, &packet.key) {
                self.counters.completed_checksums.add(1);
            }
        }
    }

    #[cold]
    fn want(&mut self, missing: Missing) {
        let Missing::Neighbour(interface, address) = missing else { return };
        if !self.wanted.is_full() && !self.wanted.contains(&(interface, address)) {
            self.wanted.push((interface, address));
        }
    }
}

/// The packets of a batch of `len` that a pass so many groups behind has before it; at the ends of the batch, none.
#[inline(always)]
fn group(step: usize, behind: usize, len: usize) -> Range<usize> {
    let from = if step < behind { len } else { len.min((step - behind) * GROUP) };
    from..len.min(from + GROUP)
}

/// Hashes a packet's key and asks for its bucket.
#[inline(always)]
fn ask(table: &Table, packet: Packet, pending: &mut Pending) {
    let hash = table.hash(&packet.key);
    table.prefetch(hash);
    (pending.packet, pending.hash) = (packet, hash);
}

/// What is not plain: it has a flow all the same, or gets its verdict at once.
#[cold]
fn look_closely(
    table: &Table,
    frame: &mut Frame<'_>,
    pending: &mut Pending,
    snapshot: &Snapshot,
    counters: &Counters,
) {
    if !snapshot.hops.vlans().is_empty() {
        tags::take_off(frame, &snapshot.hops);
    }
    match parse::plain_v6(frame.data()).map_or_else(|| parse::careful(frame.data()), Ok) {
        Ok(packet) => ask(table, packet, pending),
        // Perhaps an ICMP error about a packet before it in the batch: decided when its turn comes.
        Err(NoFlow::OtherProtocol) => (pending.hash, frame.verdict) = (FlowHash::NONE, UNDECIDED),
        Err(NoFlow::Fragment) => (pending.hash, frame.verdict) = (FlowHash::NONE, UNDECIDED_PIECE),
        Err(no_flow) => {
            pending.hash = FlowHash::NONE;
            give(frame, no_flow.into(), counters);
        }
    }
}

/// What stands in a frame without a flow until its turn comes; it has not been counted.
const UNDECIDED: Verdict = Verdict::ToHost(HostReason::OtherProtocol);

/// The same in a fragment.
const UNDECIDED_PIECE: Verdict = Verdict::ToHost(HostReason::Fragment);

/// Any verdict but that the frame is sent on.
#[cold]
fn give(frame: &mut Frame<'_>, verdict: Verdict, counters: &Counters) {
    counters.count(verdict);
    frame.verdict = verdict;
}

/// A connection is no more: its server has one less.
fn closed(snapshot: &Snapshot, counters: &Counters, ended: Ended) {
    let live = snapshot.decision(ended.real).map(|decision| &decision.live);
    match ended.standing {
        Some(standing) => {
            counters.expired.add(1);
            if let Some(live) = live {
                live.closed(standing);
            }
        }
        None => live.map_or((), |live| live.template_gone()),
    }
}

impl From<NoFlow> for Verdict {
    fn from(no_flow: NoFlow) -> Verdict {
        match no_flow {
            NoFlow::NotIp => Verdict::ToHost(HostReason::NotIp),
            NoFlow::OtherProtocol => Verdict::ToHost(HostReason::OtherProtocol),
            NoFlow::Fragment => Verdict::ToHost(HostReason::Fragment),
            NoFlow::TinyFragment => Verdict::Drop(DropReason::TinyFragment),
            NoFlow::Truncated => Verdict::Drop(DropReason::Truncated),
            NoFlow::BadVersion => Verdict::Drop(DropReason::BadVersion),
            NoFlow::BadHeaderLength => Verdict::Drop(DropReason::BadHeaderLength),
            NoFlow::BadLength => Verdict::Drop(DropReason::BadLength),
            NoFlow::BadChecksum => Verdict::Drop(DropReason::BadChecksum),
            NoFlow::BadOptions => Verdict::Drop(DropReason::BadOptions),
            NoFlow::SourceRouted => Verdict::Drop(DropReason::SourceRouted),
        }
    }
}

#[cfg(test)]
mod tests;
