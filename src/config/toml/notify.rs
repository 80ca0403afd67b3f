//! `[[notify]]`.

use super::checks::command;
use super::section::Section;
use super::value::{name, short_duration};
use crate::config::Notify;
use crate::service::check::Script;
use ::toml::Spanned;

/// How many programs are told at most.
const MAX_PROGRAMS: usize = 16;

/// Reads every `[[notify]]`.
pub(super) fn notify(root: &mut Section<'_>) -> Vec<Notify> {
    let one = |mut section: Section<'_>| {
        let command = command(&mut section);
        let user = section.optional("user", name).map(Spanned::into_inner);
        let timeout = section.optional("timeout", short_duration(100..=3_600_000));
        section.finish();
        let script = Script { command: command?, user, is_dynamic: false };
        Some(Notify { script, timeout: timeout.map_or(Notify::TIMEOUT, Spanned::into_inner) })
    };
    root.tables("notify", "notify", MAX_PROGRAMS).filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use crate::config::{Notify, parse};
    use crate::service::check::Script;
    use std::time::Duration;

    const ETH0: &str = "[[interface]]\nname = \"eth0\"\n";

    #[test]
    fn programs_are_read_and_written_again() {
        let text = "[[notify]]\ncommand = [\"/bin/alert\", \"{state}\"]\n\
            [[notify]]\ncommand = [\"/bin/b\"]\nuser = \"nobody\"\ntimeout = \"500ms\"\n";
        let config = parse("f", &format!("{ETH0}{text}")).unwrap();
        let script = |command: &[&str], user: Option<&str>| Script {
            command: command.iter().map(|&word| word.to_owned()).collect(),
            user: user.map(str::to_owned),
            is_dynamic: false,
        };
        let expected = [
            Notify { script: script(&["/bin/alert", "{state}"], None), timeout: Notify::TIMEOUT },
            Notify { script: script(&["/bin/b"], Some("nobody")), timeout: Duration::from_millis(500) },
        ];
        assert_eq!(config.notify, expected);
        assert_eq!(parse("f", &config.to_toml().unwrap()), Ok(config));
    }

    #[test]
    fn what_is_wrong_with_a_program_is_said() {
        for (keys, error) in [
            ("", "f:3:1: notify 1: command is missing"),
            (
                "command = [\"alert\"]",
                "f:4:12: notify 1: command \"alert\" is no absolute path (allowed: such as \"/usr/local/bin/check\")",
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
