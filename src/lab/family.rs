//! The two families of addresses that a lab can have. Their plans are the same; 10.20.0.100 in the one is
//! 2001:db8:20::100 in the other.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Which IP a lab speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    #[default]
    V4,
    /// IPv6.
    V6,
}

/// An address of a lab's: the number of its subnet and its own, written in either family with the same digits.
pub(super) type Place = (u8, u8);

impl Family {
    /// Both.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// The name in what people read.
    pub const fn name(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }

    /// The address at a place.
    pub(super) const fn at(self, (net, host): Place) -> IpAddr {
        match self {
            Family::V4 => IpAddr::V4(Ipv4Addr::new(10, net, 0, host)),
            Family::V6 => {
                let (net, host) = (same_digits(net), same_digits(host));
                IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 0, host))
            }
        }
    }

    /// How long the prefix of a subnet is.
    pub(super) const fn subnet_len(self) -> u8 {
        match self {
            Family::V4 => 24,
            Family::V6 => 64,
        }
    }

    /// How long an IP header and one of TCP are together: what a segment has less than a packet.
    pub(super) const fn tcp_headers(self) -> u16 {
        match self {
            Family::V4 => 40,
            Family::V6 => 60,
        }
    }
}

/// The number whose hexadecimal digits are `number`'s decimal ones.
const fn same_digits(number: u8) -> u16 {
    let number = number as u16;
    number / 100 * 0x100 + number / 10 % 10 * 0x10 + number % 10
}

impl fmt::Display for Family {
    /// As on the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Family::V4 => "4",
            Family::V6 => "6",
        })
    }
}

impl FromStr for Family {
    type Err = String;

    fn from_str(text: &str) -> Result<Family, String> {
        let known = Family::ALL.into_iter().find(|family| family.to_string() == text);
        known.ok_or_else(|| format!("{text:?} is no family: there are 4 and 6"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_the_same_digits_in_both_families() {
        for (place, v4, v6) in [
            ((20, 100), "10.20.0.100", "2001:db8:20::100"),
            ((10, 2), "10.10.0.2", "2001:db8:10::2"),
            ((30, 74), "10.30.0.74", "2001:db8:30::74"),
        ] {
            assert_eq!(Family::V4.at(place).to_string(), v4);
            assert_eq!(Family::V6.at(place).to_string(), v6);
        }
    }

    #[test]
    fn a_family_is_read_as_it_is_written() {
        for family in Family::ALL {
            assert_eq!(family.to_string().parse(), Ok(family));
        }
        assert!("5".parse::<Family>().is_err());
    }
}
