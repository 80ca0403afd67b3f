//! The fence around the ioctls that tell what a network device is: its index, MAC, MTU and driver. They answer for
//! the network namespace of the calling thread.

#![allow(unsafe_code)]

use crate::net::Mac;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// Drivers whose frames come from a sender on this machine, or from a hypervisor that vouches for it.
const SOFTWARE_LINKS: [&str; 10] = [
    "veth",
    "virtio_net",
    "tun",
    "bridge",
    "macvlan",
    "macvtap",
    "netkit",
    "xen-netfront",
    "vif",
    "hv_netvsc",
];

/// Whether a frame from this interface may have a TCP or UDP checksum that covers only the pseudo-header, since
/// its sender left the rest to a device that never came. The kernel keeps a note of that beside the frame, which
/// XDP does not see. A driver that does not give its name is taken for one of these.
pub fn may_carry_partial_checksums(ifname: &str) -> bool {
    driver(ifname).map_or(true, |driver| SOFTWARE_LINKS.contains(&driver.as_str()))
}

/// The name of the interface's driver, as `ethtool -i` shows it.
///
/// # Errors
/// ENODEV without such an interface, EOPNOTSUPP for a driver that does not say.
pub fn driver(ifname: &str) -> io::Result<String> {
    const ETHTOOL_GDRVINFO: u32 = 3;
    /// `struct ethtool_drvinfo` of linux/ethtool.h: cmd, driver[32], version[32], …; 196 bytes in all.
    #[repr(C)]
    struct DriverInfo {
        command: u32,
        driver: [u8; 32],
        rest: [u8; 160],
    }
    let mut info = DriverInfo { command: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
    let mut request = request(ifname)?;
    request.ifr_ifru.ifru_data = std::ptr::from_mut(&mut info).cast();
    // SAFETY: SIOCETHTOOL with GDRVINFO writes one ethtool_drvinfo, which `info` is.
    unsafe { ioctl(libc::SIOCETHTOOL, &mut request)? };
    let name = info.driver.split(|&b| b == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

/// Whether the interface takes VLAN tags off frames (`rxvlan` of `ethtool -K`): XDP sees such frames as if they had none.
///
/// # Errors
/// ENODEV without such an interface, EOPNOTSUPP for a driver that does not say.
pub fn strips_vlan_tags(ifname: &str) -> io::Result<bool> {
    const ETHTOOL_GFLAGS: u32 = 0x25;
    const ETH_FLAG_RXVLAN: u32 = 1 << 8;
    // `struct ethtool_value` of linux/ethtool.h: cmd, data.
    let mut value = [ETHTOOL_GFLAGS, 0];
    let mut request = request(ifname)?;
    request.ifr_ifru.ifru_data = std::ptr::from_mut(&mut value).cast();
    // SAFETY: SIOCETHTOOL with GFLAGS writes one ethtool_value, which `value` is.
    unsafe { ioctl(libc::SIOCETHTOOL, &mut request)? };
    Ok(value[1] & ETH_FLAG_RXVLAN != 0)
}

/// Puts the calling thread into a network namespace of its own, empty but for a loopback interface that is down.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN.
pub fn leave_network() -> io::Result<()> {
    // SAFETY: takes no pointers; only this thread moves.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A TUN device of this name, from which IP packets are read, and to which they are written, one at a time and without
/// waiting. It is there until the descriptor is closed.
///
/// # Errors
/// ENOENT or ENODEV without the kernel's module tun, EPERM without CAP_NET_ADMIN.
pub fn tun(ifname: &str) -> io::Result<OwnedFd> {
    let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
    let tun = std::fs::File::options().read(true).write(true).custom_flags(flags).open("/dev/net/tun")?;
    let mut request = request(ifname)?;
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads the flags and writes within the request.
    let result =
        unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF as _, std::ptr::from_mut(&mut request)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(tun.into()) }
}

/// The kernel's number of the interface.
///
/// # Errors
/// ENODEV without such an interface.
pub fn index(ifname: &str) -> io::Result<u32> {
    let mut request = request(ifname)?;
    // SAFETY: SIOCGIFINDEX writes within the request.
    unsafe { ioctl(libc::SIOCGIFINDEX, &mut request)? };
    // SAFETY: the kernel filled in this member.
    Ok(unsafe { request.ifr_ifru.ifru_ifindex } as u32)
}

/// The interface's MAC.
///
/// # Errors
/// ENODEV without such an interface.
pub fn mac(ifname: &str) -> io::Result<Mac> {
    let mut request = request(ifname)?;
    // SAFETY: SIOCGIFHWADDR writes within the request.
    unsafe { ioctl(libc::SIOCGIFHWADDR, &mut request)? };
    // SAFETY: the kernel filled in this member.
    let octets = unsafe { request.ifr_ifru.ifru_hwaddr.sa_data };
    Ok(Mac(std::array::from_fn(|i| octets[i] as u8)))
}

/// IP bytes that fit one of the interface's frames.
///
/// # Errors
/// ENODEV without such an interface.
pub fn mtu_bytes(ifname: &str) -> io::Result<usize> {
    let mut request = request(ifname)?;
    // SAFETY: SIOCGIFMTU writes within the request.
    unsafe { ioctl(libc::SIOCGIFMTU, &mut request)? };
    // SAFETY: the kernel filled in this member.
    Ok(unsafe { request.ifr_ifru.ifru_mtu }.max(0) as usize)
}

fn request(ifname: &str) -> io::Result<libc::ifreq> {
    // SAFETY: plain data, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero: a name has 15 bytes at most.
    if ifname.is_empty() || ifname.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(ifname.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

/// # Safety
/// The request's union must hold what `command` reads, and a pointer in it must point to what it writes.
unsafe fn ioctl(command: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    // Any socket will do; it is closed again at the end.
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else knows.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: promised by the caller.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), command as _, std::ptr::from_mut(request)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_number_one_and_has_no_mac() {
        assert_eq!(index("lo").unwrap(), 1);
        assert_eq!(mac("lo").unwrap(), Mac::ZERO);
        assert!(mtu_bytes("lo").unwrap() >= 1280);
    }

    #[test]
    fn an_absent_interface_is_an_error_whatever_its_name() {
        for name in ["", "no-such-if", "a-name-that-is-longer-than-any-interface"] {
            assert_eq!(index(name).unwrap_err().raw_os_error(), Some(libc::ENODEV), "{name}");
            assert!(driver(name).is_err());
        }
    }

    #[test]
    fn the_loopback_interface_takes_no_tags_off() {
        assert!(!strips_vlan_tags("lo").unwrap());
    }

    #[test]
    fn an_interface_that_names_no_driver_may_carry_partial_checksums() {
        assert!(may_carry_partial_checksums("lo"));
    }
}
