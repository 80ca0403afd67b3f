//! `lvx status`: how the director is, and its services and servers.

use super::table::{Cell, Column, Table, Tone};
use crate::control::api::Status;
use crate::control::client::{Client, ClientError};
use crate::control::desired::ServerState;
use crate::control::drains::InMaintenance;
use crate::control::health::Health;
use crate::control::rates::Rate;
use crate::control::view::{Columns, ServerKeys, ServerRow, ServiceRow};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What was found, of servers' tables all or what people are shown.
#[derive(Debug, Serialize)]
pub(super) struct Found<T> {
    director: Status,
    services: Vec<ServiceRow<T>>,
}

impl<T: DeserializeOwned> Found<T> {
    /// Asks the director.
    pub(super) fn ask(client: &Client) -> Result<Found<T>, ClientError> {
        let columns = Columns { rate: true, ..Columns::default() };
        Ok(Found { director: client.status()?, services: client.services_with(None, columns)? })
    }
}

impl Found<ServerKeys> {
    /// The same for people, no wider than `room` as far as it is a table.
    pub(super) fn told(&self, room: usize) -> String {
        let rows = self.services.iter().flat_map(|service| {
            let servers = service.servers.iter().map(server_cells);
            std::iter::once(service_cells(service)).chain(servers)
        });
        let services = match self.services.is_empty() {
            true => "no virtual services".to_owned(),
            false => Table::new(columns(), rows.collect()).text(room),
        };
        format!("{}\n{services}", head(&self.director))
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::text("service / server", 0),
        Column::text("", 5),
        Column::number("weight", 4),
        Column::number("active", 1),
        Column::number("inactive", 6),
        Column::number("conn/s", 3),
        Column::number("packets/s in", 7),
        Column::number("out", 8),
        Column::text("state", 2),
    ]
}

fn head(status: &Status) -> String {
    let Status { version, pid, workers, connections, max_connections, forwarded, to_host, dropped, .. } =
        status;
    let loads: Vec<String> = status.loads.iter().map(|load| format!("{:.0} %", load * 100.0)).collect();
    let mut text = format!(
        "lvx {version}, process {pid}, {workers} worker{} ({}), up {}, {}\n\
         {connections} of {max_connections} connections; {forwarded} packets forwarded, {to_host} to the host, \
         {dropped} dropped",
        if *workers == 1 { "" } else { "s" },
        loads.join(", "),
        uptime(status.uptime_seconds),
        status.file
    );
    if let Some(left) = status.confirm_within_seconds {
        text.push_str(&format!("\nthe last change is undone in {left} seconds without `lvx confirm`"));
    }
    text
}

/// `3:04:05`.
pub(super) fn uptime(seconds: u64) -> String {
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// `4:05`: minutes and seconds.
pub(super) fn clock(seconds: u64) -> String {
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// What a service is called: its key, and the operator's name if it has one.
fn title(service: &ServiceRow<ServerKeys>) -> String {
    let name = service.table.0.get("name").and_then(Value::as_str).unwrap_or_default();
    let key = &service.service;
    if name.is_empty() || name == key { key.clone() } else { format!("{key} ({name})") }
}

fn service_cells(service: &ServiceRow<ServerKeys>) -> Vec<Cell> {
    let scheduler = service.table.0.get("scheduler").and_then(Value::as_str).unwrap_or_default();
    let sum = |count: fn(&ServerRow<ServerKeys>) -> u64| service.servers.iter().map(count).sum();
    let [active, inactive, connections, in_packets, out_packets] =
        counts(sum(|server| server.active), sum(|server| server.inactive), service.rate);
    vec![
        Cell::new(title(service)).with(Tone::Title),
        Cell::new(scheduler),
        Cell::default(),
        active,
        inactive,
        connections,
        in_packets,
        out_packets,
        match (service.fails_open, service.has_lost_quorum) {
            (true, _) => Cell::new("too few seem well: all are scheduled").with(Tone::Warning),
            (_, true) => Cell::new("the quorum is lost").with(Tone::Warning),
            _ => Cell::default(),
        },
    ]
}

fn server_cells(server: &ServerRow<ServerKeys>) -> Vec<Cell> {
    let ServerKeys { address, weight: written, forward } = &server.table;
    let weight = match server.weight {
        holds if server.departed || *written == holds => Cell::new(holds.to_string()),
        holds => Cell::new(format!("{holds} ({written})")),
    };
    let weight = if server.weight == 0 && !server.departed { weight.with(Tone::Warning) } else { weight };
    let [active, inactive, connections, in_packets, out_packets] =
        counts(server.active, server.inactive, server.rate);
    let name = Cell::new(format!("  {address}"));
    let forward = Cell::new(forward.as_str());
    vec![name, forward, weight, active, inactive, connections, in_packets, out_packets, state(server)]
}

/// How a server is, and how far its start or its drain.
fn state(server: &ServerRow<ServerKeys>) -> Cell {
    let Some(state) = server.state else { return Cell::new("removed").with(Tone::Quiet) };
    if let Some(start) = server.start {
        let left = match start.left_seconds {
            0 => "fewer connections than others".to_owned(),
            left => format!("{:.0} % of its share, {} left", start.share_percent, clock(left)),
        };
        return Cell::new(format!("{state}: {left}"));
    }
    let Some(drain) = server.drain else { return checked(state, server.health.as_ref()) };
    let deadline = drain.deadline_seconds.map(|left| format!(", deadline in {}", clock(left)));
    let (since, deadline) = (clock(drain.since_seconds), deadline.unwrap_or_default());
    let why = server.maintenance.as_ref().map(|InMaintenance { by, reason, .. }| match &reason[..] {
        "" => format!(" by {by}"),
        reason => format!(" by {by}: {reason}"),
    });
    let why = why.unwrap_or_default();
    Cell::new(format!("{state} for {since}{why}, {} left{deadline}", drain.connections)).with(Tone::Warning)
}

/// How a server is as its checks have it, and why.
fn checked(state: ServerState, health: Option<&Health>) -> Cell {
    let Some(health) = health else { return Cell::new(state.to_string()) };
    let mut text = state.to_string();
    if state != ServerState::Up {
        text += &format!(" for {}: {}", clock(health.since_seconds), health.cause);
    }
    if !health.unasked.is_empty() {
        text += &format!(", not asked: {}", health.unasked);
    }
    let is_well = state == ServerState::Up && health.unasked.is_empty();
    if is_well { Cell::new(text) } else { Cell::new(text).with(Tone::Warning) }
}

fn counts(active: u64, inactive: u64, rate: Option<Rate>) -> [Cell; 5] {
    let Rate { connections, in_packets, out_packets, .. } = rate.unwrap_or_default();
    [active, inactive, connections, in_packets, out_packets].map(|count| Cell::new(count.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Written;
    use serde_json::json;

    fn found<T: DeserializeOwned>() -> Found<T> {
        let director = Status {
            version: "0.1.0".into(),
            pid: 7,
            uptime_seconds: 3725,
            file: "/etc/lvx/director.toml".into(),
            workers: 1,
            loads: vec![0.5],
            services: 1,
            servers: 1,
            connections: 3,
            max_connections: 10,
            forwarded: 5,
            to_host: 1,
            dropped: 0,
            confirm_within_seconds: Some(59),
        };
        let services = json!([{
            "service": "tcp 192.0.2.1:80", "table": { "name": "web", "scheduler": "wlc" }, "fails_open": true,
            "servers": [
                { "table": { "address": "10.0.0.1:80", "forward": "nat", "weight": 2 }, "weight": 2, "state": "down",
                  "health": { "since_seconds": 65, "cause": "check http: timed out after 1s connecting" },
                  "active": 1, "inactive": 2, "persistent": 0 },
                { "table": { "address": "10.0.0.3:80", "forward": "nat", "weight": 4 }, "weight": 0, "state": "draining",
                  "drain": { "since_seconds": 75, "deadline_seconds": 525, "at_deadline": "reset", "connections": 3 },
                  "active": 0, "inactive": 0, "persistent": 0 },
                { "table": { "address": "10.0.0.6:80", "forward": "nat", "weight": 4 }, "weight": 0, "state": "maintenance",
                  "maintenance": { "since_seconds": 9, "by": "uid 0, process 12", "reason": "new disks" },
                  "drain": { "since_seconds": 9, "at_deadline": "reset", "connections": 1 },
                  "active": 0, "inactive": 0, "persistent": 0 },
                { "table": { "address": "10.0.0.4:80", "forward": "nat", "weight": 2 }, "weight": 2, "state": "starting",
                  "start": { "share_percent": 37.4, "left_seconds": 79 }, "active": 0, "inactive": 0, "persistent": 0 },
                { "table": { "address": "10.0.0.5:80", "forward": "nat", "weight": 2 }, "weight": 2, "state": "starting",
                  "start": { "share_percent": 100.0, "left_seconds": 0 }, "active": 0, "inactive": 0, "persistent": 0 },
                { "table": { "address": "10.0.0.2:80", "forward": "dr", "weight": 0 }, "weight": 0, "active": 0, "inactive": 0,
                  "persistent": 0, "departed": true, "rate": { "connections": 4, "in_packets": 5, "in_bytes": 0, "out_packets": 6, "out_bytes": 0 } }
            ]
        }]);
        Found { director, services: serde_json::from_value(services).unwrap() }
    }

    fn told(room: usize) -> String {
        anstream::adapter::strip_str(&found::<ServerKeys>().told(room)).to_string()
    }

    #[test]
    fn services_and_servers_are_told_under_each_other() {
        assert_eq!(
            told(usize::MAX),
            "lvx 0.1.0, process 7, 1 worker (50 %), up 1:02:05, /etc/lvx/director.toml\n\
             3 of 10 connections; 5 packets forwarded, 1 to the host, 0 dropped\n\
             the last change is undone in 59 seconds without `lvx confirm`\n\
             service / server             weight  active  inactive  conn/s  packets/s in  out  state\n\
             tcp 192.0.2.1:80 (web)  wlc               1         2       0             0    0  too few seem well: all are scheduled\n  \
               10.0.0.1:80           nat       2       1         2       0             0    0  down for 1:05: check http: timed out after 1s connecting\n  \
               10.0.0.3:80           nat   0 (4)       0         0       0             0    0  draining for 1:15, 3 left, deadline in 8:45\n  \
               10.0.0.6:80           nat   0 (4)       0         0       0             0    0  maintenance for 0:09 by uid 0, process 12: new disks, 1 left\n  \
               10.0.0.4:80           nat       2       0         0       0             0    0  starting: 37 % of its share, 1:19 left\n  \
               10.0.0.5:80           nat       2       0         0       0             0    0  starting: fewer connections than others\n  \
               10.0.0.2:80           dr        0       0         0       4             5    6  removed"
        );
    }

    #[test]
    fn a_narrow_terminal_shows_the_connections_first() {
        assert_eq!(told(40).lines().nth(4), Some("tcp 192.0.2.1:80 (web)       1       0"));
    }

    #[test]
    fn the_same_is_told_in_json() {
        let json = serde_json::to_value(found::<Written>()).unwrap();
        assert_eq!(json["director"]["uptime_seconds"], 3725);
        assert_eq!(json["services"][0]["servers"][5]["departed"], true);
    }
}
