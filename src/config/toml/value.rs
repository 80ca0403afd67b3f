//! Single values: what the text of a key means, or why it means nothing.
//!
//! A reader's error is the end of a sentence that begins with the key: `70000 is out of range (allowed: 0 to
//! 65535)` becomes `weight 70000 is out of range (allowed: 0 to 65535)`.

use crate::net::{Mac, Prefix};
use crate::service::ALL_PORTS;
use crate::service::check::HIDDEN;
use ::toml::de::DeValue;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// The longest time that a connection may be remembered; as ipvsadm limits persistence.
const MAX_SECONDS: u64 = 31 * 24 * 60 * 60;

/// A string with at least one character.
pub(super) fn name(value: &DeValue<'_>) -> Result<String, String> {
    match string(value, "a name")? {
        "" => Err("\"\" is empty (allowed: a name)".to_owned()),
        name => Ok(name.to_owned()),
    }
}

/// `true` or `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| wrong_type(value, "true or false"))
}

/// A whole number of this range.
pub(super) fn integer<T>(range: RangeInclusive<T>) -> impl Fn(&DeValue<'_>) -> Result<T, String>
where
    T: TryFrom<i64> + PartialOrd + Display,
{
    move |value| {
        let (first, last) = (range.start(), range.end());
        let Some(integer) = value.as_integer() else {
            return Err(wrong_type(value, &format!("an integer from {first} to {last}")));
        };
        i64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                format!("{} is out of range (allowed: {first} to {last})", shortened(&integer.to_string()))
            })
    }
}

/// A power of two of this range.
pub(super) fn power_of_two(range: RangeInclusive<u32>) -> impl Fn(&DeValue<'_>) -> Result<u32, String> {
    move |value| {
        let number = integer(range.clone())(value)?;
        if number.is_power_of_two() {
            return Ok(number);
        }
        let (first, last) = (range.start(), range.end());
        let near = number.next_power_of_two().min(*last);
        Err(format!(
            "{number} is no power of two; did you mean {near}? (allowed: powers of two from {first} to {last})"
        ))
    }
}

/// A prime of this range, whose ends are primes.
pub(super) fn prime(range: RangeInclusive<u32>) -> impl Fn(&DeValue<'_>) -> Result<u32, String> {
    move |value| {
        let number = integer(range.clone())(value)?;
        if is_prime(number) {
            return Ok(number);
        }
        let (first, last) = (range.start(), range.end());
        let near = (number..=*last).find(|&number| is_prime(number)).unwrap_or(*last);
        Err(format!("{number} is no prime; did you mean {near}? (allowed: primes from {first} to {last})"))
    }
}

fn is_prime(number: u32) -> bool {
    number > 1
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

/// One of these words. A word may stand for the same thing as another.
pub(super) fn one_of<T: Copy>(words: &[(&str, T)]) -> impl Fn(&DeValue<'_>) -> Result<T, String> {
    move |value| {
        let allowed = || words.iter().map(|&(word, _)| word).collect::<Vec<_>>();
        let Some(found) = value.as_str() else {
            return Err(wrong_type(value, &allowed().join(", ")));
        };
        match words.iter().find(|&&(word, _)| word == found) {
            Some(&(_, meaning)) => Ok(meaning),
            None => Err(format!(
                "{} is unknown{} (allowed: {})",
                quoted(found),
                did_you_mean(found, allowed()),
                allowed().join(", ")
            )),
        }
    }
}

/// `"15m"`, `"900s"`, `"300"` or `300`: from 1 second to 31 days.
pub(super) fn duration(value: &DeValue<'_>) -> Result<Duration, String> {
    const ALLOWED: &str = "such as \"15m\", \"900s\" or 300, from 1 second to 31 days";
    period(value, 1000..=MAX_SECONDS * 1000, ALLOWED, &UNITS[1..])
}

/// `"50ms"`, `"2s"` or `2`: from so many milliseconds to so many.
pub(super) fn short_duration(
    range: RangeInclusive<u64>,
) -> impl Fn(&DeValue<'_>) -> Result<Duration, String> {
    move |value| {
        let [first, last] = [range.start(), range.end()].map(|&ms| shortest(Duration::from_millis(ms)));
        let allowed = format!("such as \"50ms\" or \"2s\", from {first} to {last}");
        period(value, range.clone(), &allowed, &UNITS)
    }
}

/// Units of time, in milliseconds. A number alone is of seconds.
const UNITS: [(&str, u64); 6] =
    [("ms", 1), ("", 1000), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// The duration as it is written in the largest unit that it is a whole number of.
pub(in crate::config) fn shortest(duration: Duration) -> String {
    let ms = duration.as_millis();
    let fits = |&&(unit, in_ms): &&(&str, u64)| !unit.is_empty() && ms.is_multiple_of(in_ms.into());
    let (unit, in_ms) = UNITS.iter().rev().find(fits).unwrap_or(&UNITS[0]);
    format!("{}{unit}", ms / u128::from(*in_ms))
}

fn period(
    value: &DeValue<'_>,
    range: RangeInclusive<u64>,
    allowed: &str,
    units: &[(&str, u64)],
) -> Result<Duration, String> {
    let ms = match value {
        DeValue::Integer(integer) => u64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .and_then(|seconds| seconds.checked_mul(1000)),
        DeValue::String(text) => {
            let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let unit = units.iter().find(|(unit, _)| *unit == &text[digits.len()..]);
            let (Some((_, unit)), Ok(number)) = (unit, digits.parse::<u64>()) else {
                return Err(format!("{} is no duration (allowed: {allowed})", quoted(text)));
            };
            number.checked_mul(*unit)
        }
        _ => return Err(wrong_type(value, &format!("a duration {allowed}"))),
    };
    ms.filter(|ms| range.contains(ms))
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{} is out of range (allowed: {allowed})", shown(value)))
}

/// An absolute path: the director's own directory is nobody's concern.
pub(super) fn path(value: &DeValue<'_>) -> Result<PathBuf, String> {
    let path = PathBuf::from(name(value)?);
    if path.is_absolute() && !path.to_string_lossy().contains('\0') {
        return Ok(path);
    }
    Err(format!(
        "{} is no absolute path (allowed: such as \"/run/lvx/lvx.sock\")",
        quoted(&path.to_string_lossy())
    ))
}

/// The name of a host, as DNS has it.
pub(super) fn host_name(value: &DeValue<'_>) -> Result<String, String> {
    const ALLOWED: &str = "such as www.example.com";
    let found = string(value, &format!("a host's name, {ALLOWED}"))?;
    // RFC 1123, 2.1; underscores are no host's, and yet in use.
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let is_name = found.len() <= 253 && found.trim_end_matches('.').split('.').all(is_label);
    is_name
        .then(|| found.to_owned())
        .ok_or_else(|| format!("{} is no host's name (allowed: {ALLOWED})", quoted(found)))
}

/// A MAC address of one station: not the zero address, not a group's.
pub(super) fn mac(value: &DeValue<'_>) -> Result<Mac, String> {
    const ALLOWED: &str = "six pairs of hexadecimal digits, such as 02:00:00:00:00:01";
    let found = string(value, ALLOWED)?;
    let mac: Mac =
        found.parse().map_err(|_| format!("{} is no MAC address (allowed: {ALLOWED})", quoted(found)))?;
    // The lowest bit of the first octet marks a group address (IEEE 802, I/G bit).
    if mac == Mac::ZERO || mac.0[0] & 1 == 1 {
        return Err(format!("{} is not the address of one station (allowed: {ALLOWED})", quoted(found)));
    }
    Ok(mac)
}

/// An IP address that a packet can travel to.
pub(super) fn address(value: &DeValue<'_>) -> Result<IpAddr, String> {
    const ALLOWED: &str = "such as 192.0.2.1";
    let found = string(value, &format!("an IP address {ALLOWED}"))?;
    let addr =
        found.parse().map_err(|_| format!("{} is no IP address (allowed: {ALLOWED})", quoted(found)))?;
    reachable(addr, found)
}

/// An interface's address with its prefix length: `192.0.2.1/24`.
pub(super) fn interface_address(value: &DeValue<'_>) -> Result<Prefix, String> {
    let prefix = prefix(value, "such as 192.0.2.1/24")?;
    reachable(prefix.addr, &prefix.to_string())?;
    Ok(prefix)
}

/// The destinations of a route: `198.51.100.0/24`.
pub(super) fn network(value: &DeValue<'_>) -> Result<Prefix, String> {
    let prefix = prefix(value, "such as 198.51.100.0/24, or 0.0.0.0/0 for the default route")?;
    let network = Prefix { addr: prefix.network(), len: prefix.len };
    if network != prefix {
        return Err(format!(
            "\"{prefix}\" has bits set behind its prefix; did you mean \"{network}\"? (allowed: a network's \
             first address)"
        ));
    }
    Ok(prefix)
}

fn prefix(value: &DeValue<'_>, allowed: &str) -> Result<Prefix, String> {
    let found = string(value, &format!("an address with a prefix length, {allowed}"))?;
    found
        .parse()
        .map_err(|_| format!("{} is no address with a prefix length (allowed: {allowed})", quoted(found)))
}

/// An address with a port or without: `192.0.2.100:80`, `10.0.0.11`. Port 0 is none.
pub(super) fn address_and_port(value: &DeValue<'_>) -> Result<(IpAddr, Option<u16>), String> {
    const ALLOWED: &str = "such as 192.0.2.100:80 or [2001:db8::100]:80";
    let found = string(value, &format!("an address with a port, {ALLOWED}"))?;
    let (addr, port) = match (found.parse::<SocketAddr>(), found.parse::<IpAddr>()) {
        (Ok(both), _) => (both.ip(), Some(both.port())),
        (_, Ok(addr)) => (addr, None),
        _ => return Err(format!("{} is no address with a port (allowed: {ALLOWED})", quoted(found))),
    };
    Ok((reachable(addr, found)?, port.filter(|&port| port != 0)))
}

/// An address with a port, with several (`192.0.2.100:8000-8100`) or with all of them (`192.0.2.100`): the first and the
/// last.
pub(super) fn address_and_ports(value: &DeValue<'_>) -> Result<(IpAddr, (u16, u16)), String> {
    const ALLOWED: &str = "such as 192.0.2.100:80, 192.0.2.100:8000-8100, or 192.0.2.100 for all ports";
    let found = string(value, &format!("an address with ports, {ALLOWED}"))?;
    if found.contains('/') {
        return Err(format!(
            "{} is a prefix: the director has each address of its own (allowed: a match for each address)",
            quoted(found)
        ));
    }
    let (text, last) = match found.rsplit_once('-') {
        Some((text, last)) => (text, Some(last.parse::<u16>().ok())),
        None => (found, None),
    };
    let (addr, first) = match (text.parse::<SocketAddr>(), text.parse::<IpAddr>()) {
        (Ok(both), _) => (both.ip(), Some(both.port())),
        (_, Ok(addr)) if last.is_none() => (addr, None),
        _ => return Err(format!("{} is no address with ports (allowed: {ALLOWED})", quoted(found))),
    };
    let ports = match (first, last) {
        (None | Some(0), None) => Some(ALL_PORTS),
        (Some(port), None) => Some((port, port)),
        (Some(first), Some(Some(last))) if first > 0 && first <= last => Some((first, last)),
        _ => None,
    };
    let ports = ports.ok_or_else(|| {
        format!("{} has no ports between the first and the last (allowed: {ALLOWED})", quoted(found))
    })?;
    Ok((reachable(addr, found)?, ports))
}

/// `addr`, written as `found`, unless no packet can be addressed to it across a wire.
fn reachable(addr: IpAddr, found: &str) -> Result<IpAddr, String> {
    let why_not = match addr {
        _ if addr.is_unspecified() => "stands for no address",
        _ if addr.is_loopback() => "is a loopback address",
        _ if addr.is_multicast() => "is a multicast address",
        IpAddr::V4(v4) if v4.is_broadcast() => "is the broadcast address",
        // RFC 4291, 2.5.5.2: it stands for an IPv4 node inside a host, and on no wire.
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => "is an IPv4 address written as an IPv6 one",
        _ => return Ok(addr),
    };
    Err(format!("{} {why_not} (allowed: the unicast address of a host)", quoted(found)))
}

pub(super) fn string<'a>(value: &'a DeValue<'_>, allowed: &str) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| wrong_type(value, allowed))
}

/// The error of a value that has another type than its key wants.
pub(super) fn wrong_type(value: &DeValue<'_>, allowed: &str) -> String {
    let found = match value {
        DeValue::Array(_) => "is an array".to_owned(),
        DeValue::Table(_) => "is a table".to_owned(),
        scalar => format!("is the {} {}", scalar.type_str(), shown(scalar)),
    };
    format!("{found} (allowed: {allowed})")
}

/// A scalar as the operator wrote it, or nearly.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(integer) => shortened(&integer.to_string()),
        DeValue::Float(float) => shortened(&float.to_string()),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(moment) => moment.to_string(),
        DeValue::Array(_) | DeValue::Table(_) => value.type_str().to_owned(),
    }
}

/// That a value only stands for one that is not shown.
pub(super) fn hidden() -> String {
    format!("is {HIDDEN:?}, which stands for a secret that is not shown (allowed: the secret itself)")
}

/// A text from the file inside a message: in quotes, on one line, and not too long.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", shortened(text))
}

fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// `; did you mean "wlc"?`, or nothing when no candidate is near.
pub(super) fn did_you_mean<'a>(found: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    match near(found, candidates) {
        Some(candidate) => format!("; did you mean {}?", quoted(candidate)),
        None => String::new(),
    }
}

/// The candidate that `found` is most likely a slip of: a third of its letters wrong at most, two neighbours
/// exchanged being one slip.
fn near<'a>(found: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The distance takes time and room for the product of the two lengths; nobody's slip is that long.
    const LONGEST: usize = 64;
    if found.len() > LONGEST {
        return None;
    }
    let found = found.to_lowercase();
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST)
        .map(|candidate| (strsim::damerau_levenshtein(&found, &candidate.to_lowercase()), candidate))
        .filter(|&(slips, candidate)| slips <= (candidate.chars().count() / 3).max(1))
        .min_by_key(|&(slips, _)| slips)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `read` makes of the value that `source` is in TOML.
    fn of<T>(read: impl Fn(&DeValue<'_>) -> Result<T, String>, source: &str) -> Result<T, String> {
        read(DeValue::parse(source).unwrap().get_ref())
    }

    #[test]
    fn a_duration_is_seconds_unless_it_names_another_unit() {
        for (source, seconds) in [
            ("300", 300),
            ("\"300\"", 300),
            ("\"900s\"", 900),
            ("\"15m\"", 900),
            ("\"2h\"", 7200),
            ("\"31d\"", MAX_SECONDS),
            ("0x10", 16),
            ("1_000", 1000),
        ] {
            assert_eq!(of(duration, source), Ok(Duration::from_secs(seconds)), "{source}");
        }
    }

    #[test]
    fn a_duration_that_is_none_is_refused_with_the_reason() {
        let allowed = "(allowed: such as \"15m\", \"900s\" or 300, from 1 second to 31 days)";
        for (source, reason) in [
            ("0", "0 is out of range"),
            ("-5", "-5 is out of range"),
            ("\"32d\"", "\"32d\" is out of range"),
            ("\"18446744073709551615d\"", "\"18446744073709551615d\" is out of range"),
            ("\"15x\"", "\"15x\" is no duration"),
            ("\"m\"", "\"m\" is no duration"),
            ("\"\"", "\"\" is no duration"),
            ("\"1 m\"", "\"1 m\" is no duration"),
        ] {
            assert_eq!(of(duration, source), Err(format!("{reason} {allowed}")), "{source}");
        }
    }

    #[test]
    fn integers_are_read_in_every_base_and_refused_outside_their_range() {
        for (source, number) in [("64", 64), ("0x40", 64), ("0b100_0000", 64), ("+64", 64)] {
            assert_eq!(of(integer(0..=100u16), source), Ok(number), "{source}");
        }
        for source in ["-1", "101", "70000", "99999999999999999999999999"] {
            let error = format!("{source} is out of range (allowed: 0 to 100)");
            assert_eq!(of(integer(0..=100u16), source), Err(error));
        }
    }

    #[test]
    fn an_exchange_of_two_letters_is_a_near_match_and_another_word_is_not() {
        let schedulers = ["rr", "wrr", "lc", "wlc"];
        assert_eq!(near("wcl", schedulers), Some("wlc"));
        assert_eq!(near("WLC", schedulers), Some("wlc"));
        assert_eq!(near("maglev", schedulers), None);
        assert_eq!(near("schedular", ["name", "scheduler"]), Some("scheduler"));
        assert_eq!(near(&"x".repeat(1 << 20), ["x"]), None);
    }

    #[test]
    fn a_long_or_many_lined_text_stays_on_one_short_line_of_a_message() {
        assert_eq!(quoted("a\nb"), "\"a\\nb\"");
        assert_eq!(quoted(&"é".repeat(100)).chars().count(), 63);
    }
}
