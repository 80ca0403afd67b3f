//! Slow start, for every scheduler: how a server that comes new, or back, gets its share little by little.
//!
//! Its *due* is its weight's part of all weights. While it ramps, it is a *newcomer*, and gets of the new connections
//! the part of its due that its [`Ramp`] allows, however idle it is: the scheduler is built without the newcomers, and
//! [`Paced`] gives out turns. All turns go round a circle, on which each newcomer has an arc as long as its part; what
//! is left of the circle is the scheduler's. The hand moves on by the golden section each time, by which any number of
//! turns in a row spreads evenly (the three-gap theorem): a newcomer gets what its arc says, to two or three
//! connections, from any number of workers together. A scheduler that goes by load may turn down a newcomer that has
//! more for its weight than its own servers.
//!
//! After its ramp, a server with few connections would still be flooded by a scheduler that goes by load, where
//! connections last long. So it stays a newcomer for as long as the publisher leaves its ramp to it, with
//! [`CATCHING_UP`] times its due at most.
//!
//! Where a key decides, or one server that is better than the others, a turn would send a client now here, now there,
//! or take too much from a server that is due everything: for these there is [`Gated`].
//!
//! A pool never refuses a connection since its servers ramp: when no other server takes it, a newcomer does.

mod gated;
mod paced;
#[cfg(test)]
mod tests;

pub(super) use gated::Gated;
pub(super) use paced::Paced;

use crate::net::Tick;
use crate::service::{Ramp, RealServer, SchedulerName};
use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How much of its due a server gets at most that has ramped, but has fewer connections for its weight than the others
/// still: three halves.
pub(super) const CATCHING_UP: u32 = Ramp::WHOLE / 2 * 3;

/// How often a turn that falls to a newcomer which takes none is repeated, before all are asked.
const TRIES: u32 = 8;

/// These servers, those that ramp without weight: what a scheduler without the newcomers is built for.
pub(super) fn settled(reals: &[RealServer]) -> Cow<'_, [RealServer]> {
    let mut settled = Cow::Borrowed(reals);
    for (place, _) in reals.iter().enumerate().filter(|(_, real)| real.ramp.is_some()) {
        settled.to_mut()[place].weight = 0;
    }
    settled
}

/// The hand of a circle that connections go round.
#[derive(Debug)]
pub(super) struct Hand(AtomicU64);

impl Hand {
    /// A hand where another one is, or at the beginning.
    pub(super) fn at(other: Option<&Hand>) -> Hand {
        Hand(AtomicU64::new(other.map_or(0, |other| other.0.load(Relaxed))))
    }

    /// Moves the hand on. The golden section of 2^64, which is the whole circle.
    fn turn(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        self.0.fetch_add(STEP, Relaxed).wrapping_add(STEP)
    }

    /// The same on a circle of this length.
    fn point(&self, of: u64) -> u64 {
        ((u128::from(self.turn()) * u128::from(of)) >> 64) as u64
    }
}

/// The servers of a service that ramp, and whose turn it is.
#[derive(Debug)]
pub(super) struct Newcomers {
    cohorts: Vec<Cohort>,
    /// What all servers weigh, newcomers or not.
    all: u64,
    /// The share of those whose ramp is over.
    at_most: u32,
    hand: Hand,
    /// The hand of a circle of newcomers alone.
    instead: Hand,
}

/// Newcomers that came together.
#[derive(Debug)]
struct Cohort {
    ramp: Ramp,
    /// Places, each with the weights up to it added up.
    servers: Vec<(u32, u64)>,
}

impl Cohort {
    fn weight(&self) -> u64 {
        self.servers.last().map_or(0, |&(_, sum)| sum)
    }
}

impl Newcomers {
    /// The newcomers among these servers; `None` if there are none. `at_most` is the share of one whose ramp is over.
    pub(super) fn of(
        name: SchedulerName,
        reals: &[RealServer],
        at_most: u32,
        before: Option<&Newcomers>,
    ) -> Option<Newcomers> {
        let weight = |real| u64::from(name.weight(real));
        let mut cohorts: Vec<Cohort> = Vec::new();
        for (place, real) in (0..).zip(reals).filter(|(_, real)| real.weight > 0) {
            let Some(ramp) = real.ramp else { continue };
            let cohort = cohorts.iter_mut().find_map(|cohort| {
                cohort.ramp = cohort.ramp.together(ramp)?;
                Some(cohort)
            });
            match cohort {
                Some(cohort) => cohort.servers.push((place, cohort.weight() + weight(real))),
                None => cohorts.push(Cohort { ramp, servers: vec![(place, weight(real))] }),
            }
        }
        let all = reals.iter().map(weight).sum();
        let hand = Hand::at(before.map(|before| &before.hand));
        let instead = Hand::at(before.map(|before| &before.instead));
        (!cohorts.is_empty()).then_some(Newcomers { cohorts, all, at_most, hand, instead })
    }

    /// The newcomer whose turn it is, if it takes connections; mostly nobody's.
    pub(super) fn turn(&self, reals: &[RealServer], now: Tick) -> Option<usize> {
        let circle = (self.all * u64::from(Ramp::WHOLE)).max(self.arcs(now));
        let at = self.at(self.hand.point(circle), now)?;
        reals[at].is_available().then_some(at)
    }

    /// A newcomer for a connection that nobody else takes.
    #[cold]
    pub(super) fn instead(&self, reals: &[RealServer], now: Tick) -> Option<usize> {
        let arcs = self.arcs(now);
        let drawn = (0..TRIES).filter_map(|_| self.at(self.instead.point(arcs), now));
        let all = self.cohorts.iter().flat_map(|cohort| &cohort.servers).map(|&(place, _)| place as usize);
        drawn.chain(all).find(|&at| reals[at].is_available())
    }

    /// What one of the cohort's servers has of its due.
    fn share(&self, cohort: &Cohort, now: Tick) -> u64 {
        let share = if cohort.ramp.is_over(now) { self.at_most } else { cohort.ramp.share(now) };
        share.into()
    }

    /// How long all arcs are together.
    fn arcs(&self, now: Tick) -> u64 {
        self.cohorts.iter().map(|cohort| self.share(cohort, now) * cohort.weight()).sum()
    }

    /// Whose arc this point is on.
    fn at(&self, mut point: u64, now: Tick) -> Option<usize> {
        for cohort in &self.cohorts {
            let share = self.share(cohort, now);
            let arc = share * cohort.weight();
            if point < arc {
                let servers = &cohort.servers;
                let at = servers.partition_point(|&(_, sum)| sum * share <= point);
                return servers.get(at).map(|&(place, _)| place as usize);
            }
            point -= arc;
        }
        None
    }
}
