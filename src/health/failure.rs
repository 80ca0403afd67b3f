//! Why a probe failed.

use std::fmt;
use std::io::{self, ErrorKind};

/// Why a probe failed, and whether that says anything of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// One line, lower case, without a full stop.
    pub cause: String,
    /// Whether it was the director that could not ask: then it is no verdict on the server.
    pub is_own: bool,
}

impl Failure {
    /// The server did not answer as it should.
    pub fn of_server(cause: impl Into<String>) -> Failure {
        Failure { cause: cause.into(), is_own: false }
    }

    /// The director could not ask.
    pub fn own(cause: impl Into<String>) -> Failure {
        Failure { cause: cause.into(), is_own: true }
    }

    /// What the system said when `doing` was tried: the director's own failure if it lacks descriptors, ports, memory,
    /// permission or the source address.
    pub fn of_system(doing: &str, error: &io::Error) -> Failure {
        let lacks = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
        let is_own = error.raw_os_error().is_some_and(|code| lacks.contains(&code))
            || matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse
            );
        Failure { cause: format!("{doing}: {}", in_words(error)), is_own }
    }
}

/// What a server said, to be quoted in a cause: on one line, and not all of a long text.
pub(super) fn said(bytes: &[u8]) -> String {
    const MAX_CHARS: usize = 100;
    let text = String::from_utf8_lossy(bytes);
    let cut: String = text.chars().take(MAX_CHARS).collect();
    let dots = if cut.len() < text.len() { "..." } else { "" };
    format!("\"{}{dots}\"", cut.escape_debug())
}

/// What the error says, without its number.
fn in_words(error: &io::Error) -> String {
    if error.kind() == ErrorKind::UnexpectedEof {
        return "the connection was closed".to_owned();
    }
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_director_lacks_is_not_held_against_the_server() {
        let failure = |code| Failure::of_system("connect", &io::Error::from_raw_os_error(code));
        assert_eq!(failure(libc::ECONNREFUSED), Failure::of_server("connect: connection refused"));
        assert!(!failure(libc::EHOSTUNREACH).is_own && !failure(libc::ENETUNREACH).is_own);
        let own = [libc::EMFILE, libc::ENOBUFS, libc::EADDRNOTAVAIL, libc::EADDRINUSE, libc::EPERM];
        assert!(own.into_iter().all(|code| failure(code).is_own));
    }
}
