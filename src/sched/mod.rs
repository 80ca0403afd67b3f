//! Floor 2: judgement: which real server gets a new connection.
//!
//! One scheduler per file, named as `ipvsadm -s` spells it. A scheduler is built for one service as it stands
//! (its servers, their order and weights) and rebuilt when that changes; a pick reads live counts and a position,
//! allocates nothing and is safe from any number of workers at once.

mod lc;
mod least;
mod rr;
mod wlc;
mod wrr;

use crate::service::{RealServer, SchedulerName};

/// Chooses a server for a new connection.
pub trait Scheduler: Send + Sync + std::fmt::Debug {
    /// The place in `reals` of the server to use, or `None` if none takes new connections. `reals` must be the
    /// list the scheduler was built for.
    fn pick(&self, reals: &[RealServer]) -> Option<usize>;
}

/// The scheduler of this name for a service with these servers.
pub fn build(name: SchedulerName, reals: &[RealServer]) -> Box<dyn Scheduler> {
    match name {
        SchedulerName::Rr => Box::new(rr::Rr::new(reals)),
        SchedulerName::Wrr => Box::new(wrr::Wrr::new(reals)),
        SchedulerName::Lc => Box::new(lc::lc(reals)),
        SchedulerName::Wlc => Box::new(wlc::wlc(reals)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Endpoint;
    use crate::service::{Live, Method, RealId};
    use std::sync::Arc;

    /// Servers A, B, C … of these weights.
    pub(super) fn servers(weights: &[u16]) -> Vec<RealServer> {
        let server = |(i, &weight): (usize, &u16)| RealServer {
            id: RealId(i as u32),
            endpoint: Endpoint::v4([10, 0, (i >> 8) as u8, i as u8].into(), 80),
            weight,
            method: Method::Nat,
            live: Arc::new(Live::default()),
        };
        weights.iter().enumerate().map(server).collect()
    }

    /// The first `n` picks, as letters; `-` for none.
    pub(super) fn picks(scheduler: &dyn Scheduler, reals: &[RealServer], n: usize) -> String {
        let letter = |pick: Option<usize>| pick.map_or('-', |i| (b'A' + i as u8) as char);
        (0..n).map(|_| letter(scheduler.pick(reals))).collect()
    }

    #[test]
    fn no_scheduler_picks_from_an_empty_or_quiesced_pool_and_each_finds_a_lone_server() {
        for name in SchedulerName::ALL {
            for weights in [&[][..], &[0][..], &[0, 0, 0][..]] {
                let reals = servers(weights);
                assert_eq!(build(name, &reals).pick(&reals), None, "{name} of {weights:?}");
            }
            let lone = servers(&[0, 7, 0]);
            assert_eq!(picks(&*build(name, &lone), &lone, 3), "BBB", "{name}");
        }
    }

    #[test]
    fn two_workers_share_one_round() {
        for name in [SchedulerName::Rr, SchedulerName::Wrr] {
            let reals = servers(&[4, 3, 2]);
            let scheduler = build(name, &reals);
            let counts: Vec<Vec<usize>> = std::thread::scope(|scope| {
                let worker = || {
                    let mut counts = vec![0; 3];
                    (0..9000).for_each(|_| counts[scheduler.pick(&reals).unwrap()] += 1);
                    counts
                };
                let workers: Vec<_> = (0..2).map(|_| scope.spawn(worker)).collect();
                workers.into_iter().map(|w| w.join().unwrap()).collect()
            });
            let total: Vec<usize> = (0..3).map(|i| counts[0][i] + counts[1][i]).collect();
            let expected = if name == SchedulerName::Rr { [6000; 3] } else { [8000, 6000, 4000] };
            assert_eq!(total, expected, "{name}");
        }
    }
}
