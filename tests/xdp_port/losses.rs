//! What a port itself loses, under the names that a report has for it.

use super::*;

/// Has a road deal with one datagram, and gives what the port counted as `tx_ring_full` and `host_unreachable`.
fn losses(mut deal: impl FnMut(&mut [Frame<'_>]) + Send) -> (u64, u64) {
    let mut road = |frames: &mut [Frame<'_>]| {
        deal(frames);
        Vec::new()
    };
    let lab = Lab::new(1);
    lab.on("d", || {
        let steering = steered("d0", 1, AttachMode::Auto, &udp(&[SERVICE]));
        let mut port = open(&steering, 0, 64);
        let socket = lab.on("c", || UdpSocket::bind(any(SERVICE)).unwrap());
        // The first turn is the first beat, without which the kernel keeps the packet.
        port.turn(&mut road).unwrap();
        let patience = Instant::now() + Duration::from_secs(10);
        while port.counters().received() == 0 && Instant::now() < patience {
            socket.send_to(b"question", SERVICE).unwrap();
            port.wait(Duration::from_millis(20)).unwrap();
            port.turn(&mut road).unwrap();
        }
        let counters = port.counters();
        let (lost, received) =
            ((counters.tx_ring_full.get(), counters.host_unreachable.get()), counters.received());
        assert!(received > 0 && lost.0 + lost.1 == received, "{lost:?} of {received}");
        lost
    })
}

#[test]
fn a_frame_that_no_transmit_ring_takes_is_counted_as_tx_ring_full() {
    assert_eq!(DropReason::TxRingFull.name(), "tx_ring_full");
    let nobodys = InterfaceId(9);
    let (full, unreachable) = losses(|frames: &mut [Frame<'_>]| {
        frames.iter_mut().for_each(|frame| frame.verdict = Verdict::Forward(nobodys))
    });
    assert!(full > 0 && unreachable == 0);
}

#[test]
fn a_frame_that_the_kernel_does_not_take_is_counted_as_host_unreachable() {
    assert_eq!(DropReason::HostUnreachable.name(), "host_unreachable");
    let cut = |frames: &mut [Frame<'_>]| {
        for frame in frames {
            frame.truncate(10);
            frame.verdict = Verdict::ToHost(HostReason::NotOurs);
        }
    };
    let (full, unreachable) = losses(cut);
    assert!(full == 0 && unreachable > 0);
}
