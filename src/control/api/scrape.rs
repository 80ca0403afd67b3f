//! `GET /metrics`, for Prometheus: OpenMetrics for who asks for it, otherwise the classic text format.
//!
//! Of a large configuration that is a hundred megabytes. They are written while they are read, a few pieces ahead, on a
//! thread for what may block; one scrape at a time, and each within [`SCRAPE`], however slowly it is read.

use super::answer::{Fault, Problem};
use super::{Link, routes};
use crate::control::metrics::{Format, Metrics};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::body::Frame;
use std::fmt::{self, Write};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// How long a scrape may take, from its first byte to its last.
const SCRAPE: Duration = Duration::from_secs(30);

/// Bytes of a piece, about.
const PIECE: usize = 64 << 10;

/// Pieces that wait to be read, at most.
const AHEAD: usize = 8;

/// How long to wait for a reader who is behind, before the next look.
const BREATH: Duration = Duration::from_millis(2);

/// The metrics alone, for a port of their own.
pub(super) fn router(link: Link) -> Router {
    let nothing_there = |method: Method, uri: Uri| async move {
        routes::nothing_there(StatusCode::NOT_FOUND, &method, &uri, "/metrics")
    };
    Router::new().route("/metrics", get(metrics)).fallback(nothing_there).with_state(link)
}

/// Everything counted, as Prometheus reads it.
///
/// OpenMetrics 1.0 if it is asked for (`Accept: application/openmetrics-text`), otherwise Prometheus's classic text format.
#[utoipa::path(get, path = "/metrics", responses(
    (status = 200, body = String, content_type = "text/plain"),
    (status = "default", body = Problem),
))]
pub(super) async fn metrics(State(link): State<Link>, headers: HeaderMap) -> Result<Response, Fault> {
    let turn = routes::turn(&link.scrape).await?;
    let view = link.ask(|desk| desk.view()).await?;
    let metrics = Metrics { view, table: link.shared.table.clone(), started: link.started };
    let format = format(&headers);
    let (pieces, read) = channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        let _until_written = turn;
        let mut pieces =
            Pieces { pieces, next: String::with_capacity(PIECE), deadline: Instant::now() + SCRAPE };
        // Who does not read to the end hears of no end.
        if metrics.write(format, &mut pieces).and_then(|()| pieces.hand_over()).is_ok() {
            let _ = pieces.give(Piece::End);
        }
    });
    Ok(([(header::CONTENT_TYPE, format.content_type())], Body::new(Read(read))).into_response())
}

fn format(headers: &HeaderMap) -> Format {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let asks = |range: &str| range.trim_start().starts_with("application/openmetrics-text");
    let is_open = accepted.flat_map(|value| value.split(',')).any(asks);
    if is_open { Format::OpenMetrics } else { Format::Classic }
}

enum Piece {
    Text(Bytes),
    End,
}

/// What is written, by the piece.
struct Pieces {
    pieces: Sender<Piece>,
    next: String,
    deadline: Instant,
}

impl Pieces {
    fn hand_over(&mut self) -> fmt::Result {
        let piece = std::mem::replace(&mut self.next, String::with_capacity(PIECE));
        self.give(Piece::Text(piece.into()))
    }

    /// Waits for the reader, if need be. No clock of the runtime's is asked, which may be ending.
    fn give(&mut self, mut piece: Piece) -> fmt::Result {
        loop {
            piece = match self.pieces.try_send(piece) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(piece)) if Instant::now() < self.deadline => piece,
                Err(_) => return Err(fmt::Error),
            };
            std::thread::sleep(BREATH);
        }
    }
}

impl Write for Pieces {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.next.push_str(text);
        if self.next.len() >= PIECE { self.hand_over() } else { Ok(()) }
    }
}

/// What is read. It ends in an error if it was not written to its end.
struct Read(Receiver<Piece>);

impl hyper::body::Body for Read {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(match ready!(self.0.poll_recv(cx)) {
            Some(Piece::Text(text)) => Some(Ok(Frame::data(text))),
            Some(Piece::End) => None,
            None => Some(Err(io::ErrorKind::TimedOut.into())),
        })
    }
}
