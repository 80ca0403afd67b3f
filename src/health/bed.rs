//! What the tests of this room share.

use super::probe::{Prober, Shared};
use super::{Failure, Healthy, Target};
use crate::net::Endpoint;
use crate::service::check::{Check, Kind, Pace};
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

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
    Target { server: Endpoint::from(server), check: Arc::new(check), service: None }
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
    runtime
        .block_on(async { Prober::of(&target.check, &Arc::new(Shared::default()))?.probe(target, &()).await })
}

/// A TCP server that does this with each who comes, for as long as the test runs.
pub(super) fn serve(listener: TcpListener, with: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(with));
    at
}

/// A TCP server that says this, and then nothing.
pub(super) fn saying(text: &'static str) -> SocketAddr {
    serve(listener(), move |mut stream| {
        let _ = stream.write_all(text.as_bytes());
        // It hangs until the other side is gone.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    })
}

/// A TCP server that says the first of these, and another whenever it is told a line; then it hangs up.
pub(super) fn replying(listener: TcpListener, replies: &'static [&'static str]) -> SocketAddr {
    serve(listener, move |mut stream| {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        for reply in replies {
            let _ = stream.write_all(reply.as_bytes());
            if !matches!(lines.next(), Some(Ok(_))) {
                return;
            }
        }
    })
}

/// A program that runs until this is dropped.
#[derive(Debug)]
pub(super) struct Daemon(Child);

impl Daemon {
    /// Starts it, and waits until it listens at `at` by TCP.
    pub(super) fn start(at: SocketAddr, program: &str, arguments: &[&str]) -> Daemon {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
        let child =
            command.spawn().unwrap_or_else(|e| panic!("{program}, which scripts/setup installs: {e}"));
        let daemon = Daemon(child);
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(at).is_err() {
            assert!(Instant::now() < until, "{program} does not listen at {at}");
            std::thread::sleep(10 * MS);
        }
        daemon
    }

    /// Stops it as SIGSTOP does: it keeps its sockets and does nothing.
    pub(super) fn hang(&self) {
        kill_process_group(Pid::from_child(&self.0), Signal::STOP).unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Some have children that keep the sockets.
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

/// A certificate of this name and its key, as the files `cert` and `key` in `folder`.
pub(super) fn certificate(folder: &Path, name: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let written = |file: &str, text: String| {
        let path = folder.join(file);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    (written("cert", made.cert.pem()), written("key", made.signing_key.serialize_pem()))
}
