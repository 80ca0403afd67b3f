//! `persistent`, and `netmask` or, as another word for it, `persistence_mask`.

use super::section::Section;
use super::value::{duration, integer, quoted, wrong_type};
use crate::service::Persistence;
use ::toml::Spanned;
use ::toml::de::DeValue;
use std::net::Ipv4Addr;
use std::time::Duration;

/// ipvsadm's: `-p` without a number.
const LASTS: Duration = Duration::from_secs(300);

/// Whether clients of a service of this family keep to their servers. What was wrong is said.
pub(super) fn persistence(section: &mut Section<'_>, is_v4: bool) -> Option<Persistence> {
    let lasts = section.optional("persistent", lasts).and_then(Spanned::into_inner);
    let masks = ["netmask", "persistence_mask"].map(|key| {
        let mask = if is_v4 { section.optional(key, netmask) } else { section.optional(key, prefix_v6) };
        mask.map(|mask| (key, mask.span().start, mask.into_inner()))
    });
    if let [Some((first, ..)), Some((second, at, _))] = masks {
        section.error(at, &format!("{second} is another word for {first} (allowed: one of the two)"));
    }
    let [first, second] = masks;
    let mask = first.or(second);
    if let (None, Some((key, at, _))) = (lasts, mask) {
        section.error(at, &format!("{key} is for persistent services (allowed: with persistent = true)"));
    }
    let whole = if is_v4 { 32 } else { 128 };
    lasts.map(|lasts| Persistence { lasts, prefix_len: mask.map_or(whole, |(.., len)| len) })
}

/// True, false, or a time.
fn lasts(value: &DeValue<'_>) -> Result<Option<Duration>, String> {
    match value {
        DeValue::Boolean(true) => Ok(Some(LASTS)),
        DeValue::Boolean(false) => Ok(None),
        DeValue::Integer(_) | DeValue::String(_) => duration(value).map(Some),
        other => Err(wrong_type(other, "true, false or a duration such as \"5m\" or 300")),
    }
}

/// 24, or as ipvsadm has it, 255.255.255.0.
fn netmask(value: &DeValue<'_>) -> Result<u8, String> {
    const ALLOWED: &str = "0 to 32, or such as \"255.255.255.0\"";
    match value {
        DeValue::Integer(_) => integer(0..=32)(value),
        DeValue::String(text) => {
            let bits = text.parse::<Ipv4Addr>().map(Ipv4Addr::to_bits).ok();
            let mask = bits.filter(|bits| bits.leading_ones() + bits.trailing_zeros() >= 32);
            mask.map(|mask| mask.leading_ones() as u8)
                .ok_or_else(|| format!("{} is no netmask (allowed: {ALLOWED})", quoted(text)))
        }
        other => Err(wrong_type(other, ALLOWED)),
    }
}

fn prefix_v6(value: &DeValue<'_>) -> Result<u8, String> {
    match value {
        DeValue::String(text) => {
            Err(format!("{} is no prefix length of IPv6 (allowed: 1 to 128)", quoted(text)))
        }
        _ => integer(1..=128)(value),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::parse;
    use crate::service::Persistence;
    use std::time::Duration;

    fn of(vip: &str, lines: &str) -> Result<Option<Persistence>, String> {
        let text =
            format!("[[interface]]\nname = \"eth0\"\n[[virtual_service]]\naddress = \"{vip}\"\n{lines}");
        parse("f", &text).map(|config| config.services[0].policy.persistence).map_err(|e| e.to_string())
    }

    #[test]
    fn persistence_is_a_time_or_ipvsadms_and_a_mask_of_the_services_family() {
        let (v4, v6) = ("192.0.2.100:80", "[2001:db8::100]:80");
        let lasts =
            |seconds, prefix_len| Some(Persistence { lasts: Duration::from_secs(seconds), prefix_len });
        for (vip, lines, expected) in [
            (v4, "", None),
            (v4, "persistent = false", None),
            (v4, "persistent = true", lasts(300, 32)),
            (v6, "persistent = \"5m\"", lasts(300, 128)),
            (v4, "persistent = 60\nnetmask = 24", lasts(60, 24)),
            (v4, "persistent = 60\nnetmask = \"255.255.254.0\"", lasts(60, 23)),
            (v4, "persistent = 60\nnetmask = \"0.0.0.0\"", lasts(60, 0)),
            (v6, "persistent = 60\npersistence_mask = 64", lasts(60, 64)),
        ] {
            assert_eq!(of(vip, lines), Ok(expected), "{vip} {lines}");
        }
    }

    #[test]
    fn what_is_wrong_with_persistence_is_said() {
        let (v4, v6) = ("192.0.2.100:80", "[2001:db8::100]:80");
        let bad_mask = "(allowed: 0 to 32, or such as \"255.255.255.0\")";
        for (vip, lines, expected) in [
            (
                v4,
                "persistent = 1.5",
                "persistent is the float 1.5 (allowed: true, false or a duration such as \"5m\" or 300)".to_owned(),
            ),
            (
                v4,
                "persistent = \"32d\"",
                "persistent \"32d\" is out of range (allowed: such as \"15m\", \"900s\" or 300, from 1 second to 31 \
                 days)"
                    .to_owned(),
            ),
            (
                v4,
                "persistent = true\nnetmask = \"255.0.255.0\"",
                format!("netmask \"255.0.255.0\" is no netmask {bad_mask}"),
            ),
            (
                v4,
                "persistent = true\nnetmask = 33",
                "netmask 33 is out of range (allowed: 0 to 32)".to_owned(),
            ),
            (
                v6,
                "persistent = true\nnetmask = \"255.255.255.0\"",
                "netmask \"255.255.255.0\" is no prefix length of IPv6 (allowed: 1 to 128)".to_owned(),
            ),
            (
                v4,
                "netmask = 24",
                "netmask is for persistent services (allowed: with persistent = true)".to_owned(),
            ),
            (
                v4,
                "persistent = true\nnetmask = 24\npersistence_mask = 24",
                "persistence_mask is another word for netmask (allowed: one of the two)".to_owned(),
            ),
        ] {
            let error = of(vip, lines).unwrap_err();
            assert!(error.ends_with(&format!("{vip}: {expected}")), "{error}");
        }
    }
}
