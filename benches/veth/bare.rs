//! The least that an AF_XDP program between two interfaces can do: takes frames from one, sets their MACs, sends them
//! out of the other. What a director can come near to, and not beat. Rings, frames and socket options are lvx's.

#![allow(unsafe_code)]

use crate::bed::{Bed, DIRECTORS_CORE, Outcome};
use crate::flood::Programs;
use lvx::dataplane::port::device;
use std::error::Error;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use xsk_rs::config::{BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig};
use xsk_rs::umem::frame::FrameDesc;
use xsk_rs::{CompQueue, FillQueue, RxQueue, Socket, TxQueue, Umem};

const FRAMES: u32 = 8192;
const RING: usize = 2048;
const BATCH: usize = 64;

/// Linux 6.17: how many frames one call sends in copy mode.
const XDP_MAX_TX_SKB_BUDGET: i32 = 9;

const BUSY_RETRY: Duration = Duration::from_secs(2);

type Rings = (TxQueue, RxQueue, FillQueue, CompQueue);

/// Runs in the director's namespace, on the director's core, until `stop`.
pub fn run(bed: &Bed, programs: &Programs, stop: &AtomicBool) -> Outcome<()> {
    core_affinity::set_for_current(core_affinity::CoreId { id: DIRECTORS_CORE });
    let ring = QueueSize::new(RING as u32)?;
    let config = UmemConfig::builder()
        .frame_size(FrameSize::new(2048)?)
        .fill_queue_size(ring)
        .comp_queue_size(ring)
        .build()?;
    let (umem, mut free) = Umem::new(config, FRAMES.try_into()?, false)?;
    let (_to_client, mut rx, mut fill, _sent_to_client) = open(&umem, ring, "eth0")?;
    let (mut tx, _from_server, _fill_from_server, mut completion) = open(&umem, ring, "eth1")?;
    let _link = programs.attach_to_socket(device::index("eth0")?, rx.fd().as_raw_fd())?;

    let [_, _, from, to] = bed.macs;
    let mut macs = [0; 12];
    macs[..6].copy_from_slice(&to.0);
    macs[6..].copy_from_slice(&from.0);
    let (mut filling, mut sending) = (0, 0);
    let mut batch = [FrameDesc::default(); BATCH];
    while !stop.load(Relaxed) {
        if sending > 0 {
            // SAFETY: the ring's frames are of the only UMEM.
            let sent = unsafe { completion.consume(&mut batch) };
            sending -= sent;
            free.extend_from_slice(&batch[..sent]);
            if tx.nb_free_exact() < RING as u32 && tx.needs_wakeup() {
                tx.wakeup()?;
            }
        }
        if RING - filling >= BATCH {
            let at = free.len() - (RING - filling).min(free.len());
            // SAFETY: free frames of the only UMEM.
            let given = unsafe { fill.produce(&free[at..]) };
            filling += given;
            free.drain(at..at + given);
        }
        // SAFETY: the ring's frames are of the only UMEM.
        let received = unsafe { rx.consume(&mut batch) };
        filling -= received;
        if received == 0 || sending + received > RING {
            free.extend_from_slice(&batch[..received]);
            continue;
        }
        for desc in &mut batch[..received] {
            // SAFETY: just received, so in no ring.
            unsafe { umem.data_mut(desc) }.contents_mut()[..12].copy_from_slice(&macs);
        }
        // SAFETY: frames of the only UMEM, in no ring; there is room for them.
        sending += unsafe { tx.produce(&batch[..received]) };
        tx.wakeup()?;
    }
    Ok(())
}

/// Opens queue 0. After a director ended, the kernel holds its queues for some milliseconds yet.
fn open(umem: &Umem, ring: QueueSize, interface: &str) -> Outcome<Rings> {
    let until = Instant::now() + BUSY_RETRY;
    loop {
        match try_open(umem, ring, interface) {
            Err(error) if is_busy(&*error) && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(5))
            }
            result => return result,
        }
    }
}

fn is_busy(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    let kernel = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    kernel.is_some_and(|kernel| kernel.raw_os_error() == Some(libc::EBUSY))
}

fn try_open(umem: &Umem, ring: QueueSize, interface: &str) -> Outcome<Rings> {
    let config = SocketConfig::builder()
        .rx_queue_size(ring)
        .tx_queue_size(ring)
        .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
        .bind_flags(BindFlags::XDP_COPY | BindFlags::XDP_USE_NEED_WAKEUP)
        .build();
    // SAFETY: INHIBIT_PROG_LOAD is set, so that libxdp detaches nothing.
    let (tx, rx, rings) = unsafe { Socket::new(config, umem, &interface.parse::<Interface>()?, 0) }?;
    let (fill, completion) = rings.ok_or("the interface is opened for the first time")?;
    let budget = RING as i32;
    // SAFETY: reads one int. A kernel without the option sends 32 frames per call, for both sides alike.
    unsafe {
        libc::setsockopt(
            tx.fd().as_raw_fd(),
            libc::SOL_XDP,
            XDP_MAX_TX_SKB_BUDGET,
            (&raw const budget).cast(),
            4,
        )
    };
    Ok((tx, rx, fill, completion))
}
