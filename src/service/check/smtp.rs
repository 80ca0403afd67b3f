//! SMTP towards a server.

use super::Tls;

/// An SMTP server's banner and its answer to a greeting. No mail is sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Smtp {
    /// How the director calls itself; `None` means its address, `[192.0.2.1]`.
    pub hello: Option<String>,
    /// TLS, or none.
    pub tls: Option<Tls>,
    /// Whether TLS begins with the command STARTTLS, not with the connection.
    pub is_starttls: bool,
}
