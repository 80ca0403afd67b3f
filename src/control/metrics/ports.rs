//! Of the AF_XDP ports, by interface and queue: what passed, what the kernel counts, and how full rings and UMEM are.

use super::page::{Column, Labels, Page};
use crate::control::view::View;
use crate::dataplane::port::counters::{ArmCounters, Ring};
use std::fmt;

pub(super) fn put(page: &mut Page<'_>, view: &View) -> fmt::Result {
    let arms = || view.ports().iter().flat_map(|port| &port.arms);
    let counted: [Column<ArmCounters>; 8] = [
        ("lvx_port_received_frames", "Frames received.", |arm| arm.received.get()),
        ("lvx_port_sent_frames", "Frames given to the kernel to be sent.", |arm| arm.sent.get()),
        (
            "lvx_port_rx_dropped",
            "Packets that the kernel dropped: too large for a frame, or no frame free.",
            |arm| arm.rx_dropped.get(),
        ),
        ("lvx_port_rx_ring_full", "Packets that the kernel dropped: the receive ring was full.", |arm| {
            arm.rx_ring_full.get()
        }),
        ("lvx_port_fill_ring_empty", "Times that the kernel found no frame to receive into.", |arm| {
            arm.fill_ring_empty.get()
        }),
        ("lvx_port_tx_ring_empty", "Times that the kernel found nothing to send.", |arm| {
            arm.tx_ring_empty.get()
        }),
        ("lvx_port_rx_invalid", "Descriptors on the fill ring that the kernel refused.", |arm| {
            arm.rx_invalid.get()
        }),
        ("lvx_port_tx_invalid", "Descriptors on the transmit ring that the kernel refused.", |arm| {
            arm.tx_invalid.get()
        }),
    ];
    for (name, help, count) in counted {
        page.counter(name, help, |family| {
            arms().try_for_each(|arm| {
                family.put(&[("interface", &arm.interface), ("queue", &arm.queue)], count(arm))
            })
        })?;
    }
    let of_rings: [Column<Ring>; 2] = [
        ("lvx_ring_entries", "Entries in a ring.", |ring| ring.used.get()),
        ("lvx_ring_size", "Entries that a ring has room for.", |ring| ring.size),
    ];
    for (name, help, now) in of_rings {
        page.gauge(name, help, |family| {
            arms().try_for_each(|arm| {
                rings(arm).into_iter().try_for_each(|(word, ring)| {
                    let labels: &Labels<'_> =
                        &[("interface", &arm.interface), ("queue", &arm.queue), ("ring", &word)];
                    family.put(labels, now(ring))
                })
            })
        })?;
    }
    page.gauge(
        "lvx_umem_held_frames",
        "UMEM frames with the kernel, to receive into or to be sent.",
        |family| {
            arms().try_for_each(|arm| {
                [("receive", &arm.filling), ("send", &arm.sending)].into_iter().try_for_each(
                    |(direction, held)| {
                        let labels: &Labels<'_> = &[
                            ("interface", &arm.interface),
                            ("queue", &arm.queue),
                            ("direction", &direction),
                        ];
                        family.put(labels, held.get())
                    },
                )
            })
        },
    )?;
    page.gauge("lvx_umem_free_frames", "UMEM frames in no use.", |family| {
        view.ports()
            .iter()
            .enumerate()
            .try_for_each(|(worker, port)| family.put(&[("worker", &worker)], port.free_frames.get()))
    })?;
    page.gauge("lvx_umem_frames", "UMEM frames, all of them.", |family| {
        view.ports()
            .iter()
            .enumerate()
            .try_for_each(|(worker, port)| family.put(&[("worker", &worker)], port.frames))
    })
}

fn rings(arm: &ArmCounters) -> [(&'static str, &Ring); 4] {
    [("fill", &arm.fill), ("rx", &arm.rx), ("tx", &arm.tx), ("completion", &arm.completion)]
}
