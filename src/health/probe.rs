//! One probe: the protocols, behind one door.

use super::{Failure, Healthy, Target, tcp};
use crate::service::{Check, Kind};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What a target's probes need, made ready once: patterns, requests, certificates.
#[derive(Debug)]
pub(super) enum Prober {
    Tcp,
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
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }

    fn timed_out(&self, after: Duration) -> Failure {
        let step = *self.step.lock().unwrap_or_else(PoisonError::into_inner);
        Failure::of_server(format!("timed out after {after:?} {step}"))
    }
}

impl Prober {
    /// What it takes to make this check; an error if the director lacks something.
    pub(super) fn of(check: &Check) -> Result<Prober, Failure> {
        Ok(match check.kind {
            Kind::Tcp => Prober::Tcp,
        })
    }

    /// Asks once, within the check's timeout.
    pub(super) async fn probe(&self, target: &Target) -> Result<Healthy, Failure> {
        let ask = Ask { target, step: Mutex::new("") };
        let timeout = target.check.pace.timeout;
        // The larger ones are boxed: they take their room only while they are under way.
        let probe = async {
            match self {
                Prober::Tcp => tcp::probe(&ask).await,
            }
        };
        tokio::time::timeout(timeout, probe).await.unwrap_or_else(|_| Err(ask.timed_out(timeout)))
    }
}
