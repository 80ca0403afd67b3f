//! A route netlink socket: requests, dumps and events (rtnetlink(7)). Blocking, one datagram at a time.
//!
//! A message that cannot be decoded is logged and passed over: a kernel newer than the decoder must not stop
//! the director.

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// The kernel's dumps come in datagrams of 32 KiB at most (netlink_dump()), events are smaller.
const DATAGRAM: usize = 64 << 10;

/// Bytes of events that may wait while we are busy; the kernel may grant less (net.core.rmem_max).
const EVENT_BACKLOG: i32 = 4 << 20;

/// How long the kernel may take to answer; it answers at once unless it is in great trouble.
const PATIENCE: Duration = Duration::from_secs(5);

/// A dump that other changes interrupted is begun again, this often at most.
const DUMP_ATTEMPTS: usize = 20;

/// A message of the kernel with the flags of its header (for a route: NLM_F_REPLACE, NLM_F_APPEND).
pub(super) struct Message {
    pub flags: u16,
    pub body: RouteNetlinkMessage,
}

/// A socket of the network namespace in which it was opened, whichever thread uses it later.
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
    datagram: Vec<u8>,
}

impl Netlink {
    /// A socket for requests and dumps.
    pub fn open() -> io::Result<Netlink> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        Ok(Netlink { socket, sequence: 0, datagram: Vec::with_capacity(DATAGRAM) })
    }

    /// A socket that receives the events of `groups` (RTNLGRP_*). A wait for one lasts `patience` at most.
    pub fn subscribed(groups: &[u32], patience: Duration) -> io::Result<Netlink> {
        let netlink = Netlink::open()?;
        netlink.socket.set_rx_buf_sz(EVENT_BACKLOG)?;
        set_socket_timeout(&netlink.socket, Timeout::Recv, Some(patience))?;
        for &group in groups {
            netlink.socket.add_membership(group)?;
        }
        Ok(netlink)
    }

    /// Asks for a change and waits until the kernel has said yes or no.
    pub fn request(&mut self, body: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let sequence = self.send(body, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        loop {
            self.receive()?;
            for message in decode(&self.datagram) {
                match message.payload {
                    NetlinkPayload::Error(error) if message.header.sequence_number == sequence => {
                        return error.code.map_or(Ok(()), |_| Err(error.to_io()));
                    }
                    _ => {}
                }
            }
        }
    }

    /// Everything of one kind, read anew until nothing changed meanwhile.
    pub fn dump(&mut self, ask: &RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        for _ in 0..DUMP_ATTEMPTS {
            let sequence = self.send(ask.clone(), NLM_F_REQUEST | NLM_F_DUMP)?;
            if let Some(all) = self.read_dump(sequence)? {
                return Ok(all);
            }
        }
        let why = format!("the kernel's tables changed during each of {DUMP_ATTEMPTS} attempts to read them");
        Err(io::Error::other(why))
    }

    /// Reads a dump to its end; `None` if the kernel says that it is not consistent.
    fn read_dump(&mut self, sequence: u32) -> io::Result<Option<Vec<RouteNetlinkMessage>>> {
        let (mut all, mut consistent) = (Vec::new(), true);
        loop {
            self.receive()?;
            for message in decode(&self.datagram) {
                if message.header.sequence_number != sequence {
                    continue;
                }
                consistent &= message.header.flags & NLM_F_DUMP_INTR == 0;
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok(consistent.then_some(all)),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    NetlinkPayload::InnerMessage(body) => all.push(body),
                    _ => {}
                }
            }
        }
    }

    /// The next events; none if nothing happened for as long as the socket's patience lasts.
    ///
    /// # Errors
    /// `ENOBUFS` ([`overrun`]) means that events were lost.
    pub fn events(&mut self) -> io::Result<Vec<Message>> {
        match self.receive() {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock) => return Ok(Vec::new()),
            other => other?,
        }
        let inner = |message: NetlinkMessage<RouteNetlinkMessage>| match message.payload {
            NetlinkPayload::InnerMessage(body) => Some(Message { flags: message.header.flags, body }),
            _ => None,
        };
        Ok(decode(&self.datagram).filter_map(inner).collect())
    }

    fn send(&mut self, body: RouteNetlinkMessage, flags: u16) -> io::Result<u32> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(body));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
        Ok(self.sequence)
    }

    /// Reads one datagram of the kernel into `self.datagram`.
    fn receive(&mut self) -> io::Result<()> {
        loop {
            self.datagram.clear();
            match self.socket.recv_from(&mut self.datagram, libc::MSG_TRUNC) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                // Any process may send to this socket; only port 0 is the kernel.
                Ok((_, from)) if from.port_number() != 0 => {}
                Ok((length, _)) if length > self.datagram.len() => {
                    return Err(io::Error::other(format!("a netlink datagram of {length} bytes")));
                }
                Ok(_) => return Ok(()),
            }
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether the kernel dropped events because we did not read them in time.
pub(super) fn overrun(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOBUFS)
}

/// The messages of a datagram. Each begins on a multiple of four bytes with its own length.
fn decode(datagram: &[u8]) -> impl Iterator<Item = NetlinkMessage<RouteNetlinkMessage>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*rest.first_chunk()?) as usize;
        let message = rest.get(..length).filter(|m| m.len() >= 16)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(NetlinkMessage::deserialize(message))
    })
    .filter_map(|message| {
        message.inspect_err(|error| tracing::debug!(%error, "passed over a netlink message")).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_route::link::LinkMessage;

    fn message(index: u32) -> Vec<u8> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        let body = RouteNetlinkMessage::NewLink(link);
        let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(body));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    fn indices(datagram: &[u8]) -> Vec<u32> {
        decode(datagram)
            .filter_map(|m| match m.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => Some(link.header.index),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_datagram_of_several_messages_gives_them_all() {
        assert_eq!(indices(&[message(1), message(2)].concat()), [1, 2]);
    }

    #[test]
    fn a_message_of_an_unknown_type_does_not_hide_the_next_one() {
        let mut unknown = message(1);
        unknown[4..6].copy_from_slice(&9999u16.to_ne_bytes());
        assert_eq!(indices(&[unknown, message(2)].concat()), [2]);
    }

    #[test]
    fn a_length_that_lies_ends_the_datagram() {
        for length in [0u32, 3, 15, 1000, u32::MAX] {
            let mut lying = message(1);
            lying[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(indices(&lying), [0; 0]);
        }
    }
}
