//! Why a director does not run.

use crate::config::ConfigErrors;
use crate::control::api::ApiError;
use crate::control::kernel::KernelError;
use crate::control::publish::TooManyServers;
use crate::dataplane::port::steer::AttachError;
use crate::dataplane::port::xdp::PortError;
use std::path::PathBuf;
use std::{fmt, io};

/// Why a director did not start, or ended.
#[derive(Debug)]
pub enum RunError {
    /// The configuration is wrong.
    Config(ConfigErrors),
    /// The kernel's view of the network could not be had.
    Kernel(KernelError),
    /// The steering program could not be attached.
    Attach(AttachError),
    /// An AF_XDP port could not be opened.
    Port(PortError),
    /// More servers than a director holds.
    TooManyServers(TooManyServers),
    /// An interface has fewer queues than there shall be workers.
    TooFewQueues {
        /// The interface.
        interface: String,
        /// Its receive queues.
        has: u32,
        /// Workers wanted.
        workers: u32,
    },
    /// The control socket cannot be opened.
    Api(ApiError),
    /// Configurations cannot be kept there.
    State(PathBuf, io::Error),
    /// The report cannot be written there.
    Report(PathBuf, io::Error),
    /// Anything else: what was tried, and what the system said.
    Io(&'static str, io::Error),
}

impl RunError {
    pub(super) fn io(tried: &'static str) -> impl Fn(io::Error) -> RunError {
        move |error| RunError::Io(tried, error)
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Config(errors) => errors.fmt(f),
            RunError::Kernel(error) => error.fmt(f),
            RunError::Attach(error) => error.fmt(f),
            RunError::Port(error) => error.fmt(f),
            RunError::TooManyServers(error) => error.fmt(f),
            RunError::TooFewQueues { interface, has, workers } => write!(
                f,
                "interface \"{interface}\" receives on {has} queues, {workers} workers need one each; set `workers = \
                 {has}`, or give it queues with `ethtool -L {interface} combined {workers}`"
            ),
            RunError::Api(error) => error.fmt(f),
            RunError::State(path, error) => {
                write!(f, "cannot keep configurations in {}: {error}", path.display())
            }
            RunError::Report(path, error) => write!(f, "cannot write the report {}: {error}", path.display()),
            RunError::Io(tried, error) => write!(f, "cannot {tried}: {error}"),
        }
    }
}

impl std::error::Error for RunError {}

macro_rules! from {
    ($($error:ty => $variant:ident,)*) => {
        $(impl From<$error> for RunError {
            fn from(error: $error) -> RunError {
                RunError::$variant(error)
            }
        })*
    };
}

from! {
    ConfigErrors => Config,
    KernelError => Kernel,
    AttachError => Attach,
    PortError => Port,
    TooManyServers => TooManyServers,
}
