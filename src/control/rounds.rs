//! Rounds over the connection table, slice by slice, so that nobody waits: connections of servers that are to have none
//! are ended, and those of drained ones counted.

use super::connections::{Connections, Ending};
use crate::conntrack::Connection;
use crate::net::Tick;
use crate::service::RealId;
use hashbrown::HashMap;
use std::time::Duration;

/// What a round does with the connections of a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Errand {
    /// How they are ended, if they are.
    pub ending: Option<Ending>,
    /// Whether they are counted.
    pub counts: bool,
}

/// How many connections a server had, when a round came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// When the round began, after the director's start.
    pub at: Duration,
    /// Those that are not finished.
    pub open: u64,
    /// Seconds since the oldest of them was opened.
    pub oldest: Option<u32>,
    /// The same of the one in the middle.
    pub median: Option<u32>,
}

/// A round under way.
#[derive(Debug)]
pub struct Round {
    servers: HashMap<RealId, (Errand, Vec<u32>)>,
    from: u32,
    begun: Duration,
}

impl Round {
    /// A round that begins now.
    pub fn new(errands: impl IntoIterator<Item = (RealId, Errand)>, now: Duration) -> Round {
        let servers = errands.into_iter().map(|(server, errand)| (server, (errand, Vec::new()))).collect();
        Round { servers, from: 0, begun: now }
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.servers.is_empty()
    }

    /// Does from here on what this other round would do, with the servers that both are about.
    pub fn follow(&mut self, other: &Round) {
        self.servers.retain(|server, (errand, _)| match other.servers.get(server) {
            Some((now, _)) => {
                *errand = *now;
                true
            }
            None => false,
        });
    }

    /// When it began, after the director's start.
    pub fn begun(&self) -> Duration {
        self.begun
    }

    /// Does a slice. Gives what was counted when the round is done.
    pub fn go_on(&mut self, connections: &mut Connections, now: Tick) -> Option<HashMap<RealId, Count>> {
        let servers = &mut self.servers;
        let how = |connection: &Connection| {
            let (errand, ages) = servers.get_mut(&connection.real)?;
            if errand.counts && connection.is_open(now) {
                ages.push(now.since(connection.created) / Tick::PER_SECOND);
            }
            errand.ending
        };
        let (_, next) = connections.end(self.from, now, how);
        self.from = next.unwrap_or(0);
        next.is_none().then(|| self.counted())
    }

    fn counted(&mut self) -> HashMap<RealId, Count> {
        let at = self.begun;
        let counted = self.servers.iter_mut().filter(|(_, (errand, _))| errand.counts);
        let count = |ages: &mut Vec<u32>| {
            let (open, oldest) = (ages.len() as u64, ages.iter().max().copied());
            let median = oldest.map(|_| *ages.select_nth_unstable(open as usize / 2).1);
            Count { at, open, oldest, median }
        };
        counted.map(|(&server, (_, ages))| (server, count(ages))).collect()
    }
}
