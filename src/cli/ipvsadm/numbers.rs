//! Numbers and addresses as the C library reads them, since scripts lean on it.

use std::net::Ipv4Addr;

/// What `strtol` makes of all of `text` in base 10: white space and a sign may stand before the digits. `None` if anything
/// else stands there, or if it does not fit.
pub(super) fn strtol(text: &str) -> Option<i64> {
    let digits = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(digits);
    if unsigned.is_empty() || !unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// A number between `least` and `most`.
pub(super) fn number(text: &str, least: i64, most: i64) -> Option<i64> {
    strtol(text).filter(|number| (least..=most).contains(number))
}

/// What `atoi` makes of `text`: the digits that it begins with, or 0.
pub(super) fn atoi(text: &str) -> i64 {
    let text = text.trim_start();
    let sign = usize::from(text.starts_with(['+', '-']));
    let end = text.bytes().skip(sign).take_while(u8::is_ascii_digit).count() + sign;
    text[..end].parse().unwrap_or(0)
}

/// What `inet_aton` makes of `text`: one to four numbers, decimal, octal or hexadecimal, the last of which fills what is
/// left of the address.
pub(super) fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let text = text.split([' ', '\t', '\n']).next()?;
    let parts: Vec<u64> = text.split('.').map(part).collect::<Option<_>>()?;
    let (&last, bytes) = parts.split_last()?;
    if bytes.len() > 3 || bytes.iter().any(|&byte| byte > 255) || last >> (32 - 8 * bytes.len()) != 0 {
        return None;
    }
    let high = bytes.iter().zip([24, 16, 8]).map(|(byte, shift)| byte << shift).sum::<u64>();
    Some(Ipv4Addr::from_bits((high | last) as u32))
}

/// `10`, `0x0a` or `012`.
fn part(text: &str) -> Option<u64> {
    let (digits, base) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    if digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(digits, base).ok().filter(|&number| number <= u64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_strtol_and_atoi_read_them() {
        for (text, strtol_says, atoi_says) in [
            ("80", Some(80), 80),
            (" +80", Some(80), 80),
            ("-1", Some(-1), -1),
            ("80x", None, 80),
            ("", None, 0),
            ("+", None, 0),
            ("+-1", None, 0),
            ("9223372036854775808", None, 0),
        ] {
            assert_eq!((strtol(text), atoi(text)), (strtol_says, atoi_says), "{text:?}");
        }
    }

    #[test]
    fn addresses_are_read_as_inet_aton_reads_them() {
        for (text, address) in [
            ("192.0.2.1", Some([192, 0, 2, 1])),
            ("10.1", Some([10, 0, 0, 1])),
            ("10.1.258", Some([10, 1, 1, 2])),
            ("0x0a000001", Some([10, 0, 0, 1])),
            ("012.0.0.1", Some([10, 0, 0, 1])),
            ("24", Some([0, 0, 0, 24])),
            ("256.0.0.1", None),
            ("1.2.3.256", None),
            ("1.2.3.4.5", None),
            ("1.2.3.", None),
            ("", None),
            ("+1", None),
            ("host", None),
            ("4294967296", None),
        ] {
            assert_eq!(inet_aton(text), address.map(Ipv4Addr::from), "{text:?}");
        }
    }
}
