//! A scheduler some of whose servers ramp: these get the turns due to them, it has all others.

use super::{CATCHING_UP, Newcomers, settled};
use crate::net::{FlowKey, Tick};
use crate::sched::{Scheduler, plain};
use crate::service::{Ramp, RealServer, SchedulerName, SchedulerOptions};
use std::cmp::Ordering;

/// For `rr`, `wrr`, `lc`, `wlc`, `sed`, `nq` and `twos`.
#[derive(Debug)]
pub struct Paced {
    name: SchedulerName,
    options: SchedulerOptions,
    settled: Box<dyn Scheduler>,
    newcomers: Newcomers,
}

impl Paced {
    /// For these servers; `None` if none of them ramps, or the scheduler knows itself what to do then.
    pub fn new(
        name: SchedulerName,
        options: &SchedulerOptions,
        reals: &[RealServer],
        before: Option<&Paced>,
    ) -> Option<Paced> {
        use SchedulerName::{Lblc, Lblcr, Lc, Nq, Sed, Wlc};
        // These pace their newcomers themselves.
        if matches!(name, Lblc | Lblcr) {
            return None;
        }
        let at_most = if matches!(name, Lc | Wlc | Sed | Nq) { CATCHING_UP } else { Ramp::WHOLE };
        let newcomers = Newcomers::of(name, reals, at_most, before.map(|before| &before.newcomers))?;
        let settled = plain(name, options, &settled(reals));
        Some(Paced { name, options: *options, settled, newcomers })
    }
}

impl Scheduler for Paced {
    fn pick(&self, reals: &[RealServer], key: &FlowKey, now: Tick) -> Option<usize> {
        let turn = self.newcomers.turn(reals, now);
        let taken = turn.filter(|&at| self.settled.compare(&reals[at]) != Some(Ordering::Greater));
        let settled = || self.settled.pick(reals, key, now);
        taken.or_else(settled).or_else(|| self.newcomers.instead(reals, now))
    }

    fn compare(&self, real: &RealServer) -> Option<Ordering> {
        self.settled.compare(real)
    }

    fn for_changed(&self, reals: &[RealServer]) -> Option<Box<dyn Scheduler>> {
        Some(Box::new(Paced::new(self.name, &self.options, reals, Some(self))?))
    }
}
