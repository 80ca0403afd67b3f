//! `mh`, Maglev hashing: connections of one client go to one server, and when servers come and go, to another one only
//! if they must, or nearly so.
//!
//! Every server has an order of its own in which it would take the places of a large table. In rounds, each takes its
//! next free one, heavier servers more often than lighter ones, until all are taken (Eisenbud et al., "Maglev: A Fast
//! and Reliable Software Network Load Balancer", NSDI 2016, 3.4). The orders follow from the servers' addresses and
//! ports, and the servers take their turns sorted by these: directors that know the same servers and weights have the
//! same table, whatever order they were told in.
//!
//! As in IPVS, `mh-port` has a client's port count too, and `mh-fallback` gives clients of an overloaded server
//! another one; otherwise they are refused. Unlike IPVS, a server of weight 0 has no places: its clients go elsewhere
//! as if it were gone. And where IPVS hashes with SipHash into 4093 places by default, this is one product into
//! 65537.

use super::Scheduler;
use super::hash::{self, mix};
use crate::net::{Endpoint, FlowKey, Tick};
use crate::service::{RealServer, SchedulerOptions};
use std::net::IpAddr;

/// How many places are tried in place of an overloaded server's, before its servers are asked one after the other.
const TRIES: usize = 64;

/// Primes of no meaning: what the numbers that are mixed differ by.
const CLIENT: u64 = 0xd6e8_feb8_6659_fd93;
const OFFSET: u64 = 0xa076_1d64_78bd_642f;
const SKIP: u64 = 0xe703_7ed1_a0b4_28db;

/// Which server has which place, and what to do with it.
#[derive(Debug)]
pub struct Mh {
    places: Vec<u32>,
    /// The servers that have places, sorted.
    servers: Vec<u32>,
    options: SchedulerOptions,
}

impl Mh {
    /// For these servers. The table's size must be a prime; there should be a hundred times as many places as servers.
    pub fn new(options: &SchedulerOptions, reals: &[RealServer]) -> Mh {
        let mut servers: Vec<u32> =
            (0..).zip(reals).filter(|(_, real)| real.weight > 0).map(|(i, _)| i).collect();
        servers.sort_by_key(|&i| (reals[i as usize].endpoint.addr, reals[i as usize].endpoint.port));
        Mh { places: places(&servers, reals, options.mh_table_size), servers, options: *options }
    }

    /// The first available server on a way through the table that depends on the client.
    #[cold]
    fn instead(&self, reals: &[RealServer], hash: u64) -> Option<usize> {
        let start = scale(hash, self.places.len());
        // Any step but 0 leads through all places, since their number is a prime.
        let step = 1 + scale(mix(hash, SKIP), self.places.len() - 1);
        let tried = (1..=TRIES).map(|n| self.places[(start + n * step) % self.places.len()]);
        let begin = scale(hash, self.servers.len());
        let asked = self.servers[begin..].iter().chain(&self.servers[..begin]).copied();
        tried.chain(asked).map(|i| i as usize).find(|&i| reals[i].is_available())
    }
}

impl Scheduler for Mh {
    #[inline]
    fn pick(&self, reals: &[RealServer], key: &FlowKey, _now: Tick) -> Option<usize> {
        let port = if self.options.port { hash::source_port(key) } else { 0 };
        let hash = mix((port as u64) << 32 | hash::source(key) as u64, CLIENT);
        let server = *self.places.get(scale(hash, self.places.len()))? as usize;
        match reals[server].is_available() {
            true => Some(server),
            false if self.options.fallback => self.instead(reals, hash),
            false => None,
        }
    }
}

/// A hash as a number below `size`, without dividing.
#[inline]
const fn scale(hash: u64, size: usize) -> usize {
    (((hash >> 32) * size as u64) >> 32) as usize
}

/// A server on its way through the table.
struct Taker {
    server: u32,
    next: usize,
    skip: usize,
    weight: u64,
    /// It takes a place whenever this is as much as the heaviest server's weight.
    credit: u64,
}

impl Taker {
    fn new(server: u32, real: &RealServer, size: usize, heaviest: u64) -> Taker {
        let weight = real.weight as u64;
        Taker {
            server,
            next: (number(real.endpoint, OFFSET) % size as u64) as usize,
            skip: (number(real.endpoint, SKIP) % (size as u64 - 1)) as usize + 1,
            weight,
            // Enough for the first round: if there are places for all, everybody has one.
            credit: heaviest - weight,
        }
    }

    /// Takes its next free place.
    fn take(&mut self, places: &mut [u32]) {
        while places[self.next] != FREE {
            self.next += self.skip;
            if self.next >= places.len() {
                self.next -= places.len();
            }
        }
        places[self.next] = self.server;
    }
}

const FREE: u32 = u32::MAX;

/// The table of these servers.
fn places(servers: &[u32], reals: &[RealServer], size: u32) -> Vec<u32> {
    let weights = servers.iter().map(|&i| reals[i as usize].weight);
    let (Some(heaviest), true) = (weights.max().map(u64::from), size > 1) else { return Vec::new() };
    let taker = |&i: &u32| Taker::new(i, &reals[i as usize], size as usize, heaviest);
    let mut takers: Vec<Taker> = servers.iter().map(taker).collect();
    let mut places = vec![FREE; size as usize];
    let mut free = places.len();
    loop {
        for taker in &mut takers {
            taker.credit += taker.weight;
            if taker.credit < heaviest {
                continue;
            }
            taker.credit -= heaviest;
            taker.take(&mut places);
            free -= 1;
            if free == 0 {
                return places;
            }
        }
    }
}

/// A number that follows from a server's address and port.
fn number(endpoint: Endpoint, by: u64) -> u64 {
    let Endpoint { addr, port } = endpoint;
    let (high, low) = match addr {
        IpAddr::V4(addr) => (4, addr.to_bits() as u64),
        IpAddr::V6(addr) => ((addr.to_bits() >> 64) as u64, addr.to_bits() as u64),
    };
    mix(mix(mix(high, by) ^ low, by) ^ port as u64, by)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{from, overload, servers};
    use super::*;

    const PLAIN: SchedulerOptions = SchedulerOptions { fallback: false, port: false, mh_table_size: 65_537 };

    fn counts(mh: &Mh, servers: usize) -> Vec<usize> {
        let mut counts = vec![0; servers];
        mh.places.iter().for_each(|&i| counts[i as usize] += 1);
        counts
    }

    #[test]
    fn every_server_has_places_for_its_weight() {
        let reals = servers(&[1, 2, 3, 0, 4]);
        let found = counts(&Mh::new(&PLAIN, &reals), 5);
        for (weight, found) in [1, 2, 3, 0, 4].into_iter().zip(found) {
            assert!(found.abs_diff(65_537 * weight / 10) <= 4, "weight {weight}: {found}");
        }
        let weights: Vec<u16> = (1..=1000).collect();
        let found = counts(&Mh::new(&PLAIN, &servers(&weights)), 1000);
        for (&weight, found) in weights.iter().zip(found) {
            let due = 65_537.0 * weight as f64 / 500_500.0;
            assert!((found as f64 - due).abs() <= 2.0, "weight {weight}: {found}, not {due}");
        }
        let uneven = counts(&Mh::new(&PLAIN, &servers(&[65_535, 1])), 2);
        assert_eq!(uneven, [65_536, 1], "nobody is left out");
    }

    #[test]
    fn directors_that_were_told_of_the_servers_in_another_order_agree() {
        let reals = servers(&[5, 1, 2, 7, 3, 1, 1]);
        let mut other = reals.clone();
        other.rotate_left(3);
        other.swap(0, 5);
        let (a, b) = (Mh::new(&PLAIN, &reals), Mh::new(&PLAIN, &other));
        for client in 0..10_000 {
            let key = from(client * 77, 5);
            let one = reals[a.pick(&reals, &key, Tick(0)).unwrap()].id;
            assert_eq!(one, other[b.pick(&other, &key, Tick(0)).unwrap()].id);
        }
    }

    /// Which part of the table of `n` servers changes, beside the places of the one that leaves.
    fn disruption(n: usize, leaves: usize) -> f64 {
        let reals = servers(&vec![1; n]);
        let mut fewer = reals.clone();
        fewer[leaves].weight = 0;
        let (before, after) = (Mh::new(&PLAIN, &reals), Mh::new(&PLAIN, &fewer));
        let survive: Vec<_> =
            before.places.iter().zip(&after.places).filter(|(a, _)| **a != leaves as u32).collect();
        survive.iter().filter(|(a, b)| a != b).count() as f64 / survive.len() as f64
    }

    #[test]
    fn when_a_server_leaves_hardly_any_client_of_another_one_moves() {
        for n in [10, 100, 1000] {
            let mean = (0..5).map(|i| disruption(n, i * n / 5)).sum::<f64>() / 5.0;
            println!("1 of {n} servers leaves: {:.3} % of the others' clients move", mean * 100.0);
            assert!(mean <= 0.006, "{n} servers: {mean}");
        }
    }

    #[test]
    fn clients_in_a_row_spread_and_a_client_keeps_its_server_unless_its_port_counts() {
        let reals = servers(&[1; 10]);
        let (plain, by_port) =
            (Mh::new(&PLAIN, &reals), Mh::new(&SchedulerOptions { port: true, ..PLAIN }, &reals));
        let share = |mh: &Mh, keys: &mut dyn Iterator<Item = FlowKey>| {
            let mut counts = [0; 10];
            keys.for_each(|key| counts[mh.pick(&reals, &key, Tick(0)).unwrap()] += 1);
            counts
        };
        for step in [1, 256, 65_536] {
            let row = share(&plain, &mut (0..20_000).map(|i: u32| from(i.wrapping_mul(step), 1)));
            assert!(row.iter().all(|count| (1800..2200).contains(count)), "{step}: {row:?}");
        }
        assert!(share(&plain, &mut (0..20_000).map(|port| from(9, port))).contains(&20_000));
        let ports = share(&by_port, &mut (0..20_000).map(|port| from(9, port)));
        assert!(ports.iter().all(|count| (1800..2200).contains(count)), "{ports:?}");
    }

    #[test]
    fn clients_of_an_overloaded_server_are_refused_or_spread_over_the_others() {
        let reals = servers(&[1; 20]);
        let (plain, back) =
            (Mh::new(&PLAIN, &reals), Mh::new(&SchedulerOptions { fallback: true, ..PLAIN }, &reals));
        let its: Vec<FlowKey> = (0..40_000).map(|i| from(i, 1)).collect();
        let its: Vec<&FlowKey> =
            its.iter().filter(|key| plain.pick(&reals, key, Tick(0)) == Some(3)).collect();
        overload(&reals[3]);
        let mut counts = [0; 20];
        for key in &its {
            assert_eq!(plain.pick(&reals, key, Tick(0)), None);
            counts[back.pick(&reals, key, Tick(0)).unwrap()] += 1;
        }
        let (least, most) = (its.len() / 19 / 2, its.len() / 19 * 2);
        assert!((0..20).all(|i| i == 3 || (least..most).contains(&counts[i])), "{counts:?}");
        reals.iter().skip(1).for_each(overload);
        assert!(its.iter().all(|key| back.pick(&reals, key, Tick(0)) == Some(0)));
        overload(&reals[0]);
        assert_eq!(back.pick(&reals, its[0], Tick(0)), None);
    }
}
