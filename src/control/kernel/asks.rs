//! When to ask the kernel for a neighbour. Pure: the clock and what is known are arguments.

use crate::net::InterfaceId;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// A neighbour on a link.
pub(super) type Target = (InterfaceId, IpAddr);

/// One neighbour is asked for no more often than this.
const BETWEEN_ASKS: Duration = Duration::from_millis(200);

/// A kept neighbour that is not known to be reachable is asked for this often, so that the kernel probes it and
/// does not collect it as garbage (gc_stale_time is 60 s).
const BETWEEN_REFRESHES: Duration = Duration::from_secs(10);

/// How the kernel stands with a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Reachable, or set by the operator: asking is needless, and would make a permanent entry a passing one.
    Sure,
    /// It is being asked for, or has not been heard of for a while.
    Unsure,
    /// Not there, or failed.
    Unknown,
}

/// Who was asked for when, and who is to be kept known.
#[derive(Debug, Default)]
pub(super) struct Asks {
    asked: HashMap<Target, Instant>,
    kept: HashSet<Target>,
}

impl Asks {
    /// Whether `target` may be asked for now; if so, it counts as asked for.
    pub fn ask(&mut self, target: Target, now: Instant) -> bool {
        let allowed = self.idle(&target, now).is_none_or(|idle| idle >= BETWEEN_ASKS);
        if allowed {
            self.asked.insert(target, now);
        }
        allowed
    }

    /// From now on, keeps these known, and no others.
    pub fn keep(&mut self, targets: impl IntoIterator<Item = Target>) {
        self.kept = targets.into_iter().collect();
    }

    /// Who of the kept is to be asked for now: unknown ones at once, unsure ones when their refresh is due.
    /// They count as asked for. `None` of `standing` means that asking is of no use.
    pub fn due(&mut self, now: Instant, standing: impl Fn(Target) -> Option<Standing>) -> Vec<Target> {
        // Older ones hold nobody back; without this, the map would remember every address ever asked for.
        self.asked.retain(|_, asked| now.saturating_duration_since(*asked) < BETWEEN_REFRESHES);
        let is_due = |target: &Target| {
            let idle = self.idle(target, now);
            match standing(*target) {
                Some(Standing::Unknown) => idle.is_none_or(|idle| idle >= BETWEEN_ASKS),
                Some(Standing::Unsure) => idle.is_none_or(|idle| idle >= BETWEEN_REFRESHES),
                Some(Standing::Sure) | None => false,
            }
        };
        let due: Vec<Target> = self.kept.iter().copied().filter(is_due).collect();
        self.asked.extend(due.iter().map(|&target| (target, now)));
        due
    }

    fn idle(&self, target: &Target, now: Instant) -> Option<Duration> {
        self.asked.get(target).map(|asked| now.saturating_duration_since(*asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(last: u8) -> Target {
        (InterfaceId(0), IpAddr::from([10, 0, 0, last]))
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn one_neighbour_is_asked_for_five_times_a_second_at_most_and_another_beside_it() {
        let (mut asks, start) = (Asks::default(), Instant::now());
        let answers: Vec<bool> =
            [0, 1, 199, 200, 300, 400].map(|at| asks.ask(target(1), start + millis(at))).to_vec();
        assert_eq!(answers, [true, false, false, true, false, true]);
        assert!(asks.ask(target(2), start + millis(400)));
    }

    #[test]
    fn a_kept_neighbour_is_refreshed_every_ten_seconds_while_it_is_unsure() {
        let (mut asks, start) = (Asks::default(), Instant::now());
        asks.keep([target(1)]);
        let mut due = |at, standing| asks.due(start + millis(at), |_| standing).len();
        assert_eq!(due(0, Some(Standing::Unsure)), 1);
        assert_eq!(due(9_999, Some(Standing::Unsure)), 0);
        assert_eq!(due(10_000, Some(Standing::Unsure)), 1);
        assert_eq!(due(60_000, Some(Standing::Sure)), 0);
        assert_eq!(due(60_000, None), 0, "its link is down");
    }

    #[test]
    fn a_kept_neighbour_that_is_lost_is_asked_for_at_once() {
        let (mut asks, start) = (Asks::default(), Instant::now());
        asks.keep([target(1), target(2)]);
        asks.due(start, |_| Some(Standing::Unsure));
        let lost = |t| if t == target(2) { Some(Standing::Unknown) } else { Some(Standing::Unsure) };
        assert_eq!(asks.due(start + millis(1000), lost), [target(2)]);
        assert_eq!(asks.due(start + millis(1100), lost), [], "but not in a storm");
    }

    #[test]
    fn who_is_no_longer_kept_is_no_longer_asked_for() {
        let (mut asks, start) = (Asks::default(), Instant::now());
        asks.keep([target(1)]);
        asks.keep([target(2)]);
        assert_eq!(asks.due(start, |_| Some(Standing::Unknown)), [target(2)]);
    }

    #[test]
    fn asks_of_long_ago_are_forgotten() {
        let (mut asks, start) = (Asks::default(), Instant::now());
        for last in 0..100 {
            asks.ask(target(last), start);
        }
        asks.due(start + BETWEEN_REFRESHES, |_| None);
        assert!(asks.asked.is_empty());
    }
}
