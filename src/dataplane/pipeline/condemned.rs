//! Connections that are ended from here: both ends are reset, by their own words.
//!
//! A reset is heeded only if it has the very number that its receiver expects next (RFC 5961, 3.2), and nobody here keeps
//! numbers. But every segment acknowledges what its sender expects, and so can be answered with the right reset. Who is
//! silent is probed (`wire/probe.rs`), once a second: an open end acknowledges, and is reset; a closed one resets, and is
//! left in peace.

use super::{Pending, Pipeline, Road, View, tags};
use crate::conntrack::{Condemned, Found};
use crate::dataplane::answer;
use crate::dataplane::nexthop::Hop;
use crate::dataplane::port::{Frame, OwnFrame};
use crate::dataplane::verdict::{DropReason, Verdict};
use crate::net::{FlowKey, TcpFlags, Tick};

impl Road {
    /// A packet of a condemned connection goes no further. It is answered with a reset, or is one itself.
    #[cold]
    pub(super) fn condemned(
        &mut self,
        frame: &mut Frame<'_>,
        pending: &Pending,
        found: Found,
        view: View<'_>,
    ) {
        let packet = &pending.packet;
        if !packet.flags.has(TcpFlags::RST) {
            let egress = self.reset(frame, packet, view);
            return self.drop_or_answer(frame, egress, DropReason::Condemned);
        }
        if self.tracker.table().is_closed_by_both(&found) {
            self.end(found, view.snapshot);
        }
        self.refuse(frame, DropReason::Condemned);
    }
}

impl Pipeline {
    /// What the last sweep has made, to be sent behind no frame: probes for the ends of condemned connections.
    pub fn take_probes(&mut self, now: Tick) -> Vec<OwnFrame> {
        let Pipeline { snapshot, road: Road { tracker, counters, .. }, .. } = self;
        let again = now.0 / Tick::PER_SECOND % 2 == 1;
        let probe = |key: Option<FlowKey>, hop: Option<&Hop>| {
            let (key, hop) = key.zip(hop)?;
            let (frame, verdict) = (answer::probe(&key, again, &hop.macs), Verdict::Forward(hop.interface));
            Some(OwnFrame::new(frame, hop.interface, verdict, 0))
        };
        let mut probes = Vec::new();
        for Condemned { real, to_client, to_server } in tracker.take_condemned() {
            let server = snapshot.towards(real).map(|(_, hop)| hop);
            let client = to_client.and_then(|key| snapshot.hops.find(key.dst().addr).ok());
            probes.extend(probe(to_server, server));
            probes.extend(probe(to_client, client.as_ref().map(|way| &way.hop)));
        }
        counters.probes.add(probes.len() as u64);
        if !snapshot.hops.vlans().is_empty() {
            tags::put_on(&mut probes, &snapshot.hops, counters);
        }
        probes
    }
}
