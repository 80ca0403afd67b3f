//! What the operator chose for the connections of all services.

use super::Timeouts;

/// `[director]`, as far as connections go by it: what holds where a service's
/// [`Policy`](super::Policy) says nothing of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conduct {
    /// How long connections may be silent; IPVS's defaults for what is not said.
    pub timeouts: Timeouts,
    /// Whether any TCP segment but a reset opens a connection, not a SYN alone: flows are picked up in their midst,
    /// such as another director's.
    pub sloppy_tcp: bool,
    /// When a client's port may open a new connection although the last one is still remembered.
    pub reuse: Reuse,
    /// Whether templates keep leading to a quiesced server (IPVS: `expire_quiescent_template = 0`).
    pub keeps_quiesced_templates: bool,
}

/// When a SYN (of SCTP: an INIT) on a connection that both ends have done with is scheduled anew (IPVS:
/// `conn_reuse_mode`). Otherwise the old server gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Reuse {
    /// Never: mode 0.
    Never,
    /// In TIME_WAIT and CLOSE (SCTP: CLOSED), mode 1, which is IPVS's default.
    Closed,
    /// Also in FIN_WAIT if replies pass elsewhere, since that is the last state seen there: mode 2.
    #[default]
    Finished,
}

impl Reuse {
    /// By number, as in `conn_reuse_mode`.
    pub const MODES: [Reuse; 3] = [Reuse::Never, Reuse::Closed, Reuse::Finished];
}
