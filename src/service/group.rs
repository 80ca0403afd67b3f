//! Services of more than one port: all of an address's, or several addresses and ports as one group (what IPVS's fwmark
//! services are for), or FTP's.

use super::VirtualService;
use crate::net::{Endpoint, FlowKey, Proto};
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// Several addresses and ports that one scheduler and one set of servers answer for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The number that ipvsadm names it by; templates go by it.
    pub fwmark: u32,
    /// What clients address; one at least, all of one family.
    pub matches: Vec<Match>,
}

/// What clients address: ports of one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Match {
    /// The protocol.
    pub proto: Proto,
    /// The address.
    pub addr: IpAddr,
    /// The first port, and the last.
    pub ports: (u16, u16),
}

/// Every port there is: what a service of port 0 answers at.
pub const ALL_PORTS: (u16, u16) = (0, u16::MAX);

/// Ports that FTP's data connections go to: what no other service of the address takes of these, IPVS gives to its FTP
/// service (`ip_vs_service_find`).
pub const FTP_DATA: [(u16, u16); 2] = [(20, 20), (1024, u16::MAX)];

/// `tcp 192.0.2.1:80-81`; of all ports, the address alone.
impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.proto.word(), self.addressed())
    }
}

impl Match {
    /// What clients address, as configurations have it: an address, with the ports unless it has all.
    pub fn addressed(&self) -> String {
        let first = Endpoint::new(self.addr, self.ports.0);
        match self.ports {
            ALL_PORTS => self.addr.to_string(),
            (one, last) if one == last => first.to_string(),
            (_, last) => format!("{first}-{last}"),
        }
    }

    /// The ports one by one.
    pub fn each_port(&self) -> RangeInclusive<u16> {
        self.ports.0..=self.ports.1
    }

    /// How many ports.
    pub const fn count(&self) -> usize {
        (self.ports.1 - self.ports.0) as usize + 1
    }

    /// Whether a packet to the endpoint addresses it.
    pub fn takes(&self, proto: Proto, to: Endpoint) -> bool {
        (proto, to.addr) == (self.proto, self.addr) && self.each_port().contains(&to.port)
    }
}

/// Which port of a server the ports of its service lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortMap {
    /// The service has one port, which leads to the server's.
    One,
    /// All ports of the service lead to the server's, or if it has none (0), to the same ones of it.
    Many,
    /// This one leads to the server's, all others to the same ones of it.
    Only(u16),
}

impl PortMap {
    /// The port that `vport` leads to of a server with the port `rport`.
    pub const fn rport(self, rport: u16, vport: u16) -> u16 {
        match self {
            PortMap::One => rport,
            PortMap::Many if rport == 0 => vport,
            PortMap::Many => rport,
            PortMap::Only(only) if only == vport && rport != 0 => rport,
            PortMap::Only(_) => vport,
        }
    }

    /// Whether all ports lead to `rport`.
    pub const fn is_one_port(self, rport: u16) -> bool {
        match self {
            PortMap::One => true,
            PortMap::Many => rport != 0,
            PortMap::Only(_) => false,
        }
    }
}

impl VirtualService {
    /// What clients address, but for FTP's data connections.
    pub fn matches(&self) -> Vec<Match> {
        let Endpoint { addr, port } = self.endpoint;
        let ports = if port == 0 { ALL_PORTS } else { (port, port) };
        let single = || vec![Match { proto: self.proto, addr, ports }];
        self.group.as_ref().map_or_else(single, |group| group.matches.clone())
    }

    /// Whether FTP's data connections, whose ports are not known beforehand, are this service's.
    pub fn takes_ftp_data(&self) -> bool {
        self.policy.ftp == Some(self.endpoint.port) && self.group.is_none()
    }

    /// Whether a packet of this key may be of FTP's data, and opens a connection only where a client has one already.
    pub fn is_ftp_data(&self, key: &FlowKey) -> bool {
        self.takes_ftp_data() && key.dst().port != self.endpoint.port
    }

    /// Where its ports lead.
    pub fn port_map(&self) -> PortMap {
        if self.group.is_some() || self.endpoint.port == 0 {
            PortMap::Many
        } else if self.takes_ftp_data() {
            PortMap::Only(self.endpoint.port)
        } else {
            PortMap::One
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_leads_to_the_servers_or_to_the_same_one() {
        for (map, rport, vport, leads) in [
            (PortMap::One, 8080, 80, 8080),
            (PortMap::Many, 0, 80, 80),
            (PortMap::Many, 8080, 81, 8080),
            (PortMap::Only(21), 2121, 21, 2121),
            (PortMap::Only(21), 2121, 40000, 40000),
            (PortMap::Only(21), 0, 21, 21),
        ] {
            assert_eq!(map.rport(rport, vport), leads, "{map:?} {rport} {vport}");
        }
    }
}
