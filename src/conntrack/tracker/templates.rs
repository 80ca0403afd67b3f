//! Persistence templates: which server a client's network was led to.
//!
//! A template is an entry like a connection's, under a key that no packet has. It is found, made, led elsewhere and ended
//! under the lock of its bucket, so that two workers choose a server once; and it outlives the connections that it has
//! led, which the table counts in it, so that no slot noted as a leader's ever holds anything else.

use super::{Chosen, Ended, Place, Refused, Tracker};
use crate::conntrack::State;
use crate::conntrack::bucket::Reference;
use crate::conntrack::entry::Entry;
use crate::conntrack::table::{Found, Table};
use crate::net::{FlowKey, Tick};
use crate::service::RealId;
use std::sync::atomic::Ordering::Relaxed;

/// How many ticks a template that should end goes on while connections that it has led are alive (IPVS:
/// `ip_vs_conn_expire`).
const MEANWHILE: u32 = 60 * Tick::PER_SECOND;

/// A template that somebody holds: it does not end until it is released, or the connection that it was given to ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Template(u32);

/// Where a template leads.
#[derive(Debug, Clone, Copy)]
pub struct Followed {
    /// The template, held for the caller.
    pub template: Template,
    /// The server.
    pub real: RealId,
    /// What has become of the template.
    pub lead: Lead,
}

/// What has become of a template that was followed: the caller counts them with the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lead {
    /// It was made.
    New,
    /// It leads where it led.
    Same,
    /// It led to this server before, to which it may lead no more.
    Changed(RealId),
}

impl Tracker {
    /// Follows the template of this key, which is a template's, and makes it last `lasts` ticks from now. `choose` is
    /// asked for a server if there is no template, or if it is over, or if it leads to a server that `may_lead` does not
    /// let through; nobody else chooses for this key meanwhile.
    ///
    /// # Errors
    /// [`Refused`] if no server was chosen, or there is no room; nothing has changed then.
    pub fn follow(
        &mut self,
        key: &FlowKey,
        lasts: u32,
        now: Tick,
        may_lead: impl FnOnce(RealId) -> bool,
        choose: impl FnOnce() -> Option<RealId>,
    ) -> Result<Followed, Refused> {
        let hash = self.table.hash(key);
        if !self.has_spares() {
            self.settle_replies();
        }
        let slot = self.next_slot();
        let table = &*self.table;
        let mut chain = table.chain(hash).lock();
        if let Some(found) = table.find_in(&chain, hash, key) {
            let entry = &table.slab[found.slot() as usize];
            let (template, before) = (Template(found.slot()), found.real());
            let is_over = now.is_beyond(entry.seen(), entry.lasts()) && entry.leads() == 0;
            let followed = |real, lead| Followed { template, real, lead };
            let followed = if !is_over && may_lead(before) {
                followed(before, Lead::Same)
            } else {
                let real = choose().ok_or(Refused::NoServer)?;
                // Nothing else changes a template's meta while its chain is locked.
                let _ = entry.exchange(found.meta, found.meta.led_to(real));
                followed(real, if real == before { Lead::Same } else { Lead::Changed(before) })
            };
            entry.last(lasts, now);
            entry.lead();
            return Ok(followed);
        }
        let slot = slot.ok_or(Refused::Full)?;
        let real = choose().ok_or(Refused::NoServer)?;
        // Held once, by the caller.
        let hop = 1 << 32 | u64::from(lasts);
        let chosen =
            Chosen { real, replies_pass: false, hop, template: None, is_watched: false, listens: false };
        let entry = &table.slab[slot as usize];
        let meta = entry.occupy(key, &chosen, State::None, now);
        if !chain.put(hash.tag, Reference::new(slot, false), || self.spares.pop()) {
            entry.end(meta);
            return Err(Refused::Full);
        }
        drop(chain);
        self.slots.pop();
        Ok(Followed { template: Template(slot), real, lead: Lead::New })
    }

    /// Lets go of a template that was not given to a connection.
    pub fn release(&self, template: Template) {
        self.table.release(template);
    }

    /// Ends a template found silent, unless it was used since; one whose connections are alive goes on for a while.
    pub(super) fn end_template(&mut self, place: &Place, now: Tick) -> Option<Ended> {
        self.end_template_if(place, |entry| {
            let (is_over, leads) = (now.is_beyond(entry.seen(), entry.lasts()), entry.leads() > 0);
            if is_over && leads {
                entry.last(MEANWHILE, now);
            }
            is_over && !leads
        })
    }

    /// Ends a template, however lately it was used, unless connections that it has led are alive.
    pub(super) fn end_idle_template(&mut self, found: &Found) -> Option<Ended> {
        let place = self.place_of(found.slot(), found.meta)?;
        self.end_template_if(&place, |entry| entry.leads() == 0)
    }

    fn end_template_if(&mut self, place: &Place, may_end: impl FnOnce(&Entry) -> bool) -> Option<Ended> {
        let &Place { slot, meta, there, .. } = place;
        let mut chain = self.table.chain(there).lock();
        let entry = self.table.slab.get(slot as usize)?;
        if !entry.still(meta) || !may_end(entry) {
            return None;
        }
        let last = entry.end(meta)?;
        let freed = chain.take(there.tag, Reference::new(slot, false));
        drop(chain);
        if let Some(bucket) = freed {
            self.give_spare(bucket);
        }
        self.give_slot(slot);
        Some(Ended { real: last.real(), standing: None })
    }
}

impl Table {
    /// Notes that the connection in `slot` was led by this template.
    pub(super) fn note_leader(&self, slot: u32, template: Template) {
        if let Some(leader) = self.leaders.get().and_then(|leaders| leaders.get(slot as usize)) {
            leader.store(template.0 + 1, Relaxed);
        } else {
            self.release(template);
        }
    }

    /// The template that led the connection in `slot`, which from now on has none.
    pub(super) fn take_leader(&self, slot: u32) -> Option<Template> {
        let leader = self.leaders.get()?.get(slot as usize)?;
        leader.swap(0, Relaxed).checked_sub(1).map(Template)
    }

    /// The connection in `slot` is no more: its template has one less.
    pub(super) fn leave_leader(&self, slot: u32) {
        if let Some(template) = self.take_leader(slot) {
            self.release(template);
        }
    }

    fn release(&self, template: Template) {
        if let Some(entry) = self.slab.get(template.0 as usize) {
            entry.release();
        }
    }
}
