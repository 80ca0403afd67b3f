//! Room in a full table, as the operator wants it made.

use super::{Road, View};
use crate::service::WhenFull;

impl Road {
    /// Ends a connection of little worth for a new one to this service. `false` if none is to be ended, or none is
    /// found: the new one is refused.
    #[cold]
    pub(super) fn make_room(&mut self, service: usize, view: View<'_>) -> bool {
        let snapshot = view.snapshot;
        // Who finds no server is not worth another one's place.
        if snapshot.when_full == WhenFull::Refuse || !snapshot.services.is_available(service) {
            return false;
        }
        let Some(evicted) = self.tracker.make_room(view.now) else { return false };
        let counters = &self.counters;
        if evicted.half_open { &counters.evicted_half_open } else { &counters.evicted_closing }.add(1);
        if let Some(decision) = snapshot.decision(evicted.ended.real) {
            decision.live.closed(evicted.ended.standing);
        }
        true
    }
}
