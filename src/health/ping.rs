//! ICMP and ICMPv6: an echo is replied to.
//!
//! All echoes from one source share a raw socket, which takes no packet but replies to its echoes, and errors. A reply is
//! known by the first eight bytes of its data, which nobody can guess.

use super::probe::Ask;
use super::{Failure, Healthy, lock};
use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::net::UdpSocket;
use tokio::sync::oneshot;

/// As much data as ping(8) sends.
const DATA_BYTES: usize = 56;

/// As much of a packet as is looked at.
const MAX_BYTES: usize = 512;

/// What an echo is known by.
type Mark = [u8; 8];

/// What became of an echo.
type Outcome = Result<(), Failure>;

/// The sockets that echoes leave by, each with its source; the unspecified address leaves that to the kernel.
#[derive(Debug, Default)]
pub(super) struct Sockets(Mutex<HashMap<IpAddr, Arc<Echoes>>>);

/// The echoes from one source.
#[derive(Debug)]
struct Echoes {
    /// tokio has no raw sockets, but sends and receives by any that it believes to be UDP's.
    socket: UdpSocket,
    is_v4: bool,
    id: u16,
    waiting: Mutex<HashMap<Mark, oneshot::Sender<Outcome>>>,
}

/// An echo under way; forgotten when this is dropped.
struct Echo<'a> {
    echoes: &'a Echoes,
    mark: Mark,
    outcome: oneshot::Receiver<Outcome>,
}

/// Sends an echo and waits for the reply.
pub(super) async fn probe(ask: &Ask<'_>, sockets: &Sockets) -> Result<Healthy, Failure> {
    ask.is("waiting for the reply");
    let peer = ask.target.peer().ip();
    let any = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let echoes = sockets.of(ask.target.check.source.unwrap_or(any));
    let echoes = echoes.map_err(|error| Failure::of_system("open a raw socket", &error))?;
    let mut echo = echoes.expect();
    echo.send(peer).await.map_err(|error| Failure::of_system("send an echo", &error))?;
    match (&mut echo.outcome).await {
        Ok(outcome) => outcome.map(|()| Healthy::default()),
        Err(_) => Err(Failure::own("the raw socket is gone")),
    }
}

impl Sockets {
    fn of(&self, source: IpAddr) -> io::Result<Arc<Echoes>> {
        let mut sockets = lock(&self.0);
        if let Some(echoes) = sockets.get(&source) {
            return Ok(echoes.clone());
        }
        let echoes = Arc::new(Echoes::open(source)?);
        tokio::spawn(echoes.clone().listen());
        sockets.insert(source, echoes.clone());
        Ok(echoes)
    }
}

impl Echoes {
    fn open(source: IpAddr) -> io::Result<Echoes> {
        let is_v4 = source.is_ipv4();
        let (domain, protocol) =
            if is_v4 { (Domain::IPV4, Protocol::ICMPV4) } else { (Domain::IPV6, Protocol::ICMPV6) };
        let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
        socket.set_nonblocking(true)?;
        let id = fastrand::u16(..);
        #[cfg(target_os = "linux")]
        socket.attach_filter(&filter(is_v4, id))?;
        socket.bind(&SockAddr::from(SocketAddr::new(source, 0)))?;
        Ok(Echoes { socket: UdpSocket::from_std(socket.into())?, is_v4, id, waiting: Mutex::default() })
    }

    /// A new echo, not sent yet.
    fn expect(&self) -> Echo<'_> {
        let mark = fastrand::u64(..).to_be_bytes();
        let (tell, outcome) = oneshot::channel();
        lock(&self.waiting).insert(mark, tell);
        Echo { echoes: self, mark, outcome }
    }

    /// Tells those who wait what became of their echoes, for as long as there is a socket.
    async fn listen(self: Arc<Echoes>) {
        let mut packet = [0; MAX_BYTES];
        loop {
            // An error is one of a packet that was sent: its echo will time out.
            let Ok(bytes) = self.socket.recv(&mut packet).await else { continue };
            let Some((mark, outcome)) = outcome(&packet[..bytes], self.is_v4) else { continue };
            if let Some(tell) = lock(&self.waiting).remove(&mark) {
                let _ = tell.send(outcome);
            }
        }
    }
}

impl Echo<'_> {
    async fn send(&self, peer: IpAddr) -> io::Result<()> {
        let Echoes { socket, is_v4, id, .. } = self.echoes;
        let mut data = [0; DATA_BYTES];
        data[..self.mark.len()].copy_from_slice(&self.mark);
        let echo = IcmpEchoHeader { id: *id, seq: fastrand::u16(..) };
        // For ICMPv6 the kernel puts in the checksum (RFC 3542, 3.1).
        let mut packet = if *is_v4 {
            Icmpv4Header::with_checksum(Icmpv4Type::EchoRequest(echo), &data).to_bytes().to_vec()
        } else {
            Icmpv6Header::new(Icmpv6Type::EchoRequest(echo)).to_bytes().to_vec()
        };
        packet.extend_from_slice(&data);
        socket.send_to(&packet, SocketAddr::new(peer, 0)).await.map(drop)
    }
}

impl Drop for Echo<'_> {
    fn drop(&mut self) {
        lock(&self.echoes.waiting).remove(&self.mark);
    }
}

/// What a packet says of an echo, if it is a reply or an error. In IPv4 it begins with its IP header, in IPv6 behind it.
fn outcome(packet: &[u8], is_v4: bool) -> Option<(Mark, Outcome)> {
    let icmp = if is_v4 { packet.get(ipv4_header_bytes(packet)?..)? } else { packet };
    let (&[kind, code, ..], rest) = icmp.split_first_chunk::<8>()?;
    let (reply, unreachable) = if is_v4 { (0, 3) } else { (129, 1) };
    if kind == reply {
        return Some((*rest.first_chunk()?, Ok(())));
    }
    if kind != unreachable {
        return None;
    }
    // The echo is quoted, with its IP header.
    let headers = if is_v4 { ipv4_header_bytes(rest)? } else { 40 } + 8;
    let mark = *rest.get(headers..)?.first_chunk()?;
    let cause = match (is_v4, code) {
        (_, 0) => "network unreachable (ICMP)",
        (true, 1) | (false, 3) => "host unreachable (ICMP)",
        (true, 9 | 10 | 13) | (false, 1) => "prohibited on the way (ICMP)",
        _ => "destination unreachable (ICMP)",
    };
    Some((mark, Err(Failure::of_server(cause))))
}

fn ipv4_header_bytes(packet: &[u8]) -> Option<usize> {
    Some(usize::from(packet.first()? & 0xf) * 4)
}

/// Classic BPF: replies to echoes of this id, and "destination unreachable". As [`outcome`] sees packets.
#[cfg(target_os = "linux")]
fn filter(is_v4: bool, id: u16) -> [socket2::SockFilter; 8] {
    use socket2::SockFilter;
    let (load_start, reply, unreachable) = if is_v4 {
        (SockFilter::new(0xb1, 0, 0, 0), 0, 3) // ldx 4*([0]&0xf)
    } else {
        (SockFilter::new(0x01, 0, 0, 0), 129, 1) // ldx #0
    };
    [
        load_start,
        SockFilter::new(0x50, 0, 0, 0),           // ldb [x + 0]: the type
        SockFilter::new(0x15, 1, 0, reply),       // jeq reply, +1
        SockFilter::new(0x15, 2, 3, unreachable), // jeq unreachable, accept, reject
        SockFilter::new(0x48, 0, 0, 4),           // ldh [x + 4]: the id
        SockFilter::new(0x15, 0, 1, id.into()),   // jeq id, accept, reject
        SockFilter::new(0x06, 0, 0, MAX_BYTES as u32),
        SockFilter::new(0x06, 0, 0, 0),
    ]
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::health::bed::{check, probe, probe_once, target};
    use crate::service::check::{Check, Kind};
    use proptest::prelude::*;

    #[test]
    fn hosts_reply_in_either_family_and_from_the_source_that_is_asked_for() {
        for host in ["127.0.0.1", "::1"] {
            let host = SocketAddr::new(host.parse().unwrap(), 0);
            assert_eq!(probe(host, Kind::Ping), Ok(Healthy::default()));
        }
        let source = Check { source: Some([127, 3, 3, 3].into()), ..check(Kind::Ping) };
        assert!(probe_once(&target(([127, 0, 0, 1], 0).into(), source)).is_ok());
        let elsewhere = Check { source: Some([192, 0, 2, 7].into()), ..check(Kind::Ping) };
        let failure = probe_once(&target(([127, 0, 0, 1], 0).into(), elsewhere)).unwrap_err();
        assert_eq!(failure, Failure::own("open a raw socket: cannot assign requested address"));
    }

    #[test]
    fn many_echoes_at_once_find_each_its_own_reply() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let shared = Arc::new(crate::health::probe::Shared::default());
        let replied = runtime.block_on(async {
            let mut all = tokio::task::JoinSet::new();
            for n in 0..200 {
                let target = target(([127, 9, 9, n], 0).into(), check(Kind::Ping));
                let prober = crate::health::probe::Prober::of(&target.check, &shared).unwrap();
                all.spawn(async move { prober.probe(&target, &()).await });
            }
            all.join_all().await
        });
        assert_eq!(replied.iter().filter(|outcome| outcome.is_ok()).count(), 200);
        assert!(lock(&shared.ping.0).values().all(|echoes| lock(&echoes.waiting).is_empty()));
    }

    #[test]
    fn an_error_about_an_echo_says_why_and_other_packets_say_nothing() {
        let mark = *b"12345678";
        let quoted = |kind, code| {
            let ip = etherparse::Ipv4Header { total_len: 36, ..Default::default() }.to_bytes();
            let error = [kind, code, 0, 0, 0, 0, 0, 0];
            [&ip[..], &error[..], &ip[..], &[8, 0, 0, 0, 1, 1, 2, 2][..], &mark[..]].concat()
        };
        let host = Failure::of_server("host unreachable (ICMP)");
        assert_eq!(outcome(&quoted(3, 1), true), Some((mark, Err(host))));
        let prohibited = Failure::of_server("prohibited on the way (ICMP)");
        assert_eq!(outcome(&quoted(3, 13), true), Some((mark, Err(prohibited))));
        assert_eq!(outcome(&quoted(11, 0), true), None);
        let short = &quoted(3, 1)[..60];
        assert_eq!(outcome(short, true), None);
    }

    proptest! {
        #[test]
        fn any_packet_is_read_without_panic(packet in prop::collection::vec(any::<u8>(), 0..120)) {
            outcome(&packet, true);
            outcome(&packet, false);
        }
    }
}
