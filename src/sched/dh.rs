//! `dh`, destination hashing: connections to one address go to one server, whatever its weight.
//!
//! 256 places are given to the servers in turn. A server that takes no new connection keeps its places, and
//! connections that are sent there are refused, as with IPVS; one that is shut, being down or drained, has none.

use super::Scheduler;
use super::hash::{self, PLACES};
use crate::net::{FlowKey, Tick};
use crate::service::RealServer;

/// Which server has which place.
#[derive(Debug)]
pub struct Dh(Vec<u32>);

impl Dh {
    /// For these servers.
    pub fn new(reals: &[RealServer]) -> Dh {
        Dh::among(reals, |_| true)
    }

    /// For those of these servers that are meant.
    pub fn among(reals: &[RealServer], is_meant: impl Fn(&RealServer) -> bool) -> Dh {
        let meant = (0..).zip(reals).filter(|(_, real)| !real.is_shut && is_meant(real));
        let servers: Vec<u32> = meant.map(|(i, _)| i).collect();
        Dh(servers.iter().copied().cycle().take(PLACES).collect())
    }
}

impl Scheduler for Dh {
    fn pick(&self, reals: &[RealServer], key: &FlowKey, _now: Tick) -> Option<usize> {
        let server = *self.0.get(hash::place(hash::destination(key)))? as usize;
        reals[server].is_available().then_some(server)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{overload, servers, to};
    use super::*;

    #[test]
    fn an_address_keeps_its_server_and_a_server_that_takes_none_refuses() {
        let reals = servers(&[1, 9, 0]);
        let dh = Dh::new(&reals);
        let pick = |address| dh.pick(&reals, &to(address, 80), Tick(0));
        // address * 0x61c88647, its upper 8 bits, modulo 3: computed by hand.
        assert_eq!([1, 2, 3, 6].map(pick), [Some(1), Some(0), Some(1), None]);
        let found: Vec<Option<usize>> = (0..3000).map(pick).collect();
        assert_eq!(found, (0..3000).map(pick).collect::<Vec<_>>());
        let share = |server| found.iter().filter(|&&pick| pick == server).count();
        assert!([Some(0), Some(1), None].iter().all(|&server| (900..1100).contains(&share(server))));
        overload(&reals[1]);
        assert_eq!(pick(1), None);
    }
}
