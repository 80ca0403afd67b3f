//! How long connections may be silent, as the operator says it.

use super::State;
use std::time::Duration;

/// A duration for each state that something was said of: whole seconds, 1 second to 136 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Timeouts {
    /// 0: nothing was said.
    seconds: [u32; State::ALL.len()],
}

impl Timeouts {
    /// IPVS's defaults, for every state.
    pub const IPVS: Timeouts = {
        let mut seconds = [0; State::ALL.len()];
        let mut i = 0;
        while i < seconds.len() {
            seconds[i] = State::ALL[i].default_seconds();
            i += 1;
        }
        Timeouts { seconds }
    };

    /// Says how long a connection in `state` is remembered: rounded up to a whole second, at least one.
    pub fn set(&mut self, state: State, silence: Duration) {
        let seconds = silence.as_secs().saturating_add((silence.subsec_nanos() > 0).into());
        self.seconds[state as usize] = u32::try_from(seconds.max(1)).unwrap_or(u32::MAX);
    }

    /// How long a connection in `state` is remembered, if that was said.
    pub fn get(&self, state: State) -> Option<Duration> {
        let seconds = self.seconds[state as usize];
        (seconds > 0).then(|| Duration::from_secs(seconds.into()))
    }

    /// The same, with what was not said taken from `others`.
    pub fn or(&self, others: &Timeouts) -> Timeouts {
        let either = |i: usize| if self.seconds[i] > 0 { self.seconds[i] } else { others.seconds[i] };
        Timeouts { seconds: std::array::from_fn(either) }
    }

    /// Whether nothing was said at all.
    pub fn is_empty(&self) -> bool {
        self.seconds.iter().all(|&seconds| seconds == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_ipvs() {
        let seconds = State::ALL.map(|state| Timeouts::IPVS.get(state).unwrap().as_secs());
        assert_eq!(seconds[..12], [2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 120, 300]);
        assert_eq!(seconds[12..], [2, 4, 61, 61, 61, 61, 61, 61, 900, 61, 61, 61, 4, 61]);
    }

    #[test]
    fn what_was_not_said_is_as_with_the_others_and_no_silence_is_too_short_or_too_long() {
        let mut own = Timeouts::default();
        assert!(own.is_empty() && own.get(State::Udp).is_none());
        own.set(State::Udp, Duration::from_millis(1200));
        own.set(State::Close, Duration::ZERO);
        own.set(State::None, Duration::MAX);
        let both = own.or(&Timeouts::IPVS);
        let seconds = [State::Udp, State::Close, State::None, State::Established];
        let seconds = seconds.map(|state| both.get(state).unwrap().as_secs());
        assert_eq!(seconds, [2, 1, u64::from(u32::MAX), 900]);
        assert!(!own.is_empty());
    }
}
