//! Fragments on the road. The first of a datagram goes as any packet of its flow; the others follow it, and those that
//! came before it come right behind it. Nothing is put together. What does not fit its way, and may be fragmented, is made
//! fragments of here. All of it is rare.

use super::{Pending, Road, View, give};
use crate::conntrack::Lookup;
use crate::conntrack::datagrams::{Arrival, Fate, Held, Wrong};
use crate::dataplane::nexthop::Hop;
use crate::dataplane::port::{Frame, OwnFrame};
use crate::dataplane::verdict::{DropReason, HostReason, Verdict};
use crate::dataplane::{answer, forward};
use crate::net::{Direction, Tick};
use crate::service::RealId;
use crate::wire::ETHERNET;
use crate::wire::fragment::{self, Piece};
use crate::wire::parse::Packet;
use crate::wire::split::split;

/// How long a server keeps its id without a connection, at least, which is how long a fragment may go by the id alone.
const NAMED: u32 = 4 * Tick::PER_SECOND;

impl Road {
    /// A fragment of a TCP or UDP datagram.
    #[cold]
    pub(super) fn piece(&mut self, frame: &mut Frame<'_>, view: View<'_>) {
        let Some(piece) = fragment::piece(frame.data()) else {
            return self.leave(frame, HostReason::Fragment);
        };
        if !view.snapshot.may_be_of_connection(&piece.key) {
            return self.leave(frame, HostReason::Fragment);
        }
        let ingress = frame.ingress();
        let keep = || Held { piece, ingress, copy: OwnFrame::copy(without_padding(frame, &piece)) };
        let counters = &self.counters;
        let lost = |wrong, pieces| counters.lost(wrong, pieces);
        match self.tracker.table().datagrams().arrive(&piece, view.now, keep, lost) {
            Arrival::First => self.first(frame, &piece, view),
            Arrival::Follows { fate, since } => self.follow_first(frame, &piece, fate, since, view),
            Arrival::Held => give(frame, Verdict::Held, &self.counters),
            Arrival::Refused(wrong) => self.refuse(frame, wrong.into()),
        }
    }

    /// The first fragment decides for all.
    fn first(&mut self, frame: &mut Frame<'_>, piece: &Piece, view: View<'_>) {
        let fate = match fragment::first(frame.data(), piece) {
            Ok(packet) => self.decide_first(frame, packet, view),
            Err(no_flow) => {
                give(frame, no_flow.into(), &self.counters);
                fate_of(frame.verdict)
            }
        };
        let behind = std::ptr::from_ref(frame).addr();
        for Held { piece, ingress, copy } in
            self.tracker.table().datagrams().decided(&piece.key, fate, view.now)
        {
            let mut own = OwnFrame::new(copy, ingress, Verdict::Held, behind);
            let before = self.own.len();
            own.put_through(|frame| self.follow_first(frame, &piece, fate, view.now, view));
            // Its own fragments, if it became several, come behind it.
            self.own[before..].iter_mut().for_each(|piece| piece.put_behind(behind));
            if matches!(own.verdict(), Verdict::Forward(_) | Verdict::ToHost(_)) {
                self.own.insert(before, own);
            }
        }
    }

    fn decide_first(&mut self, frame: &mut Frame<'_>, packet: Packet, view: View<'_>) -> Fate {
        let hash = self.tracker.table().hash(&packet.key);
        let pending = Pending { packet, hash, lookup: Lookup::NOWHERE };
        self.once = None;
        match self.look_up(&packet.key) {
            Some(found) => self.move_on(frame, &pending, found, view),
            None => self.miss(frame, &pending, view),
        }
        let connection = self.look_up(&packet.key).map(|found| (found.real(), found.direction()));
        match (frame.verdict, connection.or(self.once)) {
            (Verdict::Forward(_), Some((real, direction))) => {
                let (proto, ports) = (packet.key.proto(), (packet.key.tail() >> 32) as u32);
                Fate::Server { real, direction, proto, ports }
            }
            (verdict, _) => fate_of(verdict),
        }
    }

    /// A later fragment goes where the first one went.
    fn follow_first(
        &mut self,
        frame: &mut Frame<'_>,
        piece: &Piece,
        fate: Fate,
        since: Tick,
        view: View<'_>,
    ) {
        let (real, direction, packet) = match fate {
            Fate::Server { real, direction, proto, ports } => {
                (real, direction, piece.as_packet(proto, ports))
            }
            Fate::Host(reason) => {
                let reason = HostReason::ALL.get(reason as usize).copied();
                return self.leave(frame, reason.unwrap_or(HostReason::Fragment));
            }
            Fate::Dropped(reason) => {
                let reason = DropReason::ALL.get(reason as usize).copied();
                return self.refuse(frame, reason.unwrap_or(DropReason::FragmentTimeout));
            }
            Fate::Wrong(wrong) => return self.refuse(frame, wrong.into()),
        };
        // The connection may have ended since, and the server's id be another's.
        let is_certain = self.look_up(&packet.key).is_some_and(|found| found.real() == real);
        if !is_certain && view.now.is_beyond(since, NAMED) {
            return self.refuse(frame, DropReason::FragmentTimeout);
        }
        self.forward_later(frame, &packet, real, direction, view);
    }

    fn forward_later(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        real: RealId,
        direction: Direction,
        view: View<'_>,
    ) {
        let way = self.way(frame, packet, (real, direction), view.snapshot);
        let Some((decision, hop)) = way else { return };
        let sent = match direction {
            Direction::Original => forward::later::to_server(frame, packet, decision, &hop),
            Direction::Reply => {
                let asked = self.look_up(&packet.key).and_then(|found| self.tracker.table().asked(found));
                forward::later::to_client(frame, packet, decision, &hop, asked)
            }
        };
        match sent {
            Ok(()) => {
                self.counters.real(real).passed(direction, packet.ip_len);
                self.send(frame, &hop);
            }
            Err(DropReason::TooBig) if answer::may_be_fragmented(frame, 0) => {
                self.go_in_pieces(frame, packet, (real, direction), true, view);
            }
            // Nobody is told of a fragment other than the first (RFC 1122, 3.2.2).
            Err(reason) => self.refuse(frame, reason),
        }
    }

    /// A packet that does not fit its way, and may be fragmented: NAT and DR do it as a router, TUN to its outer packet,
    /// as that one's sender. The first fragment takes the frame. `is_later` is said of a packet that is a fragment itself,
    /// and not the first.
    #[cold]
    pub(super) fn go_in_pieces(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        (real, direction): (RealId, Direction),
        is_later: bool,
        view: View<'_>,
    ) {
        let way = self.way(frame, packet, (real, direction), view.snapshot);
        let Some((decision, hop)) = way else { return };
        let anything = Hop { mtu_bytes: u16::MAX, ..hop };
        let asked = self.look_up(&packet.key).and_then(|found| self.tracker.table().asked(found));
        let sent = match (direction, is_later) {
            (Direction::Original, false) => forward::to_server(frame, packet, decision, &anything),
            (Direction::Original, true) => forward::later::to_server(frame, packet, decision, &anything),
            (Direction::Reply, false) => forward::to_client(frame, packet, decision, &anything, || asked),
            (Direction::Reply, true) => forward::later::to_client(frame, packet, decision, &anything, asked),
        };
        if let Err(reason) = sent {
            return self.refuse(frame, reason);
        }
        let is_ours = decision.how.outer_bytes() > 0;
        let id = is_ours.then(|| self.tracker.table().datagrams().next_id());
        let (before, behind) = (self.own.len(), std::ptr::from_ref(frame).addr());
        let (ingress, verdict) = (frame.ingress(), Verdict::Forward(hop.interface));
        let own = &mut self.own;
        let later =
            |piece: Vec<u8>| own.push(OwnFrame::new(OwnFrame::copy(&piece), ingress, verdict, behind));
        let Some(len) = split(frame.data_mut(), hop.mtu_bytes, id, later) else {
            return self.refuse(frame, DropReason::TooBig);
        };
        frame.truncate(len);
        self.counters.fragmented.add((self.own.len() - before) as u64);
        self.counters.real(real).passed(direction, packet.ip_len);
        self.send(frame, &hop);
    }

    /// Forgets datagrams whose pieces have not come, looking at `most` sets of them.
    pub(super) fn sweep_datagrams(&self, now: Tick, most: usize) {
        let lost = |wrong, pieces| self.counters.lost(wrong, pieces);
        self.tracker.table().datagrams().sweep(now, most, lost);
    }
}

fn without_padding<'f>(frame: &'f Frame<'_>, piece: &Piece) -> &'f [u8] {
    let data = frame.data();
    &data[..data.len().min(ETHERNET + piece.ip_len as usize)]
}

/// What a first fragment's verdict means for the others, if it went to no server.
fn fate_of(verdict: Verdict) -> Fate {
    match verdict {
        Verdict::ToHost(reason) => Fate::Host(reason as u8),
        Verdict::Drop(reason) | Verdict::Answer(_, reason) => Fate::Dropped(reason as u8),
        Verdict::Forward(_) | Verdict::Held => Fate::Dropped(DropReason::FragmentTimeout as u8),
    }
}

impl From<Wrong> for DropReason {
    fn from(wrong: Wrong) -> DropReason {
        match wrong {
            Wrong::Overlap => DropReason::FragmentOverlap,
            Wrong::Duplicate => DropReason::FragmentDuplicate,
            Wrong::TooLong => DropReason::FragmentTooLong,
            Wrong::Misfit => DropReason::FragmentMisfit,
            Wrong::Tiny => DropReason::TinyFragment,
            Wrong::TooMany => DropReason::TooManyFragments,
            Wrong::Timeout => DropReason::FragmentTimeout,
        }
    }
}
