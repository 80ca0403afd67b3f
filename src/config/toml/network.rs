//! `[[interface]]`, `[[route]]` and `[[neighbour]]`.

use super::findings::{Findings, FirstSeen};
use super::section::Section;
use super::value::{address, did_you_mean, integer, interface_address, mac, name, network, one_of, quoted};
use crate::config::{Interface, Neighbour, Route};
use crate::dataplane::nexthop::Vlan;
use crate::net::{InterfaceId, Prefix, is_link_local};
use crate::wire::vlan::Tag;
use ::toml::Spanned;
use std::collections::HashMap;
use std::net::IpAddr;

/// How many interfaces one director works on.
const MAX_INTERFACES: usize = 256;
/// How many static routes, and how many static neighbours, a file holds.
const MAX_ENTRIES: usize = 1 << 17;

/// The interfaces, and how the rest of the file refers to them.
pub(super) struct Interfaces {
    /// In the file's order. Not all of the file's if there were errors.
    pub(super) list: Vec<Interface>,
    by_name: HashMap<String, InterfaceId>,
    /// Whether an error was found in one, so that what is not found here may well be in the file.
    faulty: bool,
}

/// Reads every `[[interface]]`.
pub(super) fn interfaces(root: &mut Section<'_>, findings: &Findings) -> Interfaces {
    let errors_before = findings.count();
    let mut list = Vec::new();
    let mut by_name = HashMap::new();
    let mut names = FirstSeen::none();
    for mut section in root.tables("interface", "interface", MAX_INTERFACES) {
        if let Some(interface) = interface(&mut section, &mut names, &list) {
            by_name.entry(interface.name.clone()).or_insert(InterfaceId(list.len() as u16));
            list.push(interface);
        }
        section.finish();
    }
    let faulty = findings.count() > errors_before;
    if list.is_empty() && !faulty {
        root.error(0, "interface is missing (allowed: one [[interface]] at least, with its name)");
    }
    Interfaces { list, by_name, faulty }
}

fn interface(
    section: &mut Section<'_>,
    names: &mut FirstSeen<String>,
    before: &[Interface],
) -> Option<Interface> {
    let name = section.required("name", name);
    if let Some(name) = &name {
        section.entitle(&format!("interface {}", quoted(name.get_ref())));
        let at = name.span().start;
        if let Some(first) = names.before(name.get_ref().clone(), at) {
            section.error_again(at, first, "name", "each interface once");
        }
    }
    let mac = section.optional("mac", mac).map(Spanned::into_inner);
    let addresses = section.list("addresses", "addresses, such as [\"192.0.2.1/24\"]", interface_address);
    let addresses = addresses.into_iter().map(Spanned::into_inner).collect();
    // RFC 791: every link carries 68 bytes; and a length field of IPv4 counts to 65535.
    let mtu_bytes = section.optional("mtu", integer(68..=u16::MAX)).map(Spanned::into_inner);
    let vlan = vlan(section, before);
    Some(Interface { name: name?.into_inner(), mac, addresses, mtu_bytes, vlan })
}

/// The VLAN that an interface is on one of those `before` it.
fn vlan(section: &mut Section<'_>, before: &[Interface]) -> Option<Vlan> {
    let (has_parent, has_id) = (section.has("parent"), section.has("vlan"));
    let parent = section.optional("parent", name);
    let id = section.optional("vlan", integer(1..=4094));
    let protocol =
        section.optional("vlan_protocol", one_of(&[("802.1q", Tag::DOT1Q), ("802.1ad", Tag::DOT1AD)]));
    if has_parent != has_id || (protocol.is_some() && !has_id) {
        let missing = if has_parent { "vlan" } else { "parent" };
        section.error(section.at(), &format!("{missing} is missing (allowed: parent and vlan, or neither)"));
        return None;
    }
    let (parent, id) = (parent?, id?);
    let at = id.span().start;
    let names = || before.iter().map(|interface| interface.name.as_str());
    let Some(place) = names().position(|name| name == parent.get_ref()) else {
        let error = format!(
            "parent {} is unknown{} (allowed: an interface before this one)",
            quoted(parent.get_ref()),
            did_you_mean(parent.get_ref(), names())
        );
        section.error(parent.span().start, &error);
        return None;
    };
    let is_deep = before[place].vlan.is_some_and(|vlan| before[vlan.parent.index()].vlan.is_some());
    if is_deep {
        let error = "parent is a VLAN in a VLAN (allowed: two tags at most)";
        section.error(parent.span().start, error);
        return None;
    }
    let protocol = protocol.map_or(Tag::DOT1Q, Spanned::into_inner);
    let vlan = Vlan { parent: InterfaceId(place as u16), tag: Tag { protocol, vlan: id.into_inner() } };
    if let Some(twin) = before.iter().find(|interface| interface.vlan == Some(vlan)) {
        let error =
            format!("vlan {} is {} already (allowed: each VLAN once)", vlan.tag.vlan, quoted(&twin.name));
        section.error(at, &error);
    }
    Some(vlan)
}

impl Interfaces {
    /// The interface that the section's `interface` names, if it has that key; otherwise the one whose own
    /// prefix holds `addr` (the longest such prefix). `None` if there is none, which is then said.
    fn resolve(
        &self,
        section: &mut Section<'_>,
        key: &str,
        addr: Option<Spanned<IpAddr>>,
    ) -> Option<InterfaceId> {
        let has_name = section.has("interface");
        let name = section.optional("interface", name);
        if has_name {
            return self.named(section, &name?);
        }
        let addr = addr?;
        if is_link_local(*addr.get_ref()) {
            let error = format!(
                "{key} \"{}\" is link-local, which may be on any link (allowed: with interface = its name)",
                addr.get_ref()
            );
            section.error(addr.span().start, &error);
            return None;
        }
        let found = self.holding(*addr.get_ref());
        if found.is_none() && !self.faulty {
            let error = format!(
                "{key} \"{}\" is in no interface's prefix (allowed: a neighbour of an interface, or interface = \
                 its name)",
                addr.get_ref()
            );
            section.error(addr.span().start, &error);
        }
        found
    }

    fn named(&self, section: &Section<'_>, name: &Spanned<String>) -> Option<InterfaceId> {
        let found = self.by_name.get(name.get_ref()).copied();
        if found.is_none() && !self.faulty {
            let names = || self.list.iter().map(|interface| interface.name.as_str());
            let error = format!(
                "interface {} is unknown{} (allowed: {})",
                quoted(name.get_ref()),
                did_you_mean(name.get_ref(), names()),
                names().collect::<Vec<_>>().join(", ")
            );
            section.error(name.span().start, &error);
        }
        found
    }

    fn holding(&self, addr: IpAddr) -> Option<InterfaceId> {
        let prefixes = self.list.iter().enumerate().flat_map(|(index, interface)| {
            interface.addresses.iter().map(move |prefix| (InterfaceId(index as u16), prefix))
        });
        prefixes
            .filter(|(_, prefix)| prefix.contains(addr) && prefix.addr != addr)
            // Of equals the first, as a file is read.
            .reduce(|best, next| if next.1.len > best.1.len { next } else { best })
            .map(|(interface, _)| interface)
    }
}

/// Reads every `[[route]]`.
pub(super) fn routes(root: &mut Section<'_>, interfaces: &Interfaces) -> Vec<Route> {
    let mut destinations = FirstSeen::none();
    let mut routes = Vec::new();
    for mut section in root.tables("route", "route", MAX_ENTRIES) {
        let to = section.required("to", network);
        if let Some(to) = &to {
            section.entitle(&format!("route to {}", to.get_ref()));
            let at = to.span().start;
            if let Some(first) = destinations.before(*to.get_ref(), at) {
                section.error_again(at, first, "to", "one route to a prefix");
            }
        }
        if let Some(route) = route(&mut section, to.map(Spanned::into_inner), interfaces) {
            routes.push(route);
        }
        section.finish();
    }
    routes
}

fn route(section: &mut Section<'_>, to: Option<Prefix>, interfaces: &Interfaces) -> Option<Route> {
    let via_or_interface = section.has("via") || section.has("interface");
    let via = section.optional("via", address);
    let source = section.optional("source", address);
    for (key, addr) in [("via", &via), ("source", &source)] {
        if let (Some(to), Some(addr)) = (to, addr)
            && addr.get_ref().is_ipv4() != to.addr.is_ipv4()
        {
            let (found, family) = (addr.get_ref(), if to.addr.is_ipv4() { "IPv4" } else { "IPv6" });
            let error = format!("{key} \"{found}\" is of another family than the route (allowed: {family})");
            section.error(addr.span().start, &error);
        }
    }
    let gateway = via.as_ref().map(|via| *via.get_ref());
    let interface = interfaces.resolve(section, "via", via);
    if !via_or_interface {
        section.error(section.at(), "via is missing (allowed: via, interface, or both)");
    }
    Some(Route { to: to?, via: gateway, interface: interface?, source: source.map(Spanned::into_inner) })
}

/// Reads every `[[neighbour]]`.
pub(super) fn neighbours(root: &mut Section<'_>, interfaces: &Interfaces) -> Vec<Neighbour> {
    let mut addresses = FirstSeen::none();
    let mut neighbours = Vec::new();
    for mut section in root.tables("neighbour", "neighbour", MAX_ENTRIES) {
        let address = section.required("address", address);
        if let Some(address) = &address {
            section.entitle(&format!("neighbour {}", address.get_ref()));
        }
        let whose = address.as_ref().map(|address| (*address.get_ref(), address.span().start));
        let mac = section.required("mac", mac);
        let interface = interfaces.resolve(&mut section, "address", address);
        if let (Some((address, at)), Some(interface)) = (whose, interface) {
            if let Some(first) = addresses.before((interface, address), at) {
                section.error_again(at, first, "address", "one MAC per neighbour");
            }
            if let Some(mac) = mac {
                neighbours.push(Neighbour { address, mac: mac.into_inner(), interface });
            }
        }
        section.finish();
    }
    neighbours
}
