//! One HTTP request and its answer, over a connection of its own.

use super::connect::{Ack, connect};
use super::probe::Ask;
use super::tls::Connector;
use super::{Failure, Healthy, lock};
use crate::service::check::HttpVersion;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::rt::Executor;
use hyper::{Error, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::future::Future;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

/// The largest head of an answer.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// How many bytes of a body may wait to be looked at.
const WINDOW: u32 = 64 << 10;

/// The answer, of which the body is still to come.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) response: Response<Incoming>,
    pub(super) found: Healthy,
    pub(super) connection: Connection,
}

/// Sends the request, and receives the head of its answer.
pub(super) async fn exchange(
    ask: &Ask<'_>,
    version: HttpVersion,
    tls: Option<&Connector>,
    request: Request<Full<Bytes>>,
) -> Result<Exchange, Failure> {
    let stream = connect(ask, Ack::AtOnce).await?;
    let answer = "waiting for the answer";
    match tls {
        None => {
            ask.is(answer);
            over(version, stream, request, Healthy::default()).await
        }
        Some(connector) => {
            let (stream, found) = connector.connect(ask, stream).await?;
            ask.is(answer);
            over(version, stream, request, found).await
        }
    }
}

/// The same over this connection, on the way to which that was found.
pub(super) async fn over<S>(
    version: HttpVersion,
    stream: S,
    request: Request<Full<Bytes>>,
    found: Healthy,
) -> Result<Exchange, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let connection = Connection::default();
    let tasks = &connection.tasks;
    let stream = TokioIo::new(stream);
    let response = if version == HttpVersion::Http2 {
        let mut builder = hyper::client::conn::http2::Builder::new(tasks.clone());
        builder.timer(TokioTimer::new()).max_header_list_size(MAX_HEAD_BYTES as u32);
        builder.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
        let (mut sender, driving) = builder.handshake(stream).await.map_err(failed)?;
        tasks.execute(driving);
        sender.send_request(request).await
    } else {
        let mut builder = hyper::client::conn::http1::Builder::new();
        builder.max_buf_size(MAX_HEAD_BYTES);
        let (mut sender, driving) = builder.handshake(stream).await.map_err(failed)?;
        tasks.execute(driving);
        sender.send_request(request).await
    };
    Ok(Exchange { response: response.map_err(failed)?, found, connection })
}

/// What hyper says, down to the reason.
pub(super) fn failed(error: Error) -> Failure {
    let mut cause = format!("HTTP: {error}");
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        cause = format!("{cause}: {error}");
        source = error.source();
    }
    Failure::of_server(cause)
}

/// A connection at work, until it is dropped: also if its server hangs.
#[derive(Debug, Default)]
pub(super) struct Connection {
    tasks: Tasks,
}

impl Drop for Connection {
    fn drop(&mut self) {
        lock(&self.tasks.0).abort_all();
    }
}

/// The tasks of a connection. HTTP/2 has some more of its own.
#[derive(Debug, Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        lock(&self.0).spawn(async { drop(task.await) });
    }
}
