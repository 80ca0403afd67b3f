//! What can go wrong while a lab is built, used or removed.

use std::fmt;
use std::io;
use std::process::Output;

/// Why a lab could not do what was asked.
#[derive(Debug)]
pub enum Error {
    /// Network namespaces need root (CAP_SYS_ADMIN).
    NotRoot,
    /// A program that the lab uses is not in `PATH`.
    Missing {
        /// The program.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// A command ran and failed.
    Command {
        /// The command line, its standard input after a `<<`.
        command: String,
        /// How it ended, and what it said.
        said: String,
    },
    /// A system call failed.
    Io {
        /// What was tried, and with what.
        tried: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A process of the lab ended, or was not ready in time.
    NotReady {
        /// What it is, and what it did.
        what: String,
        /// The end of the log that may tell why.
        log: String,
    },
    /// The lab's name, a node's name or the number of servers is not one that a lab can have.
    Refused(String),
    /// Ctrl-C or SIGTERM.
    Interrupted,
}

impl Error {
    /// The closure that `map_err` wants: `error` happened while trying `tried`.
    pub(crate) fn io(tried: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let tried = tried.into();
        move |source| Error::Io { tried, source }
    }

    /// `command` ended with `output`, which is not what was hoped for.
    pub(crate) fn command(command: String, output: &Output) -> Error {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let said = match stderr.trim() {
            "" => output.status.to_string(),
            text => format!("{}: {text}", output.status),
        };
        Error::Command { command, said }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotRoot => f.write_str(
                "needs root for network namespaces: run it with sudo, or `make demo`, `make test`",
            ),
            Error::Missing { program, package } => {
                write!(f, "{program} is not installed: apt-get install {package}")
            }
            Error::Command { command, said } => write!(f, "{command}: {said}"),
            Error::Io { tried, source } => write!(f, "{tried}: {source}"),
            Error::NotReady { what, log } if log.is_empty() => write!(f, "{what}"),
            Error::NotReady { what, log } => write!(f, "{what}; its log ends with:\n{log}"),
            Error::Refused(why) => f.write_str(why),
            Error::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
