//! What a command line asks for, and the nouns that it is made of.

use crate::net::Proto;
use std::net::{IpAddr, Ipv4Addr};

/// What names a virtual service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ServiceKey {
    Address { protocol: Proto, address: IpAddr, port: u16 },
    Fwmark { mark: u32, is_v6: bool },
}

/// Which clients share a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mask {
    V4(Ipv4Addr),
    V6(u8),
}

impl Mask {
    /// Whether each client has its own.
    pub(super) fn is_whole(self) -> bool {
        matches!(self, Mask::V4(Ipv4Addr::BROADCAST) | Mask::V6(128))
    }
}

/// `-b`: three bits whose meaning is the scheduler's. For sh and mh: fallback, port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct SchedulerFlags(pub u8);

/// A virtual service as `-A` and `-E` describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServiceSpec {
    pub key: ServiceKey,
    pub scheduler: String,
    pub flags: SchedulerFlags,
    /// Seconds.
    pub persistent: Option<u32>,
    pub mask: Mask,
    pub one_packet: bool,
    /// `--pe`; empty for none.
    pub engine: String,
}

/// A forwarding method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Forward {
    Masq = 0,
    Tunnel = 2,
    Route = 3,
}

impl Forward {
    /// As listings have it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Forward::Masq => "Masq",
            Forward::Tunnel => "Tunnel",
            Forward::Route => "Route",
        }
    }

    /// As saved rules have it.
    pub(super) const fn option(self) -> &'static str {
        match self {
            Forward::Masq => "-m",
            Forward::Tunnel => "-i",
            Forward::Route => "-g",
        }
    }
}

/// `--tun-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum TunnelKind {
    Ipip = 0,
    Gue = 1,
    Gre = 2,
}

impl TunnelKind {
    pub(super) const ALL: [TunnelKind; 3] = [TunnelKind::Ipip, TunnelKind::Gue, TunnelKind::Gre];

    pub(super) const fn name(self) -> &'static str {
        match self {
            TunnelKind::Ipip => "ipip",
            TunnelKind::Gue => "gue",
            TunnelKind::Gre => "gre",
        }
    }
}

/// `--tun-nocsum` (neither bit), `--tun-csum`, `--tun-remcsum`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct TunnelChecksum(pub u8);

impl TunnelChecksum {
    pub(super) const PLAIN: TunnelChecksum = TunnelChecksum(1);
    pub(super) const REMOTE: TunnelChecksum = TunnelChecksum(2);

    /// As `--tun-info` has it.
    pub(super) const fn mark(self) -> &'static str {
        match self.0 {
            0 => "-c",
            1 => "+c",
            _ => "r+c",
        }
    }

    /// As saved rules have it.
    pub(super) const fn option(self) -> &'static str {
        match self.0 {
            0 => "--tun-nocsum",
            1 => "--tun-csum",
            _ => "--tun-remcsum",
        }
    }
}

/// How a tunnelled packet is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tunnel {
    pub kind: TunnelKind,
    /// 0 but for gue.
    pub port: u16,
    pub checksum: TunnelChecksum,
}

/// A real server as `-a` and `-e` describe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ServerSpec {
    pub address: IpAddr,
    pub port: u16,
    pub forward: Forward,
    pub tunnel: Tunnel,
    pub weight: u16,
    /// 0 for none, as the lower.
    pub upper_threshold: u32,
    pub lower_threshold: u32,
}

/// What a sync daemon does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub(super) enum Role {
    #[default]
    Master = 1,
    Backup = 2,
}

/// A sync daemon. Zeros stand for what is not given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Daemon {
    pub role: Role,
    pub interface: String,
    pub sync_id: u8,
    pub max_len: u16,
    pub group: Option<IpAddr>,
    pub port: u16,
    pub ttl: u8,
}

/// How a listing is to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Format {
    pub numeric: bool,
    pub stats: bool,
    pub rate: bool,
    pub thresholds: bool,
    pub persistent_conn: bool,
    pub no_sort: bool,
    pub exact: bool,
    pub tunnel_info: bool,
}

/// What `-L` is to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    All,
    Service(ServiceKey),
    Connections,
    Timeouts,
    Daemons,
}

/// What a command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    AddService(ServiceSpec),
    EditService(ServiceSpec),
    DeleteService(ServiceKey),
    Flush,
    List(List, Format),
    AddServer(ServiceKey, ServerSpec),
    EditServer(ServiceKey, ServerSpec),
    DeleteServer(ServiceKey, IpAddr, u16),
    /// Seconds; 0 leaves one as it is.
    SetTimeouts {
        tcp: u32,
        tcp_fin: u32,
        udp: u32,
    },
    StartDaemon(Daemon),
    StopDaemon(Daemon),
    Restore,
    Save(Format),
    Zero(Option<ServiceKey>),
    Help,
    Version,
}
