//! `lc`, least connections: the server with the fewest, an active connection counting as 256 inactive ones.

use super::Scheduler;
use crate::service::RealServer;

/// Compares live counts; holds nothing.
#[derive(Debug)]
pub struct Lc;

impl Scheduler for Lc {
    fn pick(&self, reals: &[RealServer]) -> Option<usize> {
        let eligible = reals.iter().enumerate().filter(|(_, real)| real.is_eligible());
        // min_by_key gives the first of equals: ties go to the earlier server.
        eligible.min_by_key(|(_, real)| real.live.overhead()).map(|(i, _)| i)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{picks, servers};
    use super::*;
    use crate::service::Standing;

    #[test]
    fn the_least_loaded_wins_whatever_the_weights_and_ties_go_to_the_earlier() {
        let reals = servers(&[1, 1000, 1]);
        assert_eq!(picks(&Lc, &reals, 2), "AA");
        reals[0].live.opened(Standing::Inactive);
        assert_eq!(picks(&Lc, &reals, 1), "B");
        reals[1].live.opened(Standing::Active);
        assert_eq!(picks(&Lc, &reals, 1), "C");
        reals[2].live.opened(Standing::Active);
        (0..255).for_each(|_| reals[0].live.opened(Standing::Inactive));
        assert_eq!(picks(&Lc, &reals, 1), "A", "256 inactive weigh as much as one active");
    }
}
