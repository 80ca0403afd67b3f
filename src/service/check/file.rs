//! A file of the operator's that speaks for a server.

/// A file on the director.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct File {
    /// Its absolute path. `{address}` and `{port}` stand for the server's.
    pub path: String,
    /// What it says.
    pub says: Says,
}

/// What a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Says {
    /// The server is well while there is such a file.
    Present,
    /// The server is well while there is none.
    Absent,
    /// The number in it is the server's weight.
    Weight,
}
