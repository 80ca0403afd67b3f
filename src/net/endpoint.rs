//! One end of a connection.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// An address and a port: one end of a connection. CIP:cport, VIP:vport and RIP:rport are endpoints.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// IPv4 or IPv6 address.
    pub addr: IpAddr,
    /// Port, host order.
    pub port: u16,
}

impl Endpoint {
    /// An endpoint of either family.
    pub const fn new(addr: IpAddr, port: u16) -> Endpoint {
        Endpoint { addr, port }
    }

    /// As configurations have it: the address alone, if its port is 0, which stands for all of them.
    pub fn brief(&self) -> String {
        if self.port == 0 { self.addr.to_string() } else { self.to_string() }
    }

    /// An IPv4 endpoint.
    pub const fn v4(addr: Ipv4Addr, port: u16) -> Endpoint {
        Endpoint { addr: IpAddr::V4(addr), port }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(addr: SocketAddr) -> Endpoint {
        Endpoint::new(addr.ip(), addr.port())
    }
}

impl FromStr for Endpoint {
    type Err = std::net::AddrParseError;

    /// `192.0.2.1:80` or `[2001:db8::1]:80`.
    fn from_str(text: &str) -> Result<Endpoint, Self::Err> {
        text.parse::<SocketAddr>().map(Endpoint::from)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addr {
            IpAddr::V4(addr) => f.pad(Dotted::of(addr, self.port).text()),
            IpAddr::V6(_) => SocketAddr::new(self.addr, self.port).fmt(f),
        }
    }
}

/// `192.0.2.1:80`, put together at once: listings have a hundred thousand of them, and `fmt`, which would be called for each
/// number, takes several times as long.
struct Dotted {
    bytes: [u8; "255.255.255.255:65535".len()],
    len: usize,
}

impl Dotted {
    fn of(addr: Ipv4Addr, port: u16) -> Dotted {
        let mut text = Dotted { bytes: [0; 21], len: 0 };
        for (octet, after) in addr.octets().into_iter().zip(*b"...:") {
            text.put_number(octet.into());
            text.put(after);
        }
        text.put_number(port);
        text
    }

    fn put(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn put_number(&mut self, number: u16) {
        for power in [10_000, 1_000, 100, 10] {
            if number >= power {
                self.put(b'0' + (number / power % 10) as u8);
            }
        }
        self.put(b'0' + (number % 10) as u8);
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_written_as_the_standard_library_writes_a_socket_address() {
        let addresses = ["0.0.0.0", "10.9.99.100", "192.0.2.1", "255.255.255.255", "::", "2001:db8::1"];
        for address in addresses.map(|address| address.parse().unwrap()) {
            for port in [0, 7, 80, 443, 8080, 65535] {
                let (endpoint, known) = (Endpoint::new(address, port), SocketAddr::new(address, port));
                assert_eq!(endpoint.to_string(), known.to_string());
                assert_eq!(format!("{endpoint:>30} {endpoint:<24}|"), format!("{known:>30} {known:<24}|"));
            }
        }
    }
}
