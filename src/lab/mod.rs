//! Floor 5: namespaces and veth pairs: networks in which the director is tried, for `lvx lab` and for the tests.
//!
//! A [`Topology`] is a client, a router, a director and real servers, connected as a forwarding method needs
//! it, with nginx and a UDP echo on every server and curl at the client. All of it exists only in network
//! namespaces named `lvx-{lab}-{node}`; nothing of the host's own network is touched. Whatever is built is
//! removed when its value is dropped, and [`down`] removes what a killed process left.

#[cfg(feature = "xdp")]
mod decap;
pub mod demo;
mod director;
mod error;
mod family;
mod interrupt;
mod kernel;
mod layout;
mod load;
mod namespace;
mod plan;
mod process;
#[cfg(feature = "xdp")]
pub mod scenario;
mod servers;
mod state;
mod topology;

#[cfg(feature = "xdp")]
pub use decap::{attach_decap, take_apart_reassembled};
pub use director::Director;
pub use error::Error;
pub use family::Family;
pub use interrupt::Interrupt;
pub use kernel::KernelWay;
pub use layout::{Layout, MAX_SERVERS};
pub use load::{Download, Tally};
pub use namespace::Namespace;
pub use plan::{ECHO_PORT, HTTP_PORT, Node, Plan, Server};
pub use process::{Process, ProcessId};
pub use rustix::process::Signal;
pub use servers::{LARGE_FILE_BYTES, LargeFile, udp_echo};
pub use state::{Inhabitant, State, down, labs, namespace_name};
pub use topology::{LabService, Options, Topology};

/// Whether `name` may be a lab's: part of file and namespace names, and without the hyphen that ends it there.
fn check_name(name: &str) -> Result<(), Error> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !name.is_empty() && name.len() <= 32 && name.bytes().all(is_plain) {
        Ok(())
    } else {
        Err(Error::Refused(format!(
            "a lab cannot be called {name:?}: 1 to 32 lower case letters, digits and underscores"
        )))
    }
}
