//! `lblcr`, locality-based least connections with replication: as `lblc`, but an address that is asked for so much
//! that its server has too much keeps it, and gets another one beside it.
//!
//! Of an address's servers the least loaded is used. When they have been the same for 24 hours, the most loaded one is
//! taken out. An address has at most [`SERVERS`] servers (IPVS: any number); beyond that, the most loaded one makes
//! room.

use super::Scheduler;
use super::lblc::Servers;
use super::least::enter;
use super::locality::{LONG, Locality};
use crate::net::{FlowKey, Tick};
use crate::service::{RealId, RealServer};
use std::cmp::Ordering;
use std::sync::{Arc, Mutex};

/// How many servers an address may have.
const SERVERS: usize = 64;

/// The servers, and what is remembered of addresses.
#[derive(Debug)]
pub struct Lblcr {
    servers: Servers,
    /// Shared with the schedulers built for this service later.
    locality: Arc<Mutex<Locality<Set>>>,
}

/// The servers of one address.
#[derive(Debug)]
struct Set {
    /// The latest first, which wins ties, as with IPVS.
    ids: Vec<RealId>,
    changed: Tick,
}

impl Set {
    /// The least loaded that takes new connections; one that ramps, only if it is its turn, or it has no other beside it.
    fn least(&self, servers: &Servers, reals: &[RealServer], turn: Option<usize>) -> Option<usize> {
        let places = || self.ids.iter().filter_map(|&id| servers.available(reals, id));
        let may = |&place: &usize| reals[place].ramp.is_none() || turn == Some(place);
        let lesser = |best, next| if is_less(&reals[next], &reals[best]) { next } else { best };
        places().filter(may).reduce(lesser).or_else(|| places().reduce(lesser))
    }

    /// Takes out the most loaded one.
    fn shrink(&mut self, servers: &Servers, reals: &[RealServer], now: Tick) {
        let places =
            self.ids.iter().filter_map(|&id| servers.place(id)).filter(|&place| reals[place].weight > 0);
        let most = places.reduce(|most, next| if is_less(&reals[most], &reals[next]) { next } else { most });
        if let Some(most) = most {
            self.ids.retain(|&id| id != reals[most].id);
        }
        self.changed = now;
    }

    fn add(&mut self, id: RealId, servers: &Servers, reals: &[RealServer], now: Tick) {
        if self.ids.contains(&id) {
            return;
        }
        self.ids.retain(|&id| servers.place(id).is_some());
        if self.ids.len() >= SERVERS {
            self.shrink(servers, reals, now);
            self.ids.truncate(SERVERS - 1);
        }
        self.ids.insert(0, id);
        self.changed = now;
    }
}

/// Whether one server has less load for its weight than the other.
fn is_less(one: &RealServer, other: &RealServer) -> bool {
    one.live.overhead() * u64::from(other.weight) < other.live.overhead() * u64::from(one.weight)
}

impl Lblcr {
    /// For these servers, remembering nothing yet.
    pub fn new(reals: &[RealServer]) -> Lblcr {
        Lblcr { servers: Servers::new(reals, None), locality: Arc::new(Mutex::new(Locality::new())) }
    }
}

impl Scheduler for Lblcr {
    /// If other workers are at it for too long, the least loaded of all, which is then not remembered.
    fn pick(&self, reals: &[RealServer], key: &FlowKey, now: Tick) -> Option<usize> {
        let (servers, address) = (&self.servers, key.dst().addr);
        let turn = servers.turn(reals, now);
        let least = || servers.least(reals, turn, now);
        let Some(mut locality) = enter(&self.locality) else { return least() };
        let Some(set) = locality.ask(address, now) else {
            let server = least()?;
            locality.remember(address, now, Set { ids: vec![reals[server].id], changed: now });
            return Some(server);
        };
        let known = set.least(servers, reals, turn);
        if set.ids.len() > 1 && now.since(set.changed) > LONG {
            set.shrink(servers, reals, now);
        }
        let server = match known {
            Some(server) => match servers.relief(reals, server, turn, now) {
                Some(relief) => relief,
                None => return Some(server),
            },
            None => least()?,
        };
        set.add(reals[server].id, servers, reals, now);
        Some(server)
    }

    fn for_changed(&self, reals: &[RealServer]) -> Option<Box<dyn Scheduler>> {
        let servers = Servers::new(reals, Some(&self.servers));
        Some(Box::new(Lblcr { servers, locality: self.locality.clone() }))
    }

    fn compare(&self, real: &RealServer) -> Option<Ordering> {
        self.servers.compare(real)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{opened_by, overload, servers, to};
    use super::*;
    use crate::service::Standing;

    const NOW: Tick = Tick(0);

    /// The servers of address 1.
    fn ids(lblcr: &Lblcr, now: Tick) -> Vec<u32> {
        let mut locality = lblcr.locality.lock().unwrap();
        locality.ask(to(1, 80).dst().addr, now).unwrap().ids.iter().map(|id| id.0).collect()
    }

    #[test]
    fn an_address_gets_another_server_beside_one_that_has_too_much() {
        let reals = servers(&[4, 4, 4]);
        let lblcr = Lblcr::new(&reals);
        // A until it has 5; then B, until both have 5; then C.
        assert_eq!(opened_by(&lblcr, &reals, &to(1, 80), 12), "AAAAABBBBBCC");
        assert_eq!(ids(&lblcr, NOW), [2, 1, 0]);
        reals[0].live.closed(Standing::Active);
        (0..3).for_each(|_| reals[0].live.closed(Standing::Active));
        assert_eq!(lblcr.pick(&reals, &to(1, 80), NOW), Some(0), "the least loaded of its three");
    }

    #[test]
    fn a_set_unchanged_for_a_day_loses_its_most_loaded_server() {
        let reals = servers(&[1, 1, 1]);
        let lblcr = Lblcr::new(&reals);
        assert_eq!(opened_by(&lblcr, &reals, &to(1, 80), 4), "AABB");
        reals[1].live.opened(Standing::Active);
        assert_eq!(ids(&lblcr, NOW), [1, 0]);
        assert_eq!(lblcr.pick(&reals, &to(1, 80), Tick(LONG)), Some(2), "C is idle, and joins");
        assert_eq!(ids(&lblcr, Tick(LONG)), [2, 1, 0]);
        lblcr.pick(&reals, &to(1, 80), Tick(2 * LONG)).unwrap();
        assert_eq!(ids(&lblcr, Tick(2 * LONG)), [2, 1, 0], "a day has not passed");
        lblcr.pick(&reals, &to(1, 80), Tick(2 * LONG + 1)).unwrap();
        assert_eq!(ids(&lblcr, Tick(2 * LONG + 1)), [2, 0], "B had the most");
    }

    #[test]
    fn servers_that_take_none_are_not_used_and_those_that_left_make_room() {
        let reals = servers(&[1; 100]);
        let lblcr = Lblcr::new(&reals);
        for real in &reals[..80] {
            let place = lblcr.pick(&reals, &to(1, 80), NOW).unwrap();
            assert_eq!(reals[place].id, real.id);
            overload(real);
        }
        let set = ids(&lblcr, NOW);
        assert_eq!((set.len(), set[0]), (SERVERS, 79));
        let fewer = &reals[90..];
        let changed = lblcr.for_changed(fewer).unwrap();
        assert_eq!(changed.pick(fewer, &to(1, 80), NOW), Some(0));
        assert_eq!(ids(&lblcr, NOW), [90]);
    }
}
