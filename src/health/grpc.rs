//! gRPC's own health service (`grpc.health.v1.Health/Check`) says SERVING.

use super::exchange::{Exchange, exchange, failed};
use super::probe::Ask;
use super::tls::{Configs, Connector};
use super::{Failure, Healthy};
use crate::service::check::{Grpc, HttpVersion};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue, TE};
use hyper::{HeaderMap, Method, Request, Version};

const PATH: &str = "/grpc.health.v1.Health/Check";

/// The largest answer: a status and what a future version may add.
const MAX_BYTES: usize = 4096;

/// What it takes to ask.
#[derive(Debug)]
pub(super) struct Prober {
    check: Grpc,
    tls: Option<Connector>,
}

impl Prober {
    pub(super) fn of(check: &Grpc, configs: &Configs) -> Result<Prober, Failure> {
        let tls = check.tls.as_ref().map(|tls| Connector::of(tls, &["h2"], configs)).transpose()?;
        Ok(Prober { check: check.clone(), tls })
    }

    pub(super) async fn probe(&self, ask: &Ask<'_>) -> Result<Healthy, Failure> {
        let request = self.request(ask)?;
        let Exchange { response, found, connection: _works } =
            exchange(ask, HttpVersion::Http2, self.tls.as_ref(), request).await?;
        ask.is("reading the answer");
        if response.status() != 200 {
            return Err(Failure::of_server(format!("HTTP status {}", response.status())));
        }
        // An answer that is an error only may have its trailers in its head.
        is_ok(response.headers())?;
        let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => failed(*error),
            Err(error) => Failure::of_server(format!("gRPC: {error}")),
        })?;
        body.trailers().map_or(Ok(()), is_ok)?;
        match status(&body.to_bytes()) {
            Some(1) => Ok(found),
            Some(2) => Err(Failure::of_server("gRPC: NOT_SERVING")),
            Some(3) => Err(Failure::of_server("gRPC: SERVICE_UNKNOWN")),
            Some(_) => Err(Failure::of_server("gRPC: UNKNOWN")),
            None => Err(Failure::of_server("gRPC: the answer is no HealthCheckResponse")),
        }
    }

    fn request(&self, ask: &Ask<'_>) -> Result<Request<Full<Bytes>>, Failure> {
        let host = self.check.host.clone().unwrap_or_else(|| ask.target.peer().to_string());
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let uri = format!("{scheme}://{host}{PATH}").parse();
        let mut request = Request::new(Full::from(question(&self.check.service)));
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = uri.map_err(|error| Failure::own(format!("host: {error}")))?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        Ok(request)
    }
}

/// `grpc-status` must be 0 where it stands.
fn is_ok(headers: &HeaderMap) -> Result<(), Failure> {
    let text = |name| headers.get(name).map(|value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()));
    match text("grpc-status") {
        Some(status) if status != "0" => {
            let message = text("grpc-message").unwrap_or_default();
            Err(Failure::of_server(format!("gRPC status {status} {message}").trim_end().to_owned()))
        }
        _ => Ok(()),
    }
}

/// `message HealthCheckRequest { string service = 1; }`, in gRPC's frame: not compressed, its length.
fn question(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(1 << 3 | 2);
        push_varint(&mut message, service.len());
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(&message);
    frame
}

fn push_varint(message: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        message.push(number as u8 | 0x80);
        number >>= 7;
    }
    message.push(number as u8);
}

/// The status of `message HealthCheckResponse { ServingStatus status = 1; }` in a frame that is not compressed. 0, the
/// default, may be left out, and a field that we do not know is passed over.
fn status(frame: &[u8]) -> Option<u64> {
    let (&[0, a, b, c, d], mut message) = frame.split_first_chunk()? else { return None };
    if message.len() != u32::from_be_bytes([a, b, c, d]) as usize {
        return None;
    }
    let mut status = 0;
    while !message.is_empty() {
        let tag = take_varint(&mut message)?;
        let skipped = match tag & 7 {
            0 => {
                let value = take_varint(&mut message)?;
                status = if tag >> 3 == 1 { value } else { status };
                0
            }
            1 => 8,
            2 => usize::try_from(take_varint(&mut message)?).ok()?,
            5 => 4,
            _ => return None,
        };
        message = message.get(skipped..)?;
    }
    Some(status)
}

fn take_varint(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(message: &[u8]) -> Vec<u8> {
        [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat()
    }

    #[test]
    fn questions_and_answers_are_as_protoc_writes_them() {
        assert_eq!(question(""), frame(&[]));
        assert_eq!(question("web"), frame(b"\x0a\x03web"));
        let long = "x".repeat(300);
        assert_eq!(question(&long)[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);

        assert_eq!(status(&frame(&[0x08, 1])), Some(1));
        assert_eq!(status(&frame(&[])), Some(0), "the default is left out");
        let with_others = [&[0x12, 2, b'o', b'k', 0x08, 2, 0x1d][..], &[0; 4], &[0x21], &[0; 8]].concat();
        assert_eq!(status(&frame(&with_others)), Some(2));
        assert_eq!(status(&frame(&[0x08])), None);
        assert_eq!(status(&[0, 0, 0, 0, 9, 0x08, 1]), None, "cut short");
        assert_eq!(status(&[1, 0, 0, 0, 2, 0x08, 1]), None, "compressed");
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            status(&bytes);
            status(&frame(&bytes));
        }
    }
}
