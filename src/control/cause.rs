//! Where a change comes from: who made it, or what.

use std::fmt;
use std::net::SocketAddr;

/// A cause, as the log has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Cause {
    /// The director itself.
    #[default]
    Director,
    /// A process at the control socket.
    Process {
        /// Whose it is.
        uid: u32,
        /// Its number, if the system says it.
        pid: Option<i32>,
    },
    /// Whoever is at the control socket, if the system does not say it.
    Somebody,
    /// Somebody who has shown the token over TCP.
    Remote(SocketAddr),
    /// SIGHUP.
    Signal,
    /// The configuration file has changed.
    File,
    /// Nobody has confirmed a change in time.
    Silence,
}

impl Cause {
    /// Whether it could do on the director's host what the director can.
    pub fn is_of_the_host(self) -> bool {
        !matches!(self, Cause::Process { uid: 1.., .. } | Cause::Somebody | Cause::Remote(_))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Director => f.write_str("the director"),
            Cause::Process { uid, pid: Some(pid) } => write!(f, "uid {uid}, process {pid}"),
            Cause::Process { uid, pid: None } => write!(f, "uid {uid}"),
            Cause::Somebody => f.write_str("somebody at the control socket"),
            Cause::Remote(address) => address.fmt(f),
            Cause::Signal => f.write_str("SIGHUP"),
            Cause::File => f.write_str("the file has changed"),
            Cause::Silence => f.write_str("nobody has confirmed it in time"),
        }
    }
}
