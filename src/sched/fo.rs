//! `fo`, failover: the heaviest server; when it is overloaded, the next heaviest. Of equals, the first.

use super::Scheduler;
use crate::net::{FlowKey, Tick};
use crate::service::RealServer;
use std::cmp::Reverse;

/// The places of the servers that have a weight, the heaviest first, equals in their order.
#[derive(Debug)]
pub struct Fo(Vec<u32>);

impl Fo {
    /// For these servers.
    pub fn new(reals: &[RealServer]) -> Fo {
        let weighs = |(i, real): (u32, &RealServer)| (real.weight > 0).then_some(i);
        let mut places: Vec<u32> = (0..).zip(reals).filter_map(weighs).collect();
        places.sort_by_key(|&i| Reverse(reals[i as usize].weight));
        Fo(places)
    }
}

impl Scheduler for Fo {
    fn pick(&self, reals: &[RealServer], _key: &FlowKey, _now: Tick) -> Option<usize> {
        self.0.iter().map(|&i| i as usize).find(|&i| reals[i].is_available())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{overload, picks, servers};
    use super::*;

    #[test]
    fn the_heaviest_takes_all_until_it_is_overloaded() {
        let reals = servers(&[1, 5, 9, 5, 0]);
        let fo = Fo::new(&reals);
        let mut order = String::new();
        for heaviest in [2, 1, 3, 0] {
            order += &picks(&fo, &reals, 2);
            overload(&reals[heaviest]);
        }
        assert_eq!((order.as_str(), picks(&fo, &reals, 1).as_str()), ("CCBBDDAA", "-"));
    }
}
