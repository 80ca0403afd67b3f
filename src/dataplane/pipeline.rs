//! The packet's road: parse, connection, service and scheduler, forward, verdict.
//!
//! A batch goes through in three passes, so that the memory each packet needs is on its way while others are
//! worked on: parse and hash all (the buckets are asked for), compare tags of all (the connections are asked
//! for), then decide and rewrite one after the other. The third pass is in the order of arrival, misses included:
//! the outcome is what one packet at a time would have given.

use super::counters::Counters;
use super::forward;
use super::nexthop::{HopNumber, Missing};
use super::port::{BATCH, Frame};
use super::snapshot::{Decision, Published, Snapshot};
use super::verdict::{DropReason, HostReason, Verdict};
use crate::conntrack::{Ended, FlowHash, Found, Lookup, Opened, Refused, Table, Touched, Tracker, prefetch};
use crate::net::{Direction, InterfaceId, Proto, TcpFlags, Tick};
use crate::service::{Method, RealServer};
use crate::wire::parse::{self, NoFlow, Packet};
use crate::wire::{ETHERNET, checksum};
use arrayvec::ArrayVec;
use std::net::IpAddr;
use std::sync::Arc;

/// A neighbour whose MAC a packet was missing.
pub type Wanted = (InterfaceId, IpAddr);

/// How many frames ahead their headers are asked for.
const AHEAD: usize = 6;

/// One worker's pipeline: the snapshot it decides by, and the road that packets take.
#[derive(Debug)]
pub struct Pipeline {
    published: Arc<Published>,
    generation: u64,
    snapshot: Arc<Snapshot>,
    road: Road,
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
            road: Road { tracker, counters, wanted: ArrayVec::new() },
        }
    }

    /// Gives every frame its verdict, and rewrites those to be forwarded.
    pub fn run(&mut self, frames: &mut [Frame<'_>], now: Tick) {
        self.follow();
        for batch in frames.chunks_mut(BATCH) {
            self.road.batch(batch, &self.snapshot, now);
        }
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
        let (snapshot, Road { tracker, counters, .. }) = (&*self.snapshot, &mut self.road);
        tracker.sweep(now, &snapshot.timeouts, most, |ended| closed(snapshot, counters, ended))
    }

    /// Forgets every silent connection at once.
    pub fn sweep_all(&mut self, now: Tick) {
        self.follow();
        let (snapshot, Road { tracker, counters, .. }) = (&*self.snapshot, &mut self.road);
        tracker.sweep_all(now, &snapshot.timeouts, |ended| closed(snapshot, counters, ended));
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
}

/// A packet on its way through the passes.
#[derive(Debug, Clone, Copy)]
struct Pending {
    at: u32,
    packet: Packet,
    hash: FlowHash,
    lookup: Lookup,
}

impl Road {
    fn batch(&mut self, frames: &mut [Frame<'_>], snapshot: &Snapshot, now: Tick) {
        let table = self.tracker.table();
        let mut pending: ArrayVec<Pending, BATCH> = ArrayVec::new();
        for at in 0..frames.len() {
            if let Some(first) = frames.get(at + AHEAD).and_then(|frame| frame.data().first()) {
                prefetch(first);
            }
            // Twice the same, so that the compiler sees the plain packet through to its hash.
            let asked = match parse::plain(frames[at].data()) {
                Some(packet) => Ok(ask(table, at, packet)),
                None => parse::careful(frames[at].data()).map(|packet| ask(table, at, packet)),
            };
            match asked {
                Ok(asked) => pending.push(asked),
                Err(no_flow) => frames[at].verdict = no_flow.into(),
            }
        }
        let mut further = false;
        for pending in &mut pending {
            pending.lookup = table.glance(pending.hash);
            further |= matches!(pending.lookup, Lookup::Further(_));
        }
        if further {
            for pending in &mut pending {
                pending.lookup = table.glance_further(pending.lookup, pending.hash);
            }
        }
        for Pending { at, packet, hash, lookup } in &pending {
            let frame = &mut frames[*at as usize];
            frame.verdict = self.decide(frame, packet, *hash, *lookup, snapshot, now);
        }
        let mut forwarded = 0;
        for frame in frames {
            match frame.verdict {
                Verdict::Forward(_) => forwarded += 1,
                other => self.counters.count(other),
            }
        }
        self.counters.forwarded.add(forwarded);
    }

    /// What becomes of one packet.
    #[inline(always)]
    fn decide(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        hash: FlowHash,
        lookup: Lookup,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Verdict {
        if snapshot.any_partial && snapshot.may_be_partial(frame.ingress()) {
            // Before anything else: the kernel, too, drops what arrives from us with half a checksum.
            self.complete_checksum(frame, packet);
        }
        match self.tracker.table().confirm(lookup, &packet.key) {
            Some(found) => self.pass(frame, packet, hash, &found, snapshot, now),
            None => self.look_on(frame, packet, hash, lookup, snapshot, now),
        }
    }

    /// The connection is not where the glance pointed: perhaps elsewhere, perhaps nowhere.
    #[cold]
    fn look_on(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        hash: FlowHash,
        lookup: Lookup,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Verdict {
        match self.tracker.table().find_elsewhere(lookup, hash, &packet.key) {
            Some(found) => self.pass_late(frame, packet, hash, &found, snapshot, now),
            None => self.miss(frame, packet, hash, snapshot, now),
        }
    }

    /// A packet of a connection: its state moves on, its decision is applied.
    #[inline(always)]
    fn pass(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        hash: FlowHash,
        found: &Found,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Verdict {
        let table = self.tracker.table();
        match table.touch(found, packet.key.proto(), packet.flags, now, &snapshot.timeouts) {
            Touched::Same => {}
            Touched::Moved(from, to) => {
                if let Some(decision) = decision_for(snapshot, found) {
                    decision.live.moved(from, to);
                }
            }
            Touched::Over => {
                self.end(found, snapshot);
                return self.miss(frame, packet, hash, snapshot, now);
            }
        }
        self.forward(frame, packet, found, snapshot)
    }

    /// The same for a packet that found its connection at the second look.
    #[cold]
    fn pass_late(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        hash: FlowHash,
        found: &Found,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Verdict {
        self.pass(frame, packet, hash, found, snapshot, now)
    }

    /// Applies a connection's decision.
    #[inline(always)]
    fn forward(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        found: &Found,
        snapshot: &Snapshot,
    ) -> Verdict {
        let Some(decision) = decision_for(snapshot, found) else {
            return Verdict::Drop(DropReason::NoRealServer);
        };
        match found.direction {
            Direction::Original => {
                let verdict = forward::to_server(frame, packet, decision);
                match (verdict, &decision.way) {
                    (Verdict::Forward(_), _) => {
                        let counters = self.counters.real(found.real());
                        counters.in_packets.add(1);
                        counters.in_bytes.add(packet.ip_len as u64);
                    }
                    (_, Err(missing)) => self.want(*missing),
                    _ => {}
                }
                verdict
            }
            Direction::Reply => {
                let verdict = self.forward_reply(frame, packet, found, decision, snapshot);
                if let Verdict::Forward(_) = verdict {
                    let counters = self.counters.real(found.real());
                    counters.out_packets.add(1);
                    counters.out_bytes.add(packet.ip_len as u64);
                }
                verdict
            }
        }
    }

    /// Sends a server's packet back to the client. The way there is remembered on the connection.
    #[inline(always)]
    fn forward_reply(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        found: &Found,
        decision: &Decision,
        snapshot: &Snapshot,
    ) -> Verdict {
        let table = self.tracker.table();
        if let Some(hop) = snapshot.hops.numbered(HopNumber(table.hop(found))) {
            return forward::nat::to_client(frame, packet, &decision.back, hop);
        }
        match snapshot.hops.find_v4(packet.key.dst_v4().0) {
            Ok(way) => {
                table.set_hop(found, way.number.0);
                forward::nat::to_client(frame, packet, &decision.back, &way.hop)
            }
            Err(missing) => {
                self.want(missing);
                Verdict::Drop(missing.into())
            }
        }
    }

    /// A packet of no connection: it opens one, or is not ours.
    #[cold]
    fn miss(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        hash: FlowHash,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Verdict {
        let key = &packet.key;
        let Some(service) = snapshot.services.table().addressed_by(key) else {
            return Verdict::ToHost(HostReason::NotOurs);
        };
        // As IPVS without sloppy_tcp: only a SYN opens a TCP connection; the kernel resets the rest.
        let opens =
            key.proto() == Proto::Udp || packet.flags.has(TcpFlags::SYN) && !packet.flags.has(TcpFlags::RST);
        // The connection may have been opened since our look: by a packet before this one in the batch, or by another
        // worker. Who is to open one finds out about the latter when he does; who is not must know for certain.
        let table = self.tracker.table();
        let opened_since = if opens { table.search(hash, key) } else { table.find_for_certain(hash, key) };
        if let Some(found) = opened_since {
            return self.pass_late(frame, packet, hash, &found, snapshot, now);
        }
        if !opens {
            return Verdict::ToHost(HostReason::NoConnection);
        }
        let Some(real) = snapshot.services.pick(service) else {
            return Verdict::Drop(DropReason::NoRealServer);
        };
        match self.tracker.open(key, hash, real.id, packet.flags, real.method.sees_replies(), now) {
            Ok(Opened::New(found)) => {
                self.opened(real, &found, packet, snapshot);
                self.forward(frame, packet, &found, snapshot)
            }
            Ok(Opened::Already(found)) => self.pass_late(frame, packet, hash, &found, snapshot, now),
            Err(Refused::Full) => Verdict::Drop(DropReason::TableFull),
        }
    }

    /// Counts a new connection, and asks early for the neighbour that its replies will need.
    fn opened(&mut self, real: &RealServer, found: &Found, packet: &Packet, snapshot: &Snapshot) {
        real.live.opened(found.state().standing());
        self.counters.real(real.id).connections.add(1);
        if real.method == Method::Nat {
            match snapshot.hops.find_v4(packet.key.src_v4().0) {
                Ok(way) => self.tracker.table().set_hop(found, way.number.0),
                Err(missing) => self.want(missing),
            }
        }
    }

    fn end(&mut self, found: &Found, snapshot: &Snapshot) {
        if let Some(ended) = self.tracker.end(found) {
            closed(snapshot, &self.counters, ended);
        }
    }

    #[cold]
    fn complete_checksum(&self, frame: &mut Frame<'_>, packet: &Packet) {
        let without_padding = &mut frame.data_mut()[..ETHERNET + packet.ip_len as usize];
        if checksum::complete_partial(without_padding, packet.l4 as usize, packet.key.proto()) {
            self.counters.completed_checksums.add(1);
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

/// Hashes a packet's key and asks for its bucket.
#[inline(always)]
fn ask(table: &Table, at: usize, packet: Packet) -> Pending {
    let hash = table.hash(&packet.key);
    table.prefetch(hash);
    Pending { at: at as u32, packet, hash, lookup: Lookup::Nowhere }
}

#[inline]
fn decision_for<'s>(snapshot: &'s Snapshot, found: &Found) -> Option<&'s Decision> {
    snapshot.decisions.get(found.real().index())?.as_ref()
}

/// A connection is no more: its server has one less.
fn closed(snapshot: &Snapshot, counters: &Counters, ended: Ended) {
    counters.expired.add(1);
    if let Some(Some(decision)) = snapshot.decisions.get(ended.real.index()) {
        decision.live.closed(ended.standing);
    }
}

impl From<NoFlow> for Verdict {
    fn from(no_flow: NoFlow) -> Verdict {
        match no_flow {
            NoFlow::NotIp => Verdict::ToHost(HostReason::NotIp),
            NoFlow::OtherProtocol => Verdict::ToHost(HostReason::OtherProtocol),
            NoFlow::Fragment => Verdict::ToHost(HostReason::Fragment),
            NoFlow::Truncated => Verdict::Drop(DropReason::Truncated),
            NoFlow::BadVersion => Verdict::Drop(DropReason::BadVersion),
            NoFlow::BadHeaderLength => Verdict::Drop(DropReason::BadHeaderLength),
            NoFlow::BadLength => Verdict::Drop(DropReason::BadLength),
            NoFlow::BadChecksum => Verdict::Drop(DropReason::BadChecksum),
        }
    }
}

#[cfg(test)]
mod tests;
