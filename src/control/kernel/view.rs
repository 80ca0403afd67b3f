//! What the kernel has told of the network so far. Pure: messages in, a [`Rib`] out.

use super::asks::Standing;
use super::netlink::Message;
use super::routes::Routes;
use crate::dataplane::nexthop::{Link, Neighbour, Rib, Vlan};
use crate::net::{InterfaceId, Mac, Prefix};
use crate::wire::vlan::Tag;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, VlanProtocol,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::collections::HashMap;
use std::net::IpAddr;

/// All links, addresses and neighbours, and the main routing table.
#[derive(Debug)]
pub(super) struct View {
    /// The interfaces that lvx works on, then the VLANs on them as they were first heard of; [`InterfaceId`] is a place
    /// in this list.
    names: Vec<String>,
    /// By the kernel's index, as everything below.
    links: HashMap<u32, LinkFacts>,
    addresses: HashMap<u32, Vec<Address>>,
    neighbours: HashMap<(u32, IpAddr), (NeighbourState, Option<Mac>)>,
    routes: Routes,
}

/// An address of an interface's.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Address {
    prefix: Prefix,
    /// Not for packets that the host begins (IFA_F_DEPRECATED), as IPv6 VIPs often are.
    deprecated: bool,
}

/// What a link message says of a link.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LinkFacts {
    pub name: String,
    pub mac: Mac,
    pub mtu_bytes: u32,
    /// Administratively up (IFF_UP).
    pub admin_up: bool,
    /// With carrier (IFF_LOWER_UP).
    pub carrier: bool,
    /// Receive queues that the driver may have at most, those not in use included.
    pub rx_queues: u32,
    /// The index of the link that it is a VLAN on, and the VLAN.
    pub vlan: Option<(u32, Tag)>,
}

impl LinkFacts {
    fn up(&self) -> bool {
        self.admin_up && self.carrier
    }
}

impl View {
    /// A view of nothing yet.
    pub fn new(names: &[String]) -> View {
        View {
            names: names.to_vec(),
            links: HashMap::new(),
            addresses: HashMap::new(),
            neighbours: HashMap::new(),
            routes: Routes::default(),
        }
    }

    /// Takes in a message. Says whether the [`Rib`] may have changed by it.
    pub fn apply(&mut self, message: &Message) -> bool {
        match &message.body {
            RouteNetlinkMessage::NewLink(link) => self.link(link),
            RouteNetlinkMessage::DelLink(link) => self.no_link(link),
            RouteNetlinkMessage::NewAddress(address) => self.address(address),
            RouteNetlinkMessage::DelAddress(address) => self.no_address(address),
            RouteNetlinkMessage::NewRoute(route) => self.routes.add(route, message.flags),
            RouteNetlinkMessage::DelRoute(route) => self.routes.remove(route),
            RouteNetlinkMessage::NewNeighbour(neighbour) => self.neighbour(neighbour, false),
            RouteNetlinkMessage::DelNeighbour(neighbour) => self.neighbour(neighbour, true),
            _ => false,
        }
    }

    /// Whether the kernel's routes may differ from these without a message to tell, and should be read again.
    /// Asking settles it.
    pub fn take_doubt(&mut self) -> bool {
        std::mem::take(&mut self.routes.in_doubt)
    }

    /// A link's facts and index, by the place of its name.
    pub fn interface(&self, id: InterfaceId) -> Option<(u32, &LinkFacts)> {
        self.by_name(self.names.get(id.index())?)
    }

    /// The names of all links there are, in order.
    pub fn present(&self) -> Vec<String> {
        let mut names: Vec<_> = self.links.values().map(|link| link.name.clone()).collect();
        names.sort();
        names
    }

    /// How the kernel stands with a neighbour; `None` if there is no use in asking, for its link is down.
    pub fn standing(&self, interface: InterfaceId, address: IpAddr) -> Option<Standing> {
        let (index, _) = self.interface(interface).filter(|(_, link)| link.up())?;
        Some(match self.neighbours.get(&(index, address)) {
            Some((NeighbourState::Reachable | NeighbourState::Permanent | NeighbourState::Noarp, _)) => {
                Standing::Sure
            }
            None | Some((NeighbourState::Failed | NeighbourState::None, _)) => Standing::Unknown,
            Some(_) => Standing::Unsure,
        })
    }

    /// What the packet path needs of it.
    pub fn rib(&self) -> Rib {
        let links = self.names.iter().map(|name| self.compile_link(name)).collect();
        let is_up = |index: u32| self.links.get(&index).is_some_and(LinkFacts::up);
        let routes = self.routes.compile(is_up, |index| self.id(index));
        let mut neighbours: Vec<Neighbour> = self
            .neighbours
            .iter()
            .filter_map(|(&(index, address), &(state, mac))| {
                Some(Neighbour { interface: self.id(index)?, address, mac: usable(state, mac)? })
            })
            .collect();
        neighbours.sort_by_key(|n| (n.interface, n.address));
        Rib { links, routes, neighbours }
    }

    fn compile_link(&self, name: &str) -> Link {
        let Some((index, link)) = self.by_name(name) else {
            let (mac, addresses) = (Mac::ZERO, Vec::new());
            return Link { name: name.to_owned(), mac, mtu_bytes: 0, addresses, up: false, vlan: None };
        };
        Link {
            name: name.to_owned(),
            mac: link.mac,
            mtu_bytes: link.mtu_bytes.try_into().unwrap_or(u16::MAX),
            addresses: self.compile_addresses(index),
            up: link.up(),
            vlan: link.vlan.and_then(|(parent, tag)| Some(Vlan { parent: self.id(parent)?, tag })),
        }
    }

    /// In the kernel's order, but deprecated ones last: of several that would do, the first is the source of a
    /// tunnel.
    fn compile_addresses(&self, index: u32) -> Vec<Prefix> {
        let all = || self.addresses.get(&index).into_iter().flatten();
        let with = |deprecated| all().filter(move |address| address.deprecated == deprecated);
        with(false).chain(with(true)).map(|address| address.prefix).collect()
    }

    fn by_name(&self, name: &str) -> Option<(u32, &LinkFacts)> {
        self.links.iter().find(|(_, link)| link.name == name).map(|(&index, link)| (index, link))
    }

    fn id(&self, index: u32) -> Option<InterfaceId> {
        let name = &self.links.get(&index)?.name;
        self.names.iter().position(|n| n == name).map(|place| InterfaceId(place as u16))
    }

    fn link(&mut self, message: &LinkMessage) -> bool {
        // A bridge speaks of its ports in messages of its own family.
        if message.header.interface_family != AddressFamily::Unspec {
            return false;
        }
        let index = message.header.index;
        let before = self.links.get(&index).cloned();
        let after = link_facts(message, before.clone());
        // IPv4 routes through a link that goes down vanish without a message.
        self.routes.in_doubt |= before.as_ref().is_some_and(|b| b.admin_up) && !after.admin_up;
        let changed = before.as_ref() != Some(&after);
        self.links.insert(index, after);
        self.name_vlans();
        changed
    }

    /// Names the VLANs on links that have a name, and those in them.
    fn name_vlans(&mut self) {
        let is_new = |view: &View, link: &LinkFacts| {
            let on_ours = link.vlan.is_some_and(|(parent, _)| view.id(parent).is_some());
            on_ours && !view.names.contains(&link.name)
        };
        while self.names.len() < u16::MAX as usize {
            let mut new: Vec<_> = self.links.iter().filter(|(_, link)| is_new(self, link)).collect();
            new.sort_by_key(|(index, _)| **index);
            let Some(name) = new.first().map(|(_, link)| link.name.clone()) else { return };
            self.names.push(name);
        }
    }

    fn no_link(&mut self, message: &LinkMessage) -> bool {
        if message.header.interface_family != AddressFamily::Unspec {
            return false;
        }
        let index = message.header.index;
        self.addresses.remove(&index);
        self.neighbours.retain(|&(link, _), _| link != index);
        let known = self.links.remove(&index).is_some();
        self.routes.in_doubt |= known;
        known
    }

    fn address(&mut self, message: &AddressMessage) -> bool {
        let Some(prefix) = prefix(message) else { return false };
        let flags = message.header.flags;
        if flags.intersects(AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed) {
            return self.forget_address(message.header.index, prefix);
        }
        let address = Address { prefix, deprecated: flags.contains(AddressHeaderFlags::Deprecated) };
        let addresses = self.addresses.entry(message.header.index).or_default();
        let known = addresses.iter_mut().find(|known| known.prefix == prefix);
        let new = known.as_ref().is_none_or(|known| **known != address);
        match known {
            Some(known) => *known = address,
            None => addresses.push(address),
        }
        new
    }

    fn no_address(&mut self, message: &AddressMessage) -> bool {
        // IPv4 routes that prefer the address as their source vanish without a message.
        self.routes.in_doubt = true;
        prefix(message).is_some_and(|address| self.forget_address(message.header.index, address))
    }

    fn forget_address(&mut self, index: u32, address: Prefix) -> bool {
        let Some(addresses) = self.addresses.get_mut(&index) else { return false };
        let place = addresses.iter().position(|known| known.prefix == address);
        place.map(|place| addresses.remove(place)).is_some()
    }

    fn neighbour(&mut self, message: &NeighbourMessage, gone: bool) -> bool {
        let header = &message.header;
        // Bridges tell their forwarding tables as neighbours too, and proxied addresses are the host's own.
        let ip = matches!(header.family, AddressFamily::Inet | AddressFamily::Inet6);
        if !ip || header.flags.contains(NeighbourFlags::Proxy) {
            return false;
        }
        let (mut address, mut mac) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(a)) => address = Some((*a).into()),
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(a)) => address = Some((*a).into()),
                NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes[..].try_into().ok().map(Mac),
                _ => {}
            }
        }
        // The kernel lists the multicast groups it sends to; they resolve by arithmetic, not by asking.
        let Some(address) = address.filter(|a: &IpAddr| !a.is_multicast()) else { return false };
        let key = (header.ifindex, address);
        let before = match gone {
            true => self.neighbours.remove(&key),
            false => self.neighbours.insert(key, (header.state, mac)),
        };
        let before = before.and_then(|(state, mac)| usable(state, mac));
        let after = if gone { None } else { usable(header.state, mac) };
        before != after && self.id(header.ifindex).is_some()
    }
}

/// The MAC to send to, if the kernel itself would send to it.
fn usable(state: NeighbourState, mac: Option<Mac>) -> Option<Mac> {
    use NeighbourState::*;
    mac.filter(|_| matches!(state, Reachable | Stale | Delay | Probe | Permanent | Noarp))
}

fn link_facts(message: &LinkMessage, before: Option<LinkFacts>) -> LinkFacts {
    let flags = message.header.flags;
    let mut facts = before.unwrap_or(LinkFacts {
        name: String::new(),
        mac: Mac::ZERO,
        mtu_bytes: 0,
        admin_up: false,
        carrier: false,
        rx_queues: 1,
        vlan: None,
    });
    facts.admin_up = flags.contains(LinkFlags::Up);
    facts.carrier = flags.contains(LinkFlags::LowerUp);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => facts.name.clone_from(name),
            LinkAttribute::Address(bytes) => facts.mac = bytes[..].try_into().map_or(Mac::ZERO, Mac),
            LinkAttribute::Mtu(mtu) => facts.mtu_bytes = *mtu,
            LinkAttribute::NumRxQueues(queues) => facts.rx_queues = *queues,
            _ => {}
        }
    }
    facts.vlan = vlan(&message.attributes).or(facts.vlan);
    facts
}

/// The link below and the tag, if the link is a VLAN in this network namespace.
fn vlan(attributes: &[LinkAttribute]) -> Option<(u32, Tag)> {
    let (mut parent, mut id, mut protocol) = (None, None, Tag::DOT1Q);
    for attribute in attributes {
        match attribute {
            LinkAttribute::Link(index) => parent = Some(*index),
            // In another namespace, the index says nothing here.
            LinkAttribute::LinkNetNsId(_) => return None,
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    let LinkInfo::Data(InfoData::Vlan(data)) = info else { continue };
                    for datum in data {
                        match datum {
                            InfoVlan::Id(vlan) => id = Some(*vlan),
                            InfoVlan::Protocol(VlanProtocol::Ieee8021Ad) => protocol = Tag::DOT1AD,
                            _ => {}
                        }
                    }
                }
            }
            _ => {}
        }
    }
    Some((parent?, Tag { protocol, vlan: id? }))
}

/// The address of an address message. IFA_LOCAL is the host's own where IFA_ADDRESS is its peer's, and then
/// the prefix is the peer's too.
fn prefix(message: &AddressMessage) -> Option<Prefix> {
    let (mut address, mut local) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(a) => address = Some(*a),
            AddressAttribute::Local(a) => local = Some(*a),
            _ => {}
        }
    }
    match local {
        Some(own) if address.is_some_and(|a| a != own) => Some(Prefix::host(own)),
        own => Prefix::new(own.or(address)?, message.header.prefix_len),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::nexthop::Route;
    use netlink_packet_core::NLM_F_REPLACE;
    use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteType};

    const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
    const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

    fn told(body: RouteNetlinkMessage) -> Message {
        Message { flags: 0, body }
    }

    fn link(index: u32, name: &str, flags: LinkFlags) -> LinkMessage {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.header.flags = flags;
        link.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Address(vec![2, 0, 0, 0, 1, index as u8]),
            LinkAttribute::Mtu(1500),
        ];
        link
    }

    fn address(index: u32, text: &str) -> AddressMessage {
        let address: Prefix = text.parse().unwrap();
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = address.len;
        message.attributes = vec![AddressAttribute::Address(address.addr)];
        message
    }

    fn neighbour(index: u32, ip: &str, state: NeighbourState, mac: Option<[u8; 6]>) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = index;
        message.header.state = state;
        message.attributes =
            vec![NeighbourAttribute::Destination(NeighbourAddress::Inet(ip.parse().unwrap()))];
        message.attributes.extend(mac.map(|mac| NeighbourAttribute::LinkLayerAddress(mac.to_vec())));
        message
    }

    fn default_route(gateway: &str, index: u32) -> RouteMessage {
        let mut route = RouteMessage::default();
        route.header.address_family = AddressFamily::Inet;
        route.header.table = RouteHeader::RT_TABLE_MAIN;
        route.header.kind = RouteType::Unicast;
        let gateway: IpAddr = gateway.parse().unwrap();
        route.attributes = vec![RouteAttribute::Gateway(gateway.into()), RouteAttribute::Oif(index)];
        route
    }

    fn up() -> LinkFlags {
        LinkFlags::Up | LinkFlags::LowerUp
    }

    /// eth0 with index 7 is lvx's interface 0; mgmt with index 3 is none of lvx's.
    fn view() -> View {
        let mut view = View::new(&["eth0".to_owned()]);
        view.apply(&told(RouteNetlinkMessage::NewLink(link(7, "eth0", up()))));
        view.apply(&told(RouteNetlinkMessage::NewLink(link(3, "mgmt", up()))));
        view.apply(&told(RouteNetlinkMessage::NewAddress(address(7, "10.0.0.2/24"))));
        view.apply(&told(RouteNetlinkMessage::NewRoute(default_route("10.0.0.1", 7))));
        view
    }

    #[test]
    fn the_rib_holds_the_links_that_lvx_works_on_in_its_own_order() {
        let mut view = View::new(&["eth1".to_owned(), "eth0".to_owned()]);
        view.apply(&told(RouteNetlinkMessage::NewLink(link(7, "eth0", up()))));
        view.apply(&told(RouteNetlinkMessage::NewLink(link(8, "eth1", LinkFlags::Up))));
        view.apply(&told(RouteNetlinkMessage::NewAddress(address(7, "10.0.0.2/24"))));
        let links = view.rib().links;
        assert_eq!((links[0].name.as_str(), links[0].up), ("eth1", false), "no carrier");
        assert_eq!((links[1].mac, links[1].mtu_bytes, links[1].up), (Mac([2, 0, 0, 0, 1, 7]), 1500, true));
        assert_eq!(links[1].addresses, ["10.0.0.2/24".parse().unwrap()]);
    }

    #[test]
    fn a_vlan_on_an_interface_of_ours_is_a_link_of_its_own_whose_routes_lead_there() {
        let vlan_on = |index, parent, name: &str, id, protocol| {
            let mut vlan = link(index, name, up());
            let data = vec![InfoVlan::Id(id), InfoVlan::Protocol(protocol)];
            vlan.attributes.push(LinkAttribute::Link(parent));
            vlan.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Data(InfoData::Vlan(data))]));
            told(RouteNetlinkMessage::NewLink(vlan))
        };
        let mut view = View::new(&["eth0".to_owned()]);
        view.apply(&vlan_on(9, 8, "eth0.100.7", 7, VlanProtocol::Ieee8021Q));
        view.apply(&vlan_on(10, 3, "mgmt.5", 5, VlanProtocol::Ieee8021Q));
        view.apply(&told(RouteNetlinkMessage::NewLink(link(3, "mgmt", up()))));
        view.apply(&told(RouteNetlinkMessage::NewLink(link(7, "eth0", up()))));
        view.apply(&vlan_on(8, 7, "eth0.100", 100, VlanProtocol::Ieee8021Ad));
        view.apply(&told(RouteNetlinkMessage::NewRoute(default_route("10.0.0.1", 9))));
        let rib = view.rib();
        let names: Vec<&str> = rib.links.iter().map(|link| link.name.as_str()).collect();
        assert_eq!(names, ["eth0", "eth0.100", "eth0.100.7"], "not those on other interfaces");
        let vlan =
            |parent, protocol, vlan| Some(Vlan { parent: InterfaceId(parent), tag: Tag { protocol, vlan } });
        let vlans: Vec<_> = rib.links.iter().map(|link| link.vlan).collect();
        assert_eq!(vlans, [None, vlan(0, Tag::DOT1AD, 100), vlan(1, Tag::DOT1Q, 7)]);
        assert_eq!(rib.routes[0].interface, Some(InterfaceId(2)));
    }

    #[test]
    fn news_that_repeat_what_is_known_change_nothing() {
        let mut view = view();
        assert!(!view.apply(&told(RouteNetlinkMessage::NewLink(link(7, "eth0", up())))));
        assert!(!view.apply(&told(RouteNetlinkMessage::NewAddress(address(7, "10.0.0.2/24")))));
        assert!(!view.apply(&told(RouteNetlinkMessage::NewRoute(default_route("10.0.0.1", 7)))));
    }

    #[test]
    fn an_address_comes_and_goes_and_its_going_puts_the_routes_in_doubt() {
        let mut view = view();
        assert!(view.apply(&told(RouteNetlinkMessage::NewAddress(address(7, "10.0.0.100/32")))));
        assert!(!view.take_doubt());
        assert!(view.apply(&told(RouteNetlinkMessage::DelAddress(address(7, "10.0.0.100/32")))));
        assert_eq!(view.rib().links[0].addresses.len(), 1);
        assert!(view.take_doubt() && !view.take_doubt());
    }

    #[test]
    fn an_address_is_not_used_before_it_is_known_to_be_unique() {
        let mut view = view();
        let mut tentative = address(7, "2001:db8::2/64");
        tentative.header.flags = AddressHeaderFlags::Tentative;
        assert!(!view.apply(&told(RouteNetlinkMessage::NewAddress(tentative))));
        assert!(view.apply(&told(RouteNetlinkMessage::NewAddress(address(7, "2001:db8::2/64")))));
    }

    #[test]
    fn an_address_that_is_not_for_the_hosts_own_packets_stands_behind_the_others() {
        let mut view = view();
        let vip = |flags| {
            let mut vip = address(7, "2001:db8::100/64");
            vip.header.flags = flags;
            told(RouteNetlinkMessage::NewAddress(vip))
        };
        let addresses =
            |view: &View| view.rib().links[0].addresses.iter().map(Prefix::to_string).collect::<Vec<_>>();
        view.apply(&vip(AddressHeaderFlags::Deprecated));
        view.apply(&told(RouteNetlinkMessage::NewAddress(address(7, "2001:db8::2/64"))));
        assert_eq!(addresses(&view), ["10.0.0.2/24", "2001:db8::2/64", "2001:db8::100/64"]);
        assert!(!view.apply(&vip(AddressHeaderFlags::Deprecated)));
        assert!(view.apply(&vip(AddressHeaderFlags::empty())), "it is for all packets now");
        assert_eq!(addresses(&view), ["10.0.0.2/24", "2001:db8::100/64", "2001:db8::2/64"]);
    }

    #[test]
    fn the_address_of_a_point_to_point_link_is_the_hosts_own() {
        let mut message = address(7, "10.9.0.1/24");
        message.attributes.push(AddressAttribute::Local("10.9.0.2".parse().unwrap()));
        assert_eq!(prefix(&message), Some("10.9.0.2/32".parse().unwrap()));
    }

    #[test]
    fn a_link_that_goes_down_stays_in_its_place_and_puts_the_routes_in_doubt() {
        let mut view = view();
        assert!(view.apply(&told(RouteNetlinkMessage::NewLink(link(7, "eth0", LinkFlags::empty())))));
        assert!(!view.rib().links[0].up && view.take_doubt());
        assert!(view.apply(&told(RouteNetlinkMessage::DelLink(link(7, "eth0", LinkFlags::empty())))));
        let rib = view.rib();
        assert_eq!((rib.links[0].name.as_str(), rib.links[0].mac), ("eth0", Mac::ZERO));
    }

    #[test]
    fn a_port_that_leaves_its_bridge_is_not_a_link_that_is_gone() {
        let mut view = view();
        let mut port = link(7, "eth0", up());
        port.header.interface_family = AddressFamily::Bridge;
        assert!(!view.apply(&told(RouteNetlinkMessage::DelLink(port))));
        assert!(view.rib().links[0].up);
    }

    #[test]
    fn a_link_that_comes_back_with_another_index_is_found_by_its_name() {
        let mut view = view();
        view.apply(&told(RouteNetlinkMessage::DelLink(link(7, "eth0", up()))));
        view.apply(&told(RouteNetlinkMessage::NewLink(link(9, "eth0", up()))));
        assert_eq!(view.interface(InterfaceId(0)).map(|(index, _)| index), Some(9));
    }

    #[test]
    fn a_neighbour_is_in_the_rib_in_the_states_in_which_the_kernel_sends_to_it() {
        use NeighbourState::*;
        for state in [Reachable, Stale, Delay, Probe, Permanent, Noarp, Incomplete, Failed, None] {
            let mut view = view();
            let new = told(RouteNetlinkMessage::NewNeighbour(neighbour(7, "10.0.0.1", state, Some(MAC_A))));
            let known = !matches!(state, Incomplete | Failed | None);
            assert_eq!(view.apply(&new), known, "{state}");
            assert_eq!(view.rib().neighbours.len(), usize::from(known), "{state}");
        }
    }

    #[test]
    fn a_neighbours_new_mac_is_news_and_its_new_state_is_not() {
        let mut view = view();
        let new =
            |state, mac| told(RouteNetlinkMessage::NewNeighbour(neighbour(7, "10.0.0.1", state, Some(mac))));
        assert!(view.apply(&new(NeighbourState::Reachable, MAC_A)));
        assert!(!view.apply(&new(NeighbourState::Stale, MAC_A)));
        assert!(view.apply(&new(NeighbourState::Stale, MAC_B)));
        assert_eq!(view.rib().neighbours[0].mac, Mac(MAC_B));
        let gone = neighbour(7, "10.0.0.1", NeighbourState::Stale, Some(MAC_B));
        assert!(view.apply(&told(RouteNetlinkMessage::DelNeighbour(gone))));
        assert!(view.rib().neighbours.is_empty());
    }

    #[test]
    fn neighbours_of_other_interfaces_and_bridges_and_groups_are_not_ours() {
        let mut view = view();
        let known = NeighbourState::Permanent;
        let mut bridged = neighbour(7, "10.0.0.1", known, Some(MAC_A));
        bridged.header.family = AddressFamily::Bridge;
        for other in [neighbour(3, "10.0.0.1", known, Some(MAC_A)), bridged, {
            neighbour(7, "224.0.0.1", NeighbourState::Noarp, Some(MAC_A))
        }] {
            assert!(!view.apply(&told(RouteNetlinkMessage::NewNeighbour(other))));
        }
        assert!(view.rib().neighbours.is_empty());
    }

    #[test]
    fn a_route_that_moves_to_an_interface_of_others_keeps_its_prefix() {
        let mut view = view();
        let moved = RouteNetlinkMessage::NewRoute(default_route("10.9.0.1", 3));
        assert!(view.apply(&Message { flags: NLM_F_REPLACE, body: moved }));
        let via = Some("10.9.0.1".parse().unwrap());
        let to = "0.0.0.0/0".parse().unwrap();
        assert_eq!(view.rib().routes, [Route { to, via, interface: None, source: None, metric: 0 }]);
    }

    #[test]
    fn there_is_no_use_in_asking_over_a_link_that_is_down() {
        let mut view = view();
        let (id, address) = (InterfaceId(0), "10.0.0.1".parse().unwrap());
        assert_eq!(view.standing(id, address), Some(Standing::Unknown));
        let stale = neighbour(7, "10.0.0.1", NeighbourState::Stale, Some(MAC_A));
        view.apply(&told(RouteNetlinkMessage::NewNeighbour(stale)));
        assert_eq!(view.standing(id, address), Some(Standing::Unsure));
        view.apply(&told(RouteNetlinkMessage::NewLink(link(7, "eth0", LinkFlags::empty()))));
        assert_eq!(view.standing(id, address), None);
        assert_eq!(view.standing(InterfaceId(1), address), None, "no such interface");
    }
}
