//! A conversation with a server.

use super::{Sought, Tls};

/// What is said over a TCP connection and what must be heard, in turn.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Dialogue {
    /// The steps, [`Dialogue::MAX_STEPS`] at most.
    pub steps: Vec<Step>,
    /// TLS, or none.
    pub tls: Option<Tls>,
}

/// A step of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// The director sends this.
    Send(Vec<u8>),
    /// The server sends this, whatever comes before. What comes behind is left for the next step.
    Expect(Sought),
}

impl Dialogue {
    /// How many steps a conversation has at most.
    pub const MAX_STEPS: usize = 64;
}
