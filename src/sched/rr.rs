//! `rr`, round robin: each server in turn, whatever its weight; those of weight 0 are left out.

use super::Scheduler;
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
        let eligible = |(i, real): (usize, &RealServer)| real.is_eligible().then_some(i as u32);
        Rr { turn: reals.iter().enumerate().filter_map(eligible).collect(), next: AtomicU32::new(0) }
    }
}

impl Scheduler for Rr {
    fn pick(&self, _reals: &[RealServer]) -> Option<usize> {
        let last = (self.turn.len() as u32).checked_sub(1)?;
        let step = |at| Some(if at >= last { 0 } else { at + 1 });
        let at = self.next.fetch_update(Relaxed, Relaxed, step).unwrap_or_else(|at| at);
        self.turn.get(at as usize).map(|&i| i as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{picks, servers};
    use super::*;

    #[test]
    fn servers_take_turns_whatever_their_weights_and_a_quiesced_one_is_left_out() {
        let reals = servers(&[1, 0, 9, 2]);
        assert_eq!(picks(&Rr::new(&reals), &reals, 7), "ACDACDA");
    }
}
