//! Ids of real servers: who has one, and from where its counts are counted.

use crate::control::report::Traffic;
use crate::dataplane::counters::{Counters, Latency};
use crate::service::{Live, RealId};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// What a server has counted, or several.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counted {
    /// Packets and bytes.
    pub traffic: Traffic,
    /// How long answers took.
    pub latency: Latency,
}

impl Counted {
    pub(super) fn plus(&self, other: &Counted) -> Counted {
        Counted { traffic: self.traffic.plus(other.traffic), latency: self.latency.plus(&other.latency) }
    }
}

/// What the counters of an id stood at when its server got it, or was counted from zero again.
#[derive(Debug, Clone, Default)]
pub struct Baselines {
    traffic: Arc<HashMap<RealId, Traffic>>,
    /// Of those who had any.
    latency: Arc<HashMap<RealId, Latency>>,
}

impl Baselines {
    /// What an id's present server has counted since, all workers together.
    pub fn since(&self, id: RealId, counters: &[Arc<Counters>]) -> Traffic {
        Traffic::of(id, counters).since(self.of(id))
    }

    /// How long an id's present server has taken to answer since; `None` if it never did.
    pub fn latency_since(&self, id: RealId, counters: &[Arc<Counters>]) -> Option<Latency> {
        let all = latency(id, counters);
        let since = self.latency.get(&id).map_or(all, |before| all.since(before));
        (since.count() > 0).then_some(since)
    }

    pub(super) fn of(&self, id: RealId) -> Traffic {
        self.traffic.get(&id).copied().unwrap_or_default()
    }

    /// Counts an id from here on.
    fn begin(&mut self, id: RealId, counters: &[Arc<Counters>]) {
        Arc::make_mut(&mut self.traffic).insert(id, Traffic::of(id, counters));
        let before = latency(id, counters);
        if before.count() > 0 {
            Arc::make_mut(&mut self.latency).insert(id, before);
        }
    }
}

/// How long an id's servers have taken to answer, all workers together.
fn latency(id: RealId, counters: &[Arc<Counters>]) -> Latency {
    counters.iter().fold(Latency::default(), |sum, counters| sum.plus(&counters.latency(id)))
}

/// Ids never used, and those given back, the longest ago first.
#[derive(Debug)]
pub(super) struct Ids {
    pub(super) unused: u32,
    free: VecDeque<RealId>,
    pub(super) baselines: Baselines,
    counters: Vec<Arc<Counters>>,
}

impl Ids {
    pub(super) fn new(counters: Vec<Arc<Counters>>) -> Ids {
        Ids { unused: 0, free: VecDeque::new(), baselines: Baselines::default(), counters }
    }

    pub(super) fn available(&self) -> usize {
        RealId::LIMIT - self.unused as usize + self.free.len()
    }

    /// An id with fresh live counts; there must be one available.
    pub(super) fn take(&mut self) -> (RealId, Arc<Live>) {
        let id = if (self.unused as usize) < RealId::LIMIT {
            self.unused += 1;
            RealId(self.unused - 1)
        } else {
            let id = self.free.pop_front().expect("the caller has seen that an id is available");
            self.baselines.begin(id, &self.counters);
            id
        };
        (id, Arc::default())
    }

    /// How many connections an id's servers were given, ever.
    pub(super) fn given(&self, id: RealId) -> u64 {
        Traffic::of(id, &self.counters).connections
    }

    /// What an id's present server has counted.
    pub(super) fn counted(&self, id: RealId) -> Counted {
        Counted {
            traffic: self.baselines.since(id, &self.counters),
            latency: self.baselines.latency_since(id, &self.counters).unwrap_or_default(),
        }
    }

    /// Counts an id's traffic from 0.
    pub(super) fn zero(&mut self, id: RealId) {
        self.baselines.begin(id, &self.counters);
    }

    pub(super) fn give(&mut self, id: RealId) {
        self.free.push_back(id);
    }
}
