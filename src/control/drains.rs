//! Drains as an operator sees them.

use super::desired::{Drain, Rest};
use serde::{Deserialize, Serialize};
use std::time::Duration;

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
}

impl Draining {
    /// How far it is, so long after the director's start.
    pub fn of(drain: &Drain, now: Duration) -> Draining {
        // A deadline in the last moments of its last second has not come.
        let left = |deadline: Duration| deadline.saturating_sub(now).as_millis().div_ceil(1000) as u64;
        Draining {
            since_seconds: now.saturating_sub(drain.since).as_secs(),
            deadline_seconds: drain.deadline.map(left),
            at_deadline: drain.rest,
        }
    }
}
