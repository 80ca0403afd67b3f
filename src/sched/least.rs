//! The server with the least load for its weight: what `lc` and `wlc` share.
//!
//! A few servers are compared one after the other. Many are kept in a tournament: each inner node names the winner
//! of its two sides, the root the server to pick, and a change of one server's count replays only its own games.
//! Changes are heard of through a [`Watch`], so that a pick costs O(changes × log n).
//!
//! Both find the same server. A pick sees every count that had changed before it; what several workers open at the
//! same moment they cannot see of each other, so a server may get one connection too many for each other worker.

use crate::service::{RealServer, Watch};
use std::sync::{Arc, Mutex, MutexGuard};

/// Up to this many servers are quicker compared than kept in order.
const FEW: usize = 16;

/// Finds the server with the least load for its weight.
#[derive(Debug)]
pub struct Least {
    /// By place in the service; 0 takes no new connection.
    weights: Vec<u32>,
    /// For many servers.
    tournament: Option<(Arc<Watch>, Mutex<Tournament>)>,
}

impl Least {
    /// Compares the loads of these servers by what `weight` says they can bear; 0 leaves a server out.
    pub fn new(reals: &[RealServer], weight: impl Fn(&RealServer) -> u32) -> Least {
        let weights: Vec<u32> = reals.iter().map(weight).collect();
        let tournament = (reals.len() > FEW).then(|| {
            let watch = Arc::new(Watch::new(reals.len()));
            // Watch first, read then: what changes in between is read, or told.
            reals.iter().zip(0..).for_each(|(real, place)| real.live.watched_by(&watch, place));
            let loads = reals.iter().map(|real| real.live.overhead()).collect();
            (watch, Mutex::new(Tournament::new(loads, &weights)))
        });
        Least { weights, tournament }
    }

    /// The place of the server with the least load for its weight; of equals, the first.
    pub fn pick(&self, reals: &[RealServer]) -> Option<usize> {
        let Some((watch, tournament)) = &self.tournament else { return self.compare(reals) };
        let mut tournament = lock(tournament);
        watch.take(|place| {
            if let Some(real) = reals.get(place) {
                tournament.play(place, real.live.overhead(), &self.weights);
            }
        });
        tournament.winner()
    }

    fn compare(&self, reals: &[RealServer]) -> Option<usize> {
        let mut best: Option<Contender> = None;
        for (place, (real, &weight)) in reals.iter().zip(&self.weights).enumerate() {
            let contender = Contender { place: place as u32, load: real.live.overhead(), weight };
            if contender.weight > 0 && best.is_none_or(|best| contender.beats(best)) {
                best = Some(contender);
            }
        }
        best.map(|best| best.place as usize)
    }
}

fn lock(tournament: &Mutex<Tournament>) -> MutexGuard<'_, Tournament> {
    // A thread that panicked here left at worst a game unplayed.
    tournament.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[derive(Debug, Clone, Copy)]
struct Contender {
    place: u32,
    load: u64,
    weight: u32,
}

impl Contender {
    /// Whether this one wins against one that stands before it in the service.
    fn beats(self, earlier: Contender) -> bool {
        // load / weight < its load / its weight, without dividing: 2^41 * 65535 fits 64 bits.
        self.load * (earlier.weight as u64) < earlier.load * self.weight as u64
    }
}

/// Nobody: the winner among servers that all have weight 0.
const NOBODY: u32 = u32::MAX;

/// A binary tree in an array: node i has the sides 2i and 2i + 1, the leaves are the servers in their order.
#[derive(Debug)]
struct Tournament {
    winners: Vec<u32>,
    loads: Vec<u64>,
    leaves: usize,
}

impl Tournament {
    fn new(loads: Vec<u64>, weights: &[u32]) -> Tournament {
        let leaves = loads.len().next_power_of_two();
        let mut tournament = Tournament { winners: vec![NOBODY; 2 * leaves], loads, leaves };
        for place in 0..weights.len() {
            tournament.enter(place, weights);
        }
        (1..leaves).rev().for_each(|node| tournament.decide(node, weights));
        tournament
    }

    fn enter(&mut self, place: usize, weights: &[u32]) {
        self.winners[self.leaves + place] = if weights[place] > 0 { place as u32 } else { NOBODY };
    }

    /// A server's load has changed: its games are played again, up to the root.
    fn play(&mut self, place: usize, load: u64, weights: &[u32]) {
        self.loads[place] = load;
        let mut node = (self.leaves + place) / 2;
        while node > 0 {
            self.decide(node, weights);
            node /= 2;
        }
    }

    fn decide(&mut self, node: usize, weights: &[u32]) {
        let (earlier, later) = (self.winners[2 * node], self.winners[2 * node + 1]);
        let contender = |place: u32| Contender {
            place,
            load: self.loads[place as usize],
            weight: weights[place as usize],
        };
        self.winners[node] = match (earlier, later) {
            (NOBODY, _) => later,
            (_, NOBODY) => earlier,
            _ if contender(later).beats(contender(earlier)) => later,
            _ => earlier,
        };
    }

    fn winner(&self) -> Option<usize> {
        // With one leaf the root is the leaf.
        Some(self.winners[1]).filter(|&place| place != NOBODY).map(|place| place as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::servers;
    use super::*;
    use crate::service::Standing;

    fn random(state: &mut u64) -> usize {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as usize
    }

    #[test]
    fn the_tournament_picks_whom_a_comparison_of_all_picks_ties_included() {
        let mut dice = 7;
        for count in [17, 64, 100, 1000] {
            let weights: Vec<u16> = (0..count).map(|_| (random(&mut dice) % 4) as u16).collect();
            let reals = servers(&weights);
            reals.iter().step_by(3).for_each(|real| real.live.opened(Standing::Inactive));
            let least = Least::new(&reals, |real| real.weight.into());
            let mut open = Vec::new();
            for step in 0..20_000 {
                let pick = least.pick(&reals);
                assert_eq!(pick, least.compare(&reals), "{count} servers, step {step}");
                let standing =
                    if random(&mut dice).is_multiple_of(4) { Standing::Inactive } else { Standing::Active };
                if random(&mut dice) % 5 < 3 || open.is_empty() {
                    reals[pick.unwrap()].live.opened(standing);
                    open.push((pick.unwrap(), standing));
                } else {
                    let (server, standing) = open.swap_remove(random(&mut dice) % open.len());
                    reals[server].live.closed(standing);
                }
            }
        }
    }

    #[test]
    fn many_servers_of_weight_zero_are_nobody() {
        let reals = servers(&[0; 40]);
        assert_eq!(Least::new(&reals, |real| real.weight.into()).pick(&reals), None);
    }

    #[test]
    fn workers_at_once_give_a_server_one_too_many_for_each_other_worker_at_most() {
        let reals = servers(&[1; 50]);
        let least = Least::new(&reals, |_| 1);
        let worker = || {
            for _ in 0..5000 {
                reals[least.pick(&reals).unwrap()].live.opened(Standing::Active);
            }
        };
        std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(worker))));
        let counts: Vec<u32> = reals.iter().map(|real| real.live.active()).collect();
        assert_eq!(counts.iter().sum::<u32>(), 10_000);
        assert!(counts.iter().all(|count| (199..=201).contains(count)), "{counts:?}");
    }
}
