//! `wlc`, weighted least connections: the server with the fewest connections for its weight.

use super::Scheduler;
use super::least::Least;
use crate::service::{Live, RealServer};

/// A server can bear what its weight says.
pub fn wlc(reals: &[RealServer]) -> impl Scheduler + use<> {
    Least::new(reals, |live: &Live, _| Some(live.overhead()), |real| real.weight.into())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{opened, picks, servers};
    use super::*;
    use crate::service::Standing;

    #[test]
    fn connections_fill_up_in_proportion_to_the_weights() {
        let reals = servers(&[4, 3, 2]);
        // 0/4 0/3 0/2 -> A B C, then 1/4 1/3 1/2 -> A; 2/4 against 1/3 -> B; 2/4 1/2: the tie is A's …
        assert_eq!(opened(&wlc(&reals), &reals, 9), "ABCABACBA");
        assert_eq!(reals.iter().map(|r| r.live.active()).collect::<Vec<_>>(), [4, 3, 2]);
    }

    #[test]
    fn the_largest_counts_and_weights_do_not_overflow() {
        let reals = servers(&[65535, 1]);
        let wlc = wlc(&reals);
        reals[0].live.opened(Standing::Active);
        assert_eq!(picks(&wlc, &reals, 1), "B");
        reals[1].live.opened(Standing::Inactive);
        assert_eq!(picks(&wlc, &reals, 1), "A", "256/65535 < 1/1");
    }
}
