//! Replies that begin with three digits, as FTP and SMTP have them (RFC 959, 4.2; RFC 5321, 4.2).
//!
//! ```text
//! 250-mail.example greets you      more follows
//! 250 STARTTLS                     the last line
//! ```
//! A command is sent when the one before has been replied to, since not every server takes several at once.

use super::Failure;
use super::failure::said;
use super::probe::Ask;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

/// The longest line, its end included: twice what SMTP allows.
const MAX_LINE_BYTES: u64 = 1024;

/// The most lines of a reply.
const MAX_LINES: usize = 100;

/// A session with a server.
#[derive(Debug)]
pub(super) struct Session<S> {
    protocol: &'static str,
    stream: BufReader<S>,
}

/// What a server says.
#[derive(Debug)]
pub(super) struct Reply {
    /// To what, for who hears that it is wrong: `FTP banner`, `SMTP EHLO`.
    to: String,
    pub(super) code: u16,
    /// Its first line, without its end.
    first: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    pub(super) fn new(protocol: &'static str, stream: S) -> Session<S> {
        Session { protocol, stream: BufReader::new(stream) }
    }

    /// What the server says before it is asked anything.
    pub(super) async fn banner(&mut self, ask: &Ask<'_>) -> Result<Reply, Failure> {
        ask.is("waiting for the banner");
        self.reply(format!("{} banner", self.protocol)).await
    }

    /// Sends `command`, and waits for the reply.
    pub(super) async fn say(&mut self, ask: &Ask<'_>, command: &str) -> Result<Reply, Failure> {
        let verb = command.split(' ').next().unwrap_or_default();
        ask.is(format!("waiting for the reply to {verb}"));
        let to = format!("{} {verb}", self.protocol);
        let line = format!("{command}\r\n");
        let sent = async {
            self.stream.write_all(line.as_bytes()).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|error| Failure::of_system(&to, &error))?;
        self.reply(to).await
    }

    /// What the session goes over, to go on in another way. Nothing may have been said beyond the last reply.
    pub(super) fn into_stream(self) -> Result<S, Failure> {
        if self.stream.buffer().is_empty() {
            return Ok(self.stream.into_inner());
        }
        let more = said(self.stream.buffer());
        Err(Failure::of_server(format!("{}: {more} behind a reply", self.protocol)))
    }

    async fn reply(&mut self, to: String) -> Result<Reply, Failure> {
        let first = self.line(&to).await?;
        let Some(code) = code(&first) else {
            return Err(Failure::of_server(format!("{to}: {} is no reply", said(&first))));
        };
        let mut is_last = is_last(&first, code);
        let mut lines = 1;
        while !is_last {
            if lines == MAX_LINES {
                return Err(Failure::of_server(format!("{to}: a reply of more than {MAX_LINES} lines")));
            }
            is_last = self::is_last(&self.line(&to).await?, code);
            lines += 1;
        }
        Ok(Reply { to, code, first })
    }

    async fn line(&mut self, to: &str) -> Result<Vec<u8>, Failure> {
        let mut line = Vec::new();
        let read = (&mut self.stream).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await;
        read.map_err(|error| Failure::of_system(to, &error))?;
        if line.pop() == Some(b'\n') {
            line.pop_if(|last| *last == b'\r');
            return Ok(line);
        }
        Err(Failure::of_server(if line.len() as u64 + 1 == MAX_LINE_BYTES {
            format!("{to}: a line of more than {MAX_LINE_BYTES} bytes")
        } else {
            format!("{to}: the connection was closed")
        }))
    }
}

impl Reply {
    /// The reply, if it has this code.
    pub(super) fn must_be(self, code: u16) -> Result<Reply, Failure> {
        if self.code == code {
            return Ok(self);
        }
        Err(Failure::of_server(format!("{}: {} (wanted: {code})", self.to, said(&self.first))))
    }
}

/// The three digits that a line begins with.
fn code(line: &[u8]) -> Option<u16> {
    let (digits, rest) = line.split_first_chunk::<3>()?;
    let is_code = digits.iter().all(u8::is_ascii_digit) && matches!(rest.first(), None | Some(b' ' | b'-'));
    is_code.then(|| digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0')))
}

/// Whether a reply of this code ends here. FTP's lines before may be any text (RFC 959, 4.2).
fn is_last(line: &[u8], of: u16) -> bool {
    code(line) == Some(of) && line.get(3) != Some(&b'-')
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use crate::health::Failure;
    use crate::health::bed::{MS, check, listener, probe, probe_once, saying, serve, target};
    use crate::service::check::{Ftp, Kind};
    use rustix::net::sockopt::set_socket_linger;
    use std::io::Write;
    use std::net::SocketAddr;
    use std::time::Duration;

    fn ftp() -> Kind {
        Kind::Ftp(Ftp::default())
    }

    fn cause(server: SocketAddr) -> String {
        probe(server, ftp()).unwrap_err().cause
    }

    #[test]
    fn what_is_no_reply_or_not_the_right_one_is_quoted() {
        for (banner, quoted) in [
            ("SSH-2.0-OpenSSH_9.2\r\n", "\"SSH-2.0-OpenSSH_9.2\" is no reply"),
            ("2200 is a number\r\n", "\"2200 is a number\" is no reply"),
            ("\n", "\"\" is no reply"),
            ("421 Too many\tusers.\r\n", "\"421 Too many\\tusers.\" (wanted: 220)"),
            ("120-Soon\r\n220 not yet\r\n120 ready\r\n", "\"120-Soon\" (wanted: 220)"),
        ] {
            assert_eq!(cause(saying(banner)), format!("FTP banner: {quoted}"));
        }
    }

    #[test]
    fn a_server_that_talks_without_end_is_not_listened_to() {
        let endless = |text: &'static [u8]| {
            serve(listener(), move |mut stream| while stream.write_all(text).is_ok() {})
        };
        assert_eq!(cause(endless(b"220 aaaaaaaaaaaaaaaa")), "FTP banner: a line of more than 1024 bytes");
        assert_eq!(cause(endless(b"220-more\r\n")), "FTP banner: a reply of more than 100 lines");
    }

    #[test]
    fn a_server_that_hangs_in_the_midst_is_said_where() {
        let hangs = |banner, step| {
            let failure = probe_once(&target(saying(banner), check(ftp()))).unwrap_err();
            assert_eq!(failure, Failure::of_server(format!("timed out after 200ms {step}")));
        };
        hangs("", "waiting for the banner");
        hangs("220-Welcome\r\n220", "waiting for the banner");
        hangs("220 Welcome\r\n", "waiting for the reply to QUIT");
    }

    #[test]
    fn a_server_that_leaves_in_the_midst_is_said_to() {
        let closes = serve(listener(), |mut stream| drop(stream.write_all(b"220-Welcome\r\n")));
        assert_eq!(cause(closes), "FTP banner: the connection was closed");
        let resets = serve(listener(), |mut stream| {
            let _ = stream.write_all(b"220-Welcome\r\n");
            std::thread::sleep(50 * MS);
            set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        });
        assert_eq!(cause(resets), "FTP banner: connection reset by peer");
    }
}
