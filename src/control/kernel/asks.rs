//! When to ask the kernel for a neighbour. Pure: the clock and what is known are arguments.
//!
//! Of any number of neighbours, so many are looked at and asked for in a second: the kept stand in a round, of which each
//! look takes the next. A few hundred are looked at each time, and all asked for at once.

use crate::control::allowance::Allowance;
use crate::net::InterfaceId;
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// A neighbour on a link.
pub(super) type Target = (InterfaceId, IpAddr);

/// One neighbour is asked for no more often than this.
const BETWEEN_ASKS: Duration = Duration::from_millis(200);

/// A kept neighbour that does not answer is asked for after twice the time from ask to ask, up to this.
const BETWEEN_ASKS_IN_VAIN: Duration = Duration::from_secs(5);

/// A kept neighbour that is not known to be reachable is asked for this often, so that the kernel probes it and
/// does not collect it as garbage (gc_stale_time is 60 s).
const BETWEEN_REFRESHES: Duration = Duration::from_secs(10);

/// Of the kept: so many are looked at at once, and 50,000 a second.
const LOOKS: (u32, Duration) = (10_000, Duration::from_micros(20));

/// So many of them are asked for at once, and 250 a second. Each that does not answer takes the kernel 3 s, and one of
/// the 1,024 places that its table has unless told otherwise (gc_thresh3).
const ASKS: (u32, Duration) = (500, Duration::from_millis(4));

/// And so many that packets miss at once, and 1,000 a second.
const ASKS_FOR_PACKETS: (u32, Duration) = (1000, Duration::from_millis(1));

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
#[derive(Debug)]
pub(super) struct Asks {
    asked: HashMap<Target, Asked>,
    /// When those asked for long ago were last forgotten.
    swept: Instant,
    kept: HashSet<Target>,
    /// The kept, in the order in which they are looked at.
    round: VecDeque<Target>,
    looks: Allowance,
    asks: Allowance,
    asks_for_packets: Allowance,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    at: Instant,
    /// How often, since it was last known for sure.
    times: u32,
}

impl Asked {
    /// How long nobody asks, while it does not answer.
    fn pause(&self) -> Duration {
        let doublings = self.times.saturating_sub(1).min(8);
        (BETWEEN_ASKS * (1 << doublings)).min(BETWEEN_ASKS_IN_VAIN)
    }
}

impl Asks {
    /// Nobody was asked for, and nobody is kept.
    pub fn new(now: Instant) -> Asks {
        let allowance = |(at_once, every)| Allowance::new(at_once, every, now);
        Asks {
            asked: HashMap::new(),
            swept: now,
            kept: HashSet::new(),
            round: VecDeque::new(),
            looks: allowance(LOOKS),
            asks: allowance(ASKS),
            asks_for_packets: allowance(ASKS_FOR_PACKETS),
        }
    }

    /// Whether `target` may be asked for now, since a packet misses it; if so, it counts as asked for.
    pub fn ask(&mut self, target: Target, now: Instant) -> bool {
        let idle = self.asked.get(&target).map(|asked| now.saturating_duration_since(asked.at));
        let allowed = idle.is_none_or(|idle| idle >= BETWEEN_ASKS) && self.asks_for_packets.take(now);
        if allowed {
            self.note(target, now);
        }
        allowed
    }

    /// From now on, keeps these known, and no others. Who is new comes first.
    pub fn keep(&mut self, targets: impl IntoIterator<Item = Target>) {
        let kept: HashSet<Target> = targets.into_iter().collect();
        if kept == self.kept {
            return;
        }
        self.round.retain(|target| kept.contains(target));
        kept.difference(&self.kept).for_each(|&new| self.round.push_front(new));
        self.kept = kept;
    }

    /// Who of the kept is to be asked for now: unknown ones at once, and then more and more seldom; unsure ones when
    /// their refresh is due. They count as asked for. `None` of `standing` means that asking is of no use.
    pub fn due(&mut self, now: Instant, standing: impl Fn(Target) -> Option<Standing>) -> Vec<Target> {
        self.forget(now);
        let mut due = Vec::new();
        for _ in 0..self.round.len() {
            if !self.looks.take(now) {
                break;
            }
            let Some(target) = self.round.pop_front() else { break };
            let is_due = self.is_due(target, standing(target), now);
            if is_due && !self.asks.take(now) {
                self.round.push_front(target);
                break;
            }
            self.round.push_back(target);
            if is_due {
                self.note(target, now);
                due.push(target);
            }
        }
        due
    }

    fn is_due(&mut self, target: Target, standing: Option<Standing>, now: Instant) -> bool {
        let Some(asked) = self.asked.get_mut(&target) else {
            return matches!(standing, Some(Standing::Unknown | Standing::Unsure));
        };
        let idle = now.saturating_duration_since(asked.at);
        match standing {
            Some(Standing::Unknown) => idle >= asked.pause(),
            Some(Standing::Unsure) => idle >= BETWEEN_REFRESHES,
            Some(Standing::Sure) => {
                asked.times = 0;
                false
            }
            None => false,
        }
    }

    fn note(&mut self, target: Target, now: Instant) {
        let asked = self.asked.entry(target).or_insert(Asked { at: now, times: 0 });
        *asked = Asked { at: now, times: asked.times.saturating_add(1) };
    }

    /// Asks of long ago hold nobody back; without this, every address ever asked for would be remembered.
    fn forget(&mut self, now: Instant) {
        if now.saturating_duration_since(self.swept) >= BETWEEN_REFRESHES {
            self.swept = now;
            self.asked.retain(|_, asked| now.saturating_duration_since(asked.at) < BETWEEN_REFRESHES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(last: u8) -> Target {
        (InterfaceId(0), IpAddr::from([10, 0, 0, last]))
    }

    fn many(count: u32) -> impl Iterator<Item = Target> {
        (0..count).map(|n| (InterfaceId(0), IpAddr::from((10 << 24 | n).to_be_bytes())))
    }

    fn asks() -> (Asks, Instant) {
        let now = Instant::now();
        (Asks::new(now), now)
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn one_neighbour_is_asked_for_five_times_a_second_at_most_and_another_beside_it() {
        let (mut asks, start) = asks();
        let answers: Vec<bool> =
            [0, 1, 199, 200, 300, 400].map(|at| asks.ask(target(1), start + millis(at))).to_vec();
        assert_eq!(answers, [true, false, false, true, false, true]);
        assert!(asks.ask(target(2), start + millis(400)));
    }

    #[test]
    fn a_kept_neighbour_is_refreshed_every_ten_seconds_while_it_is_unsure() {
        let (mut asks, start) = asks();
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
        let (mut asks, start) = asks();
        asks.keep([target(1), target(2)]);
        asks.due(start, |_| Some(Standing::Unsure));
        let lost = |t| if t == target(2) { Some(Standing::Unknown) } else { Some(Standing::Unsure) };
        assert_eq!(asks.due(start + millis(1000), lost), [target(2)]);
        assert_eq!(asks.due(start + millis(1100), lost), [], "but not in a storm");
    }

    #[test]
    fn who_is_no_longer_kept_is_no_longer_asked_for() {
        let (mut asks, start) = asks();
        asks.keep([target(1)]);
        asks.keep([target(2)]);
        assert_eq!(asks.due(start, |_| Some(Standing::Unknown)), [target(2)]);
    }

    #[test]
    fn asks_of_long_ago_are_forgotten() {
        let (mut asks, start) = asks();
        for last in 0..100 {
            asks.ask(target(last), start);
        }
        asks.due(start + BETWEEN_REFRESHES, |_| None);
        assert!(asks.asked.is_empty());
    }

    #[test]
    fn a_kept_neighbour_that_does_not_answer_is_asked_for_more_and_more_seldom_until_it_is_known() {
        let (mut asks, start) = asks();
        asks.keep([target(1)]);
        let mut asked_at = |from: u64, to: u64| -> Vec<u64> {
            let at = (from..to).step_by(100);
            at.filter(|&at| !asks.due(start + millis(at), |_| Some(Standing::Unknown)).is_empty()).collect()
        };
        assert_eq!(asked_at(0, 6_300), [0, 200, 600, 1_400, 3_000, 6_200]);
        assert_eq!(asked_at(6_300, 22_000), [11_200, 16_200, 21_200]);
        asks.due(start + millis(22_000), |_| Some(Standing::Sure));
        assert_eq!(asks.due(start + millis(22_100), |_| Some(Standing::Unknown)), [target(1)]);
    }

    #[test]
    fn of_many_unknown_neighbours_each_has_its_turn_and_so_many_are_asked_for() {
        let (mut asks, start) = asks();
        asks.keep(many(2_000));
        let mut due = |at| asks.due(start + millis(at), |_| Some(Standing::Unknown));
        let mut all: HashSet<Target> = due(0).into_iter().collect();
        assert_eq!(all.len(), 500);
        for at in (100..=6_000).step_by(100) {
            let more = due(at);
            assert!(more.len() <= 25 && more.iter().all(|&target| all.insert(target)), "twice, at {at}");
        }
        assert_eq!(all.len(), 2_000);
    }

    #[test]
    fn of_very_many_neighbours_so_many_are_looked_at_and_new_ones_first() {
        let (mut asks, start) = asks();
        asks.keep(many(100_000));
        let looks = std::cell::Cell::new(0);
        let count = |_| {
            looks.set(looks.get() + 1);
            Some(Standing::Sure)
        };
        for at in (0..1_000).step_by(10) {
            asks.due(start + millis(at), count);
        }
        assert_eq!(looks.get(), 10_000 + 990 * 50);
        let new = (InterfaceId(1), IpAddr::from([192, 0, 2, 1]));
        asks.keep(many(100_000).chain([new]));
        let lacks_new = |target| Some(if target == new { Standing::Unknown } else { Standing::Sure });
        assert_eq!(asks.due(start + millis(1_000), lacks_new), [new]);
    }

    #[test]
    fn a_flood_of_packets_to_neighbours_that_are_missed_asks_for_so_many() {
        let (mut asks, start) = asks();
        let mut asked = |at, from, to: u32| {
            many(to).skip(from).filter(|&target| asks.ask(target, start + millis(at))).count()
        };
        assert_eq!([asked(0, 0, 5_000), asked(100, 5_000, 9_000)], [1000, 100]);
    }
}
