//! A scheduler some of whose servers ramp, and that nobody but itself can say to which of them a connection goes: where
//! it picks one that ramps, only those connections pass whose number is below the server's share. The others go where
//! they would without the servers that ramp.
//!
//! Where a key decides, the number follows from the key: what passes once passes ever after, and a client or an address
//! changes its server once.

use super::{Hand, settled};
use crate::net::{FlowKey, Tick};
use crate::sched::hash::{self, mix};
use crate::sched::{Scheduler, dh::Dh, fo::Fo, mh::Mh, ovf, sh::Sh};
use crate::service::{Ramp, RealServer, SchedulerName, SchedulerOptions};

/// A prime of no meaning, other than those by which servers are hashed.
const GATE: u64 = 0x8ebc_6af0_9c88_c6e3;

/// For `sh`, `dh`, `mh`, `fo` and `ovf`.
#[derive(Debug)]
pub struct Gated {
    name: SchedulerName,
    options: SchedulerOptions,
    whole: Box<dyn Scheduler>,
    /// Without the servers that ramp.
    settled: Box<dyn Scheduler>,
    hand: Hand,
}

impl Gated {
    /// For these servers; `None` if none of them ramps, or the scheduler is another one.
    pub fn new(
        name: SchedulerName,
        options: &SchedulerOptions,
        reals: &[RealServer],
        before: Option<&Gated>,
    ) -> Option<Gated> {
        let is_settled = |real: &RealServer| real.ramp.is_none();
        if reals.iter().all(is_settled) {
            return None;
        }
        let without = settled(reals);
        let (whole, settled): (Box<dyn Scheduler>, Box<dyn Scheduler>) = match name {
            // A server without weight keeps a place there, from which clients fall back as they did while it was away.
            SchedulerName::Sh if options.fallback => {
                (Box::new(Sh::new(options, reals)), Box::new(Sh::new(options, &without)))
            }
            SchedulerName::Sh => {
                (Box::new(Sh::new(options, reals)), Box::new(Sh::among(options, reals, is_settled)))
            }
            SchedulerName::Dh => (Box::new(Dh::new(reals)), Box::new(Dh::among(reals, is_settled))),
            SchedulerName::Mh => (Box::new(Mh::new(options, reals)), Box::new(Mh::new(options, &without))),
            SchedulerName::Fo => (Box::new(Fo::new(reals)), Box::new(Fo::new(&without))),
            SchedulerName::Ovf => (Box::new(ovf::ovf(reals)), Box::new(ovf::beside(&without))),
            _ => return None,
        };
        let hand = Hand::at(before.map(|before| &before.hand));
        Some(Gated { name, options: *options, whole, settled, hand })
    }

    /// The number that must be below a server's share.
    fn number(&self, key: &FlowKey) -> u32 {
        let port = if self.options.port { hash::source_port(key) } else { 0 };
        let number = match self.name {
            SchedulerName::Sh | SchedulerName::Mh => {
                mix(u64::from(port) << 32 | u64::from(hash::source(key)), GATE)
            }
            SchedulerName::Dh => mix(hash::destination(key).into(), GATE),
            _ => self.hand.turn(),
        };
        (number >> 48) as u32
    }
}

// A number has 16 bits.
const _: () = assert!(Ramp::WHOLE == 1 << 16);

impl Scheduler for Gated {
    fn pick(&self, reals: &[RealServer], key: &FlowKey, now: Tick) -> Option<usize> {
        let picked = self.whole.pick(reals, key, now)?;
        match reals[picked].ramp {
            Some(ramp) if self.number(key) >= ramp.share(now) => {
                self.settled.pick(reals, key, now).or(Some(picked))
            }
            _ => Some(picked),
        }
    }

    fn for_changed(&self, reals: &[RealServer]) -> Option<Box<dyn Scheduler>> {
        Some(Box::new(Gated::new(self.name, &self.options, reals, Some(self))?))
    }
}
