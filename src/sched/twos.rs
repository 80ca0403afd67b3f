//! `twos`, the better of two random choices: two servers are drawn, each with a chance in proportion to its weight,
//! and the one with fewer connections for its weight is used. (IPVS gives the first server one part more than its
//! weight, two thirds of the draws between two servers of weight 1; here the shares are the weights'.)

use super::Scheduler;
use crate::net::{FlowKey, Tick};
use crate::service::RealServer;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How often a draw of an overloaded server is repeated, before the overloaded ones are taken out first.
const TRIES: u32 = 8;

/// The servers that can be drawn, and the dice.
#[derive(Debug)]
pub struct Twos {
    /// Places, each with the weights up to it added up.
    urn: Vec<(u32, u64)>,
    dice: Dice,
}

/// Numbers that look like chance, the same in every run (SplitMix64): any number of workers throw the same dice.
#[derive(Debug, Default)]
struct Dice(AtomicU64);

impl Dice {
    /// A number below `end`.
    fn throw(&self, end: u64) -> u64 {
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((z as u128 * end as u128) >> 64) as u64
    }
}

impl Twos {
    /// For these servers.
    pub fn new(reals: &[RealServer]) -> Twos {
        Twos { urn: urn(reals, |real| real.weight > 0).collect(), dice: Dice::default() }
    }

    /// One draw among the servers that are available.
    fn draw(&self, reals: &[RealServer]) -> Option<usize> {
        let all = self.urn.last()?.1;
        for _ in 0..TRIES {
            let drawn = self.dice.throw(all);
            let place = self.urn[self.urn.partition_point(|&(_, sum)| sum <= drawn)].0 as usize;
            if reals[place].is_available() {
                return Some(place);
            }
        }
        let all = urn(reals, RealServer::is_available).last()?.1;
        let drawn = self.dice.throw(all);
        let (place, _) = urn(reals, RealServer::is_available).find(|&(_, sum)| sum > drawn)?;
        Some(place as usize)
    }
}

/// The servers that take part, each with the weights up to it added up.
fn urn(reals: &[RealServer], takes_part: impl Fn(&RealServer) -> bool) -> impl Iterator<Item = (u32, u64)> {
    (0..).zip(reals).filter(move |(_, real)| takes_part(real)).scan(0, |sum, (place, real)| {
        *sum += u64::from(real.weight);
        Some((place, *sum))
    })
}

impl Scheduler for Twos {
    fn pick(&self, reals: &[RealServer], _key: &FlowKey, _now: Tick) -> Option<usize> {
        let (one, other) = (self.draw(reals)?, self.draw(reals)?);
        let (a, b) = (&reals[one], &reals[other]);
        let is_better = b.live.overhead() * u64::from(a.weight) < a.live.overhead() * u64::from(b.weight);
        Some(if is_better { other } else { one })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{from, opened, overload, picks, servers};
    use super::*;

    #[test]
    fn idle_servers_are_drawn_in_proportion_to_their_weights() {
        let reals = servers(&[1, 0, 2, 5]);
        let twos = Twos::new(&reals);
        let order = picks(&twos, &reals, 80_000);
        for (letter, share) in [('A', 10_000), ('B', 0), ('C', 20_000), ('D', 50_000)] {
            let found = order.chars().filter(|&c| c == letter).count();
            assert!(found.abs_diff(share) <= share / 20, "{letter}: {found}");
        }
    }

    #[test]
    fn two_choices_keep_the_loads_together_where_one_would_not() {
        let reals = servers(&[1; 100]);
        opened(&Twos::new(&reals), &reals, 10_000);
        let loads: Vec<u32> = reals.iter().map(|real| real.live.active()).collect();
        // The theory: log2(ln 100) above the mean; one choice alone would give 30 more or fewer.
        assert!(loads.iter().all(|load| (90..=106).contains(load)), "{loads:?}");
    }

    #[test]
    fn of_two_draws_the_less_loaded_for_its_weight_wins() {
        let reals = servers(&[1, 1]);
        let twos = Twos::new(&reals);
        reals[0].live.opened(crate::service::Standing::Active);
        // A only if it is drawn twice.
        let found = picks(&twos, &reals, 4000).chars().filter(|&c| c == 'A').count();
        assert!((900..1100).contains(&found), "{found}");
    }

    #[test]
    fn overloaded_servers_are_not_drawn_be_they_few_or_nearly_all() {
        let reals = servers(&[1; 50]);
        let twos = Twos::new(&reals);
        overload(&reals[0]);
        assert!(!picks(&twos, &reals, 2000).contains('A'));
        reals[..49].iter().for_each(overload);
        let key = from(1, 1);
        assert!((0..100).all(|_| twos.pick(&reals, &key, Tick(0)) == Some(49)));
        overload(&reals[49]);
        assert_eq!(twos.pick(&reals, &key, Tick(0)), None);
    }

    #[test]
    fn the_dice_fall_the_same_in_every_run() {
        let reals = servers(&[1; 20]);
        assert_eq!(picks(&Twos::new(&reals), &reals, 50), picks(&Twos::new(&reals), &reals, 50));
    }
}
