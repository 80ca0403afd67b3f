//! `ovf`, overflow: the heaviest server that has no more active connections than its weight; of equals, the first.
//! A server so gets one more than its weight, as with IPVS; when all have, new connections are refused.

use super::Scheduler;
use super::least::Least;
use crate::service::{Live, RealServer};

/// Of servers with the same load, the heaviest has the least for its weight.
pub fn ovf(reals: &[RealServer]) -> impl Scheduler + use<> {
    Least::new(reals, if_room, |real| real.weight.into())
}

/// The same, beside another one for the same servers.
pub fn beside(reals: &[RealServer]) -> impl Scheduler + use<> {
    Least::second(reals, if_room, |real| real.weight.into())
}

fn if_room(live: &Live, weight: f64) -> Option<u64> {
    (f64::from(live.active()) <= weight).then_some(1)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{opened, overload, servers};
    use super::*;
    use crate::service::Standing;

    #[test]
    fn connections_overflow_to_the_next_heaviest_when_a_server_has_one_more_than_its_weight() {
        let reals = servers(&[1, 3, 0, 1]);
        let ovf = ovf(&reals);
        assert_eq!(opened(&ovf, &reals, 9), "BBBBAADD-");
        reals[1].live.closed(Standing::Active);
        assert_eq!(opened(&ovf, &reals, 2), "B-");
        reals[3].live.closed(Standing::Active);
        overload(&reals[3]);
        assert_eq!(opened(&ovf, &reals, 1), "-");
    }
}
