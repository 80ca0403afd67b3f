//! Whoever is connected: so many at once, for so long in silence, and not for ever without reading.

use super::PATIENCE;
use crate::control::cause::Cause;
use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep, sleep};

/// Connections at once. Who comes when there are so many takes the place of the one that has asked nothing for longest.
pub(super) const MOST: usize = 256;

/// What a request's header may take, in bytes.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// How long an answer may wait for its reader.
const UNREAD: Duration = Duration::from_secs(30);

/// Those connected, the longest ago first.
#[derive(Debug, Clone, Default)]
pub(super) struct Guests(Arc<Mutex<VecDeque<Guest>>>);

#[derive(Debug)]
struct Guest {
    /// Whether a request of it is being answered.
    is_served: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Guests {
    /// Receives whoever connects to this socket.
    pub(super) async fn receive_unix(self, listener: UnixListener, router: Router) {
        let listener = match tokio::net::UnixListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!("the control socket is closed: {error}"),
        };
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let who =
                        stream.peer_cred().map(|peer| Cause::Process { uid: peer.uid(), pid: peer.pid() });
                    self.admit(
                        router.clone(),
                        who.unwrap_or(Cause::Somebody),
                        std::future::ready(Ok(stream)),
                    );
                }
                Err(error) => not_accepted(&error).await,
            }
        }
    }

    /// Receives whoever connects to this port, and is what `accept` makes of it.
    pub(super) async fn receive_tcp<S, F>(
        self,
        listener: TcpListener,
        router: Router,
        accept: impl Fn(TcpStream) -> F,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = io::Result<S>> + Send + 'static,
    {
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!("the control socket over TCP is closed: {error}");
                return std::future::pending().await;
            }
        };
        loop {
            match listener.accept().await {
                Ok((stream, from)) => self.admit(router.clone(), Cause::Remote(from), accept(stream)),
                Err(error) => not_accepted(&error).await,
            }
        }
    }

    /// Serves a connection that is ready when `stream` is, which may take a while.
    pub(super) fn admit<S>(
        &self,
        router: Router,
        who: Cause,
        stream: impl Future<Output = io::Result<S>> + Send + 'static,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if !self.make_room() {
            return;
        }
        let is_served: Arc<AtomicBool> = Arc::default();
        let serving = is_served.clone();
        let task = tokio::spawn(async move {
            let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, stream).await else { return };
            let service = service_fn(move |mut request: hyper::Request<Incoming>| {
                request.extensions_mut().insert(who);
                let (mut router, serving) = (router.clone(), serving.clone());
                async move {
                    serving.store(true, Relaxed);
                    let answer = tower_call(&mut router, request.map(Body::new)).await;
                    serving.store(false, Relaxed);
                    answer
                }
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(MAX_HEADER_BYTES);
            // That somebody hangs up is nobody's error.
            let _ = server.serve_connection(TokioIo::new(Patient::new(stream)), service).await;
        });
        self.lock().push_back(Guest { is_served, task: task.abort_handle() });
    }

    /// Room for one more; `false` if all are being served.
    fn make_room(&self) -> bool {
        let mut guests = self.lock();
        guests.retain(|guest| !guest.task.is_finished());
        if guests.len() < MOST {
            return true;
        }
        let idle = guests.iter().position(|guest| !guest.is_served.load(Relaxed));
        let Some(idle) = idle.and_then(|place| guests.remove(place)) else { return false };
        idle.task.abort();
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Guest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn tower_call(
    router: &mut Router,
    request: hyper::Request<Body>,
) -> Result<hyper::Response<Body>, std::convert::Infallible> {
    // A router is always ready.
    tower_service::Service::call(router, request).await
}

/// Too many files are open, perhaps; that passes.
async fn not_accepted(error: &io::Error) {
    tracing::warn!("the control socket cannot take a connection: {error}");
    sleep(Duration::from_millis(100)).await;
}

/// A stream whose writer gives up when nobody reads for too long.
struct Patient<S> {
    stream: S,
    gives_up: Pin<Box<Sleep>>,
    is_waiting: bool,
}

impl<S> Patient<S> {
    fn new(stream: S) -> Patient<S> {
        Patient { stream, gives_up: Box::pin(sleep(UNREAD)), is_waiting: false }
    }

    fn wait<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.is_waiting = false;
            return written;
        }
        if !self.is_waiting {
            self.is_waiting = true;
            self.gives_up.as_mut().reset(Instant::now() + UNREAD);
        }
        ready!(self.gives_up.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wait(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = Pin::new(&mut self.stream).poll_flush(cx);
        self.wait(cx, written)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.wait(cx, written)
    }
}
