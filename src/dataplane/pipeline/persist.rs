//! Connections to persistent services: a client is led where it was led before.

use super::open::{Closely, Pick};
use super::{Pending, Road, View};
use crate::conntrack::{Lead, Refused};
use crate::dataplane::port::Frame;
use crate::dataplane::snapshot::Snapshot;
use crate::dataplane::verdict::{DropReason, HostReason};
use crate::net::{FlowKey, Proto, Tick};
use crate::service::RealId;

impl Road {
    /// A packet that opens a connection to a persistent service or to one of FTP, which stands at this place of the table.
    #[cold]
    pub(super) fn open_closely(
        &mut self,
        frame: &mut Frame<'_>,
        pending: &Pending,
        service: usize,
        view: View<'_>,
    ) {
        let (key, services) = (&pending.packet.key, &view.snapshot.services);
        let Some(of) = services.table().services().get(service) else { return };
        if self.is_expected(frame, pending, view) {
            return;
        }
        let is_watched = of.policy.ftp == Some(key.dst().port) && key.proto() == Proto::Tcp;
        let closely = Closely { is_watched, template: None };
        match of.template_key(key).zip(of.policy.persistence) {
            Some((template, persistence)) => {
                let lasts = Tick::span(persistence.lasts);
                self.persist(frame, pending, service, (&template, lasts, closely), view);
            }
            // As IPVS: a packet to what might be a port of FTP's data, and is none, is the host's.
            None if of.is_ftp_data(key) => match self.tracker.find_for_certain(pending.hash, key) {
                Some(found) => self.move_on(frame, pending, found, view),
                None => self.leave(frame, HostReason::NotOurs),
            },
            None => {
                let pick = || services.pick(service, key, view.now).map(Pick::of);
                self.open(frame, pending, closely, view, pick);
            }
        }
    }

    /// As with IPVS, a template leads to its server for as long as that is one of the service's and not quiesced, be it
    /// overloaded or not.
    fn persist(
        &mut self,
        frame: &mut Frame<'_>,
        pending: &Pending,
        service: usize,
        (template, lasts, closely): (&FlowKey, u32, Closely),
        view: View<'_>,
    ) {
        let (key, snapshot) = (&pending.packet.key, view.snapshot);
        let services = &snapshot.services;
        // The client may have its connection already.
        if let Some(found) = self.tracker.find_for_certain(pending.hash, key) {
            return self.move_on(frame, pending, found, view);
        }
        let may_lead = |real| {
            let real = services.real(service, real);
            real.is_some_and(|real| real.weight > 0 || (snapshot.keeps_quiesced_templates && !real.is_shut))
        };
        let choose = || services.pick(service, key, view.now).map(|real| real.id);
        let mut followed = self.tracker.follow(template, lasts, view.now, may_lead, choose);
        if matches!(followed, Err(Refused::Full)) && self.make_room(key, view) {
            followed = self.tracker.follow(template, lasts, view.now, may_lead, choose);
        }
        let followed = match followed {
            Ok(followed) => followed,
            Err(Refused::NoServer) => return self.turn_away(frame, &pending.packet, view),
            Err(Refused::Full) => return self.refuse(frame, DropReason::TableFull),
        };
        count(snapshot, followed.lead, followed.real);
        let closely = Closely { template: Some(followed.template), ..closely };
        let pick = || services.real(service, followed.real).map(Pick::of);
        if !self.open(frame, pending, closely, view, pick) {
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
