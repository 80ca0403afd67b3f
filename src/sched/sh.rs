//! `sh`, source hashing: connections of one client go to one server.
//!
//! 256 places are given to the servers in turn, to each as many at a time as its weight says. A server that takes no
//! new connection keeps its places (at least one), and its clients are refused, unless `sh-fallback` has them try
//! other places; one that is shut, being down or drained, has none, and its clients go elsewhere. With `sh-port` a client's port counts too, so that its connections spread. All as with IPVS.

use super::Scheduler;
use super::hash::{self, PLACES};
use crate::net::{FlowKey, Tick};
use crate::service::{RealServer, SchedulerOptions};

/// Which server has which place, and what to do with it.
#[derive(Debug)]
pub struct Sh {
    places: Vec<u32>,
    options: SchedulerOptions,
}

impl Sh {
    /// For these servers.
    pub fn new(options: &SchedulerOptions, reals: &[RealServer]) -> Sh {
        Sh::among(options, reals, |_| true)
    }

    /// For those of these servers that are meant.
    pub fn among(
        options: &SchedulerOptions,
        reals: &[RealServer],
        is_meant: impl Fn(&RealServer) -> bool,
    ) -> Sh {
        let has_place = |real: &RealServer| options.fallback || !real.is_shut;
        let meant = (0..).zip(reals).filter(|(_, real)| has_place(real) && is_meant(real));
        let turn = |(i, real): (u32, &RealServer)| std::iter::repeat_n(i, usize::from(real.weight.max(1)));
        // 256 servers suffice: more than that would have no place.
        let round: Vec<u32> = meant.take(PLACES).flat_map(turn).take(PLACES).collect();
        Sh { places: round.iter().copied().cycle().take(PLACES).collect(), options: *options }
    }
}

impl Scheduler for Sh {
    fn pick(&self, reals: &[RealServer], key: &FlowKey, _now: Tick) -> Option<usize> {
        let port = if self.options.port { hash::source_port(key) } else { 0 };
        let first = hash::place(hash::source(key).wrapping_add(port.into()));
        let available = |place: usize| {
            let server = *self.places.get(place % PLACES)? as usize;
            reals[server].is_available().then_some(server)
        };
        // The way round begins as far from the first place as that is from place 0.
        let others = if self.options.fallback { 2 * first..2 * first + PLACES } else { 0..0 };
        available(first).or_else(|| others.filter_map(available).next())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{from, overload, servers};
    use super::*;

    const PLAIN: SchedulerOptions = SchedulerOptions { fallback: false, port: false, mh_table_size: 0 };

    fn share(sh: &Sh, reals: &[RealServer], of: Option<usize>) -> usize {
        (0..2560).filter(|&client| sh.pick(reals, &from(client, 1000), Tick(0)) == of).count()
    }

    #[test]
    fn clients_of_a_server_that_is_shut_go_elsewhere() {
        let mut reals = servers(&[1, 1, 1]);
        (reals[1].weight, reals[1].is_shut) = (0, true);
        let fallback = SchedulerOptions { fallback: true, ..PLAIN };
        for options in [PLAIN, fallback] {
            let sh = Sh::new(&options, &reals);
            assert_eq!([Some(1), None].map(|of| share(&sh, &reals, of)), [0, 0]);
        }
    }

    #[test]
    fn places_are_filled_in_turn_by_weight_and_a_quiesced_server_has_one_a_round() {
        let reals = servers(&[3, 0, 2]);
        let sh = Sh::new(&PLAIN, &reals);
        assert_eq!(&sh.places[..9], [0, 0, 0, 1, 2, 2, 0, 0, 0]);
        assert_eq!(sh.places.len(), PLACES);
        let many = servers(&[100; 300]);
        assert_eq!(Sh::new(&PLAIN, &many).places[250..], [2; 6]);
        assert!(Sh::new(&PLAIN, &[]).places.is_empty());
    }

    #[test]
    fn a_client_keeps_its_server_whatever_its_port_unless_the_port_counts() {
        let reals = servers(&[1, 1]);
        let by_port = Sh::new(&SchedulerOptions { port: true, ..PLAIN }, &reals);
        let plain = Sh::new(&PLAIN, &reals);
        let picks =
            |sh: &Sh| (0..100).map(|port| sh.pick(&reals, &from(7, port), Tick(0))).collect::<Vec<_>>();
        assert!(picks(&plain).iter().all(|&pick| pick == plain.pick(&reals, &from(7, 0), Tick(0))));
        assert!(picks(&by_port).contains(&Some(0)) && picks(&by_port).contains(&Some(1)));
        // (7 + 5) * 0x61c88647, its upper 8 bits: 0x95, which is odd.
        assert_eq!(by_port.pick(&reals, &from(7, 5), Tick(0)), Some(1));
        assert_eq!(plain.pick(&reals, &from(12, 5), Tick(0)), Some(1));
    }

    #[test]
    fn clients_of_a_server_that_takes_none_are_refused_or_fall_back_and_the_others_stay() {
        let reals = servers(&[1, 1, 1, 1]);
        let (plain, back) =
            (Sh::new(&PLAIN, &reals), Sh::new(&SchedulerOptions { fallback: true, ..PLAIN }, &reals));
        let before: Vec<_> = (0..2560).map(|c| plain.pick(&reals, &from(c, 1), Tick(0))).collect();
        overload(&reals[2]);
        assert_eq!(share(&plain, &reals, None), before.iter().filter(|&&pick| pick == Some(2)).count());
        assert_eq!(share(&back, &reals, None) + share(&back, &reals, Some(2)), 0);
        for (client, before) in (0..2560).zip(before).filter(|(_, before)| *before != Some(2)) {
            assert_eq!(back.pick(&reals, &from(client, 1), Tick(0)), before);
        }
        reals.iter().for_each(overload);
        assert_eq!(share(&back, &reals, None), 2560);
    }
}
