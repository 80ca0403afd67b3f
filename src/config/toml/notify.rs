//! `[[notify]]`.

use super::checks::{command, headers};
use super::section::Section;
use super::value::{boolean, hidden, integer, name, path, quoted, short_duration, string};
use crate::config::{Informed, Notify};
use crate::service::check::{HIDDEN, Hook, Script};
use ::http::Uri;
use ::toml::Spanned;
use ::toml::de::DeValue;

/// How many are told at most.
const MAX_INFORMED: usize = 16;

/// Reads every `[[notify]]`.
pub(super) fn notify(root: &mut Section<'_>) -> Vec<Notify> {
    let one = |mut section: Section<'_>| {
        let informed = if section.has("url") { hook(&mut section) } else { program(&mut section) };
        let timeout = section.optional("timeout", short_duration(100..=3_600_000));
        section.finish();
        Some(Notify { informed: informed?, timeout: timeout.map_or(Notify::TIMEOUT, Spanned::into_inner) })
    };
    root.tables("notify", "notify", MAX_INFORMED).filter_map(one).collect()
}

fn program(section: &mut Section<'_>) -> Option<Informed> {
    let command = command(section);
    let user = section.optional("user", name).map(Spanned::into_inner);
    Some(Informed::Program(Script { command: command?, user, is_dynamic: false }))
}

fn hook(section: &mut Section<'_>) -> Option<Informed> {
    let url = section.required("url", url);
    let headers = headers(section);
    let ca = section.optional("ca", path).map(Spanned::into_inner);
    let verify = section.optional("verify", boolean).is_none_or(Spanned::into_inner);
    let retries = section.optional("retries", integer(0..=10)).map_or(Hook::RETRIES, Spanned::into_inner);
    let (is_https, authority, path) = url?.into_inner();
    Some(Informed::Hook(Hook { is_https, authority, path, headers, verify, ca, retries }))
}

/// Whether it is HTTPS, the host and its port, and the path with its query.
fn url(value: &DeValue<'_>) -> Result<(bool, String, String), String> {
    const ALLOWED: &str = "such as \"https://hooks.example.com/lvx\"";
    let found = string(value, &format!("a URL {ALLOWED}"))?;
    let wrong = || format!("{} is no URL of HTTP (allowed: {ALLOWED})", quoted(found));
    let uri: Uri = found.parse().map_err(|_| wrong())?;
    let is_https = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(wrong()),
    };
    let authority =
        uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
    if authority.host().is_empty() || found.contains('#') {
        return Err(wrong());
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    match path.strip_prefix('/') {
        Some(HIDDEN) => Err(hidden()),
        _ => Ok((is_https, authority.to_string(), path.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Informed, Notify, parse};
    use crate::service::check::{Hook, Script};
    use std::time::Duration;

    const ETH0: &str = "[[interface]]\nname = \"eth0\"\n";

    #[test]
    fn programs_are_read_and_written_again() {
        let text = "[[notify]]\ncommand = [\"/bin/alert\", \"{state}\"]\n\
            [[notify]]\ncommand = [\"/bin/b\"]\nuser = \"nobody\"\ntimeout = \"500ms\"\n";
        let config = parse("f", &format!("{ETH0}{text}")).unwrap();
        let script = |command: &[&str], user: Option<&str>| {
            let command = command.iter().map(|&word| word.to_owned()).collect();
            Informed::Program(Script { command, user: user.map(str::to_owned), is_dynamic: false })
        };
        let expected = [
            Notify { informed: script(&["/bin/alert", "{state}"], None), timeout: Notify::TIMEOUT },
            Notify { informed: script(&["/bin/b"], Some("nobody")), timeout: Duration::from_millis(500) },
        ];
        assert_eq!(config.notify, expected);
        assert_eq!(parse("f", &config.to_toml().unwrap()), Ok(config));
    }

    #[test]
    fn places_in_the_web_are_read_and_written_again_and_shown_without_their_secrets() {
        let text = "[[notify]]\nurl = \"https://hooks.example.com:8443/T1?key=2\"\nretries = 0\nverify = false\n\
            ca = \"/etc/ca.pem\"\nheaders = { Authorization = \"Bearer 3\" }\n\
            [[notify]]\nurl = \"http://[::1]\"\ntimeout = \"2s\"\n";
        let config = parse("f", &format!("{ETH0}{text}")).unwrap();
        let first = Hook {
            is_https: true,
            authority: "hooks.example.com:8443".to_owned(),
            path: "/T1?key=2".to_owned(),
            headers: vec![("authorization".to_owned(), "Bearer 3".to_owned())],
            verify: false,
            ca: Some("/etc/ca.pem".into()),
            retries: 0,
        };
        let second = Hook {
            is_https: false,
            authority: "[::1]".to_owned(),
            path: "/".to_owned(),
            headers: Vec::new(),
            verify: true,
            ca: None,
            retries: 3,
        };
        let expected = [
            Notify { informed: Informed::Hook(first), timeout: Notify::TIMEOUT },
            Notify { informed: Informed::Hook(second), timeout: Duration::from_secs(2) },
        ];
        assert_eq!(config.notify, expected);
        let written = config.to_toml().unwrap();
        assert_eq!(parse("f", &written), Ok(config.clone()));
        let shown = config.without_secrets().to_toml().unwrap();
        assert!(
            ["T1", "key=2", "Bearer"]
                .iter()
                .all(|secret| written.contains(secret) && !shown.contains(secret))
        );
        assert!(
            shown.contains("https://hooks.example.com:8443/***") && shown.contains("http://[::1]/"),
            "{shown}"
        );
        let again = parse("f", &shown).unwrap_err().to_string();
        assert_eq!(again.matches("stands for a secret that is not shown").count(), 2, "{again}");
    }

    #[test]
    fn what_is_wrong_with_a_program_or_a_place_is_said() {
        for (keys, error) in [
            ("", "f:3:1: notify 1: command is missing"),
            (
                "command = [\"alert\"]",
                "f:4:12: notify 1: command \"alert\" is no absolute path (allowed: such as \"/usr/local/bin/check\")",
            ),
            (
                "url = \"ftp://example.com/\"",
                "f:4:7: notify 1: url \"ftp://example.com/\" is no URL of HTTP (allowed: such as \"https://hooks.example.com/lvx\")",
            ),
            (
                "url = \"http://a\"\ncommand = [\"/a\"]",
                "f:5:1: notify 1: key \"command\" is unknown (allowed: url, headers, ca, verify, retries, timeout)",
            ),
            (
                "command = [\"/a\"]\ntimeout = 0",
                "f:5:11: notify 1: timeout 0 is out of range (allowed: such as \"50ms\" or \"2s\", from 100ms to 1h)",
            ),
        ] {
            let found = parse("f", &format!("{ETH0}[[notify]]\n{keys}")).unwrap_err().to_string();
            assert_eq!(found, error);
        }
    }
}
