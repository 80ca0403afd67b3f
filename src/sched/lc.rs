//! `lc`, least connections: the server with the fewest, an active connection counting as 256 inactive ones.

use super::Scheduler;
use super::least::Least;
use crate::service::{Live, RealServer};

/// Every server can bear as much as every other.
pub fn lc(reals: &[RealServer]) -> impl Scheduler + use<> {
    Least::new(reals, |live: &Live, _| Some(live.overhead()), |real| u32::from(real.weight > 0))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{picks, servers};
    use super::*;
    use crate::service::Standing;

    #[test]
    fn the_least_loaded_wins_whatever_the_weights_and_ties_go_to_the_earlier() {
        let reals = servers(&[1, 1000, 1]);
        let lc = lc(&reals);
        assert_eq!(picks(&lc, &reals, 2), "AA");
        reals[0].live.opened(Standing::Inactive);
        assert_eq!(picks(&lc, &reals, 1), "B");
        reals[1].live.opened(Standing::Active);
        assert_eq!(picks(&lc, &reals, 1), "C");
        reals[2].live.opened(Standing::Active);
        (0..255).for_each(|_| reals[0].live.opened(Standing::Inactive));
        assert_eq!(picks(&lc, &reals, 1), "A", "256 inactive weigh as much as one active");
    }
}
