//! The other end of the control socket, for the command line: one request at a time, and the answer typed.

mod way;

pub use way::{Address, Keys, Token};

use super::api::{Changed, Ended, Overview, Problem, Status, Timeouts, Transaction};
use super::connections::Page;
use super::drains::DrainRow;
use super::history::Version;
use super::report::Report;
use super::view::{Columns, Listing, ServiceRow};
use crate::config::Written;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, io};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who speaks with a director.
#[derive(Debug, Clone)]
pub struct Client {
    address: Address,
    keys: Keys,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody is heard there.
    Unreachable(Address, io::Error),
    /// What is to be shown there cannot be read.
    Unreadable(PathBuf, io::Error),
    /// What was said is no answer.
    Garbled(String),
    /// The director refuses; the status is HTTP's.
    Refused(u16, Problem),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Unreachable(address, error) => {
                write!(f, "no director is heard at {address}: {error}")
            }
            ClientError::Unreadable(path, error) => write!(f, "cannot read {}: {error}", path.display()),
            ClientError::Garbled(error) => write!(f, "the director's answer is not understood: {error}"),
            ClientError::Refused(_, problem) => f.write_str(&problem.error),
        }
    }
}

impl std::error::Error for ClientError {}

/// What a request carries.
#[derive(Debug, Clone)]
pub enum Load {
    /// Nothing.
    None,
    /// JSON.
    Json(Vec<u8>),
    /// A configuration.
    Toml(Vec<u8>),
}

impl Client {
    /// To the director that listens at this socket.
    pub fn new(socket: &Path) -> Client {
        Client::at(Address::Socket(socket.to_owned()), Keys::default())
    }

    /// To the director at this address, with what opens the way.
    pub fn at(address: Address, keys: Keys) -> Client {
        Client { address, keys }
    }

    /// How the director is.
    ///
    /// # Errors
    /// [`ClientError`], as everywhere here.
    pub fn status(&self) -> Result<Status, ClientError> {
        self.get("/v1/status")
    }

    /// How the director is, and the services with `filter` in their names; `open` are the keys of those whose servers are
    /// wanted, with commas between them, or `all`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn overview(&self, filter: &str, open: &str) -> Result<Overview, ClientError> {
        self.overview_with(filter, open)
    }

    /// The same, of servers' tables what the reader wants.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn overview_with<T: DeserializeOwned>(
        &self,
        filter: &str,
        open: &str,
    ) -> Result<Overview<T>, ClientError> {
        self.get(&with_query("/v1/overview", [("filter", filter), ("open", open)]))
    }

    /// Everything counted.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn report(&self) -> Result<Report, ClientError> {
        self.get("/v1/report")
    }

    /// The services, of all or of the one named.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn services(&self, service: Option<&str>, columns: Columns) -> Result<Vec<ServiceRow>, ClientError> {
        self.services_with(service, columns)
    }

    /// The same, of servers' tables what the reader wants.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn services_with<T: DeserializeOwned>(
        &self,
        service: Option<&str>,
        columns: Columns,
    ) -> Result<Vec<ServiceRow<T>>, ClientError> {
        self.get(&with_columns("/v1/services", service, columns))
    }

    /// The same in short, which for many servers is far quicker, each service as the reader has it. Of two columns the
    /// first counts.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn listing<S: DeserializeOwned>(
        &self,
        service: Option<&str>,
        columns: Columns,
    ) -> Result<Listing<S>, ClientError> {
        self.get(&with_columns("/v1/listing", service, columns))
    }

    /// How long silence may last.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn timeouts(&self) -> Result<Timeouts, ClientError> {
        self.get("/v1/timeouts")
    }

    /// The configuration as it is now, as TOML.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn configuration(&self) -> Result<String, ClientError> {
        let bytes = self.send(Method::GET, "/v1/configuration", Load::None)?;
        String::from_utf8(bytes.into()).map_err(|error| ClientError::Garbled(error.to_string()))
    }

    /// The configurations that can be gone back to.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn versions(&self) -> Result<Vec<Version>, ClientError> {
        self.get("/v1/versions")
    }

    /// Applies edits, together or not at all.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn edit(&self, transaction: &Transaction) -> Result<Changed, ClientError> {
        self.post("/v1/edits", json(transaction)?)
    }

    /// The servers that are drained and fit these words: service, server.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn drains(&self, words: &[(&str, &str)]) -> Result<Vec<DrainRow>, ClientError> {
        self.get(&with_query("/v1/drains", words.iter().copied()))
    }

    /// Sets those timeouts that the table names.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn set_timeouts(&self, table: &Written) -> Result<Changed, ClientError> {
        read(&self.send(Method::PUT, "/v1/timeouts", json(table)?)?)
    }

    /// What this configuration would change.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn plan(&self, name: &str, text: String) -> Result<Changed, ClientError> {
        self.post(&with_query("/v1/plan", [("name", name)]), Load::Toml(text.into()))
    }

    /// Puts this configuration in the place of the present one; to be confirmed within so long, if at all.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn apply(&self, name: &str, text: String, confirm: Option<Duration>) -> Result<Changed, ClientError> {
        let seconds = confirm.map(|confirm| confirm.as_secs().to_string());
        let query = [("name", name)]
            .into_iter()
            .chain(seconds.as_deref().map(|seconds| ("confirm_seconds", seconds)));
        self.post(&with_query("/v1/apply", query), Load::Toml(text.into()))
    }

    /// Lets a change that waits for its confirmation stay.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn confirm(&self) -> Result<(), ClientError> {
        self.send(Method::POST, "/v1/confirm", Load::None).map(drop)
    }

    /// Goes back so many steps.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn roll_back(&self, steps: usize) -> Result<Changed, ClientError> {
        self.post(&with_query("/v1/rollback", [("steps", steps.to_string().as_str())]), Load::None)
    }

    /// Has the configuration file read again.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn reload(&self) -> Result<Changed, ClientError> {
        self.post("/v1/reload", Load::None)
    }

    /// Counts traffic from 0 again, of one service or of all.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn zero(&self, service: Option<&str>) -> Result<(), ClientError> {
        let path = with_query("/v1/zero", service.map(|service| ("service", service)));
        self.send(Method::POST, &path, Load::None).map(drop)
    }

    /// A page of the connections that fit these words: client, server, service, protocol, state, from, limit.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn connections(&self, words: &[(&str, &str)]) -> Result<Page, ClientError> {
        self.get(&with_query("/v1/connections", words.iter().copied()))
    }

    /// Ends the connections that fit these words.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn end_connections(&self, words: &[(&str, &str)]) -> Result<Ended, ClientError> {
        read(&self.send(Method::DELETE, &with_query("/v1/connections", words.iter().copied()), Load::None)?)
    }

    /// What a path has to say.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        read(&self.send(Method::GET, path, Load::None)?)
    }

    fn post<T: DeserializeOwned>(&self, path: &str, load: Load) -> Result<T, ClientError> {
        read(&self.send(Method::POST, path, load)?)
    }

    /// Sends one request; the body of an answer that is none of a problem.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn send(&self, method: Method, path: &str, load: Load) -> Result<Bytes, ClientError> {
        let unreachable = |error| ClientError::Unreachable(self.address.clone(), error);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(unreachable)?;
        let exchange = async {
            let authorization = self.address.authorization(&self.keys)?;
            let stream = self.address.connect(&self.keys).await?;
            let garbled = |error: &dyn fmt::Display| ClientError::Garbled(error.to_string());
            let (mut sender, connection) =
                http1::handshake(TokioIo::new(stream)).await.map_err(|error| garbled(&error))?;
            tokio::spawn(connection);
            let (kind, body) = match load {
                Load::None => (None, Vec::new()),
                Load::Json(body) => (Some("application/json"), body),
                Load::Toml(body) => (Some("application/toml"), body),
            };
            let mut request = Request::builder().method(method).uri(path).header(HOST, self.address.host());
            if let Some(authorization) = authorization {
                request = request.header(AUTHORIZATION, authorization);
            }
            if let Some(kind) = kind {
                request = request.header(CONTENT_TYPE, kind);
            }
            let request = request.body(Full::new(Bytes::from(body))).map_err(|error| garbled(&error))?;
            let answer = sender.send_request(request).await.map_err(|error| garbled(&error))?;
            let status = answer.status();
            let body = answer.into_body().collect().await.map_err(|error| garbled(&error))?.to_bytes();
            Ok((status, body))
        };
        let late = || unreachable(io::ErrorKind::TimedOut.into());
        let (status, body): (StatusCode, Bytes) = runtime
            .block_on(async { tokio::time::timeout(PATIENCE, exchange).await })
            .unwrap_or_else(|_| Err(late()))?;
        if status.is_success() { Ok(body) } else { Err(ClientError::Refused(status.as_u16(), read(&body)?)) }
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(bytes).map_err(|error| ClientError::Garbled(error.to_string()))
}

fn json(load: &impl Serialize) -> Result<Load, ClientError> {
    serde_json::to_vec(load).map(Load::Json).map_err(|error| ClientError::Garbled(error.to_string()))
}

fn with_columns(path: &str, service: Option<&str>, columns: Columns) -> String {
    let words = [("traffic", columns.traffic), ("rate", columns.rate), ("latency", columns.latency)];
    let words = words.into_iter().filter(|(_, on)| *on).map(|(name, _)| (name, "true"));
    with_query(path, words.chain(service.map(|name| ("service", name))))
}

/// A path with its query; what may not stand there is escaped (RFC 3986, 2.1).
fn with_query<'a>(path: &str, words: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut whole = path.to_owned();
    for (place, (name, value)) in words.into_iter().enumerate() {
        whole.push(if place == 0 { '?' } else { '&' });
        whole.push_str(name);
        whole.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'/' => {
                    whole.push(byte as char);
                }
                other => whole.push_str(&format!("%{other:02X}")),
            }
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_not_stand_in_a_query_is_escaped() {
        assert_eq!(with_query("/a", []), "/a");
        assert_eq!(
            with_query("/a", [("service", "tcp [2001:db8::1]:80"), ("name", "é&=")]),
            "/a?service=tcp%20%5B2001:db8::1%5D:80&name=%C3%A9%26%3D"
        );
    }

    #[test]
    fn where_nobody_listens_the_error_names_the_socket() {
        let error = Client::new(Path::new("/nowhere/lvx.sock")).status().unwrap_err().to_string();
        assert!(error.starts_with("no director is heard at /nowhere/lvx.sock: "), "{error}");
    }
}
