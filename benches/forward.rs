//! Applying a decision: what each forwarding method writes, and checksums.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use etherparse::PacketBuilder;
use lvx::net::Proto;
use lvx::wire::rewrite::{self, End, Translation, V4End};
use lvx::wire::{ETHERNET, IPV4, checksum, encap};

fn main() {
    divan::main();
}

const FRAMES: usize = 64;
const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

/// A batch of frames, each with room for an outer header in front.
fn frames(proto: Proto) -> Vec<Vec<u8>> {
    let frame = |i: u8| {
        let mut frame = vec![0xa5; IPV4];
        let packet = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([192, 0, 2, i], [10, 0, 0, 100], 64);
        match proto {
            Proto::Tcp => packet.tcp(1000, 80, 7, 512).write(&mut frame, &[0xa5; 10]),
            _ => packet.udp(1000, 80).write(&mut frame, &[0xa5; 10]),
        }
        .expect("a vector takes any length");
        frame
    };
    (0..FRAMES as u8).map(frame).collect()
}

fn each(bencher: Bencher<'_, '_>, proto: Proto, mut write: impl FnMut(&mut [u8])) {
    let mut frames = frames(proto);
    bencher.counter(ItemsCount::new(FRAMES)).bench_local(|| {
        for frame in &mut frames {
            write(black_box(frame));
        }
    });
}

/// NAT. The bytes differ from turn to turn; the work does not.
#[divan::bench(args = [Proto::Tcp, Proto::Udp])]
fn translate(bencher: Bencher<'_, '_>, proto: Proto) {
    let (vip, rip) = (V4End { addr: 0x0a00_0064, port: 80 }, V4End { addr: 0x0a01_0001, port: 8080 });
    let to = Translation::new(vip, rip);
    each(bencher, proto, |frame| {
        rewrite::translate(&mut frame[IPV4..], &MACS, ETHERNET + IPV4, proto, End::Dst, black_box(&to));
    });
}

/// Direct routing.
#[divan::bench]
fn route(bencher: Bencher<'_, '_>) {
    each(bencher, Proto::Tcp, |frame| rewrite::route(&mut frame[IPV4..], black_box(&MACS)));
}

/// Tunnelling.
#[divan::bench]
fn ipip(bencher: Bencher<'_, '_>) {
    let envelope = encap::Envelope::new(0x0a01_ff01, 0x0a01_0001);
    each(bencher, Proto::Tcp, |frame| {
        rewrite::decrement_ttl(&mut frame[IPV4..]);
        encap::ipip(frame, black_box(&MACS), black_box(&envelope), 7);
    });
}

/// Whether a header's checksum is right: every packet pays this.
#[divan::bench]
fn header_is_right(bencher: Bencher<'_, '_>) {
    each(bencher, Proto::Tcp, |frame| {
        let header = frame[IPV4 + ETHERNET..].first_chunk().expect("a whole header");
        black_box(checksum::is_right(header));
    });
}

/// A whole checksum, as completing a partial one needs.
#[divan::bench(args = [20, 64, 1460])]
fn sum(bencher: Bencher<'_, '_>, bytes: usize) {
    let bytes = vec![0xa5; bytes];
    bencher.counter(BytesCount::new(bytes.len())).bench_local(|| checksum::sum(black_box(&bytes)));
}
