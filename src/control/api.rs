//! The control socket: HTTP and JSON over a Unix socket, and over TCP with TLS and a token where that is asked for.
//! `/openapi.json` describes it.
//!
//! It runs on one thread of its own, off the workers' cores if there is another, and gets things done at the desk
//! (`control/desk.rs`), one at a time. What arrives is bounded: in bytes, in time, in connections, in answers that wait
//! to be read. Nothing here can stop a packet.

mod answer;
mod guests;
mod routes;
mod scrape;
mod socket;
mod tls;

pub use answer::{Changed, Ended, Fault, Found, Overview, Problem, Status, Timeouts, Transaction};
pub use routes::openapi;

use super::connections::Connections;
use super::desk::{Desk, Job, Shared};
use crate::config::Control;
use crate::dataplane::worker::cores;
use crossbeam::channel::{Sender, TrySendError};
use guests::Guests;
use socket::Socket;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use tokio::sync::{Notify, Semaphore, oneshot};

/// The largest request, but for a whole configuration.
const MAX_REQUEST_BYTES: usize = 1 << 20;

/// How long a request may take to arrive, and how long the desk may take for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers as large as the configuration that may wait to be read at once.
const LARGE_ANSWERS: usize = 4;

/// What requests are answered from.
#[derive(Debug, Clone)]
pub struct Link {
    jobs: Sender<Job>,
    shared: Shared,
    connections: Arc<Mutex<Connections>>,
    large: Arc<Semaphore>,
    whole: Arc<Semaphore>,
    scrape: Arc<Semaphore>,
    started: SystemTime,
}

impl Link {
    /// To the desk at the other end of `jobs`.
    pub fn new(jobs: Sender<Job>, shared: Shared) -> Link {
        let connections = Connections::new(shared.table.clone(), shared.published.clone());
        Link {
            jobs,
            shared,
            connections: Arc::new(Mutex::new(connections)),
            large: Arc::new(Semaphore::new(LARGE_ANSWERS)),
            whole: Arc::new(Semaphore::new(1)),
            scrape: Arc::new(Semaphore::new(1)),
            started: SystemTime::now(),
        }
    }

    /// What the desk says.
    async fn ask<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut Desk) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let (tell, told) = oneshot::channel();
        let job: Job = Box::new(move |desk| {
            // Whoever asked may have gone.
            let _ = tell.send(what(desk));
        });
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => Fault::busy("too much is asked at once; ask again"),
            TrySendError::Disconnected(_) => Fault::busy("the director is ending"),
        })?;
        match tokio::time::timeout(PATIENCE, told).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Fault::busy("the director is ending")),
            Err(_) => Err(Fault::busy("the director is busy; it may yet do what was asked")),
        }
    }
}

/// The control socket, open until this is dropped.
#[derive(Debug)]
pub struct Api {
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
    // Removed when the thread has ended.
    socket: Socket,
    remote: Option<SocketAddr>,
}

/// Why there is no control socket: what was tried, and what the system said.
#[derive(Debug)]
pub struct ApiError {
    tried: String,
    source: io::Error,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.tried, self.source)
    }
}

impl std::error::Error for ApiError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

fn tried(what: impl Into<String>) -> impl FnOnce(io::Error) -> ApiError {
    |source| ApiError { tried: what.into(), source }
}

impl Api {
    /// Opens the control socket that is asked for, beside workers on these cores.
    ///
    /// # Errors
    /// [`ApiError`].
    pub fn open(control: &Control, link: Link, workers: &[usize]) -> Result<Api, ApiError> {
        let socket = Socket::bind(control)?;
        let unix = socket.listener()?;
        let remote = control.remote.as_ref().map(tls::Remote::open).transpose()?;
        let metrics = control.metrics.map(listener).transpose()?;
        let at = remote.as_ref().and_then(tls::Remote::address);
        // Two for answers, one for a scrape.
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(3).build();
        let runtime = runtime.map_err(tried("start the control socket's thread"))?;
        let stop: Arc<Notify> = Arc::default();
        let (stopped, workers) = (stop.clone(), workers.to_vec());
        let body = move || {
            keep_off(&workers);
            runtime.block_on(async {
                let scraped = async {
                    match metrics {
                        Some(listener) => {
                            let router = scrape::router(link.clone());
                            let plain = |stream| std::future::ready(Ok(stream));
                            Guests::default().receive_tcp(listener, router, plain).await;
                        }
                        None => std::future::pending().await,
                    }
                };
                let router = routes::router(link.clone());
                let local = Guests::default().receive_unix(unix, router.clone());
                let far = async {
                    match remote {
                        Some(remote) => remote.receive(Guests::default(), router).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = stopped.notified() => {}
                    () = local => {}
                    () = far => {}
                    () = scraped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("lvx-control".to_owned()).spawn(body);
        let thread = thread.map_err(tried("start the control socket's thread"))?;
        Ok(Api { stop, thread: Some(thread), socket, remote: at })
    }

    /// Where the socket is.
    pub fn path(&self) -> &PathBuf {
        self.socket.path()
    }

    /// Where it listens over TCP, if it does.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.remote
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by its own thread.
            let _ = thread.join();
        }
    }
}

/// A TCP socket, for a runtime.
fn listener(at: SocketAddr) -> Result<TcpListener, ApiError> {
    TcpListener::bind(at)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(tried(format!("listen at {at}")))
}

/// Keeps this thread off the workers' cores; where there is no other, it takes second place there.
pub(super) fn keep_off(workers: &[usize]) {
    #[cfg(target_os = "linux")]
    {
        use rustix::thread::{CpuSet, sched_setaffinity};
        let mut others = CpuSet::new();
        let free = cores().into_iter().filter(|core| !workers.contains(core) && *core < CpuSet::MAX_CPU);
        free.for_each(|core| others.set(core));
        let kept_off = others.count() > 0 && sched_setaffinity(None, &others).is_ok();
        if !kept_off {
            // Of this thread alone: Linux's nice values are threads'.
            let _ = rustix::process::setpriority_process(None, 10);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (workers, cores());
}
