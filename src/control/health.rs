//! What checks have found out about servers, as an operator sees it; and who has them made.

#[cfg(all(feature = "health", target_os = "linux"))]
mod checks;

#[cfg(all(feature = "health", target_os = "linux"))]
pub use checks::{Checks, Findings};

use super::desired::{Desired, Finding, Key, ServerState};
use crate::net::Endpoint;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What its checks have found out about a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct Health {
    /// Seconds since it has been as it is.
    pub since_seconds: u64,
    /// Why it is not well, if it is not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cause: String,
    /// The weight that it asks for, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// Why the director cannot ask it now, if it cannot: then it stays as it was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unasked: String,
}

impl Health {
    /// What it is so long after the director's start.
    pub fn of(finding: &Finding, now: Duration) -> Health {
        Health {
            since_seconds: now.saturating_sub(finding.since).as_secs(),
            cause: finding.cause.to_string(),
            weight: finding.weight,
            unasked: finding.unasked.to_string(),
        }
    }
}

/// Tells the log how servers are otherwise than before, in a line for each, and why.
pub fn tell(before: &Desired, after: &Desired, findings: &[(Key, Endpoint, Option<Finding>)]) {
    let mut services = Vec::new();
    for (key, server, finding) in findings {
        let Some(service) = after.find(*key) else { continue };
        let Some(real) = service.reals.iter().find(|real| real.endpoint == *server) else { continue };
        let state = |desired: &Desired| {
            let condition = desired.conditions().of(*key, *server).cloned().unwrap_or_default();
            condition.state(real, service)
        };
        let (was, is) = (state(before), state(after));
        let cause = finding.as_ref().map_or("", |finding| &*finding.cause);
        let name = &service.name;
        match is {
            _ if was == is => {}
            ServerState::Down => tracing::warn!("virtual service {name:?}: {server} is down: {cause}"),
            ServerState::Suspect => tracing::info!("virtual service {name:?}: {server} is suspect: {cause}"),
            _ => tracing::info!("virtual service {name:?}: {server} is {is}, no longer {was}"),
        }
        let unasked = |desired: &Desired| {
            let holds =
                desired.conditions().of(*key, *server).and_then(|condition| condition.finding.as_ref());
            holds.map(|finding| finding.unasked.clone()).unwrap_or_default()
        };
        match (&*unasked(before), &*unasked(after)) {
            (was, why) if was == why => {}
            (_, "") => tracing::info!("virtual service {name:?}: {server} is asked again"),
            (_, why) => {
                tracing::warn!("virtual service {name:?}: {server} cannot be asked, and stays {is}: {why}");
            }
        }
        services.push(service);
    }
    services.sort_unstable_by_key(|service| Key::of(service));
    services.dedup_by_key(|service| Key::of(service));
    for service in services {
        let [was, is] = [before, after].map(|desired| desired.conditions().fails_open(service));
        let name = &service.name;
        match (was, is) {
            (false, true) => tracing::warn!(
                "virtual service {name:?}: too few servers seem well to believe it: all are scheduled (fail_open)"
            ),
            (true, false) => {
                tracing::info!("virtual service {name:?}: servers that are down are not scheduled any more")
            }
            _ => {}
        }
    }
}
