//! Rates as IPVS estimates them: every two seconds, `avg += (rate - avg) / 4`, in fixed point, so that
//! `ipvsadm -L --rate` shows what it would show there. Kept by the control thread; packets only count.

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

/// The estimates of all services and servers.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    services: HashMap<Key, Estimate>,
    servers: HashMap<RealId, Estimate>,
}

impl Rates {
    /// Takes up what all have counted by now; to be called once in [`PERIOD`]. Who is not named any more is forgotten.
    pub fn estimate(
        &mut self,
        services: impl Iterator<Item = (Key, Traffic)>,
        servers: impl Iterator<Item = (RealId, Traffic)>,
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
    }

    /// A service's rates.
    pub fn of_service(&self, key: Key) -> Rate {
        self.services.get(&key).map_or_else(Rate::default, Estimate::rate)
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
            rates.estimate(std::iter::empty(), [(RealId(1), *count)].into_iter());
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
    fn who_is_gone_is_forgotten() {
        let mut rates = Rates::default();
        rates.estimate(std::iter::empty(), [(RealId(1), counted(0, 0))].into_iter());
        rates.estimate(std::iter::empty(), std::iter::empty());
        assert!(rates.servers.is_empty());
    }
}
