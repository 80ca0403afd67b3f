//! The director's own probes: led to the server that each is meant for, and their answers back to where they came from.
//! Both are found out where no connection is found, and open none.

use super::{Road, View};
use crate::conntrack::Found;
use crate::dataplane::decision::Decision;
use crate::dataplane::forward;
use crate::dataplane::nexthop::Hop;
use crate::dataplane::port::Frame;
use crate::dataplane::probe::Led;
use crate::dataplane::verdict::DropReason;
use crate::net::{Direction, Endpoint, FlowKey, InterfaceId};
use crate::wire::icmp::Quoted;
use crate::wire::parse::Packet;

/// The way back into the namespace, which has no Ethernet and takes whatever fits a frame.
const BACK: Hop = Hop { interface: InterfaceId::PROBES, macs: [0; 12], mtu_bytes: u16::MAX };

impl Road {
    /// A packet that comes out of the namespace: it goes where its port leads, or nowhere. It is never scheduled.
    #[cold]
    pub(super) fn probe(&mut self, frame: &mut Frame<'_>, packet: &Packet, view: View<'_>) {
        let led = self.led(&packet.key, view).filter(|led| !led.is_answer);
        let Some(Led { real, .. }) = led else { return self.refuse(frame, DropReason::StrayProbe) };
        let way = self.way(frame, packet, (real, Direction::Original), view.snapshot);
        let Some((decision, hop)) = way else { return };
        let found = Found::of_no_connection(real, Direction::Original);
        self.clamp(frame, packet, found, view.snapshot);
        match forward::to_server(frame, packet, decision, &hop) {
            Ok(()) => self.send(frame, &hop),
            Err(reason) => self.turn_back(frame, packet, found, reason, view),
        }
    }

    /// A packet of no connection: perhaps a server's answer to a probe. `false`, and nothing was done, if not.
    #[cold]
    pub(super) fn answer_probe(&mut self, frame: &mut Frame<'_>, packet: &Packet, view: View<'_>) -> bool {
        self.let_in(frame, packet, view, |frame, decision, vip| {
            forward::to_client(frame, packet, decision, &BACK, || Some(vip))
        })
    }

    /// An ICMP error, perhaps about a probe's packet. `false`, and nothing was done, if not.
    #[cold]
    pub(super) fn tell_probe(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        quoted: &Quoted,
        view: View<'_>,
    ) -> bool {
        self.let_in(frame, packet, view, |frame, decision, vip| {
            forward::error::to_client(frame, packet, quoted, decision, &BACK, Some(vip))
        })
    }

    /// What is for a probe goes in, of a masqueraded server as `translate` makes it.
    fn let_in(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        view: View<'_>,
        translate: impl FnOnce(&mut Frame<'_>, &Decision, Endpoint) -> Result<(), DropReason>,
    ) -> bool {
        let Some(Led { real, vip, .. }) = self.led(&packet.key, view).filter(|led| led.is_answer) else {
            return false;
        };
        let Some(decision) = view.snapshot.decision(real) else { return false };
        // In DR and TUN it comes from the VIP, as it is to arrive.
        let is_ready = packet.key.src() == vip;
        match if is_ready { Ok(()) } else { translate(frame, decision, vip) } {
            Ok(()) => self.send(frame, &BACK),
            Err(reason) => self.refuse(frame, reason),
        }
        true
    }

    fn led(&self, key: &FlowKey, view: View<'_>) -> Option<Led> {
        self.probes.as_ref()?.find(key, view.snapshot)
    }
}
