//! Many clients who ask for pages at a steady pace, each request on a connection of its own.

use super::{Failure, Sample};
use crate::lab::{Error, Namespace};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// How often a client asks; who still waits for an answer then asks the next time.
pub const EVERY: Duration = Duration::from_millis(100);

/// How long a client waits for an answer.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// So many clients, who are all alike.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    /// Whom they ask.
    pub(super) to: SocketAddr,
    /// How many there are.
    pub(super) count: u16,
    /// What times are counted from; what is begun before is not told.
    pub(super) origin: Instant,
    /// Raised when they are to end.
    pub(super) are_done: Arc<AtomicBool>,
}

impl Clients {
    /// Asks from this namespace until they are to end, and tells what came of each request.
    ///
    /// # Errors
    /// If the namespace cannot be entered, or there is no descriptor left for what drives them.
    pub(super) fn ask(self, from: &Namespace, told: Sender<Sample>) -> Result<(), Error> {
        let asked = from.inside(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut clients = JoinSet::new();
                for number in 0..self.count {
                    clients.spawn(self.clone().one(number, told.clone()));
                }
                clients.join_all().await;
            });
            Ok(())
        })?;
        asked.map_err(Error::io("ask from the client's namespace"))
    }

    /// One of them.
    async fn one(self, client: u16, told: Sender<Sample>) {
        // One after the other, not all at once.
        sleep(EVERY * u32::from(client) / u32::from(self.count.max(1))).await;
        let mut turns = interval(EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            turns.tick().await;
            if self.are_done.load(Ordering::Relaxed) {
                return;
            }
            let began = Instant::now();
            let outcome = timeout(PATIENCE, ask(self.to)).await.unwrap_or(Err(Failure::TimedOut));
            let took = began.elapsed();
            if let Some(began) = began.checked_duration_since(self.origin) {
                // Nobody listens any more where the run was broken off.
                let _ = told.send(Sample { client, began, took, outcome });
            }
        }
    }
}

/// Asks for a page; the number of the server that has answered.
async fn ask(to: SocketAddr) -> Result<u8, Failure> {
    let stream = TcpStream::connect(to).await.map_err(|_| Failure::Refused)?;
    page(stream, to).await.ok_or(Failure::Broken)
}

async fn page(stream: TcpStream, to: SocketAddr) -> Option<u8> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    // Ends with this function, however that ends.
    let mut driven = JoinSet::new();
    driven.spawn(connection);
    let request = Request::get("/").header(HOST, to.to_string()).header(CONNECTION, "close");
    let answer = sender.send_request(request.body(Empty::<Bytes>::new()).ok()?).await.ok()?;
    if answer.status() != StatusCode::OK {
        return None;
    }
    let body = answer.into_body().collect().await.ok()?.to_bytes();
    let name = std::str::from_utf8(&body).ok()?;
    name.trim().strip_prefix("server ")?.parse().ok().filter(|&number: &u8| number > 0)
}
