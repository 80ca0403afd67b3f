//! What was found wrong so far, by place in the text.

use crate::config::errors::{ConfigError, ConfigErrors, Position};
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;

/// Collects errors while the text is walked, in whatever order the walk comes across them.
///
/// A `RefCell` inside, so that every section of the file can hold the collection while its subsections do.
pub(super) struct Findings {
    /// The byte offset at which each line starts.
    line_starts: Vec<usize>,
    found: RefCell<Vec<(usize, String)>>,
}

impl Findings {
    /// Nothing found in this text yet.
    pub(super) fn new(text: &str) -> Findings {
        let after_line_feeds = text.bytes().enumerate().filter(|&(_, b)| b == b'\n').map(|(at, _)| at + 1);
        Findings {
            line_starts: std::iter::once(0).chain(after_line_feeds).collect(),
            found: RefCell::default(),
        }
    }

    /// Adds an error that begins at byte `at`.
    pub(super) fn add(&self, at: usize, message: String) {
        self.found.borrow_mut().push((at, message));
    }

    /// A place to refer to from an error elsewhere.
    pub(super) fn line(&self, at: usize) -> String {
        format!("line {}", self.line_of(at))
    }

    /// How many errors there are by now.
    pub(super) fn count(&self) -> usize {
        self.found.borrow().len()
    }

    /// The line, from 1, that holds byte `at`.
    fn line_of(&self, at: usize) -> usize {
        self.line_starts.partition_point(|&start| start <= at)
    }

    /// All errors, sorted by place; `None` if nothing was found. `text` is the one that the findings were
    /// opened with.
    pub(super) fn into_errors(self, file: &str, text: &str) -> Option<ConfigErrors> {
        let mut found = self.found.take();
        found.sort_by_key(|&(at, _)| at);

        // Errors are sorted, so a line's characters are counted once, however many errors stand in it.
        let (mut counted_to, mut column) = (0, 1);
        let located = found.into_iter().map(|(at, message)| {
            let at = at.min(text.len());
            let line = self.line_of(at);
            let line_start = self.line_starts[line - 1];
            if line_start > counted_to {
                (counted_to, column) = (line_start, 1);
            }
            column += characters(&text.as_bytes()[counted_to..at]);
            counted_to = at;
            ConfigError { file: Some(file.to_owned()), position: Some(Position { line, column }), message }
        });
        ConfigErrors::new(located.collect())
    }
}

/// Where each of the things that may stand in a file only once was first seen.
pub(super) struct FirstSeen<K>(HashMap<K, usize>);

impl<K: Hash + Eq> FirstSeen<K> {
    /// Nothing was seen yet.
    pub(super) fn none() -> FirstSeen<K> {
        FirstSeen(HashMap::new())
    }

    /// Where `thing` was seen before, if it was; from now on, it was at byte `at`.
    pub(super) fn before(&mut self, thing: K, at: usize) -> Option<usize> {
        let first = *self.0.entry(thing).or_insert(at);
        (first != at).then_some(first)
    }
}

/// How many characters begin in these bytes of UTF-8, which need not end where a character does.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte & 0b1100_0000 != 0b1000_0000).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_come_in_the_order_of_the_text_with_columns_in_characters() {
        let text = "é = 1\nzwölf = ü\n";
        let findings = Findings::new(text);
        findings.add(text.len(), "the end".to_owned());
        findings.add(text.find('ü').unwrap(), "u".to_owned());
        findings.add(text.find("zw").unwrap(), "z".to_owned());
        findings.add(text.find('1').unwrap(), "one".to_owned());
        let errors = findings.into_errors("f", text).unwrap().to_string();
        assert_eq!(errors, "f:1:5: one\nf:2:1: z\nf:2:9: u\nf:3:1: the end");
    }

    #[test]
    fn nothing_found_is_no_error() {
        assert_eq!(Findings::new("").into_errors("f", ""), None);
    }
}
