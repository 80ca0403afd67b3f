//! Decapsulation at a real server whose kernel has no ipip device: an XDP program on its interface.

use super::Error;
use crate::dataplane::port::bpf::{Hook, Link, Object};
use crate::dataplane::port::device;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

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

/// Takes apart, for as long as the process lives, what the program on the interface cannot: IP-in-IP packets that came in
/// fragments, once the kernel has put them together. A raw socket gets them, and another sends what is inside to where it
/// is addressed, which is this host.
///
/// # Errors
/// Without the right to raw sockets.
pub fn take_apart_reassembled() -> Result<(), Error> {
    use rustix::net::{AddressFamily, ipproto};
    for outer in [AddressFamily::INET, AddressFamily::INET6] {
        for inside in [ipproto::IPIP, ipproto::IPV6] {
            let tunnelled = raw(outer, inside)?;
            let delivery = raw(
                if inside == ipproto::IPIP { AddressFamily::INET } else { AddressFamily::INET6 },
                ipproto::RAW,
            )?;
            let deliver = move || deliver_all(&tunnelled, outer == AddressFamily::INET, &delivery);
            std::thread::Builder::new()
                .name("lvx-decap".to_owned())
                .spawn(deliver)
                .map_err(Error::io("start a thread"))?;
        }
    }
    Ok(())
}

fn raw(family: rustix::net::AddressFamily, protocol: rustix::net::Protocol) -> Result<OwnedFd, Error> {
    rustix::net::socket(family, rustix::net::SocketType::RAW, Some(protocol))
        .map_err(|error| Error::io("open a raw socket")(error.into()))
}

/// An IPv4 socket gives the outer header, too; one of IPv6 does not.
fn deliver_all(tunnelled: &OwnedFd, has_header: bool, delivery: &OwnedFd) {
    use rustix::net::{RecvFlags, SendFlags, recv, sendto};
    let mut packet = vec![0; 65536];
    while let Ok((len, _)) = recv(tunnelled, &mut packet[..], RecvFlags::empty()) {
        let outer = if has_header { (packet[0] & 15) as usize * 4 } else { 0 };
        let Some(inner) = packet.get(outer..len) else { continue };
        let to = match inner.first().map(|first| first >> 4) {
            Some(4) => inner.get(16..).and_then(|at| at.first_chunk()).map(|&at: &[u8; 4]| IpAddr::from(at)),
            Some(6) => inner.get(24..).and_then(|at| at.first_chunk()).map(|&at: &[u8; 16]| IpAddr::from(at)),
            _ => None,
        };
        // What cannot be delivered is lost, as any packet may be.
        let Some(to) = to else { continue };
        let _ = sendto(delivery, inner, SendFlags::empty(), &SocketAddr::new(to, 0));
    }
}
