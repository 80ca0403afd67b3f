//! What a packet moves on, and how many ticks of silence that allows.

use crate::net::Tick;
use crate::service::{State, Timeouts};

/// A state, and whether only the client's packets were seen so far (IPVS: `NOOUTPUT`): what a packet moves on.
///
/// ```text
/// state 5 bits | input only 1 bit
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Phase(pub(super) u8);

impl Phase {
    /// What a phase may have set.
    pub(super) const BITS: u8 = 63;

    pub(super) const fn new(state: State, input_only: bool) -> Phase {
        Phase(state as u8 | (input_only as u8) << 5)
    }

    #[inline]
    pub(super) const fn state(self) -> State {
        State::from_number(self.0)
    }

    pub(super) const fn is_input_only(self) -> bool {
        self.0 >> 5 & 1 == 1
    }
}

/// How many ticks of silence each phase allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticks([u32; 64]);

impl Ticks {
    /// Compiles what was said of every state; a state of which nothing was said is as with IPVS.
    pub(super) fn new(timeouts: &Timeouts) -> Ticks {
        let timeouts = timeouts.or(&Timeouts::IPVS);
        // By phase: the same whether replies were seen or not. A phase of no state's number never is.
        let of = |phase: usize| {
            let state = State::from_number(phase as u8);
            timeouts.get(state).map_or(0, Tick::span)
        };
        Ticks(std::array::from_fn(of))
    }

    /// The shorter of both, phase by phase.
    pub(super) fn least(&self, other: &Ticks) -> Ticks {
        Ticks(std::array::from_fn(|phase| self.0[phase].min(other.0[phase])))
    }

    /// Ticks of silence after which a connection is forgotten.
    #[inline]
    pub(super) const fn of_phase(&self, phase: Phase) -> u32 {
        self.0[(phase.0 & Phase::BITS) as usize]
    }
}
