//! SMTP towards a server.

/// An SMTP server's banner and its answer to a greeting. No mail is sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Smtp {
    /// How the director calls itself; `None` means its address, `[192.0.2.1]`.
    pub hello: Option<String>,
}
