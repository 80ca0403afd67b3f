//! What workers do with their time, and how long servers take to answer.

use crate::dataplane::counters::{self, Counters, Turn};
use serde::{Deserialize, Serialize};

/// A worker: one core, and one queue of every interface.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct Worker {
    /// The share of its time that packets took lately, 0 to 1.
    pub load: f64,
    /// Seconds that packets have taken.
    pub busy_seconds: f64,
    /// Seconds of looking for packets in vain.
    pub polling_seconds: f64,
    /// Seconds of sleep.
    pub sleeping_seconds: f64,
    /// Packets received.
    pub packets: u64,
    /// How many came at once: batches of 1 packet, of up to 2, 4, 8, 16, 32 and 64, and of more (none).
    pub batches: Vec<u64>,
}

impl Worker {
    /// What it has counted; `load` is known from elsewhere.
    pub fn of(counters: &Counters, load: f64) -> Worker {
        let work = &counters.work;
        let [busy_seconds, polling_seconds, sleeping_seconds] =
            Turn::ALL.map(|turn| work.time(turn).as_secs_f64());
        let batches = work.batches();
        Worker {
            load,
            busy_seconds,
            polling_seconds,
            sleeping_seconds,
            packets: batches.sum,
            batches: batches.buckets.to_vec(),
        }
    }
}

/// How long a server took to answer: from a client's first SYN to the server's SYN-ACK, or, where that passes elsewhere
/// (DR, TUN), to the client's ACK of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct Latency {
    /// Connections that were answered.
    pub count: u64,
    /// Seconds, all of them together.
    pub sum_seconds: f64,
    /// Half of them were answered within this.
    pub p50_seconds: f64,
    /// 99 of 100 were.
    pub p99_seconds: f64,
    /// How many were answered within 16 µs, how many more within 32 µs, and so on, twice as long each time, up to 16.8 s;
    /// the last is how many took longer.
    pub buckets: Vec<u64>,
}

impl Latency {
    /// What came since `earlier`.
    pub fn since(&self, earlier: &Latency) -> Latency {
        counted(self).since(&counted(earlier)).into()
    }
}

fn counted(latency: &Latency) -> counters::Latency {
    let mut counted =
        counters::Latency { sum: (latency.sum_seconds * 1e6).round() as u64, ..Default::default() };
    counted.buckets.iter_mut().zip(&latency.buckets).for_each(|(bucket, &count)| *bucket = count);
    counted
}

impl From<counters::Latency> for Latency {
    fn from(counted: counters::Latency) -> Latency {
        let seconds = |micros: f64| micros / 1e6;
        Latency {
            count: counted.count(),
            sum_seconds: seconds(counted.sum as f64),
            p50_seconds: seconds(counted.quantile(0.5)),
            p99_seconds: seconds(counted.quantile(0.99)),
            buckets: counted.buckets.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::RealId;

    #[test]
    fn what_came_between_two_reports_has_quantiles_of_its_own() {
        let counters = Counters::default();
        let latency = || Latency::from(counters.latency(RealId(3)));
        (0..100).for_each(|_| counters.count_latency(RealId(3), 1000));
        let before = latency();
        assert!((512e-6..=1024e-6).contains(&before.p50_seconds), "{before:?}");
        (0..100).for_each(|_| counters.count_latency(RealId(3), 60_000));
        let (all, since) = (latency(), latency().since(&before));
        assert_eq!((all.count, since.count, since.sum_seconds), (200, 100, 6.0));
        assert!(all.p50_seconds < 0.002 && since.p50_seconds > 0.032, "{all:?} {since:?}");
        assert_eq!(latency().since(&all), Latency { buckets: vec![0; 22], ..Latency::default() });
    }
}
