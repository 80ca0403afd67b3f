//! Patterns, ready to be looked for.

use super::Failure;
use crate::service::check::{Pattern, Sought};
use md5::Md5;
use regex::bytes::{Regex, RegexBuilder};
use sha2::{Digest, Sha256};
use std::fmt;

/// How much of an answer is looked at for a text or a regular expression.
const MAX_TEXT_BYTES: usize = 128 << 10;

/// The longest answer whose digest is taken.
const MAX_DIGEST_BYTES: usize = 16 << 20;

/// A pattern, ready to be looked for.
#[derive(Debug)]
pub(super) struct Matcher {
    test: Test,
    is_not: bool,
    /// What is looked for, in words.
    words: String,
}

#[derive(Debug)]
enum Test {
    Needle(Needle),
    Sha256([u8; 32]),
    Md5([u8; 16]),
}

/// What may be found in a part of what is looked through: a text, bytes, or an expression. Shown in words.
#[derive(Debug)]
pub(super) struct Needle {
    regex: Regex,
    words: String,
}

/// An answer that is looked at as it arrives.
#[derive(Debug)]
pub(super) struct Look<'a> {
    matcher: &'a Matcher,
    seen: Seen<'a>,
    /// How many bytes more are taken.
    left: usize,
}

#[derive(Debug)]
enum Seen<'a> {
    Text(&'a Needle, Vec<u8>),
    Sha256(&'a [u8; 32], Sha256),
    Md5(&'a [u8; 16], Md5),
}

impl Matcher {
    pub(super) fn of(pattern: &Pattern) -> Result<Matcher, Failure> {
        let (test, words) = match &pattern.sought {
            Sought::Sha256(digest) => (Test::Sha256(*digest), "the SHA-256 digest wanted".to_owned()),
            Sought::Md5(digest) => (Test::Md5(*digest), "the MD5 digest wanted".to_owned()),
            part => {
                let needle = Needle::of(part)?;
                let words = needle.to_string();
                (Test::Needle(needle), words)
            }
        };
        Ok(Matcher { test, is_not: pattern.is_not, words })
    }

    /// Begins to look at an answer.
    pub(super) fn look(&self) -> Look<'_> {
        let (seen, left) = match &self.test {
            Test::Needle(needle) => (Seen::Text(needle, Vec::new()), MAX_TEXT_BYTES),
            Test::Sha256(wanted) => (Seen::Sha256(wanted, Sha256::new()), MAX_DIGEST_BYTES),
            Test::Md5(wanted) => (Seen::Md5(wanted, Md5::new()), MAX_DIGEST_BYTES),
        };
        Look { matcher: self, seen, left }
    }

    /// Looks at `bytes` as a whole; `what` says what they are, for who hears that they are wrong.
    pub(super) fn check(&self, what: &str, bytes: &[u8]) -> Result<(), Failure> {
        let mut look = self.look();
        look.take(bytes);
        look.end(what)
    }
}

impl Needle {
    pub(super) fn of(sought: &Sought) -> Result<Needle, Failure> {
        let (source, words) = match sought {
            Sought::Text(text) => (regex::escape(text), format!("{text:?}")),
            Sought::Bytes(bytes) => {
                let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                let source: String = digits.iter().map(|digits| format!("\\x{digits}")).collect();
                (format!("(?-u:{source})"), format!("the bytes {}", digits.concat()))
            }
            Sought::Regex(source) => (source.clone(), format!("a match of {source:?}")),
            Sought::Sha256(_) | Sought::Md5(_) => {
                return Err(Failure::own("a digest is of a whole answer, and not found in it"));
            }
        };
        let regex = RegexBuilder::new(&source).size_limit(Sought::MAX_REGEX_BYTES).build();
        let regex = regex.map_err(|error| Failure::own(error.to_string()))?;
        Ok(Needle { regex, words })
    }

    /// Where the first of it in `bytes` ends.
    pub(super) fn end_in(&self, bytes: &[u8]) -> Option<usize> {
        self.regex.find(bytes).map(|found| found.end())
    }
}

impl fmt::Display for Needle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl Look<'_> {
    /// Takes what has arrived next; false if no more is looked at.
    pub(super) fn take(&mut self, bytes: &[u8]) -> bool {
        let bytes = &bytes[..bytes.len().min(self.left)];
        self.left -= bytes.len();
        match &mut self.seen {
            Seen::Text(_, seen) => seen.extend_from_slice(bytes),
            Seen::Sha256(_, digest) => digest.update(bytes),
            Seen::Md5(_, digest) => digest.update(bytes),
        }
        self.left > 0
    }

    /// What it comes to, now that no more comes.
    pub(super) fn end(self, what: &str) -> Result<(), Failure> {
        let Matcher { is_not, words, .. } = self.matcher;
        let is_there = match self.seen {
            Seen::Text(needle, seen) => needle.end_in(&seen).is_some(),
            Seen::Sha256(wanted, digest) => digest.finalize()[..] == wanted[..],
            Seen::Md5(wanted, digest) => digest.finalize()[..] == wanted[..],
        };
        match (is_there, is_not) {
            (true, true) => Err(Failure::of_server(format!("{what} has {words}"))),
            (false, false) => Err(Failure::of_server(format!("{what} has not {words}"))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(sought: Sought, is_not: bool, bytes: &[u8]) -> Result<(), String> {
        let matcher = Matcher::of(&Pattern { sought, is_not }).unwrap();
        matcher.check("body", bytes).map_err(|failure| failure.cause)
    }

    #[test]
    fn texts_expressions_and_digests_are_found_or_missed_with_a_cause() {
        let text = |text: &str| Sought::Text(text.to_owned());
        assert_eq!(says(text("all (is) well"), false, b"today all (is) well\n"), Ok(()));
        let missed = Err("body has not \"well\"".to_owned());
        assert_eq!(says(text("well"), false, b"ill \xff\xfe"), missed);
        assert_eq!(says(text("ill"), true, b"ill"), Err("body has \"ill\"".to_owned()));

        let regex = |regex: &str| Sought::Regex(regex.to_owned());
        assert_eq!(says(regex("^ok [0-9]+$"), false, b"ok 42"), Ok(()));
        assert_eq!(says(regex("(?-u:\\xff)"), false, b"\xff"), Ok(()), "bytes that are no text");
        assert_eq!(says(regex("down"), true, b"up"), Ok(()));
        let bytes = || Sought::Bytes(b"\0\xff.".to_vec());
        assert_eq!(says(bytes(), false, b"a\0\xff.\xfe"), Ok(()));
        assert_eq!(says(bytes(), false, b"a\0\xffx"), Err("body has not the bytes 00ff2e".to_owned()));

        // sha256sum and md5sum of "lvx\n".
        let sha256 = hex("0ebddb6a973aff35d6078515d1ff5b7a8ecd14c7e77f5a202de96b8f9302a5d8");
        let md5 = hex("26e7d6a4a82d9f18e55ec7002beea192");
        assert_eq!(says(Sought::Sha256(sha256.try_into().unwrap()), false, b"lvx\n"), Ok(()));
        assert_eq!(says(Sought::Md5(md5.try_into().unwrap()), false, b"lvx\n"), Ok(()));
        let wrong = Err("body has not the MD5 digest wanted".to_owned());
        assert_eq!(says(Sought::Md5([7; 16]), false, b"lvx\n"), wrong);
    }

    #[test]
    fn an_answer_without_end_is_looked_at_so_far_and_no_further() {
        let matcher = Matcher::of(&Pattern::text("late")).unwrap();
        let mut look = matcher.look();
        let mut taken = 0;
        while look.take(&[b'.'; 1000]) {
            taken += 1000;
            assert!(taken <= MAX_TEXT_BYTES);
        }
        look.take(b"late");
        assert!(look.end("body").is_err());
    }

    fn hex(digits: &str) -> Vec<u8> {
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
    }
}
