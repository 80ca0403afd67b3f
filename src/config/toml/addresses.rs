//! What clients address: `address` with `protocol`, or a group's `match` and `fwmark`; and `helper`.

use super::findings::FirstSeen;
use super::section::Section;
use super::services::not_a_hosts;
use super::value::{address_and_port, address_and_ports, integer, one_of};
use crate::net::{Endpoint, Proto};
use crate::service::{ALL_PORTS, Group, Match};
use ::toml::Spanned;
use ::toml::de::DeValue;
use std::collections::HashMap;
use std::net::IpAddr;

/// How many matches a group has at most.
const MAX_MATCHES: usize = 1024;

/// FTP's control port.
const FTP: u16 = 21;

/// What has been addressed by the services read so far.
pub(super) struct Taken {
    /// By protocol and address.
    ports: HashMap<(Proto, IpAddr), Vec<Range>>,
    fwmarks: FirstSeen<(u32, bool)>,
}

/// First port, last port, and where in the file.
type Range = (u16, u16, usize);

/// What one service is addressed by.
pub(super) struct Addressed {
    pub(super) proto: Proto,
    /// The first of the matches; port 0 if it has all ports.
    pub(super) endpoint: Endpoint,
    pub(super) group: Option<Group>,
    /// Where the address stands.
    pub(super) at: usize,
    /// Whether another service has it already, which was said.
    pub(super) is_twin: bool,
}

impl Addressed {
    /// The port at which clients address it by this protocol: `port`, if it is one, or its first; 0 if it has all.
    pub(super) fn port_for(&self, proto: Proto, port: Option<u16>) -> Option<u16> {
        let single = [Match { proto: self.proto, addr: self.endpoint.addr, ports: ports_of(self.endpoint) }];
        let matches = self.group.as_ref().map_or(&single[..], |group| &group.matches);
        let mut of_proto = matches.iter().filter(|to| to.proto == proto);
        match port {
            Some(port) => of_proto.any(|to| to.each_port().contains(&port)).then_some(port),
            None => of_proto.next().map(|to| to.ports.0),
        }
    }
}

fn ports_of(single: Endpoint) -> (u16, u16) {
    if single.port == 0 { ALL_PORTS } else { (single.port, single.port) }
}

impl Taken {
    pub(super) fn none() -> Taken {
        Taken { ports: HashMap::new(), fwmarks: FirstSeen::none() }
    }

    /// Notes a match, or says where its ports were given away before.
    fn take(&mut self, section: &Section<'_>, to: Match, at: usize) -> bool {
        let taken = self.ports.entry((to.proto, to.addr)).or_default();
        // A service of all ports gets what no other one of the address takes.
        let of_all = |ports| ports == ALL_PORTS;
        let meets = |&&(first, last, _): &&Range| {
            first <= to.ports.1 && to.ports.0 <= last && of_all((first, last)) == of_all(to.ports)
        };
        if let Some(&(.., first_at)) = taken.iter().find(meets) {
            section.error_again(at, first_at, "address", "one service per protocol, address and port");
            return false;
        }
        taken.push((to.ports.0, to.ports.1, at));
        true
    }
}

/// Reads what the service is addressed by. `None` if that is wrong, which was said.
pub(super) fn addressed(section: &mut Section<'_>, taken: &mut Taken) -> Option<Addressed> {
    if section.has("match") && !section.has("address") {
        group(section, taken)
    } else {
        single(section, taken)
    }
}

fn single(section: &mut Section<'_>, taken: &mut Taken) -> Option<Addressed> {
    let written = section.required("address", address_and_port);
    let endpoint = written.as_ref().and_then(|written| {
        let (addr, port) = *written.get_ref();
        let error = not_a_hosts(addr).inspect(|error| section.error(written.span().start, error));
        error.is_none().then(|| Endpoint::new(addr, port.unwrap_or(0)))
    });
    if let (false, Some(endpoint)) = (section.has("name"), endpoint) {
        section.entitle(&format!("virtual service {}", endpoint.brief()));
    }
    let proto = section.optional("protocol", protocol).map_or(Proto::Tcp, Spanned::into_inner);
    for key in ["match", "fwmark"] {
        if section.has(key) {
            section
                .error(section.at(), &format!("{key} is for groups (allowed: match and fwmark, or address)"));
        }
    }
    let _ =
        (section.tables("match", "match", MAX_MATCHES), section.optional("fwmark", integer(1..=u32::MAX)));
    let (at, endpoint) = (written?.span().start, endpoint?);
    let ports = ports_of(endpoint);
    let is_twin = !taken.take(section, Match { proto, addr: endpoint.addr, ports }, at);
    Some(Addressed { proto, endpoint, group: None, at, is_twin })
}

fn group(section: &mut Section<'_>, taken: &mut Taken) -> Option<Addressed> {
    let at = section.at();
    let fwmark = section.required("fwmark", integer(1..=u32::MAX));
    if let (false, Some(fwmark)) = (section.has("name"), &fwmark) {
        section.entitle(&format!("virtual service fwmark {}", fwmark.get_ref()));
    }
    let _ = section.optional("address", address_and_port);
    if let Some(proto) = section.optional("protocol", protocol) {
        section
            .error(proto.span().start, "protocol is for a single address (allowed: protocol in each match)");
    }
    let (mut matches, mut is_twin) = (Vec::<Match>::new(), false);
    let mut is_wrong = false;
    for mut inner in section.tables("match", "match", MAX_MATCHES) {
        let written = inner.required("address", address_and_ports);
        let proto = inner.optional("protocol", protocol).map_or(Proto::Tcp, Spanned::into_inner);
        let to = written.and_then(|written| {
            let (at, (addr, ports)) = (written.span().start, written.into_inner());
            let of_another_family =
                matches.first().is_some_and(|first| first.addr.is_ipv4() != addr.is_ipv4()).then(|| {
                    format!("address {addr} is of another family than the first (allowed: a group for each family)")
                });
            if let Some(error) = not_a_hosts(addr).or(of_another_family) {
                inner.error(at, &error);
                return None;
            }
            let to = Match { proto, addr, ports };
            is_twin |= !taken.take(&inner, to, at);
            Some(to)
        });
        is_wrong |= to.is_none();
        matches.extend(to);
        inner.finish();
    }
    if matches.is_empty() && !is_wrong {
        section.error(
            at,
            "match is empty (allowed: what clients address, such as [{ address = \"192.0.2.100:80\" }])",
        );
    }
    let first = *matches.first()?;
    let fwmark = fwmark?;
    let (fwmark_at, fwmark) = (fwmark.span().start, fwmark.into_inner());
    if let Some(before) = taken.fwmarks.before((fwmark, first.addr.is_ipv4()), fwmark_at) {
        section.error_again(fwmark_at, before, "fwmark", "each number once in a family");
    }
    let port = if first.ports == ALL_PORTS { 0 } else { first.ports.0 };
    let endpoint = Endpoint::new(first.addr, port);
    Some(Addressed { proto: first.proto, endpoint, group: Some(Group { fwmark, matches }), at, is_twin })
}

impl Addressed {
    /// What the service is called if the operator gives it no name.
    pub(super) fn default_name(&self) -> String {
        match &self.group {
            Some(group) if self.endpoint.addr.is_ipv4() => format!("fwmark {}", group.fwmark),
            Some(group) => format!("fwmark {} IPv6", group.fwmark),
            None => {
                format!("{} {}", self.proto.word(), self.endpoint.brief())
            }
        }
    }

    /// Whether it is addressed at more than one port.
    pub(super) fn is_wide(&self) -> bool {
        self.group.is_some() || self.endpoint.port == 0
    }

    /// The address of the VIP, or VIPs.
    pub(super) fn is_own(&self, addr: IpAddr) -> bool {
        let of_group = |group: &Group| group.matches.iter().any(|to| to.addr == addr);
        self.endpoint.addr == addr || self.group.as_ref().is_some_and(of_group)
    }
}

/// `protocol`.
fn protocol(value: &DeValue<'_>) -> Result<Proto, String> {
    one_of(&Proto::ALL.map(|proto| (proto.word(), proto)))(value)
}

/// Which port FTP's control connections come to, by `helper`: without it, TCP port 21, as with IPVS's ip_vs_ftp.
pub(super) fn helper(section: &mut Section<'_>, addressed: Option<&Addressed>) -> Option<u16> {
    let written = section.optional("helper", one_of(&[("ftp", true), ("none", false)]));
    let addressed = addressed?;
    let ftp = Endpoint::new(addressed.endpoint.addr, FTP);
    let takes_21 = match &addressed.group {
        Some(group) => group.matches.iter().any(|to| to.takes(Proto::Tcp, Endpoint::new(to.addr, FTP))),
        None => addressed.proto == Proto::Tcp && [0, ftp.port].contains(&addressed.endpoint.port),
    };
    let is_tcp = addressed.group.is_some() || addressed.proto == Proto::Tcp;
    match written.map(|written| (written.span().start, written.into_inner())) {
        None => takes_21.then_some(FTP),
        Some((_, false)) => None,
        Some((at, true)) if !is_tcp => {
            section.error(at, "helper \"ftp\" is not for udp (allowed: none)");
            None
        }
        Some((at, true)) if addressed.is_wide() && !takes_21 => {
            section
                .error(at, "helper \"ftp\" finds no TCP port 21 among the matches (allowed: with port 21)");
            None
        }
        Some((_, true)) => Some(if addressed.is_wide() { FTP } else { addressed.endpoint.port }),
    }
}
