//! The same over TCP, for those who have the token.

use super::guests::Guests;
use super::{ApiError, tried};
use crate::config;
use crate::control::cause::Cause;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header::AUTHORIZATION};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// Shorter, and it could be guessed.
const MIN_TOKEN_BYTES: usize = 16;

/// A TCP socket that nobody is heard at without TLS and the token.
pub(super) struct Remote {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    token: Arc<[u8]>,
}

impl Remote {
    pub(super) fn open(remote: &config::Remote) -> Result<Remote, ApiError> {
        let reading = |path: &Path| format!("read {}", path.display());
        let bad = |error: &dyn std::fmt::Display| io::Error::new(ErrorKind::InvalidData, error.to_string());
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&remote.tls_certificate)
            .and_then(Iterator::collect)
            .map_err(|error| bad(&error));
        let chain: Vec<CertificateDer<'static>> = chain.map_err(tried(reading(&remote.tls_certificate)))?;
        let key = PrivateKeyDer::from_pem_file(&remote.tls_key).map_err(|error| bad(&error));
        let key = key.map_err(tried(reading(&remote.tls_key)))?;
        let token =
            std::fs::read_to_string(&remote.token_file).map_err(tried(reading(&remote.token_file)))?;
        let token = token.lines().next().unwrap_or_default().trim();
        if token.len() < MIN_TOKEN_BYTES {
            let short = format!("the token has {} bytes (allowed: {MIN_TOKEN_BYTES} or more)", token.len());
            return Err(tried(reading(&remote.token_file))(io::Error::new(ErrorKind::InvalidData, short)));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|error| bad(&error))
            .map_err(tried(format!("use {}", remote.tls_certificate.display())))?;
        let listener = super::listener(remote.listen)?;
        Ok(Remote { listener, acceptor: TlsAcceptor::from(Arc::new(tls)), token: token.as_bytes().into() })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Receives whoever connects.
    pub(super) async fn receive(self, guests: Guests, router: Router) {
        let router = router.layer(from_fn_with_state(self.token, with_token));
        guests.receive_tcp(self.listener, router, |stream| self.acceptor.accept(stream)).await;
    }
}

/// Lets those pass who show the token.
async fn with_token(State(token): State<Arc<[u8]>>, request: Request, next: Next) -> Response {
    let shown =
        request.headers().get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    if shown.is_some_and(|shown| is_same(shown, &token)) {
        return next.run(request).await;
    }
    let from = request.extensions().get::<Cause>().copied().unwrap_or(Cause::Somebody);
    tracing::warn!(%from, "a request without the token was refused");
    super::Fault::of(
        StatusCode::UNAUTHORIZED,
        "the token is missing, or is another (Authorization: Bearer; lvx: --token-file)".to_owned(),
    )
    .into_response()
}

/// Takes as long wherever they differ.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}
