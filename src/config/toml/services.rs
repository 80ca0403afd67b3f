//! `[[virtual_service]]` and `[[virtual_service.real_server]]`.

use super::findings::FirstSeen;
use super::persistence::persistence;
use super::section::Section;
use super::timeouts::timeouts;
use super::value::{address_and_port, boolean, integer, name, one_of, prime, quoted, wrong_type};
use crate::config::{Real, Service};
use crate::net::{Endpoint, Proto, is_link_local};
use crate::service::{
    Method, MssClamp, NoServer, Policy, RealId, SchedulerName, SchedulerOptions, Thresholds,
};
use ::toml::Spanned;
use ::toml::de::DeValue;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// How many virtual services a file holds.
const MAX_SERVICES: usize = 1 << 17;

/// ipvsadm's words for the methods beside ours.
const METHODS: [(&str, Method); 6] = [
    ("nat", Method::Nat),
    ("dr", Method::Dr),
    ("tun", Method::Tun),
    ("masq", Method::Nat),
    ("gate", Method::Dr),
    ("ipip", Method::Tun),
];

/// A word of `scheduler_flags`, whose it is, and what it sets.
type Flag = (&'static str, SchedulerName, fn(&mut SchedulerOptions));

const FLAGS: [Flag; 4] = [
    ("sh-fallback", SchedulerName::Sh, |options| options.fallback = true),
    ("sh-port", SchedulerName::Sh, |options| options.port = true),
    ("mh-fallback", SchedulerName::Mh, |options| options.fallback = true),
    ("mh-port", SchedulerName::Mh, |options| options.port = true),
];

/// From IPVS's smallest to a hundred places for each of 10,000 servers; 4 MB.
const MH_TABLE_SIZES: RangeInclusive<u32> = 251..=1_000_003;

/// As many connections as a director holds.
const MAX_THRESHOLD: u32 = 200_000_000;

const NO_SERVER: [(&str, NoServer); 3] =
    [("icmp", NoServer::Icmp), ("reset", NoServer::Reset), ("drop", NoServer::Drop)];

/// From what every host takes (RFC 9293, 3.7.1) to what a segment holds at most.
const MSS: RangeInclusive<u16> = 536..=65_495;

const PROTOCOLS: [(&str, Proto); 2] = [("tcp", Proto::Tcp), ("udp", Proto::Udp)];

/// Reads every `[[virtual_service]]`.
pub(super) fn services(root: &mut Section<'_>) -> Vec<Service> {
    let mut reader = Reader { names: FirstSeen::none(), addresses: FirstSeen::none(), reals: 0 };
    let mut services = Vec::new();
    for mut section in root.tables("virtual_service", "virtual service", MAX_SERVICES) {
        services.extend(reader.service(&mut section));
        section.finish();
    }
    services
}

/// What has to be known of the services read so far.
struct Reader {
    names: FirstSeen<String>,
    addresses: FirstSeen<(Proto, Endpoint)>,
    /// How many real servers all services have together.
    reals: usize,
}

/// What a real server takes from its service. Things that were wrong are `None`.
struct Outer {
    endpoint: Option<Endpoint>,
    method: Method,
}

impl Reader {
    fn service(&mut self, section: &mut Section<'_>) -> Option<Service> {
        let name = section.optional("name", name);
        if let Some(name) = &name {
            section.entitle(&format!("virtual service {}", quoted(name.get_ref())));
        }
        let written = section.required("address", address_and_port);
        let endpoint = written.as_ref().and_then(|written| vip(section, written));
        if let (None, Some(endpoint)) = (&name, endpoint) {
            section.entitle(&format!("virtual service {endpoint}"));
        }
        let proto = section.optional("protocol", one_of(&PROTOCOLS)).map_or(Proto::Tcp, Spanned::into_inner);

        let address_at = written.map_or(section.at(), |written| written.span().start);
        let twin = endpoint.and_then(|endpoint| self.addresses.before((proto, endpoint), address_at));
        if let Some(first) = twin {
            section.error_again(address_at, first, "address", "one service per protocol, address and port");
        }
        let service_name = match (&name, endpoint) {
            (Some(name), _) => name.get_ref().clone(),
            (None, Some(endpoint)) => default_name(proto, endpoint),
            (None, None) => String::new(),
        };
        // Services of one address and no name have one name, which the operator did not write.
        if name.is_some() || (endpoint.is_some() && twin.is_none()) {
            let at = name.as_ref().map_or(address_at, |name| name.span().start);
            if let Some(first) = self.names.before(service_name.clone(), at) {
                section.error_again(at, first, "name", "each name once");
            }
        }

        let schedulers = SchedulerName::ALL.map(|scheduler| (scheduler.name(), scheduler));
        let scheduler = section
            .optional("scheduler", one_of(&schedulers))
            .map_or(SchedulerName::Wlc, Spanned::into_inner);
        let options = options(section, scheduler);
        // As with ipvsadm, direct routing is what one gets without asking.
        let method = section.optional("forward", one_of(&METHODS)).map_or(Method::Dr, Spanned::into_inner);
        let is_v4 = endpoint.is_none_or(|endpoint| endpoint.addr.is_ipv4());
        let policy = policy(section, proto, is_v4);
        let reals = self.reals(section, &Outer { endpoint, method });
        too_many_for_the_table(section, scheduler, &options, reals.len());
        Some(Service { name: service_name, proto, endpoint: endpoint?, scheduler, options, policy, reals })
    }

    fn reals(&mut self, service: &mut Section<'_>, outer: &Outer) -> Vec<Real> {
        let mut endpoints = FirstSeen::none();
        let mut reals = Vec::new();
        for mut section in service.tables("real_server", "real server", RealId::LIMIT) {
            self.reals += 1;
            if self.reals == RealId::LIMIT + 1 {
                let error = format!(
                    "there are {} real servers by here (allowed: {} in all)",
                    self.reals,
                    RealId::LIMIT
                );
                section.error(section.at(), &error);
            }
            reals.extend(real(&mut section, outer, &mut endpoints));
            section.finish();
        }
        reals
    }
}

/// What the operator chose for the scheduler, of what it lets one choose.
fn options(section: &mut Section<'_>, scheduler: SchedulerName) -> SchedulerOptions {
    let mut options = SchedulerOptions::default();
    let words = FLAGS.map(|(word, ..)| (word, word));
    let flags = section.list("scheduler_flags", "flags, such as [\"sh-port\"]", one_of(&words));
    for flag in flags {
        let at = flag.span().start;
        match FLAGS.into_iter().find(|&(word, of, _)| word == *flag.get_ref() && of == scheduler) {
            Some((.., set)) => set(&mut options),
            None => {
                let allowed: Vec<&str> =
                    FLAGS.into_iter().filter(|&(_, of, _)| of == scheduler).map(|(word, ..)| word).collect();
                let allowed = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
                let flag = quoted(flag.get_ref());
                let error = format!("scheduler_flags {flag} is not for {scheduler} (allowed: {allowed})");
                section.error(at, &error);
            }
        }
    }
    if let Some(size) = section.optional("mh_table_size", prime(MH_TABLE_SIZES)) {
        options.mh_table_size = *size.get_ref();
        if scheduler != SchedulerName::Mh {
            let error = format!("mh_table_size is not for {scheduler} (allowed: with scheduler = \"mh\")");
            section.error(size.span().start, &error);
        }
    }
    options
}

/// `no_server`, `mss_clamp`, `timeouts`, `sloppy_tcp`, `one_packet`, and what persistence is to be.
fn policy(section: &mut Section<'_>, proto: Proto, is_v4: bool) -> Policy {
    let no_server = section.optional("no_server", one_of(&NO_SERVER));
    let mut policy = Policy {
        no_server: no_server.as_ref().map_or(NoServer::default(), |written| *written.get_ref()),
        mss_clamp: section.optional("mss_clamp", mss_clamp).map_or(MssClamp::default(), Spanned::into_inner),
        timeouts: timeouts(section),
        sloppy: None,
        one_packet: false,
        persistence: persistence(section, is_v4),
    };
    if let Some(written) = section.optional("sloppy_tcp", boolean) {
        policy.sloppy = Some(*written.get_ref());
        if proto != Proto::Tcp {
            let error =
                format!("sloppy_tcp is not for {} (allowed: with protocol = \"tcp\")", protocol(proto));
            section.error(written.span().start, &error);
        }
    }
    if let Some(written) = section.optional("one_packet", boolean) {
        policy.one_packet = *written.get_ref();
        if proto != Proto::Udp {
            let error =
                format!("one_packet is not for {} (allowed: with protocol = \"udp\")", protocol(proto));
            section.error(written.span().start, &error);
        }
    }
    if let Some(written) = no_server.filter(|_| proto == Proto::Udp && policy.no_server == NoServer::Reset) {
        section.error(written.span().start, "no_server \"reset\" is not for udp (allowed: icmp, drop)");
        policy.no_server = NoServer::default();
    }
    policy
}

/// True, false, or bytes.
fn mss_clamp(value: &DeValue<'_>) -> Result<MssClamp, String> {
    match value {
        DeValue::Boolean(on) => Ok(if *on { MssClamp::Fit } else { MssClamp::Off }),
        DeValue::Integer(_) => integer(MSS)(value).map(MssClamp::Bytes),
        other => Err(wrong_type(other, "true, false or bytes, such as 1400")),
    }
}

/// A server without a place in the table would get nothing.
fn too_many_for_the_table(
    section: &Section<'_>,
    of: SchedulerName,
    options: &SchedulerOptions,
    reals: usize,
) {
    let size = options.mh_table_size;
    if of == SchedulerName::Mh && reals > size as usize {
        let error =
            format!("there are {reals} real servers (allowed: {size}, mh_table_size; better a hundredth)");
        section.error(section.at(), &error);
    }
}

/// `upper_threshold` and `lower_threshold`.
fn thresholds(section: &mut Section<'_>) -> Thresholds {
    let upper =
        section.optional("upper_threshold", integer(0..=MAX_THRESHOLD)).map_or(0, Spanned::into_inner);
    let lower = section.optional("lower_threshold", integer(0..=MAX_THRESHOLD));
    let thresholds = Thresholds { upper, lower: lower.as_ref().map_or(0, |lower| *lower.get_ref()) };
    if let Some(at) = lower.filter(|_| thresholds.lower > upper).map(|lower| lower.span().start) {
        let error = format!(
            "lower_threshold {} is above the upper one, {upper} (allowed: 0 to upper_threshold)",
            thresholds.lower
        );
        section.error(at, &error);
    }
    thresholds
}

/// The service's address, unless it is one that cannot be served.
fn vip(section: &Section<'_>, written: &Spanned<(IpAddr, Option<u16>)>) -> Option<Endpoint> {
    let at = written.span().start;
    let (addr, port) = *written.get_ref();
    if let Some(error) = not_a_hosts(addr) {
        section.error(at, &error);
        return None;
    }
    if port.is_none() {
        let with_port = Endpoint::new(addr, 80);
        section.error(at, &format!("address \"{addr}\" has no port (allowed: such as \"{with_port}\")"));
    }
    Some(Endpoint::new(addr, port?))
}

/// Why an address is none of a single host that every node knows by it: link-local addresses stand on every link.
fn not_a_hosts(addr: IpAddr) -> Option<String> {
    is_link_local(addr).then(|| {
        format!(
            "address {addr} is link-local, which says nothing without its link (allowed: any other address)"
        )
    })
}

fn default_name(proto: Proto, endpoint: Endpoint) -> String {
    format!("{} {endpoint}", protocol(proto))
}

/// The word for a protocol.
fn protocol(proto: Proto) -> &'static str {
    PROTOCOLS.iter().find(|&&(_, meaning)| meaning == proto).map_or("", |&(word, _)| word)
}

fn real(section: &mut Section<'_>, outer: &Outer, endpoints: &mut FirstSeen<Endpoint>) -> Option<Real> {
    let address = section.required("address", address_and_port);
    if let Some(address) = &address {
        let title = match *address.get_ref() {
            (addr, Some(port)) => Endpoint::new(addr, port).to_string(),
            (addr, None) => addr.to_string(),
        };
        section.entitle(&format!("real server {title}"));
    }
    let weight = section.optional("weight", integer(0..=u16::MAX)).map_or(1, Spanned::into_inner);
    let method = section.optional("forward", one_of(&METHODS)).map_or(outer.method, Spanned::into_inner);
    let thresholds = thresholds(section);

    let (address, service) = (address?, outer.endpoint?);
    let at = address.span().start;
    let (addr, port) = address.into_inner();
    let endpoint = Endpoint::new(addr, port.unwrap_or(service.port));
    if let Some(error) = cannot_reach(service, endpoint, method) {
        section.error(at, &error);
    }
    if let Some(first) = endpoints.before(endpoint, at) {
        section.error_again(at, first, "address", "each server once in a service");
    }
    Some(Real { endpoint, weight, method, thresholds })
}

/// Why packets to `service` cannot be forwarded to `real` with `method`.
fn cannot_reach(service: Endpoint, real: Endpoint, method: Method) -> Option<String> {
    let Endpoint { addr, port } = real;
    if let Some(error) = not_a_hosts(addr) {
        return Some(error);
    }
    // Only the outer packet of a tunnel may be of another family than the inner one.
    if addr.is_ipv4() != service.addr.is_ipv4() && method != Method::Tun {
        let (found, allowed) = if addr.is_ipv4() { ("IPv4", "IPv6") } else { ("IPv6", "IPv4") };
        return Some(format!(
            "address {addr} is {found} behind an {allowed} service, which {method} cannot bridge (allowed: {allowed}; \
             or forward = \"tun\")"
        ));
    }
    if addr == service.addr {
        return Some(format!("address {addr} is the service's own (allowed: the server's address)"));
    }
    // Neither method touches the transport header, so the server sees the service's port.
    if port != service.port && method != Method::Nat {
        return Some(format!(
            "address has port {port}, and {method} cannot change the port (allowed: {}, the service's port, or \
             none; or forward = \"nat\")",
            service.port
        ));
    }
    None
}
