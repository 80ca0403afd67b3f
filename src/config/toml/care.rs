//! `on_down`, `alpha`, `fail_open`, `quorum`, `hysteresis` and `passive`.

use super::section::Item;
use super::section::Section;
use super::value::{boolean, integer, one_of, short_duration, wrong_type};
use crate::config::{Care, OnDown, Passive};
use ::toml::Spanned;
use ::toml::de::DeValue;
use std::ops::RangeInclusive;

/// As much as all servers can weigh.
const MAX_QUORUM: u32 = u32::MAX >> 1;

/// From what a busy machine may take to answer to when clients ask again and again.
const WINDOW_MS: RangeInclusive<u64> = 20..=60_000;

const MAX_FAILURES: u32 = 1_000_000;

/// What the section says of servers that fall ill.
pub(super) fn care(section: &mut Section<'_>) -> Care {
    let usual = Care::default();
    let quorum =
        section.optional("quorum", integer(1..=MAX_QUORUM)).map_or(usual.quorum, Spanned::into_inner);
    let hysteresis = section.optional("hysteresis", integer(0..=MAX_QUORUM));
    if let Some(wide) = hysteresis.as_ref().filter(|hysteresis| *hysteresis.get_ref() >= quorum) {
        let error = format!(
            "hysteresis {} is not below the quorum, {quorum}, which then would never be lost (allowed: 0 to {})",
            wide.get_ref(),
            quorum - 1
        );
        section.error(wide.span().start, &error);
    }
    let on_down = one_of(&[("keep", OnDown::Keep), ("reset", OnDown::Reset)]);
    Care {
        on_down: section.optional("on_down", on_down).map_or(usual.on_down, Spanned::into_inner),
        alpha: section.optional("alpha", boolean).map_or(usual.alpha, Spanned::into_inner),
        fail_open_percent: section
            .optional("fail_open", fail_open)
            .map_or(usual.fail_open_percent, Spanned::into_inner),
        quorum,
        hysteresis: hysteresis.map_or(usual.hysteresis, Spanned::into_inner),
        passive: passive(section).unwrap_or(usual.passive),
    }
}

/// True, false, or a table; `None` if nothing is said, or something wrong.
fn passive(section: &mut Section<'_>) -> Option<Option<Passive>> {
    let usual = Passive::default();
    match section.item("passive")? {
        Item::Short(value) => match value.get_ref() {
            DeValue::Boolean(on) => Some(on.then_some(usual)),
            other => {
                let error = wrong_type(other, "true, false, or a table with window or failures");
                section.error(value.span().start, &format!("passive {error}"));
                None
            }
        },
        Item::Long(mut table) => {
            let window = table.optional("window", short_duration(WINDOW_MS));
            let failures = table.optional("failures", integer(1..=MAX_FAILURES));
            table.finish();
            Some(Some(Passive {
                window: window.map_or(usual.window, Spanned::into_inner),
                failures: failures.map_or(usual.failures, Spanned::into_inner),
            }))
        }
    }
}

/// False, or percent.
fn fail_open(value: &DeValue<'_>) -> Result<Option<u8>, String> {
    match value {
        DeValue::Boolean(false) => Ok(None),
        DeValue::Integer(_) => integer(0..=99)(value).map(Some),
        other => Err(wrong_type(other, "false or percent from 0 to 99")),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Care, OnDown, Passive, parse};
    use std::time::Duration;

    #[test]
    fn what_is_said_of_ill_servers_is_read_and_written_again() {
        let usual = Care::default();
        let passive = |ms, failures| Care {
            passive: Some(Passive { window: Duration::from_millis(ms), failures }),
            ..usual
        };
        for (keys, expected) in [
            ("", usual),
            ("on_down = \"reset\"", Care { on_down: OnDown::Reset, ..usual }),
            ("alpha = true", Care { alpha: true, ..usual }),
            ("fail_open = false", Care { fail_open_percent: None, ..usual }),
            ("quorum = 5\nhysteresis = 2", Care { quorum: 5, hysteresis: 2, ..usual }),
            ("fail_open = 40", Care { fail_open_percent: Some(40), ..usual }),
            ("passive = true", usual),
            ("passive = false", Care { passive: None, ..usual }),
            ("passive = { failures = 3 }", passive(50, 3)),
            ("passive = { window = \"1s\" }", passive(1000, 1)),
        ] {
            let service = format!("[[virtual_service]]\naddress = \"192.0.2.100:80\"\n{keys}");
            let config = parse("f", &format!("[[interface]]\nname = \"eth0\"\n{service}")).unwrap();
            assert_eq!(config.services[0].care, expected, "{keys}");
            assert_eq!(parse("f", &config.to_toml().unwrap()), Ok(config));
        }
    }

    #[test]
    fn what_is_wrong_with_it_is_said() {
        let error = |keys: &str| {
            let service = format!("[[virtual_service]]\naddress = \"192.0.2.100:80\"\n{keys}");
            parse("f", &format!("[[interface]]\nname = \"eth0\"\n{service}")).unwrap_err().to_string()
        };
        assert_eq!(
            error("on_down = \"drop\""),
            "f:5:11: virtual service 192.0.2.100:80: on_down \"drop\" is unknown (allowed: keep, reset)"
        );
        assert_eq!(
            error("hysteresis = 1"),
            "f:5:14: virtual service 192.0.2.100:80: hysteresis 1 is not below the quorum, 1, which then would never be lost \
             (allowed: 0 to 0)"
        );
        assert_eq!(
            error("fail_open = 100"),
            "f:5:13: virtual service 192.0.2.100:80: fail_open 100 is out of range (allowed: 0 to 99)"
        );
        assert_eq!(
            error("passive = 5"),
            "f:5:11: virtual service 192.0.2.100:80: passive is the integer 5 (allowed: true, false, or a table with window or \
             failures)"
        );
        assert_eq!(
            error("passive = { window = \"1ms\" }"),
            "f:5:22: virtual service 192.0.2.100:80: passive: window \"1ms\" is out of range (allowed: such as \"50ms\" or \"2s\", \
             from 20ms to 1m)"
        );
        assert_eq!(
            error("fail_open = true"),
            "f:5:13: virtual service 192.0.2.100:80: fail_open is the boolean true (allowed: false or percent from 0 to 99)"
        );
    }
}
