//! Of virtual services and real servers. A server is known by its service, its address and how packets reach it.

use super::page::{Column, Family, Labels, Page};
use crate::control::desired::{Key, ServerState};
use crate::control::report::Traffic;
use crate::control::view::View;
use crate::dataplane::counters::Opened;
use crate::service::{RealServer, VirtualService};
use std::fmt;

/// The words of it, and what they mean; the last two are not seen where replies pass elsewhere.
const TRAFFIC: [Column<Traffic>; 5] = [
    ("connections", "Connections given to it.", |traffic| traffic.connections),
    ("incoming_packets", "Packets from clients.", |traffic| traffic.in_packets),
    ("incoming_bytes", "Bytes of IP packets from clients.", |traffic| traffic.in_bytes),
    ("outgoing_packets", "Packets to clients, as far as they pass here.", |traffic| traffic.out_packets),
    ("outgoing_bytes", "Bytes of IP packets to clients, as far as they pass here.", |traffic| {
        traffic.out_bytes
    }),
];
const SEEN_ALWAYS: usize = 3;

const LATENCY: &str =
    "From a client's first SYN to the server's SYN-ACK or, where that passes elsewhere, to the client's ACK.";

/// What speaks against a server. Each begins again at 0 after 2^32, as counters may.
const OPENINGS: [Column<Opened>; 3] = [
    (
        "refused_connections",
        "Connections that it has answered with a reset, as far as these pass here.",
        |opened| opened.refused.into(),
    ),
    (
        "unreachable_packets",
        "Packets that could not reach it, by an ICMP error's word or for want of its MAC.",
        |opened| opened.unreachable.into(),
    ),
    ("repeated_syns", "SYNs that clients have sent again.", |opened| opened.repeated.into()),
];

/// A server of a service, one that was removed and has connections yet included.
struct Row<'v> {
    service: &'v VirtualService,
    server: String,
    weight: u16,
    /// In a word.
    state: String,
    /// For how long it has been so, if that is known.
    for_seconds: Option<u64>,
    /// Under this address and method; after a change of what ports lead to it there may be several.
    reals: Vec<&'v RealServer>,
}

pub(super) fn put(page: &mut Page<'_>, view: &View) -> fmt::Result {
    services(page, view)?;
    health(page, view)?;
    servers(page, view)
}

fn services(page: &mut Page<'_>, view: &View) -> fmt::Result {
    page.infos("lvx_service", "Virtual services.", |put| {
        view.services().iter().try_for_each(|service| {
            let fwmark = service.group.as_ref().map(|group| group.fwmark.to_string()).unwrap_or_default();
            put(&[
                ("service", &service.name),
                ("protocol", &service.proto.word()),
                ("address", &service.endpoint),
                ("fwmark", &fwmark),
                ("scheduler", &service.scheduler),
            ])
        })
    })?;
    let traffic: Vec<Traffic> = view.services().iter().map(|service| view.traffic_of(service)).collect();
    for (word, help, count) in TRAFFIC {
        page.counter(&format!("lvx_service_{word}"), help, |family| {
            view.services().iter().zip(&traffic).try_for_each(|(service, traffic)| {
                let (protocol, address) = (service.proto.word(), &service.endpoint);
                family.put(
                    &[("service", &service.name), ("protocol", &protocol), ("address", address)],
                    count(traffic),
                )
            })
        })?;
    }
    page.histogram("lvx_service_latency_seconds", LATENCY, |family| {
        view.services().iter().try_for_each(|service| {
            let Some(latency) = view.latency_of(service) else { return Ok(()) };
            let (protocol, address) = (service.proto.word(), &service.endpoint);
            let labels: &Labels<'_> =
                &[("service", &service.name), ("protocol", &protocol), ("address", address)];
            family.distribution(labels, &latency, 1e6)
        })
    })
}

/// How services are, as far as that depends on how their servers are.
fn health(page: &mut Page<'_>, view: &View) -> fmt::Result {
    let all = || view.services().iter().map(|service| (service, Key::from(&**service)));
    page.gauge("lvx_service_servers", "How many of its servers are as `state` says.", |family| {
        all().try_for_each(|(service, key)| {
            let states = view.states(key, &service.reals);
            ServerState::ALL.iter().try_for_each(|state| {
                let count = states.iter().filter(|of| *of == state).count() as u64;
                family.put(&[("service", &service.name), ("state", state)], count)
            })
        })
    })?;
    let help = "1 while less than its quorum is well, and its sorry server has taken over, if it has one.";
    page.gauge("lvx_service_quorum_lost", help, |family| {
        all().try_for_each(|(service, key)| {
            family.put(&[("service", &service.name)], u64::from(view.has_lost_quorum(key)))
        })
    })?;
    let help = "1 while too few of its servers seem well, so that all are scheduled.";
    page.gauge("lvx_service_failing_open", help, |family| {
        all().try_for_each(|(service, key)| {
            family.put(&[("service", &service.name)], u64::from(view.fails_open(key)))
        })
    })
}

fn servers(page: &mut Page<'_>, view: &View) -> fmt::Result {
    let rows = rows(view);
    for (place, (word, help, count)) in TRAFFIC.into_iter().enumerate() {
        let is_seen = |row: &&Row<'_>| place < SEEN_ALWAYS || row.reals[0].method.sees_replies();
        page.counter(&format!("lvx_server_{word}"), help, |family| {
            rows.iter().filter(is_seen).try_for_each(|row| {
                row.put(family, row.reals.iter().map(|real| count(&view.traffic(real.id))).sum::<u64>())
            })
        })?;
    }
    for (word, help, count) in OPENINGS {
        page.counter(&format!("lvx_server_{word}"), help, |family| {
            let sum = |row: &Row<'_>| row.reals.iter().map(|real| count(&view.opened(real.id))).sum::<u64>();
            rows.iter().try_for_each(|row| row.put(family, sum(row)))
        })?;
    }
    let live: [Column<RealServer>; 3] = [
        ("active_connections", "Active connections now, as IPVS counts them.", |real| {
            real.live.active().into()
        }),
        ("inactive_connections", "Inactive connections now.", |real| real.live.inactive().into()),
        ("templates", "Persistence templates that lead to it now.", |real| real.live.templates().into()),
    ];
    for (word, help, now) in live {
        page.gauge(&format!("lvx_server_{word}"), help, |family| {
            let sum = |row: &Row<'_>| row.reals.iter().map(|real| now(real)).sum::<u64>();
            rows.iter().try_for_each(|row| row.put(family, sum(row)))
        })?;
    }
    page.gauge("lvx_server_weight", "Its weight; 0 is quiesced.", |family| {
        rows.iter().try_for_each(|row| row.put(family, u64::from(row.weight)))
    })?;
    page.gauge("lvx_server_state", "How it is, as `state` says; always 1.", |family| {
        rows.iter().try_for_each(|row| {
            let Row { service, server, state, .. } = row;
            let forward = row.forward();
            let labels: &Labels<'_> =
                &[("service", &service.name), ("server", server), ("forward", &forward), ("state", state)];
            family.put(labels, 1u64)
        })
    })?;
    let help = "For how long it has been so, if its checks or somebody's word made it so.";
    page.gauge("lvx_server_state_seconds", help, |family| {
        let known = rows.iter().filter_map(|row| Some((row, row.for_seconds?)));
        known.into_iter().try_for_each(|(row, seconds)| row.put(family, seconds))
    })?;
    let desired = &view.desired;
    if !desired.control().server_histograms.are_wanted_of(desired.servers()) {
        return Ok(());
    }
    page.histogram("lvx_server_latency_seconds", LATENCY, |family| {
        rows.iter().try_for_each(|row| {
            let all = row.reals.iter().filter_map(|real| view.latency(real.id));
            match all.reduce(|sum, more| sum.plus(&more)) {
                Some(latency) => row.labelled(|labels| family.distribution(labels, &latency, 1e6)),
                None => Ok(()),
            }
        })
    })
}

fn rows(view: &View) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for service in view.services() {
        let first = rows.len();
        let key = Key::from(&**service);
        let states = view.states(key, &service.reals);
        rows.extend(service.reals.iter().zip(states).map(|(real, state)| Row {
            state: state.to_string(),
            for_seconds: view.state_seconds(key, real),
            weight: real.weight,
            ..Row::new(service, real)
        }));
        for real in view.departed_from(key) {
            match rows[first..].iter_mut().find(|row| row.is_of(real)) {
                Some(row) => row.reals.push(real),
                None => rows.push(Row::new(service, real)),
            }
        }
    }
    rows
}

impl<'v> Row<'v> {
    /// One that has left.
    fn new(service: &'v VirtualService, real: &'v RealServer) -> Row<'v> {
        let (server, state) = (real.endpoint.to_string(), "departed".to_owned());
        Row { service, server, weight: 0, state, for_seconds: None, reals: vec![real] }
    }

    fn forward(&self) -> &'static str {
        self.reals[0].method.name()
    }

    fn is_of(&self, real: &RealServer) -> bool {
        (self.reals[0].endpoint, self.reals[0].method) == (real.endpoint, real.method)
    }

    fn put(&self, family: &mut Family<'_>, value: u64) -> fmt::Result {
        self.labelled(|labels| family.put(labels, value))
    }

    fn labelled(&self, put: impl FnOnce(&Labels<'_>) -> fmt::Result) -> fmt::Result {
        put(&[("service", &self.service.name), ("server", &self.server), ("forward", &self.forward())])
    }
}
