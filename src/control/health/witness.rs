//! What live traffic says of servers, before their checks find out: who looks at it suspects, and has them asked.
//!
//! Workers count, for each server, connections asked for and answered, refusals, errors and repeated SYNs; here the counts
//! are compared with those of a moment ago. A suspicion costs one probe, and so a single bad sign is enough; who raises
//! them in vain is believed less and less often.

use crate::config::Passive;
use crate::control::desired::{Desired, Key};
use crate::dataplane::counters::{Counters, Opened};
use crate::net::Endpoint;
use crate::service::{RealId, VirtualService};
use hashbrown::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// From one look to the next.
const PERIOD: Duration = Duration::from_millis(20);

/// How much longer than a look takes nobody looks: with very many servers, it is not to fill a core.
const REST: u32 = 20;

/// How long single failures are remembered.
const MEMORY: Duration = Duration::from_secs(1);

/// Failures fewer than one in so many connections are not the server's, as a rule.
const ONE_IN: u32 = 10;

/// So many repeated SYNs are one failure: clients' packets are lost elsewhere, too.
const REPEATED: u32 = 3;

/// The longest silence that is taken for a server's, or its clients', way: then clients repeat their SYNs.
const LEARNED: Duration = Duration::from_secs(1);

/// How long nobody is suspected again, the first time and at most.
const HOLD: Duration = Duration::from_secs(1);
const LONGEST_HOLD: Duration = Duration::from_secs(60);

/// One server's witness. Times count from an origin of the caller's.
#[derive(Debug, Clone, Default)]
struct Witness {
    /// What had been counted at the last look, and when that was.
    last: Opened,
    looked: Duration,
    /// Connections that were opened and not answered, while none was, and since when.
    unanswered: u32,
    silent_since: Duration,
    /// How long a silence must last to mean something: others have ended well.
    patience: Duration,
    /// What has failed since, and how many connections were asked for meanwhile.
    failed: Opened,
    failing_since: Duration,
    /// Whom it has accused is not accused again before then, and for how long that was.
    held_until: Duration,
    hold: Duration,
}

impl Witness {
    /// Of a server of which so much has been counted by `now`.
    fn new(counted: Opened, now: Duration) -> Witness {
        Witness { last: counted, looked: now, ..Witness::default() }
    }

    /// Looks at what has been counted by `now`; what speaks against the server, if that is enough.
    fn look(&mut self, counted: Opened, passive: Passive, now: Duration) -> Option<String> {
        let grown = counted.since(self.last);
        let before = std::mem::replace(&mut self.looked, now);
        self.last = counted;
        if grown == Opened::default() && self.unanswered == 0 {
            return None;
        }
        let against = self.silence(grown, passive, before).or_else(|| self.failures(grown, passive))?;
        (self.unanswered, self.failed) = (0, Opened::default());
        if now < self.held_until {
            return None;
        }
        let is_again = now < self.held_until + self.hold;
        self.hold = if is_again { (2 * self.hold).min(LONGEST_HOLD) } else { HOLD };
        self.held_until = now + self.hold;
        Some(format!("live traffic: {against}"))
    }

    /// Whether the server has been silent for too long.
    fn silence(&mut self, grown: Opened, passive: Passive, before: Duration) -> Option<String> {
        let now = self.looked;
        if grown.answered > 0 {
            if self.unanswered > 0 {
                let lasted = now.saturating_sub(self.silent_since).min(LEARNED);
                self.patience = self.patience.max(2 * lasted);
            }
            self.patience -= self.patience / 50;
            // Who asked before whom is not known.
            (self.unanswered, self.silent_since) = (grown.asked.saturating_sub(grown.answered), now);
            return None;
        }
        if self.unanswered == 0 {
            self.silent_since = before;
        }
        self.unanswered = self.unanswered.saturating_add(grown.asked);
        let lasts = now.saturating_sub(self.silent_since);
        let is_enough = self.unanswered >= passive.failures && lasts >= passive.window.max(self.patience);
        is_enough.then(|| {
            let connections = connections(self.unanswered);
            format!("{connections} unanswered, and no other answered, for {} ms", lasts.as_millis())
        })
    }

    /// Whether too much has failed.
    fn failures(&mut self, grown: Opened, passive: Passive) -> Option<String> {
        let now = self.looked;
        if now.saturating_sub(self.failing_since) > MEMORY {
            (self.failed, self.failing_since) = (Opened::default(), now);
        }
        self.failed = self.failed.plus(grown);
        let Opened { asked, refused, unreachable, repeated, .. } = self.failed;
        let failures = u64::from(refused) + u64::from(unreachable) + u64::from(repeated / REPEATED);
        let is_enough =
            failures >= u64::from(passive.failures) && failures * u64::from(ONE_IN) >= u64::from(asked);
        let words = [
            (refused, format!("{} refused", connections(refused))),
            (unreachable, format!("unreachable for {}", counted(unreachable, "packet"))),
            (repeated, counted(repeated, "repeated SYN")),
        ];
        let words: Vec<String> =
            words.into_iter().filter(|(count, _)| *count > 0).map(|(_, words)| words).collect();
        is_enough.then(|| words.join(", "))
    }
}

fn connections(count: u32) -> String {
    counted(count, "connection")
}

fn counted(count: u32, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A server and its witness.
#[derive(Debug)]
struct Watched {
    real: RealId,
    key: Key,
    server: Endpoint,
    passive: Passive,
    witness: Witness,
}

/// The witnesses of all servers that have checks, of services that want them.
#[derive(Debug)]
pub struct Witnesses {
    workers: Vec<Arc<Counters>>,
    start: Instant,
    watched: Vec<Watched>,
    /// Whether other servers may be there since.
    is_stale: bool,
    next: Instant,
}

impl Witnesses {
    /// Who is to look at these counts. Nobody is watched yet.
    pub fn new(workers: Vec<Arc<Counters>>, start: Instant) -> Witnesses {
        Witnesses { workers, start, watched: Vec::new(), is_stale: true, next: start }
    }

    /// Other services or servers may be there now.
    pub fn moved(&mut self) {
        self.is_stale = true;
    }

    /// When to look next; `None` if nobody is watched.
    pub fn next(&self) -> Option<Instant> {
        (self.is_stale || !self.watched.is_empty()).then_some(self.next)
    }

    /// Looks at what has been counted of the servers of these services, as they are desired and compiled; the suspects, each
    /// with what speaks against it.
    pub fn look(
        &mut self,
        desired: &Desired,
        compiled: &[Arc<VirtualService>],
    ) -> Vec<(Key, Endpoint, String)> {
        let begun = Instant::now();
        let now = begun.saturating_duration_since(self.start);
        if std::mem::take(&mut self.is_stale) {
            self.follow(desired, compiled, now);
        }
        let workers = &self.workers;
        let suspects = self.watched.iter_mut().filter_map(|watched| {
            let cause = watched.witness.look(Opened::of(watched.real, workers), watched.passive, now)?;
            Some((watched.key, watched.server, cause))
        });
        let suspects = suspects.collect();
        self.next = begun + PERIOD.max(begun.elapsed() * REST);
        suspects
    }

    /// Watches these services' servers. What is known of those watched before stays known.
    fn follow(&mut self, desired: &Desired, compiled: &[Arc<VirtualService>], now: Duration) {
        let before = self.watched.drain(..).map(|watched| ((watched.real, watched.server), watched.witness));
        let mut before: HashMap<_, _> = before.collect();
        for (service, compiled) in desired.services().iter().zip(compiled) {
            let (Some(passive), key) = (service.care.passive, Key::of(service)) else { continue };
            let both = service.reals.iter().zip(&compiled.reals);
            for (real, compiled) in both.filter(|(real, _)| !service.checks_of(real).is_empty()) {
                let (real, server) = (compiled.id, real.endpoint);
                let witness = before
                    .remove(&(real, server))
                    .unwrap_or_else(|| Witness::new(Opened::of(real, &self.workers), now));
                self.watched.push(Watched { real, key, server, passive, witness });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A witness who looks every 20 ms, and what it looks at.
    struct Story {
        witness: Witness,
        counted: Opened,
        now: Duration,
        passive: Passive,
    }

    impl Story {
        fn new() -> Story {
            let counted = Opened { asked: u32::MAX - 3, ..Opened::default() };
            let witness = Witness::new(counted, Duration::ZERO);
            Story { witness, counted, now: Duration::ZERO, passive: Passive::default() }
        }

        /// What is said when that has come to the counts in the next 20 ms.
        fn then(&mut self, grown: Opened) -> Option<String> {
            (self.counted, self.now) = (self.counted.plus(grown), self.now + 20 * MS);
            self.witness.look(self.counted, self.passive, self.now)
        }

        /// What is said first within that time in which nothing happens, and after how many ms.
        fn wait(&mut self, ms: u32) -> Option<(u32, String)> {
            (1..=ms / 20).find_map(|step| Some((20 * step, self.then(Opened::default())?)))
        }
    }

    fn asked(asked: u32, answered: u32) -> Opened {
        Opened { asked, answered, ..Opened::default() }
    }

    #[test]
    fn a_server_that_answers_nobody_any_more_is_suspect_within_the_window() {
        let mut story = Story::new();
        assert!((0..50).all(|_| story.then(asked(7, 7)).is_none()));
        assert_eq!(story.then(asked(4, 0)), None);
        assert_eq!(story.then(asked(4, 0)), None);
        let said = story.then(asked(4, 0)).unwrap();
        assert_eq!(said, "live traffic: 12 connections unanswered, and no other answered, for 60 ms");
        // Not said twice of the same connections.
        assert_eq!(story.wait(60_000), None);
        assert_eq!(story.then(asked(1, 0)), None);
        let (after, said) = story.wait(60_000).unwrap();
        assert_eq!(after, 40);
        assert!(said.contains(" 1 connection unanswered"), "{said}");
    }

    #[test]
    fn as_long_as_some_are_answered_or_nobody_asks_the_server_is_not_silent() {
        let mut story = Story::new();
        assert_eq!(story.wait(60_000), None);
        assert!((0..500).all(|_| story.then(asked(9, 1)).is_none()));
        // But then it falls silent.
        assert_eq!(story.wait(1000).unwrap().0, 60);
    }

    #[test]
    fn silences_that_end_well_are_learned_and_forgotten_again() {
        let mut story = Story::new();
        // Clients who are 200 ms away.
        let mut said = 0;
        for _ in 0..5 {
            said += usize::from(story.then(asked(1, 0)).is_some());
            said += usize::from(story.wait(200).is_some());
            story.then(asked(0, 1));
        }
        assert_eq!(said, 1, "the first time only");
        let mut quick = story;
        (0..300).for_each(|_| assert_eq!(quick.then(asked(3, 3)), None));
        quick.now += LONGEST_HOLD;
        quick.witness.looked = quick.now;
        quick.then(asked(1, 0));
        assert_eq!(quick.wait(1000).unwrap().0, 40);
    }

    #[test]
    fn a_refusal_is_told_at_once_unless_hardly_any_connection_is_refused() {
        let refused = Opened { asked: 2, refused: 1, answered: 1, ..Opened::default() };
        let mut story = Story::new();
        assert_eq!(story.then(refused).unwrap(), "live traffic: 1 connection refused");
        let mut story = Story::new();
        let busy = Opened { asked: 200, answered: 199, refused: 1, ..Opened::default() };
        assert!((0..200).all(|_| story.then(busy).is_none()), "one in 200");
        let mut patient = Story::new();
        patient.passive.failures = 3;
        assert_eq!((patient.then(refused), patient.then(refused)), (None, None));
        assert!(patient.then(refused).unwrap().contains("3 connections refused"));
        let mut slow = Story::new();
        slow.passive.failures = 3;
        for _ in 0..9 {
            assert_eq!((slow.then(refused), slow.wait(1100)), (None, None), "none of them is remembered");
        }
    }

    #[test]
    fn errors_and_repeated_syns_speak_against_a_server_too() {
        let mut story = Story::new();
        let grown = Opened { unreachable: 2, ..Opened::default() };
        assert_eq!(story.then(grown).unwrap(), "live traffic: unreachable for 2 packets");
        let mut story = Story::new();
        let grown = Opened { asked: 1, answered: 1, repeated: 1, ..Opened::default() };
        assert_eq!((story.then(grown), story.then(grown)), (None, None));
        assert_eq!(story.then(grown).unwrap(), "live traffic: 3 repeated SYNs");
    }

    #[test]
    fn who_is_suspected_again_and_again_is_suspected_less_and_less_often() {
        let refused = Opened { asked: 1, refused: 1, ..Opened::default() };
        let mut story = Story::new();
        let told: Vec<u64> =
            (0..10_000).filter(|_| story.then(refused).is_some()).map(|step| step / 50).collect();
        assert_eq!(told, [0, 1, 3, 7, 15, 31, 63, 123, 183]);
        // After a good while, it is as in the beginning.
        story.wait(300_000);
        assert!(story.then(refused).is_some());
        story.wait(1000);
        assert!(story.then(refused).is_some());
    }
}
