//! The services in short, for who lists many servers: in columns, which have a fifth of the bytes that as many
//! [`ServerRow`](super::ServerRow)s have, and are read in a tenth of the time.

use super::{Columns, View};
use crate::config::{Service, Written};
use crate::control::desired::Key;
use crate::control::report::Traffic;
use crate::net::Endpoint;
use crate::service::{Method, RealServer, VirtualService};
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
pub struct ServiceLines<T = Written> {
    /// `[[virtual_service]]` without its servers.
    #[cfg_attr(feature = "control", schema(value_type = Object))]
    pub table: T,
    /// If asked for, all told or by the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// Its servers, without those that were removed.
    pub servers: ServerColumns,
}

/// Servers in the operator's order: each column has an entry for each of them, or is left out if it would have but zeros.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct ServerColumns {
    /// Addresses with ports; never left out.
    #[cfg_attr(feature = "control", schema(value_type = Vec<String>))]
    pub address: Vec<Endpoint>,
    /// `nat`, `dr` or `tun`; never left out.
    #[cfg_attr(feature = "control", schema(value_type = Vec<String>))]
    pub forward: Vec<Method>,
    /// Weights that hold.
    #[serde(skip_serializing_if = "is_zero")]
    pub weight: Vec<u16>,
    /// Weights as they are written; left out if those hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weight_written: Vec<u16>,
    /// Upper thresholds.
    #[serde(skip_serializing_if = "is_zero")]
    pub upper_threshold: Vec<u32>,
    /// Lower thresholds.
    #[serde(skip_serializing_if = "is_zero")]
    pub lower_threshold: Vec<u32>,
    /// Active connections.
    #[serde(skip_serializing_if = "is_zero")]
    pub active: Vec<u32>,
    /// Inactive connections.
    #[serde(skip_serializing_if = "is_zero")]
    pub inactive: Vec<u32>,
    /// Persistence templates.
    #[serde(skip_serializing_if = "is_zero")]
    pub persistent: Vec<u32>,
    /// If asked for, connections given to them, all told or by the second.
    #[serde(skip_serializing_if = "is_zero")]
    pub connections: Vec<u64>,
    /// If asked for, packets from clients.
    #[serde(skip_serializing_if = "is_zero")]
    pub in_packets: Vec<u64>,
    /// If asked for, bytes from clients.
    #[serde(skip_serializing_if = "is_zero")]
    pub in_bytes: Vec<u64>,
    /// If asked for, packets to clients.
    #[serde(skip_serializing_if = "is_zero")]
    pub out_packets: Vec<u64>,
    /// If asked for, bytes to clients.
    #[serde(skip_serializing_if = "is_zero")]
    pub out_bytes: Vec<u64>,
}

fn is_zero<T: Default + PartialEq>(column: &[T]) -> bool {
    column.iter().all(|entry| *entry == T::default())
}

impl View {
    /// The services, of all or of the one meant, in short. Of two columns the first counts.
    pub fn lines(&self, only: Option<Key>, columns: Columns) -> Vec<ServiceLines> {
        self.meant(only).map(|(service, compiled)| self.service_lines(service, compiled, columns)).collect()
    }

    fn service_lines(&self, service: &Service, compiled: &VirtualService, columns: Columns) -> ServiceLines {
        let traffic = match columns {
            Columns { traffic: true, .. } => Some(self.traffic_of(compiled)),
            Columns { rate: true, .. } => Some(self.rates.of_service(Key::of(service)).into()),
            _ => None,
        };
        ServiceLines {
            table: service.shown_table(),
            traffic,
            servers: self.server_columns(service, compiled, columns),
        }
    }

    fn server_columns(
        &self,
        service: &Service,
        compiled: &VirtualService,
        columns: Columns,
    ) -> ServerColumns {
        // A sorry server is compiled behind the others.
        let (written, at_work) = (&service.reals, compiled.reals.iter().take(service.reals.len()));
        let live = |of: fn(&RealServer) -> u32| at_work.clone().map(of).collect();
        let is_as_written =
            written.iter().zip(at_work.clone()).all(|(real, at_work)| real.weight == at_work.weight);
        let traffic: Vec<Traffic> = match columns {
            Columns { traffic: true, .. } => at_work.clone().map(|real| self.traffic(real.id)).collect(),
            Columns { rate: true, .. } => {
                at_work.clone().map(|real| self.rates.of_server(real.id).into()).collect()
            }
            _ => Vec::new(),
        };
        let counted = |of: fn(&Traffic) -> u64| traffic.iter().map(of).collect();
        ServerColumns {
            address: written.iter().map(|real| real.endpoint).collect(),
            forward: written.iter().map(|real| real.method).collect(),
            weight: at_work.clone().map(|real| real.weight).collect(),
            weight_written: match is_as_written {
                true => Vec::new(),
                false => written.iter().map(|real| real.weight).collect(),
            },
            upper_threshold: written.iter().map(|real| real.thresholds.upper).collect(),
            lower_threshold: written.iter().map(|real| real.thresholds.lower).collect(),
            active: live(|real| real.live.active()),
            inactive: live(|real| real.live.inactive()),
            persistent: live(|real| real.live.templates()),
            connections: counted(|traffic| traffic.connections),
            in_packets: counted(|traffic| traffic.in_packets),
            in_bytes: counted(|traffic| traffic.in_bytes),
            out_packets: counted(|traffic| traffic.out_packets),
            out_bytes: counted(|traffic| traffic.out_bytes),
        }
    }
}
