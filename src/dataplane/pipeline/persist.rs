//! Connections to persistent services: a client is led where it was led before.

use super::{Pending, Road, View};
use crate::conntrack::{Lead, Refused};
use crate::dataplane::port::Frame;
use crate::dataplane::snapshot::Snapshot;
use crate::dataplane::verdict::DropReason;
use crate::net::Tick;
use crate::service::RealId;

impl Road {
    /// A packet that opens a connection to a persistent service, which stands at this place of the table.
    ///
    /// As with IPVS, a template leads to its server for as long as that is one of the service's and not quiesced, be it
    /// overloaded or not.
    #[cold]
    pub(super) fn persist(
        &mut self,
        frame: &mut Frame<'_>,
        pending: &Pending,
        service: usize,
        view: View<'_>,
    ) {
        let (key, snapshot) = (&pending.packet.key, view.snapshot);
        let services = &snapshot.services;
        let of = services.table().services().get(service);
        let template = of.and_then(|of| of.template_key(key).zip(of.policy.persistence));
        let Some((template, persistence)) = template else {
            return self.refuse(frame, DropReason::NoRealServer);
        };
        // The client may have its connection already.
        if let Some(found) = self.tracker.find_for_certain(pending.hash, key) {
            return self.move_on(frame, pending, found, view);
        }
        let may_lead = |real| {
            let real = services.real(service, real);
            real.is_some_and(|real| real.weight > 0 || snapshot.keeps_quiesced_templates)
        };
        let choose = || services.pick(service, key, view.now).map(|real| real.id);
        let lasts = Tick::span(persistence.lasts);
        let followed = match self.tracker.follow(&template, lasts, view.now, may_lead, choose) {
            Ok(followed) => followed,
            Err(Refused::NoServer) => return self.turn_away(frame, &pending.packet, view),
            Err(Refused::Full) => return self.refuse(frame, DropReason::TableFull),
        };
        count(snapshot, followed.lead, followed.real);
        let real = || services.real(service, followed.real);
        if !self.open(frame, pending, Some(followed.template), view, real) {
            self.tracker.release(followed.template);
        }
    }
}

/// Counts a template with the servers that it leads to, and led to.
fn count(snapshot: &Snapshot, lead: Lead, to: RealId) {
    let live = |real| snapshot.decision(real).map(|decision| &decision.live);
    let (gone, made) = match lead {
        Lead::Same => (None, None),
        Lead::New => (None, live(to)),
        Lead::Changed(from) => (live(from), live(to)),
    };
    if let Some(live) = gone {
        live.template_gone();
    }
    if let Some(live) = made {
        live.template_made();
    }
}
