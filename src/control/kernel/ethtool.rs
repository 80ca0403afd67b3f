//! How many queues an interface receives on: one ioctl, which netlink-packet-route has no words for.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// ETHTOOL_GCHANNELS and SIOCETHTOOL of linux/ethtool.h and linux/sockios.h.
const GET_CHANNELS: u32 = 0x3c;
const SIOCETHTOOL: u32 = 0x8946;

/// `struct ethtool_channels` of linux/ethtool.h.
#[repr(C)]
#[derive(Default)]
struct Channels {
    cmd: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

/// The receive queues that `interface` uses now, in the namespace of `socket` (any socket will do).
///
/// # Errors
/// `EOPNOTSUPP` from a driver that has just one queue or does not tell.
pub(super) fn rx_queues(socket: BorrowedFd<'_>, interface: &str) -> io::Result<u32> {
    if interface.len() >= libc::IFNAMSIZ {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    let mut channels = Channels { cmd: GET_CHANNELS, ..Channels::default() };
    // SAFETY: ifreq is plain data, for which all zeros is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut channels).cast();
    // SAFETY: the name ends in a zero (it is shorter than its field), and the data is an ethtool_channels,
    // which is what the kernel reads and writes for this command; both outlive the call.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(channels.rx + channels.combined) }
}
