//! The words of a command line, cut into options as popt cuts them for ipvsadm.
//!
//! ```text
//! -A          --add-service          no argument; short ones may stand in one word: -Ln
//! -t VIP:80   --tcp-service VIP:80   an argument: the next word, the rest of a short option's word, or what
//! -tVIP:80    --tcp-service=VIP:80   follows `=`
//! -p [600]    --persistent[=600]     an argument that may be missing: the next word unless it begins with `-`
//! --                                 what follows are no options
//! ```

use std::fmt;

/// As much of a text as there is room for: `most` bytes, and no half characters.
pub(super) fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    &text[..end]
}

/// Whether an option has an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    Argument,
    Perhaps,
}

/// An option as it may be written.
#[derive(Debug)]
pub(super) struct Spelling<T> {
    pub long: &'static str,
    pub short: Option<char>,
    pub takes: Takes,
    pub means: T,
}

/// Why a word is no option. The texts are popt's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Malformed {
    Unknown,
    ArgumentMissing,
    ArgumentUnwanted,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Malformed::Unknown => "unknown option",
            Malformed::ArgumentMissing => "missing argument",
            Malformed::ArgumentUnwanted => "option does not take an argument",
        })
    }
}

/// An option with its argument.
pub(super) type Given<'w, T> = (T, Option<&'w str>);

/// Cuts words into options, one after the other.
pub(super) struct Words<'w, T: 'static> {
    words: &'w [String],
    spellings: &'static [Spelling<T>],
    next: usize,
    /// What is left of a word of short options.
    cluster: &'w str,
    only_arguments: bool,
    /// The words that are neither options nor theirs.
    left_over: Vec<&'w str>,
}

impl<'w, T: Copy> Words<'w, T> {
    pub(super) fn new(words: &'w [String], spellings: &'static [Spelling<T>]) -> Words<'w, T> {
        Words { words, spellings, next: 0, cluster: "", only_arguments: false, left_over: Vec::new() }
    }

    /// The next option; `None` after the last word.
    pub(super) fn next(&mut self) -> Option<Result<Given<'w, T>, Malformed>> {
        while self.cluster.is_empty() {
            let word = self.words.get(self.next)?.as_str();
            self.next += 1;
            if self.only_arguments || !word.starts_with('-') || word == "-" {
                self.left_over.push(word);
            } else if word == "--" {
                self.only_arguments = true;
            } else if let Some(long) = word.strip_prefix("--") {
                return Some(self.long(long));
            } else {
                self.cluster = &word[1..];
            }
        }
        Some(self.short())
    }

    fn long(&mut self, word: &'w str) -> Result<Given<'w, T>, Malformed> {
        let (name, argument) = match word.split_once('=') {
            Some((name, argument)) => (name, Some(argument)),
            None => (word, None),
        };
        let spelling = self.spellings.iter().find(|s| s.long == name).ok_or(Malformed::Unknown)?;
        match (spelling.takes, argument) {
            (Takes::Nothing, Some(_)) => Err(Malformed::ArgumentUnwanted),
            (Takes::Nothing, None) => Ok((spelling.means, None)),
            (_, Some(argument)) => Ok((spelling.means, Some(argument))),
            (takes, None) => Ok((spelling.means, self.following(takes)?)),
        }
    }

    fn short(&mut self) -> Result<Given<'w, T>, Malformed> {
        let mut letters = self.cluster.chars();
        let letter = letters.next();
        let spelling = self
            .spellings
            .iter()
            .find(|s| s.short.is_some() && s.short == letter)
            .ok_or(Malformed::Unknown)?;
        let rest = letters.as_str();
        if spelling.takes == Takes::Nothing {
            self.cluster = rest;
            return Ok((spelling.means, None));
        }
        self.cluster = "";
        if rest.is_empty() {
            return Ok((spelling.means, self.following(spelling.takes)?));
        }
        Ok((spelling.means, Some(rest.strip_prefix('=').unwrap_or(rest))))
    }

    /// The next word as an argument.
    fn following(&mut self, takes: Takes) -> Result<Option<&'w str>, Malformed> {
        match self.words.get(self.next) {
            Some(word) if takes == Takes::Perhaps && word.starts_with('-') => Ok(None),
            Some(word) => {
                self.next += 1;
                Ok(Some(word))
            }
            None if takes == Takes::Perhaps => Ok(None),
            None => Err(Malformed::ArgumentMissing),
        }
    }

    /// The word looked at last.
    pub(super) fn last(&self) -> &'w str {
        self.next.checked_sub(1).and_then(|at| self.words.get(at)).map_or("", String::as_str)
    }

    /// The words that were neither options nor theirs.
    pub(super) fn left_over(self) -> Vec<&'w str> {
        self.left_over
    }
}
