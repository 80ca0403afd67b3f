//! What there is to see of a director at one moment: shared, not copied, so that whoever writes it out takes none of
//! the desk's time.

mod lines;
mod sums;

pub use lines::{Listing, ServerColumns, ServiceLines};
pub use sums::{ServiceSum, Wanted};

use super::desired::{Desired, Key, ServerState};
use super::drains::{Draining, InMaintenance};
use super::gather;
use super::health::Health;
use super::publish::{Baselines, Counted, Publisher};
use super::rates::{Rate, Rates};
use super::report::{Latency, Report, Traffic};
use super::rounds::Count;
use super::starts::Starting;
use crate::config::{Real, Service, Written};
use crate::conntrack::Table;
use crate::dataplane::counters::{self, Counters, Opened, Turn};
use crate::dataplane::port::counters::PortCounters;
use crate::dataplane::snapshot::Services;
use crate::net::{Endpoint, Tick};
use crate::service::{RealId, RealServer, VirtualService};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A moment.
#[derive(Debug)]
pub struct View {
    /// The desired state.
    pub desired: Desired,
    /// How long a change yet waits for its confirmation.
    pub confirm_within: Option<Duration>,
    /// The configuration file.
    pub file: PathBuf,
    services: Arc<Services>,
    departed: HashMap<Key, Vec<RealServer>>,
    retired: HashMap<Key, Counted>,
    baselines: Baselines,
    rates: Arc<Rates>,
    /// Connections of drained servers, as they were counted last.
    drained: Arc<HashMap<RealId, Count>>,
    counters: Vec<Arc<Counters>>,
    start: Instant,
    ports: Vec<Arc<PortCounters>>,
}

/// A service as it is listed: its table in the file's keys, and what is counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct ServiceRow<T = Written> {
    /// What edits call it, such as `tcp 192.0.2.1:80`.
    pub service: String,
    /// `[[virtual_service]]` without its servers.
    #[cfg_attr(feature = "control", schema(value_type = Object))]
    pub table: Written,
    /// Packets and bytes, if they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// The same by the second, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Whether so many servers seem down that all are scheduled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fails_open: bool,
    /// Whether less than its quorum is well, so that the sorry server has taken over, if there is one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_lost_quorum: bool,
    /// In the operator's order, then the sorry server; then those that were removed and still have connections.
    pub servers: Vec<ServerRow<T>>,
}

/// A server as it is listed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct ServerRow<T = Written> {
    /// `[[virtual_service.real_server]]`.
    #[cfg_attr(feature = "control", schema(value_type = Object))]
    pub table: T,
    /// The weight that holds: another than the table's while the server is drained.
    pub weight: u16,
    /// How it is, if it was not removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ServerState>,
    /// What its checks have found out, if it has any and they have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// If it starts slowly, how far that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Starting>,
    /// If it is in maintenance, since when and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<InMaintenance>,
    /// If it is drained or in maintenance, what is left of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Draining>,
    /// Active connections, as IPVS counts them.
    pub active: u64,
    /// Inactive connections.
    pub inactive: u64,
    /// Persistence templates.
    pub persistent: u64,
    /// Whether it was removed, and only its connections go on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub departed: bool,
    /// Packets and bytes, if they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// The same by the second, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// How long it took to answer, if that was asked for, and if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
}

/// The keys of a server's table that are shown to people: for who reads a hundred thousand of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ServerKeys {
    /// RIP:rport, or RIP alone.
    pub address: String,
    /// As it is written.
    pub weight: u16,
    /// `nat`, `dr` or `tun`.
    pub forward: String,
}

/// What a listing is to have beside the tables and connections.
#[derive(Debug, Clone, Copy, Default)]
pub struct Columns {
    /// Packets and bytes.
    pub traffic: bool,
    /// The same by the second.
    pub rate: bool,
    /// How long servers took to answer.
    pub latency: bool,
}

impl View {
    /// What there is to see now of these services. Tick 0 was at `start`.
    pub fn new(publisher: &Publisher, counters: &[Arc<Counters>], start: Instant) -> View {
        View {
            desired: publisher.desired().cloned().unwrap_or_default(),
            confirm_within: None,
            file: PathBuf::new(),
            services: publisher.services().clone(),
            departed: publisher.departed(),
            retired: publisher.retired().clone(),
            baselines: publisher.baselines(),
            rates: Arc::default(),
            drained: Arc::default(),
            counters: counters.to_vec(),
            start,
            ports: Vec::new(),
        }
    }

    /// The same with what only a director at work has.
    pub(super) fn of_director(
        self,
        file: PathBuf,
        rates: Arc<Rates>,
        ports: &[Arc<PortCounters>],
        confirm_within: Option<Duration>,
        drained: Arc<HashMap<RealId, Count>>,
    ) -> View {
        View { file, rates, ports: ports.to_vec(), confirm_within, drained, ..self }
    }

    /// The virtual services as they are compiled, in the operator's order.
    pub fn services(&self) -> &[Arc<VirtualService>] {
        self.services.table().services()
    }

    /// Servers taken out of this service that may have connections yet.
    pub fn departed_from(&self, key: Key) -> &[RealServer] {
        self.departed.get(&key).map_or(&[], |reals| &reals[..])
    }

    /// What each worker counts.
    pub fn workers(&self) -> &[Arc<Counters>] {
        &self.counters
    }

    /// What each worker's port counts; none in a replay.
    pub fn ports(&self) -> &[Arc<PortCounters>] {
        &self.ports
    }

    /// Every server that connections may name.
    pub fn servers(&self) -> impl Iterator<Item = &RealServer> {
        let current = self.services().iter().flat_map(|service| &service.reals);
        current.chain(self.departed.values().flatten())
    }

    /// Connections there are now, those of services that were removed included.
    pub fn connections(&self) -> u64 {
        self.servers().map(|real| real.live.connections()).sum()
    }

    /// Persistence templates that there are now, those of services that were removed included.
    pub fn templates(&self) -> u64 {
        self.servers().map(|real| u64::from(real.live.templates())).sum()
    }

    /// How each of a service's servers is, which are compiled to these, in the operator's order; then how the sorry server
    /// is, if it has one, whom nobody asks.
    pub fn states(&self, key: Key, compiled: &[RealServer]) -> Vec<ServerState> {
        let Some(service) = self.desired.find(key) else { return Vec::new() };
        let mut states = self.desired.conditions().states(service);
        states.extend(service.sorry.iter().map(|_| ServerState::Up));
        let ramping = states.iter_mut().zip(compiled).filter(|(_, real)| real.ramp.is_some());
        ramping
            .filter(|(state, _)| **state == ServerState::Up)
            .for_each(|(state, _)| *state = ServerState::Starting);
        states
    }

    /// What the checks of a service's server have found out, if they have, and are made.
    pub fn health(&self, key: Key, server: Endpoint) -> Option<Health> {
        let condition = self.desired.conditions().of(key, server)?;
        let finding = condition.finding.as_ref().filter(|_| condition.maintenance.is_none())?;
        Some(Health::of(finding, self.uptime()))
    }

    /// Whether less than the quorum of a service is well.
    pub fn has_lost_quorum(&self, key: Key) -> bool {
        self.desired.find(key).is_some_and(|service| self.desired.conditions().has_lost_quorum(service))
    }

    /// Whether so many of a service's servers seem down that all are scheduled.
    pub fn fails_open(&self, key: Key) -> bool {
        self.desired.find(key).is_some_and(|service| self.desired.conditions().fails_open(service))
    }

    /// How far a server's start is, if it starts slowly.
    pub fn starting(&self, real: &RealServer) -> Option<Starting> {
        Some(Starting::of(&real.ramp?, self.now()))
    }

    /// Since when, why and by whom a service's server is in maintenance, if it is.
    pub fn maintained(&self, key: Key, server: Endpoint) -> Option<InMaintenance> {
        let maintenance = self.desired.conditions().of(key, server)?.maintenance.as_ref()?;
        Some(InMaintenance::of(maintenance, self.uptime()))
    }

    /// How far the drain of a service's server is, if it is drained or in maintenance.
    pub fn draining(&self, key: Key, real: &RealServer) -> Option<Draining> {
        let drain = self.desired.conditions().of(key, real.endpoint)?.leave()?;
        Some(Draining::of(&drain, real, self.drained.get(&real.id), self.uptime()))
    }

    /// For how many seconds a service's server has been as it is, if its checks or somebody's word made it so.
    pub fn state_seconds(&self, key: Key, real: &RealServer) -> Option<u64> {
        let condition = self.desired.conditions().of(key, real.endpoint)?;
        let since = condition.leave().map(|leave| leave.since);
        let since = since.or_else(|| condition.finding.as_ref().map(|finding| finding.since))?;
        Some(self.uptime().saturating_sub(since).as_secs())
    }

    /// What a server has counted.
    pub fn traffic(&self, id: RealId) -> Traffic {
        self.baselines.since(id, &self.counters)
    }

    /// How a server has dealt with the connections that were opened to it; the counts may have begun with another server.
    pub fn opened(&self, id: RealId) -> Opened {
        Opened::of(id, &self.counters)
    }

    /// How long a server has taken to answer, if it ever did.
    pub fn latency(&self, id: RealId) -> Option<counters::Latency> {
        self.baselines.latency_since(id, &self.counters)
    }

    /// The share of its time that packets took a worker lately.
    pub fn load(&self, worker: usize) -> f64 {
        self.rates.load(worker)
    }

    /// What the servers of a service have counted together, those since removed included.
    pub fn traffic_of(&self, service: &VirtualService) -> Traffic {
        let key = Key::from(service);
        let retired = self.retired.get(&key).map_or_else(Traffic::default, |counted| counted.traffic);
        let reals = service.reals.iter().chain(self.departed_from(key));
        reals.fold(retired, |sum, real| sum.plus(self.traffic(real.id)))
    }

    /// How long the servers of a service have taken to answer together, those since removed included, if they ever did.
    pub fn latency_of(&self, service: &VirtualService) -> Option<counters::Latency> {
        let key = Key::from(service);
        let retired = self.retired.get(&key).map(|counted| counted.latency).unwrap_or_default();
        let reals = service.reals.iter().chain(self.departed_from(key));
        let all = reals.filter_map(|real| self.latency(real.id)).fold(retired, |sum, more| sum.plus(&more));
        (all.count() > 0).then_some(all)
    }

    /// Takes these counts up into the rates.
    pub fn estimate(&self, rates: &mut Rates) {
        let services =
            self.services().iter().map(|service| (Key::from(&**service), self.traffic_of(service)));
        let servers = self.servers().map(|real| (real.id, self.traffic(real.id)));
        let workers = self.counters.iter().map(|counters| Turn::ALL.map(|turn| counters.work.time(turn)));
        rates.estimate(services, servers, workers);
    }

    /// What the report has of all services together.
    pub fn totals(&self, table: &Table) -> Report {
        gather::totals(self, table)
    }

    /// The whole report.
    pub fn report(&self, table: &Table) -> Report {
        gather::report_of(self, table)
    }

    /// Now, for connections.
    pub fn now(&self) -> Tick {
        Tick::from_duration(Instant::now().saturating_duration_since(self.start))
    }

    /// How long the director has been running.
    pub fn uptime(&self) -> Duration {
        Instant::now().saturating_duration_since(self.start)
    }

    /// The services, of all or of the one meant, as they are listed.
    pub fn rows(&self, only: Option<Key>, columns: Columns) -> Vec<ServiceRow<Real>> {
        self.meant(only).map(|(service, compiled)| self.row(service, compiled, columns)).collect()
    }

    /// The services, all or the one meant, as they are written and as they are compiled.
    fn meant(&self, only: Option<Key>) -> impl Iterator<Item = (&Arc<Service>, &Arc<VirtualService>)> {
        let both = self.desired.services().iter().zip(self.services());
        both.filter(move |(service, _)| only.is_none_or(|key| key == Key::of(service)))
    }

    fn row(&self, service: &Arc<Service>, compiled: &VirtualService, columns: Columns) -> ServiceRow<Real> {
        let key = Key::of(service);
        ServiceRow {
            service: key.to_string(),
            table: service.shown_table(),
            traffic: columns.traffic.then(|| self.traffic_of(compiled)),
            rate: columns.rate.then(|| self.rates.of_service(key)),
            fails_open: self.fails_open(key),
            has_lost_quorum: self.has_lost_quorum(key),
            servers: self.server_rows(service, compiled, columns).collect(),
        }
    }

    /// In the operator's order; then those that were removed and still have connections.
    fn server_rows(
        &self,
        service: &Service,
        compiled: &VirtualService,
        columns: Columns,
    ) -> impl Iterator<Item = ServerRow<Real>> {
        let key = Key::of(service);
        let row = move |table: Real, real: &RealServer, state: Option<ServerState>| ServerRow {
            weight: if state.is_none() { table.weight } else { real.weight },
            state,
            health: self.health(key, table.endpoint).filter(|_| state.is_some()),
            start: self.starting(real).filter(|_| state.is_some()),
            maintenance: self.maintained(key, table.endpoint).filter(|_| state.is_some()),
            drain: self.draining(key, real).filter(|_| state.is_some()),
            table,
            active: u64::from(real.live.active()),
            inactive: u64::from(real.live.inactive()),
            persistent: u64::from(real.live.templates()),
            departed: state.is_none(),
            traffic: columns.traffic.then(|| self.traffic(real.id)),
            rate: columns.rate.then(|| self.rates.of_server(real.id)),
            latency: columns.latency.then(|| self.latency(real.id)).flatten().map(Into::into),
        };
        let current = service.all_reals().zip(&compiled.reals).zip(self.states(key, &compiled.reals));
        let current =
            current.map(move |((table, real), state)| row(table.without_secrets(), real, Some(state)));
        let departed = self.departed_from(key).iter().map(move |real| {
            let RealServer { endpoint, method, thresholds, .. } = *real;
            row(Real { endpoint, weight: 0, method, thresholds, checks: None }, real, None)
        });
        current.chain(departed)
    }
}
