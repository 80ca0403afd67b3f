//! `slow_start` and `slow_start_curve`.

use super::section::Section;
use super::value::{duration, one_of, wrong_type};
use crate::config::SlowStartKeys;
use ::toml::Spanned;
use ::toml::de::DeValue;
use std::time::Duration;

/// What the section says of slow start.
pub(super) fn slow_start(section: &mut Section<'_>) -> SlowStartKeys {
    SlowStartKeys {
        lasts: section.optional("slow_start", lasts).map(Spanned::into_inner),
        curve: section.optional("slow_start_curve", one_of(&SlowStartKeys::CURVES)).map(Spanned::into_inner),
    }
}

/// False, or a time.
fn lasts(value: &DeValue<'_>) -> Result<Duration, String> {
    match value {
        DeValue::Boolean(false) => Ok(Duration::ZERO),
        DeValue::Integer(_) | DeValue::String(_) => duration(value),
        other => Err(wrong_type(other, "false or a duration such as \"30s\" or 30")),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, parse};
    use crate::service::{Curve, SlowStart};
    use std::time::Duration;

    fn read(director: &str, service: &str) -> Config {
        let text = format!(
            "[[interface]]\nname = \"eth0\"\n[director]\n{director}\n[[virtual_service]]\n\
             address = \"192.0.2.100:80\"\n{service}"
        );
        parse("f", &text).unwrap()
    }

    #[test]
    fn a_service_starts_its_servers_as_it_says_or_else_as_the_director_says() {
        let starts = |seconds, curve| Some(SlowStart { lasts: Duration::from_secs(seconds), curve });
        let exponential = "slow_start_curve = \"exponential\"";
        for (director, service, expected) in [
            ("", "", None),
            ("", exponential, None),
            ("slow_start = \"30s\"", "", starts(30, Curve::Linear)),
            ("slow_start = 30", exponential, starts(30, Curve::Exponential)),
            (exponential, "slow_start = \"2m\"", starts(120, Curve::Exponential)),
            ("slow_start = 30", "slow_start = false", None),
            ("slow_start = false", "slow_start = 5", starts(5, Curve::Linear)),
        ] {
            let config = read(director, service);
            let found = config.services[0].slow_start.or(&config.director.slow_start);
            assert_eq!(found, expected, "{director} / {service}");
            assert_eq!(parse("f", &config.to_toml().unwrap()), Ok(config));
        }
    }
}
