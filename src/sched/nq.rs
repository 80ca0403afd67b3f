//! `nq`, never queue: the first server without an active connection; if there is none, as `sed`.

use super::Scheduler;
use super::least::Least;
use crate::service::{Live, RealServer};

/// A server can bear what its weight says, and an idle one anything.
pub fn nq(reals: &[RealServer]) -> impl Scheduler + use<> {
    Least::new(reals, load, |real| real.weight.into())
}

fn load(live: &Live, _weight: f64) -> Option<u64> {
    Some(match live.active() {
        0 => 0,
        active => active as u64 + 1,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{opened, servers};
    use super::*;

    #[test]
    fn idle_servers_come_first_in_their_order_and_then_the_shortest_expected_delay() {
        let reals = servers(&[1, 0, 2, 4]);
        // A, C and D are idle; then 2/1 2/2 2/4 -> D, 3/4 -> D, 4/4 against 2/2 -> C …
        assert_eq!(opened(&nq(&reals), &reals, 6), "ACDDDC");
    }
}
