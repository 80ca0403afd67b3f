//! TLS: a handshake is gone through with. Also for those who go on from there.

use super::connect::{Ack, connect};
use super::probe::Ask;
use super::{Failure, Healthy, lock};
use crate::service::check::Tls;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// What connections may have in common: whom to trust (if anyone is to be), and the protocols to offer.
type Common = (Option<Option<PathBuf>>, Vec<String>);

/// The configurations in use, each made once.
#[derive(Debug, Default)]
pub(super) struct Configs(Mutex<HashMap<Common, Weak<ClientConfig>>>);

/// What it takes to speak TLS with a server.
#[derive(Debug)]
pub(super) struct Connector {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
    valid_for: Option<Duration>,
}

impl Configs {
    fn of(&self, common: Common) -> Result<Arc<ClientConfig>, Failure> {
        let mut configs = lock(&self.0);
        if let Some(config) = configs.get(&common).and_then(Weak::upgrade) {
            return Ok(config);
        }
        let config = Arc::new(config(&common)?);
        configs.retain(|_, config| config.strong_count() > 0);
        configs.insert(common, Arc::downgrade(&config));
        Ok(config)
    }
}

impl Connector {
    /// To servers with which TLS is spoken like this; `alpn` are the check's own protocols.
    pub(super) fn of(tls: &Tls, alpn: &[&str], configs: &Configs) -> Result<Connector, Failure> {
        let offered = match &tls.alpn[..] {
            [] => alpn.iter().map(|&protocol| protocol.to_owned()).collect(),
            others => others.to_vec(),
        };
        let config = configs.of((tls.verify.then(|| tls.ca.clone()), offered))?;
        let server_name = tls.server_name.clone().map(ServerName::try_from).transpose();
        let server_name = server_name.map_err(|error| Failure::own(format!("server name: {error}")))?;
        Ok(Connector { config, server_name, valid_for: tls.valid_for })
    }

    /// Goes through the handshake. One of the offered protocols must be agreed on, if there are any.
    pub(super) async fn connect<S>(
        &self,
        ask: &Ask<'_>,
        stream: S,
    ) -> Result<(TlsStream<S>, Healthy), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        ask.is("in the TLS handshake");
        let name = self.server_name.clone().unwrap_or_else(|| ask.target.peer().ip().into());
        let stream = self.handshake(name, stream).await?;
        let session = stream.get_ref().1;
        let offered = &self.config.alpn_protocols;
        if !offered.is_empty() && session.alpn_protocol().is_none() {
            let offered: Vec<_> = offered.iter().map(|protocol| String::from_utf8_lossy(protocol)).collect();
            let cause = format!("TLS: none of the protocols is agreed on (offered: {})", offered.join(", "));
            return Err(Failure::of_server(cause));
        }
        let own = session.peer_certificates().and_then(|chain| chain.first());
        let certificate_expires = own.and_then(expiry);
        self.is_valid_long_enough(certificate_expires, SystemTime::now())?;
        Ok((stream, Healthy { certificate_expires, ..Healthy::default() }))
    }

    /// The handshake alone, with whoever has this name.
    pub(super) async fn handshake<S>(
        &self,
        name: ServerName<'static>,
        stream: S,
    ) -> Result<TlsStream<S>, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = TlsConnector::from(self.config.clone()).connect(name, stream).await;
        stream.map_err(|error| Failure::of_system("TLS", &error))
    }

    fn is_valid_long_enough(&self, expires: Option<SystemTime>, now: SystemTime) -> Result<(), Failure> {
        let (Some(wanted), Some(expires)) = (self.valid_for, expires) else { return Ok(()) };
        let hours = |time: Duration| time.as_secs() / 3600;
        match expires.duration_since(now) {
            Ok(left) if left >= wanted => Ok(()),
            Ok(left) => {
                let (left, wanted) = (hours(left), hours(wanted));
                Err(Failure::of_server(format!("the certificate expires in {left} h (wanted: {wanted} h)")))
            }
            Err(ago) => {
                let ago = hours(ago.duration());
                Err(Failure::of_server(format!("the certificate has expired {ago} h ago")))
            }
        }
    }
}

pub(super) async fn probe(ask: &Ask<'_>, connector: &Connector) -> Result<Healthy, Failure> {
    let stream = connect(ask, Ack::AtOnce).await?;
    let (_, found) = connector.connect(ask, stream).await?;
    Ok(found)
}

/// When the certificate expires, if that can be read.
fn expiry(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let certificate = Certificate::from_der(certificate).ok()?;
    Some(certificate.tbs_certificate().validity().not_after.to_system_time())
}

fn config((trusted, alpn): &Common) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match trusted {
        None => Arc::new(AnyCertificate(provider.clone())),
        Some(ca) => {
            let roots = Arc::new(roots(ca.as_deref())?);
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
            verifier.map_err(|error| Failure::own(format!("trusted certificates: {error}")))?
        }
    };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| Failure::own(format!("TLS: {error}")))?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.clone().into_bytes()).collect();
    // A resumed session would not show what certificate the server has now.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The certificates of those who are trusted: in this file, or by the system.
fn roots(ca: Option<&Path>) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    let (certificates, from) = match ca {
        Some(path) => {
            let from = path.display().to_string();
            let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
            (read.map_err(|error| Failure::own(format!("read {from}: {error}")))?, from)
        }
        None => (rustls_native_certs::load_native_certs().certs, "the system's store".to_owned()),
    };
    let (_, unreadable) = roots.add_parsable_certificates(certificates);
    if roots.is_empty() {
        let cause = format!("{from} has no certificate to trust ({unreadable} are unreadable)");
        return Err(Failure::own(cause));
    }
    Ok(roots)
}

/// Takes every certificate: whoever holds the server's address is the server.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
