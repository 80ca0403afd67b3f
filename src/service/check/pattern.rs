//! What an answer must look like.

/// What is looked for in bytes, or must not be found there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// What is looked for.
    pub sought: Sought,
    /// Whether it must not be found.
    pub is_not: bool,
}

/// What is looked for in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Sought {
    /// A text, anywhere in them.
    Text(String),
    /// Bytes, anywhere in them.
    Bytes(Vec<u8>),
    /// What a regular expression (of the regex crate) matches, anywhere in them.
    Regex(String),
    /// The SHA-256 digest of them all.
    Sha256([u8; 32]),
    /// The MD5 digest of them all, as keepalived has it.
    Md5([u8; 16]),
}

impl Pattern {
    /// A text that must be found.
    pub fn text(text: impl Into<String>) -> Pattern {
        Pattern { sought: Sought::Text(text.into()), is_not: false }
    }
}

impl Sought {
    /// The largest program that a regular expression may become.
    pub const MAX_REGEX_BYTES: usize = 1 << 20;
}
