//! What came of a run: every request, and every change that the director has told of. Times count from the run's start.

use crate::control::desired::ServerState;
use std::time::Duration;

/// How finely time is looked at.
pub const WINDOW: Duration = Duration::from_millis(100);

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Whose it was, from 0.
    pub client: u16,
    /// When it was begun.
    pub began: Duration,
    /// How long it took, connecting included, until the answer was there or the client gave up.
    pub took: Duration,
    /// The number of the server that has answered.
    pub outcome: Result<u8, Failure>,
}

impl Sample {
    /// When it was over.
    pub fn ended(&self) -> Duration {
        self.began + self.took
    }
}

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// There was no connection.
    Refused,
    /// There was a connection, and no answer that could be understood.
    Broken,
    /// There was no answer in the client's time.
    TimedOut,
}

/// How the director has seen its servers, from a moment on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Look {
    /// Since when, as far as is known.
    pub at: Duration,
    /// Each server, in the order of their numbers.
    pub states: Vec<Option<ServerState>>,
    /// Whether it schedules all, since too few seem well.
    pub fails_open: bool,
}

impl Look {
    /// Whether this server, by number, gets nothing new.
    pub fn is_out(&self, server: u8) -> bool {
        !self.fails_open && self.is_down(server)
    }

    /// Whether this server is taken for ill.
    pub fn is_down(&self, server: u8) -> bool {
        self.states.get(usize::from(server) - 1).is_some_and(|state| *state == Some(ServerState::Down))
    }

    /// Whether every server gets all of its share.
    pub fn is_well(&self) -> bool {
        !self.fails_open && self.states.iter().all(|state| *state == Some(ServerState::Up))
    }

    /// Whether the same was seen.
    fn sees_the_same(&self, other: &Look) -> bool {
        self.states == other.states && self.fails_open == other.fails_open
    }
}

/// From a moment to a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Where it begins.
    pub began: Duration,
    /// Where it ends.
    pub ended: Duration,
}

impl Span {
    /// Whether this moment lies in it.
    pub fn holds(&self, at: Duration) -> bool {
        (self.began..self.ended).contains(&at)
    }
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// How many servers there are, numbered from 1.
    pub servers: u8,
    /// Those that fell ill.
    pub patients: Vec<u8>,
    /// Requests, in the order in which they ended.
    pub samples: Vec<Sample>,
    /// The director's view, from each change on.
    pub looks: Vec<Look>,
    /// From the fault's beginning to its mending.
    pub fault: Span,
    /// How often it struck.
    pub strikes: u32,
    /// When the run was over.
    pub ended: Duration,
}

impl Record {
    /// Takes up what the director says; only changes are kept.
    pub fn see(&mut self, look: Look) {
        if !self.looks.last().is_some_and(|last| last.sees_the_same(&look)) {
            self.looks.push(look);
        }
    }

    /// How the director sees its servers now.
    pub fn last_look(&self) -> Option<&Look> {
        self.looks.last()
    }

    /// When those that fell ill got nothing new, all of them.
    pub fn outs(&self) -> Vec<Span> {
        self.spans(|look| self.patients.iter().all(|&server| look.is_out(server)))
    }

    /// When `is_so` was so.
    pub fn spans(&self, is_so: impl Fn(&Look) -> bool) -> Vec<Span> {
        let ends = self.looks.iter().skip(1).map(|look| look.at).chain([self.ended]);
        let mut spans: Vec<Span> = Vec::new();
        for (look, ended) in self.looks.iter().zip(ends).filter(|(look, _)| is_so(look)) {
            match spans.last_mut() {
                Some(last) if last.ended == look.at => last.ended = ended,
                _ => spans.push(Span { began: look.at, ended }),
            }
        }
        spans
    }

    /// The run in windows.
    pub fn windows(&self) -> Vec<Window> {
        windows(&self.samples, self.servers, WINDOW, self.ended)
    }
}

/// The requests that were begun within some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// When it begins.
    pub began: Duration,
    /// How many each server has answered, in the order of their numbers.
    pub answers: Vec<u32>,
    /// How many failed.
    pub failed: u32,
    /// How long 99 of 100 that were answered took at most.
    pub p99: Option<Duration>,
}

impl Window {
    /// All requests.
    pub fn requests(&self) -> u32 {
        self.answers.iter().sum::<u32>() + self.failed
    }

    /// The part of all requests that this server, by number, has answered, 0 to 1; none if there were no requests.
    pub fn share(&self, server: u8) -> Option<f64> {
        let requests = self.requests();
        let answers = self.answers.get(usize::from(server) - 1)?;
        (requests > 0).then(|| f64::from(*answers) / f64::from(requests))
    }
}

/// Requests by the time of their beginning, in windows of this length until `ended`; a rest at the end is left out.
pub fn windows(samples: &[Sample], servers: u8, length: Duration, ended: Duration) -> Vec<Window> {
    let place = |at: Duration| (at.as_nanos() / length.as_nanos().max(1)) as usize;
    let empty =
        |at: u32| Window { began: length * at, answers: vec![0; servers.into()], failed: 0, p99: None };
    let mut windows: Vec<Window> = (0..place(ended) as u32).map(empty).collect();
    let mut latencies = vec![Vec::new(); windows.len()];
    for sample in samples {
        let at = place(sample.began);
        let Some(window) = windows.get_mut(at) else { continue };
        match sample.outcome {
            Ok(server) => {
                window.answers.get_mut(usize::from(server) - 1).into_iter().for_each(|count| *count += 1);
                latencies[at].push(sample.took);
            }
            Err(_) => window.failed += 1,
        }
    }
    for (window, latencies) in windows.iter_mut().zip(&mut latencies) {
        window.p99 = percentile(latencies, 99);
    }
    windows
}

/// The least of these below or at which so many percent of them are; sorts them.
pub fn percentile(latencies: &mut [Duration], percent: usize) -> Option<Duration> {
    latencies.sort_unstable();
    let rank = (latencies.len() * percent).div_ceil(100);
    latencies.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn sample(began: u64, took: u64, outcome: Result<u8, Failure>) -> Sample {
        Sample { client: 0, began: ms(began), took: ms(took), outcome }
    }

    #[test]
    fn a_percentile_is_one_of_the_values_and_so_many_are_not_above_it() {
        let mut latencies: Vec<Duration> = (1..=200).rev().map(ms).collect();
        assert_eq!(percentile(&mut latencies, 99), Some(ms(198)));
        assert_eq!(percentile(&mut latencies, 50), Some(ms(100)));
        assert_eq!(percentile(&mut [ms(7)], 50), Some(ms(7)));
        assert_eq!(percentile(&mut [ms(7), ms(9)], 99), Some(ms(9)));
        assert_eq!(percentile(&mut [], 99), None);
    }

    #[test]
    fn a_request_belongs_to_the_window_in_which_it_was_begun() {
        let samples = [
            sample(0, 3, Ok(1)),
            sample(99, 500, Ok(2)),
            sample(100, 4, Ok(2)),
            sample(150, 1000, Err(Failure::TimedOut)),
            sample(310, 1, Ok(1)),
        ];
        let windows = windows(&samples, 2, ms(100), ms(330));
        assert_eq!(windows.len(), 3, "the last was not whole");
        assert_eq!(
            (&windows[0].answers[..], windows[0].failed, windows[0].p99),
            (&[1, 1][..], 0, Some(ms(500)))
        );
        assert_eq!(
            (&windows[1].answers[..], windows[1].failed, windows[1].p99),
            (&[0, 1][..], 1, Some(ms(4)))
        );
        assert_eq!([1, 2].map(|server| windows[1].share(server)), [Some(0.0), Some(0.5)]);
        assert_eq!((windows[2].requests(), windows[2].share(1), windows[2].p99), (0, None, None));
    }

    #[test]
    fn only_changes_are_kept_and_spans_are_what_lies_between_them() {
        use ServerState::{Down, Starting, Suspect, Up};
        let look =
            |at, state, fails_open| Look { at: ms(at), states: vec![Some(Up), Some(state)], fails_open };
        let mut record = Record { servers: 2, patients: vec![2], ended: ms(900), ..Record::default() };
        for seen in [
            look(0, Up, false),
            look(10, Up, false),
            look(100, Suspect, false),
            look(110, Down, false),
            look(120, Down, true),
            look(200, Down, false),
            look(300, Starting, false),
            look(400, Up, false),
        ] {
            record.see(seen);
        }
        assert_eq!(record.looks.len(), 7);
        let span = |began, ended| Span { began: ms(began), ended: ms(ended) };
        assert_eq!(record.outs(), [span(110, 120), span(200, 300)]);
        assert_eq!(record.spans(|look| look.is_down(2)), [span(110, 300)], "three looks, one span");
        assert_eq!(record.spans(Look::is_well), [span(0, 100), span(400, 900)]);
        assert!(span(110, 120).holds(ms(110)) && !span(110, 120).holds(ms(120)));
    }
}
