//! Of the director as a whole: what became of packets, by worker and reason, what workers do with their time, and how
//! full the connection table is.

use super::page::{Column, Page};
use crate::conntrack::Table;
use crate::control::view::View;
use crate::dataplane::counters::{Counters, Turn};
use crate::dataplane::verdict::{DropReason, HostReason};
use std::fmt;

pub(super) fn put(page: &mut Page<'_>, view: &View, table: &Table) -> fmt::Result {
    packets(page, view)?;
    work(page, view)?;
    connections(page, view, table)
}

/// What the port could not carry out after the pipeline had given its verdict counts as dropped, as in the report.
fn packets(page: &mut Page<'_>, view: &View) -> fmt::Result {
    let late = |worker: usize, reason| {
        view.ports().get(worker).map_or(0, |port| match reason {
            DropReason::TxRingFull => port.tx_ring_full.get(),
            DropReason::HostUnreachable => port.host_unreachable.get(),
            _ => 0,
        })
    };
    let all = || view.workers().iter().enumerate();
    page.counter("lvx_forwarded_packets", "Packets sent on, to servers or clients.", |family| {
        all().try_for_each(|(worker, counters)| {
            let sent = counters.forwarded.get().saturating_sub(late(worker, DropReason::TxRingFull));
            family.put(&[("worker", &worker)], sent)
        })
    })?;
    page.counter("lvx_host_packets", "Packets handed to the kernel.", |family| {
        all().try_for_each(|(worker, counters)| {
            HostReason::ALL.iter().try_for_each(|reason| {
                family.put(&[("worker", &worker), ("reason", reason)], counters.to_host(*reason))
            })
        })
    })?;
    page.counter("lvx_dropped_packets", "Packets dropped.", |family| {
        all().try_for_each(|(worker, counters)| {
            DropReason::ALL.iter().try_for_each(|&reason| {
                let dropped = counters.dropped(reason) + late(worker, reason);
                family.put(&[("worker", &worker), ("reason", &reason)], dropped)
            })
        })
    })?;
    page.counter("lvx_answered_packets", "Packets dropped whose senders were told.", |family| {
        all().try_for_each(|(worker, counters)| {
            DropReason::ALL.iter().try_for_each(|reason| {
                family.put(&[("worker", &worker), ("reason", reason)], counters.answered(*reason))
            })
        })
    })?;
    let counted: [Column<Counters>; 6] = [
        (
            "lvx_unanswered_packets",
            "Packets dropped whose senders were not told, since there were too many.",
            |c| c.unanswered.get(),
        ),
        ("lvx_related_packets", "ICMP errors passed on to the end of a connection; forwarded, too.", |c| {
            c.related.get()
        }),
        ("lvx_held_fragments", "Fragments that waited for the first of their datagram.", |c| c.held.get()),
        ("lvx_made_fragments", "Frames sent beyond one for a packet that did not fit its way.", |c| {
            c.fragmented.get()
        }),
        ("lvx_completed_checksums", "Partial checksums completed for senders on this machine.", |c| {
            c.completed_checksums.get()
        }),
        ("lvx_ended_connections", "Connections that ended: by silence, for a new one, for room.", |c| {
            c.expired.get()
        }),
    ];
    for (name, help, count) in counted {
        page.counter(name, help, |family| {
            all().try_for_each(|(worker, counters)| family.put(&[("worker", &worker)], count(counters)))
        })?;
    }
    page.counter("lvx_evicted_connections", "Connections that made room in a full table.", |family| {
        all().try_for_each(|(worker, counters)| {
            family.put(&[("worker", &worker), ("state", &"half_open")], counters.evicted_half_open.get())?;
            family.put(&[("worker", &worker), ("state", &"closing")], counters.evicted_closing.get())
        })
    })
}

fn work(page: &mut Page<'_>, view: &View) -> fmt::Result {
    let all = || view.workers().iter().map(|counters| &counters.work).enumerate();
    page.counter("lvx_worker_seconds", "What workers' time goes into.", |family| {
        all().try_for_each(|(worker, work)| {
            Turn::ALL.iter().try_for_each(|&turn| {
                let mode = match turn {
                    Turn::Busy => "busy",
                    Turn::Polling => "polling",
                    Turn::Sleeping => "sleeping",
                };
                family.put(&[("worker", &worker), ("mode", &mode)], work.time(turn).as_secs_f64())
            })
        })
    })?;
    page.histogram("lvx_worker_batch_packets", "How many packets came at once.", |family| {
        all().try_for_each(|(worker, work)| family.distribution(&[("worker", &worker)], &work.batches(), 1.0))
    })
}

fn connections(page: &mut Page<'_>, view: &View, table: &Table) -> fmt::Result {
    let pieces = table.datagrams().census();
    for (name, help, now) in [
        ("lvx_connections", "Connections now.", view.connections()),
        (
            "lvx_templates",
            "Persistence templates now, which take a connection's place each.",
            view.templates(),
        ),
        ("lvx_connections_limit", "Connections and templates at most.", u64::from(table.capacity())),
        ("lvx_table_bytes", "Memory of the connection table.", table.bytes() as u64),
        ("lvx_fragmented_datagrams", "Datagrams of which fragments are expected.", pieces.datagrams),
        ("lvx_waiting_fragments", "Fragments that wait for the first of their datagram.", pieces.waiting),
    ] {
        page.gauge(name, help, |family| family.put(&[], now))?;
    }
    page.counter("lvx_evicted_datagrams", "Datagrams in fragments that made room for others.", |family| {
        family.put(&[], pieces.evicted)
    })
}
