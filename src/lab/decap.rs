//! Decapsulation at a real server whose kernel has no ipip device: an XDP program on its interface.

use super::Error;
use crate::dataplane::port::bpf::{Hook, Link, Object};
use crate::dataplane::port::device;

/// Takes IP-in-IP packets apart that arrive on `interface`, for as long as the link lives.
///
/// # Errors
/// If there is no such interface, or the kernel will not have the program.
pub fn attach_decap(interface: &str) -> Result<Link, Error> {
    let tried = || Error::io(format!("attach the decapsulator to {interface}"));
    let index = device::index(interface).map_err(tried())?;
    let object =
        Object::load("decap", include_bytes!(concat!(env!("OUT_DIR"), "/decap.bpf.o"))).map_err(tried())?;
    let program = object.program(c"decap").map_err(tried())?;
    program
        .attach_xdp(index, Hook::Native)
        .or_else(|_| program.attach_xdp(index, Hook::Generic))
        .map_err(tried())
}
