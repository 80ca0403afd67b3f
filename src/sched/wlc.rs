//! `wlc`, weighted least connections: the server with the fewest connections for its weight.

use super::Scheduler;
use crate::service::RealServer;

/// Compares live counts against weights; holds nothing.
#[derive(Debug)]
pub struct Wlc;

impl Scheduler for Wlc {
    fn pick(&self, reals: &[RealServer]) -> Option<usize> {
        let mut best: Option<(usize, u64, u64)> = None;
        for (i, real) in reals.iter().enumerate().filter(|(_, real)| real.is_eligible()) {
            let (load, weight) = (real.live.overhead(), real.weight as u64);
            // load / weight < least / least's weight, without dividing: 2^40 * 65535 fits 64 bits.
            if best.is_none_or(|(_, least, its_weight)| load * its_weight < least * weight) {
                best = Some((i, load, weight));
            }
        }
        best.map(|(i, ..)| i)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::servers;
    use super::*;
    use crate::service::Standing;

    /// Opens `n` active connections, each on the server picked for it, and gives their letters.
    fn filled(reals: &[RealServer], n: usize) -> String {
        let mut letters = String::new();
        for _ in 0..n {
            let i = Wlc.pick(reals).unwrap();
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
        reals[0].live.opened(Standing::Active);
        assert_eq!(Wlc.pick(&reals), Some(1));
        reals[1].live.opened(Standing::Inactive);
        assert_eq!(Wlc.pick(&reals), Some(0), "256/65535 < 1/1");
    }
}
