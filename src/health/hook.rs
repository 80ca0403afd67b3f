//! Places in the web that are told what has changed: a POST for each change, on a connection of its own.

use super::exchange::over;
use super::tls::{Configs, Connector};
use super::{Failure, Healthy};
use crate::service::check::{Hook, HttpVersion, Tls};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Method, Request, StatusCode};
use rustls::pki_types::ServerName;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Semaphore;

/// How long it waits before it tries again; twice as long each time.
const PATIENCE: Duration = Duration::from_secs(1);

/// The longest that it waits.
const MAX_PATIENCE: Duration = Duration::from_secs(30);

/// Names that are asked for at a time: who waits for a resolver that hangs takes a thread, of which scripts have need.
static LOOK_UPS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(4)));

/// What it takes to tell.
#[derive(Debug)]
pub(super) struct Poster {
    hook: Hook,
    host: String,
    port: u16,
    headers: HeaderMap,
    connector: Option<(Connector, ServerName<'static>)>,
}

/// Why it was not told.
enum Trouble {
    /// It may go better another time.
    Passing(Failure),
    /// It will not.
    Lasting(Failure),
}

impl Poster {
    pub(super) fn of(hook: &Hook) -> Result<Poster, Failure> {
        let authority: Authority = hook.authority.parse().map_err(|error| not_ready("url", error))?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let mut headers = HeaderMap::new();
        headers.insert(HOST, value("host", &hook.authority)?);
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("lvx/", env!("CARGO_PKG_VERSION"))));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        for (name, text) in &hook.headers {
            let name: HeaderName = name.parse().map_err(|error| not_ready(name, error))?;
            headers.insert(name.clone(), value(name.as_str(), text)?);
        }
        let connector = if hook.is_https {
            let tls = Tls { verify: hook.verify, ca: hook.ca.clone(), ..Tls::default() };
            let name = ServerName::try_from(host.clone()).map_err(|error| not_ready("url", error))?;
            Some((Connector::of(&tls, &[], &Configs::default())?, name))
        } else {
            None
        };
        let port = authority.port_u16().unwrap_or(if hook.is_https { 443 } else { 80 });
        Ok(Poster { hook: hook.clone(), host, port, headers, connector })
    }

    /// Tells it, and tries again a few times if that fails; each time it may take so long. Says why in the end it was not
    /// told.
    pub(super) async fn tell(&self, body: Bytes, timeout: Duration) -> Result<(), Failure> {
        let (mut left, mut patience) = (self.hook.retries, PATIENCE);
        loop {
            let told = tokio::time::timeout(timeout, Box::pin(self.post(body.clone()))).await;
            let late = || Failure::own(format!("timed out after {timeout:?}"));
            match told.unwrap_or_else(|_| Err(Trouble::Passing(late()))) {
                Ok(()) => return Ok(()),
                Err(Trouble::Passing(_)) if left > 0 => {}
                Err(Trouble::Passing(failure) | Trouble::Lasting(failure)) => return Err(failure),
            }
            left -= 1;
            tokio::time::sleep(patience).await;
            patience = (2 * patience).min(MAX_PATIENCE);
        }
    }

    async fn post(&self, body: Bytes) -> Result<(), Trouble> {
        let stream = self.connect().await.map_err(Trouble::Passing)?;
        let request = self.request(body).map_err(Trouble::Lasting)?;
        let (version, found) = (HttpVersion::Http11, Healthy::default());
        let answer = match &self.connector {
            None => over(version, stream, request, found).await,
            Some((connector, name)) => {
                let stream = connector.handshake(name.clone(), stream).await.map_err(Trouble::Passing)?;
                over(version, stream, request, found).await
            }
        };
        let status = answer.map_err(Trouble::Passing)?.response.status();
        let failure = || Failure::of_server(format!("HTTP status {status}"));
        match status {
            _ if status.is_success() => Ok(()),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Err(Trouble::Passing(failure())),
            _ if status.is_server_error() => Err(Trouble::Passing(failure())),
            _ => Err(Trouble::Lasting(failure())),
        }
    }

    fn request(&self, body: Bytes) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = Method::POST;
        *request.headers_mut() = self.headers.clone();
        *request.uri_mut() = self.hook.path.parse().map_err(|error| not_ready("url", error))?;
        Ok(request)
    }

    /// A connection to the first of the host's addresses that accepts one.
    async fn connect(&self) -> Result<TcpStream, Failure> {
        let mut last = Failure::own(format!("{} has no address", self.host));
        for address in self.addresses().await? {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Failure::of_system("connect", &error),
            }
        }
        Err(last)
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, Failure> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        let turn = LOOK_UPS.clone().acquire_owned().await.map_err(|error| not_ready("look-ups", error))?;
        let name = (self.host.clone(), self.port);
        // It lasts as long as it lasts, also when nobody waits for it any more.
        let looked_up = tokio::spawn(async move {
            let found = lookup_host(name).await.map(Iterator::collect);
            drop(turn);
            found
        });
        let found = looked_up.await.map_err(|error| not_ready("look-ups", error))?;
        found.map_err(|error| Failure::of_system(&format!("look up {}", self.host), &error))
    }
}

fn value(name: &str, text: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(text).map_err(|error| not_ready(name, error))
}

fn not_ready(what: &str, error: impl Display) -> Failure {
    Failure::own(format!("{what}: {error}"))
}
