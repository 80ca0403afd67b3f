//! TCP: a connection is accepted.
//!
//! Of all checks this is made most often, and most of what it costs are system calls that make a socket ready and take it
//! away. So a socket is used again for the next probe, whosever that is.

use super::connect::{Ack, connect, failed};
use super::probe::Ask;
use super::{Failure, Healthy, lock};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, connect as start, connect_unspec, socket_with, sockopt,
};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::time::Duration;
use tokio::net::TcpStream;

/// How many sockets of each family wait to be used again: as many as are under way at a time, as a rule.
const SPARE: usize = 64;

/// When most servers have answered: asking then costs less than being told.
const SOON: Duration = Duration::from_millis(1);

/// Sockets without a connection.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    v4: Mutex<Vec<OwnedFd>>,
    v6: Mutex<Vec<OwnedFd>>,
}

/// Opens a connection, and ends it by a reset before the server's program hears of it.
pub(super) async fn probe(ask: &Ask<'_>, sockets: &Sockets) -> Result<Healthy, Failure> {
    let target = ask.target;
    if target.service.is_some() || target.check.source.is_some() {
        return connect(ask, Ack::Later).await.map(|_| Healthy::default());
    }
    ask.is("connecting");
    let peer = target.peer();
    // One that failed, or was waited for in vain, is not used again.
    let reached = async { reach(sockets.take(peer)?, peer).await };
    let socket = reached.await.map_err(|error| failed(&error))?;
    if connect_unspec(&socket).is_ok() {
        sockets.give(peer, socket);
    }
    Ok(Healthy::default())
}

/// Connects a socket that has no connection.
async fn reach(socket: OwnedFd, peer: SocketAddr) -> io::Result<OwnedFd> {
    let ask = || match start(&socket, &peer) {
        Err(Errno::INPROGRESS | Errno::ALREADY) => Ok(false),
        done => Ok::<bool, io::Error>(done.map(|()| true)?),
    };
    if ask()? {
        return Ok(socket);
    }
    tokio::time::sleep(SOON).await;
    if ask()? {
        return Ok(socket);
    }
    // Only now: to tokio, a socket that has been without a connection is at its end for ever.
    let stream = TcpStream::from_std(socket.into())?;
    stream.writable().await?;
    match stream.take_error()? {
        Some(error) => Err(error),
        None => Ok(stream.into_std()?.into()),
    }
}

impl Sockets {
    fn of(&self, peer: SocketAddr) -> &Mutex<Vec<OwnedFd>> {
        if peer.is_ipv4() { &self.v4 } else { &self.v6 }
    }

    fn take(&self, peer: SocketAddr) -> io::Result<OwnedFd> {
        let spare = lock(self.of(peer)).pop();
        let socket = match spare {
            Some(socket) => socket,
            None => {
                let family = if peer.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                let socket = socket_with(family, SocketType::STREAM, flags, None)?;
                sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
                socket
            }
        };
        // A connection's end takes this back.
        Ack::Later.ask_of(&socket)?;
        Ok(socket)
    }

    fn give(&self, peer: SocketAddr, socket: OwnedFd) {
        let mut spare = lock(self.of(peer));
        if spare.len() < SPARE {
            spare.push(socket);
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use crate::health::Failure;
    use crate::health::bed::{listener, loopback, probe};
    use crate::service::check::Kind;
    use std::net::{SocketAddr, TcpListener};

    #[test]
    fn who_listens_is_well_and_who_refuses_is_not_in_either_family() {
        let (four, six) = (listener(), TcpListener::bind("[::1]:0").unwrap());
        assert!(probe(four.local_addr().unwrap(), Kind::Tcp).is_ok());
        assert!(probe(six.local_addr().unwrap(), Kind::Tcp).is_ok());
        let nobody = SocketAddr::from((loopback(), 80));
        assert_eq!(probe(nobody, Kind::Tcp), Err(Failure::of_server("connect: connection refused")));
    }
}
