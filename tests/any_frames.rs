//! Whatever comes in: the pipeline gives every frame a verdict, counts it once, leaves the host's frames as they
//! were, and sends nothing that is not sound.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use etherparse::{IpFragOffset, Ipv4Header, PacketBuilder};
use lvx::config;
use lvx::conntrack::{Seed, Table, Tracker};
use lvx::control::publish::Publisher;
use lvx::control::report::Report;
use lvx::control::{gather, report};
use lvx::dataplane::counters::Counters;
use lvx::dataplane::pipeline::Pipeline;
use lvx::dataplane::port::{BATCH, Frame, HEADROOM};
use lvx::dataplane::snapshot::Published;
use lvx::dataplane::verdict::Verdict;
use lvx::net::{InterfaceId, Tick};
use lvx::wire::{ETHERNET, checksum, parse};
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::Arc;

const CONFIG: &str = r#"
interface = [
    { name = "eth0", mac = "02:00:00:00:00:01", addresses = ["192.0.2.1/24", "192.0.2.100/32"] },
    { name = "eth1", mac = "02:00:00:00:00:02", addresses = ["10.0.0.1/24"] },
]
route = [{ to = "0.0.0.0/0", via = "192.0.2.254" }]
neighbour = [
    { address = "192.0.2.254", mac = "02:00:00:00:00:fe" },
    { address = "10.0.0.11", mac = "02:00:00:00:00:11" },
    { address = "10.0.0.12", mac = "02:00:00:00:00:12" },
]

[director]
max_connections = 8

[[virtual_service]]
address = "192.0.2.100:80"
scheduler = "wlc"
real_server = [
    { address = "10.0.0.11:8080", forward = "nat" },
    { address = "10.0.0.12", forward = "dr", weight = 3 },
    { address = "198.51.100.13", forward = "tun" },
    { address = "10.0.0.99:1", forward = "nat" },
]

[[virtual_service]]
protocol = "udp"
address = "192.0.2.100:53"
scheduler = "rr"
real_server = [{ address = "10.0.0.11", forward = "nat" }, { address = "198.51.100.13", forward = "tun" }]
"#;

/// The interfaces whose senders leave checksums to their hardware.
const PARTIAL: [bool; 2] = [true, false];

/// A director without ports.
struct Director {
    pipeline: Pipeline,
    table: Arc<Table>,
    publisher: Publisher,
    counters: Arc<Counters>,
}

fn director() -> Director {
    let config = config::parse("any_frames.toml", CONFIG).unwrap();
    let table = Arc::new(Table::new(config.director.max_connections, Seed::new(1, 2)).unwrap());
    let published = Arc::new(Published::default());
    let counters = Arc::<Counters>::default();
    let mut publisher =
        Publisher::new(table.clone(), published.clone(), vec![counters.clone()], PARTIAL.to_vec());
    publisher.set_rib(&config.rib().unwrap());
    publisher.set_services(&config).unwrap();
    let pipeline = Pipeline::new(Tracker::new(table.clone(), 0, 1), counters.clone(), published);
    Director { pipeline, table, publisher, counters }
}

impl Director {
    fn report(&self) -> Report {
        gather::report(
            &self.publisher,
            std::slice::from_ref(&self.counters),
            &self.table,
            report::Port::default(),
        )
    }
}

/// A packet that the director has something to do with: from one of a few clients or servers.
fn sound() -> impl Strategy<Value = Vec<u8>> {
    let tcp = (0..6u8, 0..2u8, any::<u8>(), 1..4u8, 0..80usize).prop_map(|(host, way, flags, ttl, len)| {
        let client = ([203, 0, 113, host], 40000 + u16::from(host));
        let (src, dst) = match way {
            0 => (client, ([192, 0, 2, 100], 80)),
            _ => (([10, 0, 0, 11], 8080), client),
        };
        let mut frame = Vec::new();
        let ip = PacketBuilder::ethernet2([2; 6], [2, 0, 0, 0, 0, 1]).ipv4(src.0, dst.0, ttl);
        ip.tcp(src.1, dst.1, 1, 2).write(&mut frame, &vec![0x77; len]).unwrap();
        frame[47] = flags;
        frame
    });
    let udp = (0..6u8, 0..1500usize, any::<bool>()).prop_map(|(host, len, may_be_fragmented)| {
        let mut frame = Vec::new();
        let ip = PacketBuilder::ethernet2([2; 6], [2, 0, 0, 0, 0, 1]).ipv4(
            [203, 0, 113, host],
            [192, 0, 2, 100],
            9,
        );
        ip.udp(40000 + u16::from(host), 53).write(&mut frame, &vec![0x77; len]).unwrap();
        if may_be_fragmented {
            frame[20] = 0;
            frame[24..26].fill(0);
            let sum = checksum::of_header(&frame[14..34]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        frame
    });
    // Of few datagrams, so that fragments meet, and of every kind of size and place.
    let piece = (0..2u8, 0..3u16, 0..6u16, 0..60usize, any::<bool>(), any::<bool>()).prop_map(
        |(host, id, place, len, more, is_tcp)| {
            let mut frame = Vec::new();
            let ip = PacketBuilder::ethernet2([2; 6], [2, 0, 0, 0, 0, 1]).ipv4(
                [203, 0, 113, host],
                [192, 0, 2, 100],
                9,
            );
            let payload = vec![0x77; if more { len / 8 * 8 } else { len }];
            match is_tcp {
                true => {
                    ip.tcp(40000, 80, 1, 2).syn().write(&mut frame, &payload[..len / 8 * 8 / 8 * 4]).unwrap()
                }
                false => ip.udp(40000, 53).write(&mut frame, &payload).unwrap(),
            }
            let (mut header, rest) = Ipv4Header::from_slice(&frame[14..]).unwrap();
            header.dont_fragment = false;
            (header.identification, header.more_fragments) = (id, more);
            header.fragment_offset = IpFragOffset::try_new(place * 3).unwrap();
            header.header_checksum = header.calc_header_checksum();
            [&frame[..14], &header.to_bytes()[..], rest].concat()
        },
    );
    prop_oneof![3 => tcp, 1 => udp, 2 => piece]
}

/// Any bytes; a sound packet; one with a few bytes changed, so that the checksum is wrong or, set right again,
/// hides it; one cut short or lengthened.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let changed = (sound(), vec((0..80usize, any::<u8>()), 1..4), any::<bool>()).prop_map(
        |(mut frame, changes, mend)| {
            for (at, value) in changes {
                let len = frame.len();
                frame[at % len] = value;
            }
            if let (true, Ok((ip, _))) = (mend, Ipv4Header::from_slice(frame.get(14..).unwrap_or(&[]))) {
                frame[24..26].copy_from_slice(&ip.calc_header_checksum().to_be_bytes());
            }
            frame
        },
    );
    let resized = (sound(), 0..1700usize).prop_map(|(mut frame, len)| {
        frame.resize(len, 0xee);
        frame
    });
    prop_oneof![1 => vec(any::<u8>(), 0..200), 4 => sound(), 3 => changed, 1 => resized]
}

/// What is wrong with a frame that is about to be sent.
fn unsound(frame: &[u8]) -> Option<String> {
    let (ip, rest) = match Ipv4Header::from_slice(frame.get(14..)?) {
        Ok(parsed) => parsed,
        Err(error) => return Some(error.to_string()),
    };
    if ip.header_checksum != ip.calc_header_checksum() {
        return Some("its IP checksum is wrong".to_owned());
    }
    if usize::from(ip.total_len) != ip.header_len() + rest.len() {
        return Some(format!(
            "its total length is {}, and {} bytes follow the header",
            ip.total_len,
            rest.len()
        ));
    }
    (ip.total_len > 1500).then(|| format!("its {} bytes exceed the MTU", ip.total_len))
}

/// A frame that is the host's: as it came in; where senders leave checksums to their hardware ([`PARTIAL`]), one that is
/// only begun, or by chance looks so in a packet that a byte was changed of, is completed first.
fn as_the_host_gets_it(packet: &[u8], ingress: u16) -> Vec<u8> {
    let mut frame = packet.to_vec();
    if let (true, Ok(found)) = (PARTIAL[usize::from(ingress)], parse::careful(packet)) {
        let whole = &mut frame[..ETHERNET + found.ip_len as usize];
        checksum::complete_partial(whole, found.l4 as usize, found.key.proto());
    }
    frame
}

/// Frames of a batch, to be lent.
fn buffers(packets: &[(Vec<u8>, u16)]) -> Vec<Vec<u8>> {
    packets.iter().map(|(packet, _)| [&[0xa5; HEADROOM][..], packet].concat()).collect()
}

fn lend<'b>(buffers: &'b mut [Vec<u8>], packets: &[(Vec<u8>, u16)]) -> Vec<Frame<'b>> {
    let lent = buffers.iter_mut().zip(packets);
    lent.map(|(buffer, (packet, ingress))| Frame::new(buffer, HEADROOM, packet.len(), InterfaceId(*ingress)))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_frame_has_its_verdict_and_the_counts_add_up(
        batches in vec((vec(frame(), 1..BATCH + 9), 0..2u16, 0..30_000u32), 1..6),
    ) {
        let mut director = director();
        let (mut now, mut count, mut forwarded, mut to_host) = (0, 0, 0, 0);
        for (packets, ingress, later) in batches {
            now += later;
            let mut buffers: Vec<Vec<u8>> =
                packets.iter().map(|packet| [&[0xa5; HEADROOM][..], packet].concat()).collect();
            let lent = buffers.iter_mut().map(|buffer| {
                let len = buffer.len() - HEADROOM;
                Frame::new(buffer, HEADROOM, len, InterfaceId(ingress))
            });
            let mut frames: Vec<Frame<'_>> = lent.collect();
            director.pipeline.run(&mut frames, Tick(now));
            for (packet, frame) in packets.iter().zip(&frames) {
                match frame.verdict {
                    Verdict::Forward(egress) | Verdict::Answer(egress, _) => {
                        prop_assert!(egress.index() < 2);
                        prop_assert_eq!(unsound(frame.data()), None);
                        forwarded += u64::from(frame.verdict == Verdict::Forward(egress));
                    }
                    Verdict::ToHost(reason) => {
                        prop_assert_eq!(frame.data(), &as_the_host_gets_it(packet, ingress)[..], "{} changed it", reason);
                        to_host += 1;
                    }
                    Verdict::Drop(_) | Verdict::Held => {}
                }
            }
            for mut own in director.pipeline.take_own(&frames) {
                prop_assert!(own.behind() < frames.len());
                match own.verdict() {
                    Verdict::Forward(egress) => {
                        prop_assert!(egress.index() < 2);
                        prop_assert_eq!(unsound(own.frame().data()), None);
                        forwarded += 1;
                    }
                    Verdict::ToHost(_) => to_host += 1,
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            count += packets.len() as u64;
        }
        let report = director.report();
        prop_assert_eq!((report.packets, report.to_host), (count, to_host));
        prop_assert_eq!(report.forwarded + report.fragments.made, forwarded);
        let waiting = report.fragments.waiting;
        prop_assert_eq!(report.packets, report.forwarded + report.to_host + report.dropped + waiting);
        let connections = director.table.connections().count() as u64;
        prop_assert_eq!(report.connections.current, connections, "live counts and the table agree");
        prop_assert!(connections <= 8);
        let servers = report.services.iter().map(|service| service.traffic);
        prop_assert_eq!(servers.map(|traffic| traffic.in_packets + traffic.out_packets).sum::<u64>(), report.forwarded);
    }

    #[test]
    fn a_batch_decides_as_one_packet_at_a_time_would(
        batches in vec((vec((frame(), 0..2u16), 1..BATCH), 0..30_000u32), 1..6),
    ) {
        let (mut together, mut singly) = (director(), director());
        let mut now = 0;
        for (packets, later) in batches {
            now += later;
            let (mut one, mut other) = (buffers(&packets), buffers(&packets));
            let (mut one, mut other) = (lend(&mut one, &packets), lend(&mut other, &packets));
            together.pipeline.run(&mut one, Tick(now));
            let (made, mut made_singly) = (together.pipeline.take_own(&one), Vec::new());
            for (i, frame) in other.iter_mut().enumerate() {
                let frame = std::slice::from_mut(frame);
                singly.pipeline.run(frame, Tick(now));
                made_singly.extend(singly.pipeline.take_own(frame).into_iter().map(|own| (i, own)));
            }
            prop_assert_eq!(made.len(), made_singly.len());
            for (mut one, (i, mut other)) in made.into_iter().zip(made_singly) {
                prop_assert_eq!((one.behind(), one.verdict()), (i, other.verdict()));
                let (one, other) = (one.frame(), other.frame());
                prop_assert_eq!(one.data(), other.data());
            }
            for (i, (one, other)) in one.iter().zip(&other).enumerate() {
                prop_assert_eq!(one.verdict, other.verdict, "packet {}", i);
                prop_assert_eq!(one.data(), other.data(), "packet {}", i);
            }
        }
        let (one, other) = (together.report(), singly.report());
        prop_assert_eq!(one.connections.current, other.connections.current);
    }
}

#[test]
fn a_changed_port_may_make_a_checksum_look_as_if_it_was_only_begun() {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [2, 0, 0, 0, 0, 1])
        .ipv4([203, 0, 113, 4], [192, 0, 2, 100], 9)
        .udp(40004, 53)
        .write(&mut frame, &[0x77; 6])
        .unwrap();
    frame[36] = 1;
    frame[40..42].copy_from_slice(&[0xfe, 0x88]);
    for (ingress, checksum) in [(0, [0xfd, 0x88]), (1, [0xfe, 0x88])] {
        let mut buffer = [&[0xa5; HEADROOM][..], &frame].concat();
        let mut lent = [Frame::new(&mut buffer, HEADROOM, frame.len(), InterfaceId(ingress))];
        director().pipeline.run(&mut lent, Tick(0));
        assert!(matches!(lent[0].verdict, Verdict::ToHost(_)));
        assert_eq!(lent[0].data(), as_the_host_gets_it(&frame, ingress));
        assert_eq!(lent[0].data()[40..42], checksum);
    }
}
