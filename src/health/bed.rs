//! What the tests of this room share.

use super::probe::Prober;
use super::{Failure, Healthy, Target};
use crate::net::Endpoint;
use crate::service::{Check, Kind, Pace};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub(super) const MS: Duration = Duration::from_millis(1);

/// An address of the loopback interface that nobody else uses, so that a port stays free when its listener is gone.
pub(super) fn loopback() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let own = (std::process::id() << 6) + NEXT.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::from_bits(u32::from_be_bytes([127, 0, 0, 0]) + own % (1 << 24))
}

/// A listener at an address of its own.
pub(super) fn listener() -> TcpListener {
    TcpListener::bind((loopback(), 0)).unwrap()
}

/// A check of this kind every 50 ms.
pub(super) fn check(kind: Kind) -> Check {
    let pace = Pace { interval: 50 * MS, retry: 50 * MS, timeout: 200 * MS, ..Pace::default() };
    Check { kind, pace, ..Check::default() }
}

pub(super) fn target(server: SocketAddr, check: Check) -> Target {
    Target { server: Endpoint::from(server), check: Arc::new(check) }
}

/// One probe of `server`, which has five seconds.
pub(super) fn probe(server: SocketAddr, kind: Kind) -> Result<Healthy, Failure> {
    let mut check = check(kind);
    check.pace.timeout = Duration::from_secs(5);
    probe_once(&target(server, check))
}

/// One probe.
pub(super) fn probe_once(target: &Target) -> Result<Healthy, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { Prober::of(&target.check)?.probe(target).await })
}
