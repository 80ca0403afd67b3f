//! Floor 4: what the operator wrote, read, typed and checked. Every error names file, line and column.
//!
//! `toml` turns the text into the types below and finds all errors of a file at once; nothing here asks the
//! system about itself, so that `lvx check` works anywhere.

mod care;
mod control;
mod errors;
mod notify;
mod rib;
mod slow_start;
mod toml;
mod written;

pub use care::{Care, OnDown, Passive};
pub use control::{Control, Remote, SOCKET, ServerHistograms};
pub use errors::{ConfigError, ConfigErrors, Position};
pub use notify::{Informed, Notify};
pub use slow_start::SlowStartKeys;
pub use toml::{MAX_FILE_BYTES, parse, read, read_server, read_service, read_text, read_timeouts};
pub use written::{Written, written_service};

use crate::dataplane::nexthop::Vlan;
use crate::net::{Endpoint, InterfaceId, Mac, Prefix, Proto};
use crate::service::check::Check;
use crate::service::{Conduct, Group, Method, Policy, SchedulerName, SchedulerOptions, Thresholds};
use serde::Serialize;
use std::net::IpAddr;
use std::sync::Arc;

/// A whole configuration, checked: references resolve, names and addresses are unique.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// The director itself.
    pub director: Director,
    /// The control socket, and where configurations are kept.
    pub control: Control,
    /// The interfaces that lvx works on, in the file's order; [`InterfaceId`] is a place in this list.
    pub interfaces: Vec<Interface>,
    /// Static routes. `lvx replay` knows no others; `lvx run` takes the kernel's, and says that it does.
    pub routes: Vec<Route>,
    /// Static neighbours, as for routes.
    pub neighbours: Vec<Neighbour>,
    /// Programs and places in the web that are told when something changes of servers.
    pub notify: Vec<Notify>,
    /// The virtual services, in the file's order.
    pub services: Vec<Service>,
}

/// `[director]`: limits and ways of working.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Director {
    /// `workers`: packet threads, one per (core, queue); `None` means one per queue that every interface has,
    /// and at most one per core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<u16>,
    /// `cores`: the cores that workers are pinned to, in order; empty means 0, 1, 2 …
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cores: Vec<usize>,
    /// `poll`: what an idle worker does.
    pub poll: Poll,
    /// `max_connections`: the connection table's size, all workers together.
    pub max_connections: u32,
    /// `xdp_mode`.
    pub xdp_mode: XdpMode,
    /// `busy_poll`: let the kernel's driver run on the worker's core (SO_PREFER_BUSY_POLL).
    pub busy_poll: bool,
    /// `frames`: UMEM frames per worker.
    pub frames: u32,
    /// `removed_server`, where a service does not say.
    pub removed_server: Removed,
    /// `slow_start` and `slow_start_curve`, where a service does not say.
    #[serde(flatten)]
    pub slow_start: SlowStartKeys,
    /// `[director.timeouts]`, `sloppy_tcp`, `sloppy_sctp`, `when_full`, `conn_reuse_mode` and
    /// `expire_quiescent_template` (default true).
    #[serde(flatten)]
    pub conduct: Conduct,
}

/// What becomes of the connections of a server that is taken out of its service, or whose service is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Removed {
    /// They go on until they end.
    #[default]
    Keep,
    /// They are forgotten at once (IPVS: `expire_nodest_conn`).
    ExpireNodest,
}

/// What a worker does while no packet arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Poll {
    /// Spin for a short while, then sleep in poll(2) until a frame arrives.
    Adaptive,
    /// Spin for ever.
    Busy,
}

/// How the steering program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum XdpMode {
    /// Native where the driver can, otherwise generic.
    Auto,
    /// In the driver, or fail.
    Native,
    /// In the stack (SKB mode).
    Generic,
}

impl Default for Director {
    fn default() -> Director {
        Director {
            workers: None,
            cores: Vec::new(),
            poll: Poll::Adaptive,
            max_connections: 1 << 20,
            xdp_mode: XdpMode::Auto,
            busy_poll: false,
            frames: 8192,
            removed_server: Removed::Keep,
            slow_start: SlowStartKeys::default(),
            conduct: Conduct::default(),
        }
    }
}

/// `[[interface]]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Interface {
    /// `name`: the kernel's name of it; for `lvx replay`, any name.
    pub name: String,
    /// `mac`: its MAC; `lvx run` asks the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// `addresses`: its addresses with their prefixes, which are also its connected routes; `lvx run` asks the
    /// kernel.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Prefix>,
    /// `mtu`: IP bytes that fit a frame; `lvx run` asks the kernel.
    #[serde(rename = "mtu", skip_serializing_if = "Option::is_none")]
    pub mtu_bytes: Option<u16>,
    /// `parent`, `vlan`, `vlan_protocol`: the VLAN that it is on another interface, if it is one. `lvx replay` knows no
    /// others; `lvx run` takes the kernel's.
    #[serde(skip)]
    pub vlan: Option<Vlan>,
}

/// `[[route]]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Route {
    /// `to`: the destinations, `0.0.0.0/0` for the default route.
    pub to: Prefix,
    /// `via`: the gateway; `None` means that the destinations are on the interface's own link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
    /// `interface`: where it leads out. If absent, the interface whose prefix holds the gateway.
    #[serde(skip)]
    pub interface: InterfaceId,
    /// `source`: the director's address for packets of its own on this route (the outer source of a tunnel).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
}

/// `[[neighbour]]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Neighbour {
    /// `address`: whose MAC it is.
    pub address: IpAddr,
    /// `mac`: the MAC.
    pub mac: Mac,
    /// `interface`: on which link. If absent, the interface whose prefix holds the address.
    #[serde(skip)]
    pub interface: InterfaceId,
}

/// `[[virtual_service]]`. Its fields are written under the file's keys; a new one comes along by itself if it is, and
/// is read back by the reader of the file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Service {
    /// `name`: the operator's name; default `tcp 192.0.2.1:80`.
    pub name: String,
    /// `protocol`, default tcp.
    #[serde(rename = "protocol")]
    pub proto: Proto,
    /// `address`: VIP:vport, or the VIP alone for all ports, which then are port 0. Of a group, the first match's.
    #[serde(rename = "address", serialize_with = "written::address")]
    pub endpoint: Endpoint,
    /// `match` and `fwmark`, if clients address several ports or addresses.
    #[serde(skip)]
    pub group: Option<Group>,
    /// `scheduler`, default wlc.
    pub scheduler: SchedulerName,
    /// `scheduler_flags` and `mh_table_size`.
    #[serde(flatten)]
    pub options: SchedulerOptions,
    /// `no_server` (default icmp), `mss_clamp` (default true), `[virtual_service.timeouts]`, `sloppy_tcp` or
    /// `sloppy_sctp` (default: the director's), `one_packet` (default false), `persistent` (default false) with `netmask`.
    #[serde(flatten)]
    pub policy: Policy,
    /// `removed_server`; `None` means as the director has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed_server: Option<Removed>,
    /// `slow_start` and `slow_start_curve`, as far as it says them.
    #[serde(flatten)]
    pub slow_start: SlowStartKeys,
    /// `on_down`, `alpha`, `fail_open`, `quorum` and `hysteresis`: what becomes of servers that fall ill.
    #[serde(flatten)]
    pub care: Care,
    /// `check`: what its servers must answer, all of it, to be well.
    #[serde(rename = "check", skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<NamedCheck>,
    /// `sorry_server`: who gets what comes while the quorum is lost.
    #[serde(rename = "sorry_server", skip_serializing_if = "Option::is_none")]
    pub sorry: Option<Real>,
    /// `[[virtual_service.real_server]]`, in the file's order.
    #[serde(rename = "real_server", skip_serializing_if = "Vec::is_empty")]
    pub reals: Vec<Real>,
}

/// `[[virtual_service.real_server]]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Real {
    /// `address`: RIP:rport, or RIP alone for the service's port. In DR and TUN no other port is allowed.
    #[serde(rename = "address", serialize_with = "written::address")]
    pub endpoint: Endpoint,
    /// `weight`, default 1.
    pub weight: u16,
    /// `upper_threshold` and `lower_threshold`, default 0.
    #[serde(flatten)]
    pub thresholds: Thresholds,
    /// `forward`: nat, dr or tun; default: the service's `forward`, and without that, dr as with ipvsadm.
    #[serde(rename = "forward")]
    pub method: Method,
    /// `check`, in the place of the service's; `None` means as the service has it.
    #[serde(rename = "check", skip_serializing_if = "Option::is_none")]
    pub checks: Option<Vec<NamedCheck>>,
}

impl Service {
    /// All who may get connections: its servers, then the sorry server, if it has one.
    pub fn all_reals(&self) -> impl Iterator<Item = &Real> {
        self.reals.iter().chain(&self.sorry)
    }

    /// Whether anything depends on its quorum, or it wants to be told of it.
    pub fn wants_quorum(&self) -> bool {
        self.sorry.is_some() || self.care.quorum > 1
    }

    /// Every check that it or one of its servers names.
    pub fn named_checks(&self) -> impl Iterator<Item = &NamedCheck> {
        self.checks.iter().chain(self.reals.iter().flat_map(|real| real.checks.iter().flatten()))
    }

    /// What a server of this service must answer to be well.
    pub fn checks_of<'a>(&'a self, real: &'a Real) -> &'a [NamedCheck] {
        real.checks.as_ref().unwrap_or(&self.checks)
    }
}

impl Config {
    /// The same without what is nobody's business, to be shown. It cannot be read again.
    pub fn without_secrets(&self) -> Config {
        Config {
            notify: self.notify.iter().map(Notify::without_secrets).collect(),
            services: self.services.iter().map(Service::without_secrets).collect(),
            ..self.clone()
        }
    }
}

impl Service {
    /// The same without what is nobody's business, to be shown.
    pub fn without_secrets(&self) -> Service {
        Service {
            checks: self.checks.iter().map(NamedCheck::without_secrets).collect(),
            reals: self.reals.iter().map(Real::without_secrets).collect(),
            sorry: self.sorry.as_ref().map(Real::without_secrets),
            ..self.clone()
        }
    }
}

impl Real {
    /// The same without what is nobody's business, to be shown.
    pub fn without_secrets(&self) -> Real {
        let of = |checks: &Vec<NamedCheck>| checks.iter().map(NamedCheck::without_secrets).collect();
        Real { checks: self.checks.as_ref().map(of), ..self.clone() }
    }
}

impl NamedCheck {
    fn without_secrets(&self) -> NamedCheck {
        match self.check.kind.without_secrets() {
            None => self.clone(),
            Some(kind) => {
                NamedCheck { check: Arc::new(Check { kind, ..Check::clone(&self.check) }), ..self.clone() }
            }
        }
    }
}

/// `check`, or `[[check]]` for those that several services share.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedCheck {
    /// `name`: the operator's name for it; default: the type.
    pub name: String,
    /// What it is.
    pub check: Arc<Check>,
}
