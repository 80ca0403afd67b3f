//! When a connection is over: how long it may be silent, service by service.

use super::state::{Phase, Ticks};
use crate::net::Tick;
use crate::service::{Conduct, RealId, Reuse, State, Timeouts};
use std::sync::Arc;

/// How long silence may last. Most packets need [`Expiry::least`] alone: who was silent for no longer than any service
/// allows need not ask what the own one does.
#[derive(Debug, Clone)]
pub struct Expiry {
    /// The shortest of all, phase by phase.
    pub(super) least: Ticks,
    /// Of services that say nothing of their own.
    usual: Ticks,
    /// Of those that do, by [`RealId`]; empty if there are none.
    own: Vec<Option<Arc<Ticks>>>,
    /// When a client's port opens a new connection.
    pub(super) reuse: Reuse,
}

impl Expiry {
    /// As for all services, but for servers in `own`, whose services say something else of timeouts; where those say
    /// nothing, the same as for all, and where that says nothing, IPVS's defaults.
    pub fn new(conduct: &Conduct, own: impl IntoIterator<Item = (RealId, Timeouts)>) -> Expiry {
        let usual = Ticks::new(&conduct.timeouts);
        let mut expiry = Expiry { least: usual, usual, own: Vec::new(), reuse: conduct.reuse };
        // The servers of a service stand together, and share.
        let mut last: Option<(Timeouts, Arc<Ticks>)> = None;
        for (real, timeouts) in own.into_iter().filter(|(_, timeouts)| !timeouts.is_empty()) {
            let (_, ticks) = match last.take().filter(|(same, _)| *same == timeouts) {
                Some(shared) => last.insert(shared),
                None => {
                    let ticks = Ticks::new(&timeouts.or(&conduct.timeouts));
                    expiry.least = expiry.least.least(&ticks);
                    last.insert((timeouts, Arc::new(ticks)))
                }
            };
            if expiry.own.len() <= real.index() {
                expiry.own.resize(real.index() + 1, None);
            }
            expiry.own[real.index()] = Some(ticks.clone());
        }
        expiry
    }

    /// Ticks of silence after which a connection to `real` in `state` is forgotten.
    pub fn of(&self, real: RealId, state: State) -> u32 {
        self.of_phase(real, Phase::new(state, false))
    }

    /// The same by phase.
    #[inline]
    pub(super) fn of_phase(&self, real: RealId, phase: Phase) -> u32 {
        match self.own.get(real.index()) {
            Some(Some(own)) => own.of_phase(phase),
            _ => self.usual.of_phase(phase),
        }
    }

    /// Whether a connection to `real` that was seen last at `seen` is over by `now`.
    #[inline]
    pub(super) fn is_silent(&self, real: RealId, phase: Phase, seen: Tick, now: Tick) -> bool {
        now.is_beyond(seen, self.least.of_phase(phase)) && now.is_beyond(seen, self.of_phase(real, phase))
    }
}

impl Default for Expiry {
    /// IPVS's defaults for all.
    fn default() -> Expiry {
        Expiry::new(&Conduct::default(), [])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn timeouts(said: &[(State, u64)]) -> Timeouts {
        let mut timeouts = Timeouts::default();
        said.iter().for_each(|&(state, seconds)| timeouts.set(state, Duration::from_secs(seconds)));
        timeouts
    }

    #[test]
    fn a_service_has_its_own_timeouts_then_the_directors_then_those_of_ipvs() {
        let director = timeouts(&[(State::Udp, 100), (State::TimeWait, 50)]);
        let (short, long) = (timeouts(&[(State::Udp, 10)]), timeouts(&[(State::Udp, 1000)]));
        let own =
            [(RealId(3), short), (RealId(4), short), (RealId(1), long), (RealId(2), Timeouts::default())];
        let expiry = Expiry::new(&Conduct { timeouts: director, ..Conduct::default() }, own);
        let seconds = |real, state| expiry.of(RealId(real), state) / Tick::PER_SECOND;
        assert_eq!(
            [0, 1, 2, 3, 4, 5, 99].map(|real| seconds(real, State::Udp)),
            [100, 1000, 100, 10, 10, 100, 100]
        );
        assert!((0..6).all(|real| seconds(real, State::TimeWait) == 50 && seconds(real, State::Close) == 10));
        assert!(Arc::ptr_eq(expiry.own[3].as_ref().unwrap(), expiry.own[4].as_ref().unwrap()));
        let phase = Phase::new(State::Udp, true);
        assert_eq!(expiry.least.of_phase(phase), 10 * Tick::PER_SECOND);
        let silent =
            |real, after| expiry.is_silent(RealId(real), phase, Tick(7), Tick(7 + after * Tick::PER_SECOND));
        assert!(!silent(3, 10) && silent(3, 11) && !silent(0, 99) && silent(0, 101) && !silent(1, 999));
    }
}
