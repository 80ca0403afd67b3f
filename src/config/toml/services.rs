//! `[[virtual_service]]` and `[[virtual_service.real_server]]`.

use super::addresses::{self, Addressed, Taken, helper};
use super::care::care;
use super::checks::{Asked, Checks};
use super::findings::FirstSeen;
use super::persistence::persistence;
use super::section::Section;
use super::slow_start::slow_start;
use super::timeouts::timeouts;
use super::value::{address_and_port, boolean, integer, name, one_of, prime, quoted, wrong_type};
use crate::config::{Real, Removed, Service};
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

pub(super) const REMOVED: [(&str, Removed); 2] =
    [("keep", Removed::Keep), ("expire_nodest", Removed::ExpireNodest)];

/// From what every host takes (RFC 9293, 3.7.1) to what a segment holds at most.
const MSS: RangeInclusive<u16> = 536..=65_495;

/// Reads every `[[virtual_service]]`.
pub(super) fn services(root: &mut Section<'_>) -> Vec<Service> {
    let checks = Checks::shared(root);
    let mut reader = Reader { names: FirstSeen::none(), taken: Taken::none(), reals: 0, checks };
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
    taken: Taken,
    /// How many real servers all services have together.
    reals: usize,
    checks: Checks,
}

/// What a real server takes from its service. Things that were wrong are `None`.
struct Outer<'a> {
    addressed: Option<&'a Addressed>,
    method: Method,
    checks: &'a Asked,
}

impl Reader {
    fn service(&mut self, section: &mut Section<'_>) -> Option<Service> {
        let name = section.optional("name", name);
        if let Some(name) = &name {
            section.entitle(&format!("virtual service {}", quoted(name.get_ref())));
        }
        let addressed = addresses::addressed(section, &mut self.taken);
        let service_name = match (&name, &addressed) {
            (Some(name), _) => name.get_ref().clone(),
            (None, Some(addressed)) => addressed.default_name(),
            (None, None) => String::new(),
        };
        // Services of one address and no name have one name, which the operator did not write.
        if name.is_some() || addressed.as_ref().is_some_and(|addressed| !addressed.is_twin) {
            let address_at = addressed.as_ref().map_or(section.at(), |addressed| addressed.at);
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
        let mut policy = policy(section, addressed.as_ref());
        policy.ftp = helper(section, addressed.as_ref());
        let removed_server = section.optional("removed_server", one_of(&REMOVED)).map(Spanned::into_inner);
        let slow_start = slow_start(section);
        let care = care(section);
        let checks = self.checks.of(section).unwrap_or_default();
        let sorry =
            sorry(section, &Outer { addressed: addressed.as_ref(), method, checks: &Asked::default() });
        let reals = self.reals(section, &Outer { addressed: addressed.as_ref(), method, checks: &checks });
        let is_sorry =
            |real: &&Real| sorry.as_ref().is_some_and(|sorry| sorry.get_ref().endpoint == real.endpoint);
        if let (Some(real), Some(sorry)) = (reals.iter().find(is_sorry), &sorry) {
            let error = format!("sorry_server {} is a real server too (allowed: another one)", real.endpoint);
            section.error(sorry.span().start, &error);
        }
        too_many_for_the_table(section, scheduler, &options, reals.len());
        let Addressed { proto, endpoint, group, at, .. } = addressed?;
        if endpoint.port == 0 && group.is_none() && policy.persistence.is_none() {
            // ipvsadm's words.
            let error =
                "zero port specified for non-persistent service (allowed: with persistent = true, or a port)";
            section.error(at, error);
        }
        let name = service_name;
        Some(Service {
            name,
            proto,
            endpoint,
            group,
            scheduler,
            options,
            policy,
            removed_server,
            slow_start,
            care,
            checks: checks.into_checks(),
            sorry: sorry.map(Spanned::into_inner),
            reals,
        })
    }

    fn reals(&mut self, service: &mut Section<'_>, outer: &Outer<'_>) -> Vec<Real> {
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
            reals.extend(real(&mut section, outer, &mut endpoints, &self.checks));
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

/// `no_server`, `mss_clamp`, `timeouts`, `sloppy_tcp` or `sloppy_sctp`, `one_packet`, and what persistence is to be.
fn policy(section: &mut Section<'_>, addressed: Option<&Addressed>) -> Policy {
    let proto = addressed.map_or(Proto::Tcp, |addressed| addressed.proto);
    let is_v4 = addressed.is_none_or(|addressed| addressed.endpoint.addr.is_ipv4());
    let no_server = section.optional("no_server", one_of(&NO_SERVER));
    let mut policy = Policy {
        no_server: no_server.as_ref().map_or(NoServer::default(), |written| *written.get_ref()),
        mss_clamp: section.optional("mss_clamp", mss_clamp).map_or(MssClamp::default(), Spanned::into_inner),
        timeouts: timeouts(section),
        sloppy: None,
        one_packet: false,
        persistence: persistence(section, is_v4),
        ftp: None,
    };
    for (key, of) in [("sloppy_tcp", Proto::Tcp), ("sloppy_sctp", Proto::Sctp)] {
        policy.sloppy = switch_of(section, key, of, proto).map(Spanned::into_inner).or(policy.sloppy);
    }
    if let Some(written) = switch_of(section, "one_packet", Proto::Udp, proto) {
        policy.one_packet = *written.get_ref();
        if policy.one_packet && addressed.is_some_and(Addressed::is_wide) {
            let error = "one_packet is not for services of many ports (allowed: with a port)";
            section.error(written.span().start, error);
        }
    }
    if let Some(written) = no_server.filter(|_| proto != Proto::Tcp && policy.no_server == NoServer::Reset) {
        let error = format!("no_server \"reset\" is not for {} (allowed: icmp, drop)", proto.word());
        section.error(written.span().start, &error);
        policy.no_server = NoServer::default();
    }
    policy
}

/// A switch that services of one protocol have alone.
fn switch_of(section: &mut Section<'_>, key: &'static str, of: Proto, proto: Proto) -> Option<Spanned<bool>> {
    let written = section.optional(key, boolean)?;
    if proto != of {
        let (proto, of) = (proto.word(), of.word());
        let error = format!("{key} is not for {proto} (allowed: with protocol = \"{of}\")");
        section.error(written.span().start, &error);
    }
    Some(written)
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

/// Why an address is none of a single host that every node knows by it: link-local addresses stand on every link.
pub(super) fn not_a_hosts(addr: IpAddr) -> Option<String> {
    is_link_local(addr).then(|| {
        format!(
            "address {addr} is link-local, which says nothing without its link (allowed: any other address)"
        )
    })
}

fn real(
    section: &mut Section<'_>,
    outer: &Outer<'_>,
    endpoints: &mut FirstSeen<Endpoint>,
    checks: &Checks,
) -> Option<Real> {
    let address = section.required("address", address_and_port);
    if let Some(address) = &address {
        let (addr, port) = *address.get_ref();
        section.entitle(&format!("real server {}", Endpoint::new(addr, port.unwrap_or(0)).brief()));
    }
    let weight = section.optional("weight", integer(0..=u16::MAX)).map_or(1, Spanned::into_inner);
    let method = section.optional("forward", one_of(&METHODS)).map_or(outer.method, Spanned::into_inner);
    let thresholds = thresholds(section);
    let own = checks.of(section);

    let (address, service) = (address?, outer.addressed?);
    let at = address.span().start;
    let (addr, port) = address.into_inner();
    // A server of many ports has them all, unless the operator names one.
    let endpoint = Endpoint::new(addr, port.unwrap_or(service.endpoint.port * u16::from(!service.is_wide())));
    if let Some(error) = cannot_reach(service, endpoint, method) {
        section.error(at, &error);
    }
    if let Some(first) = endpoints.before(endpoint, at) {
        section.error_again(at, first, "address", "each server once in a service");
    }
    own.as_ref().unwrap_or(outer.checks).can_ask(endpoint, service, section, at);
    Some(Real { endpoint, weight, method, thresholds, checks: own.map(Asked::into_checks) })
}

/// `sorry_server`, which nobody checks.
fn sorry(section: &mut Section<'_>, outer: &Outer<'_>) -> Option<Spanned<Real>> {
    let mut table = section.table("sorry_server")?;
    let at = table.at();
    if table.has("check") {
        table.error(at, "check is not for a sorry server, which is the last resort (allowed: none)");
    }
    let real = real(&mut table, outer, &mut FirstSeen::none(), &Checks::none());
    table.finish();
    real.map(|real| Spanned::new(at..at, real))
}

/// Why packets to `service` cannot be forwarded to `real` with `method`.
fn cannot_reach(service: &Addressed, real: Endpoint, method: Method) -> Option<String> {
    let Endpoint { addr, port } = real;
    if let Some(error) = not_a_hosts(addr) {
        return Some(error);
    }
    // Only the outer packet of a tunnel may be of another family than the inner one.
    if addr.is_ipv4() != service.endpoint.addr.is_ipv4() && method != Method::Tun {
        let (found, allowed) = if addr.is_ipv4() { ("IPv4", "IPv6") } else { ("IPv6", "IPv4") };
        return Some(format!(
            "address {addr} is {found} behind an {allowed} service, which {method} cannot bridge (allowed: {allowed}; \
             or forward = \"tun\")"
        ));
    }
    if service.is_own(addr) {
        return Some(format!("address {addr} is the service's own (allowed: the server's address)"));
    }
    if service.endpoint.port == 0 && service.group.is_none() && port != 0 {
        return Some(format!(
            "address has port {port}, and the service has all ports, which lead to the same ones of its servers \
             (allowed: none)"
        ));
    }
    // Neither method touches the transport header, so the server sees the service's port.
    if service.is_wide() && port != 0 && method != Method::Nat {
        return Some(format!(
            "address has port {port}, and {method} cannot change the port (allowed: none; or forward = \"nat\")"
        ));
    }
    if !service.is_wide() && port != service.endpoint.port && method != Method::Nat {
        return Some(format!(
            "address has port {port}, and {method} cannot change the port (allowed: {}, the service's port, or \
             none; or forward = \"nat\")",
            service.endpoint.port
        ));
    }
    None
}
