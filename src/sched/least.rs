//! The server with the least load for its weight: what `lc`, `wlc`, `sed`, `nq`, `ovf`, `lblc` and `lblcr` share.
//!
//! A few servers are compared one after the other. Many are kept in a tournament: games of four, whose winners meet
//! in games of four, up to the one to pick. The players' ranks stand in the game itself, a cache line.
//!
//! What stands in the games may be less than the truth, never more. So a load that rises is not told: if its server
//! wins, that is noticed before it is picked, and it plays again, O(log n); if it does not win, the truth would not have
//! won either. A server whose load has fallen is told through a [`Watch`]. It waits beside the games, with few others,
//! and is compared with the winner: mostly it is picked next, has as many connections as before, and need not play.
//! When too many wait, the one who waited longest plays.
//!
//! Both find the same server, of equals the earlier one. A pick sees every count that had changed before it; what
//! several workers open at the same moment they cannot see of each other, so a server may get one connection too
//! many for each other worker. A worker that finds another one in the tournament tries again a few times, and then
//! compares all: nobody waits for a worker that was interrupted.

use super::Scheduler;
use crate::net::{FlowKey, Tick};
use crate::service::{Live, RealServer, Watch};
use arrayvec::ArrayVec;
use std::cmp::Ordering;
use std::fmt;
use std::hint::{select_unpredictable, spin_loop};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

/// Up to this many servers are quicker compared than kept in order.
const FEW: usize = 12;

/// How often a worker tries to lock what another one has locked. A pick takes some dozen nanoseconds, a try about ten.
const TRIES: u32 = 50;

/// Finds the server with the least load for its weight.
pub struct Least<L> {
    servers: Vec<Server>,
    /// What is compared, of a server of this weight; with `None` it is left out. The load must not fall while
    /// connections open or become active, and not come back from `None`.
    load: L,
    /// What a server can bear; with 0 it is left out.
    weight: fn(&RealServer) -> u32,
    seat: usize,
    /// For many servers.
    tournament: Option<(Watch, Mutex<Tournament>)>,
}

struct Server {
    live: Arc<Live>,
    /// What it can bear; 0 takes no new connection.
    weight: f64,
}

impl<L: Fn(&Live, f64) -> Option<u64>> Least<L> {
    /// Compares the loads of these servers by what `weight` says they can bear; 0 leaves a server out.
    pub fn new(reals: &[RealServer], load: L, weight: fn(&RealServer) -> u32) -> Least<L> {
        Least::in_seat(0, reals, load, weight)
    }

    /// The same, beside another order of the same servers.
    pub fn second(reals: &[RealServer], load: L, weight: fn(&RealServer) -> u32) -> Least<L> {
        Least::in_seat(1, reals, load, weight)
    }

    fn in_seat(seat: usize, reals: &[RealServer], load: L, weight: fn(&RealServer) -> u32) -> Least<L> {
        let server = |real: &RealServer| Server { live: real.live.clone(), weight: weight(real).into() };
        let servers = reals.iter().map(server).collect();
        let mut least = Least { servers, load, weight, seat, tournament: None };
        if reals.len() > FEW {
            least.tournament = Watch::new(reals.len()).map(|watch| {
                // Watch first, read then: what changes in between is read, or told.
                least.each_live(|place, live| live.watched_by(seat, &watch, place));
                let ranks = (0..reals.len()).map(|place| least.rank(place));
                let tournament = Tournament::new(ranks);
                (watch, Mutex::new(tournament))
            });
        }
        least
    }

    /// The place of the server with the least load for its weight; of equals, the first.
    pub(super) fn find(&self) -> Option<usize> {
        let Some((watch, tournament)) = &self.tournament else { return self.compare() };
        match enter(tournament) {
            Some(mut tournament) => self.play(watch, &mut tournament),
            None => self.compare(),
        }
    }

    fn play(&self, watch: &Watch, tournament: &mut Tournament) -> Option<usize> {
        watch.take(|place| {
            if place < self.servers.len()
                && let Some(longest) = tournament.wait(place)
            {
                tournament.play(longest, self.rank(longest));
            }
        });
        loop {
            let winner = tournament.winner;
            let Some(place) = place_of(winner) else { break };
            let now = self.rank(place);
            if now == winner {
                break;
            }
            tournament.play(place, now);
        }
        place_of(tournament.better(|place| self.rank(place)))
    }

    fn compare(&self) -> Option<usize> {
        (0..self.servers.len()).map(|place| self.rank(place)).reduce(lesser).and_then(place_of)
    }

    /// How the server at this place stands now.
    #[inline]
    fn rank(&self, place: usize) -> Rank {
        let Server { live, weight } = &self.servers[place];
        if *weight == 0.0 || live.is_overloaded() {
            return NOBODY;
        }
        (self.load)(live, *weight).map_or(NOBODY, |load| rank(load, *weight, place))
    }
}

impl<L> Least<L> {
    fn each_live(&self, mut of: impl FnMut(usize, &Live)) {
        self.servers.iter().enumerate().for_each(|(place, server)| of(place, &server.live));
    }
}

impl<L: Fn(&Live, f64) -> Option<u64> + Send + Sync> Scheduler for Least<L> {
    fn pick(&self, _reals: &[RealServer], _key: &FlowKey, _now: Tick) -> Option<usize> {
        self.find()
    }

    fn compare(&self, real: &RealServer) -> Option<Ordering> {
        let least = self.rank(self.find()?);
        let weight = (self.weight)(real).into();
        let load = (self.load)(&real.live, weight);
        let rank = load.map_or(NOBODY, |load| rank(load, weight, 0));
        Some(quotient(rank).cmp(&quotient(least)))
    }
}

impl<L> Drop for Least<L> {
    fn drop(&mut self) {
        if let Some((watch, _)) = &self.tournament {
            self.each_live(|place, live| live.left_by(self.seat, watch, place));
        }
    }
}

impl<L> fmt::Debug for Least<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Least").field("servers", &self.servers.len()).finish_non_exhaustive()
    }
}

/// Locks, unless another worker keeps it locked for too long.
pub(super) fn enter<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    for _ in 0..TRIES {
        match mutex.try_lock() {
            Ok(entered) => return Some(entered),
            // A thread that panicked inside left at worst a change undone: a game unplayed, an address forgotten.
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => spin_loop(),
        }
    }
    None
}

/// Load for weight, and behind it, for ties, the place: the lesser is the better.
///
/// The quotient is the bits of a floating-point number, which for positive ones compare as the numbers do. Equal
/// quotients are equal as the same number is rounded, and different ones differ: a/b and c/d lie at least 1/bc of
/// the larger one apart, which is more than rounding takes away while the load times the weight is below 2^52. A
/// load is below 2^36, since there are at most 200 million connections.
type Rank = u128;

/// Takes no connection.
const NOBODY: Rank = Rank::MAX;

#[inline]
fn rank(load: u64, weight: f64, place: usize) -> Rank {
    let quotient = load as i64 as f64 / weight;
    (quotient.to_bits() as Rank) << 32 | place as Rank
}

/// The load for the weight, without the place.
fn quotient(rank: Rank) -> u128 {
    rank >> 32
}

fn place_of(rank: Rank) -> Option<usize> {
    (rank != NOBODY).then_some(rank as u32 as usize)
}

/// The lesser of two. Which that is cannot be predicted, so there is no branch.
#[inline]
fn lesser(a: Rank, b: Rank) -> Rank {
    select_unpredictable(a < b, a, b)
}

/// A tree of games in an array: the winners of the games 4g + 1 … 4g + 4 meet in game g.
#[derive(Debug)]
struct Tournament {
    games: Vec<Game>,
    /// The first game that servers play in, not winners.
    first: usize,
    winner: Rank,
    /// Players who may rank better than their games say, the longest so first.
    waiting: ArrayVec<u32, 4>,
}

/// A game of four.
#[derive(Debug, Clone)]
#[repr(align(64))]
struct Game([Rank; 4]);

impl Tournament {
    /// Of players who rank like this, by place.
    fn new(ranks: impl ExactSizeIterator<Item = Rank>) -> Tournament {
        let (mut first, mut in_row) = (0, 1);
        while in_row * 4 < ranks.len() {
            first += in_row;
            in_row *= 4;
        }
        let games = vec![Game([NOBODY; 4]); first + in_row];
        let mut tournament = Tournament { games, first, winner: NOBODY, waiting: ArrayVec::new() };
        ranks.enumerate().for_each(|(place, rank)| tournament.play(place, rank));
        tournament
    }

    /// This player ranks better now. It need not play at once: see [`Tournament::better`]. If too many wait, the one who
    /// waited longest is to play.
    fn wait(&mut self, place: usize) -> Option<usize> {
        if self.waiting.contains(&(place as u32)) {
            return None;
        }
        let longest = if self.waiting.is_full() { self.waiting.pop_at(0) } else { None };
        self.waiting.push(place as u32);
        longest.map(|place| place as usize)
    }

    /// The winner, or one of those who wait, if better. Who ranks as its games say, or worse, need not wait any more.
    #[inline]
    fn better(&mut self, rank: impl Fn(usize) -> Rank) -> Rank {
        let mut best = self.winner;
        let Tournament { games, waiting, .. } = self;
        waiting.retain(|&mut place| {
            let seat = 4 * self.first + place as usize;
            let now = rank(place as usize);
            best = lesser(now, best);
            now < games[seat / 4].0[seat % 4]
        });
        best
    }

    /// Plays the games of the player at this place again, as far as they may end differently.
    #[inline]
    fn play(&mut self, place: usize, mut rank: Rank) {
        let mut seat = 4 * self.first + place;
        loop {
            let Game(ranks) = &mut self.games[seat / 4];
            if ranks[seat % 4] == rank {
                return;
            }
            let [a, b, c] = [1, 2, 3].map(|other| ranks[(seat % 4) ^ other]);
            ranks[seat % 4] = rank;
            rank = lesser(lesser(a, b), lesser(c, rank));
            if seat < 4 {
                self.winner = rank;
                return;
            }
            seat = seat / 4 - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::servers;
    use super::*;
    use crate::service::{Standing, Thresholds};

    fn random(state: &mut u64) -> usize {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as usize
    }

    fn by_weight(reals: &[RealServer]) -> Least<impl Fn(&Live, f64) -> Option<u64> + use<>> {
        Least::new(reals, |live, _| Some(live.overhead()), |real| real.weight.into())
    }

    #[test]
    fn the_tournament_picks_whom_a_comparison_of_all_picks_ties_included() {
        let mut dice = 7;
        for count in [17, 64, 65, 100, 256, 257, 1000] {
            let weights: Vec<u16> = (0..count).map(|_| (random(&mut dice) % 4) as u16).collect();
            let reals = servers(&weights);
            reals.iter().step_by(3).for_each(|real| real.live.opened(Standing::Inactive));
            reals.iter().step_by(5).for_each(|real| real.live.limit(Thresholds { upper: 7, lower: 3 }));
            let least = by_weight(&reals);
            assert!(least.tournament.is_some());
            let mut open = Vec::new();
            for step in 0..20_000 {
                let pick = least.find();
                assert_eq!(pick, least.compare(), "{count} servers, step {step}");
                let standing =
                    if random(&mut dice).is_multiple_of(4) { Standing::Inactive } else { Standing::Active };
                match (random(&mut dice) % 8, pick) {
                    (0..5, Some(server)) => {
                        reals[server].live.opened(standing);
                        open.push((server, standing));
                    }
                    (5, _) if !open.is_empty() => {
                        let at = random(&mut dice) % open.len();
                        let (server, before) = &mut open[at];
                        reals[*server].live.moved(*before, standing);
                        *before = standing;
                    }
                    _ if !open.is_empty() => {
                        let (server, standing) = open.swap_remove(random(&mut dice) % open.len());
                        reals[server].live.closed(standing);
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn ranks_compare_as_loads_for_weights_do_and_equal_ones_by_place() {
        let mut dice = 3;
        let mut number = |below: u64| 1 + (random(&mut dice) as u64 * 33) % (below - 1);
        for i in 0..200_000 {
            // Any two, and two that are as near each other as can be.
            let (load, weight) = (number(1 << 36), number(1 << 16));
            let other = if i % 2 == 0 { number(1 << 16) } else { (weight + 1).min(65_535) };
            let other_load = if i % 4 == 0 { number(1 << 36) } else { load * other / weight };
            if other_load >= 1 << 36 {
                continue;
            }
            let exact = (load as u128 * other as u128).cmp(&(other_load as u128 * weight as u128));
            let found = rank(load, weight as f64, 1).cmp(&rank(other_load, other as f64, 2));
            assert_eq!(found, exact.then(std::cmp::Ordering::Less), "{load}/{weight} {other_load}/{other}");
        }
    }

    #[test]
    fn many_servers_of_weight_zero_or_overloaded_are_nobody() {
        let quiesced = servers(&[0; 40]);
        assert_eq!(by_weight(&quiesced).find(), None);
        let reals = servers(&[1; 40]);
        let least = by_weight(&reals);
        for real in &reals {
            real.live.limit(Thresholds { upper: 1, lower: 0 });
            real.live.opened(Standing::Active);
        }
        assert_eq!(least.find(), None);
        reals[20].live.closed(Standing::Active);
        assert_eq!(least.find(), Some(20));
        reals[20].live.opened(Standing::Active);
        assert_eq!(least.find(), None);
        reals[30].live.limit(Thresholds::default());
        assert_eq!(least.find(), Some(30));
    }

    #[test]
    fn workers_at_once_give_a_server_one_too_many_for_each_other_worker_at_most() {
        let reals = servers(&[1; 50]);
        let least = by_weight(&reals);
        let worker = || {
            for _ in 0..5000 {
                reals[least.find().unwrap()].live.opened(Standing::Active);
            }
        };
        std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(worker))));
        let counts: Vec<u32> = reals.iter().map(|real| real.live.active()).collect();
        assert_eq!(counts.iter().sum::<u32>(), 10_000);
        assert!(counts.iter().all(|count| (199..=201).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_worker_that_finds_another_one_in_the_tournament_does_not_wait_and_picks_the_same_server() {
        let reals = servers(&[1; 50]);
        let least = by_weight(&reals);
        let (_, tournament) = least.tournament.as_ref().unwrap();
        let _interrupted = tournament.lock().unwrap();
        (0..30).for_each(|place| reals[place].live.opened(Standing::Active));
        assert_eq!(least.find(), Some(30));
    }

    #[test]
    fn of_two_schedulers_of_one_service_the_later_is_exact() {
        let reals = servers(&[1; 50]);
        let old = by_weight(&reals);
        reals.iter().for_each(|real| real.live.opened(Standing::Active));
        let new = by_weight(&reals);
        drop(old);
        reals[40].live.closed(Standing::Active);
        assert_eq!(new.find(), Some(40));
    }
}
