//! Room in a full table, as the operator wants it made.

use super::{Road, View, closed};
use crate::net::FlowKey;
use crate::service::WhenFull;

impl Road {
    /// Ends a connection of little worth for a new one, to the service that this key addresses. `false` if none is to be
    /// ended, or none is found: the new one is refused.
    #[cold]
    pub(super) fn make_room(&mut self, key: &FlowKey, view: View<'_>) -> bool {
        let (snapshot, counters) = (view.snapshot, &self.counters);
        // Who finds no server is not worth another one's place.
        if snapshot.when_full == WhenFull::Refuse || !snapshot.services.is_available(key) {
            return false;
        }
        let Some(evicted) = self.tracker.make_room(view.now) else { return false };
        if evicted.half_open { &counters.evicted_half_open } else { &counters.evicted_closing }.add(1);
        closed(snapshot, counters, evicted.ended);
        true
    }
}
