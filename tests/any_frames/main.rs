//! Whatever comes in: the pipeline gives every frame a verdict, counts it once, leaves the host's frames as they
//! were, and sends nothing that is not sound.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod director;
mod parsing;
mod soundness;
mod tape;

use director::{Director, Received, as_the_host_gets_it};
use etherparse::{IpFragOffset, IpHeaders, Ipv4Header, Ipv6Header, PacketBuilder, PacketBuilderStep};
use lvx::dataplane::port::BATCH;
use lvx::dataplane::verdict::Verdict;
use lvx::net::Tick;
use pcap_file::pcap::PcapReader;
use proptest::collection::vec;
use proptest::prelude::*;
use std::fs;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tape::Record;

/// What stands in IPv6 for an IPv4 address of `director.toml`.
fn six([a, .., d]: [u8; 4]) -> [u8; 16] {
    let network: [u16; 5] = match a {
        10 => [0xfd00, 0x1234, 0x5678, 0x10, 0xb],
        192 => [0x2001, 0xdb8, 0, 2, 0xa],
        _ => [0x2600, 0x1f18, 0xffff, 0x113, 0xc],
    };
    let [a, b, c, e, f] = network;
    Ipv6Addr::new(a, b, c, e, f, 0, 0, d.into()).octets()
}

fn builder(is_six: bool, src: [u8; 4], dst: [u8; 4], ttl: u8) -> PacketBuilderStep<IpHeaders> {
    let ethernet = PacketBuilder::ethernet2([2; 6], [2, 0, 0, 0, 0, 1]);
    let header = if is_six {
        let header =
            Ipv6Header { source: six(src), destination: six(dst), hop_limit: ttl, ..Ipv6Header::default() };
        IpHeaders::Ipv6(header, Default::default())
    } else {
        IpHeaders::Ipv4(Ipv4Header::new(0, ttl, 0.into(), src, dst).unwrap(), Default::default())
    };
    ethernet.ip(header)
}

const VIP: [u8; 4] = [192, 0, 2, 100];

/// A packet that the director has something to do with: from one of a few clients or servers.
fn sound() -> impl Strategy<Value = Vec<u8>> {
    let tcp = (any::<bool>(), 0..6u8, 0..2u8, any::<u8>(), 1..4u8, 0..80usize);
    let tcp = tcp.prop_map(|(is_six, host, way, flags, ttl, len)| {
        let client = ([203, 0, 113, host], 40000 + u16::from(host));
        let (src, dst) = match way {
            0 => (client, (VIP, 80)),
            _ => (([10, 0, 0, 11], 8080), client),
        };
        let mut frame = Vec::new();
        let ip = builder(is_six, src.0, dst.0, ttl);
        ip.tcp(src.1, dst.1, 1, 2).write(&mut frame, &vec![0x77; len]).unwrap();
        frame[if is_six { 67 } else { 47 }] = flags;
        frame
    });
    let udp = (any::<bool>(), 0..6u8, 0..1500usize).prop_map(|(is_six, host, len)| {
        let mut frame = Vec::new();
        let ip = builder(is_six, [203, 0, 113, host], VIP, 9);
        ip.udp(40000 + u16::from(host), 53).write(&mut frame, &vec![0x77; len]).unwrap();
        frame
    });
    // Of few datagrams, so that fragments meet, and of every kind of size and place.
    let piece = (0..2u8, 0..3u16, 0..6u16, 0..60usize, any::<bool>(), any::<bool>()).prop_map(
        |(host, id, place, len, more, is_tcp)| {
            let mut frame = Vec::new();
            let ip = builder(false, [203, 0, 113, host], VIP, 9);
            let payload = vec![0x77; if more { len / 8 * 8 } else { len }];
            match is_tcp {
                true => ip.tcp(40000, 80, 1, 2).syn().write(&mut frame, &payload[..len / 8 * 4]).unwrap(),
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_frame_has_its_verdict_and_the_counts_add_up(
        batches in vec((vec(frame(), 1..BATCH + 9), 0..2u16, 0..30_000u32), 1..6),
    ) {
        let mut director = Director::new();
        let mut now = 0;
        for (packets, ingress, later) in batches {
            now += later;
            let batch: Vec<Received> = packets.into_iter().map(|packet| (packet, ingress)).collect();
            director.play(&batch, Tick(now)).map_err(TestCaseError::fail)?;
        }
        director.account().map_err(TestCaseError::fail)?;
    }

    #[test]
    fn a_batch_decides_as_one_packet_at_a_time_would(
        batches in vec((vec((frame(), 0..2u16), 1..BATCH), 0..30_000u32), 1..6),
    ) {
        let (mut together, mut singly) = (Director::new(), Director::new());
        let mut now = 0;
        for (packets, later) in batches {
            now += later;
            let mut one = together.play(&packets, Tick(now)).map_err(TestCaseError::fail)?.into_iter();
            for (i, packet) in packets.iter().enumerate() {
                let other = singly.play(std::slice::from_ref(packet), Tick(now)).map_err(TestCaseError::fail)?;
                let one: Vec<_> = one.by_ref().take(other.len()).collect();
                prop_assert_eq!(&one[..], &other[..], "packet {}", i);
            }
            prop_assert!(one.next().is_none());
        }
        let (one, other) = (together.report(), singly.report());
        prop_assert_eq!(one.connections.current, other.connections.current);
    }

    #[test]
    fn any_tape_is_played(tape in vec(any::<u8>(), 0..3000)) {
        tape::play(&tape).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn all_parsers_agree_on_any_frame(frame in frame()) {
        parsing::agree(&frame).map_err(TestCaseError::fail)?;
    }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The golden captures of a case as one tape, its interfaces merged by time.
fn tape_of(case: &Path) -> Vec<Record> {
    let mut packets = Vec::new();
    for (name, flag) in [("eth0.pcap", 0), ("eth1.pcap", tape::ETH1)] {
        let Ok(capture) = fs::read(case.join(name)) else { continue };
        let mut reader = PcapReader::new(&capture[..]).unwrap();
        while let Some(packet) = reader.next_packet() {
            let packet = packet.unwrap();
            packets.push((packet.timestamp, flag, packet.data.into_owned()));
        }
    }
    packets.sort_by_key(|(time, ..)| *time);
    let mut before = packets.first().map_or(Duration::ZERO, |(time, ..)| *time);
    let record = |(time, flags, frame): (Duration, u8, Vec<u8>)| {
        let later = ((time - before).as_millis() / 10).min(u16::MAX.into()) as u16;
        before = time;
        Record { flags, later, frame }
    };
    packets.into_iter().map(record).collect()
}

/// Also writes what a fuzzer begins with, if `LVX_SEEDS` names a folder.
#[test]
fn golden_captures_are_played_and_parsed_by_the_same_rules() {
    let seeds = std::env::var_os("LVX_SEEDS").map(PathBuf::from);
    let mut played = 0;
    for case in files(&folder("pcap-fixtures")).into_iter().filter(|path| path.is_dir()) {
        let records = tape_of(&case);
        let bytes: Vec<u8> = records.iter().flat_map(Record::to_bytes).collect();
        tape::play(&bytes).unwrap_or_else(|wrong| panic!("{}: {wrong}", case.display()));
        let name = case.file_name().unwrap().to_str().unwrap();
        for (n, Record { frame, .. }) in records.iter().enumerate() {
            parsing::agree(frame).unwrap_or_else(|wrong| panic!("{}: {wrong}", case.display()));
            played += 1;
            if let Some(seeds) = &seeds {
                fs::create_dir_all(seeds.join("parse")).unwrap();
                fs::write(seeds.join("parse").join(format!("{name}_{n}")), frame).unwrap();
            }
        }
        if let Some(seeds) = &seeds {
            fs::create_dir_all(seeds.join("pipeline")).unwrap();
            fs::write(seeds.join("pipeline").join(name), &bytes).unwrap();
        }
    }
    assert!(played > 300, "only {played} frames");
}

#[test]
fn what_the_fuzzer_once_found_stays_mended() {
    for find in files(&folder("fuzz/regressions/parse")) {
        parsing::agree(&fs::read(&find).unwrap())
            .unwrap_or_else(|wrong| panic!("{}: {wrong}", find.display()));
    }
    for find in files(&folder("fuzz/regressions/pipeline")) {
        tape::play(&fs::read(&find).unwrap()).unwrap_or_else(|wrong| panic!("{}: {wrong}", find.display()));
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
        let played = Director::new().play(&[(frame.clone(), ingress)], Tick(0)).unwrap();
        let (verdict, left) = &played[0];
        assert!(matches!(verdict, Verdict::ToHost(_)));
        assert_eq!(*left, as_the_host_gets_it(&frame, ingress));
        assert_eq!(left[40..42], checksum);
    }
}
