//! One probe: the protocols, behind one door.

use super::script::Facts;
use super::{
    Failure, Healthy, Network, PathSocket, Target, dialogue, dns, file, ftp, grpc, http, lock, ping, script,
    smtp, tcp, tls, udp,
};
use crate::dataplane::probe::ProbePort;
use crate::net::Proto;
use crate::service::check::{Check, Ftp, Kind};
use std::borrow::Cow;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What targets share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) tcp: tcp::Sockets,
    pub(super) tls: tls::Configs,
    pub(super) ping: ping::Sockets,
    pub(super) scripts: script::Turns,
}

/// What a target's probes need, made ready once: patterns, requests, certificates.
#[derive(Debug)]
pub(super) enum Prober {
    Tcp(Arc<Shared>),
    Ping(Arc<Shared>),
    Tls(tls::Connector),
    Http(Box<http::Prober>),
    Grpc(grpc::Prober),
    Dns(Box<dns::Prober>),
    Ftp(Ftp),
    Smtp(Box<smtp::Prober>),
    Udp(Box<udp::Prober>),
    Dialogue(dialogue::Prober),
    Script(script::Prober),
    File(file::Prober),
}

/// A probe under way.
pub(super) struct Ask<'a> {
    pub(super) target: &'a Target,
    network: &'a dyn Network,
    /// What leads to the server meanwhile.
    ports: Mutex<Vec<ProbePort>>,
    /// How far it has come, and whether that is the director's own doing.
    step: Mutex<(Cow<'static, str>, bool)>,
}

impl Ask<'_> {
    /// Notes how far the probe has come, in words for who hears that it went no further: `connecting`.
    pub(super) fn is(&self, step: impl Into<Cow<'static, str>>) {
        *lock(&self.step) = (step.into(), false);
    }

    /// As [`Ask::is`], for what is no server's doing, however long it takes.
    pub(super) fn is_busy(&self, step: &'static str) {
        *lock(&self.step) = (step.into(), true);
    }

    /// A socket for this probe, with the addresses that it goes from and to, if it goes along the data path.
    pub(super) fn path_socket(&self, proto: Proto) -> Result<Option<(OwnedFd, [SocketAddr; 2])>, Failure> {
        if self.target.service.is_none() {
            return Ok(None);
        }
        let PathSocket { socket, port } = self.network.lead(self.target, proto)?;
        let ends = [port.source, port.vip];
        lock(&self.ports).push(port);
        Ok(Some((socket, ends)))
    }

    fn timed_out(&self, after: Duration) -> Failure {
        let (step, is_own) = &*lock(&self.step);
        Failure { cause: format!("timed out after {after:?} {step}"), is_own: *is_own }
    }
}

/// Who is asked, as scripts and the names of files have it.
pub(super) fn facts(peer: SocketAddr) -> Facts {
    vec![("address", peer.ip().to_string()), ("port", peer.port().to_string())]
}

/// What the operator wrote, with each fact in the place of its name: `{address}`.
pub(super) fn filled(text: &str, facts: &Facts) -> String {
    facts.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

impl Prober {
    /// What it takes to make this check; a failure of the director's own if it lacks something.
    pub(super) fn of(check: &Check, shared: &Arc<Shared>) -> Result<Prober, Failure> {
        Ok(match &check.kind {
            Kind::Tcp => Prober::Tcp(shared.clone()),
            Kind::Ping => Prober::Ping(shared.clone()),
            Kind::Tls(options) => Prober::Tls(tls::Connector::of(options, &[], &shared.tls)?),
            Kind::Http(options) => Prober::Http(Box::new(http::Prober::of(options, &shared.tls)?)),
            Kind::Grpc(options) => Prober::Grpc(grpc::Prober::of(options, &shared.tls)?),
            Kind::Dns(dns) => Prober::Dns(Box::new(dns::Prober::of(dns)?)),
            Kind::Ftp(ftp) => Prober::Ftp(ftp.clone()),
            Kind::Smtp(smtp) => Prober::Smtp(Box::new(smtp::Prober::of(smtp, &shared.tls)?)),
            Kind::Udp(udp) => Prober::Udp(Box::new(udp::Prober::of(udp)?)),
            Kind::Dialogue(options) => Prober::Dialogue(dialogue::Prober::of(options, &shared.tls)?),
            Kind::Script(script) => Prober::Script(script::Prober::of(script, &shared.scripts)),
            Kind::File(file) => Prober::File(file::Prober::of(file)),
        })
    }

    /// Asks once, within the check's timeout. What has to wait in a line does so before.
    pub(super) async fn probe(&self, target: &Target, network: &dyn Network) -> Result<Healthy, Failure> {
        let turn = match self {
            Prober::Script(script) => Some(script.turn().await?),
            _ => None,
        };
        let ask = Ask { target, network, ports: Mutex::default(), step: Mutex::default() };
        let timeout = target.check.pace.timeout;
        // The larger ones are boxed, to take their room only while they are under way.
        let probe = async {
            match self {
                Prober::Tcp(shared) => tcp::probe(&ask, &shared.tcp).await,
                Prober::Ping(shared) => ping::probe(&ask, &shared.ping).await,
                Prober::Tls(connector) => Box::pin(tls::probe(&ask, connector)).await,
                Prober::Http(http) => Box::pin(http.probe(&ask)).await,
                Prober::Grpc(grpc) => Box::pin(grpc.probe(&ask)).await,
                Prober::Dns(dns) => Box::pin(dns.probe(&ask)).await,
                Prober::Ftp(ftp) => Box::pin(ftp::probe(&ask, ftp)).await,
                Prober::Smtp(smtp) => Box::pin(smtp.probe(&ask)).await,
                Prober::Udp(udp) => Box::pin(udp.probe(&ask)).await,
                Prober::Dialogue(dialogue) => Box::pin(dialogue.probe(&ask)).await,
                Prober::Script(script) => script.probe(&ask, turn).await,
                Prober::File(file) => file.probe(&ask).await,
            }
        };
        tokio::time::timeout(timeout, probe).await.unwrap_or_else(|_| Err(ask.timed_out(timeout)))
    }
}
