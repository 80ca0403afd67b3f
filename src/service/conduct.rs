//! What the operator chose for the connections of all services.

use super::Timeouts;

/// `[director]`, as far as connections go by it: what holds where a service's
/// [`Policy`](super::Policy) says nothing of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conduct {
    /// How long connections may be silent; IPVS's defaults for what is not said.
    pub timeouts: Timeouts,
}
