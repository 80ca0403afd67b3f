//! A script of the operator's, asked about a server.

/// A program that is run: its exit code is the verdict. 0 is well, 1 is not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Script {
    /// The program by its absolute path, and its arguments. No shell comes between. `{address}` and `{port}` stand for
    /// who is asked.
    pub command: Vec<String>,
    /// Whose rights it has; `None` means the director's own.
    pub user: Option<String>,
    /// Whether exit codes from 2 on are well too, and ask for a weight of two less: keepalived's `misc_dynamic`.
    pub is_dynamic: bool,
}
