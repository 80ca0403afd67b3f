//! UDP towards a server.

use super::Pattern;

/// A datagram, and what comes back.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Udp {
    /// The datagram's payload.
    pub send: Vec<u8>,
    /// What the reply must be; `None` takes any.
    pub expect: Option<Pattern>,
    /// Whether a server is well that keeps silent, as long as no ICMP error says that nobody listens.
    pub may_be_silent: bool,
}
