//! `wlc`, weighted least connections: the server with the fewest connections for its weight.

use super::Scheduler;
use super::least::Least;
use crate::service::{Live, RealServer};

/// A server can bear what its weight says.
pub fn wlc(reals: &[RealServer]) -> impl Scheduler + use<> {
    Least::new(reals, Live::overhead, |real| real.weight.into())
}

#[cfg(test)]
mod tests {
    use super::super::tests::servers;
    use super::*;
    use crate::service::Standing;

    /// Opens `n` active connections, each on the server picked for it, and gives their letters.
    fn filled(reals: &[RealServer], n: usize) -> String {
        let wlc = wlc(reals);
        let mut letters = String::new();
        for _ in 0..n {
            let i = wlc.pick(reals).unwrap();
            reals[i].live.opened(Standing::Active);
            letters.push((b'A' + i as u8) as char);
        }
        letters
    }

    #[test]
    fn connections_fill_up_in_proportion_to_the_weights() {
        let reals = servers(&[4, 3, 2]);
        // 0/4 0/3 0/2 -> A B C, then 1/4 1/3 1/2 -> A; 2/4 against 1/3 -> B; 2/4 1/2: the tie is A's …
        assert_eq!(filled(&reals, 9), "ABCABACBA");
        assert_eq!(reals.iter().map(|r| r.live.active()).collect::<Vec<_>>(), [4, 3, 2]);
    }

    #[test]
    fn the_largest_counts_and_weights_do_not_overflow() {
        let reals = servers(&[65535, 1]);
        let wlc = wlc(&reals);
        reals[0].live.opened(Standing::Active);
        assert_eq!(wlc.pick(&reals), Some(1));
        reals[1].live.opened(Standing::Inactive);
        assert_eq!(wlc.pick(&reals), Some(0), "256/65535 < 1/1");
    }
}
