//! ICMP errors on the road: those that come by, and those that it answers with, or with a reset, where a packet goes no
//! further. All of it is rare.

use super::{Road, View, give};
use crate::conntrack::Found;
use crate::dataplane::forward;
use crate::dataplane::port::Frame;
use crate::dataplane::snapshot::Snapshot;
use crate::dataplane::verdict::{DropReason, HostReason, Verdict};
use crate::dataplane::{answer, related};
use crate::net::{Direction, FlowKey, InterfaceId, TcpFlags};
use crate::service::{MssClamp, NoServer, RealId};
use crate::wire::icmp::{Complaint, Outer, Quoted};
use crate::wire::parse::Packet;
use crate::wire::{ETHERNET, IPV4, IPV6, mss};
use std::net::IpAddr;
use std::ops::Range;

/// Bytes of a TCP header without options.
const TCP: usize = 20;

impl Road {
    /// An IP packet that is neither TCP nor UDP: perhaps an error about one that was.
    #[cold]
    pub(super) fn relate(&mut self, frame: &mut Frame<'_>, view: View<'_>) {
        let datagram = frame.data().get(ETHERNET..).unwrap_or_default();
        let quoted = match related::quoted(datagram) {
            Ok(quoted) => quoted,
            Err(_) if view.snapshot.suspects.is_loop(datagram) => {
                return self.refuse(frame, DropReason::Looped);
            }
            Err(verdict) => return give(frame, verdict, &self.counters),
        };
        let key = related::key(&quoted);
        let packet = related::packet(datagram, &quoted, key);
        if quoted.outer.is_none() && self.tell_probe(frame, &packet, &quoted, view) {
            return;
        }
        let datagram = frame.data().get(ETHERNET..).unwrap_or_default();
        if let Some(reason) = view.snapshot.suspects.of_error(datagram) {
            return self.refuse(frame, reason);
        }
        match (self.look_up(&key), quoted.outer) {
            (Some(found), None) => self.pass_on(frame, &packet, &quoted, found, view),
            (Some(found), Some(outer)) if found.direction() == Direction::Original => {
                self.tell_client(frame, &quoted, outer, found, view);
            }
            _ => self.leave(frame, HostReason::Unrelated),
        }
    }

    /// The connection of a key that no packet of this batch has.
    pub(super) fn look_up(&mut self, key: &FlowKey) -> Option<Found> {
        let hash = self.tracker.table().hash(key);
        self.tracker.find_fresh(hash, key).or_else(|| self.tracker.table().search(hash, key))
    }

    /// An error about what one end of a connection sent goes to that end.
    fn pass_on(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        quoted: &Quoted,
        found: Found,
        view: View<'_>,
    ) {
        let (real, direction) = (found.real(), found.direction());
        if direction == Direction::Reply {
            self.count_unreachable(real, frame, quoted);
        }
        let Some((decision, hop)) = self.way(frame, packet, (real, direction), view.snapshot) else { return };
        let sent = match direction {
            Direction::Original => forward::error::to_server(frame, packet, quoted, decision, &hop),
            Direction::Reply => {
                let asked = self.tracker.table().asked(found);
                forward::error::to_client(frame, packet, quoted, decision, &hop, asked)
            }
        };
        match sent {
            Ok(()) => {
                self.counters.real(real).passed(direction, packet.ip_len);
                self.counters.related.add(1);
                self.send(frame, &hop);
            }
            // Nobody is told that an error went no further (RFC 1122, 3.2.2).
            Err(reason) => self.refuse(frame, reason),
        }
    }

    /// Counts an error about a packet to a server, if it says that the packet has not reached it.
    fn count_unreachable(&self, real: RealId, frame: &Frame<'_>, quoted: &Quoted) {
        let datagram = frame.data().get(ETHERNET..).unwrap_or_default();
        if related::is_unreachable(datagram, quoted) {
            self.counters.real(real).openings.unreachable.count();
        }
    }

    /// A router between director and server speaks of the outer packet: the client hears of its own.
    fn tell_client(
        &mut self,
        frame: &mut Frame<'_>,
        quoted: &Quoted,
        outer: Outer,
        found: Found,
        view: View<'_>,
    ) {
        let datagram = frame.data().get(ETHERNET..).unwrap_or_default();
        let decision = view.snapshot.decision(found.real());
        let of_tunnel =
            decision.is_some_and(|decision| related::is_of_tunnel(datagram, outer, &decision.how));
        let complaint = related::complaint(datagram, quoted, outer).filter(|_| of_tunnel);
        if of_tunnel {
            self.count_unreachable(found.real(), frame, quoted);
        }
        let Some(complaint) = complaint else { return self.leave(frame, HostReason::Unrelated) };
        let about = ETHERNET + quoted.ip as usize..ETHERNET + quoted.end as usize;
        let (vip, client) = (quoted.key.dst().addr, quoted.key.src().addr);
        match self.complain(frame, about, vip, client, complaint, view) {
            Some(egress) => {
                self.counters.related.add(1);
                give(frame, Verdict::Forward(egress), &self.counters);
            }
            None => self.leave(frame, HostReason::Unrelated),
        }
    }

    /// A packet of a connection may not go its way: it is dropped, and its sender told if that is a hop or a size too
    /// much. Who masquerades answers clients as the VIP, as IPVS does, and servers as the router that they see.
    #[cold]
    pub(super) fn turn_back(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        found: Found,
        reason: DropReason,
        view: View<'_>,
    ) {
        let outer = view.snapshot.decision(found.real()).map_or(0, |decision| decision.how.outer_bytes());
        if reason == DropReason::TooBig && answer::may_be_fragmented(frame, outer) {
            return self.go_in_pieces(frame, packet, (found.real(), found.direction()), false, view);
        }
        let complaint = match reason {
            DropReason::TtlExpired => Some(Complaint::TimeExceeded),
            DropReason::TooBig => {
                self.fitting(packet, found, view).map(|mtu_bytes| Complaint::TooBig { mtu_bytes })
            }
            _ => None,
        };
        let sender = packet.key.src().addr;
        let source = match found.direction() {
            Direction::Original => Some(packet.key.dst().addr),
            Direction::Reply => view.snapshot.hops.source_for(sender),
        };
        let about = ETHERNET..ETHERNET + packet.ip_len as usize;
        let egress = complaint
            .zip(source)
            .and_then(|(complaint, source)| self.complain(frame, about, source, sender, complaint, view));
        self.drop_or_answer(frame, egress, reason);
    }

    /// How many bytes of a packet fit its way.
    fn fitting(&self, packet: &Packet, found: Found, view: View<'_>) -> Option<u16> {
        match found.direction() {
            Direction::Original => {
                let (decision, hop) = view.snapshot.towards(found.real())?;
                Some(hop.mtu_bytes.saturating_sub(decision.how.outer_bytes()))
            }
            Direction::Reply => Some(self.way_back(packet, found, view.snapshot).ok()?.mtu_bytes),
        }
    }

    /// A packet that would open a connection finds no server: it is dropped, and its sender told as the service's
    /// policy says.
    #[cold]
    pub(super) fn turn_away(&mut self, frame: &mut Frame<'_>, packet: &Packet, view: View<'_>) {
        let (client, vip) = (packet.key.src().addr, packet.key.dst().addr);
        let about = ETHERNET..ETHERNET + packet.ip_len as usize;
        let egress = match view.snapshot.services.policy(&packet.key).no_server {
            NoServer::Icmp => self.complain(frame, about, vip, client, Complaint::PortUnreachable, view),
            NoServer::Reset => self.reset(frame, packet, view),
            NoServer::Drop => None,
        };
        self.drop_or_answer(frame, egress, DropReason::NoRealServer);
    }

    pub(super) fn drop_or_answer(
        &self,
        frame: &mut Frame<'_>,
        egress: Option<InterfaceId>,
        reason: DropReason,
    ) {
        let verdict = egress.map_or(Verdict::Drop(reason), |egress| Verdict::Answer(egress, reason));
        give(frame, verdict, &self.counters);
    }

    /// Puts a reset in the frame, in place of the segment that it answers; where it is to leave.
    pub(super) fn reset(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        view: View<'_>,
    ) -> Option<InterfaceId> {
        let back = answer::macs_back(frame)?;
        let (egress, macs) = self.way_to(packet.key.src().addr, back, frame.ingress(), view);
        answer::reset(frame, packet, &macs).then_some(egress)
    }

    /// Puts an ICMP error in the frame, for the sender of the packet at `about`; where it is to leave. `None`, and
    /// nothing changes, if the packet must not be answered, or too many were.
    fn complain(
        &mut self,
        frame: &mut Frame<'_>,
        about: Range<usize>,
        from: IpAddr,
        to: IpAddr,
        complaint: Complaint,
        view: View<'_>,
    ) -> Option<InterfaceId> {
        let back = answer::macs_back(frame)?;
        // Without these, nothing comes through at all; Linux does not limit them either.
        let is_free = matches!(complaint, Complaint::TooBig { .. });
        if !is_free && !self.allowance.take(view.now) {
            self.counters.unanswered.add(1);
            return None;
        }
        let (egress, macs) = self.way_to(to, back, frame.ingress(), view);
        answer::complain(frame, about, from, complaint, &macs).then_some(egress)
    }

    /// Where an answer leaves, and its MACs: by the route to `to`, or if that is not known, `back` where the packet came
    /// from.
    fn way_to(
        &mut self,
        to: IpAddr,
        back: [u8; 12],
        ingress: InterfaceId,
        view: View<'_>,
    ) -> (InterfaceId, [u8; 12]) {
        // The routes lead elsewhere: its address is the director's own.
        if ingress == InterfaceId::PROBES {
            return (ingress, back);
        }
        match view.snapshot.hops.find(to) {
            Ok(way) => (way.hop.interface, way.hop.macs),
            Err(missing) => {
                self.want(missing);
                (ingress, back)
            }
        }
    }

    /// A client's SYN on its way into a tunnel announces no larger segments than the service's policy says.
    pub(super) fn clamp(&self, frame: &mut Frame<'_>, packet: &Packet, found: Found, snapshot: &Snapshot) {
        if !packet.flags.has(TcpFlags::SYN) {
            return;
        }
        let Some((decision, hop)) = snapshot.towards(found.real()) else { return };
        let outer = decision.how.outer_bytes();
        if outer == 0 {
            return;
        }
        let headers = TCP + if packet.key.is_v4() { IPV4 } else { IPV6 };
        let most = match snapshot.services.policy(&packet.key).mss_clamp {
            MssClamp::Off => return,
            MssClamp::Fit => hop.mtu_bytes.saturating_sub(outer + headers as u16),
            MssClamp::Bytes(most) => most,
        };
        mss::clamp(frame.data_mut(), packet.l4 as usize, most);
    }
}
