//! FTP's words about data connections (RFC 959, RFC 2428), as they stand at the beginning of a control connection's segment.
//!
//! ```text
//! client   PORT h1,h2,h3,h4,p1,p2            EPRT |1|192.0.2.1|40000|
//! server   227 ... (h1,h2,h3,h4,p1,p2)       229 ... (|||40000|)
//! ```
//!
//! A line cut into two segments is not understood, as by IPVS.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

/// Where a server says that it listens (227).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passive {
    /// The server's address, as it says.
    pub addr: Ipv4Addr,
    /// The port.
    pub port: u16,
    /// Where the six numbers stand in the payload.
    pub at: Range<usize>,
}

/// What the six numbers take at most.
pub const LONGEST: usize = 23;

/// The server listens for the client (227).
pub fn passive(payload: &[u8]) -> Option<Passive> {
    let text = line(payload)?.strip_prefix(b"227 ")?;
    let start = text.iter().position(u8::is_ascii_digit)?;
    let (addr, port, len) = six(&text[start..])?;
    let start = start + 4;
    Some(Passive { addr, port, at: start..start + len })
}

/// The port that the server listens at for the client (229).
pub fn extended_passive(payload: &[u8]) -> Option<u16> {
    let text = line(payload)?.strip_prefix(b"229 ")?;
    let start = text.iter().position(|&byte| byte == b'(')? + 1;
    let [delimiter, rest @ ..] = text.get(start..)? else { return None };
    let mut fields = rest.split(|byte| byte == delimiter);
    (fields.next()?.is_empty() && fields.next()?.is_empty()).then_some(())?;
    number(fields.next()?)
}

/// Where the client says that it listens (PORT, EPRT).
pub fn active(payload: &[u8]) -> Option<(IpAddr, u16)> {
    let line = line(payload)?;
    let (verb, argument) = (line.get(..5)?, line.get(5..)?);
    if verb.eq_ignore_ascii_case(b"PORT ") {
        let (addr, port, _) = six(argument)?;
        return Some((addr.into(), port));
    }
    if !verb.eq_ignore_ascii_case(b"EPRT ") {
        return None;
    }
    let [delimiter, rest @ ..] = argument else { return None };
    let mut fields = rest.split(|byte| byte == delimiter);
    let (family, addr, port) = (fields.next()?, fields.next()?, fields.next()?);
    let addr: IpAddr = std::str::from_utf8(addr).ok()?.parse().ok()?;
    let is_of_family = family == if addr.is_ipv4() { b"1" } else { b"2" };
    is_of_family.then_some((addr, number(port)?))
}

/// The six numbers of an address and a port, written into `out`; how many bytes they take.
pub fn write_six(addr: Ipv4Addr, port: u16, out: &mut [u8; LONGEST]) -> usize {
    use std::io::Write;
    let ([a, b, c, d], [p, q]) = (addr.octets(), port.to_be_bytes());
    let mut left = &mut out[..];
    // It fits: six numbers of three digits and five commas.
    let _ = write!(left, "{a},{b},{c},{d},{p},{q}");
    LONGEST - left.len()
}

/// The first line, which must be whole.
fn line(payload: &[u8]) -> Option<&[u8]> {
    /// No line that concerns us is longer.
    const LONGEST: usize = 512;
    let payload = &payload[..payload.len().min(LONGEST)];
    payload.iter().position(|&byte| byte == b'\r' || byte == b'\n').map(|end| &payload[..end])
}

/// Six numbers between commas, and how many bytes they take.
fn six(text: &[u8]) -> Option<(Ipv4Addr, u16, usize)> {
    let is_of_it = |byte: &u8| byte.is_ascii_digit() || *byte == b',';
    let len = text.iter().position(|byte| !is_of_it(byte)).unwrap_or(text.len());
    let mut numbers = text[..len].split(|&byte| byte == b',').map(number);
    let mut next = || -> Option<u8> { u8::try_from(numbers.next()??).ok() };
    let (a, b, c, d, p, q) = (next()?, next()?, next()?, next()?, next()?, next()?);
    let is_all = numbers.next().is_none();
    is_all.then_some((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([p, q]), len))
}

fn number(digits: &[u8]) -> Option<u16> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_servers_say_of_their_passive_ports_is_understood() {
        let line = b"227 Entering Passive Mode (10,0,0,11,156,64).\r\n";
        let found = passive(line).unwrap();
        assert_eq!((found.addr, found.port), ([10, 0, 0, 11].into(), 40000));
        assert_eq!(&line[found.at], b"10,0,0,11,156,64");
        assert_eq!(passive(b"227 =10,0,0,11,0,20\r\n").map(|p| p.port), Some(20));
        for bad in [
            &b"227 Entering Passive Mode (10,0,0,11,156,64)"[..],
            b"227 Entering Passive Mode (10,0,0,11,156)\r\n",
            b"227 Entering Passive Mode (10,0,0,11,156,256)\r\n",
            b"227 Entering Passive Mode (10,0,0,11,156,64,1)\r\n",
            b"227-Entering Passive Mode (10,0,0,11,156,64)\r\n",
            b"230 Logged in (10,0,0,11,156,64)\r\n",
            b"",
        ] {
            assert_eq!(passive(bad), None, "{}", bad.escape_ascii());
        }
        assert_eq!(extended_passive(b"229 Entering Extended Passive Mode (|||6446|)\r\n"), Some(6446));
        for bad in
            ["229 (|||70000|)\r\n", "229 (|1||6446|)\r\n", "229 (|||6446|)", "229 |||6446|\r\n", "229 (\r\n"]
        {
            assert_eq!(extended_passive(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn what_clients_say_of_their_ports_is_understood() {
        let v4 = |a: [u8; 4]| IpAddr::from(a);
        assert_eq!(active(b"PORT 192,0,2,1,156,64\r\n"), Some((v4([192, 0, 2, 1]), 40000)));
        assert_eq!(active(b"eprt |1|192.0.2.1|6275|\r\n"), Some((v4([192, 0, 2, 1]), 6275)));
        assert_eq!(active(b"EPRT |2|2001:db8::1|6275|\r\n"), Some(("2001:db8::1".parse().unwrap(), 6275)));
        for bad in [
            "PORT 1,2,3\r\n",
            "EPRT |2|192.0.2.1|6275|\r\n",
            "EPRT \r\n",
            "PORT",
            "STOR x\r\n",
            "EPRT |1|x|1|\r\n",
        ] {
            assert_eq!(active(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(addr: [u8; 4], port: u16, before in "[A-Za-z (]{0,40}") {
            let mut six = [0; LONGEST];
            let len = write_six(addr.into(), port, &mut six);
            let line = [b"227 ", before.as_bytes(), &six[..len], b")\r\n"].concat();
            let found = passive(&line).unwrap();
            prop_assert_eq!((found.addr, found.port), (addr.into(), port));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(
            verb in prop::sample::select(vec!["227 ", "229 (", "PORT ", "EPRT |1|", ""]),
            rest in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let bytes = [verb.as_bytes(), &rest].concat();
            if let Some(found) = passive(&bytes) {
                prop_assert!(found.at.end <= bytes.len());
            }
            let _ = (extended_passive(&bytes), active(&bytes));
        }
    }
}
