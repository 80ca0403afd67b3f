//! `lblc`, locality-based least connections: connections to one address go to one server, as long as it can bear them.
//! That suits caches, behind which many addresses lie.
//!
//! The server of a new address is chosen as by `wlc`. It is given up for another one when it takes no new connection,
//! or when it has more active connections than its weight while some server has fewer than half of its own. Unlike
//! IPVS, a server at its upper threshold is given up too.

use super::Scheduler;
use super::least::{Least, enter};
use super::locality::Locality;
use crate::net::{FlowKey, Tick};
use crate::service::{Live, RealId, RealServer};
use hashbrown::HashMap;
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
    /// By all connections, as wlc compares.
    all: Least<Load>,
    /// By active ones.
    active: Least<Load>,
    places: HashMap<RealId, u32>,
}

impl Servers {
    pub(super) fn new(reals: &[RealServer]) -> Servers {
        let overhead: Load = |live, _| Some(live.overhead());
        let active: Load = |live, _| Some(live.active().into());
        Servers {
            all: Least::new(reals, overhead, |real| real.weight.into()),
            active: Least::second(reals, active, |real| real.weight.into()),
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

    /// The least loaded of all.
    pub(super) fn least(&self) -> Option<usize> {
        self.all.find()
    }

    /// Whether a server has too much, and another one little.
    pub(super) fn should_relieve(&self, reals: &[RealServer], server: usize) -> bool {
        let has_too_much = |real: &RealServer| real.live.active() > u32::from(real.weight);
        let has_little = |real: &RealServer| u64::from(real.live.active()) * 2 < u64::from(real.weight);
        has_too_much(&reals[server]) && self.active.find().is_some_and(|least| has_little(&reals[least]))
    }
}

impl Lblc {
    /// For these servers, remembering nothing yet.
    pub fn new(reals: &[RealServer]) -> Lblc {
        Lblc { servers: Servers::new(reals), locality: Arc::new(Mutex::new(Locality::new())) }
    }
}

impl Scheduler for Lblc {
    /// If other workers are at it for too long, the least loaded of all: the address may then have two servers.
    fn pick(&self, reals: &[RealServer], key: &FlowKey, now: Tick) -> Option<usize> {
        let address = key.dst().addr;
        let Some(mut locality) = enter(&self.locality) else { return self.servers.least() };
        let known = locality.ask(address, now).and_then(|id| self.servers.available(reals, *id));
        if let Some(server) = known.filter(|&server| !self.servers.should_relieve(reals, server)) {
            return Some(server);
        }
        let server = self.servers.least()?;
        locality.remember(address, now, reals[server].id);
        Some(server)
    }

    fn for_changed(&self, reals: &[RealServer]) -> Option<Box<dyn Scheduler>> {
        Some(Box::new(Lblc { servers: Servers::new(reals), locality: self.locality.clone() }))
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
