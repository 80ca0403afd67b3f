//! How long each server takes to answer, in microseconds.

use super::{Distribution, Histogram};
use crate::service::RealId;
use std::sync::OnceLock;

/// From 16 µs to 16.8 s, and beyond.
const LEAST: u32 = 4;
const BUCKETS: usize = 22;

/// How long a server took to answer, in microseconds.
pub type Latency = Distribution<LEAST, BUCKETS>;

/// Servers whose histograms are made together.
const GROUP: usize = 16;

type Group = [Histogram<LEAST, BUCKETS>; GROUP];

/// A worker's histograms, made when the first server of a few has answered: 3 kB for sixteen.
#[derive(Debug)]
pub(super) struct Latencies(Box<[OnceLock<Box<Group>>]>);

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies((0..RealId::LIMIT.div_ceil(GROUP)).map(|_| OnceLock::new()).collect())
    }
}

impl Latencies {
    pub(super) fn count(&self, real: RealId, micros: u32) {
        if let Some(group) = self.0.get(real.index() / GROUP) {
            group.get_or_init(Box::default)[real.index() % GROUP].count(micros);
        }
    }

    pub(super) fn get(&self, real: RealId) -> Latency {
        let group = self.0.get(real.index() / GROUP).and_then(OnceLock::get);
        group.map_or_else(Latency::default, |group| group[real.index() % GROUP].get())
    }
}
