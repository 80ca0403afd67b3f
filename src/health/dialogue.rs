//! A conversation over TCP: what is sent, and what must come.

use super::connect::{Ack, connect};
use super::failure::said;
use super::pattern::Needle;
use super::probe::Ask;
use super::tls::{Configs, Connector};
use super::{Failure, Healthy};
use crate::service::check::{Dialogue, Step};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How much may come before what is expected.
const MAX_BYTES: usize = 16 << 10;

/// In how many pieces it may come, since each is looked through anew.
const MAX_PIECES: usize = 1000;

/// What it takes to talk.
#[derive(Debug)]
pub(super) struct Prober {
    steps: Vec<Ready>,
    tls: Option<Connector>,
}

/// A step, made ready.
#[derive(Debug)]
enum Ready {
    Send(Vec<u8>),
    Expect(Needle),
}

impl Prober {
    pub(super) fn of(dialogue: &Dialogue, configs: &Configs) -> Result<Prober, Failure> {
        let steps = dialogue.steps.iter().map(|step| match step {
            Step::Send(bytes) => Ok(Ready::Send(bytes.clone())),
            Step::Expect(sought) => Needle::of(sought).map(Ready::Expect),
        });
        let tls = dialogue.tls.as_ref().map(|tls| Connector::of(tls, &[], configs)).transpose()?;
        Ok(Prober { steps: steps.collect::<Result<_, Failure>>()?, tls })
    }

    pub(super) async fn probe(&self, ask: &Ask<'_>) -> Result<Healthy, Failure> {
        let stream = connect(ask, Ack::AtOnce).await?;
        match &self.tls {
            None => self.talk(ask, stream, Healthy::default()).await,
            Some(connector) => {
                let (stream, found) = connector.connect(ask, stream).await?;
                self.talk(ask, stream, found).await
            }
        }
    }

    async fn talk<S>(&self, ask: &Ask<'_>, mut stream: S, found: Healthy) -> Result<Healthy, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut heard = Vec::new();
        for (number, step) in (1..).zip(&self.steps) {
            let failed = |error: &io::Error| Failure::of_system(&format!("step {number}"), error);
            match step {
                Ready::Send(bytes) => {
                    ask.is(format!("sending (step {number})"));
                    stream.write_all(bytes).await.map_err(|error| failed(&error))?;
                    stream.flush().await.map_err(|error| failed(&error))?;
                }
                Ready::Expect(needle) => {
                    let waits = |heard: &[u8]| {
                        ask.is(format!("waiting for {needle} (step {number}); heard {}", said(heard)));
                    };
                    let expected = expect(&mut stream, needle, &mut heard, waits).await;
                    let is_there = expected.map_err(|error| failed(&error))?;
                    if !is_there {
                        let cause = format!("step {number}: {needle} has not come; heard {}", said(&heard));
                        return Err(Failure::of_server(cause));
                    }
                }
            }
        }
        Ok(found)
    }
}

/// Hears until what is sought has come, which is taken out then with all that was before it; false if it comes no more, or
/// not soon enough. `waits` is told what has been heard.
async fn expect<S: AsyncRead + Unpin>(
    stream: &mut S,
    needle: &Needle,
    heard: &mut Vec<u8>,
    waits: impl Fn(&[u8]),
) -> io::Result<bool> {
    let mut piece = [0; 4096];
    for _ in 0..MAX_PIECES {
        // An expression that nothing matches, too, wants something to be said.
        if let Some(end) = needle.end_in(heard).filter(|_| !heard.is_empty()) {
            heard.drain(..end);
            return Ok(true);
        }
        waits(heard);
        let room = piece.len().min(MAX_BYTES - heard.len());
        match stream.read(&mut piece[..room]).await? {
            0 => break,
            bytes => heard.extend_from_slice(&piece[..bytes]),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::bed::{
        Daemon, certificate, check, listener, loopback, probe, probe_once, replying, saying, serve, target,
    };
    use crate::service::check::{Kind, Sought, Tls};
    use std::io::Write;
    use std::net::{SocketAddr, TcpListener};

    fn text(text: &str) -> Step {
        Step::Expect(Sought::Text(text.to_owned()))
    }

    fn regex(regex: &str) -> Step {
        Step::Expect(Sought::Regex(regex.to_owned()))
    }

    fn send(bytes: &[u8]) -> Step {
        Step::Send(bytes.to_vec())
    }

    fn kind(steps: &[Step]) -> Kind {
        Kind::Dialogue(Dialogue { steps: steps.to_vec(), tls: None })
    }

    fn cause(at: SocketAddr, steps: &[Step]) -> String {
        probe(at, kind(steps)).unwrap_err().cause
    }

    #[test]
    fn a_conversation_goes_step_by_step_in_either_family() {
        let replies = &["+OK ready <1.2@x>\r\n", "-ERR who?\r\n+OK hello\r\n", "bye"];
        let steps = [
            regex("^\\+OK .*<[0-9.]+@"),
            send(b"USER lvx\r\n"),
            text("+OK"),
            Step::Expect(Sought::Bytes(b" hello\r\n".to_vec())),
            send(b"QUIT\r\n"),
            regex(""),
        ];
        probe(replying(listener(), replies), kind(&steps)).unwrap();
        probe(replying(TcpListener::bind("[::1]:0").unwrap(), replies), kind(&steps)).unwrap();
        // What was taken is not found again.
        let twice = [text("hello"), text("hello")];
        assert_eq!(
            cause(saying_and_closing("hello\n"), &twice),
            "step 2: \"hello\" has not come; heard \"\\n\""
        );
    }

    fn saying_and_closing(text: &'static str) -> SocketAddr {
        serve(listener(), move |mut stream| drop(stream.write_all(text.as_bytes())))
    }

    #[test]
    fn a_conversation_may_be_in_tls() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = certificate(folder.path(), "mail.example");
        let at = SocketAddr::from((loopback(), 465));
        let listens = ["-n", "-l", &at.to_string(), "--smtpscert", &cert, "--smtpskey", &key];
        let _server = Daemon::start(at, "aiosmtpd", &listens);
        let steps = vec![text("220"), send(b"QUIT\r\n"), regex("(?m)^221")];
        let found = probe(at, Kind::Dialogue(Dialogue { steps, tls: Some(Tls::default()) })).unwrap();
        assert!(found.certificate_expires.is_some());
    }

    #[test]
    fn what_is_not_as_expected_is_said_with_what_came_instead() {
        let bytes = Step::Expect(Sought::Bytes(vec![0, 0xff]));
        assert_eq!(
            cause(saying_and_closing("\x01"), &[bytes]),
            "step 1: the bytes 00ff has not come; heard \"\\u{1}\""
        );
        let hangs =
            |steps: &[Step]| probe_once(&target(saying("busy\r\n"), check(kind(steps)))).unwrap_err().cause;
        assert_eq!(
            hangs(&[text("ready")]),
            "timed out after 200ms waiting for \"ready\" (step 1); heard \"busy\\r\\n\""
        );
        let endless = serve(listener(), |mut stream| while stream.write_all(&[b'x'; 1000]).is_ok() {});
        let quoted = "x".repeat(100);
        assert_eq!(
            cause(endless, &[regex("y$")]),
            format!("step 1: a match of \"y$\" has not come; heard \"{quoted}...\"")
        );
    }
}
