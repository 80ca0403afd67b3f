//! `lblc`, locality-based least connections: connections to one address go to one server, as long as it can bear them.
//! That suits caches, behind which many addresses lie.
//!
//! The server of a new address is chosen as by `wlc`. It is given up for another one when it takes no new connection,
//! or when it has more active connections than its weight while some server has fewer than half of its own. Unlike
//! IPVS, a server at its upper threshold is given up too.
//!
//! A server that ramps gets new addresses, and some of one that has too much, as its turn comes; an address that it has
//! is its own.

use super::Scheduler;
use super::least::{Least, enter};
use super::locality::Locality;
use super::ramp::{CATCHING_UP, Newcomers, settled};
use crate::net::{FlowKey, Tick};
use crate::service::{Live, Ramp, RealId, RealServer, SchedulerName};
use hashbrown::HashMap;
use std::cmp::Ordering;
use std::sync::{Arc, Mutex};

/// The servers, and what is remembered of addresses.
#[derive(Debug)]
pub struct Lblc {
    servers: Servers,
    /// Shared with the schedulers built for this service later.
    locality: Arc<Mutex<Locality<RealId>>>,
}

type Load = fn(&Live, f64) -> Option<u64>;

/// What lblc and lblcr know of a service's servers.
#[derive(Debug)]
pub(super) struct Servers {
    /// Those that do not ramp by all connections, as wlc compares.
    all: Least<Load>,
    /// The same by active ones.
    active: Least<Load>,
    newcomers: Option<Newcomers>,
    places: HashMap<RealId, u32>,
}

impl Servers {
    pub(super) fn new(reals: &[RealServer], before: Option<&Servers>) -> Servers {
        let overhead: Load = |live, _| Some(live.overhead());
        let active: Load = |live, _| Some(live.active().into());
        let before = before.and_then(|before| before.newcomers.as_ref());
        let settled = settled(reals);
        Servers {
            all: Least::new(&settled, overhead, |real| real.weight.into()),
            active: Least::second(&settled, active, |real| real.weight.into()),
            newcomers: Newcomers::of(SchedulerName::Lblc, reals, CATCHING_UP, before),
            places: reals.iter().map(|real| real.id).zip(0..).collect(),
        }
    }

    /// Where the server of this id is, if it is still one of the service.
    pub(super) fn place(&self, id: RealId) -> Option<usize> {
        self.places.get(&id).map(|&place| place as usize)
    }

    /// The same, if it takes new connections.
    pub(super) fn available(&self, reals: &[RealServer], id: RealId) -> Option<usize> {
        self.place(id).filter(|&place| reals[place].is_available())
    }

    /// The server that ramps whose turn it is, if it has no more for its weight than others.
    pub(super) fn turn(&self, reals: &[RealServer], now: Tick) -> Option<usize> {
        let turn = self.newcomers.as_ref()?.turn(reals, now)?;
        (self.compare(&reals[turn]) != Some(Ordering::Greater)).then_some(turn)
    }

    /// The server whose turn it is, or else the least loaded.
    pub(super) fn least(&self, reals: &[RealServer], turn: Option<usize>, now: Tick) -> Option<usize> {
        let newcomer = || self.newcomers.as_ref()?.instead(reals, now);
        turn.or_else(|| self.all.find()).or_else(newcomer)
    }

    /// Another server for what this one would get, if this one has too much, and another one little: the one whose turn
    /// it is, or else the least loaded. What is much and what is little rises with a ramp.
    pub(super) fn relief(
        &self,
        reals: &[RealServer],
        server: usize,
        turn: Option<usize>,
        now: Tick,
    ) -> Option<usize> {
        let share = |real: &RealServer| real.ramp.map_or(Ramp::WHOLE, |ramp| ramp.share(now));
        let bears = |real: &RealServer| u64::from(real.weight) * u64::from(share(real));
        let has = |real: &RealServer| u64::from(real.live.active()) * u64::from(Ramp::WHOLE);
        let has_little = |&at: &usize| has(&reals[at]) * 2 < bears(&reals[at]);
        if has(&reals[server]) <= bears(&reals[server]) {
            return None;
        }
        turn.filter(has_little)
            .or_else(|| self.active.find().filter(has_little).and_then(|_| self.all.find()))
    }

    /// As [`Scheduler::compare`].
    pub(super) fn compare(&self, real: &RealServer) -> Option<Ordering> {
        self.all.compare(real)
    }
}

impl Lblc {
    /// For these servers, remembering nothing yet.
    pub fn new(reals: &[RealServer]) -> Lblc {
        Lblc { servers: Servers::new(reals, None), locality: Arc::new(Mutex::new(Locality::new())) }
    }
}

impl Scheduler for Lblc {
    /// If other workers are at it for too long, the least loaded of all: the address may then have two servers.
    fn pick(&self, reals: &[RealServer], key: &FlowKey, now: Tick) -> Option<usize> {
        let address = key.dst().addr;
        let turn = self.servers.turn(reals, now);
        let least = || self.servers.least(reals, turn, now);
        let Some(mut locality) = enter(&self.locality) else { return least() };
        let known = locality.ask(address, now).and_then(|id| self.servers.available(reals, *id));
        let server = match known {
            Some(server) => match self.servers.relief(reals, server, turn, now) {
                Some(relief) => relief,
                None => return Some(server),
            },
            None => least()?,
        };
        locality.remember(address, now, reals[server].id);
        Some(server)
    }

    fn for_changed(&self, reals: &[RealServer]) -> Option<Box<dyn Scheduler>> {
        let servers = Servers::new(reals, Some(&self.servers));
        Some(Box::new(Lblc { servers, locality: self.locality.clone() }))
    }

    fn compare(&self, real: &RealServer) -> Option<Ordering> {
        self.servers.compare(real)
    }
}

#[cfg(test)]
mod tests {
    use super::super::locality::LONG;
    use super::super::tests::{opened_by, overload, servers, to};
    use super::*;
    use crate::service::Standing;

    const NOW: Tick = Tick(0);

    #[test]
    fn an_address_keeps_its_server_until_that_has_too_much_and_another_one_little() {
        let reals = servers(&[4, 4, 4]);
        let lblc = Lblc::new(&reals);
        // A until it has 5, more than 4; then B, which has none.
        assert_eq!(opened_by(&lblc, &reals, &to(1, 80), 7), "AAAAABB");
        assert_eq!(opened_by(&lblc, &reals, &to(2, 80), 1), "C");
        // B until it has 5; C has one of 4.
        assert_eq!(opened_by(&lblc, &reals, &to(1, 80), 4), "BBBC");
        // Now nobody has fewer than half: they stay.
        assert_eq!(opened_by(&lblc, &reals, &to(1, 80), 9), "CCCCCCCCC");
    }

    #[test]
    fn a_server_that_takes_none_or_is_gone_is_given_up_and_the_others_are_remembered_across_the_change() {
        let reals = servers(&[9, 9, 9]);
        let lblc = Lblc::new(&reals);
        let letters: String = (0..3).map(|address| opened_by(&lblc, &reals, &to(address, 80), 1)).collect();
        assert_eq!(letters, "ABC");
        overload(&reals[1]);
        assert_eq!(lblc.pick(&reals, &to(1, 80), NOW), Some(0));

        let fewer = &reals[1..];
        fewer[0].live.limit(Default::default());
        fewer[1].live.opened(Standing::Active);
        let changed = lblc.for_changed(fewer).unwrap();
        assert_eq!(changed.pick(fewer, &to(2, 80), NOW), Some(1), "C is remembered");
        assert_eq!(changed.pick(fewer, &to(1, 80), NOW), Some(0), "A, whose it became, is gone");
    }

    #[test]
    fn an_address_nobody_asked_for_in_a_day_is_forgotten() {
        let reals = servers(&[9, 9]);
        let lblc = Lblc::new(&reals);
        assert_eq!(lblc.pick(&reals, &to(1, 80), NOW), Some(0));
        reals[0].live.opened(Standing::Active);
        assert_eq!(lblc.pick(&reals, &to(1, 80), Tick(LONG)), Some(0));
        assert_eq!(lblc.pick(&reals, &to(1, 80), Tick(2 * LONG + 1)), Some(1));
    }

    #[test]
    fn a_worker_that_finds_the_memory_in_use_does_not_wait() {
        let reals = servers(&[9, 9]);
        let lblc = Lblc::new(&reals);
        let _interrupted = lblc.locality.lock().unwrap();
        assert_eq!(lblc.pick(&reals, &to(1, 80), NOW), Some(0));
    }
}
