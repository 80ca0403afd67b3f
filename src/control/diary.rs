//! What the log has of changes: each once, with its cause.

use super::cause::Cause;
use super::desired::{Act, Change, ConditionChange, Plan, ServerPlan, ServicePlan};
use super::desk::How;
use std::fmt;

/// Changes of one plan that are logged one by one.
const MOST: usize = 100;

/// What has been done.
#[derive(Debug, Clone, Copy)]
pub(super) enum Deed {
    Edited,
    Applied,
    Reloaded,
    RolledBack,
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Deed::Edited => "edited",
            Deed::Applied => "applied",
            Deed::Reloaded => "reloaded",
            Deed::RolledBack => "rolled back",
        })
    }
}

/// Logs what has been done, and what changed by it.
pub(super) fn note(deed: Deed, plan: &Plan, how: How) {
    let How { cause: by, confirm_within, .. } = how;
    let confirm_seconds = confirm_within.filter(|_| !plan.leaves_configuration()).map(|time| time.as_secs());
    let changes = plan.summary();
    // That nobody has confirmed a change is not how it was meant.
    match by {
        Cause::Silence => tracing::warn!(%by, changes, "{deed}"),
        _ => tracing::info!(%by, confirm_seconds, changes, "{deed}"),
    }
    let mut items = items(plan);
    items.by_ref().take(MOST).for_each(|item| item.log(by));
    let more = items.count();
    if more > 0 {
        tracing::info!(%by, more, "further changes, not listed here");
    }
}

/// A change of one thing.
enum Item<'p> {
    Director(&'p Change),
    Service(&'p ServicePlan),
    Server(&'p ServicePlan, &'p ServerPlan),
    Condition(&'p ConditionChange),
}

/// All of a plan. The servers of a service that comes or goes come and go with it.
fn items(plan: &Plan) -> impl Iterator<Item = Item<'_>> {
    let services = plan.services.iter().flat_map(|service| {
        let stays = service.act == Act::Changed;
        let own = (!stays || !service.changes.is_empty()).then_some(Item::Service(service));
        let servers = service.servers.iter().filter(move |_| stays);
        own.into_iter().chain(servers.map(move |server| Item::Server(service, server)))
    });
    let director = plan.director.iter().map(Item::Director);
    director.chain(services).chain(plan.conditions.iter().map(Item::Condition))
}

impl Item<'_> {
    fn log(&self, by: Cause) {
        match self {
            Item::Director(change) => tracing::info!(%by, %change, "director changed"),
            Item::Service(ServicePlan { service, act, changes, servers, connections, .. }) => match act {
                Act::Added => tracing::info!(%by, service, servers = servers.len(), "service added"),
                Act::Removed => {
                    tracing::info!(%by, service, servers = servers.len(), connections, "service removed");
                }
                Act::Changed => tracing::info!(%by, service, changes = listed(changes), "service changed"),
            },
            Item::Server(
                ServicePlan { service, .. },
                ServerPlan { server, act, changes, connections, expires },
            ) => match act {
                Act::Added => tracing::info!(%by, service, server, "server added"),
                Act::Removed => tracing::info!(%by, service, server, connections, expires, "server removed"),
                Act::Changed => {
                    tracing::info!(%by, service, server, connections, changes = listed(changes), "server changed");
                }
            },
            Item::Condition(ConditionChange { service, server, state, reason, connections }) => {
                let reason = Some(reason).filter(|reason| !reason.is_empty());
                tracing::info!(%by, service, server, connections, reason, "server {state}");
            }
        }
    }
}

fn listed(changes: &[Change]) -> String {
    changes.iter().map(Change::to_string).collect::<Vec<_>>().join(", ")
}
