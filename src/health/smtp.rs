//! SMTP: the server greets, and is greeted. No mail is sent.

use super::connect::{Ack, connect};
use super::probe::Ask;
use super::reply::Session;
use super::{Failure, Healthy};
use crate::service::check::Smtp;
use std::net::IpAddr;

pub(super) async fn probe(ask: &Ask<'_>, smtp: &Smtp) -> Result<Healthy, Failure> {
    let stream = connect(ask, Ack::AtOnce).await?;
    let name = match &smtp.hello {
        Some(name) => name.clone(),
        None => literal(stream.local_addr().map_err(|error| Failure::of_system("SMTP", &error))?.ip()),
    };
    let mut session = Session::new("SMTP", stream);
    session.banner(ask).await?.must_be(220)?;
    let reply = session.say(ask, &format!("EHLO {name}")).await?;
    // An old server does not know the command.
    if (500..600).contains(&reply.code) {
        session.say(ask, &format!("HELO {name}")).await?.must_be(250)?;
    } else {
        reply.must_be(250)?;
    }
    session.say(ask, "QUIT").await?.must_be(221)?;
    Ok(Healthy::default())
}

/// An address in a name's place (RFC 5321, 4.1.3).
fn literal(addr: IpAddr) -> String {
    match addr {
        IpAddr::V4(addr) => format!("[{addr}]"),
        IpAddr::V6(addr) => format!("[IPv6:{addr}]"),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use crate::health::bed::{Daemon, check, listener, loopback, probe, probe_once, replying, serve, target};
    use crate::service::check::{Check, Kind, Smtp};
    use std::io::{BufRead, BufReader, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::sync::mpsc;

    fn smtp() -> Kind {
        Kind::Smtp(Smtp::default())
    }

    #[test]
    fn a_mail_server_greets_and_fails_when_it_hangs() {
        let at = SocketAddr::from((loopback(), 25));
        let server =
            Daemon::start(at, "aiosmtpd", &["-n", "-l", &at.to_string(), "-c", "aiosmtpd.handlers.Sink"]);
        probe(at, smtp()).unwrap();
        server.hang();
        let hangs = probe_once(&target(at, check(smtp()))).unwrap_err().cause;
        assert_eq!(hangs, "timed out after 200ms waiting for the banner");
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
        let named = Smtp { hello: Some("lb.example".to_owned()) };
        assert_eq!(heard(listener(), named, Some(&source)), words("EHLO lb.example", &source));
    }
}
