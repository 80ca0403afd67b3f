//! Drains: what there is to see of them, and what the desk does about them as time goes by.

use super::connections::Ending;
use super::desired::{Desired, Drain, Key, Maintenance, Rest};
use super::rounds::{Count, Errand};
use super::view::View;
use crate::net::Endpoint;
use crate::service::{RealId, RealServer, VirtualService};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// By then every worker has taken up what was published.
const SETTLED: Duration = Duration::from_millis(500);

/// How far the drain of a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct Draining {
    /// Seconds since it began.
    pub since_seconds: u64,
    /// Seconds until its deadline, if it has one; 0 from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<u64>,
    /// What becomes of the connections that are left then.
    pub at_deadline: Rest,
    /// Connections left, without those that both ends have closed; as of the last second or two.
    pub connections: u64,
    /// Seconds since the oldest of them was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_seconds: Option<u32>,
    /// The same of the one in the middle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub median_seconds: Option<u32>,
}

/// A server that is drained, or in maintenance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct DrainRow {
    /// Its service's key, such as `tcp 192.0.2.1:80`.
    pub service: String,
    /// RIP:rport.
    pub server: String,
    /// How far it is.
    #[serde(flatten)]
    pub drain: Draining,
}

/// Since when a server is in maintenance, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct InMaintenance {
    /// Seconds since it began.
    pub since_seconds: u64,
    /// Who has begun it, as the log has it.
    pub by: String,
    /// What for, if somebody has said so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl InMaintenance {
    /// What it is so long after the director's start.
    pub fn of(maintenance: &Maintenance, now: Duration) -> InMaintenance {
        InMaintenance {
            since_seconds: now.saturating_sub(maintenance.leave.since).as_secs(),
            by: maintenance.by.to_string(),
            reason: maintenance.reason.to_string(),
        }
    }
}

/// The servers that are drained or in maintenance, or those of them that are `meant`.
pub fn rows(view: &View, meant: impl Fn(Key, Endpoint) -> bool) -> Vec<DrainRow> {
    let servers = view.services().iter().flat_map(|service| {
        let key = Key::from(&**service);
        service.reals.iter().map(move |real| (key, real))
    });
    let row = |(key, real): (Key, &RealServer)| {
        let drain = view.draining(key, real)?;
        Some(DrainRow { service: key.to_string(), server: real.endpoint.to_string(), drain })
    };
    servers.filter(|(key, real)| meant(*key, real.endpoint)).filter_map(row).collect()
}

impl Draining {
    /// How far it is, so long after the director's start.
    pub fn of(drain: &Drain, real: &RealServer, count: Option<&Count>, now: Duration) -> Draining {
        // A deadline in the last moments of its last second has not come.
        let left = |deadline: Duration| deadline.saturating_sub(now).as_millis().div_ceil(1000) as u64;
        let count = count.filter(|count| is_settled(drain, count.at) && real.live.connections() > 0);
        Draining {
            since_seconds: now.saturating_sub(drain.since).as_secs(),
            deadline_seconds: drain.deadline.map(left),
            at_deadline: drain.rest,
            connections: count.map_or_else(|| real.live.connections(), |count| count.open),
            oldest_seconds: count.and_then(|count| count.oldest),
            median_seconds: count.and_then(|count| count.median),
        }
    }
}

fn is_settled(drain: &Drain, at: Duration) -> bool {
    at >= drain.since + SETTLED
}

/// The drains that the desk knows of.
#[derive(Debug, Default)]
pub struct Drains {
    known: HashMap<(Key, Endpoint), Known>,
    /// What the last round found.
    pub counts: Arc<HashMap<RealId, Count>>,
}

/// A drain, and what was told of it.
#[derive(Debug, Clone, Copy)]
struct Known {
    drain: Drain,
    is_empty: bool,
    is_over: bool,
}

impl Drains {
    /// Tells which drains have come to their end or to their deadline since the last call, each once. Gives what the next
    /// round is to do with the connections of drained servers, if they have any.
    pub fn follow(
        &mut self,
        desired: &Desired,
        services: &[Arc<VirtualService>],
        now: Duration,
    ) -> Vec<(RealId, Errand)> {
        let mut errands = Vec::new();
        let mut before = std::mem::take(&mut self.known);
        for (key, server, condition) in desired.conditions().iter() {
            let Some(drain) = condition.leave() else { continue };
            let compiled = desired.place(key).and_then(|place| services.get(place));
            let Some(real) = compiled.and_then(|of| of.reals.iter().find(|real| real.endpoint == server))
            else {
                continue;
            };
            let far = Draining::of(&drain, real, self.counts.get(&real.id), now);
            let known = before.remove(&(key, server)).filter(|known| known.drain == drain);
            let known = known.unwrap_or_else(|| Known::of(drain)).follow(key, real, &far, now);
            if real.live.is_named() {
                let ending = if known.is_over { Ending::of(drain.rest) } else { None };
                errands.push((real.id, Errand { ending, counts: true }));
            }
            self.known.insert((key, server), known);
        }
        errands
    }
}

impl Known {
    fn of(drain: Drain) -> Known {
        Known { drain, is_empty: false, is_over: false }
    }

    fn follow(mut self, key: Key, real: &RealServer, far: &Draining, now: Duration) -> Known {
        let (server, Draining { connections, at_deadline, .. }) = (real.endpoint, *far);
        if !self.is_over && self.drain.deadline.is_some_and(|deadline| deadline <= now) {
            self.is_over = true;
            if connections > 0 {
                tracing::warn!(service = %key, %server, connections, ?at_deadline, "the drain's deadline has come");
            }
        }
        if !self.is_empty && connections == 0 && is_settled(&self.drain, now) {
            self.is_empty = true;
            let seconds = far.since_seconds;
            tracing::info!(service = %key, %server, seconds, "drained: no connection is left");
        }
        self
    }
}
