//! The director's report: what `lvx run --report` writes each second and at its end, as JSON.

mod work;

pub use work::{Latency, Worker};

use super::desired::ServerState;
use super::drains::{Draining, InMaintenance};
use super::health::Health;
use super::starts::Starting;
use crate::dataplane::counters::{Counter, Counters};
use crate::dataplane::port::counters::{ArmCounters, PortCounters};
use crate::service::RealId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

/// The whole report. Counters start at 0 with the director.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct Report {
    /// Packets received: `forwarded + to_host + dropped + fragments.waiting`.
    pub packets: u64,
    /// Sent on to a real server or back to a client.
    pub forwarded: u64,
    /// Handed to the kernel.
    pub to_host: u64,
    /// The same by reason; adds up to `to_host`.
    pub to_host_by_reason: BTreeMap<String, u64>,
    /// Dropped.
    pub dropped: u64,
    /// The same by reason; adds up to `dropped`.
    pub dropped_by_reason: BTreeMap<String, u64>,
    /// Those of the dropped whose senders were told, by an ICMP error or a reset, by the same reasons.
    pub answered_by_reason: BTreeMap<String, u64>,
    /// Those whose senders were not told, since there were too many.
    pub unanswered: u64,
    /// ICMP errors passed on to the end of a connection that they concern; also in `forwarded`.
    pub related: u64,
    /// Segments sent to the ends of connections that are being reset, to learn the right numbers; also in `port.sent`.
    pub probes: u64,
    /// Fragments.
    pub fragments: Fragments,
    /// The connection table.
    pub connections: Connections,
    /// The AF_XDP ports; all 0 in a replay.
    pub port: Port,
    /// The workers, by their numbers.
    pub workers: Vec<Worker>,
    /// The virtual services, in the configuration's order.
    pub services: Vec<Service>,
}

/// Datagrams that travel in fragments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct Fragments {
    /// Datagrams of which fragments are expected now.
    pub datagrams: u64,
    /// Datagrams that made room for others.
    pub evicted: u64,
    /// Fragments that wait for the first of their datagram now.
    pub waiting: u64,
    /// Fragments that have waited, or still do.
    pub held: u64,
    /// Frames sent beyond one for a packet, since it did not fit its way: also in `port.sent`.
    pub made: u64,
}

/// What the AF_XDP ports of all workers counted themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct Port {
    /// Frames received.
    pub received: u64,
    /// Frames given to the kernel to be sent.
    pub sent: u64,
    /// Frames dropped since the egress interface's transmit ring was full; also in `dropped_by_reason`.
    pub tx_ring_full: u64,
    /// Frames for the host that could not be handed over; also in `dropped_by_reason`.
    pub host_unreachable: u64,
    /// Packets that the kernel dropped before us: too large for a frame, or no frame free in copy mode.
    pub rx_dropped: u64,
    /// Packets that the kernel dropped before us: the receive ring was full.
    pub rx_ring_full: u64,
    /// Times that the kernel found no frame to receive into.
    pub fill_ring_empty: u64,
}

/// The connection table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct Connections {
    /// Connections now.
    pub current: u64,
    /// Persistence templates now, which take a connection's place each.
    pub templates: u64,
    /// Entries at most: `max_connections`.
    pub limit: u64,
    /// Connections that found the table full.
    pub refused: u64,
    /// Half-open connections that made room in a full table.
    pub evicted_half_open: u64,
    /// Closing ones likewise.
    pub evicted_closing: u64,
    /// Bytes of memory per connection when the table is full.
    pub bytes_each: f64,
}

/// A virtual service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct Service {
    /// The operator's name.
    pub name: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// VIP:vport; the port is 0 for all ports. Of a group, the first of `matches`.
    pub address: String,
    /// The number of a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fwmark: Option<u32>,
    /// What clients of a group address: protocol, address and ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<String>,
    /// As ipvsadm spells it.
    pub scheduler: String,
    /// What its servers have counted together, servers since removed included.
    #[serde(flatten)]
    pub traffic: Traffic,
    /// Whether so many servers seem down that checks are not believed, and all are scheduled.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fails_open: bool,
    /// Whether less than its quorum is well, so that the sorry server has taken over, if there is one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub has_lost_quorum: bool,
    /// In the configuration's order, then the sorry server; then those that were removed and still have connections.
    pub real_servers: Vec<RealServer>,
}

/// A real server of a virtual service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct RealServer {
    /// RIP:rport.
    pub address: String,
    /// `nat`, `dr` or `tun`.
    pub forward: String,
    /// 0 is quiesced, drained, in maintenance or down.
    pub weight: u16,
    /// How it is, if it was not removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<ServerState>,
    /// What its checks have found out, if it has any and they have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// If it starts slowly, how far that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Starting>,
    /// If it is in maintenance, since when and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<InMaintenance>,
    /// If it is drained or in maintenance, what is left of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Draining>,
    /// Active connections now, as IPVS counts them.
    pub active: u64,
    /// Inactive connections now.
    pub inactive: u64,
    /// Persistence templates now (IPVS: `PersistConn`): clients' networks that are led to it.
    pub persistent: u64,
    /// What it has counted.
    #[serde(flatten)]
    pub traffic: Traffic,
    /// How long it took to answer, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
}

/// What has passed since the director's start, as `ipvsadm -L --stats` shows it. Bytes are those of IP packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct Traffic {
    /// Connections given to it.
    pub connections: u64,
    /// Packets from clients.
    pub in_packets: u64,
    /// Bytes from clients.
    pub in_bytes: u64,
    /// Packets to clients that the director saw (NAT).
    pub out_packets: u64,
    /// Bytes to clients that the director saw (NAT).
    pub out_bytes: u64,
}

impl Port {
    /// What these ports count together.
    pub fn of(ports: &[Arc<PortCounters>]) -> Port {
        let sum = |count: fn(&PortCounters) -> &Counter| ports.iter().map(|port| count(port).get()).sum();
        let arms = |count: fn(&ArmCounters) -> &Counter| ports.iter().map(|port| port.sum(count)).sum();
        Port {
            received: arms(|arm| &arm.received),
            sent: arms(|arm| &arm.sent),
            tx_ring_full: sum(|port| &port.tx_ring_full),
            host_unreachable: sum(|port| &port.host_unreachable),
            rx_dropped: arms(|arm| &arm.rx_dropped),
            rx_ring_full: arms(|arm| &arm.rx_ring_full),
            fill_ring_empty: arms(|arm| &arm.fill_ring_empty),
        }
    }
}

impl Report {
    /// Writes the report as JSON: beside `path` first, and then moved there, so that a reader sees a whole one. What
    /// is no plain file (a device, or a link such as `/dev/stdout`) is written to, and not replaced.
    ///
    /// # Errors
    /// The system cannot write or rename.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let json = serde_json::to_vec_pretty(self)?;
        if fs::symlink_metadata(path).is_ok_and(|there| !there.is_file()) {
            return fs::write(path, json);
        }
        let draft = path.with_extension("new");
        fs::write(&draft, json)?;
        fs::rename(draft, path)
    }
}

impl Traffic {
    /// The counts of one id, summed over workers.
    pub fn of(id: RealId, workers: &[Arc<Counters>]) -> Traffic {
        workers.iter().map(|counters| counters.real(id)).fold(Traffic::default(), |sum, real| {
            sum.plus(Traffic {
                connections: real.connections.get(),
                in_packets: real.in_packets.get(),
                in_bytes: real.in_bytes.get(),
                out_packets: real.out_packets.get(),
                out_bytes: real.out_bytes.get(),
            })
        })
    }

    /// What came since `earlier`.
    pub fn since(&self, earlier: Traffic) -> Traffic {
        self.each(earlier, u64::saturating_sub)
    }

    /// Both together.
    pub fn plus(&self, other: Traffic) -> Traffic {
        self.each(other, |a, b| a + b)
    }

    fn each(&self, other: Traffic, of: impl Fn(u64, u64) -> u64) -> Traffic {
        Traffic {
            connections: of(self.connections, other.connections),
            in_packets: of(self.in_packets, other.in_packets),
            in_bytes: of(self.in_bytes, other.in_bytes),
            out_packets: of(self.out_packets, other.out_packets),
            out_bytes: of(self.out_bytes, other.out_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_stand_beside_the_names_in_the_json_and_come_back() {
        let server = RealServer {
            address: "10.30.0.11:8080".into(),
            forward: "nat".into(),
            weight: 4,
            traffic: Traffic { connections: 9, ..Traffic::default() },
            ..RealServer::default()
        };
        let service = Service { name: "http".into(), real_servers: vec![server], ..Service::default() };
        let report = Report { packets: 12, services: vec![service], ..Report::default() };
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["services"][0]["real_servers"][0]["connections"], 9);
        assert_eq!(json["connections"]["current"], 0);
        assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
    }

    #[test]
    fn a_report_of_another_version_is_read_as_far_as_it_goes() {
        let report: Report = serde_json::from_str(r#"{"packets": 3, "to_come": {}}"#).unwrap();
        assert_eq!(report, Report { packets: 3, ..Report::default() });
    }
    #[test]
    fn a_written_report_replaces_a_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("report.json"), dir.path().join("link.json"));
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for (packets, path) in [(1, &file), (2, &file), (3, &link)] {
            let report = Report { packets, ..Report::default() };
            report.write(path).unwrap();
            assert_eq!(serde_json::from_slice::<Report>(&fs::read(&file).unwrap()).unwrap(), report);
        }
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no draft is left");
    }
}
