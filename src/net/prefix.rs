//! Addresses with a prefix length, and what addresses have in common.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address with a prefix length, as `192.0.2.0/24`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    /// The address as written: host bits are kept (an interface's address is one of these).
    pub addr: IpAddr,
    /// 0..=32 or 0..=128.
    pub len: u8,
}

impl Prefix {
    /// A prefix, unless `len` is longer than the family's addresses.
    pub fn new(addr: IpAddr, len: u8) -> Option<Prefix> {
        (len <= if addr.is_ipv4() { 32 } else { 128 }).then_some(Prefix { addr, len })
    }

    /// The prefix that holds just `addr`.
    pub const fn host(addr: IpAddr) -> Prefix {
        Prefix { addr, len: if addr.is_ipv4() { 32 } else { 128 } }
    }

    /// The first address of the prefix.
    pub fn network(&self) -> IpAddr {
        mask(self.addr, self.len)
    }

    /// Whether `addr` lies in the prefix.
    pub fn contains(&self, addr: IpAddr) -> bool {
        addr.is_ipv4() == self.addr.is_ipv4() && mask(addr, self.len) == self.network()
    }
}

/// `addr` with all but its first `len` bits cleared; a length beyond the family's clears nothing.
pub fn mask(addr: IpAddr, len: u8) -> IpAddr {
    match addr {
        IpAddr::V4(a) => IpAddr::V4(Ipv4Addr::from_bits(
            a.to_bits() & u32::MAX.checked_shl(32u32.saturating_sub(len as u32)).unwrap_or(0),
        )),
        IpAddr::V6(a) => IpAddr::V6(Ipv6Addr::from_bits(
            a.to_bits() & u128::MAX.checked_shl(128u32.saturating_sub(len as u32)).unwrap_or(0),
        )),
    }
}

/// Whether `addr` is an IPv6 address that every link has anew (RFC 4291, 2.5.6).
pub const fn is_link_local(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(_) => false,
        IpAddr::V6(addr) => addr.is_unicast_link_local(),
    }
}

impl FromStr for Prefix {
    type Err = ParsePrefixError;

    /// `192.0.2.1/24`; without a slash, the host's own prefix.
    fn from_str(text: &str) -> Result<Prefix, ParsePrefixError> {
        let (addr, len) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
        let addr: IpAddr = addr.parse().map_err(|_| ParsePrefixError)?;
        match len {
            None => Ok(Prefix::host(addr)),
            Some(len) => len.parse().ok().and_then(|len| Prefix::new(addr, len)).ok_or(ParsePrefixError),
        }
    }
}

/// A text that is not an address with a prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParsePrefixError;

impl fmt::Display for ParsePrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a prefix is written as address/length, such as 192.0.2.0/24 or 2001:db8::/32")
    }
}

impl std::error::Error for ParsePrefixError {}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_holds_its_addresses_and_no_others() {
        let net: Prefix = "10.1.2.3/16".parse().unwrap();
        assert!(net.contains("10.1.255.1".parse().unwrap()) && !net.contains("10.2.0.1".parse().unwrap()));
        assert!("0.0.0.0/0".parse::<Prefix>().unwrap().contains("192.0.2.1".parse().unwrap()));
        assert!(!"0.0.0.0/0".parse::<Prefix>().unwrap().contains("::1".parse().unwrap()));
        assert!("10.0.0.0/33".parse::<Prefix>().is_err());
    }
}
