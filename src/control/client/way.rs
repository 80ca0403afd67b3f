//! The ways to a director: its control socket, or TCP with TLS and a token.

use super::ClientError;
use hyper::Uri;
use hyper::header::HeaderValue;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long it may take until somebody is heard.
const ACQUAINTANCE: Duration = Duration::from_secs(10);

/// Where a director is heard: a path, or `https://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// At its control socket.
    Socket(PathBuf),
    /// Over TCP, where its configuration has `listen`.
    Remote {
        /// A name or an address, which the director's certificate must have.
        host: String,
        /// The port.
        port: u16,
    },
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        const ALLOWED: &str = "allowed: a path, or such as https://director.example:9180";
        if !text.contains("://") {
            return Ok(Address::Socket(text.into()));
        }
        let uri: Uri = text.parse().map_err(|error| format!("{error} ({ALLOWED})"))?;
        if uri.scheme_str() != Some("https") {
            return Err(format!("nothing but https ({ALLOWED})"));
        }
        let is_bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        let authority = uri.authority().filter(|authority| is_bare && !authority.as_str().contains('@'));
        let authority = authority.filter(|authority| !authority.host().is_empty());
        let at = authority.and_then(|authority| Some((authority.host(), authority.port_u16()?)));
        let (host, port) = at.ok_or_else(|| format!("a host and a port, and nothing else ({ALLOWED})"))?;
        Ok(Address::Remote { host: host.trim_matches(['[', ']']).to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Socket(path) => path.display().fmt(f),
            Address::Remote { host, port } if host.contains(':') => write!(f, "https://[{host}]:{port}"),
            Address::Remote { host, port } => write!(f, "https://{host}:{port}"),
        }
    }
}

/// What opens the way to a director over TCP.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// What the director wants to be shown.
    pub token: Option<Token>,
    /// The certificates that vouch for the director's, PEM; without, those that this machine trusts.
    pub ca_file: Option<PathBuf>,
}

/// A token.
#[derive(Clone)]
pub enum Token {
    /// The token itself.
    Word(String),
    /// The file whose first line it is.
    File(PathBuf),
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Word(_) => f.write_str("Word(_)"),
            Token::File(file) => f.debug_tuple("File").field(file).finish(),
        }
    }
}

/// Bytes to and from a director.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Address {
    /// A connection.
    pub(super) async fn connect(&self, keys: &Keys) -> Result<Box<dyn Stream>, ClientError> {
        let unreachable = |error| ClientError::Unreachable(self.clone(), error);
        let connected = async {
            match self {
                Address::Socket(path) => {
                    let stream = UnixStream::connect(path).await.map_err(unreachable)?;
                    Ok(Box::new(stream) as Box<dyn Stream>)
                }
                Address::Remote { host, port } => {
                    let connector = TlsConnector::from(Arc::new(keys.tls()?));
                    let name = ServerName::try_from(host.clone());
                    let name = name.map_err(|error| unreachable(io::Error::other(error)))?;
                    let stream = TcpStream::connect((&host[..], *port)).await.map_err(unreachable)?;
                    let stream = connector.connect(name, stream).await.map_err(unreachable)?;
                    Ok(Box::new(stream) as Box<dyn Stream>)
                }
            }
        };
        timeout(ACQUAINTANCE, connected)
            .await
            .unwrap_or_else(|_| Err(unreachable(ErrorKind::TimedOut.into())))
    }

    /// What is shown to whoever listens there.
    pub(super) fn authorization(&self, keys: &Keys) -> Result<Option<HeaderValue>, ClientError> {
        match (self, &keys.token) {
            (Address::Socket(_), _) | (_, None) => Ok(None),
            (Address::Remote { .. }, Some(token)) => token.header().map(Some),
        }
    }

    /// Whom a request is for, as HTTP has it.
    pub(super) fn host(&self) -> String {
        match self {
            Address::Socket(_) => "lvx".to_owned(),
            remote => remote.to_string().trim_start_matches("https://").to_owned(),
        }
    }
}

impl Keys {
    fn tls(&self) -> Result<ClientConfig, ClientError> {
        let mut roots = RootCertStore::empty();
        match &self.ca_file {
            Some(file) => {
                let bad = |error: &dyn fmt::Display| unreadable(file, ErrorKind::InvalidData, error);
                let bytes =
                    std::fs::read(file).map_err(|error| ClientError::Unreadable(file.clone(), error))?;
                for certificate in CertificateDer::pem_slice_iter(&bytes) {
                    let added = roots.add(certificate.map_err(|error| bad(&error))?);
                    added.map_err(|error| bad(&error))?;
                }
                if roots.is_empty() {
                    return Err(bad(&"no certificate is in it"));
                }
            }
            // Those that cannot be read vouch for nobody.
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let tls = tls.map_err(|error| ClientError::Garbled(error.to_string()))?;
        Ok(tls.with_root_certificates(roots).with_no_client_auth())
    }
}

impl Token {
    fn header(&self) -> Result<HeaderValue, ClientError> {
        let text = match self {
            Token::Word(word) => word.clone(),
            Token::File(file) => {
                std::fs::read_to_string(file).map_err(|error| ClientError::Unreadable(file.clone(), error))?
            }
        };
        let word = text.lines().next().unwrap_or_default().trim();
        let header = HeaderValue::try_from(format!("Bearer {word}"));
        let file = match self {
            Token::Word(_) => Path::new("the token"),
            Token::File(file) => file,
        };
        let mut header = header.map_err(|error| unreadable(file, ErrorKind::InvalidData, &error))?;
        header.set_sensitive(true);
        Ok(header)
    }
}

fn unreadable(file: &Path, kind: ErrorKind, error: &dyn fmt::Display) -> ClientError {
    ClientError::Unreadable(file.to_owned(), io::Error::new(kind, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_director_is_at_a_path_or_at_a_host_and_a_port() {
        let remote = |host: &str, port| Address::Remote { host: host.to_owned(), port };
        for (text, address) in [
            ("/run/lvx/lvx.sock", Address::Socket("/run/lvx/lvx.sock".into())),
            ("lvx.sock", Address::Socket("lvx.sock".into())),
            ("https://director.example:9180", remote("director.example", 9180)),
            ("https://192.0.2.1:9180", remote("192.0.2.1", 9180)),
            ("https://[2001:db8::1]:9180", remote("2001:db8::1", 9180)),
        ] {
            let parsed: Address = text.parse().unwrap();
            assert_eq!((&parsed, parsed.to_string()), (&address, text.to_owned()));
        }
        for wrong in [
            "http://director.example:9180",
            "https://director.example",
            "https://:9180",
            "https://director.example:9180/v1",
            "https://director.example:9180/?a=b",
            "https://me@director.example:9180",
            "https://director.example:99999",
            "https://",
        ] {
            assert!(wrong.parse::<Address>().unwrap_err().contains("allowed: a path, or such as"), "{wrong}");
        }
    }

    #[test]
    fn a_token_is_shown_to_nobody_at_a_socket_and_not_in_debug_output() {
        let keys = Keys { token: Some(Token::Word("secret".to_owned())), ca_file: None };
        assert!(!format!("{keys:?}").contains("secret"));
        let shown = |address: &str| address.parse::<Address>().unwrap().authorization(&keys).unwrap();
        assert_eq!(shown("/run/lvx/lvx.sock"), None);
        assert_eq!(shown("https://192.0.2.1:9180").unwrap(), "Bearer secret");
    }
}
