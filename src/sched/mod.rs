//! Floor 2: judgement: which real server gets a new connection.
//!
//! One scheduler per file, named as `ipvsadm -s` spells it. A scheduler is built for one service as it stands
//! (its servers, their order and weights) and rebuilt when that changes; a pick reads live counts and a position,
//! waits for nobody and is safe from any number of workers at once. It allocates nothing, but for `lblc` and `lblcr`
//! when they meet a new address.
//!
//! No scheduler picks a server that is quiesced (weight 0) or overloaded ([`crate::service::Thresholds`]).

mod dh;
mod fo;
mod hash;
mod lblc;
mod lblcr;
mod lc;
mod least;
mod locality;
mod mh;
mod nq;
mod ovf;
mod ramp;
mod rr;
mod sed;
mod sh;
mod twos;
mod wlc;
mod wrr;

use crate::net::{FlowKey, Tick};
use crate::service::{RealServer, SchedulerName, SchedulerOptions};
use ramp::{Gated, Paced};
use std::cmp::Ordering;

/// Chooses a server for a new connection.
pub trait Scheduler: Send + Sync + std::fmt::Debug {
    /// The place in `reals` of the server to use for a connection that a packet of this key opens, or `None` if it is
    /// to be refused. `reals` must be the list the scheduler was built for.
    fn pick(&self, reals: &[RealServer], key: &FlowKey, now: Tick) -> Option<usize>;

    /// The scheduler to follow this one when the service's servers or their weights have changed, if it is to inherit
    /// something; otherwise a new one will do.
    fn for_changed(&self, _reals: &[RealServer]) -> Option<Box<dyn Scheduler>> {
        None
    }

    /// How the load of a server that ramps compares with the least of those that do not, each for its weight. `None`
    /// if there are none, or if load does not decide.
    fn compare(&self, _real: &RealServer) -> Option<Ordering> {
        None
    }
}

/// The scheduler of this name for a service with these servers, some of which may ramp.
pub fn build(name: SchedulerName, options: &SchedulerOptions, reals: &[RealServer]) -> Box<dyn Scheduler> {
    if let Some(gated) = Gated::new(name, options, reals, None) {
        return Box::new(gated);
    }
    match Paced::new(name, options, reals, None) {
        Some(paced) => Box::new(paced),
        None => plain(name, options, reals),
    }
}

/// The scheduler of this name, for which servers that ramp are like any others; `lblc` and `lblcr` know them.
fn plain(name: SchedulerName, options: &SchedulerOptions, reals: &[RealServer]) -> Box<dyn Scheduler> {
    match name {
        SchedulerName::Rr => Box::new(rr::Rr::new(reals)),
        SchedulerName::Wrr => Box::new(wrr::Wrr::new(reals)),
        SchedulerName::Lc => Box::new(lc::lc(reals)),
        SchedulerName::Wlc => Box::new(wlc::wlc(reals)),
        SchedulerName::Sed => Box::new(sed::sed(reals)),
        SchedulerName::Nq => Box::new(nq::nq(reals)),
        SchedulerName::Sh => Box::new(sh::Sh::new(options, reals)),
        SchedulerName::Dh => Box::new(dh::Dh::new(reals)),
        SchedulerName::Mh => Box::new(mh::Mh::new(options, reals)),
        SchedulerName::Lblc => Box::new(lblc::Lblc::new(reals)),
        SchedulerName::Lblcr => Box::new(lblcr::Lblcr::new(reals)),
        SchedulerName::Fo => Box::new(fo::Fo::new(reals)),
        SchedulerName::Ovf => Box::new(ovf::ovf(reals)),
        SchedulerName::Twos => Box::new(twos::Twos::new(reals)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Endpoint, Proto};
    use crate::service::{Live, Method, RealId, Standing, Thresholds};
    use std::sync::Arc;

    const OPTIONS: SchedulerOptions = SchedulerOptions { fallback: true, port: true, mh_table_size: 4093 };

    /// Servers A, B, C … of these weights.
    pub(super) fn servers(weights: &[u16]) -> Vec<RealServer> {
        let server = |(i, &weight): (usize, &u16)| RealServer {
            id: RealId(i as u32),
            endpoint: Endpoint::v4([10, 0, (i >> 8) as u8, i as u8].into(), 80),
            weight,
            is_shut: false,
            method: Method::Nat,
            thresholds: Thresholds::default(),
            ramp: None,
            live: Arc::new(Live::default()),
        };
        weights.iter().enumerate().map(server).collect()
    }

    /// Overloads a server, by one inactive connection.
    pub(super) fn overload(real: &RealServer) {
        real.live.limit(Thresholds { upper: 1, lower: 0 });
        real.live.opened(Standing::Inactive);
    }

    /// A client's packet to some service.
    pub(super) fn from(client: u32, port: u16) -> FlowKey {
        FlowKey::v4(Proto::Tcp, client, 0xc000_0264, port, 80)
    }

    /// Some client's packet to this address.
    pub(super) fn to(address: u32, port: u16) -> FlowKey {
        FlowKey::v4(Proto::Tcp, 0xc000_0201, address, 4000, port)
    }

    fn letter(pick: Option<usize>) -> char {
        pick.map_or('-', |i| (b'A' + i as u8) as char)
    }

    /// The first `n` picks for clients 0, 1, 2 …, as letters; `-` for none.
    pub(super) fn picks(scheduler: &dyn Scheduler, reals: &[RealServer], n: usize) -> String {
        (0..n as u32).map(|client| letter(scheduler.pick(reals, &from(client, 1000), Tick(0)))).collect()
    }

    /// The next `n` picks, each of which opens an active connection.
    pub(super) fn opened(scheduler: &dyn Scheduler, reals: &[RealServer], n: usize) -> String {
        opened_by(scheduler, reals, &from(1, 1000), n)
    }

    /// The same, all for one key.
    pub(super) fn opened_by(
        scheduler: &dyn Scheduler,
        reals: &[RealServer],
        key: &FlowKey,
        n: usize,
    ) -> String {
        let open = |_| {
            let pick = scheduler.pick(reals, key, Tick(0));
            pick.into_iter().for_each(|i| reals[i].live.opened(Standing::Active));
            letter(pick)
        };
        (0..n).map(open).collect()
    }

    #[test]
    fn no_scheduler_picks_from_an_empty_quiesced_or_overloaded_pool() {
        for name in SchedulerName::ALL {
            for weights in [&[][..], &[0][..], &[0, 0, 0][..], &[0; 40][..]] {
                let reals = servers(weights);
                assert_eq!(
                    picks(&*build(name, &OPTIONS, &reals), &reals, 9),
                    "-".repeat(9),
                    "{name} {weights:?}"
                );
            }
            let reals = servers(&[1, 2, 3]);
            let scheduler = build(name, &OPTIONS, &reals);
            reals.iter().for_each(overload);
            assert_eq!(picks(&*scheduler, &reals, 9), "-".repeat(9), "{name}");
        }
    }

    #[test]
    fn each_scheduler_finds_a_lone_server_if_only_by_falling_back() {
        for name in SchedulerName::ALL {
            let lone = servers(&[7]);
            assert_eq!(picks(&*build(name, &OPTIONS, &lone), &lone, 9), "A".repeat(9), "{name}");
            let lone = servers(&[0, 7, 0]);
            let found = picks(&*build(name, &OPTIONS, &lone), &lone, 9);
            match name {
                // Servers of weight 0 keep their places.
                SchedulerName::Dh => assert_eq!(found.replace(['B', '-'], ""), ""),
                _ => assert_eq!(found, "BBBBBBBBB", "{name}"),
            }
        }
    }

    #[test]
    fn each_scheduler_gives_up_an_overloaded_server_and_takes_it_again_when_it_is_not() {
        for name in SchedulerName::ALL.into_iter().filter(|&name| name != SchedulerName::Dh) {
            for count in [2, 40] {
                let reals = servers(&vec![1; count]);
                let scheduler = build(name, &OPTIONS, &reals);
                reals[1..].iter().for_each(overload);
                assert_eq!(picks(&*scheduler, &reals, 30), "A".repeat(30), "{name} {count}");
                overload(&reals[0]);
                reals[1].live.closed(Standing::Inactive);
                assert_eq!(picks(&*scheduler, &reals, 30), "B".repeat(30), "{name} {count}");
            }
        }
    }

    #[test]
    fn two_workers_share_one_round() {
        for name in [SchedulerName::Rr, SchedulerName::Wrr] {
            let reals = servers(&[4, 3, 2]);
            let scheduler = build(name, &OPTIONS, &reals);
            let counts: Vec<Vec<usize>> = std::thread::scope(|scope| {
                let worker = || {
                    let mut counts = vec![0; 3];
                    (0..9000).for_each(|_| {
                        counts[scheduler.pick(&reals, &from(1, 1), Tick(0)).unwrap()] += 1;
                    });
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

    #[test]
    fn any_number_of_workers_at_once_get_a_server_each_from_every_scheduler() {
        for name in SchedulerName::ALL {
            let reals = servers(&[3; 30]);
            let scheduler = build(name, &OPTIONS, &reals);
            std::thread::scope(|scope| {
                for worker in 0..4 {
                    let (scheduler, reals) = (&*scheduler, &reals[..]);
                    scope.spawn(move || {
                        for i in 0..1000 {
                            let key = to(worker * 1000 + i % 50, 80);
                            let pick = scheduler.pick(reals, &key, Tick(i)).unwrap();
                            reals[pick].live.opened(Standing::Inactive);
                            reals[pick].live.closed(Standing::Inactive);
                        }
                    });
                }
            });
            assert!(reals.iter().all(|real| real.live.overhead() == 0), "{name}");
        }
    }
}
