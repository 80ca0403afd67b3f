//! What a connection is doing, and how long it may go on doing so in silence.

use crate::net::Tick;
use crate::service::Standing;
use std::time::Duration;

/// A connection's state: IPVS's eleven of TCP in its order, and the one of UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Just made.
    None = 0,
    /// Both ends talk.
    Established = 1,
    /// The server opened.
    SynSent = 2,
    /// The client's SYN was seen.
    SynRecv = 3,
    /// The server (or in DR and TUN: the client) has closed its direction.
    FinWait = 4,
    /// Both have closed.
    TimeWait = 5,
    /// Reset, or closed for good.
    Close = 6,
    /// The client has closed its direction.
    CloseWait = 7,
    /// Waiting for the last acknowledgement.
    LastAck = 8,
    /// Listening.
    Listen = 9,
    /// Answered a SYN (secure TCP).
    SynAck = 10,
    /// UDP has no states.
    Udp = 11,
}

impl State {
    /// Every state, in the order of the discriminants.
    pub const ALL: [State; 12] = [
        State::None,
        State::Established,
        State::SynSent,
        State::SynRecv,
        State::FinWait,
        State::TimeWait,
        State::Close,
        State::CloseWait,
        State::LastAck,
        State::Listen,
        State::SynAck,
        State::Udp,
    ];

    /// The state of a number between 0 and 11; others are taken for CLOSE.
    #[inline]
    pub(super) const fn from_number(number: u8) -> State {
        const BY_NUMBER: [State; 32] = {
            let mut by_number = [State::Close; 32];
            let mut i = 0;
            while i < State::ALL.len() {
                by_number[i] = State::ALL[i];
                i += 1;
            }
            by_number
        };
        BY_NUMBER[(number & 31) as usize]
    }

    /// The name as `ipvsadm -Lc` prints it.
    pub const fn name(self) -> &'static str {
        match self {
            State::None => "NONE",
            State::Established => "ESTABLISHED",
            State::SynSent => "SYN_SENT",
            State::SynRecv => "SYN_RECV",
            State::FinWait => "FIN_WAIT",
            State::TimeWait => "TIME_WAIT",
            State::Close => "CLOSE",
            State::CloseWait => "CLOSE_WAIT",
            State::LastAck => "LAST_ACK",
            State::Listen => "LISTEN",
            State::SynAck => "SYNACK",
            State::Udp => "UDP",
        }
    }

    /// How it counts for the schedulers.
    #[inline]
    pub const fn standing(self) -> Standing {
        match self {
            State::Established | State::SynSent | State::SynRecv | State::SynAck => Standing::Active,
            _ => Standing::Inactive,
        }
    }
}

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

/// How many ticks of silence each state allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts([u32; 64]);

impl Timeouts {
    /// IPVS's defaults, but for the three that `ipvsadm --set tcp tcpfin udp` sets.
    pub fn new(tcp: Duration, tcp_fin: Duration, udp: Duration) -> Timeouts {
        let mut ticks = [0; 64];
        for state in State::ALL {
            ticks[state as usize] = Tick::PER_SECOND
                * match state {
                    State::None => 2,
                    State::Established => 900,
                    State::SynSent | State::FinWait | State::TimeWait | State::Listen | State::SynAck => 120,
                    State::SynRecv | State::CloseWait => 60,
                    State::Close => 10,
                    State::LastAck => 30,
                    State::Udp => 300,
                };
        }
        ticks[State::Established as usize] = Tick::span(tcp);
        ticks[State::FinWait as usize] = Tick::span(tcp_fin);
        ticks[State::Udp as usize] = Tick::span(udp);
        // By phase: the same whether replies were seen or not.
        ticks.copy_within(..32, 32);
        Timeouts(ticks)
    }

    /// Ticks of silence after which a connection in `state` is forgotten.
    #[inline]
    pub const fn of(&self, state: State) -> u32 {
        self.of_phase(Phase::new(state, false))
    }

    /// The same by phase.
    #[inline]
    pub(super) const fn of_phase(&self, phase: Phase) -> u32 {
        self.0[(phase.0 & Phase::BITS) as usize]
    }
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        let seconds = Duration::from_secs;
        Timeouts::new(seconds(900), seconds(120), seconds(300))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_states_are_their_places() {
        assert!(
            State::ALL.iter().enumerate().all(|(i, &s)| s as usize == i && State::from_number(i as u8) == s)
        );
    }

    #[test]
    fn the_default_timeouts_are_those_of_ipvs() {
        let seconds = State::ALL.map(|s| Timeouts::default().of(s) / Tick::PER_SECOND);
        assert_eq!(seconds, [2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 120, 300]);
    }

    #[test]
    fn only_opening_and_open_tcp_connections_are_active() {
        let active = State::ALL.into_iter().filter(|s| s.standing() == Standing::Active).collect::<Vec<_>>();
        assert_eq!(active, [State::Established, State::SynSent, State::SynRecv, State::SynAck]);
    }
}
