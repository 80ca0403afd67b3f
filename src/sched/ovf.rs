//! `ovf`, overflow: the heaviest server that has no more active connections than its weight; of equals, the first.
//! A server so gets one more than its weight, as with IPVS; when all have, new connections are refused.

use super::Scheduler;
use super::fo::heaviest_first;
use crate::net::{FlowKey, Tick};
use crate::service::RealServer;

/// The servers, the heaviest first.
#[derive(Debug)]
pub struct Ovf(Vec<u32>);

impl Ovf {
    /// For these servers.
    pub fn new(reals: &[RealServer]) -> Ovf {
        Ovf(heaviest_first(reals))
    }
}

impl Scheduler for Ovf {
    /// Asks the full ones among them one after the other.
    fn pick(&self, reals: &[RealServer], _key: &FlowKey, _now: Tick) -> Option<usize> {
        let has_room =
            |real: &RealServer| real.is_available() && real.live.active() <= u32::from(real.weight);
        self.0.iter().map(|&i| i as usize).find(|&i| has_room(&reals[i]))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{opened, overload, servers};
    use super::*;
    use crate::service::Standing;

    #[test]
    fn connections_overflow_to_the_next_heaviest_when_a_server_has_one_more_than_its_weight() {
        let reals = servers(&[1, 3, 0, 1]);
        let ovf = Ovf::new(&reals);
        assert_eq!(opened(&ovf, &reals, 9), "BBBBAADD-");
        reals[1].live.closed(Standing::Active);
        assert_eq!(opened(&ovf, &reals, 2), "B-");
        reals[3].live.closed(Standing::Active);
        overload(&reals[3]);
        assert_eq!(opened(&ovf, &reals, 1), "-");
    }
}
