//! UDP: a datagram is replied to; or, if the operator takes silence for well, it is not refused.

use super::datagram::Datagrams;
use super::pattern::Matcher;
use super::probe::Ask;
use super::{Failure, Healthy};
use crate::service::check::Udp;
use tokio::time::timeout;

/// What it takes to ask and to judge.
#[derive(Debug)]
pub(super) struct Prober {
    check: Udp,
    expect: Option<Matcher>,
}

impl Prober {
    pub(super) fn of(check: &Udp) -> Result<Prober, Failure> {
        let expect = check.expect.as_ref().map(Matcher::of).transpose()?;
        Ok(Prober { check: check.clone(), expect })
    }

    pub(super) async fn probe(&self, ask: &Ask<'_>) -> Result<Healthy, Failure> {
        let socket = Datagrams::open(ask).await?;
        ask.is("waiting for the reply");
        socket.send(&self.check.send).await?;
        // Silence must be over before the probe's time is.
        let patience = ask.target.check.pace.timeout * 9 / 10;
        let reply = if self.check.may_be_silent {
            match timeout(patience, socket.receive()).await {
                Ok(reply) => reply?,
                Err(_) => return Ok(Healthy::default()),
            }
        } else {
            socket.receive().await?
        };
        if let Some(matcher) = &self.expect {
            matcher.check("the reply", &reply)?;
        }
        Ok(Healthy::default())
    }
}

#[cfg(test)]
mod tests {
    use crate::health::bed::{check, loopback, probe, probe_once, target};
    use crate::health::{Failure, Healthy};
    use crate::service::check::{Check, Kind, Pattern, Sought, Udp};
    use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};

    /// A server that sends back what it gets, in capitals.
    fn shouting(at: IpAddr) -> SocketAddr {
        let socket = UdpSocket::bind((at, 0)).unwrap();
        let at = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 100];
            while let Ok((length, from)) = socket.recv_from(&mut bytes) {
                socket.send_to(&bytes[..length].to_ascii_uppercase(), from).unwrap();
            }
        });
        at
    }

    fn udp(send: &[u8], expect: Option<Sought>, may_be_silent: bool) -> Kind {
        let expect = expect.map(|sought| Pattern { sought, is_not: false });
        Kind::Udp(Udp { send: send.to_vec(), expect, may_be_silent })
    }

    fn text(text: &str) -> Option<Sought> {
        Some(Sought::Text(text.to_owned()))
    }

    #[test]
    fn a_reply_is_wanted_or_a_certain_one_in_either_family() {
        for at in [IpAddr::from(loopback()), Ipv6Addr::LOCALHOST.into()] {
            let at = shouting(at);
            let well = Ok(Healthy::default());
            for may_be_silent in [false, true] {
                assert_eq!(probe(at, udp(b"ping", None, may_be_silent)), well);
                assert_eq!(probe(at, udp(b"", None, may_be_silent)), well);
                assert_eq!(probe(at, udp(b"ping", text("PING"), may_be_silent)), well);
                assert_eq!(
                    probe(at, udp(b"pong", text("PING"), may_be_silent)),
                    Err(Failure::of_server("the reply has not \"PING\""))
                );
            }
            let bytes = Some(Sought::Bytes(vec![0, 0xff, b'A']));
            assert_eq!(probe(at, udp(b"\0\xffa", bytes, false)), well);
        }
    }

    #[test]
    fn silence_may_be_well_and_a_closed_port_never_is() {
        for at in [IpAddr::from(loopback()), Ipv6Addr::LOCALHOST.into()] {
            let silent = UdpSocket::bind((at, 0)).unwrap();
            let at = silent.local_addr().unwrap();
            let once = |kind| probe_once(&target(at, check(kind)));
            let silence = Failure::of_server("timed out after 200ms waiting for the reply");
            assert_eq!(once(udp(b"ping", None, false)), Err(silence));
            assert_eq!(once(udp(b"ping", text("PING"), true)), Ok(Healthy::default()));
            // Somebody else may have got the port by then.
            let closed = |kind: Kind| {
                let asked = std::iter::repeat_with(|| {
                    let port = UdpSocket::bind((at.ip(), 0)).unwrap().local_addr().unwrap();
                    probe_once(&target(port, check(kind.clone())))
                });
                asked.take(10).find(|said| *said == Err(Failure::of_server("receive: connection refused")))
            };
            assert!(closed(udp(b"ping", None, true)).is_some());
            assert!(closed(udp(b"ping", None, false)).is_some());
        }
    }

    #[test]
    fn the_source_is_the_one_that_is_asked_for() {
        let server = UdpSocket::bind((loopback(), 0)).unwrap();
        let source = loopback().into();
        let from = Check { source: Some(source), ..check(udp(b"ping", None, true)) };
        probe_once(&target(server.local_addr().unwrap(), from)).unwrap();
        assert_eq!(server.recv_from(&mut [0; 9]).unwrap().1.ip(), source);
    }
}
