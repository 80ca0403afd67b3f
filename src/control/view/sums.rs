//! The services in sum, for who looks at them again and again: a line for each, and the servers of those that are opened.

use super::{Columns, ServerRow, View};
use crate::config::{Real, Service, Written};
use crate::control::desired::Key;
use crate::control::rates::Rate;
use crate::control::report::{Latency, Traffic};
use crate::service::VirtualService;
use hashbrown::HashSet;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A service in sum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct ServiceSum<T = Written> {
    /// What edits call it, such as `tcp 192.0.2.1:80`.
    pub service: String,
    /// The operator's name.
    pub name: String,
    /// As ipvsadm spells it.
    pub scheduler: String,
    /// How many servers it has, or of these how many are asked for.
    pub server_count: usize,
    /// Active connections of all its servers.
    pub active: u64,
    /// Inactive connections.
    pub inactive: u64,
    /// Persistence templates.
    pub persistent: u64,
    /// What its servers have counted together, servers since removed included.
    pub traffic: Traffic,
    /// The same by the second.
    pub rate: Rate,
    /// How long its servers took to answer together, if they did, servers since removed included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// Its servers with all of this, if it is opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub servers: Option<Vec<ServerRow<T>>>,
}

/// Which services are asked for, and whose servers.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Those with this text in their key or name, and of others those servers that have it in their address.
    filter: String,
    /// The keys of those that are opened; all without.
    open: Option<HashSet<String>>,
}

impl Wanted {
    /// In the filter, upper and lower case are one; an empty one says nothing. `open` are keys with commas between them,
    /// or `all`.
    pub fn new(filter: &str, open: &str) -> Wanted {
        let keys = || open.split(',').map(str::to_owned).collect();
        Wanted { filter: filter.to_lowercase(), open: (open != "all").then(keys) }
    }

    fn is_in(&self, text: &str) -> bool {
        text.to_lowercase().contains(&self.filter)
    }
}

impl View {
    /// The services that are asked for, in sum.
    pub fn sums(&self, wanted: &Wanted) -> Vec<ServiceSum<Real>> {
        let sum = |(service, compiled)| self.sum(service, compiled, wanted);
        self.meant(None).filter_map(sum).collect()
    }

    fn sum(
        &self,
        service: &Arc<Service>,
        compiled: &Arc<VirtualService>,
        wanted: &Wanted,
    ) -> Option<ServiceSum<Real>> {
        let (key, word) = (Key::of(service), Key::of(service).to_string());
        let takes_all = wanted.is_in(&word) || wanted.is_in(&service.name);
        let columns = Columns { traffic: true, rate: true, latency: true };
        let is_wanted =
            |server: &ServerRow<Real>| takes_all || wanted.is_in(&server.table.endpoint.to_string());
        let is_open = wanted.open.as_ref().is_none_or(|open| open.contains(&word));
        let servers: Option<Vec<_>> =
            is_open.then(|| self.server_rows(service, compiled, columns).filter(is_wanted).collect());
        let server_count = match &servers {
            Some(servers) => servers.len(),
            None if takes_all => compiled.reals.len() + self.departed_from(key).len(),
            None => {
                let reals = compiled.reals.iter().chain(self.departed_from(key));
                reals.filter(|real| wanted.is_in(&real.endpoint.to_string())).count()
            }
        };
        if !takes_all && server_count == 0 {
            return None;
        }
        let mut sum = ServiceSum {
            service: word,
            name: service.name.clone(),
            scheduler: service.scheduler.to_string(),
            server_count,
            active: 0,
            inactive: 0,
            persistent: 0,
            traffic: self.traffic_of(compiled),
            rate: self.rates.of_service(key),
            latency: self.latency_of(compiled).map(Into::into),
            servers,
        };
        for real in compiled.reals.iter().chain(self.departed_from(key)) {
            sum.active += u64::from(real.live.active());
            sum.inactive += u64::from(real.live.inactive());
            sum.persistent += u64::from(real.live.templates());
        }
        Some(sum)
    }
}
