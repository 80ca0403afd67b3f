//! Rates as IPVS estimates them: every two seconds, `avg += (rate - avg) / 4`, in fixed point, so that
//! `ipvsadm -L --rate` shows what it would show there; and how busy the workers were meanwhile. Kept by the control
//! thread; packets only count.

use super::desired::Key;
use super::report::Traffic;
use crate::service::RealId;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How often rates are estimated (reference: IPVS's estimator).
pub const PERIOD: Duration = Duration::from_secs(2);

/// What passes in a second, about; the columns of `ipvsadm -L --rate`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct Rate {
    /// Connections given to it.
    pub connections: u64,
    /// Packets from clients.
    pub in_packets: u64,
    /// Bytes from clients.
    pub in_bytes: u64,
    /// Packets to clients that the director saw (NAT).
    pub out_packets: u64,
    /// Bytes to clients that the director saw (NAT).
    pub out_bytes: u64,
}

impl From<Rate> for Traffic {
    fn from(rate: Rate) -> Traffic {
        let Rate { connections, in_packets, in_bytes, out_packets, out_bytes } = rate;
        Traffic { connections, in_packets, in_bytes, out_packets, out_bytes }
    }
}

/// One thing's estimate: what it had counted, and its averages, scaled by 2^10, bytes by 2^5.
#[derive(Debug, Clone, Copy, Default)]
struct Estimate {
    last: Traffic,
    scaled: Traffic,
}

impl Estimate {
    fn take(&mut self, now: Traffic) {
        // Counted from zero again, or another server under this id.
        if now.since(self.last).plus(self.last) != now {
            *self = Estimate { last: now, scaled: Traffic::default() };
            return;
        }
        let grown = now.since(self.last);
        // One period's count is half a second's rate for each of its seconds, hence one bit less.
        let average = |scaled: u64, count: u64, bits: u32| {
            let rate = (count << bits) as i64;
            (scaled as i64 + ((rate - scaled as i64) >> 2)).max(0) as u64
        };
        let scaled = &mut self.scaled;
        scaled.connections = average(scaled.connections, grown.connections, 9);
        scaled.in_packets = average(scaled.in_packets, grown.in_packets, 9);
        scaled.out_packets = average(scaled.out_packets, grown.out_packets, 9);
        scaled.in_bytes = average(scaled.in_bytes, grown.in_bytes, 4);
        scaled.out_bytes = average(scaled.out_bytes, grown.out_bytes, 4);
        self.last = now;
    }

    fn rate(&self) -> Rate {
        let packets = |scaled: u64| (scaled + 0x1ff) >> 10;
        let bytes = |scaled: u64| (scaled + 0xf) >> 5;
        Rate {
            connections: packets(self.scaled.connections),
            in_packets: packets(self.scaled.in_packets),
            in_bytes: bytes(self.scaled.in_bytes),
            out_packets: packets(self.scaled.out_packets),
            out_bytes: bytes(self.scaled.out_bytes),
        }
    }
}

/// What a worker has spent its time on, the first on packets, and the share of that lately.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    spent: [Duration; 3],
    share: f64,
}

impl Load {
    fn take(&mut self, now: [Duration; 3]) {
        let mut gone = now;
        gone.iter_mut().zip(self.spent).for_each(|(now, before)| *now = now.saturating_sub(before));
        let all = gone.iter().sum::<Duration>().as_secs_f64();
        let share = if all > 0.0 { gone[0].as_secs_f64() / all } else { 0.0 };
        *self = Load { spent: now, share };
    }
}

/// The estimates of all services, servers and workers.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    services: HashMap<Key, Estimate>,
    servers: HashMap<RealId, Estimate>,
    workers: Vec<Load>,
}

impl Rates {
    /// Takes up what all have counted by now, workers the time that they spent on packets and on two other things; to be
    /// called once in [`PERIOD`]. Who is not named any more is forgotten.
    pub fn estimate(
        &mut self,
        services: impl Iterator<Item = (Key, Traffic)>,
        servers: impl Iterator<Item = (RealId, Traffic)>,
        workers: impl Iterator<Item = [Duration; 3]>,
    ) {
        let before = std::mem::take(self);
        let fresh = |now| Estimate { last: now, scaled: Traffic::default() };
        let next = |old: Option<&Estimate>, now| {
            old.map_or_else(
                || fresh(now),
                |old| {
                    let mut estimate = *old;
                    estimate.take(now);
                    estimate
                },
            )
        };
        self.services = services.map(|(key, now)| (key, next(before.services.get(&key), now))).collect();
        self.servers = servers.map(|(id, now)| (id, next(before.servers.get(&id), now))).collect();
        let loads = before.workers.into_iter().chain(std::iter::repeat(Load::default()));
        self.workers = workers
            .zip(loads)
            .map(|(now, mut load)| {
                load.take(now);
                load
            })
            .collect();
    }

    /// A service's rates.
    pub fn of_service(&self, key: Key) -> Rate {
        self.services.get(&key).map_or_else(Rate::default, Estimate::rate)
    }

    /// The share of its time that packets took a worker in the last period.
    pub fn load(&self, worker: usize) -> f64 {
        self.workers.get(worker).map_or(0.0, |load| load.share)
    }

    /// A server's rates.
    pub fn of_server(&self, id: RealId) -> Rate {
        self.servers.get(&id).map_or_else(Rate::default, Estimate::rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(connections: u64, in_bytes: u64) -> Traffic {
        Traffic { connections, in_bytes, ..Traffic::default() }
    }

    /// The rates after each of these counts.
    fn rates(counts: &[Traffic]) -> Vec<(u64, u64)> {
        let mut rates = Rates::default();
        let mut after = |count: &Traffic| {
            rates.estimate(std::iter::empty(), [(RealId(1), *count)].into_iter(), std::iter::empty());
            let rate = rates.of_server(RealId(1));
            (rate.connections, rate.in_bytes)
        };
        counts.iter().map(&mut after).collect()
    }

    #[test]
    fn a_rate_goes_a_quarter_of_the_way_to_the_new_one_every_two_seconds() {
        // 1000 connections a second, 64,000 bytes a second; by hand: 250, 437.5, 578.1, 683.6; half a connection is none.
        let counts: Vec<Traffic> = (0..5).map(|i| counted(i * 2000, i * 128_000)).collect();
        let rates = rates(&counts);
        assert_eq!(rates.iter().map(|rate| rate.0).collect::<Vec<_>>(), [0, 250, 437, 578, 684]);
        assert_eq!(rates.iter().map(|rate| rate.1).collect::<Vec<_>>(), [0, 16000, 28000, 37000, 43750]);
    }

    #[test]
    fn a_count_that_begins_again_has_no_rate() {
        let rates = rates(&[counted(0, 0), counted(2000, 0), counted(5, 0), counted(5, 0)]);
        assert_eq!(rates.iter().map(|rate| rate.0).collect::<Vec<_>>(), [0, 250, 0, 0]);
    }

    #[test]
    fn a_workers_load_is_the_share_of_the_last_period_that_packets_took() {
        let mut rates = Rates::default();
        let mut after = |spent: [u64; 3]| {
            let spent = spent.map(Duration::from_millis);
            rates.estimate(std::iter::empty(), std::iter::empty(), [spent].into_iter());
            rates.load(0)
        };
        assert_eq!(after([0, 0, 0]), 0.0);
        assert_eq!(after([500, 1500, 0]), 0.25);
        assert_eq!(after([2500, 1500, 0]), 1.0);
        assert_eq!(after([2500, 1500, 2000]), 0.0);
        assert_eq!(after([2500, 1500, 2000]), 0.0, "no turn has ended");
        assert_eq!(rates.load(1), 0.0);
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let mut rates = Rates::default();
        rates.estimate(std::iter::empty(), [(RealId(1), counted(0, 0))].into_iter(), std::iter::empty());
        rates.estimate(std::iter::empty(), std::iter::empty(), std::iter::empty());
        assert!(rates.servers.is_empty());
    }
}
