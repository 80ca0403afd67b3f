//! How often something may be done: so many times at once, and once more each time that a while has passed. Pure.

use std::time::{Duration, Instant};

/// What is left of it.
#[derive(Debug)]
pub struct Allowance {
    at_once: u32,
    every: Duration,
    left: u32,
    since: Instant,
}

impl Allowance {
    /// All of it is there. `every` is not zero.
    pub fn new(at_once: u32, every: Duration, now: Instant) -> Allowance {
        Allowance { at_once, every, left: at_once, since: now }
    }

    /// Whether it may be done now; if so, it counts as done.
    pub fn take(&mut self, now: Instant) -> bool {
        let come = now.saturating_duration_since(self.since).as_nanos() / self.every.as_nanos().max(1);
        if come >= u128::from(self.at_once - self.left) {
            (self.left, self.since) = (self.at_once, now);
        } else {
            // Fewer than there are at once. What is left of a while is not lost.
            self.left += come as u32;
            self.since += self.every * come as u32;
        }
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_come_at_once_and_one_more_each_tenth_of_a_second() {
        let begun = Instant::now();
        let at = |millis: u64| begun + Duration::from_millis(millis);
        let mut allowance = Allowance::new(100, Duration::from_millis(100), begun);
        let mut taken = |millis, tries| (0..tries).filter(|_| allowance.take(at(millis))).count();
        assert_eq!(taken(0, 1000), 100);
        assert_eq!([taken(99, 10), taken(100, 10), taken(150, 10), taken(250, 10)], [0, 1, 0, 1]);
        assert_eq!(taken(1_250, 1000), 10, "what is left of a tenth is not lost");
        assert_eq!(taken(1_000_000, 1000), 100, "and no more after a long silence");
    }
}
