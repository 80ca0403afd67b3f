//! Packets of no connection: they open one, or are not ours.

use super::{Pending, Road, View};
use crate::conntrack::{Chosen, Found, Opened, Refused, Template};
use crate::dataplane::nexthop::{HopNumber, Missing};
use crate::dataplane::port::Frame;
use crate::dataplane::snapshot::Snapshot;
use crate::dataplane::verdict::{DropReason, HostReason};
use crate::net::InterfaceId;
use crate::service::{RealId, RealServer, State};

/// What is to be noted of a connection that is opened, where there is anything.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Closely {
    /// The template that leads it.
    pub template: Option<Template>,
    /// Whether, if replies pass, each of its packets is looked at.
    pub is_watched: bool,
}

/// A server picked for a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pick {
    pub real: RealId,
    /// Whether its replies pass here.
    pub replies_pass: bool,
}

impl Pick {
    #[inline]
    pub(super) fn of(real: &RealServer) -> Pick {
        Pick { real: real.id, replies_pass: real.method.sees_replies() }
    }
}

impl Road {
    /// A packet of no connection: it opens one, or is not ours.
    #[cold]
    pub(super) fn miss(&mut self, frame: &mut Frame<'_>, pending: &Pending, view: View<'_>) {
        let Pending { packet, hash, .. } = pending;
        let key = &packet.key;
        let snapshot = view.snapshot;
        if frame.ingress() == InterfaceId::PROBES {
            return self.probe(frame, packet, view);
        }
        let Some(service) = snapshot.services.table().addressed_by(key) else {
            return match self.tracker.find_fresh(*hash, key) {
                Some(found) => self.move_on(frame, pending, found, view),
                None if self.answer_probe(frame, packet, view) => {}
                None if self.answer_once(frame, packet, view) => {}
                None => self.leave(frame, HostReason::NotOurs),
            };
        };
        if let Some(reason) = snapshot.suspects.why_not(key) {
            return self.refuse(frame, reason);
        }
        // The kernel resets what opens nothing.
        if !snapshot.opens(service, key, packet.flags) {
            // It may have been opened since our look: by a packet before this one in the batch, or by another worker.
            return match self.tracker.find_for_certain(*hash, key) {
                Some(found) => self.move_on(frame, pending, found, view),
                None => self.leave(frame, HostReason::NoConnection),
            };
        }
        if snapshot.services.is_one_packet(service) {
            return self.send_once(frame, packet, service, view);
        }
        if snapshot.services.table().is_out_of_the_ordinary(service) || self.tracker.table().expects() {
            return self.open_closely(frame, pending, service, view);
        }
        let pick = || snapshot.services.pick(service, key, view.now).map(Pick::of);
        self.open(frame, pending, Closely::default(), view, pick);
    }

    /// Opens a connection to the server that `pick` gives. Whether it did: otherwise the template is the caller's still.
    #[inline(always)]
    pub(super) fn open(
        &mut self,
        frame: &mut Frame<'_>,
        pending: &Pending,
        closely: Closely,
        view: View<'_>,
        pick: impl Fn() -> Option<Pick>,
    ) -> bool {
        let Pending { packet, hash, .. } = pending;
        let (key, snapshot) = (&packet.key, view.snapshot);
        let mut lacking = None;
        let mut choose = || {
            let Pick { real, replies_pass } = pick()?;
            let mut hop = HopNumber::default();
            if replies_pass {
                let hops = &snapshot.hops;
                let number =
                    if key.is_v4() { hops.number_v4(key.src_v4().0) } else { hops.number_v6(key.src_v6().0) };
                match number {
                    Ok(number) => hop = number,
                    Err(missing) => lacking = Some(missing),
                }
            }
            let is_watched = closely.is_watched && replies_pass;
            let template = closely.template;
            Some(Chosen { real, replies_pass, hop: hop.0, template, is_watched, listens: false })
        };
        let mut opened = self.tracker.open(key, *hash, packet.flags, view.moment(), &mut choose);
        if matches!(opened, Err(Refused::Full)) && self.make_room(key, view) {
            opened = self.tracker.open(key, *hash, packet.flags, view.moment(), &mut choose);
        }
        let is_new = matches!(opened, Ok(Opened::New(_)));
        match opened {
            Ok(Opened::New(found)) => {
                self.opened(found, lacking, snapshot);
                self.clamp(frame, packet, found, snapshot);
                self.forward(frame, packet, found, view);
            }
            Ok(Opened::Already(found)) => self.move_on(frame, pending, found, view),
            Err(Refused::NoServer) => self.turn_away(frame, packet, view),
            Err(Refused::Full) => self.refuse(frame, DropReason::TableFull),
        }
        is_new
    }

    /// Counts a new connection, and asks early for what its replies will lack on their way.
    pub(super) fn opened(&mut self, found: Found, lacking: Option<Missing>, snapshot: &Snapshot) {
        if let Some(decision) = snapshot.decision(found.real()) {
            decision.live.opened(found.state().standing());
        }
        let counters = self.counters.real(found.real());
        counters.connections.add(1);
        if found.state() == State::SynRecv {
            counters.openings.asked.count();
        }
        if let Some(missing) = lacking {
            self.want(missing);
        }
    }
}
