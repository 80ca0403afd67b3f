//! The probes' door: between the namespace that the director's own probes start in, and its workers.
//!
//! In the namespace it is a TUN device, on this side a descriptor from which IP packets are read, and to which they are
//! written. Namespace and device have no name outside and live for as long as their descriptors, which is no longer than
//! the process. A packet costs a system call, so it is for the odd one: one worker looks for probes now and then, and all
//! bring answers.

use super::{BATCH, Frame, HEADROOM};
use crate::net::InterfaceId;
use crate::wire::{ETHERNET, IPV4, IPV6};
use arrayvec::ArrayVec;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, OnceLock};
use std::thread;

/// What fits a packet in the namespace: as much as any link of the way is likely to carry.
pub const MTU_BYTES: usize = 1500;

/// What a door leads to.
#[derive(Debug)]
pub struct Ends {
    /// The TUN device, without packet information, not blocking.
    pub tun: OwnedFd,
    /// The network namespace that it is in.
    pub namespace: OwnedFd,
}

/// A door that is opened at most once.
#[derive(Debug, Default)]
pub struct ProbeDoor {
    ends: OnceLock<Ends>,
}

impl ProbeDoor {
    /// Opens the door; one that is open stays as it is.
    pub fn open(&self, ends: Ends) {
        // The other ends are closed then, and nobody is behind them.
        let _ = self.ends.set(ends);
    }

    /// Whether it leads anywhere.
    pub fn is_open(&self) -> bool {
        self.ends.get().is_some()
    }

    /// Moves the calling thread into the namespace: sockets that it opens from here on are probes'.
    ///
    /// # Errors
    /// NotConnected while the door is closed; else as setns(2).
    pub fn enter(&self) -> io::Result<()> {
        let ends = self.ends.get().ok_or(io::ErrorKind::NotConnected)?;
        Ok(move_into_link_name_space(ends.namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    /// A socket inside, not blocking.
    ///
    /// # Errors
    /// NotConnected while the door is closed; else as setns(2) and socket(2).
    pub fn socket(&self, family: AddressFamily, kind: SocketType) -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let open = || self.enter().and_then(|()| Ok(socket_with(family, kind, flags, None)?));
        // A thread that went in might find no way back, but it can end.
        thread::scope(|scope| {
            let inside = thread::Builder::new().spawn_scoped(scope, open)?;
            inside.join().map_err(|_| io::Error::other("a thread panicked"))?
        })
    }

    /// Brings a packet in, whose Ethernet header is left outside. Whether it could be.
    pub(super) fn send(&self, frame: &[u8]) -> bool {
        let packet = frame.get(ETHERNET..).unwrap_or_default();
        self.ends.get().is_some_and(|ends| rustix::io::write(&ends.tun, packet).is_ok())
    }

    /// To wait for packets with.
    pub(super) fn fd(&self) -> Option<RawFd> {
        self.ends.get().map(|ends| ends.tun.as_raw_fd())
    }
}

/// Where a packet lies in its buffer, so that there is room for an outer header.
const START: usize = HEADROOM + ETHERNET;

type Buffer = [u8; START + MTU_BYTES];

/// Brings packets out of the namespace.
#[derive(Debug)]
pub(super) struct ProbeReader {
    pub(super) door: Arc<ProbeDoor>,
    buffers: Box<[Buffer]>,
}

impl ProbeReader {
    pub(super) fn new(door: Arc<ProbeDoor>) -> ProbeReader {
        ProbeReader { door, buffers: vec![[0; START + MTU_BYTES]; BATCH].into() }
    }

    /// The packets that wait, as frames with an Ethernet header of nobody's.
    pub(super) fn receive(&mut self) -> ArrayVec<Frame<'_>, BATCH> {
        let Some(ends) = self.door.ends.get() else { return ArrayVec::new() };
        self.buffers.iter_mut().map_while(|buffer| receive(&ends.tun, buffer)).collect()
    }
}

/// The next packet of TCP or UDP; what else the namespace's kernel says is for nobody.
fn receive<'b>(tun: &OwnedFd, buffer: &'b mut Buffer) -> Option<Frame<'b>> {
    loop {
        let len = rustix::io::read(tun, &mut buffer[START..]).ok().filter(|&len| len > 0)?;
        let ip = &buffer[START..START + len];
        let kind: [u8; 2] = match (ip[0] >> 4, len) {
            (4, IPV4..) if matches!(ip[9], 6 | 17) => [0x08, 0x00],
            (6, IPV6..) if matches!(ip[6], 6 | 17) => [0x86, 0xdd],
            _ => continue,
        };
        buffer[HEADROOM..START - kind.len()].fill(0);
        buffer[START - kind.len()..START].copy_from_slice(&kind);
        return Some(Frame::new(buffer, HEADROOM, ETHERNET + len, InterfaceId::PROBES));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::{read, write};

    /// Datagrams keep their bounds, as packets do.
    fn door() -> (Arc<ProbeDoor>, OwnedFd) {
        let (ours, theirs) = std::os::unix::net::UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let door = ProbeDoor::default();
        door.open(Ends { tun: ours.into(), namespace: std::fs::File::open("/dev/null").unwrap().into() });
        (Arc::new(door), theirs.into())
    }

    #[test]
    fn packets_come_out_as_frames_with_room_before_them_and_what_is_no_probe_stays_in() {
        let (door, inside) = door();
        let mut reader = ProbeReader::new(door);
        assert!(reader.receive().is_empty());
        let (mut tcp, mut udp, mut icmp) = ([4; 40], [6; 48], [7; 40]);
        (tcp[0], tcp[9], udp[0], udp[6], icmp[0], icmp[9]) = (0x45, 6, 0x60, 17, 0x45, 1);
        for packet in [&tcp[..], &icmp, &[0x45; 5], &udp, &[0x60; 39]] {
            write(&inside, packet).unwrap();
        }
        let frames = reader.receive();
        let seen: Vec<(&[u8], &[u8])> = frames.iter().map(|frame| frame.data().split_at(ETHERNET)).collect();
        assert_eq!(seen.len(), 2);
        assert_eq!((seen[0].1, seen[1].1), (&tcp[..], &udp[..]));
        assert_eq!((&seen[0].0[12..], &seen[1].0[12..]), (&[8, 0][..], &[0x86, 0xdd][..]));
        assert!(frames.iter().all(|frame| frame.start() == HEADROOM));
    }

    #[test]
    fn packets_go_in_without_their_ethernet_header() {
        let (door, inside) = door();
        assert!(door.send(&[&[9; ETHERNET][..], b"packet"].concat()));
        let mut packet = [0; 20];
        let len = read(&inside, &mut packet).unwrap();
        assert_eq!(&packet[..len], b"packet");
    }

    #[test]
    fn a_closed_door_leads_nowhere() {
        let door = Arc::new(ProbeDoor::default());
        assert!(!door.is_open() && !door.send(&[0; 60]) && door.fd().is_none());
        assert_eq!(door.enter().unwrap_err().kind(), io::ErrorKind::NotConnected);
        assert!(ProbeReader::new(door).receive().is_empty());
    }
}
