//! Connections that are ended from here, and whose ends are told so: none of their packets goes on any more.
//!
//! ```text
//! alive --condemned--> both ends may be open --a reset comes from one--> the other may be --from it, too--> ended
//!                                    \------------------ 5 s --------------------\----------------------------^
//! ```
//!
//! The entry of a condemned connection lacks the flag that [`Table::pass`] wants, as that of a watched one does, so that
//! nobody else pays for it. Nothing renews it: when it was seen last is when it was condemned.

use super::entry::{Entry, Meta};
use super::table::{Found, Table};
use crate::net::{Direction, FlowKey, Tick};
use crate::service::RealId;

/// How long the ends have to be told.
pub(super) const LASTS: u32 = 5 * Tick::PER_SECOND;

/// A condemned connection, to whose ends something may be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condemned {
    /// The server.
    pub real: RealId,
    /// The key of what the client receives, unless it has closed its end.
    pub to_client: Option<FlowKey>,
    /// The same of the server.
    pub to_server: Option<FlowKey>,
}

impl Table {
    /// Condemns a connection whose replies pass here. `false` if it is over, or is condemned already.
    pub fn condemn(&self, found: &Found, now: Tick) -> bool {
        let Some(entry) = self.slab.get(found.slot() as usize) else { return false };
        let mut meta = entry.meta();
        while meta.is_live() && meta.generation() == found.meta.generation() && !meta.is_condemned() {
            entry.see(now);
            match entry.exchange(meta, meta.condemned()) {
                Ok(()) => return true,
                Err(other) => meta = other,
            }
        }
        false
    }

    /// The sender of this packet, which is of a condemned connection, has closed its end. Whether the other has, too: then
    /// the connection is to be ended.
    pub fn is_closed_by_both(&self, found: &Found) -> bool {
        let Some(entry) = self.slab.get(found.slot() as usize) else { return false };
        let mut meta = found.meta;
        loop {
            let closed = meta.closed_by(found.direction());
            if !closed.is_condemned() {
                return true;
            }
            match entry.exchange(meta, closed) {
                Err(other) if other.is_live() && other.generation() == meta.generation() => meta = other,
                _ => return false,
            }
        }
    }

    /// What there is to say to the ends of the condemned connection that the slot holds.
    pub(super) fn condemned_in(&self, entry: &Entry, meta: Meta) -> Option<Condemned> {
        let key = entry.key()?;
        let server = self.server(meta.real(), key.is_v4(), key.dst().port)?;
        let to_server = FlowKey::new(key.proto(), key.src(), server);
        entry.still(meta).then(|| Condemned {
            real: meta.real(),
            to_client: meta.is_open(Direction::Original).then(|| key.reversed()),
            to_server: meta.is_open(Direction::Reply).then_some(to_server),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Chosen, Ended, Expiry, Opened, Seed, Touched, Tracker};
    use super::*;
    use crate::net::{Endpoint, Proto, TcpFlags};
    use crate::service::Standing;
    use std::sync::Arc;

    const REAL: RealId = RealId(3);
    const ACK: TcpFlags = TcpFlags::ACK;

    /// A tracker whose table has one established connection, and what the client's packets have as a key.
    fn established(server: &str, key: FlowKey) -> (Tracker, FlowKey) {
        let table = Arc::new(Table::new(8, Seed::new(1, 2)).unwrap());
        table.set_endpoint(REAL, server.parse().unwrap());
        let mut tracker = Tracker::new(table.clone(), 0, 1);
        let chosen = Chosen {
            real: REAL,
            replies_pass: true,
            hop: 0,
            template: None,
            is_watched: false,
            listens: false,
        };
        let opened = tracker.open(&key, table.hash(&key), TcpFlags::SYN, Tick(0), || Some(chosen));
        let Ok(Opened::New(found)) = opened else { panic!("{opened:?}") };
        tracker.settle();
        assert_eq!(touch(&tracker, found, ACK), Touched::Same);
        (tracker, key)
    }

    fn touch(tracker: &Tracker, found: Found, flags: TcpFlags) -> Touched {
        tracker.table().touch(found, flags, Tick(50), &Expiry::default())
    }

    fn find(tracker: &Tracker, key: &FlowKey) -> Option<Found> {
        tracker.table().search(tracker.table().hash(key), key)
    }

    fn v4() -> (Tracker, FlowKey) {
        established("10.0.0.7:8080", FlowKey::v4(Proto::Tcp, 0xc000_0201, 0x0a00_0064, 4000, 80))
    }

    /// What the sweep meets in the second that ends at this tick, and how many connections it ends.
    fn swept(tracker: &mut Tracker, now: u32) -> (Vec<Condemned>, u32) {
        let (mut ended, mut met) = (0, Vec::new());
        for tick in now - Tick::PER_SECOND..=now {
            while tracker.sweep(Tick(tick), &Expiry::default(), 64, |end| {
                assert_eq!(end, Ended { real: REAL, standing: Some(Standing::Active) });
                ended += 1;
            }) {}
            met.extend(tracker.take_condemned());
        }
        (met, ended)
    }

    #[test]
    fn a_condemned_connections_packets_pass_no_more_and_its_place_is_kept() {
        let (tracker, key) = v4();
        let pass = |tracker: &Tracker| {
            let table = tracker.table();
            let lookup = table.glance(table.hash(&key));
            table.pass(lookup, &key, ACK, Tick(60), &Expiry::default()).is_some()
        };
        assert!(pass(&tracker));
        let found = find(&tracker, &key).unwrap();
        assert!(tracker.table().condemn(&found, Tick(100)));
        assert!(!tracker.table().condemn(&found, Tick(200)), "once");
        assert!(!pass(&tracker));
        let reply = FlowKey::new(Proto::Tcp, "10.0.0.7:8080".parse().unwrap(), key.src());
        for key in [&key, &reply] {
            let found = find(&tracker, key).unwrap();
            assert_eq!(touch(&tracker, found, ACK), Touched::Condemned, "{key}");
        }
        let listed: Vec<_> = tracker.table().connections().map(|c| (c.seen, c.condemned)).collect();
        assert_eq!(listed, [(Tick(100), Some(LASTS))]);
        // Who opens a new one from the same port has lost the old one.
        assert_eq!(touch(&tracker, find(&tracker, &key).unwrap(), TcpFlags::SYN), Touched::Over);
        let answer = TcpFlags::SYN | ACK;
        assert_eq!(touch(&tracker, find(&tracker, &reply).unwrap(), answer), Touched::Condemned);
    }

    #[test]
    fn a_condemned_connection_is_met_each_second_for_five_and_then_ended() {
        let (mut tracker, key) = v4();
        let found = find(&tracker, &key).unwrap();
        assert!(tracker.table().condemn(&found, Tick(100)));
        let server: Endpoint = "10.0.0.7:8080".parse().unwrap();
        let to_server = FlowKey::new(Proto::Tcp, key.src(), server);
        let both = Condemned { real: REAL, to_client: Some(key.reversed()), to_server: Some(to_server) };
        for second in 2..=6 {
            let (met, ended) = swept(&mut tracker, second * Tick::PER_SECOND);
            assert!(!met.is_empty() && met.len() <= 2 && met.iter().all(|met| *met == both), "{met:?}");
            assert_eq!(ended, 0, "second {second}");
        }
        assert_eq!(swept(&mut tracker, 8 * Tick::PER_SECOND).1, 1);
        assert!(find(&tracker, &key).is_none());
    }

    #[test]
    fn an_end_that_is_closed_is_not_spoken_to_and_with_both_the_connection_is_over() {
        let key = FlowKey::v6(Proto::Tcp, 7 << 96, 1 << 96, 4000, 80);
        let (mut tracker, key) = established("[fd00::7]:8080", key);
        let reply = FlowKey::new(Proto::Tcp, "[fd00::7]:8080".parse().unwrap(), key.src());
        assert!(tracker.table().condemn(&find(&tracker, &key).unwrap(), Tick(100)));
        let from_server = find(&tracker, &reply).unwrap();
        assert!(!tracker.table().is_closed_by_both(&from_server));
        assert!(!tracker.table().is_closed_by_both(&from_server), "again");
        let (met, _) = swept(&mut tracker, 200);
        assert!(met.iter().all(|met| met.to_server.is_none() && met.to_client == Some(key.reversed())));
        let from_client = find(&tracker, &key).unwrap();
        assert!(tracker.table().is_closed_by_both(&from_client));
        assert!(tracker.end(&from_client).is_some());
        assert!(find(&tracker, &key).is_none() && find(&tracker, &reply).is_none());
        assert!(!tracker.table().condemn(&from_client, Tick(300)), "it is over");
    }
}
