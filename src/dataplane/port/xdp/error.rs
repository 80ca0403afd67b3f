//! Why a port could not be opened, in words that say what to do.

use std::fmt;
use std::io;

/// Why a port could not be opened.
#[derive(Debug)]
pub enum PortError {
    /// Fewer frames than the rings need.
    TooFewFrames {
        /// How many it takes.
        least: u32,
    },
    /// EPERM.
    Privilege(io::Error),
    /// The UMEM does not fit the limit of lockable memory.
    LockedMemory {
        /// The frames asked for.
        frames: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another process has a socket on this queue, or the one before has not quite gone.
    QueueBusy {
        /// The interface.
        interface: String,
        /// Its receive queue.
        queue: u32,
    },
    /// The interface's MTU is larger than what a frame holds.
    Jumbo {
        /// The interface.
        interface: String,
        /// Its MTU.
        mtu_bytes: usize,
        /// The largest MTU whose packets fit.
        fits: usize,
    },
    /// The interface was named twice.
    Twice {
        /// The interface.
        interface: String,
    },
    /// The kernel refused the socket.
    Socket {
        /// The interface.
        interface: String,
        /// Its receive queue.
        queue: u32,
        /// What the kernel said: EINVAL for a queue that the interface does not have.
        source: io::Error,
    },
    /// Anything else.
    Other(io::Error),
}

impl PortError {
    pub(super) fn umem(error: &(dyn std::error::Error + 'static), frames: u32) -> PortError {
        let source = source_of(error);
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => PortError::Privilege(source),
            Some(libc::ENOMEM | libc::ENOBUFS | libc::EAGAIN) => PortError::LockedMemory { frames, source },
            _ => PortError::Other(source),
        }
    }

    pub(super) fn socket(interface: &str, queue: u32, source: io::Error) -> PortError {
        let interface = interface.to_owned();
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => PortError::Privilege(source),
            Some(libc::EBUSY) => PortError::QueueBusy { interface, queue },
            _ => PortError::Socket { interface, queue, source },
        }
    }

    pub(super) fn is_unsupported(&self) -> bool {
        let codes = [libc::EOPNOTSUPP, libc::EINVAL, libc::ENOTSUP];
        matches!(self, PortError::Socket { source, .. }
            if source.raw_os_error().is_some_and(|code| codes.contains(&code)))
    }
}

/// xsk-rs keeps the kernel's error as the source of its own.
pub(super) fn source_of(error: &(dyn std::error::Error + 'static)) -> io::Error {
    let kernel = error.source().and_then(|e| e.downcast_ref::<io::Error>()).and_then(io::Error::raw_os_error);
    kernel.map_or_else(|| io::Error::other(error.to_string()), io::Error::from_raw_os_error)
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortError::Jumbo { interface, mtu_bytes, fits } => write!(
                f,
                "interface \"{interface}\" has an MTU of {mtu_bytes} bytes, and a packet may have {fits}: `ip link set dev \
                 {interface} mtu {fits}`"
            ),
            PortError::TooFewFrames { least } => write!(f, "too few frames: it takes at least {least}"),
            PortError::Privilege(_) => {
                f.write_str("opening an AF_XDP socket needs root or CAP_NET_ADMIN, CAP_BPF and CAP_NET_RAW")
            }
            PortError::LockedMemory { frames, .. } => write!(
                f,
                "{frames} frames do not fit the memory that may be locked: raise the memlock limit \
                 (ulimit -l unlimited), or lower frames"
            ),
            PortError::QueueBusy { interface, queue } => {
                write!(f, "queue busy: another AF_XDP socket is bound to {interface} queue {queue}")
            }
            PortError::Twice { interface } => write!(f, "{interface}: the interface is named twice"),
            PortError::Socket { interface, queue, source } => {
                write!(f, "opening an AF_XDP socket on {interface} queue {queue}: {source}")?;
                match source.raw_os_error() {
                    Some(libc::EINVAL) => {
                        f.write_str(" (has the interface that many queues? see ethtool -l)")
                    }
                    Some(libc::ENETDOWN) => f.write_str(" (the interface is not up)"),
                    _ => Ok(()),
                }
            }
            PortError::Other(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for PortError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PortError::Privilege(e) | PortError::Other(e) => Some(e),
            PortError::LockedMemory { source, .. } | PortError::Socket { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_queue_is_named() {
        let error = PortError::socket("eth0", 3, io::Error::from_raw_os_error(libc::EBUSY));
        assert_eq!(error.to_string(), "queue busy: another AF_XDP socket is bound to eth0 queue 3");
    }

    #[test]
    fn a_memory_limit_is_told_as_what_to_do() {
        let error =
            PortError::LockedMemory { frames: 8192, source: io::Error::from_raw_os_error(libc::ENOBUFS) };
        assert!(error.to_string().contains("ulimit -l unlimited"));
    }
}
