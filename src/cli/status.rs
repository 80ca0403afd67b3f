//! What `lvx status` prints.

use crate::control::api::Status;
use crate::control::view::{Columns, ServerRow, ServiceRow};
use serde_json::Value;

/// What is asked for, to be printed.
pub(super) const COLUMNS: Columns = Columns { traffic: false, rate: true };

/// How the director is, and its services and servers.
pub(super) fn table(status: &Status, services: &[ServiceRow]) -> String {
    let Status { version, pid, workers, connections, max_connections, forwarded, to_host, dropped, .. } =
        status;
    let uptime = status.uptime_seconds;
    let (hours, minutes, seconds) = (uptime / 3600, uptime / 60 % 60, uptime % 60);
    let mut text = format!(
        "lvx {version}, process {pid}, {workers} worker{}, up {hours}:{minutes:02}:{seconds:02}, {}\n\
         {connections} of {max_connections} connections; {forwarded} packets forwarded, {to_host} to the host, \
         {dropped} dropped",
        if *workers == 1 { "" } else { "s" },
        status.file
    );
    if let Some(left) = status.confirm_within_seconds {
        text.push_str(&format!("\nthe last change is undone in {left} seconds without `lvx confirm`"));
    }
    let heading =
        ["service / server", "", "weight", "active", "inactive", "conn/s", "packets/s in", "out", "state"];
    let mut rows = vec![heading.map(str::to_owned)];
    for service in services {
        let word =
            |key: &str| service.table.0.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let sum = |count: fn(&ServerRow) -> u64| service.servers.iter().map(count).sum::<u64>();
        let rate = service.rate.unwrap_or_default();
        let name = if word("name") == service.service {
            service.service.clone()
        } else {
            format!("{} ({})", service.service, word("name"))
        };
        rows.push([
            name,
            word("scheduler"),
            String::new(),
            sum(|server| server.active).to_string(),
            sum(|server| server.inactive).to_string(),
            rate.connections.to_string(),
            rate.in_packets.to_string(),
            rate.out_packets.to_string(),
            String::new(),
        ]);
        for server in &service.servers {
            let key = |key: &str| {
                server
                    .table
                    .0
                    .get(key)
                    .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            };
            let rate = server.rate.unwrap_or_default();
            rows.push([
                format!("  {}", key("address").unwrap_or_default()),
                key("forward").unwrap_or_default(),
                weight(server.weight, key("weight")),
                server.active.to_string(),
                server.inactive.to_string(),
                rate.connections.to_string(),
                rate.in_packets.to_string(),
                rate.out_packets.to_string(),
                state(server),
            ]);
        }
    }
    if services.is_empty() { text + "\nno virtual services" } else { format!("{text}\n{}", columns(rows)) }
}

/// The weight that holds, and the written one if that is another.
fn weight(holds: u16, written: Option<String>) -> String {
    match written.filter(|written| *written != holds.to_string()) {
        Some(written) => format!("{holds} ({written})"),
        None => holds.to_string(),
    }
}

fn state(server: &ServerRow) -> String {
    let Some(state) = server.state else { return "removed".to_owned() };
    let Some(drain) = server.drain else { return state.to_string() };
    let deadline = drain.deadline_seconds.map(|left| format!(", deadline in {}", clock(left)));
    format!("{state} for {}{}", clock(drain.since_seconds), deadline.unwrap_or_default())
}

/// Minutes and seconds.
pub(super) fn clock(seconds: u64) -> String {
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// Cells in columns as wide as their widest, two blanks apart.
pub(super) fn columns<const N: usize>(rows: Vec<[String; N]>) -> String {
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: [String; N]| {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn services_and_servers_are_told_under_each_other() {
        let status = Status {
            version: "0.1.0".into(),
            pid: 7,
            uptime_seconds: 3725,
            file: "/etc/lvx/director.toml".into(),
            workers: 1,
            services: 1,
            servers: 1,
            connections: 3,
            max_connections: 10,
            forwarded: 5,
            to_host: 1,
            dropped: 0,
            confirm_within_seconds: Some(59),
        };
        let services: Vec<ServiceRow> = serde_json::from_value(json!([{
            "service": "tcp 192.0.2.1:80", "table": { "name": "web", "scheduler": "wlc" },
            "servers": [
                { "table": { "address": "10.0.0.1:80", "forward": "nat", "weight": 2 }, "weight": 2, "state": "up",
                  "active": 1, "inactive": 2, "persistent": 0 },
                { "table": { "address": "10.0.0.3:80", "forward": "nat", "weight": 4 }, "weight": 0, "state": "draining",
                  "drain": { "since_seconds": 75, "deadline_seconds": 525, "at_deadline": "reset" },
                  "active": 0, "inactive": 0, "persistent": 0 },
                { "table": { "address": "10.0.0.2:80", "forward": "dr", "weight": 0 }, "weight": 0, "active": 0, "inactive": 0,
                  "persistent": 0, "departed": true, "rate": { "connections": 4, "in_packets": 5, "in_bytes": 0, "out_packets": 6, "out_bytes": 0 } }
            ]
        }]))
        .unwrap();
        assert_eq!(
            table(&status, &services),
            "lvx 0.1.0, process 7, 1 worker, up 1:02:05, /etc/lvx/director.toml\n\
             3 of 10 connections; 5 packets forwarded, 1 to the host, 0 dropped\n\
             the last change is undone in 59 seconds without `lvx confirm`\n\
             service / server             weight  active  inactive  conn/s  packets/s in  out  state\n\
             tcp 192.0.2.1:80 (web)  wlc          1       2         0       0             0\n  \
               10.0.0.1:80           nat  2       1       2         0       0             0    up\n  \
               10.0.0.3:80           nat  0 (4)   0       0         0       0             0    draining for 1:15, deadline in 8:45\n  \
               10.0.0.2:80           dr   0       0       0         4       5             6    removed"
        );
    }
}
