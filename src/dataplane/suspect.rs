//! Packets that open no connection, whoever they are addressed to: those that cannot come from where they say.
//!
//! Looked at where a connection would be opened, and nowhere else: a packet of an open one has the source that was
//! looked at when it was opened, since the source is in its key.

use super::verdict::DropReason;
use crate::net::FlowKey;
use crate::wire::encap::{IPIP, IPV6_IN_IP};
use crate::wire::martian::{is_martian_v4, is_martian_v6};
use crate::wire::{IPV4, IPV6, ipv6};
use std::net::IpAddr;

/// The director's own addresses: those of its interfaces, of its services, and those that its tunnels start from. What
/// comes in does not come from there.
#[derive(Debug, Default)]
pub struct Suspects {
    v4: Vec<u32>,
    v6: Vec<u128>,
}

impl Suspects {
    /// With these addresses, in any order.
    pub fn new(own: impl Iterator<Item = IpAddr>) -> Suspects {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for addr in own {
            match addr {
                IpAddr::V4(addr) => v4.push(addr.to_bits()),
                IpAddr::V6(addr) => v6.push(addr.to_bits()),
            }
        }
        v4.sort_unstable();
        v4.dedup();
        v6.sort_unstable();
        v6.dedup();
        Suspects { v4, v6 }
    }

    /// Why a packet of this key, which is addressed to a service, opens no connection.
    #[inline]
    pub fn why_not(&self, key: &FlowKey) -> Option<DropReason> {
        let (reason, is_land) = if key.is_v4() {
            (self.of_v4(key.src_v4().0), key.src_v4() == key.dst_v4())
        } else {
            (self.of_v6(key.src_v6().0), key.src_v6() == key.dst_v6())
        };
        // What is sent from the addressee's own port to that port would be answered without end.
        if is_land { Some(DropReason::Land) } else { reason }
    }

    /// Why nothing is believed of an ICMP error, which starts with its IP header.
    pub fn of_error(&self, datagram: &[u8]) -> Option<DropReason> {
        match source(datagram)? {
            IpAddr::V4(addr) => self.of_v4(addr.to_bits()),
            IpAddr::V6(addr) => self.of_v6(addr.to_bits()),
        }
    }

    /// Whether `datagram`, which starts with its IP header, is a packet in a tunnel that starts here: the director has
    /// sent it, and it came back.
    pub fn is_loop(&self, datagram: &[u8]) -> bool {
        let Some(source) = source(datagram) else { return false };
        let next = match source {
            IpAddr::V4(_) => datagram.get(9).copied(),
            IpAddr::V6(_) => ipv6::upper(datagram).ok().map(|upper| upper.next),
        };
        matches!(next, Some(IPIP | IPV6_IN_IP)) && self.is_own(source)
    }

    fn is_own(&self, addr: IpAddr) -> bool {
        match addr {
            IpAddr::V4(addr) => self.v4.binary_search(&addr.to_bits()).is_ok(),
            IpAddr::V6(addr) => self.v6.binary_search(&addr.to_bits()).is_ok(),
        }
    }

    #[inline]
    fn of_v4(&self, source: u32) -> Option<DropReason> {
        match (is_martian_v4(source), self.v4.binary_search(&source)) {
            (true, _) => Some(DropReason::MartianSource),
            (false, Ok(_)) => Some(DropReason::OwnSource),
            _ => None,
        }
    }

    #[inline]
    fn of_v6(&self, source: u128) -> Option<DropReason> {
        match (is_martian_v6(source), self.v6.binary_search(&source)) {
            (true, _) => Some(DropReason::MartianSource),
            (false, Ok(_)) => Some(DropReason::OwnSource),
            _ => None,
        }
    }
}

/// Where a packet comes from.
fn source(datagram: &[u8]) -> Option<IpAddr> {
    match datagram.first()? >> 4 {
        4 => Some(datagram.first_chunk::<IPV4>()?[12..].first_chunk::<4>().copied()?.into()),
        6 => Some(datagram.first_chunk::<IPV6>()?[8..].first_chunk::<16>().copied()?.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Proto;

    fn suspects() -> Suspects {
        let own = ["192.0.2.100", "2001:db8::100", "10.0.0.1", "192.0.2.100"];
        Suspects::new(own.into_iter().map(|addr| addr.parse().unwrap()))
    }

    #[test]
    fn a_source_that_cannot_be_has_its_reason_in_both_families() {
        let why_not = |src: &str, dst: &str| {
            suspects().why_not(&FlowKey::new(Proto::Tcp, src.parse().unwrap(), dst.parse().unwrap()))
        };
        for (src, reason) in [
            ("203.0.113.1:80", None),
            ("240.0.0.1:80", None),
            ("192.0.2.100:80", Some(DropReason::Land)),
            ("192.0.2.100:81", Some(DropReason::OwnSource)),
            ("10.0.0.1:80", Some(DropReason::OwnSource)),
            ("127.0.0.1:80", Some(DropReason::MartianSource)),
            ("255.255.255.255:80", Some(DropReason::MartianSource)),
        ] {
            assert_eq!(why_not(src, "192.0.2.100:80"), reason, "{src}");
        }
        for (src, reason) in [
            ("[2001:db8::1]:80", None),
            ("[2001:db8::100]:80", Some(DropReason::Land)),
            ("[2001:db8::100]:81", Some(DropReason::OwnSource)),
            ("[::]:80", Some(DropReason::MartianSource)),
            ("[::ffff:10.0.0.1]:80", Some(DropReason::MartianSource)),
        ] {
            assert_eq!(why_not(src, "[2001:db8::100]:80"), reason, "{src}");
        }
    }

    #[test]
    fn a_tunnel_that_starts_here_is_a_loop_and_others_are_not() {
        let mut four = [0; 40];
        (four[0], four[9]) = (0x45, IPIP);
        four[12..16].copy_from_slice(&[10, 0, 0, 1]);
        assert!(suspects().is_loop(&four));
        four[9] = IPV6_IN_IP;
        assert!(suspects().is_loop(&four) && !suspects().is_loop(&four[..19]));
        four[15] = 2;
        assert!(!suspects().is_loop(&four), "another director's");
        four[9] = 47;
        four[15] = 1;
        assert!(!suspects().is_loop(&four), "no tunnel of ours");
        let mut six = [0; 60];
        (six[0], six[6]) = (0x60, IPIP);
        six[8..24].copy_from_slice(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        assert!(suspects().is_loop(&six) && !suspects().is_loop(&six[..39]) && !suspects().is_loop(&[]));
    }
}
