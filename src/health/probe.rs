//! One probe: the protocols, behind one door.

use super::{Failure, Healthy, Target, grpc, http, lock, ping, tcp, tls};
use crate::service::check::{Check, Kind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What targets share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) tls: tls::Configs,
    pub(super) ping: ping::Sockets,
}

/// What a target's probes need, made ready once: patterns, requests, certificates.
#[derive(Debug)]
pub(super) enum Prober {
    Tcp,
    Ping(Arc<Shared>),
    Tls(tls::Connector),
    Http(Box<http::Prober>),
    Grpc(grpc::Prober),
}

/// A probe under way.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) target: &'a Target,
    step: Mutex<&'static str>,
}

impl Ask<'_> {
    /// Notes how far the probe has come, in words for who hears that it went no further: `connecting`.
    pub(super) fn is(&self, step: &'static str) {
        *lock(&self.step) = step;
    }

    fn timed_out(&self, after: Duration) -> Failure {
        let step = *lock(&self.step);
        Failure::of_server(format!("timed out after {after:?} {step}"))
    }
}

impl Prober {
    /// What it takes to make this check; a failure of the director's own if it lacks something.
    pub(super) fn of(check: &Check, shared: &Arc<Shared>) -> Result<Prober, Failure> {
        Ok(match &check.kind {
            Kind::Tcp => Prober::Tcp,
            Kind::Ping => Prober::Ping(shared.clone()),
            Kind::Tls(options) => Prober::Tls(tls::Connector::of(options, &[], &shared.tls)?),
            Kind::Http(options) => Prober::Http(Box::new(http::Prober::of(options, &shared.tls)?)),
            Kind::Grpc(options) => Prober::Grpc(grpc::Prober::of(options, &shared.tls)?),
        })
    }

    /// Asks once, within the check's timeout.
    pub(super) async fn probe(&self, target: &Target) -> Result<Healthy, Failure> {
        let ask = Ask { target, step: Mutex::new("") };
        let timeout = target.check.pace.timeout;
        // The larger ones are boxed, to take their room only while they are under way.
        let probe = async {
            match self {
                Prober::Tcp => tcp::probe(&ask).await,
                Prober::Ping(shared) => ping::probe(&ask, &shared.ping).await,
                Prober::Tls(connector) => Box::pin(tls::probe(&ask, connector)).await,
                Prober::Http(http) => Box::pin(http.probe(&ask)).await,
                Prober::Grpc(grpc) => Box::pin(grpc.probe(&ask)).await,
            }
        };
        tokio::time::timeout(timeout, probe).await.unwrap_or_else(|_| Err(ask.timed_out(timeout)))
    }
}
