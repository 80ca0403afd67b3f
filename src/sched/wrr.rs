//! `wrr`, weighted round robin: in each period every server is picked as often as its weight says (weights are
//! divided by their greatest common divisor first).
//!
//! The order within a period goes round by round: round r asks, in the operator's order, every server whose
//! weight is at least r. Weights A=4, B=3, C=2 yield `ABC ABC AB A`. Kernel IPVS starts with the heaviest server
//! alone and yields `AABABCABC`; both give every server its share, ours alternates sooner.
//!
//! Rounds between two neighbouring distinct weights ask the same servers, so a period is a short list of stages
//! of (servers, rounds) however large the weights are:
//!
//! ```text
//! weights 65535, 65534, 7    stage 1: [A B C] x 7     stage 2: [A B] x 65527     stage 3: [A] x 1
//! ```
//!
//! A pick advances one packed position by compare-and-swap: O(1), no division. It passes over overloaded servers,
//! rounds and stages of nobody else at a stride. Memory is the sum of the stages' lists, bounded by [`PLACES`].

use super::Scheduler;
use crate::net::{FlowKey, Tick};
use crate::service::RealServer;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Servers in all stages together, at most. A pool that needs more (say 2,000 servers, no two weights alike)
/// has its weights rounded up to fewer distinct ones, which changes a share by at most one such step.
const PLACES: usize = 1 << 20;

/// Rounds that ask the same servers.
#[derive(Debug, PartialEq)]
struct Stage {
    servers: Vec<u32>,
    rounds: u32,
}

/// The stages of a period and where the next pick is.
#[derive(Debug)]
pub struct Wrr {
    stages: Vec<Stage>,
    position: AtomicU64,
}

/// Where a pick is: place in the round (17 bits are enough), round of the stage, stage.
#[derive(Debug, Clone, Copy)]
struct Position {
    stage: u32,
    round: u16,
    place: u32,
}

impl Position {
    // stage 20 bits | round 16 bits | place 28 bits
    const fn unpack(packed: u64) -> Position {
        Position {
            stage: (packed >> 44) as u32,
            round: (packed >> 28) as u16,
            place: (packed & 0x0fff_ffff) as u32,
        }
    }

    const fn pack(self) -> u64 {
        (self.stage as u64) << 44 | (self.round as u64) << 28 | self.place as u64
    }

    /// The first position from this one on whose server is available.
    fn available(self, stages: &[Stage], reals: &[RealServer]) -> Option<Position> {
        let in_round = |at: Position| {
            let servers = &stages[at.stage as usize].servers[at.place as usize..];
            let place = servers.iter().position(|&i| reals[i as usize].is_available())?;
            Some(Position { place: at.place + place as u32, ..at })
        };
        // The servers of a stage are among those of every stage before it. So if there is one at all, it is in what is
        // left of this round, in the next round, or in the first.
        let next = self.next_round(stages);
        in_round(self).or_else(|| in_round(next)).or_else(|| in_round(Position::START))
    }

    const START: Position = Position { stage: 0, round: 0, place: 0 };

    /// The position after this one.
    fn next(self, stages: &[Stage]) -> Position {
        let stage = &stages[self.stage as usize];
        if self.place as usize + 1 < stage.servers.len() {
            return Position { place: self.place + 1, ..self };
        }
        self.next_round(stages)
    }

    /// The first position of the round after this one's.
    fn next_round(self, stages: &[Stage]) -> Position {
        let stage = &stages[self.stage as usize];
        if self.round as u32 + 1 < stage.rounds {
            return Position { place: 0, round: self.round + 1, ..self };
        }
        let after = self.stage + 1;
        Position { stage: if after as usize == stages.len() { 0 } else { after }, round: 0, place: 0 }
    }
}

impl Wrr {
    /// Computes the stages; starts at the period's beginning.
    pub fn new(reals: &[RealServer]) -> Wrr {
        let mut weights: Vec<u32> = reals.iter().map(|real| real.weight as u32).collect();
        let divisor = weights.iter().fold(0, |d, &w| gcd(d, w)).max(1);
        weights.iter_mut().for_each(|w| *w /= divisor);
        Wrr { stages: stages(&weights, PLACES), position: AtomicU64::new(0) }
    }
}

impl Scheduler for Wrr {
    fn pick(&self, reals: &[RealServer], _key: &FlowKey, _now: Tick) -> Option<usize> {
        if self.stages.is_empty() {
            return None;
        }
        let mut found = None;
        let step = |packed| {
            found = Position::unpack(packed).available(&self.stages, reals);
            found.map(|at| at.next(&self.stages).pack())
        };
        let _ = self.position.fetch_update(Relaxed, Relaxed, step);
        found.map(|at| self.stages[at.stage as usize].servers[at.place as usize] as usize)
    }
}

/// The stages of a period over servers of these weights, with at most about `places` servers in all of them.
fn stages(weights: &[u32], places: usize) -> Vec<Stage> {
    let mut levels: Vec<u32> = weights.iter().copied().filter(|&w| w > 0).collect();
    levels.sort_unstable();
    levels.dedup();
    let most = (places / weights.len().max(1)).max(1);
    if levels.len() > most {
        // Keep every k-th distinct weight, the largest among them; the others round up to the next kept one.
        let step = levels.len().div_ceil(most);
        levels = levels.iter().rev().copied().step_by(step).collect();
        levels.reverse();
    }
    let mut below = 0;
    let mut stages = Vec::with_capacity(levels.len());
    for level in levels {
        let asked = |(i, &weight): (usize, &u32)| (weight > below).then_some(i as u32);
        let servers = weights.iter().enumerate().filter_map(asked).collect();
        stages.push(Stage { servers, rounds: level - below });
        below = level;
    }
    stages
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{from, overload, picks, servers};
    use super::*;

    #[test]
    fn weights_four_three_two_yield_the_documented_order_and_repeat_it() {
        let reals = servers(&[4, 3, 2]);
        assert_eq!(picks(&Wrr::new(&reals), &reals, 27), "ABCABCABA".repeat(3));
    }

    #[test]
    fn overloaded_servers_are_passed_over_and_the_others_keep_their_order() {
        let reals = servers(&[4, 3, 2]);
        let wrr = Wrr::new(&reals);
        assert_eq!(picks(&wrr, &reals, 2), "AB");
        overload(&reals[0]);
        // C ABC AB A without A.
        assert_eq!(picks(&wrr, &reals, 10), "CBCBBCBCBB");
        overload(&reals[1]);
        assert_eq!(picks(&wrr, &reals, 3), "CCC");
        overload(&reals[2]);
        assert_eq!(picks(&wrr, &reals, 2), "--");
        reals[1].live.limit(Default::default());
        assert_eq!(picks(&wrr, &reals, 2), "BB");
    }

    #[test]
    fn a_light_server_is_found_at_once_behind_a_heavy_overloaded_one() {
        let reals = servers(&[65_535, 1]);
        let wrr = Wrr::new(&reals);
        overload(&reals[0]);
        assert_eq!(picks(&wrr, &reals, 100_000), "B".repeat(100_000));
    }

    #[test]
    fn a_common_divisor_does_not_lengthen_the_period_and_weight_zero_is_left_out() {
        let reals = servers(&[20, 0, 10]);
        assert_eq!(picks(&Wrr::new(&reals), &reals, 6), "ACAACA");
    }

    #[test]
    fn large_co_prime_weights_get_exact_shares_from_a_few_stages() {
        let reals = servers(&[65535, 65534, 7]);
        let wrr = Wrr::new(&reals);
        assert_eq!(wrr.stages.len(), 3);
        let mut counts = [0u32; 3];
        (0..65535 + 65534 + 7).for_each(|_| counts[wrr.pick(&reals, &from(1, 1), Tick(0)).unwrap()] += 1);
        assert_eq!(counts, [65535, 65534, 7]);
        assert_eq!(picks(&wrr, &reals, 4), "ABCA", "the next period starts at its beginning");
    }

    #[test]
    fn a_thousand_servers_of_different_weights_get_exact_shares() {
        let weights: Vec<u16> = (1..=1000).collect();
        let reals = servers(&weights);
        let wrr = Wrr::new(&reals);
        let mut counts = vec![0u16; 1000];
        (0..500_500).for_each(|_| counts[wrr.pick(&reals, &from(1, 1), Tick(0)).unwrap()] += 1);
        assert_eq!(counts, weights);
    }

    #[test]
    fn memory_is_bounded_and_shares_stay_near_when_every_weight_differs() {
        let weights: Vec<u32> = (1..=500).collect();
        let bounded = stages(&weights, 5000);
        assert!(bounded.iter().map(|s| s.servers.len()).sum::<usize>() <= 5000);
        let rounds_of =
            |i: u32| -> u32 { bounded.iter().filter(|s| s.servers.contains(&i)).map(|s| s.rounds).sum() };
        for (i, &weight) in weights.iter().enumerate() {
            let got = rounds_of(i as u32);
            assert!(got >= weight && got < weight + 50, "weight {weight} was rounded to {got}");
        }
    }
}
