//! VLAN tags, as the host and another worker see them.

use super::*;
use crate::dataplane::nexthop::Vlan;
use crate::wire::vlan::Tag;

/// Clients are in VLAN 100 of the first interface.
pub(super) fn world() -> World {
    let mut rib = rib();
    let vlan = Some(Vlan { parent: CLIENTS, tag: Tag { protocol: Tag::DOT1Q, vlan: 100 } });
    let addresses = std::mem::take(&mut rib.links[0].addresses);
    rib.links.push(Link { name: "out.100".into(), addresses, vlan, ..rib.links[0].clone() });
    for route in rib.routes.iter_mut().filter(|route| route.interface == Some(CLIENTS)) {
        route.interface = Some(InterfaceId(2));
    }
    rib.neighbours[0].interface = InterfaceId(2);
    let table = Arc::new(Table::new(10, Seed::new(7, 7)).unwrap());
    let hops = Arc::new(NextHops::new(&rib, None));
    let world = World { table, published: Arc::default(), hops };
    world.publish(&[(Method::Nat, 1)]);
    world
}

/// Behind a tag of VLAN 100 with a priority.
pub(super) fn tagged(frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &[0x81, 0, 0xa0, 100], &frame[12..]].concat()
}

#[test]
fn the_host_gets_a_tagged_frame_as_it_came() {
    let world = world();
    let mut worker = world.worker(0);
    for (packet, reason) in [
        (tcp((CIP, 1), (VIP, 22), SYN, 64), HostReason::NotOurs),
        (request(1, ACK), HostReason::NoConnection),
    ] {
        let mut buffer = [&[0xa5; 64][..], &tagged(&packet)].concat();
        let mut frames = [Frame::new(&mut buffer, 64, packet.len() + 4, CLIENTS)];
        worker.run(&mut frames, Tick(0));
        assert_eq!((frames[0].verdict, frames[0].ingress()), (Verdict::ToHost(reason), CLIENTS));
        assert_eq!(frames[0].data(), tagged(&packet), "with its priority");
    }
}

#[test]
fn an_answer_goes_back_with_the_tag_of_its_vlan_and_a_partial_checksum_is_completed_behind_one() {
    let world = world();
    let mut worker = world.worker(0);
    let (verdict, out) = send(&mut worker, &tagged(&tcp((CIP, 1), (VIP, 80), SYN, 1)));
    assert_eq!(verdict, Verdict::Answer(CLIENTS, DropReason::TtlExpired));
    assert_eq!(out[12..18], [0x81, 0, 0, 100, 8, 0]);

    let whole = request(2, SYN);
    let mut partial = whole.clone();
    let pseudo = checksum::pseudo_v4(
        u32::from_be_bytes(CIP),
        u32::from_be_bytes(VIP),
        Proto::Tcp,
        (whole.len() - 34) as u16,
    );
    partial[50..52].copy_from_slice(&checksum::fold(pseudo).to_be_bytes());
    let (verdict, out) = send(&mut worker, &tagged(&partial));
    assert_eq!(verdict, Verdict::Forward(SERVERS));
    assert_eq!(out, routed(tcp((CIP, 2), (rip(0), 8080), SYN, 63), 11, 2));
    assert_eq!(worker.counters().completed_checksums.get(), 1);
}

#[test]
fn a_vlan_that_goes_takes_its_frames_with_it() {
    let world = world();
    let mut worker = world.worker(0);
    assert_eq!(send(&mut worker, &tagged(&request(1, SYN))).0, Verdict::Forward(SERVERS));
    let plain = World { hops: Arc::new(NextHops::new(&rib(), None)), ..world };
    plain.publish(&[(Method::Nat, 1)]);
    assert_eq!(send(&mut worker, &tagged(&request(1, ACK))).0, Verdict::ToHost(HostReason::NotIp));
}
