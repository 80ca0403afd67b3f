//! SCTP through NAT in IPv6, where its checksum is all that there is to keep right; IPv4 is in the golden captures.

use super::*;
use crate::wire::sctp::complete_partial;

pub(super) const VIP6: &str = "[2001:db8::100]:3868";
pub(super) const RIP6: &str = "[fd00::11]:3900";
pub(super) const CIP6: &str = "[2001:db8:1::7]:40000";

fn at(text: &str) -> Endpoint {
    text.parse().unwrap()
}

/// One masqueraded server behind an SCTP service.
fn world() -> World {
    world_of(Proto::Sctp)
}

/// One masqueraded server behind a service of this protocol, all in IPv6.
pub(super) fn world_of(proto: Proto) -> World {
    let link = |name: &str, last, address: &str| Link {
        name: name.into(),
        mac: mac(last),
        mtu_bytes: 1500,
        vlan: None,
        addresses: vec![address.parse().unwrap()],
        up: true,
    };
    let route = |to: &str, via: Option<&str>, interface| Route {
        to: to.parse().unwrap(),
        via: via.map(|via| via.parse().unwrap()),
        interface: Some(interface),
        source: None,
        metric: 0,
    };
    let neighbour = |interface, address: &str, last| Neighbour {
        interface,
        address: address.parse().unwrap(),
        mac: mac(last),
    };
    let rib = Rib {
        links: vec![link("out", 1, "2001:db8::1/64"), link("in", 2, "fd00::1/64")],
        routes: vec![route("::/0", Some("2001:db8::fe"), CLIENTS), route("fd00::/64", None, SERVERS)],
        neighbours: vec![neighbour(CLIENTS, "2001:db8::fe", 0xfe), neighbour(SERVERS, "fd00::11", 11)],
    };
    let table = Arc::new(Table::new(10, Seed::new(7, 7)).unwrap());
    table.set_endpoint(RealId(0), at(RIP6));
    let real = RealServer {
        id: RealId(0),
        endpoint: at(RIP6),
        weight: 1,
        is_shut: false,
        method: Method::Nat,
        thresholds: Thresholds::default(),
        ramp: None,
        live: Arc::default(),
    };
    let service = VirtualService {
        name: "diameter".into(),
        proto,
        group: None,
        endpoint: at(VIP6),
        scheduler: SchedulerName::Rr,
        options: SchedulerOptions::default(),
        policy: Policy::default(),
        reals: vec![real],
    };
    let services = Arc::new(Services::new(ServiceTable::new(vec![service]), None));
    let hops = Arc::new(NextHops::new(&rib, None));
    let published = Arc::<Published>::default();
    published.publish(Arc::new(Snapshot::new(
        services,
        &[],
        hops.clone(),
        &Conduct::default(),
        vec![true, false],
    )));
    World { table, published, hops }
}

/// An SCTP packet with one chunk, its checksum left to others if it `is_partial`, between these MACs.
fn packet(chunk: u8, src: &str, dst: &str, hops: u8, macs: (u8, u8), is_partial: bool) -> Vec<u8> {
    let (src, dst) = (at(src), at(dst));
    let (IpAddr::V6(from), IpAddr::V6(to)) = (src.addr, dst.addr) else { panic!("of IPv6") };
    let ports = [src.port.to_be_bytes(), dst.port.to_be_bytes()].concat();
    let sctp = [&ports[..], &[1, 2, 3, 4, 0, 0, 0, 0, chunk, 0, 0, 9], b"hello\0\0\0"].concat();
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(mac(macs.0).0, mac(macs.1).0)
        .ipv6(from.octets(), to.octets(), hops)
        .write(&mut frame, etherparse::IpNumber::SCTP, &sctp)
        .unwrap();
    assert!(is_partial || complete_partial(&mut frame, 54));
    frame
}

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const DATA: u8 = 0;

#[test]
fn sctp_over_ipv6_is_translated_there_and_back() {
    let world = world();
    let mut worker = world.worker(0);
    for (chunk, is_partial) in [(INIT, true), (DATA, false)] {
        let there = send(&mut worker, &packet(chunk, CIP6, VIP6, 64, (9, 1), is_partial));
        let expected = packet(chunk, CIP6, RIP6, 63, (2, 11), false);
        assert_eq!(there.0, Verdict::Forward(SERVERS));
        assert_eq!(there.1[12..], expected[12..], "chunk {chunk}");
        let answer = packet(INIT_ACK, RIP6, CIP6, 64, (11, 2), false);
        let back = send_at(&mut worker, SERVERS, &answer, Tick(0));
        let expected = packet(INIT_ACK, VIP6, CIP6, 63, (1, 0xfe), false);
        assert_eq!((back.0, &back.1[12..]), (Verdict::Forward(CLIENTS), &expected[12..]));
    }
    assert_eq!(worker.counters().completed_checksums.get(), 1);
    let connection = world.table.connections().next().unwrap();
    assert_eq!(connection.state, State::SctpCookieSent);
}
