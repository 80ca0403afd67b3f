//! Floor 4: what the operator wrote, read, typed and checked. Every error names file, line and column.
//!
//! `toml` turns the text into the types below and finds all errors of a file at once; nothing here asks the
//! system about itself, so that `lvx check` works anywhere.

mod errors;
mod rib;
mod toml;

pub use errors::{ConfigError, ConfigErrors, Position};
pub use toml::{parse, read};

use crate::net::{Endpoint, InterfaceId, Mac, Prefix, Proto};
use crate::service::{Conduct, Method, Policy, SchedulerName, SchedulerOptions, Thresholds};
use std::net::IpAddr;

/// A whole configuration, checked: references resolve, names and addresses are unique.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The director itself.
    pub director: Director,
    /// The interfaces that lvx works on, in the file's order; [`InterfaceId`] is a place in this list.
    pub interfaces: Vec<Interface>,
    /// Static routes. `lvx replay` knows no others; `lvx run` takes the kernel's, and says that it does.
    pub routes: Vec<Route>,
    /// Static neighbours, as for routes.
    pub neighbours: Vec<Neighbour>,
    /// The virtual services, in the file's order.
    pub services: Vec<Service>,
}

/// `[director]`: limits and ways of working.
#[derive(Debug, Clone, PartialEq)]
pub struct Director {
    /// `workers`: packet threads, one per (core, queue); `None` means one per queue that every interface has,
    /// and at most one per core.
    pub workers: Option<u16>,
    /// `cores`: the cores that workers are pinned to, in order; empty means 0, 1, 2 …
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
    /// `[director.timeouts]`, `sloppy_tcp`, `conn_reuse_mode` and `expire_quiescent_template` (default true).
    pub conduct: Conduct,
}

/// What a worker does while no packet arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poll {
    /// Spin for a short while, then sleep in poll(2) until a frame arrives.
    Adaptive,
    /// Spin for ever.
    Busy,
}

/// How the steering program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
            conduct: Conduct::default(),
        }
    }
}

/// `[[interface]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Interface {
    /// `name`: the kernel's name of it; for `lvx replay`, any name.
    pub name: String,
    /// `mac`: its MAC; `lvx run` asks the kernel.
    pub mac: Option<Mac>,
    /// `addresses`: its addresses with their prefixes, which are also its connected routes; `lvx run` asks the
    /// kernel.
    pub addresses: Vec<Prefix>,
    /// `mtu`: IP bytes that fit a frame; `lvx run` asks the kernel.
    pub mtu_bytes: Option<u16>,
}

/// `[[route]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// `to`: the destinations, `0.0.0.0/0` for the default route.
    pub to: Prefix,
    /// `via`: the gateway; `None` means that the destinations are on the interface's own link.
    pub via: Option<IpAddr>,
    /// `interface`: where it leads out. If absent, the interface whose prefix holds the gateway.
    pub interface: InterfaceId,
    /// `source`: the director's address for packets of its own on this route (the outer source of a tunnel).
    pub source: Option<IpAddr>,
}

/// `[[neighbour]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbour {
    /// `address`: whose MAC it is.
    pub address: IpAddr,
    /// `mac`: the MAC.
    pub mac: Mac,
    /// `interface`: on which link. If absent, the interface whose prefix holds the address.
    pub interface: InterfaceId,
}

/// `[[virtual_service]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// `name`: the operator's name; default `tcp 192.0.2.1:80`.
    pub name: String,
    /// `protocol`, default tcp.
    pub proto: Proto,
    /// `address`: VIP:vport.
    pub endpoint: Endpoint,
    /// `scheduler`, default wlc.
    pub scheduler: SchedulerName,
    /// `scheduler_flags` and `mh_table_size`.
    pub options: SchedulerOptions,
    /// `no_server` (default icmp), `mss_clamp` (default true), `[virtual_service.timeouts]`, `sloppy_tcp` (default: the
    /// director's), `one_packet` (default false), `persistent` (default false) with `netmask`.
    pub policy: Policy,
    /// `[[virtual_service.real_server]]`, in the file's order.
    pub reals: Vec<Real>,
}

/// `[[virtual_service.real_server]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Real {
    /// `address`: RIP:rport, or RIP alone for the service's port. In DR and TUN no other port is allowed.
    pub endpoint: Endpoint,
    /// `weight`, default 1.
    pub weight: u16,
    /// `upper_threshold` and `lower_threshold`, default 0.
    pub thresholds: Thresholds,
    /// `forward`: nat, dr or tun; default: the service's `forward`, and without that, dr as with ipvsadm.
    pub method: Method,
}
