//! SMTP: the server greets, and is greeted. No mail is sent.

use super::connect::{Ack, connect};
use super::probe::Ask;
use super::reply::Session;
use super::tls::{Configs, Connector};
use super::{Failure, Healthy};
use crate::service::check::Smtp;
use std::net::IpAddr;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// What it takes to greet.
#[derive(Debug)]
pub(super) struct Prober {
    hello: Option<String>,
    tls: Option<Connector>,
    is_starttls: bool,
}

impl Prober {
    pub(super) fn of(smtp: &Smtp, configs: &Configs) -> Result<Prober, Failure> {
        let tls = smtp.tls.as_ref().map(|tls| Connector::of(tls, &[], configs)).transpose()?;
        Ok(Prober { hello: smtp.hello.clone(), tls, is_starttls: smtp.is_starttls })
    }

    pub(super) async fn probe(&self, ask: &Ask<'_>) -> Result<Healthy, Failure> {
        let stream = connect(ask, Ack::AtOnce).await?;
        let name = self.name(&stream)?;
        let Some(connector) = &self.tls else {
            greet_and_leave(ask, Session::new("SMTP", stream), &name).await?;
            return Ok(Healthy::default());
        };
        if !self.is_starttls {
            let (stream, found) = connector.connect(ask, stream).await?;
            greet_and_leave(ask, Session::new("SMTP", stream), &name).await?;
            return Ok(found);
        }
        let mut session = Session::new("SMTP", stream);
        greet(ask, &mut session, &name).await?;
        session.say(ask, "STARTTLS").await?.must_be(220)?;
        let (stream, found) = connector.connect(ask, session.into_stream()?).await?;
        // The server has forgotten who we are (RFC 3207, 4.2).
        let mut session = Session::new("SMTP", stream);
        introduce(ask, &mut session, &name).await?;
        session.say(ask, "QUIT").await?.must_be(221)?;
        Ok(found)
    }

    fn name(&self, stream: &TcpStream) -> Result<String, Failure> {
        if let Some(name) = &self.hello {
            return Ok(name.clone());
        }
        let own = stream.local_addr().map_err(|error| Failure::of_system("SMTP", &error))?;
        Ok(literal(own.ip()))
    }
}

async fn greet_and_leave<S>(ask: &Ask<'_>, mut session: Session<S>, name: &str) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    greet(ask, &mut session, name).await?;
    session.say(ask, "QUIT").await?.must_be(221).map(drop)
}

async fn greet<S>(ask: &Ask<'_>, session: &mut Session<S>, name: &str) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    session.banner(ask).await?.must_be(220)?;
    introduce(ask, session, name).await
}

async fn introduce<S>(ask: &Ask<'_>, session: &mut Session<S>, name: &str) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let reply = session.say(ask, &format!("EHLO {name}")).await?;
    // An old server does not know the command.
    if (500..600).contains(&reply.code) {
        session.say(ask, &format!("HELO {name}")).await?.must_be(250).map(drop)
    } else {
        reply.must_be(250).map(drop)
    }
}

/// An address in a name's place (RFC 5321, 4.1.3).
fn literal(addr: IpAddr) -> String {
    match addr {
        IpAddr::V4(addr) => format!("[{addr}]"),
        IpAddr::V6(addr) => format!("[IPv6:{addr}]"),
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use crate::health::bed::{
        Daemon, certificate, check, listener, loopback, probe, probe_once, replying, serve, target,
    };
    use crate::service::check::{Check, Kind, Smtp, Tls};
    use std::io::{BufRead, BufReader, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::sync::mpsc;

    fn smtp() -> Kind {
        Kind::Smtp(Smtp::default())
    }

    /// A mail server with these options.
    fn server(at: SocketAddr, options: &[&str]) -> Daemon {
        let listens = ["-n", "-c", "aiosmtpd.handlers.Sink", "-l", &at.to_string()];
        Daemon::start(at, "aiosmtpd", &[&listens[..], options].concat())
    }

    #[test]
    fn a_mail_server_greets_and_fails_when_it_hangs() {
        let at = SocketAddr::from((loopback(), 25));
        let server = server(at, &[]);
        probe(at, smtp()).unwrap();
        let starttls = Smtp { tls: Some(Tls::default()), is_starttls: true, ..Smtp::default() };
        let refused = probe(at, Kind::Smtp(starttls)).unwrap_err().cause;
        assert_eq!(refused, "SMTP STARTTLS: \"454 TLS not available\" (wanted: 220)");
        server.hang();
        let hangs = probe_once(&target(at, check(smtp()))).unwrap_err().cause;
        assert_eq!(hangs, "timed out after 200ms waiting for the banner");
    }

    #[test]
    fn a_mail_server_is_greeted_in_tls_from_the_start_or_by_starttls() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = certificate(folder.path(), "mail.example");
        let tls = |name: &str, is_starttls| {
            let server_name = Some(name.to_owned());
            let tls = Tls { server_name, verify: true, ca: Some((&cert).into()), ..Tls::default() };
            Kind::Smtp(Smtp { tls: Some(tls), is_starttls, ..Smtp::default() })
        };
        for (is_starttls, options) in
            [(true, ["--tlscert", "--tlskey"]), (false, ["--smtpscert", "--smtpskey"])]
        {
            let at = SocketAddr::from((loopback(), 25));
            let _server = server(at, &[options[0], &cert, options[1], &key]);
            let found = probe(at, tls("mail.example", is_starttls)).unwrap();
            assert!(found.certificate_expires.is_some());
            let stranger = probe(at, tls("other.example", is_starttls)).unwrap_err().cause;
            assert!(stranger.starts_with("TLS: invalid peer certificate"), "{stranger}");
        }
    }

    #[test]
    fn what_a_server_says_before_tls_is_not_taken_for_said_in_it() {
        let forged = &["220 hi\r\n", "250 hello\r\n", "220 go\r\n250 forged\r\n"];
        let starttls = Smtp { tls: Some(Tls::default()), is_starttls: true, ..Smtp::default() };
        let cause = probe(replying(listener(), forged), Kind::Smtp(starttls)).unwrap_err().cause;
        assert_eq!(cause, "SMTP: \"250 forged\\r\\n\" behind a reply");
    }

    #[test]
    fn an_old_server_is_greeted_in_its_way_and_a_busy_one_is_not_well() {
        let six = || TcpListener::bind("[::1]:0").unwrap();
        let old = &["220 hi\r\n", "502 what?\r\n", "250 hello\r\n", "221 bye\r\n"];
        probe(replying(six(), old), smtp()).unwrap();
        let busy = probe(replying(six(), &["421 too much load\r\n"]), smtp()).unwrap_err().cause;
        assert_eq!(busy, "SMTP banner: \"421 too much load\" (wanted: 220)");
        let choosy = &["220 hi\r\n", "550 not you\r\n", "550 nor so\r\n"];
        let refused = probe(replying(six(), choosy), smtp()).unwrap_err().cause;
        assert_eq!(refused, "SMTP HELO: \"550 nor so\" (wanted: 250)");
    }

    /// What a probe calls itself, and from where it comes.
    fn heard(listener: TcpListener, smtp: Smtp, source: Option<&str>) -> (String, String) {
        let (tell, heard) = mpsc::channel();
        let at = serve(listener, move |mut stream| {
            stream.write_all(b"220 hi\r\n").unwrap();
            let hello = BufReader::new(&stream).lines().next().unwrap().unwrap();
            tell.send((hello, stream.peer_addr().unwrap().ip().to_string())).unwrap();
        });
        let source = source.map(|addr| addr.parse().unwrap());
        let _ = probe_once(&target(at, Check { source, ..check(Kind::Smtp(smtp)) }));
        heard.recv().unwrap()
    }

    #[test]
    fn the_director_calls_itself_by_its_address_or_as_it_is_told_to() {
        let words = |hello: &str, from: &str| (hello.to_owned(), from.to_owned());
        let source = loopback().to_string();
        assert_eq!(
            heard(listener(), Smtp::default(), Some(&source)),
            words(&format!("EHLO [{source}]"), &source)
        );
        let six = TcpListener::bind("[::1]:0").unwrap();
        assert_eq!(heard(six, Smtp::default(), None), words("EHLO [IPv6:::1]", "::1"));
        let named = Smtp { hello: Some("lb.example".to_owned()), ..Smtp::default() };
        assert_eq!(heard(listener(), named, Some(&source)), words("EHLO lb.example", &source));
    }
}
