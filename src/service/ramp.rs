//! Slow start: a server that comes new, or back, gets its share of the new connections little by little.

use crate::net::Tick;
use std::time::Duration;

/// How a share rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Curve {
    /// By as much in each second.
    #[default]
    Linear,
    /// From a 64th on, it doubles in each sixth of the time.
    Exponential,
}

/// What the operator chose for servers that come (`slow_start`, `slow_start_curve`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SlowStart {
    /// How long it takes until a server has its whole share.
    pub lasts: Duration,
    /// How the share rises meanwhile.
    pub curve: Curve,
}

/// A server's way up to its share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ramp {
    /// 0 for one that stays where it begins.
    lasts: u32,
    curve: Curve,
    since: Tick,
}

impl Ramp {
    /// A whole share.
    pub const WHOLE: u32 = 1 << 16;

    /// The ramp of a server that comes now.
    pub fn new(slow_start: SlowStart, now: Tick) -> Ramp {
        Ramp { lasts: Tick::span(slow_start.lasts).max(1), curve: slow_start.curve, since: now }
    }

    /// That of a server that is to get next to nothing until somebody gives it another, or none.
    pub fn held(now: Tick) -> Ramp {
        Ramp { lasts: 0, curve: Curve::Linear, since: now }
    }

    /// For how many ticks the server has been held; `None` if it is not.
    pub fn held_for(&self, now: Tick) -> Option<u32> {
        (self.lasts == 0).then(|| now.since(self.since))
    }

    /// How much of its share the server has by now: 1 to [`Ramp::WHOLE`].
    pub fn share(&self, now: Tick) -> u32 {
        if self.lasts == 0 {
            return 1;
        }
        if self.is_over(now) {
            return Ramp::WHOLE;
        }
        let whole = u64::from(Ramp::WHOLE);
        let part = |of: u64| u64::from(now.since(self.since)) * of / u64::from(self.lasts);
        let share = match self.curve {
            Curve::Linear => part(whole),
            // Straight between one power of two and the next.
            Curve::Exponential => {
                let doubled = part(DOUBLINGS * whole);
                (whole + doubled % whole) << (doubled / whole) >> DOUBLINGS
            }
        };
        share.max(1) as u32
    }

    /// Whether the server has its whole share.
    pub fn is_over(&self, now: Tick) -> bool {
        self.lasts > 0 && self.left(now) == 0
    }

    /// How many ticks it lasts yet.
    pub fn left(&self, now: Tick) -> u32 {
        self.lasts.saturating_sub(now.since(self.since))
    }

    /// The later of the two, if they began so shortly after each other that the servers may be taken together.
    pub fn together(self, other: Ramp) -> Option<Ramp> {
        let ahead = other.since.since(self.since);
        let later = if ahead > 0 { other } else { self };
        let same_way = (self.lasts, self.curve) == (other.lasts, other.curve);
        let near = ahead.max(self.since.since(other.since)) <= self.lasts / 64;
        (same_way && near).then_some(later)
    }
}

/// From a 64th to the whole.
const DOUBLINGS: u64 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    const START: Tick = Tick(u32::MAX - 500);

    fn ramp(curve: Curve) -> Ramp {
        Ramp::new(SlowStart { lasts: Duration::from_secs(30), curve }, START)
    }

    /// The share so many ticks after the start, in percent.
    fn percent(curve: Curve, ticks: u32) -> f64 {
        let share = ramp(curve).share(Tick(START.0.wrapping_add(ticks)));
        f64::from(share) * 100.0 / f64::from(Ramp::WHOLE)
    }

    #[test]
    fn a_linear_share_rises_by_as_much_in_each_second() {
        for (ticks, due) in [(0, 0.0), (300, 10.0), (1500, 50.0), (2700, 90.0), (3000, 100.0), (9000, 100.0)]
        {
            assert!((percent(Curve::Linear, ticks) - due).abs() < 0.01, "{ticks}");
        }
    }

    #[test]
    fn an_exponential_share_doubles_in_each_sixth_of_the_time() {
        for sixth in 0..=6 {
            let due = 100.0 / f64::from(1 << (6 - sixth));
            assert!((percent(Curve::Exponential, sixth * 500) - due).abs() < 0.01, "{sixth}");
        }
    }

    #[test]
    fn a_share_never_falls_is_never_nothing_and_is_whole_at_the_end_and_after_it() {
        for curve in [Curve::Linear, Curve::Exponential] {
            let ramp = ramp(curve);
            let shares: Vec<u32> =
                (0..3100).map(|ticks| ramp.share(Tick(START.0.wrapping_add(ticks)))).collect();
            assert!(shares.is_sorted() && shares[0] > 0 && shares[2999] < Ramp::WHOLE);
            assert!(shares[3000..].iter().all(|&share| share == Ramp::WHOLE));
            assert!(ramp.share(Tick(START.0 - 5)) <= Ramp::WHOLE / 64, "a worker may be a moment behind");
        }
    }

    #[test]
    fn one_that_is_held_stays_where_it_is() {
        let ramp = Ramp::held(START);
        for ticks in [0, 1, 100, 1 << 30] {
            let now = Tick(START.0.wrapping_add(ticks));
            assert_eq!((ramp.share(now), ramp.held_for(now), ramp.is_over(now)), (1, Some(ticks), false));
        }
        assert_eq!(self::ramp(Curve::Linear).held_for(START), None);
    }

    #[test]
    fn those_that_begin_within_a_64th_of_the_ramp_are_taken_together() {
        let later = |ticks| Ramp { since: Tick(START.0.wrapping_add(ticks)), ..ramp(Curve::Linear) };
        let (first, near, far) = (later(0), later(46), later(47));
        assert_eq!((first.together(near), near.together(first)), (Some(near), Some(near)));
        assert_eq!((first.together(far), far.together(first)), (None, None));
        assert_eq!(first.together(ramp(Curve::Exponential)), None);
    }
}
