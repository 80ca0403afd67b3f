//! What checks have found out about servers, as an operator sees it; and who has them made.

#[cfg(all(feature = "health", target_os = "linux"))]
mod checks;
#[cfg(all(feature = "health", target_os = "linux"))]
mod witness;

#[cfg(all(feature = "health", target_os = "linux"))]
pub use checks::{Checks, Findings};
#[cfg(all(feature = "health", target_os = "linux"))]
pub use witness::Witnesses;

use super::desired::{Condition, Conditions, Desired, Finding, Key, ServerState};
use crate::config::Service;
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

/// Something that has changed of a service or of one of its servers, as the log has it and as programs are told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The operator's name for the service.
    pub service: String,
    /// RIP:rport; `None` if it is of the service itself.
    pub server: Option<Endpoint>,
    /// How it is.
    pub state: &'static str,
    /// How it was.
    pub was: &'static str,
    /// Why, in one line; empty if there is nothing to say.
    pub cause: String,
    /// Whether somebody should look.
    pub is_bad: bool,
}

impl News {
    /// Tells the log.
    pub fn log(&self) {
        let News { service, server, state, was, cause, is_bad } = self;
        match (server, is_bad) {
            (Some(server), true) => tracing::warn!(service, %server, was, cause, "server {state}"),
            (Some(server), false) => tracing::info!(service, %server, was, cause, "server {state}"),
            (None, true) => tracing::warn!(service, was, cause, "service {state}"),
            (None, false) => tracing::info!(service, was, cause, "service {state}"),
        }
    }
}

/// How servers and services are otherwise than before, now that this was found out about servers.
pub fn news(before: &Desired, after: &Desired, findings: &[(Key, Endpoint, Option<Finding>)]) -> Vec<News> {
    let mut news = Vec::new();
    let mut services = Vec::new();
    for (key, server, finding) in findings {
        let Some((service, real)) = after.find_server(*key, *server) else { continue };
        let holds = |desired: &Desired| desired.conditions().of(*key, *server).cloned().unwrap_or_default();
        let (was, is) = (holds(before), holds(after));
        let unasked = |condition: &Condition| {
            condition.finding.as_ref().map(|finding| finding.unasked.to_string()).unwrap_or_default()
        };
        let one = |state, was, cause: String, is_bad| News {
            service: service.name.clone(),
            server: Some(*server),
            state,
            was,
            cause,
            is_bad,
        };
        let (state, before) = (is.state(real, service), was.state(real, service));
        if state != before {
            let cause = finding.as_ref().map(|finding| finding.cause.to_string()).unwrap_or_default();
            news.push(one(state.name(), before.name(), cause, state == ServerState::Down));
        }
        match (unasked(&was), unasked(&is)) {
            (was, why) if was == why => {}
            // Nobody asks it now.
            _ if is.maintenance.is_some() => {}
            (_, why) if why.is_empty() => news.push(one("asked again", "unasked", why, false)),
            (_, why) => news.push(one("unasked", "asked", why, true)),
        }
        services.push(service);
    }
    services.sort_unstable_by_key(|service| Key::of(service));
    services.dedup_by_key(|service| Key::of(service));
    for service in services {
        let of_both = |holds: fn(&Conditions, &Service) -> bool| {
            [before, after].map(|desired| holds(desired.conditions(), service))
        };
        let sorry = service.sorry.as_ref();
        let sorry = sorry.map_or_else(String::new, |sorry| format!("sorry server: {}", sorry.endpoint));
        for (holds, words, cause) in [
            (
                of_both(Conditions::fails_open),
                ["failing open", "closed"],
                "too few servers seem well: all are scheduled",
            ),
            (of_both(Conditions::has_lost_quorum), ["without its quorum", "in quorum"], &*sorry),
        ] {
            let [begun, over] = words;
            let one = |state, was, cause: &str, is_bad| News {
                service: service.name.clone(),
                server: None,
                state,
                was,
                cause: cause.to_owned(),
                is_bad,
            };
            match holds {
                [false, true] => news.push(one(begun, over, cause, true)),
                [true, false] => news.push(one(over, begun, "", false)),
                _ => {}
            }
        }
    }
    news
}
