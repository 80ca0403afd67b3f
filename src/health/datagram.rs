//! Datagrams to a server and back.

use super::Failure;
use super::probe::Ask;
use crate::net::Proto;
use nix::sys::socket::{setsockopt, sockopt};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// The largest datagram.
const MAX_BYTES: usize = 65_535;

/// A socket that is connected to the peer, from the source that is asked for. It takes nothing from others, and hears of
/// every ICMP error.
#[derive(Debug)]
pub(super) struct Datagrams(UdpSocket);

impl Datagrams {
    pub(super) async fn open(ask: &Ask<'_>) -> Result<Datagrams, Failure> {
        let failed = |error| Failure::of_system("open a UDP socket", &error);
        let on_path = ask.path_socket(Proto::Udp)?;
        let peer = on_path.as_ref().map_or(ask.target.peer(), |(_, [_, vip])| *vip);
        let socket = match on_path {
            Some((socket, [source, _])) => bound(socket, source),
            None => direct(peer, ask.target.check.source).await,
        };
        connected(socket.map_err(failed)?, peer).await.map(Datagrams).map_err(failed)
    }

    pub(super) async fn send(&self, payload: &[u8]) -> Result<(), Failure> {
        self.0.send(payload).await.map(drop).map_err(|error| Failure::of_system("send", &error))
    }

    /// The payload of the next datagram from the peer.
    pub(super) async fn receive(&self) -> Result<Vec<u8>, Failure> {
        self.next().await.map_err(|error| Failure::of_system("receive", &error))
    }

    async fn next(&self) -> io::Result<Vec<u8>> {
        loop {
            let ready = self.0.ready(Interest::READABLE | Interest::ERROR).await?;
            if ready.is_error() {
                return Err(self.0.take_error()?.unwrap_or_else(|| io::Error::other("an ICMP error")));
            }
            // Many may be waiting: the room is there when there is something to put into it.
            let mut payload = vec![0; MAX_BYTES];
            match self.0.try_recv(&mut payload) {
                Ok(bytes) => {
                    payload.truncate(bytes);
                    return Ok(payload);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn bound(socket: OwnedFd, source: SocketAddr) -> io::Result<UdpSocket> {
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    rustix::net::bind(&socket, &source)?;
    UdpSocket::from_std(socket.into())
}

async fn direct(peer: SocketAddr, source: Option<IpAddr>) -> io::Result<UdpSocket> {
    let any = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    UdpSocket::bind(SocketAddr::new(source.unwrap_or(any), 0)).await
}

async fn connected(socket: UdpSocket, peer: SocketAddr) -> io::Result<UdpSocket> {
    // Without this, Linux tells only that a port is closed, not that a host is unreachable.
    if peer.is_ipv4() {
        setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
    } else {
        setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?;
    }
    socket.connect(peer).await?;
    Ok(socket)
}
