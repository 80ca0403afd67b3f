//! FTP: the server greets, and lets a user in if one is given.

use super::connect::{Ack, connect};
use super::probe::Ask;
use super::reply::Session;
use super::{Failure, Healthy};
use crate::service::check::Ftp;

pub(super) async fn probe(ask: &Ask<'_>, ftp: &Ftp) -> Result<Healthy, Failure> {
    let mut session = Session::new("FTP", connect(ask, Ack::AtOnce).await?);
    session.banner(ask).await?.must_be(220)?;
    if let Some(login) = &ftp.login {
        let reply = session.say(ask, &format!("USER {}", login.user)).await?;
        // Some need no password.
        if reply.code != 230 {
            reply.must_be(331)?;
            session.say(ask, &format!("PASS {}", login.password)).await?.must_be(230)?;
        }
    }
    session.say(ask, "QUIT").await?.must_be(221)?;
    Ok(Healthy::default())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use crate::health::bed::{Daemon, check, loopback, probe, probe_once, replying, target};
    use crate::service::check::{Ftp, Kind, Login};
    use std::net::{SocketAddr, TcpListener};

    fn login(user: &str, password: &str) -> Kind {
        Kind::Ftp(Ftp { login: Some(Login { user: user.to_owned(), password: password.to_owned() }) })
    }

    #[test]
    fn vsftpd_greets_lets_in_who_may_and_fails_when_it_hangs_or_is_gone() {
        let at = SocketAddr::from((loopback(), 21));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("vsftpd.conf");
        let secure = folder.path().join("empty");
        std::fs::create_dir(&secure).unwrap();
        let lines = format!(
            "listen=YES\nlisten_ipv6=NO\nlisten_address={}\nbackground=NO\nanonymous_enable=YES\nlocal_enable=NO\n\
             seccomp_sandbox=NO\nanon_root={secure}\nsecure_chroot_dir={secure}\n",
            at.ip(),
            secure = secure.display()
        );
        std::fs::write(&file, lines).unwrap();
        let vsftpd = Daemon::start(at, "vsftpd", &[file.to_str().unwrap()]);

        probe(at, Kind::Ftp(Ftp::default())).unwrap();
        probe(at, login("anonymous", "lvx@example")).unwrap();
        let refused = probe(at, login("root", "secret")).unwrap_err().cause;
        assert_eq!(refused, "FTP USER: \"530 This FTP server is anonymous only.\" (wanted: 331)");

        vsftpd.hang();
        let hangs = probe_once(&target(at, check(Kind::Ftp(Ftp::default())))).unwrap_err().cause;
        assert_eq!(hangs, "timed out after 200ms waiting for the banner");
        drop(vsftpd);
        let gone = probe(at, Kind::Ftp(Ftp::default())).unwrap_err().cause;
        assert_eq!(gone, "connect: connection refused");
    }

    #[test]
    fn a_user_without_a_password_is_let_in_and_a_wrong_password_is_not_told() {
        let six = || TcpListener::bind("[::1]:0").unwrap();
        let server = replying(six(), &["220 hello\r\n", "230 come in\r\n", "221 bye\r\n"]);
        probe(server, login("guest", "unused")).unwrap();
        let server = replying(six(), &["220 hello\r\n", "331 who?\r\n", "530-No.\r\n really\r\n530 no\r\n"]);
        let refused = probe(server, login("guest", "secret")).unwrap_err().cause;
        assert_eq!(refused, "FTP PASS: \"530-No.\" (wanted: 230)");
    }
}
