//! What a director does at a moment, from two of its answers: rates, quantiles and shares of what passed between them.

use crate::control::api::{Overview, Status};
use crate::control::desired::ServerState;
use crate::control::rates::Rate;
use crate::control::report::{Connections, Latency, Report, Traffic, Worker};
use crate::control::view::{ServerKeys, ServerRow, ServiceSum};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// What the director answered, so long after `lvx top` began.
#[derive(Debug, Clone)]
pub struct Answer {
    /// When.
    pub at: Duration,
    /// What.
    pub overview: Overview<ServerKeys>,
}

/// A moment.
#[derive(Debug, Clone, Serialize)]
pub struct Moment {
    /// How long the rates are taken over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// How the director is.
    pub director: Status,
    /// The connection table.
    pub table: Connections,
    /// Packets forwarded, handed to the host and dropped.
    pub packets: Packets,
    /// Why packets were dropped, what went to the host, and what the ports missed.
    pub reasons: Vec<Reason>,
    /// The workers, by their numbers.
    pub workers: Vec<Work>,
    /// The services that were asked for.
    pub services: Vec<ServiceNow>,
}

/// Packets by the second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Packets {
    /// Sent on to a server or a client.
    pub forwarded: Option<f64>,
    /// Handed to the kernel.
    pub to_host: Option<f64>,
    /// Dropped.
    pub dropped: Option<f64>,
}

/// What became of packets that were not forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Dropped by a worker, or at a ring of its own.
    Dropped,
    /// Dropped by the kernel, before a worker saw them.
    Missed,
    /// Handed to the kernel.
    ToHost,
}

/// How many packets had a fate, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reason {
    /// Their fate.
    pub fate: Fate,
    /// As the report calls it.
    pub reason: String,
    /// Since the director's start.
    pub packets: u64,
    /// By the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
}

/// What a worker's time goes into: shares of it, 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Work {
    /// Packets.
    pub load: f64,
    /// Looking for packets in vain.
    pub polling: f64,
    /// Sleep.
    pub sleeping: f64,
    /// Packets by the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_per_second: Option<f64>,
    /// How many packets came at once, on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_per_batch: Option<f64>,
}

/// What passes in a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Flow {
    /// Connections given to it.
    pub connections: f64,
    /// Packets from clients.
    pub in_packets: f64,
    /// Packets to clients that the director saw (NAT).
    pub out_packets: f64,
    /// Bits from clients.
    pub in_bits: f64,
    /// Bits to clients that the director saw (NAT).
    pub out_bits: f64,
}

impl From<Rate> for Flow {
    fn from(rate: Rate) -> Flow {
        let Rate { connections, in_packets, in_bytes, out_packets, out_bytes } = rate;
        let [connections, in_packets, out_packets] =
            [connections, in_packets, out_packets].map(|packets| packets as f64);
        let [in_bits, out_bits] = [in_bytes, out_bytes].map(|bytes| 8.0 * bytes as f64);
        Flow { connections, in_packets, out_packets, in_bits, out_bits }
    }
}

/// How long servers took to answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    /// Connections that were answered.
    pub answered: u64,
    /// Half of them within this.
    pub p50_seconds: f64,
    /// 99 of 100.
    pub p99_seconds: f64,
}

/// What stands in the columns of a service and of a server alike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Counts {
    /// A server's weight that holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// Active connections.
    pub active: u64,
    /// Inactive connections.
    pub inactive: u64,
    /// Persistence templates.
    pub persistent: u64,
    /// What passed in a second since the look before; as IPVS estimates it, if nothing was known then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Flow>,
    /// How long answers took that came meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Quantiles>,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServiceNow {
    /// What edits call it.
    pub service: String,
    /// The operator's name.
    pub name: String,
    /// As ipvsadm spells it.
    pub scheduler: String,
    /// How many servers are asked for.
    pub server_count: usize,
    /// All servers together.
    #[serde(flatten)]
    pub counts: Counts,
    /// The servers, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub servers: Option<Vec<ServerNow>>,
    /// Its place among all in the operator's order.
    #[serde(skip)]
    pub place: usize,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServerNow {
    /// RIP:rport.
    pub address: String,
    /// `nat`, `dr` or `tun`.
    pub forward: String,
    /// How it is; nothing if it was removed, and only its connections go on.
    pub state: Option<ServerState>,
    /// Its numbers.
    #[serde(flatten)]
    pub counts: Counts,
    /// Its place among all in the operator's order.
    #[serde(skip)]
    pub place: usize,
    /// What no other server of its service has, not even one that was removed and is at its address.
    #[serde(skip)]
    pub identity: String,
}

impl Moment {
    /// What passed since `before`, if the director has not begun anew meanwhile.
    pub fn between(before: Option<&Answer>, now: &Answer) -> Moment {
        let before = before.filter(|before| {
            let (before, now) = (&before.overview.status, &now.overview.status);
            before.pid == now.pid && before.uptime_seconds <= now.uptime_seconds
        });
        let seconds = before.map(|before| now.at.saturating_sub(before.at).as_secs_f64());
        let since = Since { before: before.map(|before| &before.overview), seconds };
        let Overview { status, totals, services } = &now.overview;
        Moment {
            seconds,
            director: status.clone(),
            table: totals.connections.clone(),
            packets: since.packets(totals),
            reasons: since.reasons(totals),
            workers: since.workers(&totals.workers),
            services: since.services(services),
        }
    }
}

/// What is compared with.
struct Since<'a> {
    before: Option<&'a Overview<ServerKeys>>,
    seconds: Option<f64>,
}

impl Since<'_> {
    /// By the second; `None` if it is not known, or was counted from 0 again.
    fn rate(&self, before: Option<u64>, now: u64) -> Option<f64> {
        let seconds = self.seconds.filter(|seconds| *seconds > 0.0)?;
        Some(now.checked_sub(before?)? as f64 / seconds)
    }

    fn packets(&self, totals: &Report) -> Packets {
        let rate =
            |of: fn(&Report) -> u64| self.rate(self.before.map(|before| of(&before.totals)), of(totals));
        Packets {
            forwarded: rate(|totals| totals.forwarded),
            to_host: rate(|totals| totals.to_host),
            dropped: rate(|totals| totals.dropped),
        }
    }

    /// The most frequent first, those of now before those of old.
    fn reasons(&self, totals: &Report) -> Vec<Reason> {
        let before = self.before.map(|before| fates(&before.totals));
        let reason = |((fate, reason), packets): (Named<'_>, u64)| {
            // What was not named before was not counted before.
            let earlier = before.as_ref().map(|before| before.get(&(fate, reason)).copied().unwrap_or(0));
            Reason { fate, reason: reason.to_owned(), packets, per_second: self.rate(earlier, packets) }
        };
        let mut reasons: Vec<Reason> = fates(totals).into_iter().map(reason).collect();
        let rate = |reason: &Reason| reason.per_second.unwrap_or_default();
        reasons.sort_by(|a, b| rate(b).total_cmp(&rate(a)).then(b.packets.cmp(&a.packets)));
        reasons
    }

    fn workers(&self, workers: &[Worker]) -> Vec<Work> {
        let before = |number: usize| self.before.and_then(|before| before.totals.workers.get(number));
        workers.iter().enumerate().map(|(number, now)| self.work(before(number), now)).collect()
    }

    fn work(&self, before: Option<&Worker>, now: &Worker) -> Work {
        let started = Worker::default();
        let since = before.unwrap_or(&started);
        let spent = |of: fn(&Worker) -> f64| (of(now) - of(since)).max(0.0);
        let [busy, polling, sleeping] =
            [spent(|of| of.busy_seconds), spent(|of| of.polling_seconds), spent(|of| of.sleeping_seconds)];
        let all = busy + polling + sleeping;
        let share = |spent: f64| if all > 0.0 { spent / all } else { 0.0 };
        let batches = |of: &Worker| of.batches.iter().sum::<u64>();
        let packets = before.and_then(|before| now.packets.checked_sub(before.packets));
        let batches = before.and_then(|before| batches(now).checked_sub(batches(before)));
        Work {
            load: share(busy),
            polling: share(polling),
            sleeping: share(sleeping),
            packets_per_second: self.rate(before.map(|before| before.packets), now.packets),
            packets_per_batch: packets
                .zip(batches.filter(|batches| *batches > 0))
                .map(|(p, b)| p as f64 / b as f64),
        }
    }

    fn services(&self, services: &[ServiceSum<ServerKeys>]) -> Vec<ServiceNow> {
        let before = self.before.into_iter().flat_map(|before| &before.services);
        let before: HashMap<&str, &ServiceSum<ServerKeys>> =
            before.map(|sum| (&sum.service[..], sum)).collect();
        let now = |(place, now): (usize, &ServiceSum<ServerKeys>)| {
            let before = before.get(&now.service[..]);
            let servers = now.servers.as_ref().map(|servers| {
                self.servers(before.and_then(|before| before.servers.as_deref()).unwrap_or_default(), servers)
            });
            ServiceNow {
                service: now.service.clone(),
                name: now.name.clone(),
                scheduler: now.scheduler.clone(),
                server_count: now.server_count,
                counts: Counts {
                    weight: None,
                    active: now.active,
                    inactive: now.inactive,
                    persistent: now.persistent,
                    rate: self
                        .flow(before.map(|before| before.traffic), now.traffic)
                        .or(Some(now.rate.into())),
                    latency: before
                        .and_then(|before| quantiles(before.latency.as_ref(), now.latency.as_ref())),
                },
                servers,
                place,
            }
        };
        services.iter().enumerate().map(now).collect()
    }

    fn servers(&self, before: &[ServerRow<ServerKeys>], servers: &[ServerRow<ServerKeys>]) -> Vec<ServerNow> {
        let before: HashMap<String, &ServerRow<ServerKeys>> =
            before.iter().map(|row| (identity(row), row)).collect();
        let now = |(place, now): (usize, &ServerRow<ServerKeys>)| {
            let identity = identity(now);
            let before = before.get(&identity);
            let traffic = before.and_then(|before| before.traffic);
            ServerNow {
                address: now.table.address.clone(),
                forward: now.table.forward.clone(),
                state: now.state,
                counts: Counts {
                    weight: Some(now.weight),
                    active: now.active,
                    inactive: now.inactive,
                    persistent: now.persistent,
                    rate: now.traffic.and_then(|now| self.flow(traffic, now)).or(now.rate.map(Flow::from)),
                    latency: before
                        .and_then(|before| quantiles(before.latency.as_ref(), now.latency.as_ref())),
                },
                place,
                identity,
            }
        };
        servers.iter().enumerate().map(now).collect()
    }

    fn flow(&self, before: Option<Traffic>, now: Traffic) -> Option<Flow> {
        let rate = |of: fn(&Traffic) -> u64| self.rate(before.as_ref().map(of), of(&now));
        Some(Flow {
            connections: rate(|of| of.connections)?,
            in_packets: rate(|of| of.in_packets)?,
            out_packets: rate(|of| of.out_packets)?,
            in_bits: 8.0 * rate(|of| of.in_bytes)?,
            out_bits: 8.0 * rate(|of| of.out_bytes)?,
        })
    }
}

/// A fate and its reason.
type Named<'a> = (Fate, &'a str);

/// What is counted of packets that were not forwarded.
fn fates(totals: &Report) -> BTreeMap<Named<'_>, u64> {
    let missed = [("rx_dropped", totals.port.rx_dropped), ("rx_ring_full", totals.port.rx_ring_full)];
    let missed = missed.into_iter().filter(|(_, count)| *count > 0);
    named(Fate::Dropped, &totals.dropped_by_reason)
        .chain(named(Fate::ToHost, &totals.to_host_by_reason))
        .chain(missed.map(|(reason, count)| ((Fate::Missed, reason), count)))
        .collect()
}

fn named(fate: Fate, counts: &BTreeMap<String, u64>) -> impl Iterator<Item = (Named<'_>, u64)> {
    counts.iter().map(move |(reason, count)| ((fate, &reason[..]), *count))
}

/// How long those answers took that came between; `None` if none came.
fn quantiles(before: Option<&Latency>, now: Option<&Latency>) -> Option<Quantiles> {
    let none = Latency::default();
    let since = now?.since(before.unwrap_or(&none));
    let Latency { count: answered, p50_seconds, p99_seconds, .. } = since;
    (answered > 0).then_some(Quantiles { answered, p50_seconds, p99_seconds })
}

fn identity(server: &ServerRow<ServerKeys>) -> String {
    let gone = if server.departed { " removed" } else { "" };
    format!("{} {}{gone}", server.table.address, server.table.forward)
}
