//! Options of IP headers, as far as they decide whether a packet is sound. What they mean is not looked at, but for
//! those that lay out a route.

use super::IPV6;

/// The protocol number of a hop-by-hop options header.
const HOP_BY_HOP: u8 = 0;

/// What is wrong with options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadOptions {
    /// One has a length below its own two bytes, or beyond the header.
    Malformed,
    /// The sender has laid out the packet's route (RFC 791, loose or strict).
    SourceRoute,
}

/// Looks at the options of an IPv4 header (RFC 791, 3.1), as Linux does before IPVS sees the packet.
///
/// # Errors
/// [`BadOptions`]. A source route is one wherever its pointer is: Linux takes none of them unless told to
/// (`accept_source_route`; RFC 7126, 4.3 and 4.4).
pub fn of_ipv4(mut options: &[u8]) -> Result<(), BadOptions> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE_ROUTE: u8 = 131;
    const STRICT_ROUTE: u8 = 137;
    while let Some((&kind, rest)) = options.split_first() {
        options = match kind {
            END => return Ok(()),
            NO_OPERATION => rest,
            LOOSE_ROUTE | STRICT_ROUTE => return Err(BadOptions::SourceRoute),
            _ => {
                let len = rest.first().map_or(0, |&len| usize::from(len));
                options.get(len..).filter(|_| len >= 2).ok_or(BadOptions::Malformed)?
            }
        };
    }
    Ok(())
}

/// Looks at the hop-by-hop options of `packet`, which starts with its IPv6 header, if it has some (RFC 8200, 4.3: they
/// come first): Linux does so before IPVS sees the packet, and leaves destination options to their host.
///
/// # Errors
/// [`BadOptions::Malformed`].
pub fn of_ipv6(packet: &[u8]) -> Result<(), BadOptions> {
    if packet.get(6) != Some(&HOP_BY_HOP) {
        return Ok(());
    }
    let header = packet.get(IPV6..).ok_or(BadOptions::Malformed)?;
    let len = header.get(1).map_or(0, |&len| 8 + 8 * usize::from(len));
    of_hop_by_hop(header.get(..len).ok_or(BadOptions::Malformed)?)
}

/// Looks at a header that starts with the number of the next one and ends with its options (RFC 8200, 4.2).
fn of_hop_by_hop(header: &[u8]) -> Result<(), BadOptions> {
    let mut options = header.get(2..).ok_or(BadOptions::Malformed)?;
    while let Some((&kind, rest)) = options.split_first() {
        // Pad1 is the only option of a single byte.
        options = match kind {
            0 => rest,
            _ => {
                let len = rest.first().ok_or(BadOptions::Malformed)?;
                rest.get(1 + usize::from(*len)..).ok_or(BadOptions::Malformed)?
            }
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_option_of_ipv4_ends_within_the_header() {
        for sound in
            [&[][..], &[1, 1, 1, 1], &[0x94, 4, 0, 0], &[7, 3, 4, 0], &[0x44, 4, 5, 0], &[0, 99, 1, 0]]
        {
            assert_eq!(of_ipv4(sound), Ok(()), "{sound:?}");
        }
        for bad in [&[7, 0, 0, 0][..], &[7, 1, 0, 0], &[7, 5, 4, 0], &[1, 1, 1, 7], &[0x94, 255, 0, 0]] {
            assert_eq!(of_ipv4(bad), Err(BadOptions::Malformed), "{bad:?}");
        }
        for route in [&[131, 7, 4, 10, 0, 0, 1, 0][..], &[1, 137, 3, 4], &[131, 0, 0, 0]] {
            assert_eq!(of_ipv4(route), Err(BadOptions::SourceRoute), "{route:?}");
        }
    }

    #[test]
    fn an_option_of_ipv6_ends_within_the_header() {
        for sound in [
            [6, 0, 1, 4, 0, 0, 0, 0],
            [6, 0, 5, 2, 0, 0, 0, 0],
            [6, 0, 0, 0, 0, 0, 0, 0],
            [6, 0, 0, 0, 0, 0, 1, 0],
        ] {
            assert_eq!(of_hop_by_hop(&sound), Ok(()), "{sound:?}");
        }
        for bad in
            [&[6, 0, 1, 5, 0, 0, 0, 0][..], &[6, 0, 1, 255, 0, 0, 0, 0], &[6, 0, 0, 0, 0, 0, 0, 1], &[6]]
        {
            assert_eq!(of_hop_by_hop(bad), Err(BadOptions::Malformed), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_options_or_not_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = (of_ipv4(&bytes), of_ipv6(&bytes), of_hop_by_hop(&bytes));
        }
    }
}
