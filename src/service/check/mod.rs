//! Health checks: what servers are asked, how often, and how many answers it takes to be believed.

mod dialogue;
mod dns;
mod file;
mod ftp;
mod hook;
mod http;
mod pattern;
mod script;
mod smtp;
mod tls;
mod udp;

pub use dialogue::{Dialogue, Step};
pub use dns::{Data, Dns};
pub use file::{File, Says};
pub use ftp::{Ftp, Login};
pub use hook::Hook;
pub use http::{Http, HttpVersion};
pub use pattern::{Pattern, Sought};
pub use script::Script;
pub use smtp::Smtp;
pub use tls::Tls;
pub use udp::Udp;

use crate::net::Proto;
use std::net::IpAddr;
use std::time::Duration;

/// What is shown in the place of a secret.
pub const HIDDEN: &str = "***";

/// A check, as the operator asks for it. Equal checks of one server are one probe, however many services want it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Check {
    /// What is asked, and what is a right answer.
    pub kind: Kind,
    /// How often, and how soon it is believed.
    pub pace: Pace,
    /// Which way it goes.
    pub via: Via,
    /// Who is asked in the server's place.
    pub addr: Option<IpAddr>,
    /// The port that is asked in the place of the server's own; via the VIP, in the place of the service's first.
    pub port: Option<u16>,
    /// The director's address that it is asked from; `None` leaves it to the kernel.
    pub source: Option<IpAddr>,
}

/// Which way a check's probes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Via {
    /// To the server's own address.
    #[default]
    Direct,
    /// To the VIP, and forwarded to the server as clients' packets are.
    Vip,
}

/// What is asked, with the options of each protocol.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Kind {
    /// A TCP connection is accepted.
    #[default]
    Tcp,
    /// An ICMP or ICMPv6 echo is replied to.
    Ping,
    /// A TLS handshake is gone through with.
    Tls(Tls),
    /// An HTTP or HTTPS request is answered.
    Http(Box<Http>),
    /// gRPC's health service says SERVING.
    Grpc(Grpc),
    /// A DNS question is answered.
    Dns(Dns),
    /// An FTP server greets, and lets a user in.
    Ftp(Ftp),
    /// An SMTP server greets.
    Smtp(Smtp),
    /// A datagram is answered, or at least not refused.
    Udp(Udp),
    /// A conversation over TCP goes as it should.
    Dialogue(Dialogue),
    /// A script of the operator's says so.
    Script(Script),
    /// A file of the operator's says so.
    File(File),
}

impl Kind {
    /// The name used in configuration and reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Kind::Tcp => "tcp",
            Kind::Ping => "ping",
            Kind::Tls(_) => "tls",
            Kind::Http(http) if http.tls.is_some() => "https",
            Kind::Http(_) => "http",
            Kind::Grpc(_) => "grpc",
            Kind::Dns(_) => "dns",
            Kind::Ftp(_) => "ftp",
            Kind::Smtp(_) => "smtp",
            Kind::Udp(_) => "udp",
            Kind::Dialogue(_) => "dialogue",
            Kind::Script(_) => "script",
            Kind::File(_) => "file",
        }
    }

    /// The same without what is nobody's business: passwords, and headers that may hold one; `None` if it has none of that.
    pub fn without_secrets(&self) -> Option<Kind> {
        match self {
            Kind::Ftp(Ftp { login: Some(Login { user, password }) }) if !password.is_empty() => {
                let login = Login { user: user.clone(), password: HIDDEN.to_owned() };
                Some(Kind::Ftp(Ftp { login: Some(login) }))
            }
            Kind::Http(http) if http.headers.iter().any(|(name, _)| is_secret(name)) => {
                let shown = |(name, value): &(String, String)| {
                    let value = if is_secret(name) { HIDDEN } else { value };
                    (name.clone(), value.to_owned())
                };
                let headers = http.headers.iter().map(shown).collect();
                Some(Kind::Http(Box::new(Http { headers, ..Http::clone(http) })))
            }
            _ => None,
        }
    }

    /// By what it asks a port; `None` if it asks none.
    pub const fn proto(&self) -> Option<Proto> {
        match self {
            Kind::Ping | Kind::Script(_) | Kind::File(_) => None,
            Kind::Dns(Dns { is_tcp: false, .. }) | Kind::Udp(_) => Some(Proto::Udp),
            _ => Some(Proto::Tcp),
        }
    }
}

/// Whether a header of this name, in lower case, may hold a secret.
fn is_secret(name: &str) -> bool {
    ["auth", "cookie", "key", "secret", "session", "token"].iter().any(|word| name.contains(word))
}

/// gRPC's health service (`grpc.health.v1`), by HTTP/2.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Grpc {
    /// Of which service it is asked; empty for the server as a whole.
    pub service: String,
    /// The `:authority`; `None` means the server's address.
    pub host: Option<String>,
    /// TLS, or none.
    pub tls: Option<Tls>,
}

/// How often a check is made, and how soon its answers are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pace {
    /// From the start of one probe to the start of the next, while nothing changes.
    pub interval: Duration,
    /// The same while answers contradict what is believed; not above `interval`.
    pub retry: Duration,
    /// How long a probe may take.
    pub timeout: Duration,
    /// How many answers in a row bring a server back that was down; 1 or more.
    pub rise: u16,
    /// How many failures in a row take a server out that was up; 1 or more.
    pub fall: u16,
    /// By how much of the interval a probe may come early, at random, so that probes do not fall into step; 0 to 100.
    pub jitter_percent: u8,
    /// How long at most a server is held down that falls again and again; zero holds none.
    pub damping: Duration,
}

impl Pace {
    /// Every `interval`, and otherwise as is usual.
    pub fn every(interval: Duration) -> Pace {
        Pace {
            interval,
            retry: interval.min(Duration::from_millis(500)),
            timeout: interval.min(Duration::from_secs(1)),
            rise: 2,
            fall: 3,
            jitter_percent: 10,
            damping: Duration::ZERO,
        }
    }
}

impl Default for Pace {
    fn default() -> Pace {
        Pace::every(Duration::from_secs(2))
    }
}
