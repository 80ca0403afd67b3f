//! The network that all cases share.
//!
//! ```text
//! clients 203.0.113.x -- router .254 -- eth0 192.0.2.1/24, VIP 192.0.2.100
//!                                       lvx
//!                                       eth1 10.0.0.1/24 -- servers 10.0.0.11 .12 .13
//!                                                        -- router .254 -- servers 198.51.100.21 .22
//! ```
//!
//! It is the same in IPv6, where each of these addresses has a counterpart: see [`six`].

use super::packet::{Ip, Mac, Packet, icmp_error};
use super::six;
use etherparse::{Icmpv4Type, Icmpv6Type};
use lvx::service::Method;

pub const ETH0: &str = "eth0";
pub const ETH1: &str = "eth1";
pub const ETH0_MAC: Mac = [2, 0, 0, 0, 0, 1];
pub const ETH1_MAC: Mac = [2, 0, 0, 0, 0, 2];
pub const ROUTER_MAC: Mac = [2, 0, 0, 0, 0, 0xfe];
pub const INNER_ROUTER_MAC: Mac = [2, 0, 0, 0, 0, 0xfd];
pub const DIP: Ip = [10, 0, 0, 1];
pub const VIP: Ip = [192, 0, 2, 100];
pub const HTTP: (Ip, u16) = (VIP, 80);
pub const DNS: (Ip, u16) = (VIP, 53);

pub const NETWORK: &str = r#"
[[interface]]
name = "eth0"
mac = "02:00:00:00:00:01"
addresses = ["192.0.2.1/24", "192.0.2.100/32"]

[[interface]]
name = "eth1"
mac = "02:00:00:00:00:02"
addresses = ["10.0.0.1/24"]

[[route]]
to = "198.51.100.0/24"
via = "10.0.0.254"

[[neighbour]]
address = "192.0.2.254"
mac = "02:00:00:00:00:fe"

[[neighbour]]
address = "10.0.0.254"
mac = "02:00:00:00:00:fd"

[[neighbour]]
address = "10.0.0.11"
mac = "02:00:00:00:00:11"

[[neighbour]]
address = "10.0.0.12"
mac = "02:00:00:00:00:12"

[[neighbour]]
address = "10.0.0.13"
mac = "02:00:00:00:00:13"
"#;

pub const DEFAULT_ROUTE: &str = r#"
[[route]]
to = "0.0.0.0/0"
via = "192.0.2.254"
"#;

/// A client's address and port.
pub const fn client(n: u8) -> (Ip, u16) {
    ([203, 0, 113, n], 40000 + n as u16)
}

/// A real server, as a case configures it.
#[derive(Debug, Clone, Copy)]
pub struct Server {
    pub method: Method,
    pub rip: Ip,
    pub rport: u16,
    pub weight: u16,
    /// Upper and lower.
    pub thresholds: (u32, u32),
    /// Whether the tunnel is of the other family than what goes through it.
    pub crossed: bool,
}

pub const fn nat(host: u8, rport: u16) -> Server {
    Server {
        method: Method::Nat,
        rip: [10, 0, 0, host],
        rport,
        weight: 1,
        thresholds: (0, 0),
        crossed: false,
    }
}

pub const fn dr(host: u8, vport: u16) -> Server {
    Server {
        method: Method::Dr,
        rip: [10, 0, 0, host],
        rport: vport,
        weight: 1,
        thresholds: (0, 0),
        crossed: false,
    }
}

pub const fn tun(host: u8, vport: u16) -> Server {
    Server {
        method: Method::Tun,
        rip: [198, 51, 100, host],
        rport: vport,
        weight: 1,
        thresholds: (0, 0),
        crossed: false,
    }
}

impl Server {
    pub const fn weighing(self, weight: u16) -> Server {
        Server { weight, ..self }
    }

    pub const fn limited(self, upper: u32, lower: u32) -> Server {
        Server { thresholds: (upper, lower), ..self }
    }

    /// Behind a tunnel of the other family.
    pub const fn crossed(self) -> Server {
        Server { crossed: true, ..self }
    }

    /// RIP:rport as reports have it, for a service of this family.
    pub fn address(&self, is_six: bool) -> String {
        six::named(is_six != self.crossed, (self.rip, self.rport))
    }

    /// The MAC of the next hop towards it, out of eth1.
    pub fn mac(&self) -> Mac {
        match self.method {
            Method::Tun => INNER_ROUTER_MAC,
            Method::Nat | Method::Dr => [2, 0, 0, 0, 0, self.rip[3] / 10 * 16 + self.rip[3] % 10],
        }
    }

    /// The frame that must reach it, out of eth1, when a client sends `packet`.
    pub fn receives(&self, packet: &Packet) -> Vec<u8> {
        let on = packet.hop(ETH1_MAC, self.mac());
        match self.method {
            Method::Nat => Packet { dst: (self.rip, self.rport), ..on }.frame(),
            Method::Dr => on.frame(),
            Method::Tun if packet.six != self.crossed => six::in_six(&on, DIP, self.rip),
            Method::Tun if packet.six => six::in_four(&on, DIP, self.rip),
            Method::Tun => on.tunnelled(DIP, self.rip),
        }
    }

    /// Its answer to a client, on its own link.
    pub fn answers(&self, packet: Packet) -> Packet {
        Packet {
            from_mac: self.mac(),
            to_mac: ETH1_MAC,
            src: (self.rip, self.rport),
            dst: packet.dst,
            ttl: 63,
            ..packet
        }
    }
}

/// The frame that must reach the client, out of eth0, when a server answers with `packet`.
pub fn client_receives(packet: &Packet, vip: (Ip, u16)) -> Vec<u8> {
    Packet { src: vip, ..packet.hop(ETH0_MAC, ROUTER_MAC) }.frame()
}

/// The frame by which the VIP tells a client what is wrong with a packet of its.
pub fn vip_complains(kind: Icmpv4Type, about: &Packet) -> Vec<u8> {
    let packet = about.ip();
    let quote = &packet[..packet.len().min(548)];
    icmp_error((ETH0_MAC, ROUTER_MAC), (about.dst.0, about.src.0, 64), kind, quote)
}

/// The same in IPv6.
pub fn vip_complains6(kind: Icmpv6Type, about: &Packet) -> Vec<u8> {
    let packet = about.ip();
    let quote = &packet[..packet.len().min(1232)];
    six::icmp_error((ETH0_MAC, ROUTER_MAC), (about.dst.0, about.src.0, 64), kind, quote)
}
