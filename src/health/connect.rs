//! TCP connections to servers.

use super::Failure;
use super::probe::Ask;
use crate::net::Proto;
use rustix::net::sockopt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use tokio::net::{TcpSocket, TcpStream};

/// Who sends the segment behind the server's SYN-ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ack {
    /// The kernel, at once.
    AtOnce,
    /// Nobody yet: it goes with the first data, or a reset takes its place, so that the server's program never hears of
    /// a connection that would tell it nothing.
    Later,
}

/// A connection to the peer, from the source that is asked for. It ends by a reset, so that neither side keeps it in
/// TIME_WAIT.
pub(super) async fn connect(ask: &Ask<'_>, ack: Ack) -> Result<TcpStream, Failure> {
    ask.is("connecting");
    let on_path = ask.path_socket(Proto::Tcp)?;
    let peer = on_path.as_ref().map_or(ask.target.peer(), |(_, [_, vip])| *vip);
    let opened = match on_path {
        Some((socket, [source, _])) => bound(TcpSocket::from_std_stream(socket.into()), source),
        None => direct(peer, ask.target.check.source),
    };
    let socket = opened.and_then(|socket| set_up(socket, ack)).map_err(|error| failed(&error))?;
    socket.connect(peer).await.map_err(|error| failed(&error))
}

/// Why a connection cannot be opened.
pub(super) fn failed(error: &io::Error) -> Failure {
    let failure = Failure::of_system("connect", error);
    // Nobody here forbids it by this word: an ICMPv6 error has said so, as a firewall before the server sends it.
    let is_refused = error.raw_os_error() == Some(libc::EACCES);
    Failure { is_own: !is_refused && failure.is_own, ..failure }
}

fn bound(socket: TcpSocket, source: SocketAddr) -> io::Result<TcpSocket> {
    socket.set_reuseaddr(true)?;
    socket.bind(source)?;
    Ok(socket)
}

fn direct(peer: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpSocket> {
    let socket = if peer.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    Ok(socket)
}

fn set_up(socket: TcpSocket, ack: Ack) -> io::Result<TcpSocket> {
    socket.set_zero_linger()?;
    ack.ask_of(&socket)?;
    Ok(socket)
}

impl Ack {
    /// Has a socket do so with its next connection.
    pub(super) fn ask_of(self, socket: impl AsFd) -> io::Result<()> {
        match self {
            Ack::AtOnce => sockopt::set_tcp_nodelay(socket, true)?,
            #[cfg(target_os = "linux")]
            Ack::Later => sockopt::set_tcp_quickack(socket, false)?,
            #[cfg(not(target_os = "linux"))]
            Ack::Later => {}
        }
        Ok(())
    }
}
