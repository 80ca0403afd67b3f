//! `rr`, round robin: each server in turn, whatever its weight; those of weight 0 are left out, overloaded ones passed
//! over.

use super::Scheduler;
use crate::net::{FlowKey, Tick};
use crate::service::RealServer;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The servers in turn.
#[derive(Debug)]
pub struct Rr {
    turn: Vec<u32>,
    next: AtomicU32,
}

impl Rr {
    /// Starts with the first server.
    pub fn new(reals: &[RealServer]) -> Rr {
        let takes_any = |(i, real): (usize, &RealServer)| (real.weight > 0).then_some(i as u32);
        Rr { turn: reals.iter().enumerate().filter_map(takes_any).collect(), next: AtomicU32::new(0) }
    }
}

impl Scheduler for Rr {
    fn pick(&self, reals: &[RealServer], _key: &FlowKey, _now: Tick) -> Option<usize> {
        let last = (self.turn.len() as u32).checked_sub(1)?;
        let step = |at| Some(if at >= last { 0 } else { at + 1 });
        let next = || {
            let at = self.next.fetch_update(Relaxed, Relaxed, step).unwrap_or_else(|at| at);
            self.turn.get(at as usize).map(|&i| i as usize)
        };
        (0..=last).filter_map(|_| next()).find(|&i| reals[i].is_available())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{overload, picks, servers};
    use super::*;

    #[test]
    fn servers_take_turns_whatever_their_weights_and_a_quiesced_one_is_left_out() {
        let reals = servers(&[1, 0, 9, 2]);
        assert_eq!(picks(&Rr::new(&reals), &reals, 7), "ACDACDA");
    }

    #[test]
    fn an_overloaded_server_is_passed_over() {
        let reals = servers(&[1, 1, 1]);
        let rr = Rr::new(&reals);
        overload(&reals[1]);
        assert_eq!(picks(&rr, &reals, 5), "ACACA");
    }
}
