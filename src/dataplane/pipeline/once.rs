//! One-packet scheduling: each datagram gets its server anew, and no connection stays.
//!
//! IPVS lets the answers of a masqueraded server pass as they are, so that a client hears from an address that it never
//! asked (but for SIP, whose persistence engine gives them connections). Here they leave from the VIP: a server's
//! address and port tell the service, unless it serves several of them from one port.

use super::{Road, View};
use crate::conntrack::Found;
use crate::dataplane::port::Frame;
use crate::net::Direction;
use crate::wire::parse::Packet;

impl Road {
    /// A client's datagram to the service at this place of the table.
    #[cold]
    pub(super) fn send_once(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        service: usize,
        view: View<'_>,
    ) {
        let Some(real) = view.snapshot.services.pick(service, &packet.key, view.now) else {
            return self.turn_away(frame, packet, view);
        };
        self.counters.real(real.id).connections.add(1);
        self.forward(frame, packet, Found::of_no_connection(real.id, Direction::Original), view);
    }

    /// A packet of no connection that nobody's service is addressed by: perhaps a server's answer. `false`, and nothing
    /// was done, if not.
    #[cold]
    pub(super) fn answer_once(&mut self, frame: &mut Frame<'_>, packet: &Packet, view: View<'_>) -> bool {
        let Some(real) = view.snapshot.answers_once(&packet.key) else { return false };
        self.forward(frame, packet, Found::of_no_connection(real, Direction::Reply), view);
        true
    }
}
