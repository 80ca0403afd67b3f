//! Addresses that no packet on a wire may come from. They are those that Linux takes for martians, before IPVS sees a
//! packet; what Linux lets pass passes here as well.

/// Whether no packet may come from this IPv4 address: "this" network, loopback, a group, or everybody (RFC 6890, 2.2.2;
/// RFC 1812, 5.3.7).
///
/// 240.0.0.0/4 is reserved, but for the last address Linux takes it for unicast, and some networks use it so.
#[inline]
pub const fn is_martian_v4(source: u32) -> bool {
    let net = source >> 24;
    net == 0 || net == 127 || net >> 4 == 0xe || source == u32::MAX
}

/// Whether no packet may come from this IPv6 address: nobody's, which no router forwards, loopback, a group
/// (RFC 4291, 2.5.2, 2.5.3 and 2.7), or an IPv4 address in its mapped form, which stands for one on the host alone.
#[inline]
pub const fn is_martian_v6(source: u128) -> bool {
    source <= 1 || source >> 120 == 0xff || source >> 32 == 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn martians_of_ipv4_are_told_from_strange_hosts() {
        let is_martian = |text: &str| is_martian_v4(text.parse::<Ipv4Addr>().unwrap().to_bits());
        let martians = ["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.255", "224.0.0.1", "239.255.255.255"];
        assert!(martians.into_iter().all(is_martian) && is_martian("255.255.255.255"));
        let hosts =
            ["1.0.0.0", "126.255.255.255", "128.0.0.1", "223.255.255.255", "240.0.0.1", "255.255.255.254"];
        assert!(!hosts.into_iter().any(is_martian));
        assert!(!["10.0.0.1", "169.254.1.1", "192.168.1.1", "100.64.0.1"].into_iter().any(is_martian));
    }

    #[test]
    fn martians_of_ipv6_are_told_from_strange_hosts() {
        let is_martian = |text: &str| is_martian_v6(text.parse::<Ipv6Addr>().unwrap().to_bits());
        let martians = ["::", "::1", "ff00::", "ff02::1", "ffff::1", "::ffff:192.0.2.1", "::ffff:0.0.0.0"];
        assert!(martians.into_iter().all(is_martian));
        let hosts =
            ["::2", "::fffe:192.0.2.1", "::1:ffff:0:1", "fe80::1", "fd00::1", "64:ff9b::1", "2001:db8::1"];
        assert!(!hosts.into_iter().any(is_martian));
    }
}
