//! Moments: in steps of 10 ms for whatever lasts, to the microsecond for what is measured.

use std::time::Duration;

/// A moment, in steps of 10 ms since the director's start (or since the first packet of a replay).
/// Wraps after 497 days; two ticks compare rightly while they are less than half of that apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tick(pub u32);

impl Tick {
    /// Ticks in a second.
    pub const PER_SECOND: u32 = 100;

    /// The tick that lies `since_start` after tick 0.
    #[inline]
    pub const fn from_duration(since_start: Duration) -> Tick {
        Tick((since_start.as_millis() / 10) as u32)
    }

    /// How many ticks a span lasts, rounded up and at most half the range.
    pub const fn span(span: Duration) -> u32 {
        let ticks = span.as_millis().div_ceil(10);
        if ticks > (u32::MAX / 2) as u128 { u32::MAX / 2 } else { ticks as u32 }
    }

    /// Whether more than `span` ticks, at most half the range, have gone by since `earlier`.
    #[inline]
    pub const fn is_beyond(self, earlier: Tick, span: u32) -> bool {
        self.0.wrapping_sub(earlier.0) as i32 > span as i32
    }

    /// Ticks from `earlier` to `self`; 0 if `earlier` is later.
    #[inline]
    pub const fn since(self, earlier: Tick) -> u32 {
        let gone = self.0.wrapping_sub(earlier.0);
        if gone > u32::MAX / 2 { 0 } else { gone }
    }
}

/// A moment to the microsecond: a tick, and how far into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    tick: Tick,
    micros: u16,
}

impl Moment {
    /// Microseconds in a tick.
    pub const PER_TICK: u16 = 10_000;

    /// So many microseconds, fewer than [`Moment::PER_TICK`], into a tick.
    #[inline]
    pub const fn new(tick: Tick, micros: u16) -> Moment {
        Moment { tick, micros }
    }

    /// The moment that lies `since_start` after the beginning of tick 0.
    #[inline]
    pub const fn from_duration(since_start: Duration) -> Moment {
        // A second is a whole number of ticks.
        let micros = since_start.subsec_micros() % Moment::PER_TICK as u32;
        Moment { tick: Tick::from_duration(since_start), micros: micros as u16 }
    }

    /// The tick that it is in.
    #[inline]
    pub const fn tick(self) -> Tick {
        self.tick
    }

    /// Microseconds since the tick began.
    #[inline]
    pub const fn micros(self) -> u16 {
        self.micros
    }

    /// Microseconds from `earlier` to `self`, at most those that a number holds (71 minutes); 0 if `earlier` is later.
    pub fn micros_since(self, earlier: Moment) -> u32 {
        let ticks = self.tick.0.wrapping_sub(earlier.tick.0) as i32;
        let micros = i64::from(ticks) * i64::from(Moment::PER_TICK) + i64::from(self.micros)
            - i64::from(earlier.micros);
        micros.clamp(0, i64::from(u32::MAX)) as u32
    }
}

impl From<Tick> for Moment {
    /// The beginning of the tick.
    #[inline]
    fn from(tick: Tick) -> Moment {
        Moment::new(tick, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_tick_is_later_across_the_wrap() {
        assert_eq!(Tick(5).since(Tick(u32::MAX - 4)), 10);
        assert_eq!(Tick(3).since(Tick(5)), 0);
        assert!(Tick(5).is_beyond(Tick(u32::MAX - 4), 9) && !Tick(5).is_beyond(Tick(u32::MAX - 4), 10));
        assert!(!Tick(3).is_beyond(Tick(5), 0));
    }

    #[test]
    fn moments_are_apart_by_microseconds_across_ticks_and_the_wrap() {
        let at = |micros| Moment::from_duration(Duration::from_micros(micros));
        assert_eq!((at(1_234_567).tick(), at(1_234_567).micros()), (Tick(123), 4567));
        assert_eq!(at(1_234_567).micros_since(at(1_229_999)), 4568);
        assert_eq!(at(5).micros_since(at(6)), 0);
        assert_eq!(at(20_000).micros_since(at(29_999)), 0);
        assert_eq!(at(19_999).micros_since(at(20_000)), 0, "the other has the later tick");
        assert_eq!(Moment::new(Tick(1), 5).micros_since(Moment::new(Tick(u32::MAX), 9_999)), 10_006);
        assert_eq!(at(10_000_000_000).micros_since(at(0)), u32::MAX);
        assert_eq!(Moment::from(Tick(7)), at(70_000));
    }
}
