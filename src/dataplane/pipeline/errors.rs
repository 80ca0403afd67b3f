//! ICMP errors on the road: those that come by, and those that it answers with. All of it is rare.

use super::{Road, View, give};
use crate::conntrack::Found;
use crate::dataplane::forward;
use crate::dataplane::port::Frame;
use crate::dataplane::verdict::{HostReason, Verdict};
use crate::dataplane::{answer, related};
use crate::net::{Direction, FlowKey, InterfaceId};
use crate::wire::ETHERNET;
use crate::wire::icmp::{Complaint, Outer, Quoted};
use crate::wire::parse::Packet;
use std::net::IpAddr;
use std::ops::Range;

impl Road {
    /// An IP packet that is neither TCP nor UDP: perhaps an error about one that was.
    #[cold]
    pub(super) fn relate(&mut self, frame: &mut Frame<'_>, view: View<'_>) {
        let datagram = frame.data().get(ETHERNET..).unwrap_or_default();
        let quoted = match related::quoted(datagram) {
            Ok(quoted) => quoted,
            Err(verdict) => return give(frame, verdict, &self.counters),
        };
        let key = related::key(&quoted);
        let packet = related::packet(datagram, &quoted, key);
        match (self.look_up(&key), quoted.outer) {
            (Some(found), None) => self.pass_on(frame, &packet, &quoted, found, view),
            (Some(found), Some(outer)) if found.direction() == Direction::Original => {
                self.tell_client(frame, &quoted, outer, found, view);
            }
            _ => self.leave(frame, HostReason::Unrelated),
        }
    }

    /// The connection of a key that no packet of this batch has.
    fn look_up(&mut self, key: &FlowKey) -> Option<Found> {
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
        let (real, snapshot) = (found.real(), view.snapshot);
        let (sent, hop) = match found.direction() {
            Direction::Original => {
                let Some((decision, hop)) = snapshot.towards(real) else {
                    return self.lack(frame, real, snapshot);
                };
                let sent = forward::error::to_server(frame, packet, quoted, decision, hop);
                (sent, *hop)
            }
            Direction::Reply => {
                let Some(decision) = snapshot.decision(real) else {
                    return self.lack(frame, real, snapshot);
                };
                let hop = match self.way_back(packet, found, snapshot) {
                    Ok(hop) => hop,
                    Err(missing) => return self.miss_out(frame, missing),
                };
                let sent = forward::error::to_client(frame, packet, quoted, decision, &hop);
                (sent, hop)
            }
        };
        match sent {
            Ok(()) => {
                let counters = self.counters.real(real);
                let (packets, bytes) = match found.direction() {
                    Direction::Original => (&counters.in_packets, &counters.in_bytes),
                    Direction::Reply => (&counters.out_packets, &counters.out_bytes),
                };
                packets.add(1);
                bytes.add(packet.ip_len as u64);
                self.counters.related.add(1);
                self.send(frame, &hop);
            }
            // Nobody is told that an error went no further (RFC 1122, 3.2.2).
            Err(reason) => self.refuse(frame, reason),
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
        let (egress, macs) = match view.snapshot.hops.find(to) {
            Ok(way) => (way.hop.interface, way.hop.macs),
            Err(missing) => {
                self.want(missing);
                (frame.ingress(), back)
            }
        };
        answer::complain(frame, about, from, complaint, &macs).then_some(egress)
    }
}
