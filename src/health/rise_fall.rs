//! How soon answers are believed: so many in a row. Pure: time and chance are arguments.
//!
//! ```text
//!                 fails                     fails, fall in a row
//!        +--------------------> Suspect ---------------------------> Down
//!        |  passes                 |                                  |
//!        Up <----------------------+ passes                           |
//!        ^                                                            |
//!        +------------------------------------ passes, rise in a row -+
//! Unchecked: the first verdict decides alone.
//! ```
//! Who falls again within `damping` of having come back is held down, whatever it answers: for an interval the first time,
//! then for twice as long each time, up to `damping`.
//!
//! While verdicts contradict what is believed the next probe comes sooner (`retry`). Who is up may also become suspect by
//! what others see of it ([`RiseFall::suspect`]): then the next probe comes at once, and again every [`LEAST_GAP`] until it
//! is decided.

use crate::service::check::Pace;
use std::time::Duration;

/// The least time from the start of a probe to the start of the next.
const LEAST_GAP: Duration = Duration::from_millis(10);

/// The longest time that a first probe waits, so that not all of many come at once.
const FIRST_WITHIN: Duration = Duration::from_secs(1);

/// What is believed of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// Nothing yet: no probe has ended.
    Unchecked,
    /// It answers as it should.
    Up,
    /// It was up, and failed since, though not often enough to be down; or others have seen it fail.
    Suspect,
    /// It does not answer as it should.
    Down,
}

/// What one probe says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The server answered as it should.
    Passed,
    /// It did not.
    Failed,
    /// The director could not ask.
    Unknown,
}

/// What is believed has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// What was believed.
    pub from: Health,
    /// What is believed now.
    pub to: Health,
}

/// What is believed of one target, and when to ask again. Times count from an origin of the caller's.
#[derive(Debug, Clone)]
pub struct RiseFall {
    pace: Pace,
    health: Health,
    /// How many verdicts in a row have contradicted what is believed.
    contrary: u16,
    /// Whether what is believed must be settled without delay.
    is_urgent: bool,
    /// When it came up last.
    rose: Option<Duration>,
    /// How long it is held down, and until when.
    held: Duration,
    held_until: Duration,
    /// When the last probe began.
    began: Option<Duration>,
    next: Duration,
}

impl RiseFall {
    /// Begins `now`; `chance` spreads the first probes of many targets.
    pub fn new(pace: Pace, now: Duration, chance: u16) -> RiseFall {
        let next = now + share(pace.interval.min(FIRST_WITHIN), chance);
        RiseFall {
            pace,
            health: Health::Unchecked,
            contrary: 0,
            is_urgent: false,
            rose: None,
            held: Duration::ZERO,
            held_until: Duration::ZERO,
            began: None,
            next,
        }
    }

    /// What is believed.
    pub fn health(&self) -> Health {
        self.health
    }

    /// How many verdicts in a row have contradicted what is believed.
    pub fn contrary(&self) -> u16 {
        self.contrary
    }

    /// When the next probe is to begin.
    pub fn next(&self) -> Duration {
        self.next
    }

    /// Others have seen a server fail that is up: it is suspect, the next probe is due `now`, and those that follow come soon
    /// after each other until it is decided. Of any other server this is no news.
    pub fn suspect(&mut self, now: Duration) -> Option<Change> {
        if self.health != Health::Up {
            return None;
        }
        self.health = Health::Suspect;
        self.urge(now);
        Some(Change { from: Health::Up, to: Health::Suspect })
    }

    /// Makes the next probe due `now`, and those that follow it soon after each other until it is decided.
    fn urge(&mut self, now: Duration) {
        self.is_urgent = true;
        let soonest = self.began.map_or(now, |began| now.max(began + LEAST_GAP));
        self.next = self.next.min(soonest);
    }

    /// Takes the verdict of a probe that began at `began` and ended `now`.
    pub fn heard(&mut self, began: Duration, now: Duration, verdict: Verdict, chance: u16) -> Option<Change> {
        let from = self.health;
        match verdict {
            Verdict::Passed => self.passed(now),
            Verdict::Failed => self.failed(),
            Verdict::Unknown => {}
        }
        if from != self.health {
            self.damp(from, now);
        }
        let Pace { interval, retry, jitter_percent, .. } = self.pace;
        let is_undecided = (self.contrary > 0 || self.health == Health::Suspect) && !self.is_held(now);
        self.is_urgent &= self.contrary > 0 && is_undecided;
        let pause = match is_undecided {
            true if self.is_urgent => LEAST_GAP.min(retry),
            true => retry.min(interval),
            false => interval - share(interval * jitter_percent.min(100).into() / 100, chance),
        };
        self.began = Some(began);
        self.next = (began + pause.max(LEAST_GAP)).max(now);
        (self.health != from).then_some(Change { from, to: self.health })
    }

    /// Whoever falls soon after coming back is held down for longer and longer.
    fn damp(&mut self, from: Health, now: Duration) {
        match self.health {
            Health::Up if from == Health::Down => self.rose = Some(now),
            Health::Down => {
                let is_again = self.rose.is_some_and(|rose| now < rose + self.pace.damping);
                self.held = if is_again { (2 * self.held).max(self.pace.interval) } else { Duration::ZERO };
                self.held = self.held.min(self.pace.damping);
                self.held_until = now + self.held;
            }
            _ => {}
        }
    }

    fn is_held(&self, now: Duration) -> bool {
        self.health == Health::Down && now < self.held_until
    }

    fn passed(&mut self, now: Duration) {
        self.contrary = match self.health {
            Health::Down if self.contrary + 1 < self.pace.rise => self.contrary + 1,
            // As if one answer were wanting yet.
            Health::Down if self.is_held(now) => self.pace.rise.saturating_sub(1),
            _ => 0,
        };
        if self.contrary == 0 && !self.is_held(now) {
            self.health = Health::Up;
        }
    }

    fn failed(&mut self) {
        let is_up = matches!(self.health, Health::Up | Health::Suspect);
        self.contrary = if is_up && self.contrary + 1 < self.pace.fall { self.contrary + 1 } else { 0 };
        self.health = if self.contrary > 0 { Health::Suspect } else { Health::Down };
    }
}

/// A part of `whole`, by `chance`.
fn share(whole: Duration, chance: u16) -> Duration {
    whole / (1 << 16) * chance.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Health::{Down, Suspect, Unchecked, Up};
    use Verdict::{Failed, Passed, Unknown};
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn pace() -> Pace {
        Pace { interval: 1000 * MS, retry: 200 * MS, jitter_percent: 0, ..Pace::default() }
    }

    /// What is believed after each of these verdicts, each of a probe that was due and took 1 ms.
    fn told(machine: &mut RiseFall, verdicts: &[Verdict]) -> Vec<Health> {
        let mut say = |&verdict: &Verdict| {
            let began = machine.next();
            machine.heard(began, began + MS, verdict, 0);
            machine.health()
        };
        verdicts.iter().map(&mut say).collect()
    }

    #[test]
    fn a_server_falls_and_rises_after_so_many_in_a_row_and_the_first_verdict_decides_alone() {
        let mut machine = RiseFall::new(pace(), Duration::ZERO, 0);
        assert_eq!(machine.health(), Unchecked);
        let verdicts = [Passed, Failed, Failed, Passed, Failed, Failed, Failed];
        assert_eq!(told(&mut machine, &verdicts), [Up, Suspect, Suspect, Up, Suspect, Suspect, Down]);
        let verdicts = [Failed, Passed, Failed, Passed, Passed, Passed];
        assert_eq!(told(&mut machine, &verdicts), [Down, Down, Down, Down, Up, Up]);
        let mut other = RiseFall::new(pace(), Duration::ZERO, 0);
        assert_eq!(
            told(&mut other, &[Unknown, Failed, Passed, Unknown, Passed]),
            [Unchecked, Down, Down, Down, Up]
        );
    }

    #[test]
    fn who_falls_again_and_again_is_held_down_for_longer_and_longer_and_forgiven_when_it_has_stayed_up() {
        let pace = Pace { rise: 1, fall: 1, damping: 3000 * MS, ..pace() };
        let mut machine = RiseFall::new(pace, Duration::ZERO, 0);
        let mut at = |ms: u32, verdict| {
            machine.heard(ms * MS, ms * MS, verdict, 0);
            machine.health()
        };
        assert_eq!((at(0, Passed), at(1000, Failed), at(2000, Passed)), (Up, Down, Up), "the first time");
        assert_eq!((at(3000, Failed), at(3900, Passed), at(4000, Passed)), (Down, Down, Up), "for a second");
        assert_eq!((at(5000, Failed), at(6900, Passed), at(7000, Passed)), (Down, Down, Up), "for two");
        assert_eq!(
            (at(8000, Failed), at(10_900, Passed), at(11_000, Passed)),
            (Down, Down, Up),
            "for three, at most"
        );
        // Whoever has stayed up for three seconds begins anew.
        assert_eq!((at(14_000, Failed), at(14_100, Passed)), (Down, Up));
    }

    #[test]
    fn the_rhythm_is_the_interval_from_start_to_start_and_faster_while_undecided() {
        let mut machine = RiseFall::new(pace(), Duration::ZERO, 0);
        let mut dues = Vec::new();
        for verdict in [Passed, Passed, Failed, Failed, Failed, Failed, Passed, Passed] {
            told(&mut machine, &[verdict]);
            dues.push(machine.next().as_millis());
        }
        assert_eq!(dues, [1000, 2000, 2200, 2400, 3400, 4400, 4600, 5600]);
        // A probe that took longer than the interval is followed by the next at once.
        machine.heard(5600 * MS, 6900 * MS, Passed, 0);
        assert_eq!(machine.next(), 6900 * MS);
    }

    #[test]
    fn an_urged_target_is_asked_at_once_and_in_quick_succession_until_it_is_decided() {
        let mut machine = RiseFall::new(pace(), Duration::ZERO, 0);
        told(&mut machine, &[Passed]);
        machine.urge(300 * MS);
        let mut dues = vec![machine.next().as_millis()];
        for _ in 0..3 {
            told(&mut machine, &[Failed]);
            dues.push(machine.next().as_millis());
        }
        assert_eq!((dues, machine.health()), (vec![300, 310, 320, 1320], Down));
        // Right after a probe, the least gap is kept; one that is due sooner stays so.
        machine.urge(325 * MS);
        assert_eq!(machine.next(), 330 * MS);
        machine.urge(400 * MS);
        assert_eq!(machine.next(), 330 * MS);
    }

    #[test]
    fn whom_others_saw_fail_is_suspect_until_it_has_answered_or_failed_often_enough() {
        let mut machine = RiseFall::new(pace(), Duration::ZERO, 0);
        assert_eq!(machine.suspect(10 * MS), None, "nobody knows how it is");
        told(&mut machine, &[Passed]);
        assert_eq!(machine.suspect(300 * MS), Some(Change { from: Up, to: Suspect }));
        assert_eq!((machine.suspect(301 * MS), machine.next()), (None, 300 * MS));
        let change = machine.heard(300 * MS, 301 * MS, Passed, 0);
        assert_eq!((change, machine.next()), (Some(Change { from: Suspect, to: Up }), 1300 * MS));
        machine.suspect(400 * MS);
        assert_eq!(told(&mut machine, &[Failed, Failed, Failed]), [Suspect, Suspect, Down]);
        assert_eq!(machine.suspect(500 * MS), None);
        // Who could not be asked is asked again soon, but not as soon as that.
        told(&mut machine, &[Passed, Passed]);
        let now = machine.next();
        machine.suspect(now);
        assert_eq!((told(&mut machine, &[Unknown]), machine.next()), (vec![Suspect], now + 200 * MS));
    }

    #[test]
    fn first_probes_are_spread_over_a_second_at_most() {
        let slow = Pace { interval: Duration::from_secs(60), ..pace() };
        let first = |chance| RiseFall::new(slow, 5000 * MS, chance).next();
        assert_eq!(first(0), 5000 * MS);
        assert!(first(u16::MAX) > 5990 * MS && first(u16::MAX) < 6000 * MS);
        let quick = Pace { interval: 50 * MS, ..pace() };
        assert!(RiseFall::new(quick, Duration::ZERO, u16::MAX).next() < 50 * MS);
    }

    fn any_verdict() -> impl Strategy<Value = Verdict> {
        prop_oneof![3 => Just(Passed), 3 => Just(Failed), 1 => Just(Unknown)]
    }

    fn any_pace() -> impl Strategy<Value = Pace> {
        (50..5000u64, 50..5000u64, 1..6u16, 1..6u16, 0..=100u8).prop_map(
            |(interval, retry, rise, fall, jitter_percent)| Pace {
                interval: Duration::from_millis(interval),
                retry: Duration::from_millis(retry.min(interval)),
                timeout: Duration::from_millis(interval),
                rise,
                fall,
                jitter_percent,
                damping: Duration::ZERO,
            },
        )
    }

    proptest! {
        /// The machine against the rule in words: look back over the verdicts for the last run that decided.
        #[test]
        fn what_is_believed_is_what_the_last_long_enough_run_said(
            pace in any_pace(), verdicts in prop::collection::vec(any_verdict(), 0..60)
        ) {
            let mut machine = RiseFall::new(pace, Duration::ZERO, 0);
            let (mut up, mut passes, mut failures) = (None, 0, 0);
            for verdict in verdicts {
                let before = machine.health();
                let began = machine.next();
                let change = machine.heard(began, began + MS, verdict, 0);
                match verdict {
                    Passed => (passes, failures) = (passes + 1, 0),
                    Failed => (passes, failures) = (0, failures + 1),
                    Unknown => {}
                }
                match (up, verdict) {
                    (None, Passed) => up = Some(true),
                    (None, Failed) => up = Some(false),
                    (Some(true), _) if failures >= pace.fall => up = Some(false),
                    (Some(false), _) if passes >= pace.rise => up = Some(true),
                    _ => {}
                }
                let wanted = match up {
                    None => Unchecked,
                    Some(true) if failures > 0 => Suspect,
                    Some(true) => Up,
                    Some(false) => Down,
                };
                prop_assert_eq!(machine.health(), wanted);
                prop_assert_eq!(change, (before != wanted).then_some(Change { from: before, to: wanted }));
            }
        }

        #[test]
        fn the_next_probe_is_never_in_the_past_nor_later_than_the_interval(
            pace in any_pace(),
            steps in prop::collection::vec((any_verdict(), 0..6000u64, any::<u16>(), any::<bool>()), 1..60)
        ) {
            let mut machine = RiseFall::new(pace, Duration::ZERO, 7);
            let mut last = None;
            for (verdict, took, chance, urged) in steps {
                if urged {
                    let now = last.map_or(Duration::ZERO, |(_, now)| now);
                    machine.urge(now);
                    prop_assert!(machine.next() <= now + LEAST_GAP);
                }
                let began = machine.next();
                if let Some((before, _)) = last {
                    prop_assert!(began >= before + LEAST_GAP, "two probes within {:?}", began - before);
                }
                let now = began + Duration::from_millis(took);
                machine.heard(began, now, verdict, chance);
                prop_assert!(machine.next() >= now);
                prop_assert!(machine.next() <= now.max(began + pace.interval));
                last = Some((began, now));
            }
        }
    }
}
