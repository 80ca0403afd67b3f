//! Connections as an operator sees them: listed page by page, filtered, and ended.

use super::desired::Rest;
use crate::conntrack::{Connection, Found, Table, Tracker};
use crate::dataplane::snapshot::{Published, Snapshot};
use crate::net::{Endpoint, Prefix, Proto, Tick};
use crate::service::{RealId, State};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Slots looked at in one go, at most: a few hundredths of a second.
pub const SLICE: u32 = 1 << 21;

/// A network, an address, or an address with a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whom {
    of: Prefix,
    port: Option<u16>,
}

impl Whom {
    /// Whether that is this end.
    pub fn is(&self, endpoint: Endpoint) -> bool {
        self.of.contains(endpoint.addr) && self.port.is_none_or(|port| port == endpoint.port)
    }
}

impl std::str::FromStr for Whom {
    type Err = String;

    fn from_str(text: &str) -> Result<Whom, String> {
        if let Ok(endpoint) = text.parse::<Endpoint>() {
            return Ok(Whom { of: Prefix::host(endpoint.addr), port: Some(endpoint.port) });
        }
        let of = text.parse().map_err(|_| {
            format!(
                "{text:?} is no address (allowed: such as 192.0.2.7, 192.0.2.7:4000, [2001:db8::7]:4000 or \
                 192.0.2.0/24)"
            )
        })?;
        Ok(Whom { of, port: None })
    }
}

/// Which connections are meant: those that fit all that is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// CIP, CIP:cport, or a network.
    pub client: Option<Whom>,
    /// RIP, RIP:rport, or a network.
    pub server: Option<Whom>,
    /// VIP, VIP:vport, or a network.
    pub service: Option<Whom>,
    /// The protocol.
    pub proto: Option<Proto>,
    /// The state.
    pub state: Option<State>,
}

impl Filter {
    /// The filter of these words; empty ones say nothing.
    ///
    /// # Errors
    /// What a word that is none is to be.
    pub fn new(
        client: Option<&str>,
        server: Option<&str>,
        service: Option<&str>,
        protocol: Option<&str>,
        state: Option<&str>,
    ) -> Result<Filter, String> {
        let whom = |name: &str, text: Option<&str>| {
            text.map(|text| text.parse::<Whom>().map_err(|error| format!("{name}: {error}"))).transpose()
        };
        let proto = |text: &str| text.parse::<Proto>().map_err(|error| format!("protocol: {text:?} {error}"));
        let of_name = |text: &str| {
            let named = State::ALL.into_iter().find(|state| state.name().eq_ignore_ascii_case(text));
            let names = || State::ALL.map(State::name).join(", ");
            named.ok_or_else(|| format!("state: {text:?} is unknown (allowed: {})", names()))
        };
        Ok(Filter {
            client: whom("client", client)?,
            server: whom("server", server)?,
            service: whom("service", service)?,
            proto: protocol.map(proto).transpose()?,
            state: state.map(of_name).transpose()?,
        })
    }

    fn fits(&self, connection: &Connection, server: Option<Endpoint>) -> bool {
        let Connection { key, state, .. } = connection;
        self.client.is_none_or(|client| client.is(key.src()))
            && self.service.is_none_or(|service| service.is(key.dst()))
            && self.server.is_none_or(|wanted| server.is_some_and(|server| wanted.is(server)))
            && self.proto.is_none_or(|proto| proto == key.proto())
            && self.state.is_none_or(|wanted| wanted == *state)
    }
}

/// A connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct Row {
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// CIP:cport.
    pub client: String,
    /// VIP:vport.
    pub service: String,
    /// RIP:rport; empty if it is not known any more.
    pub server: String,
    /// As `ipvsadm -Lc` prints it.
    pub state: String,
    /// Seconds of silence until it is forgotten.
    pub expires_seconds: u32,
    /// Seconds since it was opened.
    pub age_seconds: u32,
    /// Whether it is a persistence template: no connection, but what leads a client to its server.
    pub template: bool,
}

/// Some of the connections.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct Page {
    /// Those that fit, in no order.
    pub connections: Vec<Row>,
    /// Where the next page begins; none if this is the last.
    pub next: Option<u32>,
}

/// Where servers are, by id.
#[derive(Debug, Default)]
pub struct Whereabouts(Vec<Option<Endpoint>>);

impl Whereabouts {
    /// Of these servers.
    pub fn of(servers: impl Iterator<Item = (RealId, Endpoint)>) -> Whereabouts {
        let mut places = Vec::new();
        for (id, endpoint) in servers {
            if places.len() <= id.index() {
                places.resize(id.index() + 1, None);
            }
            places[id.index()] = Some(endpoint);
        }
        Whereabouts(places)
    }

    fn find(&self, id: RealId) -> Option<Endpoint> {
        *self.0.get(id.index())?
    }
}

/// How connections are ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// They are forgotten, and nobody is told.
    Forget,
    /// Both ends of a TCP connection whose replies pass here are reset; others are forgotten.
    Reset,
}

impl Ending {
    /// What is done with those left at a deadline, if anything.
    pub fn of(rest: Rest) -> Option<Ending> {
        match rest {
            Rest::Reset => Some(Ending::Reset),
            Rest::Drop => Some(Ending::Forget),
            Rest::Keep => None,
        }
    }
}

/// The connections of a table, with all that is needed to show and to end them.
pub struct Connections {
    table: Arc<Table>,
    published: Arc<Published>,
    tracker: Tracker,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("table", &self.table).finish_non_exhaustive()
    }
}

impl Connections {
    /// The connections of this table, whose workers decide by what is published.
    pub fn new(table: Arc<Table>, published: Arc<Published>) -> Connections {
        let tracker = Tracker::new(table.clone(), 0, 1);
        Connections { table, published, tracker }
    }

    /// Those that fit, `limit` of them at most, from slot `from` on.
    pub fn page(&self, filter: &Filter, places: &Whereabouts, from: u32, limit: usize, now: Tick) -> Page {
        let snapshot = self.published.current();
        let mut page = Page::default();
        for (slot, connection) in self.table.connections_in(slice(from)) {
            let server = places.find(connection.real);
            if !filter.fits(&connection, server) {
                continue;
            }
            if page.connections.len() == limit {
                page.next = Some(slot);
                return page;
            }
            let seconds = |ticks: u32| ticks / Tick::PER_SECOND;
            let lasts = connection.condemned.or(connection.template.map(|template| template.lasts));
            let lasts = lasts.unwrap_or_else(|| snapshot.expiry.of(connection.real, connection.state));
            let left = lasts.saturating_sub(now.since(connection.seen));
            page.connections.push(Row {
                protocol: connection.key.proto().word().to_owned(),
                client: connection.key.src().to_string(),
                service: connection.key.dst().to_string(),
                server: server.map(|server| server.to_string()).unwrap_or_default(),
                state: connection.state.name().to_owned(),
                expires_seconds: seconds(left),
                age_seconds: seconds(now.since(connection.created)),
                template: connection.template.is_some(),
            });
        }
        page.next = self.after_slice(from);
        page
    }

    /// Where a slice that begins at `from` is followed by another.
    fn after_slice(&self, from: u32) -> Option<u32> {
        from.checked_add(SLICE).filter(|&next| next < self.table.slots_used())
    }

    /// Ends those of which `how` says so, from slot `from` on; how many, and where to go on.
    pub fn end(
        &mut self,
        from: u32,
        now: Tick,
        mut how: impl FnMut(&Connection) -> Option<Ending>,
    ) -> (u64, Option<u32>) {
        let snapshot = self.published.current();
        let mut ended = 0;
        for (_, connection) in self.table.connections_in(slice(from)) {
            let has_ended = match how(&connection) {
                None => false,
                Some(Ending::Reset) if can_be_reset(&connection) => {
                    find(&self.table, &connection).is_some_and(|found| self.table.condemn(&found, now))
                }
                Some(_) => end(&mut self.tracker, &self.table, &connection, &snapshot),
            };
            ended += u64::from(has_ended);
        }
        // Free slots are everybody's.
        self.tracker.rest();
        (ended, self.after_slice(from))
    }

    /// Ends all that fit; how many. Templates are last, since they outlive the connections that they have led.
    pub fn end_all(&mut self, filter: &Filter, places: &Whereabouts) -> u64 {
        let mut ended = 0;
        for templates in [false, true] {
            let is_meant = |connection: &Connection| {
                connection.template.is_some() == templates
                    && filter.fits(connection, places.find(connection.real))
            };
            let mut from = Some(0);
            while let Some(slot) = from {
                let slice =
                    self.end(slot, Tick(0), |connection| is_meant(connection).then_some(Ending::Forget));
                ended += slice.0;
                from = slice.1;
            }
        }
        ended
    }
}

fn slice(from: u32) -> std::ops::Range<u32> {
    from..from.saturating_add(SLICE)
}

/// Whether there is anybody to tell, and a way to do so.
fn can_be_reset(connection: &Connection) -> bool {
    use State::{CloseWait, Established, FinWait, LastAck};
    let is_open = matches!(connection.state, Established | FinWait | CloseWait | LastAck);
    is_open && connection.replies_pass && connection.key.proto() == Proto::Tcp
}

/// The connection, unless it has just ended by itself.
fn find(table: &Table, connection: &Connection) -> Option<Found> {
    let found = table.search(table.hash(&connection.key), &connection.key);
    // Of the same ends another may have been opened since.
    found.filter(|found| found.real() == connection.real)
}

/// Ends a connection, unless it has just ended by itself.
fn end(tracker: &mut Tracker, table: &Table, connection: &Connection, snapshot: &Snapshot) -> bool {
    let Some(found) = find(table, connection) else { return false };
    let Some(ended) = tracker.end(&found) else { return false };
    if let Some(decision) = snapshot.decision(ended.real) {
        match ended.standing {
            Some(standing) => decision.live.closed(standing),
            None => decision.live.template_gone(),
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conntrack::{Chosen, Expiry, Opened, Seed};
    use crate::net::{FlowKey, Mark, TcpFlags};

    const VIP: &str = "192.0.2.1:80";

    fn table(connections: u16) -> (Arc<Table>, Connections) {
        let table = Arc::new(Table::new(1000, Seed::new(1, 2)).unwrap());
        let server = "10.0.0.1:80".parse().unwrap();
        table.set_endpoint(RealId(0), server);
        table.set_endpoint(RealId(1), "10.0.0.2:80".parse().unwrap());
        let mut tracker = Tracker::new(table.clone(), 0, 1);
        for port in 0..connections {
            let client = Endpoint::new("203.0.113.1".parse().unwrap(), 1000 + port);
            let key = FlowKey::new(Proto::Tcp, client, VIP.parse().unwrap());
            let chosen = Chosen {
                real: RealId(u32::from(port % 2)),
                replies_pass: true,
                hop: 0,
                is_watched: false,
                listens: false,
                template: None,
            };
            let opened = tracker.open(&key, table.hash(&key), TcpFlags::SYN, Tick(0), || Some(chosen));
            assert!(matches!(opened, Ok(Opened::New(_))));
        }
        drop(tracker);
        (table.clone(), Connections::new(table, Arc::default()))
    }

    fn places() -> Whereabouts {
        let place = |(id, at): (u32, &str)| (RealId(id), at.parse().unwrap());
        Whereabouts::of([(0, "10.0.0.1:80"), (1, "10.0.0.2:80")].map(place).into_iter())
    }

    fn server(text: &str) -> Filter {
        Filter::new(None, Some(text), None, None, None).unwrap()
    }

    #[test]
    fn pages_have_every_connection_once_and_end() {
        let (_, connections) = table(25);
        let (mut from, mut seen) = (Some(0), Vec::new());
        while let Some(slot) = from {
            let page = connections.page(&Filter::default(), &places(), slot, 10, Tick(0));
            assert!(page.connections.len() <= 10);
            seen.extend(page.connections.into_iter().map(|row| row.client));
            from = page.next;
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 25);
    }

    #[test]
    fn a_filter_takes_what_fits_all_of_it() {
        let (_, connections) = table(4);
        let count = |filter: Result<Filter, String>| {
            connections.page(&filter.unwrap(), &places(), 0, 10, Tick(0)).connections.len()
        };
        assert_eq!(count(Filter::new(Some("203.0.113.1"), None, None, None, None)), 4);
        assert_eq!(count(Filter::new(Some("203.0.113.1:1002"), None, None, Some("tcp"), None)), 1);
        assert_eq!(count(Ok(server("10.0.0.2"))), 2);
        assert_eq!(count(Ok(server("10.0.0.2:81"))), 0);
        assert_eq!(count(Ok(server("10.0.0.0/30"))), 4);
        assert_eq!(count(Ok(server("10.0.0.2/32"))), 2);
        assert_eq!(count(Filter::new(None, None, Some(VIP), None, Some("syn_recv"))), 4);
        assert_eq!(count(Filter::new(None, None, None, Some("UDP"), None)), 0);
        let error = Filter::new(None, None, None, None, Some("open")).unwrap_err();
        assert!(error.starts_with("state: \"open\" is unknown (allowed: NONE, ESTABLISHED"), "{error}");
        assert!(Filter::new(Some("nobody"), None, None, None, None).is_err());
    }

    #[test]
    fn those_that_are_ended_are_found_no_more_in_either_direction() {
        let (table, mut connections) = table(10);
        assert_eq!(connections.end_all(&server("10.0.0.1:80"), &places()), 5);
        assert_eq!(table.connections().count(), 5);
        let reply = |port| {
            FlowKey::new(
                Proto::Tcp,
                "10.0.0.1:80".parse().unwrap(),
                Endpoint::new("203.0.113.1".parse().unwrap(), port),
            )
        };
        for port in [1000, 1002] {
            assert!(table.search(table.hash(&reply(port)), &reply(port)).is_none());
        }
        assert_eq!(connections.end_all(&server("10.0.0.1:80"), &places()), 0);
    }

    #[test]
    fn a_template_is_ended_after_the_connections_that_it_has_led_and_not_before() {
        let (table, mut connections) = table(0);
        table.note_leaders().unwrap();
        let mut tracker = Tracker::new(table.clone(), 0, 1);
        let client = Endpoint::new("203.0.113.1".parse().unwrap(), 1000);
        let key = FlowKey::new(Proto::Tcp, client, VIP.parse().unwrap());
        let of_template = FlowKey::new(Proto::Tcp, Endpoint::new(client.addr, 0), VIP.parse().unwrap());
        let of_template = of_template.marked(Mark::Template);
        let followed = tracker.follow(&of_template, 500, Tick(0), |_| true, || Some(RealId(0))).unwrap();
        let chosen = Chosen {
            real: RealId(0),
            replies_pass: true,
            hop: 0,
            is_watched: false,
            listens: false,
            template: Some(followed.template),
        };
        assert!(tracker.open(&key, table.hash(&key), TcpFlags::SYN, Tick(0), || Some(chosen)).is_ok());
        drop(tracker);
        let templates = |connection: &Connection| connection.template.map(|_| Ending::Forget);
        assert_eq!(connections.end(0, Tick(0), templates).0, 0, "it leads one");
        assert_eq!(table.connections().count(), 2);
        assert_eq!(connections.end_all(&server("10.0.0.1"), &places()), 2);
        assert_eq!(table.connections().count(), 0);
    }

    #[test]
    fn who_can_be_told_is_reset_and_others_are_forgotten() {
        let (table, mut connections) = table(2);
        let established = FlowKey::new(
            Proto::Tcp,
            Endpoint::new("203.0.113.1".parse().unwrap(), 1000),
            VIP.parse().unwrap(),
        );
        let found = table.search(table.hash(&established), &established).unwrap();
        table.touch(found, TcpFlags::ACK, Tick(0), &Expiry::default());
        assert_eq!(connections.end(0, Tick(7), |_| Some(Ending::Reset)), (2, None));
        let left: Vec<_> = table.connections().map(|c| (c.key, c.condemned.is_some(), c.seen)).collect();
        assert_eq!(left, [(established, true, Tick(7))], "the other was half-open");
        assert_eq!(connections.end(0, Tick(8), |_| Some(Ending::Reset)).0, 0, "it is under way");
        let row = &connections.page(&Filter::default(), &places(), 0, 10, Tick(207)).connections[0];
        assert_eq!(row.expires_seconds, 3);
    }
}
