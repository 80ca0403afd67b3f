//! How far a drain is, as somebody sees who looks at it again and again.

use crate::cli::status::clock;
use crate::control::desired::Rest;
use crate::control::drains::DrainRow;
use serde::Serialize;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// From how far back one concludes how fast connections end.
const BACK: Duration = Duration::from_secs(60);

/// How long after the deadline one waits for the connections that are being ended.
const AFTER_DEADLINE: Duration = Duration::from_secs(15);

/// What has been seen so far. Times are since the watching began.
#[derive(Debug, Default)]
pub(super) struct Progress {
    rows: Vec<DrainRow>,
    /// When, and how many connections were left, the oldest first.
    looks: VecDeque<(Duration, u64)>,
    /// As many as there were at most.
    most: u64,
    /// When the deadline had come, and how many were left before.
    over_since: Option<(Duration, u64)>,
}

/// How a drain has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// No connection is left, after so long, and since so many were ended at the deadline.
    Empty { after: Duration, ended: u64 },
    /// The deadline has come, and so many are left.
    Left(u64),
    /// Nobody drains the server any more.
    CalledOff,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            End::Empty { after, ended } => {
                write!(f, "drained in {}: no connection is left", clock(after.as_secs()))?;
                if ended > 0 { write!(f, "; {} ended at the deadline", counted(ended)) } else { Ok(()) }
            }
            End::Left(left) => write!(f, "the deadline has come: {} left", counted(left)),
            End::CalledOff => f.write_str("it is not drained any more"),
        }
    }
}

fn counted(connections: u64) -> String {
    format!("{connections} connection{}", if connections == 1 { "" } else { "s" })
}

/// What is told of it to programs.
#[derive(Debug, Serialize)]
pub(super) struct Told<'p> {
    connections: u64,
    /// Until none is left, if it goes on like this.
    #[serde(skip_serializing_if = "Option::is_none")]
    eta_seconds: Option<u64>,
    drains: &'p [DrainRow],
}

impl Progress {
    /// Takes up what is seen now.
    pub(super) fn see(&mut self, rows: Vec<DrainRow>, now: Duration) {
        let before = self.left();
        self.rows = rows;
        let left = self.left();
        self.most = self.most.max(left);
        self.looks.push_back((now, left));
        // The last look from before is what the first one since is compared with.
        while self.looks.get(1).is_some_and(|&(then, _)| then + BACK <= now) {
            self.looks.pop_front();
        }
        let is_over =
            !self.rows.is_empty() && self.rows.iter().all(|row| row.drain.deadline_seconds == Some(0));
        self.over_since = is_over.then(|| self.over_since.unwrap_or((now, before)));
    }

    /// Connections left.
    pub(super) fn left(&self) -> u64 {
        self.rows.iter().map(|row| row.drain.connections).sum()
    }

    /// Connections that there were at most.
    pub(super) fn most(&self) -> u64 {
        self.most
    }

    /// How long it takes until none is left, if it goes on as of late.
    pub(super) fn eta(&self) -> Option<Duration> {
        let (&(first, had), &(last, has)) = (self.looks.front()?, self.looks.back()?);
        let ended = had.checked_sub(has).filter(|&ended| ended > 0)?;
        Some((last - first).mul_f64(has as f64 / ended as f64))
    }

    /// Whether it has ended, and how.
    pub(super) fn end(&self) -> Option<End> {
        let &(now, left) = self.looks.back()?;
        let keeps = self.rows.iter().all(|row| row.drain.at_deadline == Rest::Keep);
        match self.over_since {
            _ if self.rows.is_empty() => Some(End::CalledOff),
            over if left == 0 => Some(End::Empty { after: now, ended: over.map_or(0, |(_, ended)| ended) }),
            Some((since, _)) if keeps || since + AFTER_DEADLINE <= now => Some(End::Left(left)),
            _ => None,
        }
    }

    /// A line for people.
    pub(super) fn words(&self) -> String {
        let left = self.left();
        let mut words = format!("{} left", counted(left));
        let oldest = self.rows.iter().filter_map(|row| row.drain.oldest_seconds).max();
        // Of several servers, that of the one with most connections.
        let fullest = self.rows.iter().max_by_key(|row| row.drain.connections);
        if let Some((oldest, median)) = oldest.zip(fullest.and_then(|row| row.drain.median_seconds)) {
            words += &format!(", the oldest {}, the median {}", clock(oldest.into()), clock(median.into()));
        }
        if let (Some(eta), true) = (self.eta(), left > 0) {
            words += &format!("; {} to go", clock(eta.as_secs()));
        }
        let deadline = self.rows.iter().filter_map(|row| row.drain.deadline_seconds).max();
        match deadline.filter(|_| left > 0) {
            Some(0) => words += "; the deadline has come",
            Some(seconds) => words += &format!("; deadline in {}", clock(seconds)),
            None => {}
        }
        words
    }

    /// The same for programs.
    pub(super) fn told(&self) -> Told<'_> {
        let eta_seconds = self.eta().map(|eta| eta.as_secs());
        Told { connections: self.left(), eta_seconds, drains: &self.rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::drains::Draining;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn row(connections: u64, deadline: Option<u64>, at_deadline: Rest) -> DrainRow {
        let age = |age| (connections > 0).then_some(age);
        let drain = Draining {
            since_seconds: 9,
            deadline_seconds: deadline,
            at_deadline,
            connections,
            oldest_seconds: age(125),
            median_seconds: age(7),
        };
        DrainRow { service: "tcp 192.0.2.1:80".into(), server: "10.0.0.1:80".into(), drain }
    }

    /// What is seen each second of a server with so many connections.
    fn seen(counts: impl IntoIterator<Item = u64>, deadline: Option<u64>, rest: Rest) -> Progress {
        let mut progress = Progress::default();
        for (at, count) in (0..).zip(counts) {
            progress.see(
                vec![row(count, deadline.map(|deadline| deadline.saturating_sub(at)), rest)],
                seconds(at),
            );
        }
        progress
    }

    #[test]
    fn what_is_left_goes_on_as_it_did_in_the_last_minute() {
        assert_eq!(seen([100], None, Rest::Reset).eta(), None);
        assert_eq!(seen([100, 100, 100], None, Rest::Reset).eta(), None);
        assert_eq!(seen([100, 95, 90], None, Rest::Reset).eta(), Some(seconds(18)));
        // Two a second for long, and one a second since.
        let slower = (0..200u64).map(|at| 1000 - 2 * at).chain((0..60).map(|at| 600 - at));
        assert_eq!(seen(slower, None, Rest::Reset).eta().unwrap().as_secs(), 60 * 541 / 61);
        assert_eq!(seen([3, 1, 4, 1, 5], None, Rest::Reset).eta(), None, "there are more than there were");
    }

    #[test]
    fn it_ends_when_no_connection_is_left_or_with_the_deadline_or_when_it_is_called_off() {
        let end = |counts: &[u64], deadline, rest| seen(counts.iter().copied(), deadline, rest).end();
        let empty = |after, ended| Some(End::Empty { after: seconds(after), ended });
        assert_eq!(end(&[7, 1], None, Rest::Reset), None);
        assert_eq!(end(&[7, 0], None, Rest::Reset), empty(1, 0));
        assert_eq!(empty(65, 0).unwrap().to_string(), "drained in 1:05: no connection is left");
        assert_eq!(end(&[7, 6, 5], Some(2), Rest::Keep), Some(End::Left(5)));
        assert_eq!(end(&[7, 6, 5], Some(2), Rest::Reset), None, "they are being reset");
        assert_eq!(end(&[7, 6, 5, 0], Some(2), Rest::Reset), empty(3, 6));
        let words = empty(3, 6).unwrap().to_string();
        assert_eq!(words, "drained in 0:03: no connection is left; 6 connections ended at the deadline");
        assert_eq!(end(&[5; 17], Some(2), Rest::Drop), None);
        assert_eq!(end(&[5; 18], Some(2), Rest::Drop), Some(End::Left(5)));
        let mut progress = seen([7], None, Rest::Reset);
        progress.see(Vec::new(), seconds(1));
        assert_eq!(progress.end(), Some(End::CalledOff));
    }

    #[test]
    fn people_and_programs_are_told_the_same() {
        let progress = seen([30, 25, 20], Some(600), Rest::Reset);
        assert_eq!(
            progress.words(),
            "20 connections left, the oldest 2:05, the median 0:07; 0:04 to go; deadline in 9:58"
        );
        let told = serde_json::to_value(progress.told()).unwrap();
        assert_eq!((&told["connections"], &told["eta_seconds"]), (&20.into(), &4.into()));
        assert_eq!(told["drains"][0]["deadline_seconds"], 598);
        assert_eq!(
            seen([1, 1], None, Rest::Reset).words(),
            "1 connection left, the oldest 2:05, the median 0:07"
        );
        assert_eq!(seen([4, 0], Some(1), Rest::Reset).words(), "0 connections left");
    }
}
