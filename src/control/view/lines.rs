//! The services in short, for who lists many servers: a line for each, with a quarter of the bytes that a
//! [`ServerRow`](super::ServerRow) has.

use super::{Columns, View};
use crate::config::{Real, Service, Written};
use crate::control::desired::Key;
use crate::control::rates::Rate;
use crate::control::report::Traffic;
use crate::net::Endpoint;
use crate::service::{Method, RealServer, Thresholds, VirtualService};
use serde::{Deserialize, Serialize};

/// What `ipvsadm -L` lists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct Listing<S = ServiceLines> {
    /// Connections at most.
    pub max_connections: u64,
    /// In the operator's order.
    pub services: Vec<S>,
}

/// A service and its servers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct ServiceLines {
    /// `[[virtual_service]]` without its servers.
    #[cfg_attr(feature = "control", schema(value_type = Object))]
    pub table: Written,
    /// If asked for: connections, packets and bytes in, packets and bytes out; all told, or by the second.
    #[cfg_attr(feature = "control", schema(value_type = Option<Vec<u64>>))]
    pub counts: Option<Counts>,
    /// In the operator's order, without those that were removed. Each is an array: the address; `nat`, `dr` or `tun`; the
    /// weight as it is written and as it holds; upper and lower threshold; active connections, inactive ones and templates;
    /// counts, as above.
    #[cfg_attr(feature = "control", schema(value_type = Vec<Vec<serde_json::Value>>))]
    pub servers: Vec<ServerLine>,
}

/// A server: its address and forwarding method, its weight as it is written and as it holds, upper and lower threshold;
/// active connections, inactive ones and templates; and counts, if asked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ServerLine(pub Endpoint, pub Method, pub [u16; 2], pub [u32; 2], pub [u32; 3], pub Option<Counts>);

/// Connections, packets and bytes in, packets and bytes out.
pub type Counts = [u64; 5];

impl View {
    /// The services, of all or of the one meant, in short. Of two columns the first counts.
    pub fn lines(&self, only: Option<Key>, columns: Columns) -> Vec<ServiceLines> {
        self.meant(only).map(|(service, compiled)| self.service_lines(service, compiled, columns)).collect()
    }

    fn service_lines(&self, service: &Service, compiled: &VirtualService, columns: Columns) -> ServiceLines {
        let line = |(real, at_work): (&Real, &RealServer)| {
            let Thresholds { upper, lower } = real.thresholds;
            let (live, id) = (&at_work.live, at_work.id);
            let counts = columns.counts(|| self.traffic(id), || self.rates.of_server(id));
            let connections = [live.active(), live.inactive(), live.templates()];
            let weights = [real.weight, at_work.weight];
            ServerLine(real.endpoint, real.method, weights, [upper, lower], connections, counts)
        };
        let rate = || self.rates.of_service(Key::of(service));
        ServiceLines {
            table: service.shown_table(),
            counts: columns.counts(|| self.traffic_of(compiled), rate),
            servers: service.reals.iter().zip(&compiled.reals).map(line).collect(),
        }
    }
}

impl Columns {
    fn counts(self, traffic: impl FnOnce() -> Traffic, rate: impl FnOnce() -> Rate) -> Option<Counts> {
        if self.traffic {
            let Traffic { connections, in_packets, in_bytes, out_packets, out_bytes } = traffic();
            return Some([connections, in_packets, in_bytes, out_packets, out_bytes]);
        }
        self.rate.then(|| {
            let Rate { connections, in_packets, in_bytes, out_packets, out_bytes } = rate();
            [connections, in_packets, in_bytes, out_packets, out_bytes]
        })
    }
}
