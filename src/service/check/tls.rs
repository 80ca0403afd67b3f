//! TLS towards a server.

use std::path::PathBuf;
use std::time::Duration;

/// How TLS is spoken with a server, and what is expected of its certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Tls {
    /// The name that is asked for (SNI) and that the certificate must have if it is verified; `None` means the address,
    /// and no SNI.
    pub server_name: Option<String>,
    /// Whether the certificate must be one to trust.
    pub verify: bool,
    /// Whom to trust: certificates in PEM; `None` means whom the system trusts.
    pub ca: Option<PathBuf>,
    /// The protocols that are offered, of which the server must choose one; empty: the check's own.
    pub alpn: Vec<String>,
    /// How long the certificate must be valid yet, verified or not.
    pub valid_for: Option<Duration>,
}
