//! What a listing shows: the director's services and servers as IPVS would have them.

use super::director::ServiceTable;
use super::request::{Daemon, ServerSpec, ServiceSpec};
use crate::control::report::Traffic;
use crate::control::view::ServiceLines;
use serde::Deserialize;
use std::net::IpAddr;

/// A virtual service.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "ServiceLines<ServiceTable>")]
pub(super) struct Service {
    pub spec: ServiceSpec,
    pub total: Traffic,
    /// By the second.
    pub rate: Traffic,
    /// In the order of IPVS's list.
    pub servers: Vec<Server>,
}

/// A real server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Server {
    /// As it was written.
    pub spec: ServerSpec,
    /// The weight that holds.
    pub weight: u16,
    pub active: u32,
    pub inactive: u32,
    pub persistent: u32,
    pub total: Traffic,
    pub rate: Traffic,
}

/// All services.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Table {
    /// Of the connection table.
    pub size: u32,
    pub services: Vec<Service>,
}

/// A line of `-Lc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Connection {
    /// `TCP`, `UDP`, `SCTP`, or `IP` for a template of a mark's.
    pub protocol: String,
    pub client: (IpAddr, u16),
    pub virtual_: (IpAddr, u16),
    pub server: (IpAddr, u16),
    pub state: String,
    /// Seconds until it is forgotten.
    pub expires: u32,
}

/// What `--daemon` shows.
pub(super) type Daemons = Vec<Daemon>;
