//! Slow start: whose ramp begins when services are compiled, and when it ends.

use super::ids::Ids;
use crate::dataplane::snapshot::Services;
use crate::net::Tick;
use crate::service::{Ramp, RealId, RealServer, SlowStart, VirtualService};
use hashbrown::HashMap;
use std::sync::Arc;

/// Begins the ramps of a service's servers that take connections and `took` none before, one after the other.
///
/// Where no other server takes any, none ramps: nobody would be spared. So a director starts with whole shares, as does a
/// service.
pub(super) fn begin(reals: &mut [RealServer], took: &[bool], slow_start: Option<SlowStart>, now: Tick) {
    let any_other = reals.iter().zip(took).any(|(real, took)| real.weight > 0 && *took);
    for (real, took) in reals.iter_mut().zip(took) {
        real.ramp = match slow_start {
            Some(slow_start) if real.weight > 0 && any_other => {
                if *took { real.ramp } else { Some(Ramp::new(slow_start, now)) }
            }
            _ => None,
        };
    }
}

/// Servers whose ramps are over, but which have fewer connections than others still.
///
/// If its connections last as long as theirs, it has as many before it was given twice what it lacked. If they do not,
/// it never has; but then nothing is held back from it for longer than that.
#[derive(Debug, Default)]
pub(super) struct CatchingUp(HashMap<RealId, Goal>);

/// How many connections a server has been given when it has been given enough.
type Goal = u64;

impl CatchingUp {
    /// The services some of whose servers' ramps end now: where each is, and what it becomes.
    pub(super) fn ended(
        &mut self,
        services: &Services,
        ids: &Ids,
        now: Tick,
    ) -> Vec<(usize, Arc<VirtualService>)> {
        let mut still = HashMap::new();
        let mut ended = Vec::new();
        for (place, service) in services.table().services().iter().enumerate() {
            let mut is_over = |real: &RealServer| {
                if !real.ramp.is_some_and(|ramp| ramp.is_over(now)) {
                    return false;
                }
                if !services.would_flood(place, real) {
                    return true;
                }
                let given = ids.given(real.id);
                let goal = self.0.get(&real.id).copied().unwrap_or_else(|| given + 2 * lack(service, real));
                still.insert(real.id, goal);
                given >= goal
            };
            let over: Vec<bool> = service.reals.iter().map(&mut is_over).collect();
            if over.contains(&true) {
                let mut service = VirtualService::clone(service);
                let of_them = service.reals.iter_mut().zip(over).filter(|(_, over)| *over);
                of_them.for_each(|(real, _)| real.ramp = None);
                ended.push((place, Arc::new(service)));
            }
        }
        self.0 = still;
        ended
    }
}

/// How many connections the server lacks to have as many for its weight as those that do not ramp.
fn lack(service: &VirtualService, real: &RealServer) -> u64 {
    let connections = |real: &RealServer| u64::from(real.live.active()) + u64::from(real.live.inactive());
    let weight = |real| u64::from(service.scheduler.weight(real));
    let settled = || service.reals.iter().filter(|real| real.ramp.is_none() && real.weight > 0);
    let (all, weights): (u64, u64) = (settled().map(connections).sum(), settled().map(weight).sum());
    (all * weight(real) / weights.max(1)).saturating_sub(connections(real))
}
