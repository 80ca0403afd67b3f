//! Keys and what they do: one table for both, the help is made of it.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Open,
    Close,
    Turn,
    TurnAll,
    SortLeft,
    SortRight,
    Reverse,
    Filter,
    Drain,
    Undrain,
    Maintain,
    NextPage,
    Page(usize),
    Pause,
    Quicker,
    Slower,
    Back,
    Help,
    Suspend,
    Quit,
}

use Command::*;

/// Some keys: what each does, and what help says of them together.
pub struct Keys {
    pub keys: &'static [(KeyCode, Command)],
    pub named: &'static str,
    pub help: &'static str,
}

const fn letter(letter: char, command: Command) -> (KeyCode, Command) {
    (KeyCode::Char(letter), command)
}

/// All keys.
pub const KEYS: &[Keys] = &[
    Keys {
        keys: &[(KeyCode::Up, Up), (KeyCode::Down, Down), letter('k', Up), letter('j', Down)],
        named: "↑ ↓ k j",
        help: "choose a service or a server",
    },
    Keys {
        keys: &[
            (KeyCode::PageUp, PageUp),
            (KeyCode::PageDown, PageDown),
            (KeyCode::Home, First),
            (KeyCode::End, Last),
            letter('g', First),
            letter('G', Last),
        ],
        named: "PgUp PgDn g G",
        help: "a page on, the first, the last",
    },
    Keys {
        keys: &[(KeyCode::Right, Open), (KeyCode::Left, Close), (KeyCode::Enter, Turn), letter(' ', Turn)],
        named: "→ ← Enter",
        help: "show a service's servers, or not",
    },
    Keys { keys: &[letter('*', TurnAll)], named: "*", help: "show the servers of all, or none" },
    Keys {
        keys: &[letter('<', SortLeft), letter('>', SortRight), letter('r', Reverse)],
        named: "< > r",
        help: "sort by the column beside; turn the order",
    },
    Keys { keys: &[letter('/', Filter)], named: "/", help: "only what has this in its name or address" },
    Keys {
        keys: &[letter('d', Drain), letter('u', Undrain), letter('m', Maintain)],
        named: "d u m",
        help: "drain the chosen server; undrain it; maintenance, or its end",
    },
    Keys {
        keys: &[(KeyCode::Tab, NextPage), letter('1', Page(0)), letter('2', Page(1)), letter('3', Page(2))],
        named: "Tab 1 2 3",
        help: "services, drops, workers",
    },
    Keys {
        keys: &[letter('p', Pause), letter('-', Quicker), letter('+', Slower)],
        named: "p - +",
        help: "pause; ask more often, less often",
    },
    Keys {
        keys: &[(KeyCode::Esc, Back)],
        named: "Esc",
        help: "take back: the choice, the filter, a question",
    },
    Keys {
        keys: &[letter('?', Help), letter('h', Help), letter('q', Quit)],
        named: "? q",
        help: "this help; quit",
    },
];

/// What this key asks for.
pub fn command(key: KeyEvent) -> Option<Command> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(Quit),
            KeyCode::Char('z') => Some(Suspend),
            _ => None,
        };
    }
    let mut all = KEYS.iter().flat_map(|keys| keys.keys);
    all.find(|(code, _)| *code == key.code).map(|(_, command)| *command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_has_two_meanings_and_control_keys_have_their_own() {
        let codes: Vec<KeyCode> = KEYS.iter().flat_map(|keys| keys.keys).map(|(code, _)| *code).collect();
        for (at, code) in codes.iter().enumerate() {
            assert!(!codes[..at].contains(code), "{code:?}");
            assert!(command((*code).into()).is_some());
        }
        let control = |letter| command(KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL));
        assert_eq!([control('c'), control('z'), control('d')], [Some(Quit), Some(Suspend), None]);
    }
}
