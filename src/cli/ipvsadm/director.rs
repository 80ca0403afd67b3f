//! The running director as ipvsadm sees one: its services as a table, and requests as edits of its desired state.

use super::grammar::DEFAULT_SCHEDULER;
use super::request::{
    Forward, Mask, Request, SchedulerFlags, ServerSpec, ServiceKey, ServiceSpec, Tunnel, TunnelChecksum,
    TunnelKind,
};
use super::table::{Connection, Server, Service, Table};
use crate::config::Written;
use crate::control::api::Transaction;
use crate::control::client::{Client, ClientError};
use crate::control::connections::Row;
use crate::control::desired::{Edit, Key, ServiceRef};
use crate::control::report::Traffic;
use crate::control::view::{Columns, ServerColumns, ServiceLines};
use crate::net::Endpoint;
use crate::service::{Method, SchedulerName};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::net::Ipv4Addr;

/// Connections asked for at once.
const PAGE: &str = "10000";

/// Why nothing was done, in a line; ipvsadm's, where it has one. The exit code is 255, as ipvsadm's then.
#[derive(Debug)]
pub(super) struct Complaint(pub String);

impl From<ClientError> for Complaint {
    fn from(error: ClientError) -> Complaint {
        Complaint(error.to_string())
    }
}

fn complain<T>(text: &str) -> Result<T, Complaint> {
    Err(Complaint(text.to_owned()))
}

/// The keys of `[[virtual_service]]` that a listing needs.
#[derive(Debug, Deserialize)]
pub(super) struct ServiceTable {
    #[serde(default)]
    protocol: String,
    #[serde(default)]
    address: String,
    scheduler: String,
    #[serde(default)]
    scheduler_flags: Vec<String>,
    persistent: Option<u32>,
    netmask: Option<u8>,
    #[serde(default)]
    one_packet: bool,
    fwmark: Option<u32>,
    #[serde(default, rename = "match")]
    matches: Vec<MatchTable>,
}

#[derive(Debug, Deserialize)]
struct MatchTable {
    address: String,
}

/// A running director.
#[derive(Debug)]
pub(super) struct Director {
    client: Client,
}

impl Director {
    pub(super) fn new(client: Client) -> Director {
        Director { client }
    }

    /// Its services, of all or of one, with what these columns show.
    pub(super) fn table(&self, one: Option<ServiceKey>, columns: Columns) -> Result<Table, Complaint> {
        let name = one.map(name);
        let listing = match self.client.listing(name.as_deref(), columns) {
            Err(ClientError::Refused(404, _)) => return complain("No such service"),
            listing => listing?,
        };
        let size = u32::try_from(listing.max_connections).unwrap_or(u32::MAX);
        Ok(Table { size, services: listing.services })
    }

    /// Gives every connection to `take`.
    pub(super) fn connections(&self, mut take: impl FnMut(Connection)) -> Result<(), Complaint> {
        let mut from = "0".to_owned();
        loop {
            let page = self.client.connections(&[("from", &from), ("limit", PAGE)])?;
            page.connections.into_iter().filter_map(connection).for_each(&mut take);
            match page.next {
                Some(next) => from = next.to_string(),
                None => return Ok(()),
            }
        }
    }

    /// How long silence may last, in seconds: TCP, TCP after a FIN, UDP.
    pub(super) fn timeouts(&self) -> Result<[u32; 3], Complaint> {
        let timeouts = self.client.timeouts()?;
        Ok([timeouts.tcp, timeouts.tcp_fin, timeouts.udp]
            .map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)))
    }

    /// Does what is asked for.
    pub(super) fn change(&self, request: &Request) -> Result<(), Complaint> {
        let edit = edit(request)?;
        self.expect(request)?;
        self.transact(vec![edit])
    }

    /// Does all that is asked for at once, or else one after the other, as ipvsadm would. Gives what was refused.
    pub(super) fn change_all(&self, requests: &[Request]) -> Vec<Complaint> {
        let edits: Result<Vec<Edit>, Complaint> = requests.iter().map(edit).collect();
        if edits.is_ok_and(|edits| self.transact(edits).is_ok()) {
            return Vec::new();
        }
        requests.iter().filter_map(|request| self.change(request).err()).collect()
    }

    fn transact(&self, edits: Vec<Edit>) -> Result<(), Complaint> {
        self.client.edit(&Transaction { edits, ..Transaction::default() }).map(drop).map_err(Complaint::from)
    }

    /// Whether there is what the request is about, in the words that ipvsadm has if not.
    fn expect(&self, request: &Request) -> Result<(), Complaint> {
        let (key, server) = match request {
            Request::AddService(spec) | Request::EditService(spec) => (spec.key, None),
            Request::DeleteService(key) | Request::Zero(Some(key)) => (*key, None),
            Request::AddServer(key, spec) | Request::EditServer(key, spec) => {
                (*key, Some(Endpoint::new(spec.address, spec.port)))
            }
            Request::DeleteServer(key, address, port) => (*key, Some(Endpoint::new(*address, *port))),
            _ => return Ok(()),
        };
        let there = match self.table(Some(key), Columns::default()) {
            Ok(table) => table.services.into_iter().next(),
            Err(Complaint(text)) if text == "No such service" => None,
            Err(complaint) => return Err(complaint),
        };
        let has_server = there.as_ref().is_some_and(|service| {
            let here = |server: &Server| Some(Endpoint::new(server.spec.address, server.spec.port));
            service.servers.iter().any(|own| here(own) == server)
        });
        match (request, there.is_some(), has_server) {
            (Request::AddService(_), true, _) => complain("Service already exists"),
            (Request::AddService(_), false, _) => Ok(()),
            (_, false, _) if server.is_some() => complain("Service not defined"),
            (_, false, _) => complain("No such service"),
            (Request::AddServer(..), true, true) => complain("Destination already exists"),
            (Request::EditServer(..) | Request::DeleteServer(..), true, false) => {
                complain("No such destination")
            }
            _ => Ok(()),
        }
    }
}

/// What the control socket calls a service.
fn name(key: ServiceKey) -> String {
    match key {
        ServiceKey::Fwmark { mark, is_v6 } => format!("fwmark {mark}{}", if is_v6 { " IPv6" } else { "" }),
        ServiceKey::Address { protocol, address, port } => {
            Key::new(protocol, Endpoint::new(address, port)).to_string()
        }
    }
}

fn table(value: Value) -> Written {
    match value {
        Value::Object(map) => Written(map),
        _ => Written(Map::new()),
    }
}

/// A request that changes something as an edit.
fn edit(request: &Request) -> Result<Edit, Complaint> {
    let of = |key: &ServiceKey| ServiceRef(name(*key));
    Ok(match request {
        Request::AddService(spec) => {
            let ServiceKey::Address { protocol, address, port } = spec.key else {
                return complain(
                    "lvx does not read the kernel's marks: a fwmark service is made in the configuration, with the \
                     addresses that belong to it (match = [...], fwmark = N); then -E, -a, -e, -d and -D change it",
                );
            };
            let mut table = service_table(spec)?;
            table.0.insert("protocol".to_owned(), protocol.word().into());
            table.0.insert("address".to_owned(), Endpoint::new(address, port).brief().into());
            Edit::AddService { table }
        }
        Request::EditService(spec) => {
            Edit::EditService { service: of(&spec.key), table: service_table(spec)? }
        }
        Request::DeleteService(key) => Edit::DeleteService { service: of(key) },
        Request::Flush => Edit::Clear {},
        Request::AddServer(key, spec) => {
            let mut table = server_table(spec)?;
            table.0.insert("address".to_owned(), Endpoint::new(spec.address, spec.port).brief().into());
            Edit::AddServer { service: of(key), table }
        }
        Request::EditServer(key, spec) => Edit::EditServer {
            service: of(key),
            server: Endpoint::new(spec.address, spec.port).brief(),
            table: server_table(spec)?,
        },
        Request::DeleteServer(key, address, port) => {
            Edit::DeleteServer { service: of(key), server: Endpoint::new(*address, *port).brief() }
        }
        Request::SetTimeouts { tcp, tcp_fin, udp } => {
            let given = [("tcp", *tcp), ("tcp_fin", *tcp_fin), ("udp", *udp)];
            let given = given.into_iter().filter(|(_, seconds)| *seconds > 0);
            let table = given.map(|(key, seconds)| (key.to_owned(), seconds.into())).collect();
            Edit::SetTimeouts { table: Written(table) }
        }
        Request::Zero(key) => Edit::Zero { service: key.as_ref().map(of) },
        Request::StartDaemon(_) | Request::StopDaemon(_) => {
            return complain("this lvx has no sync daemon: connections are not synchronised yet");
        }
        Request::List(..) | Request::Save(_) | Request::Restore | Request::Help | Request::Version => {
            return complain("that changes nothing, and has no place among rules");
        }
    })
}

/// The keys of a service that `-A` and `-E` set, null where they say nothing.
fn service_table(spec: &ServiceSpec) -> Result<Written, Complaint> {
    if !spec.engine.is_empty() {
        return complain("lvx has no persistence engines (--pe)");
    }
    let Some(scheduler) = SchedulerName::ALL.into_iter().find(|known| known.name() == spec.scheduler) else {
        return complain("Scheduler or persistence engine not found");
    };
    let words = match scheduler {
        SchedulerName::Sh => ["sh-fallback", "sh-port"],
        SchedulerName::Mh => ["mh-fallback", "mh-port"],
        _ if spec.flags != SchedulerFlags::default() => {
            return complain("only sh and mh have scheduler flags in lvx");
        }
        _ => ["", ""],
    };
    let flags: Vec<&str> = words
        .into_iter()
        .zip(0..)
        .filter(|(_, bit)| spec.flags.0 >> bit & 1 == 1)
        .map(|(word, _)| word)
        .collect();
    let mask = match spec.mask {
        _ if spec.persistent.is_none() => Value::Null,
        Mask::V4(mask) => mask.to_string().into(),
        Mask::V6(prefix) => prefix.into(),
    };
    Ok(table(json!({
        "scheduler": scheduler.name(),
        "scheduler_flags": if flags.is_empty() { Value::Null } else { json!(flags) },
        "persistent": spec.persistent,
        "netmask": mask,
        "one_packet": spec.one_packet.then_some(true),
    })))
}

/// The keys of a server that `-a` and `-e` set.
fn server_table(spec: &ServerSpec) -> Result<Written, Complaint> {
    if spec.forward == Forward::Tunnel && spec.tunnel.kind != TunnelKind::Ipip {
        return complain("lvx tunnels by ipip alone (--tun-type)");
    }
    let forward = match spec.forward {
        Forward::Masq => "nat",
        Forward::Tunnel => "tun",
        Forward::Route => "dr",
    };
    Ok(table(json!({
        "forward": forward,
        "weight": spec.weight,
        "upper_threshold": spec.upper_threshold,
        "lower_threshold": spec.lower_threshold,
    })))
}

impl TryFrom<ServiceLines<ServiceTable>> for Service {
    type Error = &'static str;

    fn try_from(lines: ServiceLines<ServiceTable>) -> Result<Service, &'static str> {
        let ServiceLines { table, traffic, servers } = lines;
        let counts = traffic.unwrap_or_default();
        Ok(Service {
            spec: spec(table).ok_or("a service has keys that it cannot have")?,
            total: counts,
            rate: counts,
            servers: servers_of(servers).ok_or("the columns of servers are not of one length")?,
        })
    }
}

fn spec(table: ServiceTable) -> Option<ServiceSpec> {
    let endpoint =
        |text: &str| text.parse::<Endpoint>().ok().or_else(|| Some(Endpoint::new(text.parse().ok()?, 0)));
    let (key, is_v6) = match table.fwmark {
        Some(mark) => {
            let is_v6 = table
                .matches
                .first()
                .is_some_and(|to| to.address.contains("::") || to.address.starts_with('['));
            (ServiceKey::Fwmark { mark, is_v6 }, is_v6)
        }
        None => {
            let Endpoint { addr: address, port } = endpoint(&table.address)?;
            (ServiceKey::Address { protocol: table.protocol.parse().ok()?, address, port }, address.is_ipv6())
        }
    };
    let mask = match (is_v6, table.netmask) {
        (true, prefix) => Mask::V6(prefix.unwrap_or(128)),
        (false, None | Some(32)) => Mask::V4(Ipv4Addr::BROADCAST),
        (false, Some(prefix)) => {
            Mask::V4(Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)))
        }
    };
    let bit = |flag: &String| match flag.split_once('-') {
        Some((_, "fallback")) => 1,
        Some((_, "port")) => 2,
        _ => 0,
    };
    Some(ServiceSpec {
        key,
        scheduler: if table.scheduler.is_empty() { DEFAULT_SCHEDULER.to_owned() } else { table.scheduler },
        flags: SchedulerFlags(table.scheduler_flags.iter().map(bit).fold(0, |all, bit| all | bit)),
        persistent: table.persistent,
        mask,
        one_packet: table.one_packet,
        engine: String::new(),
    })
}

/// The servers that these columns tell of, if each of them tells of all.
fn servers_of(columns: ServerColumns) -> Option<Vec<Server>> {
    let count = columns.address.len();
    let counts = [
        &columns.connections,
        &columns.in_packets,
        &columns.in_bytes,
        &columns.out_packets,
        &columns.out_bytes,
    ];
    let [connections, in_packets, in_bytes, out_packets, out_bytes] = each(counts, count)?;
    let thresholds = [&columns.upper_threshold, &columns.lower_threshold];
    let [upper, lower] = each(thresholds, count)?;
    let [active, inactive, persistent] =
        each([&columns.active, &columns.inactive, &columns.persistent], count)?;
    let written = if columns.weight_written.is_empty() { &columns.weight } else { &columns.weight_written };
    let [weight, written] = each([&columns.weight, written], count)?;
    if columns.forward.len() != count {
        return None;
    }
    let server = |(at, (&Endpoint { addr: address, port }, method)): (usize, (&Endpoint, &Method))| {
        let forward = match method {
            Method::Nat => Forward::Masq,
            Method::Tun => Forward::Tunnel,
            Method::Dr => Forward::Route,
        };
        let counts = Traffic {
            connections: connections(at),
            in_packets: in_packets(at),
            in_bytes: in_bytes(at),
            out_packets: out_packets(at),
            out_bytes: out_bytes(at),
        };
        let spec = ServerSpec {
            address,
            port,
            forward,
            tunnel: Tunnel { kind: TunnelKind::Ipip, port: 0, checksum: TunnelChecksum::default() },
            weight: written(at),
            upper_threshold: upper(at),
            lower_threshold: lower(at),
        };
        let (active, inactive, persistent) = (active(at), inactive(at), persistent(at));
        Server { spec, weight: weight(at), active, inactive, persistent, total: counts, rate: counts }
    };
    Some(columns.address.iter().zip(&columns.forward).enumerate().map(server).collect())
}

/// What columns of so many servers have for each of them: one that was left out has zeros.
fn each<T: Copy + Default, const N: usize>(
    columns: [&Vec<T>; N],
    count: usize,
) -> Option<[impl Fn(usize) -> T; N]> {
    let is_whole = |column: &&Vec<T>| column.is_empty() || column.len() == count;
    columns
        .iter()
        .all(is_whole)
        .then(|| columns.map(|column| move |at: usize| column.get(at).copied().unwrap_or_default()))
}

/// One that names no server any more is not shown.
fn connection(row: Row) -> Option<Connection> {
    // A group's template is for a mark, not an address: as the kernel has it.
    let end = |text: &str| {
        let mark = text.strip_prefix("fwmark ").and_then(|mark| mark.split(' ').next()?.parse().ok());
        match mark {
            Some(mark) => Some((Ipv4Addr::from_bits(mark).into(), 0)),
            None => text.parse::<Endpoint>().ok().map(|end| (end.addr, end.port)),
        }
    };
    Some(Connection {
        protocol: if row.service.starts_with("fwmark") {
            "IP".to_owned()
        } else {
            row.protocol.to_uppercase()
        },
        client: end(&row.client)?,
        virtual_: end(&row.service)?,
        server: end(&row.server)?,
        state: row.state,
        expires: row.expires_seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(servers: Value) -> Result<Service, String> {
        let lines = json!({
            "table": { "address": "192.0.2.1:80", "protocol": "tcp", "scheduler": "rr", "no_server": "icmp" },
            "servers": servers,
        });
        serde_json::from_value(lines).map_err(|error| error.to_string())
    }

    #[test]
    fn a_column_that_is_left_out_has_zeros_and_weights_hold_as_they_are_written() {
        let columns = |more: Value| {
            let mut columns =
                json!({ "address": ["10.0.0.1:80", "[2001:db8::1]:81"], "forward": ["nat", "tun"] });
            columns.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let servers = read(columns).unwrap().servers;
            servers
                .iter()
                .map(|at| (at.weight, at.spec.weight, at.active, at.total.in_bytes))
                .collect::<Vec<_>>()
        };
        assert_eq!(columns(json!({})), [(0, 0, 0, 0); 2]);
        assert_eq!(columns(json!({ "weight": [3, 4], "active": [0, 7] })), [(3, 3, 0, 0), (4, 4, 7, 0)]);
        assert_eq!(
            columns(json!({ "weight": [0, 4], "weight_written": [3, 4], "in_bytes": [1, u64::MAX] })),
            [(0, 3, 0, 1), (4, 4, 0, u64::MAX)]
        );
    }

    #[test]
    fn columns_of_different_lengths_are_no_answer() {
        for wrong in [
            json!({ "address": ["10.0.0.1:80"] }),
            json!({ "address": ["10.0.0.1:80"], "forward": ["nat"], "weight": [1, 2] }),
            json!({ "address": ["10.0.0.1:80", "10.0.0.2:80"], "forward": ["nat", "nat"], "out_bytes": [1] }),
            json!({ "address": [], "forward": ["nat"] }),
        ] {
            assert!(read(wrong.clone()).unwrap_err().contains("not of one length"), "{wrong}");
        }
    }
}
