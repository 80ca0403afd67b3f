//! `sed`, shortest expected delay: the server with the fewest active connections for its weight, the new one counted
//! in.

use super::Scheduler;
use super::least::Least;
use crate::service::{Live, RealServer};

/// A server can bear what its weight says.
pub fn sed(reals: &[RealServer]) -> impl Scheduler + use<> {
    Least::new(reals, |live: &Live, _| Some(live.active() as u64 + 1), |real| real.weight.into())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{opened, picks, servers};
    use super::*;
    use crate::service::Standing;

    #[test]
    fn the_new_connection_counts_so_that_the_strongest_server_is_first() {
        let reals = servers(&[1, 2, 3]);
        // 1/1 1/2 1/3 -> C; 2/3 against 1/2 -> B; then 2/2 against 2/3 -> C; 1/1 2/2 3/3 -> A; 2/1 2/2 3/3 …
        assert_eq!(opened(&sed(&reals), &reals, 7), "CBCABCC");
    }

    #[test]
    fn inactive_connections_do_not_count() {
        let reals = servers(&[1, 1]);
        (0..9).for_each(|_| reals[0].live.opened(Standing::Inactive));
        assert_eq!(picks(&sed(&reals), &reals, 1), "A");
    }
}
