//! From a frame's bytes to its flow.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use etherparse::PacketBuilder;
use lvx::wire::parse;

fn main() {
    divan::main();
}

/// 64 frames, so that the branch predictor does not know one by heart.
fn frames(is_tcp: bool, options: &[u8]) -> Vec<Vec<u8>> {
    let frame = |i: u8| {
        let mut frame = Vec::new();
        let mut ip =
            etherparse::Ipv4Header::new(0, 64, etherparse::IpNumber::UDP, [192, 0, 2, i], [10, 0, 0, 1])
                .expect("no payload is too long");
        ip.options = options.try_into().expect("whole words");
        let packet = PacketBuilder::ethernet2([2; 6], [4; 6])
            .ip(etherparse::IpHeaders::Ipv4(ip, etherparse::Ipv4Extensions::default()));
        let port = 1000 + i as u16;
        if is_tcp {
            packet.tcp(port, 80, 7, 512).ack(3).write(&mut frame, &[0xa5; 18])
        } else {
            packet.udp(port, 53).write(&mut frame, &[0xa5; 18])
        }
        .expect("a vector takes any length");
        frame
    };
    (0..64).map(frame).collect()
}

fn parse_all(bencher: Bencher<'_, '_>, frames: Vec<Vec<u8>>) {
    bencher.counter(ItemsCount::new(frames.len())).bench_local(|| {
        for frame in &frames {
            let _ = black_box(parse::parse(black_box(frame)));
        }
    });
}

#[divan::bench]
fn tcp(bencher: Bencher<'_, '_>) {
    parse_all(bencher, frames(true, &[]));
}

#[divan::bench]
fn udp(bencher: Bencher<'_, '_>) {
    parse_all(bencher, frames(false, &[]));
}

/// Not plain: etherparse's part of the road.
#[divan::bench]
fn tcp_with_ip_options(bencher: Bencher<'_, '_>) {
    parse_all(bencher, frames(true, &[1, 1, 1, 0]));
}

#[divan::bench]
fn not_ip(bencher: Bencher<'_, '_>) {
    let arp = |mut frame: Vec<u8>| {
        frame[13] = 6;
        frame
    };
    parse_all(bencher, frames(true, &[]).into_iter().map(arp).collect());
}
